//! Open files: descriptors of the guest, and the descriptions behind them, which `dup` shares.
//!
//! A guest's descriptor is an index into this table; no host descriptor's number is ever visible to a guest.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../host.zig");
const HostFile = @import("../../host_file.zig").HostFile;
const epoll = @import("../events/epoll.zig");
const eventfd = @import("../events/eventfd.zig");
const limits = @import("../../limits.zig");
const paths = @import("../paths.zig");
const patterns = @import("../sockets/patterns.zig");
const permissions_module = @import("../permissions.zig");
const private_tree = @import("private/tree.zig");
const readiness = @import("../events/readiness.zig");
const synthetic = @import("../synthetic.zig");
const Output = @import("../../output.zig").Output;
const Pipe = @import("pipe.zig").Pipe;
const timerfd = @import("../events/timerfd.zig");
const Socket = @import("../sockets/socket.zig").Socket;
const Sockets = @import("../sockets/set.zig").Sockets;

pub const OpenNode = struct { node: u32, at: u64 = 0 };

pub const Kind = union(enum) {
    /// A stream of the embedder's: a terminal, a pipe, a file. Blocking reads wait outside the host call.
    host_stream: *HostFile,
    /// Standard output that JavaScript reads.
    output: struct { stream: u32, to: ?*Output },
    host_file: struct { file: *HostFile, at: u64 = 0 },
    /// The host keeps the place in a listing, but for what a layer shows: there it is `at`.
    host_directory: struct { fd: i32, path: []u8, at: ?u64 = null },
    device: synthetic.Device,
    /// The text of a synthetic file, made when it was opened.
    text: struct { bytes: []u8, at: u64 = 0 },
    synthetic_directory: struct { path: []u8, at: u64 = 0 },
    /// Nodes of the private tree, by number.
    private_file: OpenNode,
    private_directory: OpenNode,
    pipe_read: *Pipe,
    pipe_write: *Pipe,
    epoll: *epoll.Epoll,
    event: eventfd.Event,
    timer: timerfd.Timer,
    /// The signals that a signalfd takes.
    signals: u64,
    socket: *Socket,
};

/// One open file; several descriptors may share it.
pub const Description = struct {
    kind: Kind,
    references: u32 = 1,
    /// O_APPEND, O_NONBLOCK and the access mode, as F_GETFL shows them.
    status_flags: u32,
    /// Guest path it was opened by; empty for streams and pipes.
    path: []u8 = &.{},
    /// What has happened to it, if its kind does not count that elsewhere.
    changes: readiness.Changes = .{},
    /// Watches of epoll sets on it, which go with it.
    watches: u32 = 0,
    /// Where an inquiry has put it, valid with its stamp.
    asked: u32 = 0,
    inquiry: u64 = 0,

    /// Opened with O_PATH: it names a place, and gives no access to what is in it.
    pub fn isPathOnly(self: *const Description) bool {
        return self.status_flags & O_PATH != 0;
    }

    pub fn mayRead(self: *const Description) bool {
        return self.status_flags & 3 != 1 and !self.isPathOnly();
    }

    pub fn mayWrite(self: *const Description) bool {
        return self.status_flags & 3 != 0 and !self.isPathOnly();
    }

    pub fn isNonBlocking(self: *const Description) bool {
        return self.status_flags & O_NONBLOCK != 0;
    }
};

/// What of a mode reaches the host. A file that a guest wrote must not run as its owner for others: no set-id bits.
pub const mode_mask = 0o1777;
pub const O_APPEND = 0o2000;
pub const O_NONBLOCK = 0o4000;
pub const O_PATH = paths.O_PATH;

pub const Slot = struct { description: ?*Description = null, close_on_exec: bool = false };

pub const Error = error{ OutOfMemory, TooMany };

/// The open file of a call that waits: it stays open until the call ends, whatever becomes of its descriptor.
pub const Held = struct { fd: i32, description: *Description };

