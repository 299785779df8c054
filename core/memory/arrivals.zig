//! Pages of an image that its forks cannot see yet: those whose bytes are still on their way from a file, or, while it is
//! recorded which pages requests use, those that none has used.
//!
//! The guest's page tables lead to none of them, so its first use of one is a fault, which waits here and then shows it; what
//! the VMM does to guest memory waits in `FrameSpace.bytes`. When all have come, the entries are in the tables again, and
//! nothing here costs anything any more.
//! Not here: reading the file (`saved/rest.zig`), taking entries out of the tables (`saved/late_tables.zig`).
const std = @import("std");
const assert = std.debug.assert;
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");

const page = limits.page_size;
const none = std.math.maxInt(u32);

/// Frames in a row whose pages are in a row where they come from.
pub const Piece = struct {
    frame: u32,
    count: u32,
    /// How many pages come before the first.
    position: u64,

    pub fn isBelow(_: void, one: Piece, other: Piece) bool {
        return one.frame < other.frame;
    }
};

/// An entry of a page table that was taken out.
pub const Hidden = struct { table: u32, index: u32, entry: u64 };

/// Bits that threads set, each once.
const Marks = struct {
    words: []std.atomic.Value(u64),

    fn init(allocator: std.mem.Allocator, count: u64) error{OutOfMemory}!Marks {
        const words = try allocator.alloc(std.atomic.Value(u64), @intCast((count + 63) / 64));
        @memset(words, .init(0));
        return .{ .words = words };
    }

    fn isSet(self: Marks, index: u64) bool {
        return self.words[@intCast(index / 64)].load(.acquire) >> @truncate(index) & 1 != 0;
    }

    /// Whether it was not set before.
    fn set(self: Marks, index: u64) bool {
        const bit = @as(u64, 1) << @as(u6, @truncate(index));
        return self.words[@intCast(index / 64)].fetchOr(bit, .acq_rel) & bit == 0;
    }
};

/// Who brings the pages.
pub const Bringer = struct {
    context: *anyopaque,
    /// Ends it, and returns when it has ended.
    end_fn: *const fn (context: *anyopaque) void,
};

const Kind = enum { coming, recorded };

