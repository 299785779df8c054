//! What a socket is ready for, as poll(2) and its kin tell it.
const std = @import("std");
const linux = std.os.linux;
const Socket = @import("socket.zig").Socket;

const POLL = linux.POLL;
const POLLRDNORM = 0x40;
const POLLWRNORM = 0x100;
const POLLRDHUP = 0x2000;

const readable: i16 = POLL.IN | POLLRDNORM;
const writable: i16 = POLL.OUT | POLLWRNORM;

/// What the socket has without the host being asked; null if only the host knows (`hostFd`).
pub fn readiness(socket: *const Socket) ?i16 {
    if (socket.state == .listening) {
        if (socket.waiting.items.len > 0) return readable;
        return if (socket.host == null) 0 else null;
    }
    if (socket.host != null) {
        // What the machine itself has sent it is there at once.
        return if (socket.received.isEmpty()) null else readable | writable;
    }
    var events: i16 = 0;
    if (socket.failure != .SUCCESS) events |= POLL.ERR;
    if (socket.shutdown.receive) events |= readable | POLLRDHUP;
    if (!socket.received.isEmpty()) events |= readable;
    const over = socket.shutdown.receive and socket.shutdown.send;
    const unconnected = socket.isConnectionOriented() and socket.state == .idle;
    if (over or unconnected) events |= POLL.HUP;
    if (socket.state != .connecting and hasRoom(socket)) events |= writable;
    return events;
}

fn hasRoom(socket: *const Socket) bool {
    const peer = socket.peer orelse return true;
    if (socket.shutdown.send) return true;
    return peer.received.isInviting(if (socket.isInet()) peer.options.receiveBuffer() else socket.options.sendBuffer());
}

/// The descriptor to ask when `readiness` is null.
pub fn hostFd(socket: *const Socket) i32 {
    return socket.host.?.fd;
}
