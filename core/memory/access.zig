//! Checked access to guest memory by the VMM.
//!
//! Every guest pointer that the VMM follows goes through this file: a guest range is translated piece by piece, each piece
//! is checked against the guest's own mappings and protections, and a failure is `error.Fault` (EFAULT for the guest).
//! Data is to be copied once: validate the copy, never the original, because another host view may change it meanwhile.
//! Not here: how an address is translated (`address_space.zig`).
const std = @import("std");
const host = @import("../host.zig");
const limits = @import("../limits.zig");

pub const Intent = enum { read, write };

/// A host-contiguous part of guest memory.
pub const Piece = struct {
    bytes: []u8,
    /// Memory of the machine's own. What is not steady shows a file, which may be cut short at any time: only the host's
    /// kernel may touch it (`host.copyOut`, `host.copyIn`, or as the buffer of a host call).
    steady: bool = true,

    pub fn copyTo(self: Piece, out: []u8) Error!void {
        if (self.steady) return @memcpy(out, self.bytes[0..out.len]);
        if (!host.copyOut(out, self.bytes[0..out.len])) return error.Fault;
    }

    pub fn copyFrom(self: Piece, bytes: []const u8) Error!void {
        if (self.steady) return @memcpy(self.bytes[0..bytes.len], bytes);
        if (!host.copyIn(self.bytes[0..bytes.len], bytes)) return error.Fault;
    }
};

pub const Error = error{Fault};

pub const GuestAccess = struct {
    context: *anyopaque,
    /// The longest host-contiguous piece that starts at `address`, at most `length` bytes and at least one; null when
    /// the first byte may not be accessed in that way by the guest itself.
    piece_fn: *const fn (context: *anyopaque, address: u64, length: usize, intent: Intent) ?Piece,

    pub fn piece(self: GuestAccess, address: u64, length: usize, intent: Intent) Error!Piece {
        std.debug.assert(length > 0);
        const found = self.piece_fn(self.context, address, length, intent) orelse return error.Fault;
        std.debug.assert(found.bytes.len > 0 and found.bytes.len <= length);
        return found;
    }

    pub fn read(self: GuestAccess, address: u64, out: []u8) Error!void {
        var done: usize = 0;
        while (done < out.len) {
            const from = try self.piece(address +% done, out.len - done, .read);
            try from.copyTo(out[done..][0..from.bytes.len]);
            done += from.bytes.len;
        }
    }

    pub fn write(self: GuestAccess, address: u64, bytes: []const u8) Error!void {
        var done: usize = 0;
        while (done < bytes.len) {
            const to = try self.piece(address +% done, bytes.len - done, .write);
            try to.copyFrom(bytes[done..][0..to.bytes.len]);
            done += to.bytes.len;
        }
    }

    pub fn readValue(self: GuestAccess, comptime T: type, address: u64) Error!T {
        var value: T = undefined;
        try self.read(address, std.mem.asBytes(&value));
        return value;
    }

    pub fn writeValue(self: GuestAccess, address: u64, value: anytype) Error!void {
        try self.write(address, std.mem.asBytes(&value));
    }

    /// Copies a NUL-terminated string; the result is a prefix of `out` without the NUL.
    pub fn readCString(self: GuestAccess, address: u64, out: []u8) (Error || error{NameTooLong})![]u8 {
        var done: usize = 0;
        while (done < out.len) {
            const from = try self.piece(address +% done, out.len - done, .read);
            // What is not steady is copied to the end of its page: the string may end there, and what follows may be gone.
            const end_here = if (from.steady) std.mem.indexOfScalar(u8, from.bytes, 0) else null;
            const in_page: usize = @intCast(limits.page_size - (address +% done) % limits.page_size);
            const length = if (end_here) |end| end + 1 else if (from.steady) from.bytes.len else @min(from.bytes.len, in_page);
            const copied = out[done..][0..length];
            try from.copyTo(copied);
            if (std.mem.indexOfScalar(u8, copied, 0)) |end| return out[0 .. done + end];
            done += copied.len;
        }
        return error.NameTooLong;
    }
};

/// A flat piece of memory that stands for a guest in unit tests: valid from `base`, read-write.
pub const FlatGuest = struct {
    base: u64,
    bytes: []u8,

    pub fn access(self: *FlatGuest) GuestAccess {
        return .{ .context = self, .piece_fn = pieceOf };
    }

    fn pieceOf(context: *anyopaque, address: u64, length: usize, intent: Intent) ?Piece {
        _ = intent;
        const self: *FlatGuest = @ptrCast(@alignCast(context));
        if (address < self.base) return null;
        const offset = address - self.base;
        if (offset >= self.bytes.len) return null;
        return .{ .bytes = self.bytes[offset..][0..@min(length, self.bytes.len - offset)] };
    }
};

test "a string that ends exactly at the end of memory is read, one that runs over it faults" {
    var bytes = "abc\x00defg".*;
    var guest: FlatGuest = .{ .base = 0x1000, .bytes = &bytes };
    const memory = guest.access();
    var out: [16]u8 = undefined;
    try std.testing.expectEqualStrings("abc", try memory.readCString(0x1000, &out));
    try std.testing.expectError(error.Fault, memory.readCString(0x1004, &out));
    try std.testing.expectError(error.NameTooLong, memory.readCString(0x1000, out[0..2]));
    try std.testing.expectError(error.Fault, memory.readValue(u64, 0xfff));
}
