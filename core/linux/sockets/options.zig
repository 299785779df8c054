//! setsockopt and getsockopt. Options with a number are in `option_values.zig`; here are those that are more or less.
const std = @import("std");
const linux = std.os.linux;
const connecting = @import("connecting.zig");
const creating = @import("creating.zig");
const host_socket = @import("host_socket.zig");
const kernel_module = @import("../kernel.zig");
const queue_module = @import("queue.zig");
const values = @import("option_values.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

const SO_TYPE = 3;
const SO_ERROR = 4;
const SO_LINGER = host_socket.SO_LINGER;
const SO_PEERCRED = 17;
const SO_SNDLOWAT = 19;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const SO_ACCEPTCONN = 30;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
/// The same with 64-bit times, which on x86-64 are no others.
const SO_RCVTIMEO_NEW = 66;
const SO_SNDTIMEO_NEW = 67;

const Timeval = extern struct { seconds: i64, microseconds: i64 };

/// Whether sockets like this one know a level; else a negative errno.
fn checkLevel(socket: *const Socket, level: u32) i64 {
    if (level == values.SOL_SOCKET) return 0;
    if (!socket.isInet()) return fail(.OPNOTSUPP);
    const known = switch (level) {
        values.IPPROTO_TCP => socket.isStream(),
        values.IPPROTO_IP => socket.family == .inet or socket.type == .datagram,
        values.IPPROTO_IPV6 => socket.family == .inet6,
        else => false,
    };
    return if (known) 0 else fail(.NOPROTOOPT);
}

pub fn setsockopt(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const socket = opened.socket;
    const level: u32 = @truncate(a[1]);
    const name: u32 = @truncate(a[2]);
    const length: i32 = @bitCast(@as(u32, @truncate(a[4])));
    if (length < 0) return fail(.INVAL);
    const unknown = checkLevel(socket, level);
    if (unknown < 0) return unknown;
    if (level == values.SOL_SOCKET) switch (name) {
        SO_LINGER => return setLinger(k, socket, a[3], length),
        SO_RCVTIMEO, SO_RCVTIMEO_NEW => return setTimeout(k, &socket.options.receive_timeout_ns, a[3], length),
        SO_SNDTIMEO, SO_SNDTIMEO_NEW => return setTimeout(k, &socket.options.send_timeout_ns, a[3], length),
        else => {},
    };
    const index = values.find(level, name) orelse return fail(.NOPROTOOPT);
    if (length < @sizeOf(i32)) return fail(.INVAL);
    const value = k.memory.readValue(i32, a[3]) catch return fail(.FAULT);
    if (values.rows[index].host) if (socket.host) |there| if (!there.isShared()) {
        k.hostCall();
        const rc = there.setOption(level, name, std.mem.asBytes(&value));
        if (rc < 0) return rc;
    };
    socket.options.put(index, value);
    return 0;
}

fn setLinger(k: *Kernel, socket: *Socket, address: u64, length: i32) i64 {
    if (length < @sizeOf(values.Linger)) return fail(.INVAL);
    const linger = k.memory.readValue(values.Linger, address) catch return fail(.FAULT);
    socket.options.linger = .{ .on = @intFromBool(linger.on != 0), .seconds = linger.seconds };
    const there = socket.host orelse return 0;
    if (there.isShared()) return 0;
    // One that waits would hold up the host's thread at close, so only the reset is passed on.
    const passed: values.Linger = if (socket.options.resetsOnClose()) socket.options.linger else .{};
    k.hostCall();
    return there.setOption(values.SOL_SOCKET, SO_LINGER, std.mem.asBytes(&passed));
}

fn setTimeout(k: *Kernel, to: *?u64, address: u64, length: i32) i64 {
    if (length < @sizeOf(Timeval)) return fail(.INVAL);
    const time = k.memory.readValue(Timeval, address) catch return fail(.FAULT);
    if (time.microseconds < 0 or time.microseconds >= std.time.us_per_s) return fail(.DOM);
    const ns = @as(u64, @intCast(@max(time.seconds, 0))) *| std.time.ns_per_s +| @as(u64, @intCast(time.microseconds)) * std.time.ns_per_us;
    to.* = if (ns == 0) null else ns;
    // A time that has been over before it began is the shortest there is.
    if (time.seconds < 0) to.* = 1;
    return 0;
}

pub fn getsockopt(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const socket = opened.socket;
    const level: u32 = @truncate(a[1]);
    const name: u32 = @truncate(a[2]);
    const room = k.memory.readValue(i32, a[4]) catch return fail(.FAULT);
    if (room < 0) return fail(.INVAL);
    const unknown = checkLevel(socket, level);
    if (unknown < 0) return unknown;
    const answer: Answer = .{ .k = k, .value_at = a[3], .length_at = a[4], .room = @intCast(room) };
    if (level == values.SOL_SOCKET) switch (name) {
        SO_TYPE => return answer.number(@intFromEnum(socket.type)),
        SO_DOMAIN => return answer.number(@intFromEnum(socket.family)),
        SO_PROTOCOL => return answer.number(socket.protocol),
        SO_ACCEPTCONN => return answer.number(@intFromBool(socket.state == .listening)),
        SO_SNDLOWAT => return answer.number(1),
        SO_ERROR => return answer.number(@intFromEnum(failureOf(k, socket))),
        SO_LINGER => return answer.bytes(std.mem.asBytes(&socket.options.linger)),
        SO_RCVTIMEO, SO_RCVTIMEO_NEW => return answer.time(socket.options.receive_timeout_ns),
        SO_SNDTIMEO, SO_SNDTIMEO_NEW => return answer.time(socket.options.send_timeout_ns),
        SO_PEERCRED => {
            if (socket.isInet()) return answer.bytes(std.mem.asBytes(&queue_module.Credentials{ .uid = none, .gid = none }));
            const known = socket.peer_credentials orelse queue_module.Credentials{ .uid = none, .gid = none };
            return answer.bytes(std.mem.asBytes(&known));
        },
        else => {},
    };
    const index = values.find(level, name) orelse return fail(.NOPROTOOPT);
    return answer.number(valueOf(k, socket, index));
}

/// A user that there is none.
const none = std.math.maxInt(u32);

/// What the host has, since it may change what was asked for; of its own account if it is the machine's.
fn valueOf(k: *Kernel, socket: *const Socket, index: usize) i32 {
    const row = values.rows[index];
    if (row.host) if (socket.host) |there| if (!there.isShared()) {
        var value: i32 = 0;
        var length: u32 = @sizeOf(i32);
        k.hostCall();
        const rc: isize = @bitCast(linux.getsockopt(there.fd, @intCast(row.level), row.name, @ptrCast(&value), &length));
        if (rc == 0) return value;
    };
    return socket.options.get(index);
}

fn failureOf(k: *Kernel, socket: *Socket) linux.E {
    connecting.settle(k, socket);
    if (socket.failure != .SUCCESS) return socket.takeFailure();
    const there = socket.host orelse return .SUCCESS;
    k.hostCall();
    return there.takeFailure();
}

const Answer = struct {
    k: *Kernel,
    value_at: u64,
    length_at: u64,
    room: usize,

    fn bytes(self: Answer, value: []const u8) i64 {
        const shown = value[0..@min(value.len, self.room)];
        if (shown.len > 0) self.k.memory.write(self.value_at, shown) catch return fail(.FAULT);
        self.k.memory.writeValue(self.length_at, @as(u32, @intCast(shown.len))) catch return fail(.FAULT);
        return 0;
    }

    fn number(self: Answer, value: i32) i64 {
        return self.bytes(std.mem.asBytes(&value));
    }

    fn time(self: Answer, span: ?u64) i64 {
        const ns = span orelse 0;
        const value: Timeval = .{ .seconds = @intCast(ns / std.time.ns_per_s), .microseconds = @intCast(ns % std.time.ns_per_s / std.time.ns_per_us) };
        return self.bytes(std.mem.asBytes(&value));
    }
};
