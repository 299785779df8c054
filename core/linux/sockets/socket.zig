//! One socket of a guest, and how two of one machine are joined. Nothing here asks the host but to close its socket.
//!
//! A socket belongs to one open file (`files/table.zig`), or waits in a listener's queue until accept(2) gives it one. All
//! are in the machine's list (`set.zig`), by which they find each other.
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const options_module = @import("option_values.zig");
const queue_module = @import("queue.zig");
const Address = address.Address;
const Credentials = queue_module.Credentials;
const HostSocket = @import("host_socket.zig").HostSocket;
const Queue = queue_module.Queue;
const Sockets = @import("set.zig").Sockets;

pub const Family = address.Family;
pub const Type = enum(u8) { stream = 1, datagram = 2, packet = 5 };

pub const State = enum {
    /// Neither connected nor listening; a datagram socket of a network may have a remote address all the same.
    idle,
    listening,
    /// The host is connecting it, or it waits for room in the queue of a listener of this machine.
    connecting,
    connected,
};

/// What Linux's `sk_shutdown` says: nothing more is to be received, nothing more may be sent.
pub const Shutdown = struct { receive: bool = false, send: bool = false };

/// Senders that are remembered: a server answers before it has heard so many more.
pub const heard_max = 16;

pub const Socket = struct {
    family: Family,
    type: Type,
    protocol: u16,
    /// Its place in the machine's list.
    index: usize = 0,
    /// What tells it apart, as an inode number.
    number: u64 = 0,
    state: State = .idle,
    /// The host's socket behind it; null while all of it is in the machine.
    host: ?*HostSocket = null,
    /// Its own name.
    local: Address = .none,
    /// The port is one that the VMM chose, of which the host knows nothing.
    port_is_own: bool = false,
    /// It was bound to a port that the program asked for and may listen at, or to any of one that it may.
    may_listen: bool = false,
    /// Whom it is connected to, or where a datagram socket of a network sends.
    remote: Address = .none,
    /// The other end in this machine: of a connection, or where a datagram socket of AF_UNIX sends.
    peer: ?*Socket = null,
    received: Queue = .{},
    /// Who has sent to a datagram socket that may listen, and may be answered.
    heard: [heard_max]address.Ip = @splat(.any(.inet6)),
    heard_next: u8 = 0,
    /// Connections that wait for accept(2), oldest first.
    waiting: std.ArrayList(*Socket) = .empty,
    backlog: u32 = 0,
    /// It came from a listener.
    is_accepted: bool = false,
    /// The listener whose full queue it waits for.
    wants: ?*Socket = null,
    shutdown: Shutdown = .{},
    /// What SO_ERROR tells, once.
    failure: linux.E = .SUCCESS,
    /// connect(2) has said that it is connected.
    told_connected: bool = false,
    /// Who was there when it was connected, for SO_PEERCRED.
    peer_credentials: ?Credentials = null,
    options: options_module.Values = .{},
    /// The embedder's end of a connection: no descriptor has it.
    outside: bool = false,
    /// The embedder has bytes for which there was no room.
    wants_room: bool = false,
    /// The embedder has been told that the connection is over.
    told_end: bool = false,
    /// Moved on by all that Linux wakes who polls for: something to receive, room to send, an end.
    changes_in: u32 = 0,
    changes_out: u32 = 0,

    pub fn isStream(self: *const Socket) bool {
        return self.type == .stream;
    }

    /// Whether it is connected before it can send.
    pub fn isConnectionOriented(self: *const Socket) bool {
        return self.type != .datagram;
    }

    pub fn isInet(self: *const Socket) bool {
        return self.family != .unix;
    }

    pub fn hear(self: *Socket, from: *const address.Ip) void {
        if (self.hasHeard(from)) return;
        self.heard[self.heard_next] = from.*;
        self.heard_next = (self.heard_next + 1) % heard_max;
    }

    pub fn hasHeard(self: *const Socket, from: *const address.Ip) bool {
        for (&self.heard) |*one| if (one.same(from)) return true;
        return false;
    }

    /// Whether it listens inside its machine alone: at a port of its own of the loopback network, or if all do.
    pub fn isInside(self: *const Socket, all: bool) bool {
        return all or self.port_is_own and self.hasPort() and self.local.ip.isLoopback();
    }

    pub fn takeFailure(self: *Socket) linux.E {
        defer self.failure = .SUCCESS;
        return self.failure;
    }

    pub fn hasPort(self: *const Socket) bool {
        return self.local == .ip and self.local.ip.port != 0;
    }

    /// Gives the host's socket up.
    pub fn dropHost(self: *Socket, allocator: std.mem.Allocator) void {
        const host = self.host orelse return;
        self.host = null;
        host.release(allocator);
    }

    // Joining

    /// Makes both ends of a connection of each other.
    pub fn join(a: *Socket, b: *Socket) void {
        a.peer = b;
        b.peer = a;
        a.state = .connected;
        b.state = .connected;
        a.remote = b.local;
        b.remote = a.local;
    }

    pub fn changedIn(self: *Socket) void {
        self.changes_in +%= 1;
    }

    pub fn changedBoth(self: *Socket) void {
        self.changes_in +%= 1;
        self.changes_out +%= 1;
    }

    /// Ends directions of a connection inside the machine, at both ends as Linux does.
    pub fn shutDown(self: *Socket, how: Shutdown) void {
        if (how.receive) self.shutdown.receive = true;
        if (how.send) self.shutdown.send = true;
        self.changedBoth();
        const peer = self.peer orelse return;
        if (!self.isConnectionOriented()) return;
        // The end of a TCP connection does not learn that nobody reads.
        if (how.receive and !self.isInet()) peer.shutdown.send = true;
        if (how.send) peer.shutdown.receive = true;
        peer.changedBoth();
    }

    /// The other end is reset: what it has not read is gone.
    pub fn resetPeer(peer: *Socket) void {
        peer.failure = .CONNRESET;
        peer.shutdown = .{ .receive = true, .send = true };
    }

    /// What its closing does to others. `resets`: with SO_LINGER and a time of 0.
    fn leavePeer(self: *Socket) void {
        const peer = self.peer orelse return;
        self.peer = null;
        if (!self.isConnectionOriented()) return;
        peer.peer = null;
        const resets = !self.received.isEmpty() or self.isInet() and self.options.resetsOnClose();
        if (resets) {
            resetPeer(peer);
        } else if (self.isInet()) {
            // It may still send: only what comes back tells it that nobody is there.
            peer.shutdown.receive = true;
        } else peer.shutdown = .{ .receive = true, .send = true };
        peer.changedBoth();
    }

    /// Takes a connection of TCP away, as connect(2) to nowhere does.
    pub fn reset(self: *Socket) void {
        if (self.peer) |peer| {
            self.peer = null;
            peer.peer = null;
            resetPeer(peer);
            peer.changedBoth();
        }
        self.wants = null;
        self.state = .idle;
        self.shutdown = .{};
        self.changedBoth();
    }

    /// Takes it out of its machine. Its open file is gone.
    pub fn close(self: *Socket, sockets: *Sockets) void {
        sockets.dropWaiting(self);
        self.leavePeer();
        for (sockets.list.items) |other| if (other.peer == self) {
            other.peer = null;
        };
        sockets.destroy(self);
    }
};
