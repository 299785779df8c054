//! System calls about names: bind, getsockname, getpeername; and addresses in guest memory.
const std = @import("std");
const address = @import("address.zig");
const creating = @import("creating.zig");
const host_socket = @import("host_socket.zig");
const kernel_module = @import("../kernel.zig");
const names = @import("names.zig");
const Address = address.Address;
const Args = kernel_module.Args;
const Ip = address.Ip;
const Kernel = kernel_module.Kernel;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

/// Reads an address argument for a socket; 0 or a negative errno. Without bytes it is `.none`.
pub fn read(k: *Kernel, at: u64, length: u64, family: address.Family, out: *Address) i64 {
    const bytes = @as(i32, @bitCast(@as(u32, @truncate(length))));
    if (bytes < 0 or bytes > address.bytes_max) return fail(.INVAL);
    out.* = .none;
    if (bytes == 0) return 0;
    var buffer: [address.bytes_max]u8 = undefined;
    const given = buffer[0..@intCast(bytes)];
    k.memory.read(at, given) catch return fail(.FAULT);
    out.* = address.parse(given, family) catch |failure| return fail(if (failure == error.Invalid) .INVAL else .AFNOSUPPORT);
    return 0;
}

/// Writes as much of an address as finds room, and how long it is; 0 or a negative errno.
pub fn write(k: *Kernel, name: *const Address, family: address.Family, at: u64, length_at: u64) i64 {
    var bytes: [address.bytes_max]u8 = undefined;
    const length = address.write(name, family, &bytes);
    return writeBytes(k, bytes[0..length], at, length_at);
}

/// An address of no bytes for a sender without a name.
pub fn writeSource(k: *Kernel, name: *const Address, family: address.Family, at: u64, length_at: u64) i64 {
    return if (name.* == .none) writeBytes(k, "", at, length_at) else write(k, name, family, at, length_at);
}

fn writeBytes(k: *Kernel, bytes: []const u8, at: u64, length_at: u64) i64 {
    const room = k.memory.readValue(i32, length_at) catch return fail(.FAULT);
    if (room < 0) return fail(.INVAL);
    const shown = bytes[0..@min(bytes.len, @as(usize, @intCast(room)))];
    if (shown.len > 0) k.memory.write(at, shown) catch return fail(.FAULT);
    k.memory.writeValue(length_at, @as(u32, @intCast(bytes.len))) catch return fail(.FAULT);
    return 0;
}

pub fn bind(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const socket = opened.socket;
    var name: Address = .none;
    const bad = read(k, a[1], a[2], socket.family, &name);
    if (bad < 0) return bad;
    switch (name) {
        .none => return fail(.INVAL),
        .unix => |*unix| return names.bindUnix(k, socket, unix),
        // Of IPv4 this is allowed for the unspecified address alone, which an old program may mean.
        .unspecified => {
            if (socket.family == .unix) return names.bindUnixAnywhere(k, socket);
            if (socket.family == .inet6) return fail(.AFNOSUPPORT);
            const port = k.memory.readValue([8]u8, a[1]) catch return fail(.FAULT);
            if (!std.mem.allEqual(u8, port[4..8], 0)) return fail(.AFNOSUPPORT);
            return bindIp(k, socket, Ip.any(.inet).withPort(std.mem.readInt(u16, port[2..4], .big)));
        },
        .ip => |ip| return bindIp(k, socket, ip),
    }
}

/// A port that the program names, or any port where it may listen, is the host's at once. Any other is the machine's own:
/// the host learns of it when something goes out, and then chooses one itself.
fn bindIp(k: *Kernel, socket: *Socket, ip: Ip) i64 {
    if (socket.hasPort() or socket.host != null or socket.state != .idle) return fail(.INVAL);
    if (ip.isV4() and socket.family == .inet6 and socket.options.v6Only()) return fail(.INVAL);
    // One that has an address of IPv6 has nothing to do with IPv4.
    if (!ip.isV4() and !ip.isAny()) socket.options.setV6Only();
    const may_listen = k.files.scope.network.allows(.listen, &ip);
    if (ip.port != 0 and !may_listen) {
        _ = names.demand(k, .listen, &ip);
        return fail(.ACCES);
    }
    const usual = ip.isLoopback() or ip.isAny();
    // Which other addresses the host has is nothing for who may not use its network.
    if (!may_listen and !usual and k.files.scope.network.connect.isEmpty()) return fail(.ADDRNOTAVAIL);
    if (!may_listen and usual) {
        const port = k.files.sockets.freePort() orelse return fail(.ADDRINUSE);
        socket.local = .{ .ip = ip.withPort(port) };
        socket.port_is_own = true;
        return 0;
    }
    const failed = host_socket.ensure(k, socket);
    if (failed < 0) return failed;
    k.hostCall();
    const rc = socket.host.?.bind(socket.family, &.{ .ip = ip });
    if (rc < 0) return rc;
    socket.local = .{ .ip = ip };
    socket.may_listen = may_listen;
    names.learn(k, socket);
    return 0;
}

pub fn getsockname(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    return write(k, &opened.socket.local, opened.socket.family, a[1], a[2]);
}

pub fn getpeername(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const socket = opened.socket;
    const connected = if (socket.isConnectionOriented()) socket.state == .connected else socket.remote != .none or socket.peer != null;
    if (!connected) return fail(.NOTCONN);
    // A connection of TCP that is over has no other end any more.
    if (socket.isInet() and socket.isStream() and socket.host == null and socket.peer == null and socket.shutdown.send) return fail(.NOTCONN);
    return write(k, &socket.remote, socket.family, a[1], a[2]);
}
