//! The options that sockets have, one row each, and their values. What is not here is ENOPROTOOPT.
const std = @import("std");
const limits = @import("../../limits.zig");

pub const SOL_SOCKET = 1;
pub const IPPROTO_IP = 0;
pub const IPPROTO_TCP = 6;
pub const IPPROTO_IPV6 = 41;

pub const Row = struct {
    level: u32,
    name: u32,
    default: i32 = 0,
    kind: enum { boolean, number, buffer } = .number,
    /// Given to the host's socket; the others mean something to this machine alone.
    host: bool = true,
};

const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
pub const SO_PASSCRED = 16;
const IPV6_V6ONLY = 26;

/// The numbers are those of Linux on x86-64, the defaults what Linux has (socket(7), tcp(7), ip(7), ipv6(7)).
pub const rows = [_]Row{
    .{ .level = SOL_SOCKET, .name = 2, .kind = .boolean }, // SO_REUSEADDR
    .{ .level = SOL_SOCKET, .name = 6, .kind = .boolean }, // SO_BROADCAST
    .{ .level = SOL_SOCKET, .name = SO_SNDBUF, .kind = .buffer, .default = limits.socket_buffer_default_bytes },
    .{ .level = SOL_SOCKET, .name = SO_RCVBUF, .kind = .buffer, .default = limits.socket_buffer_default_bytes },
    .{ .level = SOL_SOCKET, .name = 9, .kind = .boolean }, // SO_KEEPALIVE
    .{ .level = SOL_SOCKET, .name = 10, .kind = .boolean }, // SO_OOBINLINE
    .{ .level = SOL_SOCKET, .name = 15, .kind = .boolean }, // SO_REUSEPORT
    .{ .level = SOL_SOCKET, .name = SO_PASSCRED, .kind = .boolean, .host = false },
    .{ .level = SOL_SOCKET, .name = 18, .default = 1 }, // SO_RCVLOWAT
    .{ .level = IPPROTO_TCP, .name = 1, .kind = .boolean }, // TCP_NODELAY
    .{ .level = IPPROTO_TCP, .name = 2, .default = 536 }, // TCP_MAXSEG
    .{ .level = IPPROTO_TCP, .name = 3, .kind = .boolean }, // TCP_CORK
    .{ .level = IPPROTO_TCP, .name = 4, .default = 7200 }, // TCP_KEEPIDLE
    .{ .level = IPPROTO_TCP, .name = 5, .default = 75 }, // TCP_KEEPINTVL
    .{ .level = IPPROTO_TCP, .name = 6, .default = 9 }, // TCP_KEEPCNT
    .{ .level = IPPROTO_TCP, .name = 7, .default = 6 }, // TCP_SYNCNT
    .{ .level = IPPROTO_TCP, .name = 8, .default = 60 }, // TCP_LINGER2
    .{ .level = IPPROTO_TCP, .name = 9 }, // TCP_DEFER_ACCEPT
    .{ .level = IPPROTO_TCP, .name = 12, .kind = .boolean, .default = 1 }, // TCP_QUICKACK
    .{ .level = IPPROTO_TCP, .name = 18 }, // TCP_USER_TIMEOUT
    .{ .level = IPPROTO_IP, .name = 1 }, // IP_TOS
    .{ .level = IPPROTO_IP, .name = 2, .default = 64 }, // IP_TTL
    .{ .level = IPPROTO_IP, .name = 10, .default = 1 }, // IP_MTU_DISCOVER
    .{ .level = IPPROTO_IP, .name = 11, .kind = .boolean }, // IP_RECVERR
    .{ .level = IPPROTO_IPV6, .name = 16, .default = 64 }, // IPV6_UNICAST_HOPS
    .{ .level = IPPROTO_IPV6, .name = 23, .default = 1 }, // IPV6_MTU_DISCOVER
    .{ .level = IPPROTO_IPV6, .name = 25, .kind = .boolean }, // IPV6_RECVERR
    .{ .level = IPPROTO_IPV6, .name = IPV6_V6ONLY, .kind = .boolean },
    .{ .level = IPPROTO_IPV6, .name = 67 }, // IPV6_TCLASS
};

pub fn find(level: u32, name: u32) ?usize {
    for (rows, 0..) |row, index| if (row.level == level and row.name == name) return index;
    return null;
}

fn indexOf(comptime level: u32, comptime name: u32) usize {
    return comptime find(level, name).?;
}

pub const Linger = extern struct { on: i32 = 0, seconds: i32 = 0 };

/// Linux's net.core.rmem_max, and the least that a buffer may be.
const buffer_max = limits.socket_buffer_default_bytes;
const send_buffer_min = 4608;
const receive_buffer_min = 2304;

pub const Values = struct {
    values: [rows.len]i32 = defaults,
    /// Which of them the program has set.
    set: std.StaticBitSet(rows.len) = .initEmpty(),
    linger: Linger = .{},
    /// null: for ever.
    receive_timeout_ns: ?u64 = null,
    send_timeout_ns: ?u64 = null,

    const defaults = blk: {
        var all: [rows.len]i32 = undefined;
        for (&all, rows) |*value, row| value.* = row.default;
        break :blk all;
    };

    pub fn get(self: *const Values, index: usize) i32 {
        return self.values[index];
    }

    pub fn put(self: *Values, index: usize, value: i32) void {
        self.set.set(index);
        self.values[index] = switch (rows[index].kind) {
            .boolean => @intFromBool(value != 0),
            .number => value,
            // Linux doubles what was asked for.
            .buffer => 2 * std.math.clamp(value, @divExact(if (rows[index].name == SO_SNDBUF) @as(i32, send_buffer_min) else receive_buffer_min, 2), buffer_max),
        };
    }

    pub fn sendBuffer(self: *const Values) usize {
        return @intCast(self.values[indexOf(SOL_SOCKET, SO_SNDBUF)]);
    }

    pub fn receiveBuffer(self: *const Values) usize {
        return @intCast(self.values[indexOf(SOL_SOCKET, SO_RCVBUF)]);
    }

    pub fn passesCredentials(self: *const Values) bool {
        return self.values[indexOf(SOL_SOCKET, SO_PASSCRED)] != 0;
    }

    pub fn v6Only(self: *const Values) bool {
        return self.values[indexOf(IPPROTO_IPV6, IPV6_V6ONLY)] != 0;
    }

    pub fn setV6Only(self: *Values) void {
        self.values[indexOf(IPPROTO_IPV6, IPV6_V6ONLY)] = 1;
    }

    pub fn resetsOnClose(self: *const Values) bool {
        return self.linger.on != 0 and self.linger.seconds == 0;
    }
};

test "buffers are doubled and bounded as Linux does" {
    var values: Values = .{};
    const index = find(SOL_SOCKET, SO_RCVBUF).?;
    values.put(index, 1);
    try std.testing.expectEqual(receive_buffer_min, values.receiveBuffer());
    values.put(index, 8192);
    try std.testing.expectEqual(16384, values.receiveBuffer());
    values.put(index, std.math.maxInt(i32));
    try std.testing.expectEqual(2 * buffer_max, values.receiveBuffer());
    try std.testing.expectEqual(null, find(SOL_SOCKET, 25));
}
