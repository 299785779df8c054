//! A file that is still being fetched, in order, by a thread of whoever opens it: readers wait for what is not there yet.
const std = @import("std");

/// How often a reader looks for more, and whether it is still wanted.
const look_ns = std.time.ns_per_ms;

/// What the fetching thread sees, which is no thread of the core's.
pub const Words = extern struct {
    /// Bytes from the start of the file, so far.
    there: u64 = 0,
    /// What it ended with if not well: 1 replaced meanwhile, 2 no connection, 3 too short, 4 not wanted; else a status of HTTP.
    failure: u64 = 0,
    /// Nobody reads it any more.
    left: u64 = 0,
};

pub const Source = struct {
    allocator: std.mem.Allocator,
    references: std.atomic.Value(u32) = .init(1),
    words: Words = .{},
    /// No more will come.
    ended: std.atomic.Value(bool) = .init(false),

    pub fn create(allocator: std.mem.Allocator) error{OutOfMemory}!*Source {
        const self = try allocator.create(Source);
        self.* = .{ .allocator = allocator };
        return self;
    }

    pub fn retain(self: *Source) *Source {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Source) void {
        if (self.references.fetchSub(1, .acq_rel) == 1) self.allocator.destroy(self);
    }

    /// Who read it needs no more of it.
    pub fn leave(self: *Source) void {
        @atomicStore(u64, &self.words.left, 1, .release);
    }

    pub fn end(self: *Source) void {
        self.ended.store(true, .release);
    }

    pub fn failure(self: *const Source) u64 {
        return @atomicLoad(u64, &self.words.failure, .acquire);
    }

    pub fn has(self: *const Source, bytes: u64) bool {
        return @atomicLoad(u64, &self.words.there, .acquire) >= bytes;
    }

    /// Whether all up to `bytes` is there; returns when it is, or never will be, or is not wanted any more.
    pub fn waitFor(self: *Source, bytes: u64, unwanted: *const std.atomic.Value(bool)) bool {
        while (true) {
            // In this order: the last bytes come before the end.
            const ended = self.ended.load(.acquire) or self.failure() != 0;
            if (self.has(bytes)) return true;
            if (ended or unwanted.load(.monotonic)) return false;
            const pause: std.os.linux.timespec = .{ .sec = 0, .nsec = look_ns };
            _ = std.os.linux.nanosleep(&pause, null);
        }
    }
};

test "a reader waits for what is not there, and learns when it never comes" {
    const testing = std.testing;
    const source: *Source = try .create(testing.allocator);
    defer source.release();
    const Reader = struct {
        fn read(from: *Source, bytes: u64, unwanted: *const std.atomic.Value(bool), found: *?bool) void {
            found.* = from.waitFor(bytes, unwanted);
        }
    };
    var unwanted: [3]std.atomic.Value(bool) = @splat(.init(false));
    var found: [3]?bool = @splat(null);
    var threads: [3]std.Thread = undefined;
    for (&threads, [_]u64{ 10, 20, 20 }, 0..) |*thread, bytes, index| thread.* = try std.Thread.spawn(.{}, Reader.read, .{ source, bytes, &unwanted[index], &found[index] });
    @atomicStore(u64, &source.words.there, 10, .release);
    threads[0].join();
    unwanted[1].store(true, .monotonic);
    threads[1].join();
    @atomicStore(u64, &source.words.there, 19, .release);
    source.end();
    threads[2].join();
    try testing.expectEqual([3]?bool{ true, false, false }, found);
}
