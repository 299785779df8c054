//! What a socket has received and its program has not: messages with their senders, or pieces of a stream.
//!
//! A queue is bounded by what it costs, as Linux counts it: a small message costs more than its bytes.
const std = @import("std");
const limits = @import("../../limits.zig");
const Address = @import("address.zig").Address;
const Description = @import("../files/table.zig").Description;

/// Who sent a message, as SCM_CREDENTIALS and SO_PEERCRED tell it (struct ucred).
pub const Credentials = extern struct {
    pid: i32 = 0,
    uid: u32 = nobody,
    gid: u32 = nobody,

    const nobody = 65534;
};

/// One message, or a piece of a stream.
pub const Piece = struct {
    next: ?*Piece = null,
    /// The bytes that are left are `storage[start..end]`.
    storage: []u8,
    start: usize = 0,
    end: usize = 0,
    source: Address = .none,
    sender: Credentials = .{},
    /// Open files on their way (SCM_RIGHTS); each is a reference.
    rights: []*Description = &.{},

    /// What a piece costs beside its bytes.
    const overhead = 512;

    pub fn create(allocator: std.mem.Allocator, capacity: usize) error{OutOfMemory}!*Piece {
        const self = try allocator.create(Piece);
        errdefer allocator.destroy(self);
        self.* = .{ .storage = try allocator.alloc(u8, capacity) };
        return self;
    }

    /// Its rights must have been taken or released.
    pub fn destroy(self: *Piece, allocator: std.mem.Allocator) void {
        std.debug.assert(self.rights.len == 0);
        allocator.free(self.storage);
        allocator.destroy(self);
    }

    pub fn bytes(self: *const Piece) []u8 {
        return self.storage[self.start..self.end];
    }

    fn cost(self: *const Piece) usize {
        return costOf(self.storage.len);
    }

    /// Whether bytes of a stream may be put behind this one's.
    fn takesMore(self: *const Piece) bool {
        return self.end < self.storage.len and self.rights.len == 0;
    }
};

fn costOf(capacity: usize) usize {
    return capacity + Piece.overhead;
}

/// Streams are kept in pieces of at least this size, so that many small writes cost little.
const stream_piece_min = 2048;
const stream_piece_max = 32 * limits.KiB;

