//! What an open file is ready for, and what has happened to it: what poll, select and epoll are made of.
//!
//! Objects inside the machine are looked at; what only the host knows is asked for by an inquiry (`inquiry.zig`).
//! Source: poll(2), epoll_ctl(2), pipe(7), eventfd(2), timerfd_create(2), signalfd(2).
const pipe_module = @import("../files/pipe.zig");
const sockets = @import("../sockets/readiness.zig");
const table = @import("../files/table.zig");
const timerfd = @import("timerfd.zig");
const Description = table.Description;
const Socket = @import("../sockets/socket.zig").Socket;
const Kernel = @import("../kernel.zig").Kernel;

pub const IN: u32 = 0x1;
pub const PRI: u32 = 0x2;
pub const OUT: u32 = 0x4;
pub const ERR: u32 = 0x8;
pub const HUP: u32 = 0x10;
pub const NVAL: u32 = 0x20;
pub const RDNORM: u32 = 0x40;
pub const RDBAND: u32 = 0x80;
pub const WRNORM: u32 = 0x100;
pub const WRBAND: u32 = 0x200;
pub const RDHUP: u32 = 0x2000;

pub const readable = IN | RDNORM;
pub const writable = OUT | WRNORM;
/// Told whether or not somebody has asked for them.
pub const always = ERR | HUP;
/// What a change of the reading side, and one of the writing side, may bring.
pub const read_side = IN | PRI | RDNORM | RDBAND | RDHUP;
pub const write_side = OUT | WRNORM | WRBAND;

/// How often something has happened for which Linux would wake who polls, on each side. Only differences mean something.
pub const Changes = struct { in: u64 = 0, out: u64 = 0 };

/// What a description other than an epoll set is ready for; null if only the host knows.
pub fn of(k: *Kernel, description: *Description) ?u32 {
    return switch (description.kind) {
        .host_stream => null,
        .pipe_read => |pipe| ofReader(pipe),
        .pipe_write => |pipe| ofWriter(pipe),
        .output => writable,
        .socket => |socket| ofSocket(k, socket),
        .event => |event| event.readiness(),
        .timer => timerfd.readiness(k, description),
        .signals => |mask| if (k.threads.current.signals.pendingSet(&k.signals, ~@as(u64, 0)) & mask != 0) IN else 0,
        .epoll => unreachable,
        else => readable | writable,
    };
}

/// A thread that asks whether a connection has come may be waiting for one.
fn ofSocket(k: *Kernel, socket: *const Socket) ?u32 {
    if (socket.state == .listening) k.threads.current.call.listens = @intCast(socket.index);
    return @as(u16, @bitCast(sockets.readiness(socket) orelse return null));
}

fn ofReader(pipe: *const pipe_module.Pipe) u32 {
    return (if (pipe.fill > 0) readable else 0) | (if (pipe.writers == 0) HUP else 0);
}

fn ofWriter(pipe: *const pipe_module.Pipe) u32 {
    return (if (pipe.hasRoom()) writable else 0) | (if (pipe.readers == 0) ERR else 0);
}

/// The host descriptor behind a description that only the host knows.
pub fn hostFd(description: *const Description) ?i32 {
    return switch (description.kind) {
        .host_stream => |stream| stream.fd,
        .socket => |socket| if (socket.host == null) null else sockets.hostFd(socket),
        else => null,
    };
}

/// What has happened to a description other than an epoll set.
pub fn changes(k: *const Kernel, description: *const Description) Changes {
    return switch (description.kind) {
        .pipe_read => |pipe| .{ .in = pipe.changes_in },
        .pipe_write => |pipe| .{ .out = pipe.changes_out },
        .socket => |socket| .{ .in = socket.changes_in, .out = socket.changes_out },
        .signals => .{ .in = k.signals.arrivals.load(.monotonic) },
        else => description.changes,
    };
}
