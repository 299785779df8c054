//! The sockets of an image: copies of a machine's, for forks to start from and to go back to.
//!
//! What is all in the machine is copied with the bytes on their way, as pipes are. A listener of the host is shared by
//! reference: forks accept from the same one. A connection of the host cannot be shared: in an image it is one that its
//! peer has reset. Other sockets of the host are made anew when they are used.
const std = @import("std");
const planted = @import("../../planted.zig");
const queue_module = @import("queue.zig");
const Piece = queue_module.Piece;
const Socket = @import("socket.zig").Socket;
const Sockets = @import("set.zig").Sockets;

pub const Error = error{OutOfMemory};

/// Copies all sockets into an empty list, each to the same place. Open files that go along with messages are the
/// caller's to copy.
pub fn copy(from: *const Sockets, to: *Sockets) Error!void {
    std.debug.assert(to.list.items.len == 0);
    try to.list.ensureTotalCapacity(to.allocator, from.list.items.len);
    for (from.list.items) |socket| {
        const made = try to.allocator.create(Socket);
        made.* = socket.*;
        made.host = null;
        // Until they are known, these are sockets of the other list, which must not change if this one is given up.
        made.peer = null;
        made.wants = null;
        made.received = .{};
        made.waiting = .empty;
        // All of the list is freed if something goes wrong from here on.
        to.list.appendAssumeCapacity(made);
        if (socket.host) |host| {
            if (isShared(socket)) made.host = host.retain() else forgetHost(made);
        }
        try copyQueue(socket, made, to);
    }
    for (from.list.items, to.list.items) |socket, made| {
        if (socket.peer) |peer| made.peer = to.list.items[peer.index];
        if (socket.wants) |wanted| made.wants = to.list.items[wanted.index];
        try made.waiting.ensureTotalCapacity(to.allocator, socket.waiting.items.len);
        for (socket.waiting.items) |embryo| made.waiting.appendAssumeCapacity(to.list.items[embryo.index]);
    }
    to.next_number = from.next_number;
    to.next_port = from.next_port;
    to.next_name = from.next_name;
}

/// A listener, or a datagram socket at a port where others find it.
fn isShared(socket: *const Socket) bool {
    return socket.state == .listening or socket.may_listen and socket.state == .idle and socket.remote == .none;
}

fn forgetHost(made: *Socket) void {
    switch (made.state) {
        .connected, .connecting => {
            made.state = .connected;
            made.failure = .CONNRESET;
            made.shutdown = .{ .receive = true, .send = true };
            made.changedBoth();
        },
        // It gets another port when it is used.
        .idle, .listening => if (made.isInet()) {
            made.local = if (made.local == .ip) .{ .ip = made.local.ip.withPort(0) } else .none;
            made.port_is_own = made.local == .ip;
        },
    }
}

fn copyQueue(from: *const Socket, made: *Socket, to: *Sockets) Error!void {
    var next = from.received.first;
    while (next) |piece| : (next = piece.next) {
        const copied = try Piece.create(to.allocator, piece.storage.len);
        copied.start = piece.start;
        copied.end = piece.end;
        copied.source = piece.source;
        copied.sender = piece.sender;
        @memcpy(copied.bytes(), piece.bytes());
        made.received.append(copied);
    }
}

/// Whether two copies of one list are the same, in a reset or to compare them.
pub fn same(a: *const Sockets, b: *const Sockets, restoring: bool) bool {
    if (restoring and planted.is(.socket_kept) and a.list.items.len == b.list.items.len) return true;
    if (a.list.items.len != b.list.items.len or a.in_flight != b.in_flight) return false;
    if (a.next_number != b.next_number or a.next_port != b.next_port or a.next_name != b.next_name) return false;
    for (a.list.items, b.list.items) |one, other| if (!sameSocket(one, other, restoring)) return false;
    return true;
}

fn sameSocket(a: *const Socket, b: *const Socket, restoring: bool) bool {
    inline for (@typeInfo(Socket).@"struct".fields) |field| {
        const mine = @field(a, field.name);
        const other = @field(b, field.name);
        const equal = switch (field.type) {
            @TypeOf(a.peer) => indexOf(mine) == indexOf(other),
            @TypeOf(a.local) => mine.same(&other),
            @TypeOf(a.received) => mine.same(&other),
            @TypeOf(a.waiting) => sameWaiting(mine.items, other.items),
            else => std.meta.eql(mine, other),
        };
        if (!equal and !(restoring and planted.is(.socket_bytes_kept) and isTraffic(field.name))) return false;
    }
    return true;
}

/// What bytes that come or go change.
fn isTraffic(comptime field: []const u8) bool {
    return std.mem.eql(u8, field, "received") or std.mem.startsWith(u8, field, "changes_");
}

fn indexOf(socket: ?*const Socket) ?usize {
    return if (socket) |some| some.index else null;
}

fn sameWaiting(a: []const *Socket, b: []const *Socket) bool {
    if (a.len != b.len) return false;
    for (a, b) |one, other| if (one.index != other.index) return false;
    return true;
}
