//! Hostile arguments for system calls: where pointers, lengths, descriptors, flags and paths of a fuzzer come from.
const std = @import("std");
const layout = @import("../../layout.zig");
const limits = @import("../../limits.zig");
const table = @import("../table.zig");
const Machine = @import("../../machine.zig").Machine;

/// Readable and writable, with nothing mapped behind it.
pub const data_base = 0x1000_0000;
pub const data_bytes = 64 * limits.KiB;
/// A page that may be read only, behind one that may be written.
pub const writable_page = 0x1002_0000;
pub const readonly_page = writable_page + limits.page_size;
pub const readonly_byte = 0xa5;
pub const closed_page = 0x1003_0000;
/// Where calls of a sequence map and unmap.
pub const pool_base = 0x2000_0000;
pub const pool_pages = 64;

const page = limits.page_size;

pub const Source = struct {
    random: std.Random,
    machine: *Machine,
    paths: []const []const u8,
    /// Arguments are of the right kind more often, from a smaller pool.
    plausible: bool,

    fn below(self: *Source, bound: u64) u64 {
        return self.random.uintLessThan(u64, bound);
    }

    pub fn address(self: *Source) u64 {
        return switch (self.below(16)) {
            0...4 => data_base + self.below(data_bytes),
            5 => data_base + self.below(16) * page -% self.below(16),
            6 => data_base + data_bytes - self.below(300),
            7 => readonly_page - self.below(300),
            8 => readonly_page + self.below(page),
            9 => closed_page + self.below(page),
            10 => layout.system_base + self.below(0x10000),
            11 => layout.user_end - self.below(0x4000),
            12 => self.below(page),
            13 => std.math.maxInt(u64) - self.below(600),
            14 => (@as(u64, 1) << 47) -% self.below(600),
            else => self.random.int(u64),
        };
    }

    pub fn number(self: *Source) u64 {
        return switch (self.below(11)) {
            0...2 => self.below(12),
            3 => self.below(5000),
            4 => @as(u64, 1) << self.random.int(u6),
            5 => (@as(u64, 1) << self.random.int(u6)) -% 1,
            6 => @bitCast(-@as(i64, @intCast(self.below(200)))),
            7 => page *% self.below(20) +% self.below(3) -% 1,
            8 => self.random.int(u32),
            9 => ([_]u64{ 1 << 31, 1 << 32, 1 << 62, 1 << 63, std.math.maxInt(u64), limits.transfer_max_bytes, limits.path_max_bytes })[self.below(7)],
            else => self.random.int(u64),
        };
    }

    fn put(self: *Source, bytes: []const u8) u64 {
        // Up to the end of the data, so that reading on would fault.
        const at = if (self.below(4) == 0) data_base + data_bytes - bytes.len else data_base + self.below(data_bytes - bytes.len);
        self.machine.space.writeAnyRights(at, bytes) catch {};
        return at;
    }

    fn path(self: *Source) u64 {
        if (self.paths.len == 0) return self.address();
        var buffer: [limits.path_max_bytes]u8 = undefined;
        const text = self.paths[self.below(self.paths.len)];
        @memcpy(buffer[0..text.len], text);
        buffer[text.len] = 0;
        return self.put(buffer[0 .. text.len + 1]);
    }

    /// Memory that a call may take for an array or a structure.
    fn structure(self: *Source) u64 {
        var words: [16]u64 = undefined;
        switch (self.below(5)) {
            // Pieces of a vectored transfer.
            0 => for (0..8) |index| {
                words[2 * index] = self.address();
                words[2 * index + 1] = if (self.below(3) > 0) self.below(9000) else self.number();
            },
            // Descriptors to wait for.
            1 => for (&words) |*word| {
                // The first half of some is flags of epoll's.
                word.* = self.below(16) | self.below(64) << 32 | (if (self.below(4) == 0) self.below(16) << 28 else 0);
            },
            // Times.
            2 => for (&words) |*word| {
                word.* = if (self.random.boolean()) self.below(1000) else self.number();
            },
            // Sets of descriptors.
            3 => for (&words) |*word| {
                word.* = self.random.int(u64) & self.random.int(u64);
            },
            else => for (&words) |*word| {
                word.* = if (self.random.boolean()) self.number() else self.address();
            },
        }
        return self.put(std.mem.sliceAsBytes(&words));
    }

    fn flags(self: *Source) u64 {
        var value: u64 = 0;
        for (0..self.below(4)) |_| value |= @as(u64, 1) << @intCast(self.below(24));
        return value;
    }

    fn size(self: *Source) u64 {
        return switch (self.below(6)) {
            0...2 => self.below(600),
            3 => self.below(9000),
            4 => page * self.below(20) +% self.below(3) -% 1,
            else => self.number(),
        };
    }

    pub fn argument(self: *Source, shape: ?table.Shape) u64 {
        const wrong: u64 = if (self.plausible) 40 else 8;
        if (self.below(wrong) == 0) return if (self.random.boolean()) self.address() else self.number();
        return switch (shape orelse return self.number()) {
            .path => self.path(),
            .address => if (self.below(3) == 0) self.address() else self.structure(),
            .bytes_in, .bytes_out => self.address(),
            .descriptor => if (self.below(32) == 0) @as(u64, 1) << @intCast(self.below(16)) else self.below(if (self.plausible) 12 else 24),
            .directory_descriptor => if (self.random.boolean()) @bitCast(@as(i64, -100)) else self.below(12),
            .size => self.size(),
            .signal => self.below(70),
            .protection => self.below(8),
            .mode => self.random.int(u12),
            .open_flags => self.openFlags(),
            .map_flags => 1 + self.below(3) | (if (self.random.boolean()) @as(u64, 0x20) else 0) | (if (self.below(4) == 0) @as(u64, 0x10) else 0) | (if (self.below(16) == 0) self.flags() else 0),
            .hex => if (self.random.boolean()) self.flags() else 0,
            .clock => self.below(13),
            .interval_timer => self.below(4),
            .epoll_operation => self.below(5),
            .offset => if (self.random.boolean()) self.below(3) * page else self.number(),
            .integer, .unsigned => self.number(),
            .socket_address => self.socketAddress(),
            .socket_family => if (self.below(8) == 0) self.number() else ([_]u64{ 1, 2, 10 })[self.below(3)],
            .socket_type => ([_]u64{ 1, 2, 5, 3 })[self.below(4)] | (if (self.random.boolean()) @as(u64, 0o4000) else 0) | (if (self.below(4) == 0) @as(u64, 0o2000000) else 0),
            .message => self.messages(),
        };
    }

    /// An address on the loopback network at a port that the machine may have given, or a name of AF_UNIX.
    fn socketAddress(self: *Source) u64 {
        var bytes: [110]u8 = @splat(0);
        const port: u16 = if (self.below(4) == 0) self.random.int(u16) else 32768 + @as(u16, @intCast(self.below(12)));
        std.mem.writeInt(u16, bytes[2..4], port, .big);
        switch (self.below(4)) {
            0 => {
                bytes[0] = 2;
                if (self.random.boolean()) bytes[4..8].* = .{ 127, 0, 0, 1 };
            },
            1 => {
                bytes[0] = 10;
                if (self.random.boolean()) bytes[23] = 1 else bytes[18..24].* = .{ 0xff, 0xff, 127, 0, 0, 1 };
            },
            else => {
                bytes[0] = 1;
                bytes[2..4].* = .{ if (self.random.boolean()) 0 else 'a', @intCast(self.below(4)) };
                if (self.random.boolean()) _ = std.fmt.bufPrint(bytes[2..], "/tmp/{d}", .{self.below(4)}) catch unreachable;
            },
        }
        return self.put(bytes[0 .. 2 + self.below(bytes.len - 1)]);
    }

    /// Headers of messages, with control that names open files.
    fn messages(self: *Source) u64 {
        var control: [4]u64 = .{ 16 + 4 * self.below(4), 1 | (1 + self.below(2)) << 32, self.below(12) | self.below(12) << 32, self.below(12) };
        if (self.below(8) == 0) control[self.below(4)] = self.number();
        const vectors = [_]u64{ self.address(), self.below(600), self.address(), self.size() };
        var words: [24]u64 = undefined;
        for (0..3) |index| {
            const named = self.below(3) == 0;
            const controlled = self.below(2) == 0;
            words[8 * index ..][0..8].* = .{
                if (named) self.socketAddress() else 0,
                if (named) self.below(130) else 0,
                self.put(std.mem.sliceAsBytes(&vectors)),
                if (self.below(16) == 0) self.number() else self.below(3),
                if (controlled) self.put(std.mem.sliceAsBytes(&control)) else 0,
                if (controlled) self.below(48) else 0,
                0,
                0,
            };
        }
        if (self.below(16) == 0) words[self.below(24)] = self.number();
        return self.put(std.mem.sliceAsBytes(&words));
    }

    fn openFlags(self: *Source) u64 {
        var value = self.below(3);
        const known = [_]u64{ 0o100, 0o200, 0o1000, 0o2000, 0o4000, 0o200000, 0o400000, 0o2000000, 0o10000000 };
        for (known) |flag| if (self.below(5) == 0) {
            value |= flag;
        };
        return if (self.below(16) == 0) value | self.flags() else value;
    }

    /// Arguments of calls that change mappings: inside the pool mostly.
    pub fn mapping(self: *Source) struct { start: u64, length: u64 } {
        const first = self.below(pool_pages);
        const count = 1 + self.below(pool_pages - first);
        return .{ .start = pool_base + first * page, .length = count * page };
    }
};
