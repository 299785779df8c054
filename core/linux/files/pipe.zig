//! A pipe inside one machine: a bounded ring of bytes with counted ends. No host descriptor is behind it.
const std = @import("std");

pub const capacity = 64 * 1024;
/// Linux's PIPE_BUF: so much is written whole or not at all, and there is room while so much fits.
pub const atomic_bytes = 4096;

pub const Pipe = struct {
    bytes: [capacity]u8 = undefined,
    start: usize = 0,
    fill: usize = 0,
    /// How much it is to hold (F_SETPIPE_SZ), at most the whole ring.
    limit: usize = capacity,
    readers: u32 = 1,
    writers: u32 = 1,
    /// What has happened that Linux wakes readers for: bytes came, the last writer went.
    changes_in: u64 = 0,
    /// The same for writers: room was made where there was none, the last reader went.
    changes_out: u64 = 0,

    pub fn create(allocator: std.mem.Allocator) error{OutOfMemory}!*Pipe {
        const pipe = try allocator.create(Pipe);
        pipe.* = .{};
        return pipe;
    }

    /// True if the pipe is gone with it.
    pub fn closeReader(self: *Pipe, allocator: std.mem.Allocator) bool {
        self.readers -= 1;
        if (self.readers == 0) self.changes_out +%= 1;
        return self.destroyIfUnused(allocator);
    }

    /// True if the pipe is gone with it.
    pub fn closeWriter(self: *Pipe, allocator: std.mem.Allocator) bool {
        self.writers -= 1;
        if (self.writers == 0) self.changes_in +%= 1;
        return self.destroyIfUnused(allocator);
    }

    fn destroyIfUnused(self: *Pipe, allocator: std.mem.Allocator) bool {
        if (self.readers > 0 or self.writers > 0) return false;
        allocator.destroy(self);
        return true;
    }

    pub fn room(self: *const Pipe) usize {
        return self.limit - self.fill;
    }

    /// Whether a writer that polls is told so.
    pub fn hasRoom(self: *const Pipe) bool {
        return self.room() >= atomic_bytes;
    }

    pub const ResizeError = error{ Busy, TooLarge };

    /// In whole pages, a power of two of them; not below what it holds, nor above the ring.
    pub fn resize(self: *Pipe, wanted: usize) ResizeError!void {
        if (wanted > capacity) return error.TooLarge;
        const limit = std.math.ceilPowerOfTwoAssert(usize, @max(wanted, atomic_bytes));
        if (limit < self.fill) return error.Busy;
        const had_room = self.hasRoom();
        self.limit = limit;
        if (!had_room and self.hasRoom()) self.changes_out +%= 1;
    }

    /// Takes over what another pipe holds; the ends are the caller's to count.
    pub fn copyFrom(self: *Pipe, from: *const Pipe) void {
        self.changes_in = from.changes_in;
        self.changes_out = from.changes_out;
        self.start = 0;
        self.fill = from.fill;
        self.limit = from.limit;
        from.peek(self.bytes[0..from.fill]);
    }

    /// Copies what it holds, in order.
    pub fn peek(self: *const Pipe, out: []u8) void {
        const first = @min(self.fill, capacity - self.start);
        @memcpy(out[0..first], self.bytes[self.start..][0..first]);
        @memcpy(out[first..self.fill], self.bytes[0 .. self.fill - first]);
    }

    pub fn sameAs(self: *const Pipe, other: *const Pipe) bool {
        if (self.changes_in != other.changes_in or self.changes_out != other.changes_out) return false;
        if (self.fill != other.fill or self.limit != other.limit or self.readers != other.readers or self.writers != other.writers) return false;
        for (0..self.fill) |index| {
            if (self.bytes[(self.start + index) % capacity] != other.bytes[(other.start + index) % capacity]) return false;
        }
        return true;
    }

    pub fn read(self: *Pipe, out: []u8) usize {
        const had_room = self.hasRoom();
        const count = @min(out.len, self.fill);
        const first = @min(count, capacity - self.start);
        @memcpy(out[0..first], self.bytes[self.start..][0..first]);
        @memcpy(out[first..count], self.bytes[0 .. count - first]);
        self.start = (self.start + count) % capacity;
        self.fill -= count;
        if (!had_room and self.hasRoom()) self.changes_out +%= 1;
        return count;
    }

    pub fn write(self: *Pipe, data: []const u8) usize {
        const count = @min(data.len, self.room());
        const end = (self.start + self.fill) % capacity;
        const first = @min(count, capacity - end);
        @memcpy(self.bytes[end..][0..first], data[0..first]);
        @memcpy(self.bytes[0 .. count - first], data[first..count]);
        self.fill += count;
        if (count > 0) self.changes_in +%= 1;
        return count;
    }
};

test "bytes come out of a pipe in order, around its end too" {
    const pipe = try Pipe.create(std.testing.allocator);
    defer {
        _ = pipe.closeReader(std.testing.allocator);
        _ = pipe.closeWriter(std.testing.allocator);
    }
    var next_in: u8 = 0;
    var next_out: u8 = 0;
    var buffer: [40_000]u8 = undefined;
    for (0..20) |_| {
        for (&buffer) |*byte| {
            byte.* = next_in;
            next_in +%= 1;
        }
        const written = pipe.write(&buffer);
        next_in -%= @truncate(buffer.len - written);
        const got = pipe.read(buffer[0..30_000]);
        for (buffer[0..got]) |byte| {
            try std.testing.expectEqual(next_out, byte);
            next_out +%= 1;
        }
    }
}
