//! Sending: into the queue of another socket of the machine, or to the host's socket.
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const buffer_module = @import("buffer.zig");
const host_socket = @import("host_socket.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const names = @import("names.zig");
const queue_module = @import("queue.zig");
const signals = @import("../signals.zig");
const waiting = @import("waiting.zig");
const Address = address.Address;
const Buffer = buffer_module.Buffer;
const Credentials = queue_module.Credentials;
const Description = @import("../files/table.zig").Description;
const Kernel = kernel_module.Kernel;
const Piece = queue_module.Piece;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

pub const MSG_OOB = 1;
pub const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;
const MSG_FASTOPEN = 0x2000_0000;

const udp_max_bytes = 65507;
const udp6_max_bytes = 65527;

pub const Outgoing = struct {
    data: Buffer,
    flags: u32 = 0,
    to: Address = .none,
    /// Open files that go along; each is a reference, which passes to the message when it is sent.
    rights: []*Description = &.{},
    sender: ?Credentials = null,
};

/// Sends one message or bytes of a stream. `done` is what has been sent of them before; the answer counts it.
pub fn send(k: *Kernel, description: *const Description, socket: *Socket, out: *Outgoing, done: *u32) i64 {
    if (out.flags & (MSG_OOB | MSG_FASTOPEN) != 0) return fail(.OPNOTSUPP);
    const rc = switch (socket.type) {
        .stream => sendStream(k, description, socket, out, done),
        .packet => sendPacket(k, description, socket, out),
        .datagram => if (socket.isInet()) sendUdp(k, description, socket, out) else sendUnix(k, description, socket, out),
    };
    // Only the end of a stream comes with a signal.
    if (rc == fail(.PIPE) and socket.isStream() and out.flags & MSG_NOSIGNAL == 0) {
        _ = k.sendToThread(k.threads.current, .{ .signal = signals.SIGPIPE, .code = signals.SI_USER, .first = k.senderWord() });
    }
    return rc;
}

// Streams

fn sendStream(k: *Kernel, description: *const Description, socket: *Socket, out: *Outgoing, done: *u32) i64 {
    if (out.to != .none and !socket.isInet()) return fail(if (socket.state == .connected) .ISCONN else .OPNOTSUPP);
    // The guest may have made its buffers shorter while its thread slept.
    if (done.* > 0 and done.* >= out.data.total) return done.*;
    while (true) {
        const rc = sendSome(k, socket, out, done.*);
        if (rc < 0) {
            if (rc != fail(.AGAIN)) return if (done.* > 0) done.* else rc;
            const waited = waiting.wait(k, description, socket, out.flags, .send);
            // What was sent before the time was over or a signal came is the answer.
            const ends = waited == fail(.AGAIN) or waited == fail(.INTR);
            return if (ends and done.* > 0) done.* else waited;
        }
        done.* += @intCast(rc);
        if (done.* >= out.data.total) return done.*;
    }
}

/// Sends what finds room now; EAGAIN if nothing does.
fn sendSome(k: *Kernel, socket: *Socket, out: *Outgoing, done: u64) i64 {
    // AF_UNIX looks at its end first.
    if (socket.shutdown.send and !socket.isInet()) return fail(.PIPE);
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    if (socket.shutdown.send) return fail(.PIPE);
    switch (socket.state) {
        .connected => {},
        .connecting => if (socket.host == null) return fail(.AGAIN),
        .idle, .listening => return fail(if (socket.isInet()) .PIPE else .NOTCONN),
    }
    if (socket.host != null) return sendToHost(k, socket, out, done);
    const left = out.data.total - done;
    const peer = socket.peer orelse {
        // The other end has been closed. These bytes would be answered by a reset, which the next ones meet.
        socket.shutdown.send = true;
        socket.changedBoth();
        k.changed();
        return @intCast(left);
    };
    if (left == 0) return 0;
    const sockets = &k.files.sockets;
    const wanted = if (socket.isInet()) peer.options.receiveBuffer() else socket.options.sendBuffer();
    const room = peer.received.room(sockets.boundOf(peer, wanted));
    if (room == 0) return fail(.AGAIN);
    const carries = out.rights.len > 0 and done == 0;
    const before = peer.received.last;
    const space = peer.received.reserve(sockets.allocator, @intCast(@min(left, room)), carries) catch return fail(.NOBUFS);
    out.data.read(done, space) catch {
        peer.received.dropEmptyLast(sockets.allocator);
        return fail(.FAULT);
    };
    peer.received.commit(space.len);
    if (peer.received.last != before) stamp(k, peer.received.last.?, socket, out);
    if (carries) hand(k, peer.received.last.?, out);
    peer.changedIn();
    k.changed();
    return @intCast(space.len);
}

fn sendToHost(k: *Kernel, socket: *Socket, out: *const Outgoing, done: u64) i64 {
    var storage: buffer_module.HostPieces = undefined;
    const pieces = out.data.forHost(done, .read, &storage) catch return fail(.FAULT);
    const rc = hostSend(k, socket, pieces, null, out.flags);
    const wanted = lengthOf(pieces);
    if (rc == fail(.AGAIN) or rc >= 0 and rc < wanted) socket.changes_out +%= 1;
    return rc;
}

fn lengthOf(pieces: []const std.posix.iovec) i64 {
    var total: usize = 0;
    for (pieces) |piece| total += piece.len;
    return @intCast(total);
}

fn hostSend(k: *Kernel, socket: *const Socket, pieces: []const std.posix.iovec, to: ?*const Address, flags: u32) i64 {
    var name: [address.bytes_max]u8 align(8) = undefined;
    const message: linux.msghdr_const = .{
        .name = if (to == null) null else @ptrCast(&name),
        .namelen = if (to) |there| @intCast(address.write(there, socket.family, &name)) else 0,
        .iov = @ptrCast(pieces.ptr),
        .iovlen = pieces.len,
        .control = null,
        .controllen = 0,
        .flags = 0,
    };
    k.hostCall();
    return @bitCast(linux.sendmsg(socket.host.?.fd, &message, (flags & MSG_MORE) | MSG_NOSIGNAL | waiting.MSG_DONTWAIT));
}

// Messages inside the machine

fn stamp(k: *const Kernel, piece: *Piece, socket: *const Socket, out: *const Outgoing) void {
    piece.source = if (socket.isConnectionOriented()) .none else socket.local;
    piece.sender = out.sender orelse names.credentialsOf(k);
}

fn hand(k: *Kernel, piece: *Piece, out: *Outgoing) void {
    piece.rights = out.rights;
    k.files.sockets.in_flight += @intCast(out.rights.len);
    out.rights = &.{};
}

/// Puts a whole message into another socket's queue, which has room.
fn deliver(k: *Kernel, socket: *const Socket, to: *Socket, out: *Outgoing, source: Address) i64 {
    const sockets = &k.files.sockets;
    const length: usize = @intCast(out.data.total);
    const piece = Piece.create(sockets.allocator, length) catch return fail(.NOBUFS);
    out.data.read(0, piece.storage) catch {
        piece.destroy(sockets.allocator);
        return fail(.FAULT);
    };
    piece.end = length;
    stamp(k, piece, socket, out);
    piece.source = source;
    if (out.rights.len > 0) hand(k, piece, out);
    to.received.append(piece);
    to.changedIn();
    k.changed();
    return @intCast(length);
}

fn sendPacket(k: *Kernel, description: *const Description, socket: *Socket, out: *Outgoing) i64 {
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    if (socket.state != .connected) return fail(.NOTCONN);
    if (socket.host != null) return sendHostMessage(k, description, socket, out, null);
    const peer = socket.peer orelse return fail(.PIPE);
    return sendInside(k, description, socket, peer, out);
}

/// What sends to a socket of AF_UNIX that is in the machine.
fn sendInside(k: *Kernel, description: *const Description, socket: *Socket, to: *Socket, out: *Outgoing) i64 {
    if (out.data.total > socket.options.sendBuffer() - 32) return fail(.MSGSIZE);
    if (socket.shutdown.send or to.shutdown.receive) return fail(.PIPE);
    if (!to.received.takes(@intCast(out.data.total), k.files.sockets.boundOf(to, socket.options.sendBuffer()))) {
        return waiting.wait(k, description, socket, out.flags, .send);
    }
    return deliver(k, socket, to, out, if (socket.isConnectionOriented()) .none else socket.local);
}

fn sendUnix(k: *Kernel, description: *const Description, socket: *Socket, out: *Outgoing) i64 {
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    const to = switch (out.to) {
        .unix => |*name| blk: {
            const found = names.find(k, name, socket.type);
            break :blk switch (found) {
                .socket => |there| there,
                .failed => |errno| return errno,
                // Only connected sockets reach names of the host.
                .host => return fail(.ACCES),
            };
        },
        .ip, .unspecified => return fail(.INVAL),
        .none => socket.peer orelse {
            if (socket.host != null) return sendHostMessage(k, description, socket, out, null);
            if (socket.state != .connected) return fail(.NOTCONN);
            socket.state = .idle;
            socket.remote = .none;
            return fail(.CONNREFUSED);
        },
    };
    if (to.type != .datagram) return fail(.PROTOTYPE);
    if (to.peer) |chosen| if (chosen != socket) return fail(.PERM);
    return sendInside(k, description, socket, to, out);
}

fn sendUdp(k: *Kernel, description: *const Description, socket: *Socket, out: *Outgoing) i64 {
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    if (socket.shutdown.send) return fail(.PIPE);
    const named = out.to == .ip;
    if (!named and socket.remote != .ip) return fail(.DESTADDRREQ);
    const to = if (named) out.to.ip else socket.remote.ip;
    if (to.port == 0) return fail(.INVAL);
    if (out.data.total > @as(u64, if (to.isV4()) udp_max_bytes else udp6_max_bytes)) return fail(.MSGSIZE);
    const sockets = &k.files.sockets;
    const there = to.target();
    const from = names.seenFrom(socket, &there);
    if (sockets.datagramAt(&there, if (from.port == 0) null else &from)) |receiver| return sendUdpInside(k, socket, receiver, &there, out);
    const answers = socket.hasHeard(&there) and k.files.scope.network.allowsAnswer(&there);
    if (!answers and !names.demand(k, .connect, &to)) return fail(.ACCES);
    const failed = host_socket.ensure(k, socket);
    if (failed < 0) return failed;
    const rc = sendHostMessage(k, description, socket, out, if (named) &out.to else null);
    if (rc >= 0) names.learn(k, socket);
    return rc;
}

fn sendUdpInside(k: *Kernel, socket: *Socket, to: *Socket, there: *const address.Ip, out: *Outgoing) i64 {
    const sockets = &k.files.sockets;
    if (!socket.hasPort()) {
        const port = sockets.freePort() orelse return fail(.AGAIN);
        socket.local = .{ .ip = (if (socket.local == .ip) socket.local.ip else address.Ip.any(socket.family)).withPort(port) };
        socket.port_is_own = true;
    }
    // What finds no room is lost, as on any network.
    if (!to.received.takes(@intCast(out.data.total), sockets.boundOf(to, to.options.receiveBuffer()))) return @intCast(out.data.total);
    return deliver(k, socket, to, out, .{ .ip = names.seenFrom(socket, there) });
}

fn sendHostMessage(k: *Kernel, description: *const Description, socket: *Socket, out: *const Outgoing, to: ?*const Address) i64 {
    var bytes: [64 * limits.KiB]u8 = undefined;
    if (out.data.total > bytes.len) return fail(.MSGSIZE);
    const length: usize = @intCast(out.data.total);
    out.data.read(0, bytes[0..length]) catch return fail(.FAULT);
    const piece = [_]std.posix.iovec{.{ .base = &bytes, .len = length }};
    const rc = hostSend(k, socket, &piece, to, out.flags);
    if (rc != fail(.AGAIN)) return rc;
    socket.changes_out +%= 1;
    return waiting.wait(k, description, socket, out.flags, .send);
}
