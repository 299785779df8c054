//! All sockets of one machine, and how an address finds one of them without asking the host.
const std = @import("std");
const limits = @import("../../limits.zig");
const address = @import("address.zig");
const socket_module = @import("socket.zig");
const Address = address.Address;
const Description = @import("../files/table.zig").Description;
const Ip = address.Ip;
const Piece = @import("queue.zig").Piece;
const Socket = socket_module.Socket;
const UnixName = address.UnixName;

/// Linux's net.ipv4.ip_local_port_range.
const first_port = 32768;
const last_port = 60999;

pub const Sockets = struct {
    allocator: std.mem.Allocator,
    list: std.ArrayList(*Socket) = .empty,
    next_number: u64 = 1,
    next_port: u16 = first_port,
    /// Of the names that bind(2) makes up for AF_UNIX.
    next_name: u32 = 0,
    /// Open files on their way.
    in_flight: u32 = 0,
    /// Messages whose socket is gone, with open files that are to be released (`FileTable.closeSocket`).
    lost: ?*Piece = null,

    pub fn deinit(self: *Sockets) void {
        std.debug.assert(self.list.items.len == 0 and self.lost == null);
        self.list.deinit(self.allocator);
    }

    pub fn add(self: *Sockets, family: socket_module.Family, kind: socket_module.Type, protocol: u16) error{ OutOfMemory, TooMany }!*Socket {
        if (self.list.items.len >= limits.sockets_max) return error.TooMany;
        const made = try self.allocator.create(Socket);
        errdefer self.allocator.destroy(made);
        made.* = .{ .family = family, .type = kind, .protocol = protocol, .index = self.list.items.len, .number = self.next_number };
        try self.list.append(self.allocator, made);
        self.next_number += 1;
        return made;
    }

    /// Resets those who wait for a listener, which is one no more.
    pub fn dropWaiting(self: *Sockets, listener: *Socket) void {
        for (listener.waiting.items) |embryo| {
            if (embryo.peer) |client| {
                client.peer = null;
                client.resetPeer();
                client.changedBoth();
            }
            self.destroy(embryo);
        }
        listener.waiting.clearRetainingCapacity();
        for (self.list.items) |other| if (other.wants == listener) {
            other.wants = null;
            other.state = .idle;
            other.failure = .CONNREFUSED;
            other.changedBoth();
        };
    }

    /// Frees a socket that nobody refers to any more.
    pub fn destroy(self: *Sockets, socket: *Socket) void {
        _ = self.list.swapRemove(socket.index);
        if (socket.index < self.list.items.len) self.list.items[socket.index].index = socket.index;
        self.freeOnly(socket);
    }

    /// Frees a socket, for a list that is given up as a whole.
    pub fn freeOnly(self: *Sockets, socket: *Socket) void {
        socket.dropHost(self.allocator);
        self.loseMessages(socket);
        socket.waiting.deinit(self.allocator);
        self.allocator.destroy(socket);
    }

    /// Empties a socket's queue.
    pub fn loseMessages(self: *Sockets, socket: *Socket) void {
        while (socket.received.take()) |piece| self.lose(piece);
    }

    pub fn lose(self: *Sockets, piece: *Piece) void {
        if (piece.rights.len == 0) return piece.destroy(self.allocator);
        piece.next = self.lost;
        self.lost = piece;
    }

    /// The open files of one lost message, the caller's own now.
    pub fn takeLost(self: *Sockets) ?[]*Description {
        const piece = self.lost orelse return null;
        self.lost = piece.next;
        const rights = piece.rights;
        self.in_flight -= @intCast(rights.len);
        piece.rights = &.{};
        piece.destroy(self.allocator);
        return rights;
    }

    /// Open files on their way between sockets.
    pub const Flights = struct {
        sockets: []const *Socket,
        piece: ?*Piece = null,
        index: usize = 0,

        pub fn next(self: *Flights) ?*Description {
            while (true) {
                if (self.piece) |piece| {
                    if (self.index < piece.rights.len) {
                        self.index += 1;
                        return piece.rights[self.index - 1];
                    }
                    self.index = 0;
                    self.piece = piece.next;
                } else {
                    if (self.sockets.len == 0) return null;
                    self.piece = self.sockets[0].received.first;
                    self.sockets = self.sockets[1..];
                }
            }
        }
    };

    pub fn flights(self: *const Sockets) Flights {
        return .{ .sockets = if (self.in_flight == 0) &.{} else self.list.items };
    }

    /// How much a socket may hold now, of the `wanted` that it was given. Its share of what all may hold it always has.
    pub fn boundOf(self: *const Sockets, socket: *const Socket, wanted: usize) usize {
        const share = limits.socket_buffers_max_bytes / limits.sockets_max;
        if (socket.received.cost < share or wanted <= share) return wanted;
        var total: usize = 0;
        for (self.list.items) |other| total += other.received.cost;
        return if (total < limits.socket_buffers_max_bytes) wanted else share;
    }

    /// Who listens at an address of this machine, seen from the machine.
    pub fn listenerAt(self: *const Sockets, there: *const Ip) ?*Socket {
        for (self.list.items) |socket| {
            if (socket.state == .listening and socket.isInet() and isAt(socket, there)) return socket;
        }
        return null;
    }

    /// The datagram socket that gets what `from` sends to an address of this machine: one that is connected to the sender
    /// before one that takes from anyone.
    pub fn datagramAt(self: *const Sockets, there: *const Ip, from: ?*const Ip) ?*Socket {
        var found: ?*Socket = null;
        for (self.list.items) |socket| {
            if (socket.type != .datagram or !socket.isInet() or !isAt(socket, there)) continue;
            if (socket.remote != .ip) {
                found = found orelse socket;
            } else if (from) |sender| {
                if (socket.remote.ip.target().same(sender)) return socket;
            }
        }
        return found;
    }

    fn isAt(socket: *const Socket, there: *const Ip) bool {
        if (socket.local != .ip or socket.local.ip.port != there.port or there.port == 0) return false;
        const local = &socket.local.ip;
        const takes_v4 = socket.family == .inet or !socket.options.v6Only();
        if (there.isV4() and !takes_v4) return false;
        if (!there.isV4() and socket.family == .inet) return false;
        if (!local.isAny()) return local.sameHost(there);
        return there.isLoopback() and (!local.isV4() or there.isV4());
    }

    /// Who has an AF_UNIX name: abstract ones by their bytes, files by what they are.
    pub fn named(self: *const Sockets, name: *const UnixName) ?*Socket {
        for (self.list.items) |socket| {
            if (socket.local != .unix or socket.host != null) continue;
            // What accept(2) gives has the listener's name, and nobody finds it by that.
            if (socket.is_accepted) continue;
            const own = &socket.local.unix;
            if (name.inode != 0 or own.inode != 0) {
                if (own.inode == name.inode) return socket;
            } else if (name.isAbstract() and std.mem.eql(u8, own.text(), name.text())) return socket;
        }
        return null;
    }

    /// A port that no socket of this machine has; null if there is none.
    pub fn freePort(self: *Sockets) ?u16 {
        for (0..last_port - first_port + 1) |_| {
            const port = self.next_port;
            self.next_port = if (port == last_port) first_port else port + 1;
            for (self.list.items) |socket| {
                if (socket.local == .ip and socket.local.ip.port == port) break;
            } else return port;
        }
        return null;
    }

    /// An abstract name of five hexadecimal digits that nobody has (unix(7), "Autobind feature").
    pub fn freeName(self: *Sockets) ?UnixName {
        for (0..limits.sockets_max + 1) |_| {
            var bytes: [6]u8 = undefined;
            _ = std.fmt.bufPrint(&bytes, "\x00{x:0>5}", .{self.next_name & 0xfffff}) catch unreachable;
            self.next_name +%= 1;
            const name: UnixName = .of(&bytes);
            if (self.named(&name) == null) return name;
        }
        return null;
    }
};
