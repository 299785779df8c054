//! How a call on a socket waits: for the host, for what other threads do, for a time that SO_RCVTIMEO or SO_SNDTIMEO sets.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("../kernel.zig");
const Description = @import("../files/table.zig").Description;
const Kernel = kernel_module.Kernel;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

pub const MSG_DONTWAIT = 0x40;

pub const Direction = enum { receive, send };

/// What a call that has been run again has done before: kept by the kernel while its thread sleeps.
pub const Progress = extern struct {
    bytes: u32 = 0,
    messages: u32 = 0,

    pub fn of(k: *Kernel) Progress {
        return @bitCast(k.callProgress().*);
    }

    pub fn keep(self: Progress, k: *Kernel) void {
        k.callProgress().* = @bitCast(self);
    }
};

/// The answer of a call that found nothing to receive or no room: EAGAIN, EINTR, or that its thread sleeps.
pub fn wait(k: *Kernel, description: *const Description, socket: *const Socket, flags: u32, direction: Direction) i64 {
    if (description.isNonBlocking() or flags & MSG_DONTWAIT != 0) return fail(.AGAIN);
    const timeout = if (direction == .receive) socket.options.receive_timeout_ns else socket.options.send_timeout_ns;
    k.waitDeadline(.monotonic, .span, timeout);
    if (k.isTimeOver()) return fail(.AGAIN);
    if (socket.host) |host| {
        var one = [_]linux.pollfd{.{ .fd = host.fd, .events = if (direction == .receive) linux.POLL.IN else linux.POLL.OUT, .revents = 0 }};
        k.askHost(&one, .patient);
    }
    return k.block();
}
