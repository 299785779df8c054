//! Receiving: from the socket's own queue, then from the host's socket if there is one.
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const buffer_module = @import("buffer.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const queue_module = @import("queue.zig");
const waiting = @import("waiting.zig");
const Address = address.Address;
const Buffer = buffer_module.Buffer;
const Credentials = queue_module.Credentials;
const Description = @import("../files/table.zig").Description;
const Kernel = kernel_module.Kernel;
const Piece = queue_module.Piece;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

const MSG_OOB = 1;
pub const MSG_PEEK = 2;
pub const MSG_TRUNC = 0x20;
const MSG_WAITALL = 0x100;
const MSG_ERRQUEUE = 0x2000;

pub const Incoming = struct {
    data: Buffer,
    flags: u32 = 0,
    // What came:
    source: Address = .none,
    /// As recvmsg(2) shows them.
    out_flags: u32 = 0,
    sender: ?Credentials = null,
    /// Open files that came along; each is a reference, the receiver's own now.
    rights: []*Description = &.{},
};

/// Receives one message or bytes of a stream. `done` is what has been received of them before; the answer counts it.
pub fn receive(k: *Kernel, description: *const Description, socket: *Socket, in: *Incoming, done: *u32) i64 {
    if (in.flags & MSG_OOB != 0) return fail(if (socket.isInet() and socket.isStream()) .INVAL else .OPNOTSUPP);
    if (in.flags & MSG_ERRQUEUE != 0) return fail(.AGAIN);
    return if (socket.isStream()) receiveStream(k, description, socket, in, done) else receiveMessage(k, description, socket, in);
}

// Streams

fn receiveStream(k: *Kernel, description: *const Description, socket: *Socket, in: *Incoming, done: *u32) i64 {
    const never = socket.state == .idle or socket.state == .listening;
    if (never and socket.failure == .SUCCESS and !socket.shutdown.receive) return fail(if (socket.isInet()) .NOTCONN else .INVAL);
    if (in.data.total == 0) return 0;
    // The guest may have made its buffers shorter while its thread slept.
    if (done.* >= in.data.total) return done.*;
    const waits_for_all = in.flags & MSG_WAITALL != 0 and in.flags & MSG_PEEK == 0;
    while (true) {
        const rc = receiveSome(k, socket, in, done.*);
        if (rc == fail(.AGAIN)) {
            if (done.* > 0 and !waits_for_all) return done.*;
            const waited = waiting.wait(k, description, socket, in.flags, .receive);
            const ends = waited == fail(.AGAIN) or waited == fail(.INTR);
            return if (ends and done.* > 0) done.* else waited;
        }
        if (rc <= 0) return if (done.* > 0) done.* else rc;
        done.* += @intCast(rc);
        // Open files come with the bytes they were sent with.
        const whole = done.* >= in.data.total or in.flags & MSG_PEEK != 0 or in.rights.len > 0;
        if (whole or !waits_for_all and socket.received.isEmpty()) return done.*;
        if (!waits_for_all and socket.received.first.?.rights.len > 0) return done.*;
    }
}

/// Receives what is there now; 0 at the end, EAGAIN if nothing is there.
fn receiveSome(k: *Kernel, socket: *Socket, in: *Incoming, done: u64) i64 {
    if (socket.received.first) |piece| return fromPiece(k, socket, piece, in, done);
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    if (socket.shutdown.receive) return 0;
    if (socket.host == null) return fail(.AGAIN);
    var storage: buffer_module.HostPieces = undefined;
    const pieces = in.data.forHost(done, .write, &storage) catch return fail(.FAULT);
    const rc = hostReceive(k, socket, pieces, in, null);
    if (rc > 0 or rc == fail(.AGAIN)) socket.changes_in +%= 1;
    return rc;
}

fn fromPiece(k: *Kernel, socket: *Socket, piece: *Piece, in: *Incoming, done: u64) i64 {
    const sockets = &k.files.sockets;
    const count: usize = @intCast(@min(piece.bytes().len, in.data.total - done));
    const skips = socket.isInet() and in.flags & MSG_TRUNC != 0;
    if (!skips) in.data.write(done, piece.bytes()[0..count]) catch return fail(.FAULT);
    in.sender = in.sender orelse piece.sender;
    takeRights(k, piece, in) catch return fail(.NOMEM);
    if (in.flags & MSG_PEEK != 0) return @intCast(count);
    socket.received.consume(sockets.allocator, count);
    madeRoom(k, socket);
    return @intCast(count);
}

/// Tells who sends to this socket that there is room.
fn madeRoom(k: *Kernel, socket: *Socket) void {
    if (socket.peer) |peer| {
        const bound = if (socket.isInet()) socket.options.receiveBuffer() else peer.options.sendBuffer();
        if (socket.received.isInviting(bound)) peer.changes_out +%= 1;
    }
    k.changed();
}

/// Open files of a message become the receiver's; one that only looks gets references of its own.
fn takeRights(k: *Kernel, piece: *Piece, in: *Incoming) error{OutOfMemory}!void {
    if (piece.rights.len == 0) return;
    if (in.flags & MSG_PEEK != 0) {
        in.rights = try k.files.allocator.dupe(*Description, piece.rights);
        for (in.rights) |right| right.references += 1;
        return;
    }
    in.rights = piece.rights;
    k.files.sockets.in_flight -= @intCast(piece.rights.len);
    piece.rights = &.{};
}

// Messages

fn receiveMessage(k: *Kernel, description: *const Description, socket: *Socket, in: *Incoming) i64 {
    if (socket.type == .packet and socket.state != .connected and socket.failure == .SUCCESS) return fail(.NOTCONN);
    if (socket.failure != .SUCCESS) return fail(socket.takeFailure());
    if (socket.received.first) |piece| return takeMessage(k, socket, piece, in);
    // Datagrams have no end: who does not wait is told that there is none now.
    const waits = !description.isNonBlocking() and in.flags & waiting.MSG_DONTWAIT == 0;
    if (socket.shutdown.receive and socket.host == null) return if (waits or socket.type == .packet) 0 else fail(.AGAIN);
    if (socket.host != null) {
        const rc = receiveHostMessage(k, socket, in);
        if (rc != fail(.AGAIN)) return rc;
    }
    return waiting.wait(k, description, socket, in.flags, .receive);
}

fn takeMessage(k: *Kernel, socket: *Socket, piece: *Piece, in: *Incoming) i64 {
    const rc = copyMessage(in, piece.bytes());
    // Without a place to go to, the message is lost.
    if (rc < 0) {
        if (in.flags & MSG_PEEK == 0) k.files.loseMessage(socket);
        return rc;
    }
    in.source = piece.source;
    in.sender = piece.sender;
    takeRights(k, piece, in) catch return fail(.NOMEM);
    if (in.flags & MSG_PEEK != 0) return rc;
    socket.received.take().?.destroy(k.files.sockets.allocator);
    madeRoom(k, socket);
    // Who sends to this one is not known here.
    if (socket.family == .unix and socket.type == .datagram) for (k.files.sockets.list.items) |other| {
        if (other.peer == socket) other.changes_out +%= 1;
    };
    return rc;
}

/// What fits of a message; how long it is if it is asked for (MSG_TRUNC).
fn copyMessage(in: *Incoming, bytes: []const u8) i64 {
    const count: usize = @intCast(@min(bytes.len, in.data.total));
    in.data.write(0, bytes[0..count]) catch return fail(.FAULT);
    if (count < bytes.len) in.out_flags |= MSG_TRUNC;
    return @intCast(if (in.flags & MSG_TRUNC != 0) bytes.len else count);
}

/// From the host, but for what comes from where a client that may not listen has nothing to do with.
fn receiveHostMessage(k: *Kernel, socket: *Socket, in: *Incoming) i64 {
    var bytes: [64 * limits.KiB]u8 = undefined;
    for (0..limits.datagrams_refused_max) |_| {
        const piece = [_]std.posix.iovec{.{ .base = &bytes, .len = bytes.len }};
        var source: Address = .none;
        const rc = hostReceive(k, socket, &piece, in, &source);
        if (rc >= 0 or rc == fail(.AGAIN)) socket.changes_in +%= 1;
        if (rc < 0) return rc;
        if (!mayHear(k, socket, &source)) {
            if (in.flags & MSG_PEEK != 0) dropHostMessage(k, socket);
            continue;
        }
        in.source = source;
        if (socket.may_listen and source == .ip) socket.hear(&source.ip);
        return copyMessage(in, bytes[0..@intCast(rc)]);
    }
    return fail(.AGAIN);
}

fn mayHear(k: *const Kernel, socket: *const Socket, source: *const Address) bool {
    if (!socket.isInet() or socket.may_listen or socket.remote == .ip or source.* != .ip) return true;
    return k.files.scope.network.allows(.connect, &source.ip);
}

fn dropHostMessage(k: *Kernel, socket: *const Socket) void {
    var byte: [1]u8 = undefined;
    k.hostCall();
    _ = linux.recvfrom(socket.host.?.fd, &byte, 1, waiting.MSG_DONTWAIT, null, null);
}

fn hostReceive(k: *Kernel, socket: *const Socket, pieces: []const std.posix.iovec, in: *Incoming, source: ?*Address) i64 {
    var name: [address.bytes_max]u8 align(8) = undefined;
    var message: linux.msghdr = .{
        .name = if (source == null) null else @ptrCast(&name),
        .namelen = if (source == null) 0 else name.len,
        .iov = @ptrCast(@constCast(pieces.ptr)),
        .iovlen = pieces.len,
        .control = null,
        .controllen = 0,
        .flags = 0,
    };
    const passed = MSG_PEEK | (if (socket.isStream()) @as(u32, MSG_TRUNC) else 0);
    k.hostCall();
    const rc: i64 = @bitCast(linux.recvmsg(socket.host.?.fd, &message, (in.flags & passed) | waiting.MSG_DONTWAIT));
    if (rc >= 0) if (source) |from| {
        from.* = address.fromHost(name[0..@min(message.namelen, name.len)]);
    };
    return rc;
}