pub const Arrivals = struct {
    allocator: std.mem.Allocator,
    kind: Kind,
    /// Frames that forks cannot see at first. Never changes.
    late: std.DynamicBitSetUnmanaged,
    /// By groups of pages where they come from, or by frames: those that they can see by now.
    here: Marks,
    /// Of all pages of the image, in the order of the frames.
    pieces: []const Piece,
    /// Groups are of so many pages, from this position on.
    group_pages: u32,
    first: u64,
    hidden: []const Hidden = &.{},
    /// Forks can see all.
    over: std.atomic.Value(bool) = .init(false),
    /// Changes with each group that has come, and with the end.
    progress: std.atomic.Value(u32) = .init(0),
    /// The group that somebody waits for.
    wanted: std.atomic.Value(u32) = .init(none),
    /// Some will never come, and why.
    failed: std.atomic.Value(bool) = .init(false),
    failure: errors.Record = .{},
    bringer: ?Bringer = null,
    lock: host.Mutex = .{},
    /// Recorded: frames in the order of their first use; with room for all.
    order: std.ArrayList(u32) = .empty,

    /// For pages that come in groups, from the position `first` on; `pieces` and `late` are taken over.
    pub fn ofGroups(allocator: std.mem.Allocator, late: std.DynamicBitSetUnmanaged, pieces: []const Piece, group_pages: u32, first: u64, groups: u64) error{OutOfMemory}!*Arrivals {
        const self = try create(allocator, .coming, late, pieces, groups);
        self.group_pages = group_pages;
        self.first = first;
        return self;
    }

    /// For pages that are all there and whose first use is to be known; `late` is taken over.
    pub fn ofRecording(allocator: std.mem.Allocator, late: std.DynamicBitSetUnmanaged) error{OutOfMemory}!*Arrivals {
        const self = try create(allocator, .recorded, late, &.{}, late.capacity());
        errdefer {
            allocator.free(self.here.words);
            allocator.destroy(self);
        }
        try self.order.ensureTotalCapacityPrecise(allocator, late.count());
        return self;
    }

    fn create(allocator: std.mem.Allocator, kind: Kind, late: std.DynamicBitSetUnmanaged, pieces: []const Piece, marks: u64) error{OutOfMemory}!*Arrivals {
        const self = try allocator.create(Arrivals);
        errdefer allocator.destroy(self);
        self.* = .{ .allocator = allocator, .kind = kind, .late = late, .pieces = pieces, .group_pages = 1, .first = 0, .here = try .init(allocator, marks) };
        return self;
    }

    pub fn destroy(self: *Arrivals) void {
        if (self.bringer) |bringer| bringer.end_fn(bringer.context);
        const allocator = self.allocator;
        self.late.deinit(allocator);
        allocator.free(self.here.words);
        allocator.free(self.pieces);
        allocator.free(self.hidden);
        self.order.deinit(allocator);
        allocator.destroy(self);
    }

    pub fn isLate(self: *const Arrivals, frame: u32) bool {
        return frame < self.late.capacity() and self.late.isSet(frame);
    }

    /// The group of a late frame.
    fn groupOf(self: *const Arrivals, frame: u32) u32 {
        const behind = std.sort.partitionPoint(Piece, self.pieces, frame, startsAtOrBelow);
        const piece = &self.pieces[behind - 1];
        assert(frame - piece.frame < piece.count);
        return @intCast((piece.position + frame - piece.frame - self.first) / self.group_pages);
    }

    fn startsAtOrBelow(frame: u32, piece: Piece) bool {
        return piece.frame <= frame;
    }

    /// Whether forks cannot see a frame's page yet.
    pub fn awaits(self: *const Arrivals, frame: u32) bool {
        if (self.over.load(.acquire) or !self.isLate(frame)) return false;
        return !self.here.isSet(if (self.kind == .coming) self.groupOf(frame) else frame);
    }

    /// A frame's page is needed: returns when it is there, or false when it never will be.
    pub fn wait(self: *Arrivals, frame: u32) bool {
        return self.waitNoLonger(frame, null);
    }

    /// Also false when it is not there after so long.
    pub fn waitNoLonger(self: *Arrivals, frame: u32, most_ns: ?u64) bool {
        if (self.over.load(.acquire) or !self.isLate(frame)) return true;
        switch (self.kind) {
            .coming => return self.waitForGroup(self.groupOf(frame), most_ns),
            .recorded => if (self.here.set(frame)) {
                self.lock.lock();
                defer self.lock.unlock();
                self.order.appendAssumeCapacity(frame);
            },
        }
        return true;
    }

    /// The bytes of a frame's page are needed, but for no request.
    pub fn waitForBytes(self: *Arrivals, frame: u32) bool {
        return self.kind == .recorded or self.wait(frame);
    }

    fn waitForGroup(self: *Arrivals, group: u32, most_ns: ?u64) bool {
        const began = host.monotonicNs();
        while (true) {
            const seen = self.progress.load(.acquire);
            if (self.here.isSet(group)) return true;
            if (self.failed.load(.acquire)) return false;
            // Others may want another; whoever does not get his asks again at the next.
            self.want(group);
            if (most_ns) |most| if (host.monotonicNs() - began >= most) return false;
            host.futexWait(&self.progress, seen, most_ns);
        }
    }

    /// A group is to be the next, and no time to be lost.
    pub fn want(self: *Arrivals, group: u32) void {
        self.wanted.store(group, .release);
        host.futexWake(&self.wanted, 1);
    }

    /// Returns when all have come, or false when some never will. What is recorded is there already.
    pub fn waitForAll(self: *Arrivals) bool {
        if (self.kind == .recorded) return true;
        while (true) {
            const seen = self.progress.load(.acquire);
            if (self.over.load(.acquire)) return true;
            if (self.failed.load(.acquire)) return false;
            if (seen == 0) self.want(0);
            host.futexWait(&self.progress, seen, null);
        }
    }

    // For who brings the pages

    /// Returns when somebody waits, or all are waited for, but no later than that.
    pub fn waitForWanted(self: *Arrivals, most_ns: u64) void {
        host.futexWait(&self.wanted, none, most_ns);
    }

    pub fn takeWanted(self: *Arrivals) ?u32 {
        const group = self.wanted.swap(none, .acq_rel);
        return if (group == none or self.here.isSet(group)) null else group;
    }

    pub fn hasGroup(self: *const Arrivals, group: u32) bool {
        return self.here.isSet(group);
    }

    pub fn arrive(self: *Arrivals, group: u32) void {
        _ = self.here.set(group);
        self.wake();
    }

    /// Some will never come; `failure` says why.
    pub fn fail(self: *Arrivals) void {
        self.failed.store(true, .release);
        self.wake();
    }

    /// All are there, and the tables lead to them.
    pub fn finish(self: *Arrivals) void {
        self.over.store(true, .release);
        self.wake();
    }

    fn wake(self: *Arrivals) void {
        _ = self.progress.fetchAdd(1, .acq_rel);
        host.futexWake(&self.progress, std.math.maxInt(i32));
    }
};

