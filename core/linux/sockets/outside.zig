//! Connections of the embedder's to a machine: an end of each is a socket of the machine that no descriptor of the guest's
//! has. The embedder makes them to servers of the guest's; one the guest makes itself by opening /dev/pristine. They are in the machine's list like all others, so a snapshot has them, and a fork goes on with its own copy.
//!
//! Used while the machine does not run. Nothing here asks the host.
const std = @import("std");
const linux = std.os.linux;
const connecting = @import("connecting.zig");
const kernel_module = @import("../kernel.zig");
const names = @import("names.zig");
const transfer = @import("../files/transfer.zig");
const Ip = @import("address.zig").Ip;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;
const Socket = @import("socket.zig").Socket;

pub const OpenError = error{
    /// Nobody listens there.
    NoListener,
    /// The listener's queue is full.
    Full,
    OutOfMemory,
};

/// Connects to a listener of TCP by its port, or to the only one there is for port 0; the number of the connection.
pub fn open(k: *Kernel, port: u16) OpenError!u64 {
    const listener = find(k, port) orelse return error.NoListener;
    const sockets = &k.files.sockets;
    const own_port = sockets.freePort() orelse return error.Full;
    const socket = sockets.add(listener.family, .stream, listener.protocol) catch |failure| return switch (failure) {
        error.OutOfMemory => error.OutOfMemory,
        error.TooMany => error.Full,
    };
    const target = listener.local.ip.target();
    socket.local = .{ .ip = Ip.loopback(if (target.isV4()) .inet else .inet6).withPort(own_port) };
    socket.port_is_own = true;
    socket.outside = true;
    if (connecting.knock(k, socket, listener) != 0) {
        sockets.destroy(socket);
        return error.Full;
    }
    socket.remote = .{ .ip = target };
    socket.peer.?.local = socket.remote;
    return socket.number;
}

pub const ChannelError = error{ NoEmbedder, Taken, TooMany, OutOfMemory };

/// A stream to the embedder for the guest that opens /dev/pristine, one for each machine; the guest's end.
pub fn makeChannel(k: *Kernel) ChannelError!*Socket {
    if (!k.files.scope.network.inside) return error.NoEmbedder;
    if (channel(k) != null) return error.Taken;
    const sockets = &k.files.sockets;
    const inner = try sockets.add(.unix, .stream, 0);
    errdefer k.files.closeSocket(inner);
    const outer = try sockets.add(.unix, .stream, 0);
    outer.outside = true;
    inner.told_connected = true;
    inner.peer_credentials = names.credentialsOf(k);
    inner.join(outer);
    return inner;
}

/// Undoes `makeChannel`.
pub fn dropChannel(k: *Kernel, inner: *Socket) void {
    const outer = inner.peer.?;
    k.files.closeSocket(inner);
    k.files.closeSocket(outer);
}

/// The embedder's end of the channel; null if the guest has none open.
pub fn channel(k: *const Kernel) ?*Socket {
    for (k.files.sockets.list.items) |socket| if (socket.outside and socket.family == .unix) return socket;
    return null;
}

/// Whether the guest has written to the channel and reads from it now, with nothing there: the embedder's turn, whatever other
/// threads of the guest's have to do.
pub fn isAnswered(k: *const Kernel) bool {
    const outer = channel(k) orelse return false;
    const inner = outer.peer orelse return false;
    if (outer.received.isEmpty() or !inner.received.isEmpty()) return false;
    for (k.threads.list.items) |thread| {
        if (thread.state != .waiting or thread.call.number != @intFromEnum(linux.SYS.read)) continue;
        const description = k.files.get(transfer.descriptorOf(thread.call.args[0])) orelse continue;
        if (description.kind == .socket and description.kind.socket == inner) return true;
    }
    return false;
}

/// What begins the buffer of a read of the channel that is also an answer: the mark, and how many bytes of it follow.
pub const Answer = extern struct {
    mark: u64 = answer_mark,
    length: u64,

    const answer_mark = 0x5257_534e_4150_5250;
};

