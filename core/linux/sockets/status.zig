//! What a socket is as a file: how many bytes wait in it.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("../kernel.zig");
const Kernel = kernel_module.Kernel;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

const FIONREAD = 0x541b;

/// FIONREAD: of a stream all that has come, else the next message; 0 or a negative errno.
pub fn bytesWaiting(k: *Kernel, socket: *const Socket, out: *i32) i64 {
    if (socket.state == .listening) return fail(.INVAL);
    out.* = if (socket.type == .datagram)
        (if (socket.received.first) |piece| @intCast(piece.bytes().len) else 0)
    else
        @intCast(socket.received.length);
    const host = socket.host orelse return 0;
    if (!socket.received.isEmpty()) return 0;
    k.hostCall();
    return @bitCast(linux.ioctl(host.fd, FIONREAD, @intFromPtr(out)));
}