const testing = std.testing;

fn testLate(frames: []const u32) !std.DynamicBitSetUnmanaged {
    var late: std.DynamicBitSetUnmanaged = try .initEmpty(testing.allocator, 16);
    for (frames) |frame| late.set(frame);
    return late;
}

test "who needs a page waits for its group, whichever comes first, and learns when it never comes" {
    const pieces = try testing.allocator.dupe(Piece, &.{ .{ .frame = 1, .count = 1, .position = 11 }, .{ .frame = 3, .count = 4, .position = 7 } });
    const arrivals: *Arrivals = try .ofGroups(testing.allocator, try testLate(&.{ 1, 5, 6 }), pieces, 2, 7, 3);
    defer arrivals.destroy();
    arrivals.arrive(0);
    for ([_]struct { u32, bool }{ .{ 0, false }, .{ 3, false }, .{ 1, true }, .{ 5, true }, .{ 6, true }, .{ 99, false } }) |case| {
        try testing.expectEqual(case[1], arrivals.awaits(case[0]));
    }
    const Waiting = struct {
        fn until(all: *Arrivals, frame: u32, result: *?bool) void {
            result.* = all.wait(frame);
        }
    };
    var results: [2]?bool = .{ null, null };
    const first = try std.Thread.spawn(.{}, Waiting.until, .{ arrivals, 1, &results[0] });
    const second = try std.Thread.spawn(.{}, Waiting.until, .{ arrivals, 6, &results[1] });
    const group = while (true) if (arrivals.takeWanted()) |group| break group;
    arrivals.arrive(group);
    const other = while (true) if (arrivals.takeWanted()) |wanted| break wanted;
    try testing.expectEqual(3, group + other);
    arrivals.fail();
    first.join();
    second.join();
    try testing.expectEqual([2]?bool{ group == 2, group == 1 }, results);
    try testing.expect(!arrivals.waitForAll());
}

test "a recording has the frames in the order of their first use, each once" {
    const arrivals: *Arrivals = try .ofRecording(testing.allocator, try testLate(&.{ 2, 7, 9 }));
    defer arrivals.destroy();
    for ([_]u32{ 9, 1, 2, 9 }) |frame| try testing.expect(arrivals.wait(frame));
    try testing.expect(arrivals.awaits(7) and !arrivals.awaits(9) and !arrivals.awaits(1));
    try testing.expect(arrivals.waitForBytes(7) and arrivals.awaits(7));
    try testing.expectEqualSlices(u32, &.{ 9, 2 }, arrivals.order.items);
}
