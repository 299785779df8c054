//! System calls that join sockets: connect, listen, accept, shutdown.
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const creating = @import("creating.zig");
const descriptors = @import("../files/descriptors.zig");
const host = @import("../../host.zig");
const host_socket = @import("host_socket.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const names = @import("names.zig");
const naming = @import("naming.zig");
const socket_module = @import("socket.zig");
const waiting = @import("waiting.zig");
const Address = address.Address;
const Args = kernel_module.Args;
const HostSocket = host_socket.HostSocket;
const Ip = address.Ip;
const Kernel = kernel_module.Kernel;
const Opened = creating.Opened;
const Socket = socket_module.Socket;
const fail = kernel_module.fail;

pub fn connect(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const socket = opened.socket;
    var name: Address = .none;
    const bad = naming.read(k, a[1], a[2], socket.family, &name);
    if (bad < 0) return bad;
    return switch (name) {
        .none => fail(.INVAL),
        .unspecified => if (socket.isInet() or socket.type == .datagram) disconnect(k, socket) else fail(.INVAL),
        .unix => |*unix| if (socket.type == .datagram) connectUnixDatagram(k, socket, unix) else connectUnix(k, opened, unix),
        .ip => |*ip| if (socket.type == .datagram) connectUdp(k, socket, ip) else connectTcp(k, opened, ip),
    };
}

/// Takes a connection or a datagram socket's remote address away.
fn disconnect(k: *Kernel, socket: *Socket) i64 {
    if (socket.state == .listening) return fail(.OPNOTSUPP);
    if (socket.host) |there| if (!there.isShared()) {
        k.hostCall();
        const unspecified: [2]u8 = @splat(0);
        const rc: i64 = @bitCast(linux.connect(there.fd, &unspecified, unspecified.len));
        if (rc < 0) return rc;
    };
    if (socket.isConnectionOriented()) {
        socket.reset();
        k.changed();
    } else {
        socket.peer = null;
        socket.state = .idle;
    }
    socket.remote = .none;
    return 0;
}

// Inside the machine

/// Puts the other end of a new connection into a listener's queue, or waits for room there.
fn knock(k: *Kernel, socket: *Socket, listener: *Socket) i64 {
    if (listener.waiting.items.len > listener.backlog) return fail(.AGAIN);
    const sockets = &k.files.sockets;
    var errno: i64 = 0;
    const embryo = creating.make(k, listener.family, listener.type, listener.protocol, &errno) orelse return errno;
    listener.waiting.append(sockets.allocator, embryo) catch {
        sockets.destroy(embryo);
        return fail(.NOMEM);
    };
    embryo.options = listener.options;
    embryo.is_accepted = true;
    embryo.told_connected = true;
    embryo.peer_credentials = names.credentialsOf(k);
    socket.peer_credentials = listener.peer_credentials;
    socket.wants = null;
    embryo.local = listener.local;
    embryo.join(socket);
    listener.changedIn();
    socket.changedBoth();
    k.changed();
    return 0;
}

fn connectUnix(k: *Kernel, opened: Opened, name: *const address.UnixName) i64 {
    const socket = opened.socket;
    switch (socket.state) {
        .connected, .connecting => return fail(.ISCONN),
        .listening => return fail(.INVAL),
        .idle => {},
    }
    const listener = switch (names.find(k, name, socket.type)) {
        .failed => |errno| return errno,
        .host => |fd| return connectHostPath(k, opened, fd, name),
        .socket => |found| found,
    };
    if (listener.state != .listening or listener.shutdown.receive) return fail(.CONNREFUSED);
    const rc = knock(k, socket, listener);
    if (rc == fail(.AGAIN)) return waiting.wait(k, opened.description, socket, 0, .send);
    socket.told_connected = true;
    return rc;
}

fn connectHostPath(k: *Kernel, opened: Opened, fd: i32, name: *const address.UnixName) i64 {
    defer host.close(fd);
    const socket = opened.socket;
    const failed = host_socket.ensure(k, socket);
    if (failed < 0) return failed;
    const through = names.HostName.through(fd, "").?;
    k.hostCall();
    const rc: i64 = @bitCast(linux.connect(socket.host.?.fd, &through.bytes, through.length));
    if (rc < 0) return rc;
    socket.state = .connected;
    socket.told_connected = true;
    socket.remote = .{ .unix = name.* };
    return 0;
}

fn connectUnixDatagram(k: *Kernel, socket: *Socket, name: *const address.UnixName) i64 {
    const there = switch (names.find(k, name, socket.type)) {
        .failed => |errno| return errno,
        .host => |fd| {
            defer host.close(fd);
            const failed = host_socket.ensure(k, socket);
            if (failed < 0) return failed;
            const through = names.HostName.through(fd, "").?;
            k.hostCall();
            const rc: i64 = @bitCast(linux.connect(socket.host.?.fd, &through.bytes, through.length));
            if (rc == 0) socket.remote = .{ .unix = name.* };
            return rc;
        },
        .socket => |found| found,
    };
    if (there.peer) |chosen| if (chosen != socket) return fail(.PERM);
    socket.peer = there;
    socket.state = .connected;
    socket.remote = there.local;
    return 0;
}

fn connectUdp(k: *Kernel, socket: *Socket, ip: *const Ip) i64 {
    const there = ip.target();
    const sockets = &k.files.sockets;
    const inside = sockets.datagramAt(&there, null) != null;
    if (!inside) {
        if (!names.demand(k, .connect, ip)) return fail(.ACCES);
        if (socket.host) |shared| if (shared.isShared()) socket.dropHost(k.files.allocator);
        const failed = host_socket.ensure(k, socket);
        if (failed < 0) return failed;
        k.hostCall();
        const rc = socket.host.?.connect(socket.family, &.{ .ip = ip.* });
        if (rc < 0) return rc;
        socket.remote = .{ .ip = there };
        // Its own address is now one of those that lead there.
        k.hostCall();
        socket.local = socket.host.?.name();
        socket.port_is_own = false;
        return 0;
    }
    const port = if (socket.hasPort()) socket.local.ip.port else sockets.freePort() orelse return fail(.AGAIN);
    if (!socket.hasPort()) socket.port_is_own = true;
    socket.local = .{ .ip = names.seenFrom(socket, &there).withPort(port) };
    socket.remote = .{ .ip = there };
    return 0;
}

fn connectTcp(k: *Kernel, opened: Opened, ip: *const Ip) i64 {
    const socket = opened.socket;
    switch (socket.state) {
        .listening => return fail(.ISCONN),
        .connected => {
            if (socket.told_connected) return fail(.ISCONN);
            socket.told_connected = true;
            return 0;
        },
        .connecting => return if (socket.host != null) connectHost(k, opened, ip) else inProgress(k, opened),
        .idle => {},
    }
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    if (ip.isV4() and socket.family == .inet6 and socket.options.v6Only()) return fail(.NETUNREACH);
    const there = ip.target();
    const listener = k.files.sockets.listenerAt(&there) orelse {
        if (!names.demand(k, .connect, ip)) return fail(.ACCES);
        return connectHost(k, opened, ip);
    };
    return connectInside(k, opened, listener, &there);
}

fn connectInside(k: *Kernel, opened: Opened, listener: *Socket, there: *const Ip) i64 {
    const socket = opened.socket;
    // Of what it was bound to on the host nothing is needed.
    if (!socket.hasPort()) {
        const port = k.files.sockets.freePort() orelse return fail(.ADDRNOTAVAIL);
        socket.local = .{ .ip = names.seenFrom(socket, there).withPort(port) };
        socket.port_is_own = true;
    } else socket.local = .{ .ip = names.seenFrom(socket, there) };
    socket.dropHost(k.files.allocator);
    const rc = knock(k, socket, listener);
    if (rc == 0) {
        socket.remote = .{ .ip = there.* };
        if (socket.peer) |embryo| embryo.local = socket.remote;
    } else if (rc == fail(.AGAIN)) {
        socket.state = .connecting;
        socket.wants = listener;
        socket.remote = .{ .ip = there.* };
    } else return rc;
    // A connection takes a moment, which a program that does not wait is told.
    if (opened.description.isNonBlocking()) return fail(.INPROGRESS);
    if (socket.state == .connecting) return inProgress(k, opened);
    socket.told_connected = true;
    return 0;
}

/// A connection that waits for room in a listener's queue.
fn inProgress(k: *Kernel, opened: Opened) i64 {
    if (opened.description.isNonBlocking()) return fail(.ALREADY);
    const rc = waiting.wait(k, opened.description, opened.socket, 0, .send);
    return if (rc == fail(.AGAIN)) fail(.INPROGRESS) else rc;
}

/// Lets in who waits for room in a listener's queue.
fn admit(k: *Kernel, listener: *Socket) void {
    for (k.files.sockets.list.items) |socket| {
        if (socket.wants != listener) continue;
        const there = socket.remote;
        if (knock(k, socket, listener) != 0) return;
        socket.remote = there;
        if (socket.peer) |embryo| embryo.local = there;
        return;
    }
}

// On the host

/// Begins a connection on the host or looks how one goes.
fn connectHost(k: *Kernel, opened: Opened, ip: *const Ip) i64 {
    const socket = opened.socket;
    const begins = socket.state == .idle;
    if (begins) {
        const failed = host_socket.ensure(k, socket);
        if (failed < 0) return failed;
        socket.remote = .{ .ip = ip.target() };
    }
    k.hostCall();
    const rc = socket.host.?.connect(socket.family, &socket.remote);
    if (rc == 0 or rc == fail(.ISCONN)) return connected(k, socket);
    if (rc == fail(.INPROGRESS) or rc == fail(.ALREADY)) {
        socket.state = .connecting;
        if (opened.description.isNonBlocking()) return rc;
        const waited = waiting.wait(k, opened.description, socket, 0, .send);
        return if (waited == fail(.AGAIN)) fail(.INPROGRESS) else waited;
    }
    socket.state = .idle;
    return rc;
}

fn connected(k: *Kernel, socket: *Socket) i64 {
    socket.state = .connected;
    socket.told_connected = true;
    k.hostCall();
    const local = socket.host.?.name();
    if (local == .ip) socket.local = local;
    socket.port_is_own = false;
    return 0;
}

/// Notices that the host has connected a socket, or could not, for calls that need it to be.
pub fn settle(k: *Kernel, socket: *Socket) void {
    if (socket.state != .connecting or socket.host == null) return;
    var one = [_]linux.pollfd{.{ .fd = socket.host.?.fd, .events = linux.POLL.OUT, .revents = 0 }};
    k.askHost(&one, .now);
    if (one[0].revents == 0) return;
    k.hostCall();
    const failure = socket.host.?.takeFailure();
    if (failure == .SUCCESS) {
        _ = connected(k, socket);
        socket.told_connected = false;
    } else {
        socket.state = .idle;
        socket.failure = failure;
    }
}

// Listening

pub fn listen(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const socket = opened.socket;
    if (!socket.isConnectionOriented()) return fail(.OPNOTSUPP);
    const given: u32 = @truncate(a[1]);
    const backlog = @min(given, limits.listen_backlog_max);
    if (socket.state != .idle and socket.state != .listening) return fail(.INVAL);
    if (socket.family == .unix and socket.local == .none) return fail(.INVAL);
    const on_host = if (socket.isInet()) !(socket.port_is_own and socket.hasPort() and socket.local.ip.isLoopback()) else socket.host != null;
    if (on_host) {
        const rc = listenOnHost(k, socket, backlog);
        if (rc < 0) return rc;
    }
    socket.state = .listening;
    socket.backlog = backlog;
    socket.shutdown = .{};
    socket.peer_credentials = names.credentialsOf(k);
    return 0;
}

fn listenOnHost(k: *Kernel, socket: *Socket, backlog: u32) i64 {
    if (!socket.may_listen) {
        const ip = if (socket.local == .ip) socket.local.ip else Ip.any(socket.family);
        if (!names.demand(k, .listen, &ip.withPort(0))) return fail(.ACCES);
        socket.may_listen = true;
    }
    const failed = host_socket.ensure(k, socket);
    if (failed < 0) return failed;
    if (socket.state == .listening and socket.host.?.isShared()) return 0;
    k.hostCall();
    const rc: i64 = @bitCast(linux.listen(socket.host.?.fd, backlog));
    if (rc == 0 and socket.isInet()) names.learn(k, socket);
    return rc;
}

pub fn accept(k: *Kernel, a: Args) i64 {
    return accept4(k, .{ a[0], a[1], a[2], 0, 0, 0 });
}

pub fn accept4(k: *Kernel, a: Args) i64 {
    const flags: u32 = @truncate(a[3]);
    if (flags & ~@as(u32, creating.SOCK_NONBLOCK | creating.SOCK_CLOEXEC) != 0) return fail(.INVAL);
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const listener = opened.socket;
    if (!listener.isConnectionOriented()) return fail(.OPNOTSUPP);
    if (listener.state != .listening or listener.shutdown.receive) return fail(.INVAL);
    // No connection is taken that could not be opened.
    if (!k.files.hasPlace(descriptors.bound(k))) return fail(.MFILE);
    const fresh = if (listener.waiting.items.len > 0) blk: {
        const embryo = listener.waiting.orderedRemove(0);
        admit(k, listener);
        break :blk embryo;
    } else acceptFromHost(k, opened, &errno) orelse return errno;
    const fd = creating.open(k, fresh, flags);
    if (fd < 0 or a[1] == 0) return fd;
    const rc = naming.write(k, &fresh.remote, fresh.family, a[1], a[2]);
    if (rc == 0) return fd;
    _ = k.files.close(@intCast(fd));
    return rc;
}

fn acceptFromHost(k: *Kernel, opened: Opened, errno: *i64) ?*Socket {
    const listener = opened.socket;
    const allocator = k.files.allocator;
    const there = listener.host orelse {
        errno.* = waitForConnection(k, opened);
        return null;
    };
    const made = creating.make(k, listener.family, listener.type, listener.protocol, errno) orelse return null;
    var name: [address.bytes_max]u8 align(8) = undefined;
    var length: u32 = name.len;
    k.hostCall();
    const rc: i64 = @bitCast(linux.accept4(there.fd, @ptrCast(&name), &length, creating.SOCK_NONBLOCK | creating.SOCK_CLOEXEC));
    if (rc >= 0 or rc == fail(.AGAIN)) listener.changes_in +%= 1;
    if (rc < 0) {
        k.files.sockets.destroy(made);
        errno.* = if (rc == fail(.AGAIN)) waitForConnection(k, opened) else rc;
        return null;
    }
    made.host = HostSocket.of(allocator, @intCast(rc)) catch {
        k.files.sockets.destroy(made);
        errno.* = fail(.NOMEM);
        return null;
    };
    made.options = listener.options;
    made.is_accepted = true;
    made.told_connected = true;
    made.state = .connected;
    made.remote = address.fromHost(name[0..@min(length, name.len)]);
    made.local = listener.local;
    if (made.isInet() and listener.local.ip.isAny()) {
        k.hostCall();
        made.local = made.host.?.name();
    }
    return made;
}

fn waitForConnection(k: *Kernel, opened: Opened) i64 {
    k.threads.current.call.listens = @intCast(opened.socket.index);
    return waiting.wait(k, opened.description, opened.socket, 0, .receive);
}

pub fn shutdown(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const how: u32 = @truncate(a[1]);
    if (how > 2) return fail(.INVAL);
    const socket = opened.socket;
    settle(k, socket);
    const joined = if (socket.isConnectionOriented()) socket.state == .connected else socket.remote != .none or socket.peer != null;
    if (socket.isInet() and socket.state != .listening and !joined) {
        // It is done all the same.
        if (socket.type == .datagram) socket.shutDown(.{ .receive = how != 1, .send = how != 0 });
        return fail(.NOTCONN);
    }
    if (socket.host) |there| if (there.isShared()) {
        // Others go on listening with it.
        if (how != 1) socket.dropHost(k.files.allocator);
    } else {
        k.hostCall();
        const rc: i64 = @bitCast(linux.shutdown(there.fd, @intCast(how)));
        if (rc < 0) return rc;
        // What is still on its way is to be read, so only the sending end is over.
        if (how != 0 and socket.state != .listening) socket.shutdown.send = true;
        if (socket.state != .listening) return 0;
    };
    if (socket.state == .listening and socket.isInet()) {
        // Linux takes the listening away, and those who wait with it.
        if (how == 1) return 0;
        k.files.sockets.dropWaiting(socket);
        socket.state = .idle;
        socket.changedBoth();
    } else socket.shutDown(.{ .receive = how != 1, .send = how != 0 });
    k.changed();
    return 0;
}
