//! What a machine calls remotes by: names, each with the remote behind it. A snapshot's connections are those of all its forks, and
//! what is put behind a name later is what their next calls go to.
const std = @import("std");
const gates = @import("gates.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const Image = @import("../image.zig").Image;
const Remote = @import("remote.zig").Remote;
const reset = @import("../reset.zig");

pub const Mode = enum(u32) {
    /// One remote for all, which they call one after the other.
    shared,
    /// A fork of it for each caller, which is put back when the caller is.
    fork,
    /// So many forks of it that callers seldom wait for each other; each caller has one of them.
    pool,
};

pub const Error = error{ OutOfMemory, HostFailure };

/// What is behind a name.
pub const Target = union(Mode) {
    shared: *Remote,
    fork: *Image,
    pool: []*Remote,

    fn retain(self: Target, allocator: std.mem.Allocator) error{OutOfMemory}!Target {
        switch (self) {
            .shared => |remote| return .{ .shared = remote.retain() },
            .fork => |image| return .{ .fork = image.retain() },
            .pool => |members| {
                const copy = try allocator.dupe(*Remote, members);
                for (copy) |member| _ = member.retain();
                return .{ .pool = copy };
            },
        }
    }

    pub fn release(self: Target, allocator: std.mem.Allocator) void {
        switch (self) {
            .shared => |remote| remote.letGo(),
            .fork => |image| image.release(),
            .pool => |members| {
                for (members) |member| member.letGo();
                allocator.free(members);
            },
        }
    }
};

pub const Connection = struct {
    allocator: std.mem.Allocator,
    references: std.atomic.Value(u32) = .init(1),
    name: []const u8,
    lock: host.Mutex = .{},
    target: Target,
    /// Calls go through gates where they can.
    exitless: bool,
    /// Changes with the target.
    version: u32 = 0,
    next_member: u32 = 0,

    /// Takes the target over, on failure too.
    fn create(allocator: std.mem.Allocator, name: []const u8, target: Target, exitless: bool) error{OutOfMemory}!*Connection {
        errdefer target.release(allocator);
        const copy = try allocator.dupe(u8, name);
        errdefer allocator.free(copy);
        const self = try allocator.create(Connection);
        self.* = .{ .allocator = allocator, .name = copy, .target = target, .exitless = exitless };
        return self;
    }

    pub fn retain(self: *Connection) *Connection {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Connection) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        self.target.release(self.allocator);
        self.allocator.free(self.name);
        self.allocator.destroy(self);
    }

    fn replace(self: *Connection, target: Target, exitless: bool) void {
        self.lock.lock();
        const old = self.target;
        self.target = target;
        self.exitless = exitless;
        @atomicStore(u32, &self.version, self.version +% 1, .seq_cst);
        self.lock.unlock();
        gates.askBackOf(self);
        old.release(self.allocator);
    }
};

/// A machine's side of a connection.
pub const Held = struct {
    connection: *Connection,
    /// The remote that this machine's calls go to, as of `version`.
    remote: ?*Remote = null,
    version: u32 = 0,
    /// It is this machine's alone.
    is_own: bool = false,

    fn letGo(self: *Held) void {
        if (self.remote) |remote| remote.letGo();
        self.remote = null;
        self.is_own = false;
    }

    /// The remote behind the name now; the machine keeps it until the next call finds another.
    pub fn resolve(self: *Held) Error!*Remote {
        const connection = self.connection;
        if (self.remote) |remote| {
            const is_current = self.version == @atomicLoad(u32, &connection.version, .seq_cst);
            // A fork that has died is replaced; what is shared is the embedder's to replace.
            if (is_current and (remote.death == null or !self.is_own)) return remote;
        }
        connection.lock.lock();
        defer connection.lock.unlock();
        self.letGo();
        self.version = connection.version;
        switch (connection.target) {
            .shared => |remote| self.remote = remote.retain(),
            .pool => |members| {
                self.remote = members[connection.next_member % members.len].retain();
                connection.next_member +%= 1;
            },
            .fork => |image| {
                self.remote = try forkOf(image);
                self.is_own = true;
            },
        }
        return self.remote.?;
    }
};