/// What a machine may reach and by what names, as it was booted: shared with its images and their forks.
pub const Scope = struct {
    permissions: permissions_module.Permissions = .{},
    mounts: []paths.Mount = &.{},
    hook: paths.DeniedHook = .{},
    /// Paths with links in them that lead to layers.
    ways: []const []const u8 = &.{},
    network: patterns.Network = .{},
    /// Lines for /etc/hosts.
    hosts: []const u8 = "",
    /// Told of what of the network was refused.
    network_refused: ?*const fn (access: patterns.Access, place: []const u8) void = null,
    references: std.atomic.Value(u32) = .init(1),
    /// Owns the texts of permissions and mounts.
    arena: std.heap.ArenaAllocator,

    fn create(allocator: std.mem.Allocator) error{OutOfMemory}!*Scope {
        const self = try allocator.create(Scope);
        self.* = .{ .arena = .init(allocator) };
        return self;
    }

    pub fn retain(self: *Scope) *Scope {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    fn release(self: *Scope, allocator: std.mem.Allocator) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        for (self.mounts) |mount| host.close(mount.fd);
        self.arena.deinit();
        allocator.destroy(self);
    }
};

pub const FileTable = struct {
    allocator: std.mem.Allocator,
    slots: std.ArrayList(Slot) = .empty,
    working_directory: []u8,
    /// Pipes there are; each holds memory of the host's.
    pipes: u32 = 0,
    /// All timerfds, also those on their way in messages.
    timers: std.ArrayList(*Description) = .empty,
    /// All epoll sets, also those on their way in messages, and how many watches they have.
    sets: std.ArrayList(*epoll.Epoll) = .empty,
    watches: u32 = 0,
    /// Tells the findings of one inquiry from those of others.
    stamp: u64 = 0,
    sockets: Sockets,
    /// Within `releaseLost`, and within `closeAll`.
    releasing: bool = false,
    giving_up: bool = false,
    /// What the call that is tried again holds open. Null between calls.
    held: ?Held = null,
    scope: *Scope,
    /// The machine's own files in /tmp and the like; perhaps shared with images and forks.
    private: *private_tree.Tree,

    /// A table with no open file and the host's root that grants nothing.
    pub fn initEmpty(allocator: std.mem.Allocator) error{ OutOfMemory, HostFailure }!FileTable {
        const scope = try Scope.create(allocator);
        errdefer scope.release(allocator);
        const private: *private_tree.Tree = try .create(allocator);
        errdefer private.release();
        var self: FileTable = .{ .allocator = allocator, .working_directory = try allocator.dupe(u8, "/"), .sockets = .{ .allocator = allocator }, .scope = scope, .private = private };
        errdefer allocator.free(self.working_directory);
        try self.addMount("/", "/", false, false);
        return self;
    }

    /// Shows a host folder at a guest path. Both are canonical.
    pub fn addMount(self: *FileTable, guest: []const u8, host_path: []const u8, volume: bool, write: bool) error{ OutOfMemory, HostFailure }!void {
        const name = try self.scope.arena.allocator().dupeZ(u8, host_path);
        const fd: i32 = @intCast(try host.check(linux.open(name, .{ .PATH = true, .CLOEXEC = true }, 0)));
        errdefer host.close(fd);
        try self.addOpenedMount(guest, name, fd, volume, write);
    }

    /// Shows what a descriptor is open on, and takes the descriptor; `name` is what it is called.
    pub fn addOpenedMount(self: *FileTable, guest: []const u8, name: [:0]const u8, fd: i32, volume: bool, write: bool) error{OutOfMemory}!void {
        const arena = self.scope.arena.allocator();
        const old = self.scope.mounts;
        const mounts = try arena.alloc(paths.Mount, old.len + 1);
        @memcpy(mounts[0..old.len], old);
        mounts[old.len] = .{ .guest = try arena.dupe(u8, guest), .host = name, .fd = fd, .volume = volume, .write = write };
        self.scope.mounts = mounts;
    }

    pub fn deinit(self: *FileTable) void {
        self.closeAll();
        self.slots.deinit(self.allocator);
        self.sets.deinit(self.allocator);
        self.timers.deinit(self.allocator);
        self.sockets.deinit();
        self.allocator.free(self.working_directory);
        self.private.release();
        self.scope.release(self.allocator);
    }

    pub fn nextStamp(self: *FileTable) u64 {
        self.stamp += 1;
        return self.stamp;
    }

    /// Closes everything, for a table whose private files are given up too.
    pub fn closeAll(self: *FileTable) void {
        self.giving_up = true;
        defer self.giving_up = false;
        // Sets and what they watch go in any order.
        for (self.sets.items) |set| set.clear(self);
        // The embedder's ends of connections have no descriptor.
        var index: usize = 0;
        while (index < self.sockets.list.items.len) {
            const socket = self.sockets.list.items[index];
            if (socket.outside) self.closeSocket(socket) else index += 1;
        }
        // First what sockets may hold of each other.
        for (self.sockets.list.items) |socket| self.sockets.loseMessages(socket);
        self.releaseLost();
        for (self.slots.items) |slot| if (slot.description) |description| self.release(description);
        self.slots.clearRetainingCapacity();
        // Those that never got an open file, in any order: listeners among them, and who waits for one.
        for (self.sockets.list.items) |socket| socket.waiting.clearRetainingCapacity();
        while (self.sockets.list.getLastOrNull()) |socket| self.closeSocket(socket);
    }

    /// Closes a socket whose open file is gone, with the open files on their way to it.
    pub fn closeSocket(self: *FileTable, socket: *Socket) void {
        socket.close(&self.sockets);
        self.releaseLost();
    }

    /// Throws a socket's first message away.
    pub fn loseMessage(self: *FileTable, socket: *Socket) void {
        self.sockets.lose(socket.received.take().?);
        self.releaseLost();
    }

    /// Releases the open files of lost messages, which may lose more of them.
    fn releaseLost(self: *FileTable) void {
        if (self.releasing) return;
        self.releasing = true;
        defer self.releasing = false;
        while (self.sockets.takeLost()) |rights| {
            for (rights) |right| self.release(right);
            self.allocator.free(rights);
        }
    }

    /// The private tree, to be changed: a copy if somebody shares it.
    pub fn ownPrivate(self: *FileTable) error{OutOfMemory}!*private_tree.Tree {
        if (!self.private.isShared()) return self.private;
        const own = try self.private.clone();
        self.private.release();
        self.private = own;
        // What was closed meanwhile, in a tree that could not be changed.
        for (own.nodes.items, 0..) |*node, index| if (node.kind != .free) self.dropIfUnused(@intCast(index));
        return own;
    }

    /// Gives back a private node that has neither a name nor an open file.
    pub fn dropIfUnused(self: *FileTable, node: u32) void {
        if (self.private.at(node).links > 0 or self.private.isShared()) return;
        if (!self.hasOpen(node)) self.private.drop(node);
    }

    /// Whether a private node is open, on its way between sockets included.
    pub fn hasOpen(self: *const FileTable, node: u32) bool {
        for (self.slots.items) |slot| if (slot.description) |description| if (isOfNode(description, node)) return true;
        var flights = self.sockets.flights();
        while (flights.next()) |description| if (isOfNode(description, node)) return true;
        return false;
    }

    /// What is open of a file of the host's by this path is from now on a private file with the same bytes.
    pub fn becomesPrivate(self: *FileTable, path: []const u8, origin: private_tree.Origin, node: u32) void {
        for (self.slots.items) |slot| if (slot.description) |description| self.makePrivate(description, path, origin, node);
        var flights = self.sockets.flights();
        while (flights.next()) |description| self.makePrivate(description, path, origin, node);
    }

    fn makePrivate(self: *FileTable, description: *Description, path: []const u8, origin: private_tree.Origin, node: u32) void {
        if (description.kind != .host_file or !std.mem.eql(u8, description.path, path)) return;
        const open = description.kind.host_file;
        const identity = open.file.identity();
        if (!std.meta.eql(origin, .{ .major = identity.major, .minor = identity.minor, .inode = identity.inode })) return;
        description.kind = .{ .private_file = .{ .node = node, .at = open.at } };
        open.file.release(self.allocator);
    }

    fn isOfNode(description: *const Description, node: u32) bool {
        return switch (description.kind) {
            .private_file, .private_directory => |open| open.node == node,
            else => false,
        };
    }

    pub fn namespace(self: *const FileTable) paths.Namespace {
        return .{ .mounts = self.scope.mounts, .permissions = &self.scope.permissions, .hook = self.scope.hook, .private = self.private, .ways = self.scope.ways, .files = self };
    }

    /// The open file of a descriptor; of the call that is tried again, the one that it found at first.
    pub fn get(self: *const FileTable, fd: i32) ?*Description {
        if (self.held) |held| if (held.fd == fd) return held.description;
        if (fd < 0 or fd >= self.slots.items.len) return null;
        return self.slots.items[@intCast(fd)].description;
    }

    /// An open file that is more than a place: what O_PATH opened answers EBADF to most calls.
    pub fn opened(self: *const FileTable, fd: i32) ?*Description {
        const description = self.get(fd) orelse return null;
        return if (description.isPathOnly()) null else description;
    }

    pub fn create(self: *FileTable, kind: Kind, status_flags: u32, path: []const u8) error{OutOfMemory}!*Description {
        const description = try self.allocator.create(Description);
        errdefer self.allocator.destroy(description);
        description.* = .{ .kind = kind, .status_flags = status_flags, .path = try self.allocator.dupe(u8, path) };
        errdefer self.allocator.free(description.path);
        if (kind == .timer) try self.timers.append(self.allocator, description);
        return description;
    }

    /// The lowest free descriptor at or above `least` now refers to `description`, whose reference passes to it.
    pub fn install(self: *FileTable, description: *Description, least: u32, close_on_exec: bool, bound: u64) Error!i32 {
        var index: usize = least;
        while (index < self.slots.items.len and self.slots.items[index].description != null) index += 1;
        if (index >= @min(bound, limits.descriptors_max)) return error.TooMany;
        try self.put(index, description, close_on_exec);
        return @intCast(index);
    }

    /// Whether a descriptor below `bound` is free.
    pub fn hasPlace(self: *const FileTable, bound: u64) bool {
        const most = @min(bound, limits.descriptors_max);
        if (self.slots.items.len < most) return true;
        for (self.slots.items[0..@intCast(most)]) |slot| if (slot.description == null) return true;
        return false;
    }

    /// Puts a description at a free place.
    pub fn put(self: *FileTable, index: usize, description: *Description, close_on_exec: bool) error{OutOfMemory}!void {
        if (index >= self.slots.items.len) try self.slots.appendNTimes(self.allocator, .{}, index + 1 - self.slots.items.len);
        self.slots.items[index] = .{ .description = description, .close_on_exec = close_on_exec };
    }

    /// What tells streams and pipes apart, for inode numbers: the first descriptor that refers to it, nothing of the host's.
    pub fn streamNumber(self: *const FileTable, description: *const Description) u64 {
        const pipe = pipeOf(description);
        for (self.slots.items, 1..) |slot, number| {
            const other = slot.description orelse continue;
            if (other == description or pipe != null and pipeOf(other) == pipe) return number;
        }
        return 0;
    }

    /// The first descriptor that refers to an open file.
    pub fn firstWith(self: *const FileTable, description: *const Description) ?usize {
        for (self.slots.items, 0..) |slot, index| if (slot.description == description) return index;
        return null;
    }

    fn pipeOf(description: *const Description) ?*const Pipe {
        return switch (description.kind) {
            .pipe_read, .pipe_write => |pipe| pipe,
            else => null,
        };
    }

    pub fn closeOnExec(self: *FileTable, fd: i32) *bool {
        return &self.slots.items[@intCast(fd)].close_on_exec;
    }

    /// False if the descriptor is not open.
    pub fn close(self: *FileTable, fd: i32) bool {
        const description = self.get(fd) orelse return false;
        self.slots.items[@intCast(fd)] = .{};
        self.release(description);
        return true;
    }

    /// Closes what is not to be open in the next program.
    pub fn closeForProgram(self: *FileTable) void {
        for (self.slots.items, 0..) |slot, index| if (slot.close_on_exec) {
            _ = self.close(@intCast(index));
        };
    }

    pub fn release(self: *FileTable, description: *Description) void {
        description.references -= 1;
        if (description.references > 0) return;
        const kind = description.kind;
        self.destroy(description);
        if (self.giving_up) return;
        switch (kind) {
            .private_file, .private_directory => |open| self.dropIfUnused(open.node),
            else => {},
        }
    }

    fn destroy(self: *FileTable, description: *Description) void {
        if (description.watches > 0) for (self.sets.items) |set| set.removeAllOf(self, description);
        switch (description.kind) {
            .host_stream => |stream| stream.release(self.allocator),
            .host_file => |file| file.file.release(self.allocator),
            .host_directory => |directory| {
                host.close(directory.fd);
                self.allocator.free(directory.path);
            },
            .text => |text| self.allocator.free(text.bytes),
            .synthetic_directory => |directory| self.allocator.free(directory.path),
            .pipe_read => |pipe| self.pipes -= @intFromBool(pipe.closeReader(self.allocator)),
            .pipe_write => |pipe| self.pipes -= @intFromBool(pipe.closeWriter(self.allocator)),
            .epoll => |set| set.destroy(self),
            .timer => _ = self.timers.swapRemove(std.mem.indexOfScalar(*Description, self.timers.items, description).?),
            .socket => |socket| self.closeSocket(socket),
            .output, .device, .private_file, .private_directory, .event, .signals => {},
        }
        self.allocator.free(description.path);
        self.allocator.destroy(description);
    }
};