pub const Queue = struct {
    first: ?*Piece = null,
    last: ?*Piece = null,
    /// What is bounded.
    cost: usize = 0,
    /// Bytes that can be read.
    length: usize = 0,

    pub fn isEmpty(self: *const Queue) bool {
        return self.first == null;
    }

    /// What goes behind the rest; the queue owns it now.
    pub fn append(self: *Queue, piece: *Piece) void {
        piece.next = null;
        if (self.last) |last| last.next = piece else self.first = piece;
        self.last = piece;
        self.cost += piece.cost();
        self.length += piece.bytes().len;
    }

    /// Takes the first piece out; the caller owns it now.
    pub fn take(self: *Queue) ?*Piece {
        const piece = self.first orelse return null;
        self.first = piece.next;
        if (self.first == null) self.last = null;
        self.cost -= piece.cost();
        self.length -= piece.bytes().len;
        return piece;
    }

    /// Where a stream's next bytes may be put, at least one; `commit` says how many were. Bytes with rights begin a piece.
    pub fn reserve(self: *Queue, allocator: std.mem.Allocator, wanted: usize, fresh: bool) error{OutOfMemory}![]u8 {
        if (!fresh) if (self.last) |last| if (last.takesMore()) return last.storage[last.end..][0..@min(wanted, last.storage.len - last.end)];
        const piece = try Piece.create(allocator, std.math.clamp(wanted, stream_piece_min, stream_piece_max));
        self.append(piece);
        return piece.storage[0..@min(wanted, piece.storage.len)];
    }

    pub fn commit(self: *Queue, count: usize) void {
        self.last.?.end += count;
        self.length += count;
    }

    /// Takes a reserved piece back into which nothing was put.
    pub fn dropEmptyLast(self: *Queue, allocator: std.mem.Allocator) void {
        const piece = self.last orelse return;
        if (piece.bytes().len > 0) return;
        if (self.first == piece) {
            _ = self.take();
        } else {
            var before = self.first.?;
            while (before.next != piece) before = before.next.?;
            before.next = null;
            self.last = before;
            self.cost -= piece.cost();
        }
        piece.destroy(allocator);
    }

    /// Takes bytes of a stream away from its first piece, which goes with its last byte.
    pub fn consume(self: *Queue, allocator: std.mem.Allocator, count: usize) void {
        const piece = self.first.?;
        piece.start += count;
        self.length -= count;
        if (piece.bytes().len > 0) return;
        _ = self.take();
        piece.destroy(allocator);
    }

    /// How many bytes of a stream there is room for.
    pub fn room(self: *const Queue, bound: usize) usize {
        const last = self.last orelse return bound;
        const spare = if (last.takesMore()) last.storage.len - last.end else 0;
        return @max(spare, bound -| self.cost);
    }

    /// Whether a message of `length` bytes finds room. An empty queue has room for any that is allowed at all.
    pub fn takes(self: *const Queue, length: usize, bound: usize) bool {
        return self.first == null or self.cost + costOf(length) <= bound;
    }

    /// Whether a sender is told that there is room: a quarter is used at most (unix_writable of Linux).
    pub fn isInviting(self: *const Queue, bound: usize) bool {
        return self.cost * 4 <= bound;
    }

    pub fn same(self: *const Queue, other: *const Queue) bool {
        if (self.length != other.length or self.cost != other.cost) return false;
        var a = self.first;
        var b = other.first;
        while (a) |mine| : ({
            a = mine.next;
            b = b.?.next;
        }) {
            const its = b orelse return false;
            if (!std.mem.eql(u8, mine.bytes(), its.bytes()) or !mine.source.same(&its.source)) return false;
            if (!std.meta.eql(mine.sender, its.sender) or mine.rights.len != its.rights.len) return false;
        }
        return b == null;
    }
};

const testing = std.testing;

test "a stream comes out as it went in, whatever the pieces" {
    var queue: Queue = .{};
    var sent: u8 = 0;
    var seen: u8 = 0;
    var total: usize = 0;
    const bound = 10_000;
    for (0..200) |round| {
        const wanted = 1 + round * 37 % 900;
        if (queue.room(bound) > 0) {
            const space = try queue.reserve(testing.allocator, @min(wanted, queue.room(bound)), false);
            for (space) |*byte| {
                byte.* = sent;
                sent +%= 1;
            }
            queue.commit(space.len);
            total += space.len;
        }
        try testing.expect(queue.cost <= bound + 2048 + 512);
        const first = queue.first orelse continue;
        const count = @min(first.bytes().len, 1 + round * 53 % 700);
        for (first.bytes()[0..count]) |byte| {
            try testing.expectEqual(seen, byte);
            seen +%= 1;
        }
        queue.consume(testing.allocator, count);
    }
    try testing.expect(total > 20_000);
    while (queue.first) |first| queue.consume(testing.allocator, first.bytes().len);
    try testing.expectEqual(0, queue.cost);
    try testing.expectEqual(0, queue.length);
}

test "messages keep their bounds, and a full queue takes none" {
    var queue: Queue = .{};
    for ([_][]const u8{ "one", "", "three" }) |text| {
        try testing.expect(queue.takes(text.len, 2000));
        const piece = try Piece.create(testing.allocator, text.len);
        @memcpy(piece.storage, text);
        piece.end = text.len;
        queue.append(piece);
    }
    try testing.expect(!queue.takes(1000, 2000));
    try testing.expect(!queue.isInviting(2000));
    for ([_][]const u8{ "one", "", "three" }) |text| {
        const piece = queue.take().?;
        defer piece.destroy(testing.allocator);
        try testing.expectEqualStrings(text, piece.bytes());
    }
    try testing.expect(queue.isEmpty() and queue.takes(5000, 2000));
}