/// A remote of its own, as the image has it.
pub fn forkOf(image: *Image) Error!*Remote {
    const machine = try image.fork(.{ .memory_bytes = image.machine.frames.frames_max * limits.page_size });
    errdefer machine.destroy();
    return Remote.create(machine.allocator, machine);
}

/// All connections of one machine.
pub const Connections = struct {
    list: std.ArrayList(Held) = .empty,

    pub fn deinit(self: *Connections, allocator: std.mem.Allocator) void {
        for (self.list.items) |*held| {
            held.letGo();
            held.connection.release();
        }
        self.list.deinit(allocator);
    }

    pub fn find(self: *Connections, name: []const u8) ?*Held {
        for (self.list.items) |*held| if (std.mem.eql(u8, held.connection.name, name)) return held;
        return null;
    }

    /// Puts a remote behind a name. Takes the target over, on failure too.
    pub fn put(self: *Connections, allocator: std.mem.Allocator, name: []const u8, target: Target, exitless: bool) error{ OutOfMemory, TooMany }!void {
        if (self.find(name)) |held| return held.connection.replace(target, exitless);
        if (self.list.items.len >= limits.connections_max) {
            target.release(allocator);
            return error.TooMany;
        }
        const connection = try Connection.create(allocator, name, target, exitless);
        errdefer connection.release();
        try self.list.append(allocator, .{ .connection = connection });
    }

    /// Takes a name away; forks that have it keep it. False if it is not there.
    pub fn remove(self: *Connections, name: []const u8) bool {
        for (self.list.items, 0..) |*held, index| {
            if (!std.mem.eql(u8, held.connection.name, name)) continue;
            gates.askBackOf(held.connection);
            held.letGo();
            held.connection.release();
            _ = self.list.orderedRemove(index);
            return true;
        }
        return false;
    }

    /// Whether a remote of the machine's own is to give up its page tables: what the machine's VM remembers of them goes with it.
    pub fn haveOwnToForget(self: *const Connections) bool {
        for (self.list.items) |held| {
            if (held.is_own and (held.remote.?.machine.broken or held.remote.?.machine.space.tables.tooMany())) return true;
        }
        return false;
    }

    /// Remotes that are the machine's alone are put back with it; one that cannot be is replaced at the next call.
    pub fn resetOwn(self: *Connections, limit_bytes: u64) void {
        for (self.list.items) |*held| {
            if (!held.is_own) continue;
            const remote = held.remote.?;
            gates.askBack(remote);
            if (remote.death != null) {
                held.letGo();
                continue;
            }
            _ = reset.reset(remote.machine, .auto, limit_bytes) catch held.letGo();
        }
    }

    /// The same connections for a fork.
    pub fn share(self: *const Connections, allocator: std.mem.Allocator) error{OutOfMemory}!Connections {
        var other: Connections = .{};
        try other.list.ensureTotalCapacity(allocator, self.list.items.len);
        for (self.list.items) |held| other.list.appendAssumeCapacity(.{ .connection = held.connection.retain() });
        return other;
    }

    /// Connections of its own for an image, to the same remotes.
    pub fn copy(self: *const Connections, allocator: std.mem.Allocator) error{OutOfMemory}!Connections {
        var other: Connections = .{};
        errdefer other.deinit(allocator);
        for (self.list.items) |held| {
            const from = held.connection;
            from.lock.lock();
            defer from.lock.unlock();
            const target = try from.target.retain(allocator);
            const connection = try Connection.create(allocator, from.name, target, from.exitless);
            errdefer connection.release();
            try other.list.append(allocator, .{ .connection = connection });
        }
        return other;
    }
};