/// A read of the channel takes what its buffer begins with as a write, if that is an answer: one call answers a request and waits
/// for the next. Zero, or a negative errno; the mark is wiped, so that a call that is tried again does not answer again.
pub fn takeAnswer(k: *Kernel, inner: *Socket, address: u64, length: u64) i64 {
    const outer = inner.peer orelse return 0;
    if (!outer.outside or outer.family != .unix or length < @sizeOf(Answer)) return 0;
    const answer = k.memory.readValue(Answer, address) catch return 0;
    if (answer.mark != Answer.answer_mark) return 0;
    const sockets = &k.files.sockets;
    if (answer.length > length - @sizeOf(Answer)) return fail(.INVAL);
    if (answer.length > outer.received.room(sockets.boundOf(outer, outer.options.receiveBuffer()))) return fail(.NOBUFS);
    k.memory.writeValue(address, @as(u64, 0)) catch return fail(.FAULT);
    var done: u64 = 0;
    while (done < answer.length) {
        const space = outer.received.reserve(sockets.allocator, answer.length - done, false) catch return fail(.NOMEM);
        k.memory.read(address + @sizeOf(Answer) + done, space) catch return fail(.FAULT);
        outer.received.commit(space.len);
        done += space.len;
    }
    outer.changedIn();
    k.changed();
    return 0;
}

fn find(k: *Kernel, port: u16) ?*Socket {
    for (k.files.sockets.list.items) |socket| {
        if (socket.state != .listening or !socket.isInet() or !socket.isStream()) continue;
        if (port == 0 or socket.local.ip.port == port) return socket;
    }
    return null;
}

/// A connection by its number; null if it has been closed.
pub fn byNumber(k: *Kernel, number: u64) ?*Socket {
    for (k.files.sockets.list.items) |socket| if (socket.outside and socket.number == number) return socket;
    return null;
}

/// Hands bytes to the guest; how many found room. Null when the guest reads no more.
pub fn send(k: *Kernel, socket: *Socket, bytes: []const u8) error{OutOfMemory}!?usize {
    const peer = socket.peer orelse return null;
    if (peer.shutdown.receive) return null;
    const sockets = &k.files.sockets;
    var done: usize = 0;
    while (done < bytes.len) {
        const room = peer.received.room(sockets.boundOf(peer, peer.options.receiveBuffer()));
        if (room == 0) break;
        const space = try peer.received.reserve(sockets.allocator, @min(bytes.len - done, room), false);
        @memcpy(space, bytes[done..][0..space.len]);
        peer.received.commit(space.len);
        done += space.len;
    }
    if (done > 0) {
        peer.changedIn();
        k.changed();
    }
    socket.wants_room = done < bytes.len;
    return done;
}

fn hasRoom(k: *const Kernel, socket: *const Socket) bool {
    const peer = socket.peer orelse return true;
    return peer.shutdown.receive or peer.received.room(k.files.sockets.boundOf(peer, peer.options.receiveBuffer())) > 0;
}

/// Nothing more will be sent.
pub fn finish(k: *Kernel, socket: *Socket) void {
    if (socket.shutdown.send) return;
    socket.shutDown(.{ .send = true });
    k.changed();
}

pub const Received = union(enum) {
    bytes: usize,
    /// Nothing now; more may come.
    nothing,
    /// The guest has ended its side.
    ended,
    /// The guest has reset the connection, or is gone.
    reset,
};

/// Takes what the guest has sent.
pub fn receive(k: *Kernel, socket: *Socket, out: []u8) Received {
    const sockets = &k.files.sockets;
    var done: usize = 0;
    while (done < out.len) {
        const piece = socket.received.first orelse break;
        const bytes = piece.bytes();
        const count = @min(bytes.len, out.len - done);
        @memcpy(out[done..][0..count], bytes[0..count]);
        socket.received.consume(sockets.allocator, count);
        done += count;
    }
    if (done > 0) {
        // There is room again for who waits to send.
        if (socket.peer) |peer| peer.changes_out +%= 1;
        k.changed();
        return .{ .bytes = done };
    }
    if (socket.failure != .SUCCESS) return .reset;
    if (socket.shutdown.receive) return .ended;
    return if (socket.peer == null) .reset else .nothing;
}

pub fn close(k: *Kernel, socket: *Socket) void {
    k.files.closeSocket(socket);
    k.changed();
}

/// Whether the guest has sent something that was not taken yet.
pub fn hasBytes(k: *const Kernel) bool {
    for (k.files.sockets.list.items) |socket| if (socket.outside and !socket.received.isEmpty()) return true;
    return false;
}

/// Whether the embedder has something to do: bytes to take, room for those it has left, or the end of a connection that it
/// has not been told.
pub fn anyNews(k: *const Kernel) bool {
    for (k.files.sockets.list.items) |socket| {
        if (!socket.outside) continue;
        if (!socket.received.isEmpty()) return true;
        if (socket.wants_room and hasRoom(k, socket)) return true;
        if (!socket.told_end and (socket.shutdown.receive or socket.peer == null or socket.failure != .SUCCESS)) return true;
    }
    return false;
}
