//! How a name finds a socket, what names a machine may use, and what a guest is told of them.
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const host = @import("../../host.zig");
const host_socket = @import("host_socket.zig");
const kernel_module = @import("../kernel.zig");
const file_names = @import("../files/names.zig");
const paths = @import("../paths.zig");
const patterns = @import("patterns.zig");
const private_mounts = @import("../files/private/mounts.zig");
const private_names = @import("../files/private/names.zig");
const private_open = @import("../files/private/open.zig");
const queue_module = @import("queue.zig");
const Address = address.Address;
const Ip = address.Ip;
const Kernel = kernel_module.Kernel;
const Socket = @import("socket.zig").Socket;
const Type = @import("socket.zig").Type;
const UnixName = address.UnixName;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
/// Who may write to a socket's file may connect to it.
const write_right = 2;
const socket_mode = 0o777;

pub fn credentialsOf(k: *const Kernel) queue_module.Credentials {
    return .{ .pid = k.identity.pid, .uid = k.identity.uid, .gid = k.identity.gid };
}

/// Whether the network may be used so; what is refused is told (`--verbose`).
pub fn demand(k: *Kernel, access: patterns.Access, ip: *const Ip) bool {
    if (k.files.scope.network.allows(access, ip)) return true;
    const tell = k.files.scope.network_refused orelse return false;
    var buffer: [64]u8 = undefined;
    const place = if (access == .connect) ip.target() else ip.*;
    tell(access, std.fmt.bufPrint(&buffer, "{f}", .{place}) catch return false);
    return false;
}

/// The address from which this machine sees a socket send to `there`.
pub fn seenFrom(socket: *const Socket, there: *const Ip) Ip {
    const local = if (socket.local == .ip) socket.local.ip else Ip.any(socket.family);
    if (!local.isAny()) return local;
    const from = if (there.isLoopback()) Ip.loopback(if (there.isV4()) .inet else .inet6) else there.*;
    return from.withPort(local.port);
}

/// Takes over the name that the host has given its socket by itself.
pub fn learn(k: *Kernel, socket: *Socket) void {
    if (socket.hasPort() and !socket.port_is_own) return;
    k.hostCall();
    const name = socket.host.?.name();
    if (name != .ip) return;
    socket.local = name;
    socket.port_is_own = false;
}

// AF_UNIX

pub const Found = union(enum) {
    socket: *Socket,
    /// A path of the host that the machine may connect to, opened as a place.
    host: i32,
    failed: i64,
};

/// Who has a name, of the type that asks.
pub fn find(k: *Kernel, name: *const UnixName, wanted: Type) Found {
    const found = findAny(k, name);
    if (found == .socket and found.socket.type != wanted) return .{ .failed = fail(.PROTOTYPE) };
    return found;
}

fn findAny(k: *Kernel, name: *const UnixName) Found {
    const refused: Found = .{ .failed = fail(.CONNREFUSED) };
    if (name.isAbstract()) return if (k.files.sockets.named(name)) |socket| .{ .socket = socket } else refused;
    var lookup: file_names.Lookup = .{ .k = k };
    var target: file_names.Target = .{};
    lookup.resolve(AT_FDCWD, name.text(), true, &target) catch return .{ .failed = lookup.errno };
    // What is made up has no sockets.
    if (target.node != null) return refused;
    switch (target.private) {
        .absent => return .{ .failed = fail(.NOENT) },
        .host, .shown => return findOnHost(k, &target),
        .node => |index| {
            const node = k.files.private.at(index);
            if (!private_mounts.allows(node, private_open.userOf(k), write_right)) return .{ .failed = fail(.ACCES) };
            if (node.kind != .socket) return refused;
            const bound: UnixName = .{ .inode = node.inode };
            return if (k.files.sockets.named(&bound)) |socket| .{ .socket = socket } else refused;
        },
    }
}

fn findOnHost(k: *Kernel, target: *const file_names.Target) Found {
    if (!demandPath(k, .connect, target)) return .{ .failed = fail(.ACCES) };
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    return if (fd < 0) .{ .failed = fd } else .{ .host = @intCast(fd) };
}

fn demandPath(k: *Kernel, access: patterns.Access, target: *const file_names.Target) bool {
    const path = target.at.hostPath();
    if (k.files.scope.network.allowsPath(access, path)) return true;
    const tell = k.files.scope.network_refused orelse return false;
    var buffer: [paths.path_max + 8]u8 = undefined;
    tell(access, std.fmt.bufPrint(&buffer, "unix:{s}", .{path}) catch return false);
    return false;
}

/// A name of the host as its calls take it: through a descriptor of ours, so that no link leads elsewhere meanwhile.
pub const HostName = struct {
    bytes: [address.bytes_max]u8 align(2) = @splat(0),
    length: u32 = 0,

    pub fn through(fd: i32, name: []const u8) ?HostName {
        var made: HostName = .{};
        std.mem.writeInt(u16, made.bytes[0..2], @intFromEnum(address.Family.unix), .little);
        const separator = if (name.len > 0) "/" else "";
        const path = std.fmt.bufPrint(made.bytes[2 .. 2 + UnixName.path_max - 1], "/proc/self/fd/{d}{s}{s}", .{ fd, separator, name }) catch return null;
        made.length = @intCast(2 + path.len + 1);
        return made;
    }
};

/// Gives an AF_UNIX socket a name; 0 or a negative errno.
pub fn bindUnix(k: *Kernel, socket: *Socket, given: *const UnixName) i64 {
    var name = given.*;
    if (name.isAbstract()) {
        if (socket.local != .none) return fail(.INVAL);
        if (k.files.sockets.named(&name) != null) return fail(.ADDRINUSE);
        socket.local = .{ .unix = name };
        return 0;
    }
    var lookup: file_names.Lookup = .{ .k = k, .changes_name = true };
    var target: file_names.Target = .{};
    lookup.resolve(AT_FDCWD, name.text(), false, &target) catch return lookup.errno;
    if (target.node != null) return fail(.ADDRINUSE);
    if (target.private == .node or target.private == .shown) return fail(.ADDRINUSE);
    if (socket.local != .none) return fail(.INVAL);
    if (target.private == .host) return bindOnHost(k, socket, &lookup, &target, &name);
    const index = private_names.makeSocket(k, &target, socket_mode & ~k.umask);
    if (index < 0) return index;
    name.inode = k.files.private.at(@intCast(index)).inode;
    socket.local = .{ .unix = name };
    return 0;
}

/// The lowest free abstract name (unix(7), "Autobind feature").
pub fn bindUnixAnywhere(k: *Kernel, socket: *Socket) i64 {
    if (socket.local != .none) return 0;
    socket.local = .{ .unix = k.files.sockets.freeName() orelse return fail(.NOSPC) };
    return 0;
}

fn bindOnHost(k: *Kernel, socket: *Socket, lookup: *file_names.Lookup, target: *const file_names.Target, name: *const UnixName) i64 {
    if (!demandPath(k, .listen, target)) return fail(.ACCES);
    if (target.place.must_be_directory) return fail(.NOENT);
    const folder = lookup.openParent(target) catch return lookup.errno;
    defer host.close(folder);
    const through = HostName.through(folder, target.place.name()) orelse return fail(.NAMETOOLONG);
    const failed = host_socket.ensure(k, socket);
    if (failed < 0) return failed;
    k.hostCall();
    const rc: i64 = @bitCast(linux.bind(socket.host.?.fd, @ptrCast(&through.bytes), through.length));
    if (rc < 0) return rc;
    socket.local = .{ .unix = name.* };
    socket.may_listen = true;
    return 0;
}
