//! A file that is still being fetched, in order, by whoever opens it: readers wait for what is not there yet.
const std = @import("std");
const host = @import("../host.zig");

/// How often a reader looks whether it is still wanted.
const look_ns = 20 * std.time.ns_per_ms;

pub const Source = struct {
    allocator: std.mem.Allocator,
    references: std.atomic.Value(u32) = .init(1),
    /// Bytes from the start of the file.
    there: std.atomic.Value(u64) = .init(0),
    /// No more will come.
    ended: std.atomic.Value(bool) = .init(false),
    bell: std.atomic.Value(u32) = .init(0),

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

    pub fn advance(self: *Source, bytes: u64) void {
        self.there.store(bytes, .release);
        self.ring();
    }

    pub fn end(self: *Source) void {
        self.ended.store(true, .release);
        self.ring();
    }

    fn ring(self: *Source) void {
        _ = self.bell.fetchAdd(1, .acq_rel);
        host.futexWake(&self.bell, std.math.maxInt(i32));
    }

    /// Whether all up to `bytes` is there; returns when it is, or never will be, or is not wanted any more.
    pub fn waitFor(self: *Source, bytes: u64, unwanted: *const std.atomic.Value(bool)) bool {
        while (true) {
            const seen = self.bell.load(.acquire);
            // In this order: the last bytes come before the end.
            const ended = self.ended.load(.acquire);
            if (self.there.load(.acquire) >= bytes) return true;
            if (ended or unwanted.load(.monotonic)) return false;
            host.futexWait(&self.bell, seen, look_ns);
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
    source.advance(10);
    threads[0].join();
    unwanted[1].store(true, .monotonic);
    threads[1].join();
    source.advance(19);
    source.end();
    threads[2].join();
    try testing.expectEqual([3]?bool{ true, false, false }, found);
}
