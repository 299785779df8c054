//! Bytes to be sent or to be filled: a guest's own buffers, or the VMM's when it copies between files (sendfile).
const std = @import("std");
const access = @import("../../memory/access.zig");
const limits = @import("../../limits.zig");

/// struct iovec
pub const Vector = extern struct { base: u64, length: u64 };

/// What is given to the host in one call; what is longer is done piece by piece.
pub const host_pieces_max = 64;
pub const HostPieces = [host_pieces_max]std.posix.iovec;

pub const Buffer = struct {
    total: u64,
    bytes: union(enum) {
        guest: struct { memory: access.GuestAccess, vectors: []const Vector },
        own: []u8,
    },

    pub fn ofGuest(memory: access.GuestAccess, vectors: []const Vector) Buffer {
        var total: u64 = 0;
        for (vectors) |vector| total += vector.length;
        return .{ .total = @min(total, limits.transfer_max_bytes), .bytes = .{ .guest = .{ .memory = memory, .vectors = vectors } } };
    }

    pub fn ofBytes(bytes: []u8) Buffer {
        return .{ .total = bytes.len, .bytes = .{ .own = bytes } };
    }

    /// Copies `out.len` bytes at `offset`, which must be there.
    pub fn read(self: *const Buffer, offset: u64, out: []u8) access.Error!void {
        switch (self.bytes) {
            .own => |bytes| @memcpy(out, bytes[@intCast(offset)..][0..out.len]),
            .guest => |guest| {
                var walk: Walk = .{ .vectors = guest.vectors };
                walk.skip(offset);
                var done: usize = 0;
                while (done < out.len) {
                    const part = walk.take(out.len - done);
                    try guest.memory.read(part.base, out[done..][0..@intCast(part.length)]);
                    done += @intCast(part.length);
                }
            },
        }
    }

    /// Puts bytes at `offset`, where there must be room.
    pub fn write(self: *const Buffer, offset: u64, bytes: []const u8) access.Error!void {
        switch (self.bytes) {
            .own => |own| @memcpy(own[@intCast(offset)..][0..bytes.len], bytes),
            .guest => |guest| {
                var walk: Walk = .{ .vectors = guest.vectors };
                walk.skip(offset);
                var done: usize = 0;
                while (done < bytes.len) {
                    const part = walk.take(bytes.len - done);
                    try guest.memory.write(part.base, bytes[done..][0..@intCast(part.length)]);
                    done += @intCast(part.length);
                }
            },
        }
    }

    /// The bytes from `offset` on as the host takes them; fewer than there are if they are in many pieces, or if what
    /// follows may not be accessed.
    pub fn forHost(self: *const Buffer, offset: u64, intent: access.Intent, out: *HostPieces) access.Error![]std.posix.iovec {
        if (self.bytes == .own) {
            const rest = self.bytes.own[@intCast(offset)..];
            out[0] = .{ .base = rest.ptr, .len = rest.len };
            return out[0..1];
        }
        const guest = self.bytes.guest;
        var walk: Walk = .{ .vectors = guest.vectors };
        walk.skip(offset);
        var left = self.total - offset;
        var count: usize = 0;
        while (left > 0 and count < out.len) : (count += 1) {
            const at = walk;
            const part = walk.take(left);
            const piece = guest.memory.piece(part.base, @intCast(part.length), intent) catch {
                if (count == 0) return error.Fault;
                break;
            };
            out[count] = .{ .base = piece.bytes.ptr, .len = piece.bytes.len };
            left -= piece.bytes.len;
            walk = at;
            walk.skip(piece.bytes.len);
        }
        return out[0..count];
    }
};

const Walk = struct {
    vectors: []const Vector,
    index: usize = 0,
    within: u64 = 0,

    fn skip(self: *Walk, count: u64) void {
        var left = count;
        while (left > 0) left -= self.take(left).length;
    }

    /// The next part of one vector, at most `most` bytes and at least one.
    fn take(self: *Walk, most: u64) Vector {
        while (self.within == self.vectors[self.index].length) {
            self.index += 1;
            self.within = 0;
        }
        const vector = self.vectors[self.index];
        const part: Vector = .{ .base = vector.base +% self.within, .length = @min(most, vector.length - self.within) };
        self.within += part.length;
        return part;
    }
};

test "a buffer in pieces is read and written as one" {
    var memory: [64]u8 = undefined;
    for (&memory, 0..) |*byte, index| byte.* = @intCast(index);
    var guest: access.FlatGuest = .{ .base = 0x1000, .bytes = &memory };
    const vectors = [_]Vector{ .{ .base = 0x1010, .length = 4 }, .{ .base = 0x1000, .length = 0 }, .{ .base = 0x1002, .length = 3 } };
    const buffer: Buffer = .ofGuest(guest.access(), &vectors);
    try std.testing.expectEqual(7, buffer.total);
    var out: [4]u8 = undefined;
    try buffer.read(2, &out);
    try std.testing.expectEqualSlices(u8, &.{ 18, 19, 2, 3 }, &out);
    try buffer.write(3, "ab");
    try std.testing.expectEqualSlices(u8, "a", memory[19..20]);
    try std.testing.expectEqualSlices(u8, "b", memory[2..3]);
    var pieces: HostPieces = undefined;
    const host = try buffer.forHost(1, .read, &pieces);
    try std.testing.expectEqual(2, host.len);
    try std.testing.expectEqual(3, host[0].len);
    const bad: Buffer = .ofGuest(guest.access(), &.{.{ .base = 0x2000, .length = 4 }});
    try std.testing.expectError(error.Fault, bad.forHost(0, .read, &pieces));
}
