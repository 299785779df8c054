//! The private files of a machine: a tree of nodes in memory, and what their names are.
//!
//! An image and its forks share one tree; whoever changes it makes a copy first (`FileTable.ownPrivate`), in which every
//! node has the same number and every content is still shared. So a fork that writes no private file costs nothing, and a
//! reset is an exchange of pointers. Where a layer lies over a folder of the host, the tree has what the machine has changed
//! there, whiteouts for what it has taken away included. Not here: paths, permission bits, errors of system calls.
const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const host = @import("../../../host.zig");
const limits = @import("../../../limits.zig");
const planted = @import("../../../planted.zig");
const content_module = @import("content.zig");
pub const Content = content_module.Content;
pub const Error = content_module.Error;

/// Where private directories are, in every machine. The first nodes of every tree, in this order; then come layers.
pub const mount_points = [_][]const u8{ "/tmp", "/var/tmp", "/dev/shm" };

const root_mode = 0o1777;
const page = limits.page_size;

pub const User = struct { uid: u32, gid: u32 };

pub const Time = struct { sec: i64 = 0, nsec: u32 = 0 };

pub const Kind = enum { free, file, directory, link, socket };

/// Stands for a node behind a name that the host has and the machine has taken away.
pub const whiteout = none;

/// What is left of a name that is taken away: where the host has it too, it must not show.
pub const Left = enum { nothing, whiteout };

/// Which file of the host a node was copied from: it keeps the numbers by which programs tell files apart.
pub const Origin = struct { major: u32, minor: u32, inode: u64 };

/// A name in a directory. The cookie is its place in listings: it never changes and none comes twice.
pub const Entry = struct { name: []u8, node: u32, cookie: u64 };

fn hashOf(name: []const u8) u32 {
    return @truncate(std.hash.Wyhash.hash(0, name));
}

/// "." and ".." come before the first entry of a listing.
pub const first_cookie = 3;

pub const Node = struct {
    kind: Kind = .free,
    /// Permission bits.
    mode: u32 = 0,
    owner: User = .{ .uid = 0, .gid = 0 },
    /// Names there are; 0 once it has none and lives only as long as it is open.
    links: u32 = 0,
    inode: u64 = 0,
    accessed: Time = .{},
    modified: Time = .{},
    changed: Time = .{},
    /// A directory's parent; of a free node the next free one.
    parent: u32 = none,
    /// A file's bytes; null if its size is 0, unless it was mapped.
    content: ?*Content = null,
    size: u64 = 0,
    /// Where a link leads.
    target: []u8 = &.{},
    entries: std.ArrayList(Entry) = .empty,
    /// Of the entries' names, in a row, so that looking through a large directory is fast.
    hashes: std.ArrayList(u32) = .empty,
    next_cookie: u64 = first_cookie,
    /// A directory of a layer: beside its entries it shows what the host has at its path.
    merged: bool = false,
    origin: ?Origin = null,

    pub fn isMapped(self: *const Node) bool {
        return if (self.content) |content| content.mapped else false;
    }
};

pub const none = std.math.maxInt(u32);

fn pagesOf(size: u64) u64 {
    return std.mem.alignForward(u64, size, page);
}

pub const Tree = struct {
    allocator: std.mem.Allocator,
    references: std.atomic.Value(u32) = .init(1),
    /// Paths of the first nodes. Owned by whoever adds to them; never changed once there are other nodes.
    roots: []const []const u8 = &mount_points,
    nodes: std.ArrayList(Node) = .empty,
    first_free: u32 = none,
    /// What is bounded: nodes in use, names, files with a host descriptor, and bytes in whole pages.
    used: u32 = 0,
    names: u32 = 0,
    contents: u32 = 0,
    bytes: u64 = 0,
    next_inode: u64 = 1,
    /// Some content has been mapped shared.
    mapped: bool = false,

    pub fn create(allocator: std.mem.Allocator) error{OutOfMemory}!*Tree {
        const self = try allocator.create(Tree);
        errdefer allocator.destroy(self);
        self.* = .{ .allocator = allocator };
        errdefer self.nodes.deinit(allocator);
        const now: Time = .{ .sec = @intCast(host.nowNs(.REALTIME) / std.time.ns_per_s) };
        for (0..mount_points.len) |_| {
            const index = self.make(.directory, root_mode, .{ .uid = 0, .gid = 0 }, now) catch return error.OutOfMemory;
            self.nodes.items[index].links = 2;
        }
        return self;
    }

    /// Adds the root of a layer, before there is any other node. `roots` are all there are with it.
    pub fn addLayer(self: *Tree, roots: []const []const u8, mode: u32, owner: User, now: Time) Error!u32 {
        assert(self.nodes.items.len == self.roots.len and roots.len == self.roots.len + 1);
        const index = try self.make(.directory, mode, owner, now);
        self.at(index).links = 2;
        self.at(index).merged = true;
        self.roots = roots;
        return index;
    }

    pub fn isRoot(self: *const Tree, index: u32) bool {
        return index < self.roots.len;
    }

    pub fn retain(self: *Tree) *Tree {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Tree) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        for (self.nodes.items) |*node| self.deinitNode(node);
        self.nodes.deinit(self.allocator);
        self.allocator.destroy(self);
    }

    pub fn isShared(self: *const Tree) bool {
        return self.references.load(.acquire) > 1;
    }

    fn deinitNode(self: *Tree, node: *Node) void {
        if (node.content) |content| content.release(self.allocator);
        self.allocator.free(node.target);
        for (node.entries.items) |entry| self.allocator.free(entry.name);
        node.entries.deinit(self.allocator);
        node.hashes.deinit(self.allocator);
    }

    pub fn at(self: *const Tree, index: u32) *Node {
        return &self.nodes.items[index];
    }

    /// The same tree once more, with contents shared.
    pub fn clone(self: *const Tree) error{OutOfMemory}!*Tree {
        const allocator = self.allocator;
        const made = try allocator.create(Tree);
        made.* = .{
            .allocator = allocator,
            .roots = self.roots,
            .first_free = self.first_free,
            .used = self.used,
            .names = self.names,
            .contents = self.contents,
            .bytes = self.bytes,
            .next_inode = self.next_inode,
            .mapped = self.mapped,
        };
        errdefer made.release();
        try made.nodes.ensureTotalCapacityPrecise(allocator, self.nodes.items.len);
        for (self.nodes.items) |*node| {
            made.nodes.appendAssumeCapacity(node.*);
            const copy = made.at(@intCast(made.nodes.items.len - 1));
            copy.content = if (node.content) |content| content.retain() else null;
            copy.target = &.{};
            copy.entries = .empty;
            copy.hashes = .empty;
            if (node.target.len > 0) copy.target = try allocator.dupe(u8, node.target);
            try copy.hashes.appendSlice(allocator, node.hashes.items);
            try copy.entries.ensureTotalCapacityPrecise(allocator, node.entries.items.len);
            for (node.entries.items) |entry| {
                copy.entries.appendAssumeCapacity(.{ .name = try allocator.dupe(u8, entry.name), .node = entry.node, .cookie = entry.cookie });
            }
        }
        return made;
    }

    /// Becomes what saved nodes say, which are known to make sense: counts and links between them are made anew.
    pub fn adopt(self: *Tree, roots: []const []const u8, saved: anytype, contents: []const *Content, next_inode: u64) error{OutOfMemory}!void {
        const allocator = self.allocator;
        for (self.nodes.items) |*node| self.deinitNode(node);
        self.* = .{ .allocator = allocator, .roots = roots, .nodes = self.nodes, .next_inode = next_inode };
        self.nodes.clearRetainingCapacity();
        try self.nodes.ensureTotalCapacity(allocator, saved.len);
        for (saved) |*record| {
            self.nodes.appendAssumeCapacity(.{});
            const index: u32 = @intCast(self.nodes.items.len - 1);
            const node = self.at(index);
            if (record.kind == .free) {
                node.parent = self.first_free;
                self.first_free = index;
                continue;
            }
            inline for (.{ "kind", "mode", "owner", "links", "inode", "accessed", "modified", "changed", "parent", "size", "next_cookie", "merged", "origin" }) |name| @field(node, name) = @field(record, name);
            if (self.isRoot(index)) node.parent = none;
            self.used += 1;
            self.bytes += pagesOf(node.size);
            if (record.content) |number| {
                node.content = contents[number].retain();
                self.contents += 1;
            }
            if (record.target.len > 0) node.target = try allocator.dupe(u8, record.target);
            for (record.entries) |entry| {
                try node.entries.ensureUnusedCapacity(allocator, 1);
                try node.hashes.ensureUnusedCapacity(allocator, 1);
                node.entries.appendAssumeCapacity(.{ .name = try allocator.dupe(u8, entry.name), .node = entry.node, .cookie = entry.cookie });
                node.hashes.appendAssumeCapacity(hashOf(entry.name));
                self.names += 1;
            }
        }
    }

    /// The tree for an image: shared, unless a mapping could change it behind the image's back.
    pub fn freeze(self: *Tree) Error!*Tree {
        if (!self.mapped) return self.retain();
        const made = try self.clone();
        errdefer made.release();
        made.mapped = false;
        for (made.nodes.items) |*node| {
            if (!node.isMapped()) continue;
            const copy = try node.content.?.copy(self.allocator, node.size);
            node.content.?.release(self.allocator);
            node.content = copy;
        }
        return made;
    }

    // Names

    fn indexOf(self: *const Tree, directory: u32, name: []const u8) ?usize {
        const node = self.at(directory);
        const hash = hashOf(name);
        var start: usize = 0;
        while (std.mem.indexOfScalarPos(u32, node.hashes.items, start, hash)) |index| : (start = index + 1) {
            if (std.mem.eql(u8, node.entries.items[index].name, name)) return index;
        }
        return null;
    }

    /// The node behind a name; null for a whiteout too.
    pub fn lookup(self: *const Tree, directory: u32, name: []const u8) ?u32 {
        const node = self.at(directory).entries.items[self.indexOf(directory, name) orelse return null].node;
        return if (node == whiteout) null else node;
    }

    /// Whether the tree decides what a name is, so that the host's does not show.
    pub fn covers(self: *const Tree, directory: u32, name: []const u8) bool {
        return self.indexOf(directory, name) != null;
    }

    /// Whether a directory has no names of its own but whiteouts.
    pub fn isEmpty(self: *const Tree, directory: u32) bool {
        for (self.at(directory).entries.items) |entry| if (entry.node != whiteout) return false;
        return true;
    }

    pub fn hasRoomForName(self: *const Tree) bool {
        return self.names < limits.private_names_max;
    }

    /// Writes the path of a directory; null if it has been removed or its path is too long.
    pub fn pathOf(self: *const Tree, directory: u32, buffer: *[limits.path_max_bytes]u8) ?[]const u8 {
        var start: usize = buffer.len;
        var index = directory;
        while (!self.isRoot(index)) {
            const node = self.at(index);
            if (node.kind != .directory or node.links == 0) return null;
            const name = for (self.at(node.parent).entries.items) |entry| {
                if (entry.node == index) break entry.name;
            } else return null;
            if (start < name.len + 1) return null;
            start -= name.len;
            @memcpy(buffer[start..][0..name.len], name);
            start -= 1;
            buffer[start] = '/';
            index = node.parent;
        }
        const root = self.roots[index];
        if (start < root.len) return null;
        start -= root.len;
        @memcpy(buffer[start..][0..root.len], root);
        return buffer[start..];
    }

    /// A path of any node that has a name.
    pub fn anyPathOf(self: *const Tree, index: u32, buffer: *[limits.path_max_bytes]u8) ?[]const u8 {
        if (self.at(index).kind == .directory) return self.pathOf(index, buffer);
        for (self.nodes.items, 0..) |*node, directory| for (node.entries.items) |entry| {
            if (entry.node != index) continue;
            const path = self.pathOf(@intCast(directory), buffer) orelse continue;
            std.mem.copyForwards(u8, buffer[0..path.len], path);
            if (path.len + 1 + entry.name.len > buffer.len) continue;
            buffer[path.len] = '/';
            @memcpy(buffer[path.len + 1 ..][0..entry.name.len], entry.name);
            return buffer[0 .. path.len + 1 + entry.name.len];
        };
        return null;
    }

    /// Whether `directory` is `ancestor` or lies beneath it.
    pub fn isBeneath(self: *const Tree, directory: u32, ancestor: u32) bool {
        var index = directory;
        while (index != ancestor) {
            if (self.isRoot(index)) return false;
            index = self.at(index).parent;
        }
        return true;
    }

    // Changes: only to a tree that nobody shares.

    /// A node without a name.
    pub fn make(self: *Tree, kind: Kind, mode: u32, owner: User, now: Time) Error!u32 {
        if (self.used >= limits.private_nodes_max) return error.NoSpace;
        const index = if (self.first_free != none) self.first_free else blk: {
            _ = try self.nodes.addOne(self.allocator);
            break :blk @as(u32, @intCast(self.nodes.items.len - 1));
        };
        const node = self.at(index);
        if (self.first_free != none) self.first_free = node.parent;
        node.* = .{ .kind = kind, .mode = mode, .owner = owner, .inode = self.next_inode, .accessed = now, .modified = now, .changed = now };
        self.next_inode += 1;
        self.used += 1;
        return index;
    }

    /// Gives back a node without a name that nobody has open.
    pub fn drop(self: *Tree, index: u32) void {
        const node = self.at(index);
        assert(node.kind != .free and node.links == 0);
        if (node.content != null) self.contents -= 1;
        self.bytes -= pagesOf(node.size);
        self.deinitNode(node);
        node.* = .{ .parent = self.first_free };
        self.first_free = index;
        self.used -= 1;
    }

    fn addEntry(self: *Tree, directory: u32, name: []const u8, index: u32) error{OutOfMemory}!void {
        const parent = self.at(directory);
        try parent.entries.ensureUnusedCapacity(self.allocator, 1);
        try parent.hashes.ensureUnusedCapacity(self.allocator, 1);
        const copy = try self.allocator.dupe(u8, name);
        if (self.indexOf(directory, name)) |covered| {
            assert(parent.entries.items[covered].node == whiteout);
            self.takeOut(parent, covered);
        }
        parent.entries.appendAssumeCapacity(.{ .name = copy, .node = index, .cookie = parent.next_cookie });
        parent.hashes.appendAssumeCapacity(hashOf(name));
        parent.next_cookie += 1;
        self.names += 1;
    }

    /// Gives a node a name that is free.
    pub fn link(self: *Tree, directory: u32, name: []const u8, index: u32, now: Time) error{OutOfMemory}!void {
        const parent = self.at(directory);
        assert(parent.kind == .directory and self.lookup(directory, name) == null);
        try self.addEntry(directory, name, index);
        parent.modified = now;
        parent.changed = now;
        const node = self.at(index);
        node.changed = now;
        if (node.kind == .directory) {
            node.links = 2;
            node.parent = directory;
            parent.links += 1;
        } else node.links += 1;
    }

    fn takeOut(self: *Tree, directory: *Node, index: usize) void {
        _ = directory.hashes.orderedRemove(index);
        self.allocator.free(directory.entries.orderedRemove(index).name);
        self.names -= 1;
    }

    /// Takes a name from its node, which it answers.
    fn takeName(self: *Tree, directory: u32, name: []const u8, left: Left) u32 {
        const parent = self.at(directory);
        const place = self.indexOf(directory, name).?;
        const index = parent.entries.items[place].node;
        if (left == .whiteout) parent.entries.items[place].node = whiteout else self.takeOut(parent, place);
        return index;
    }

    /// A directory that is removed has nothing left to cover.
    fn forgetWhiteouts(self: *Tree, index: u32) void {
        assert(self.isEmpty(index));
        const node = self.at(index);
        while (node.entries.items.len > 0) self.takeOut(node, node.entries.items.len - 1);
    }

    /// Takes a name away; the node stays.
    pub fn unlink(self: *Tree, directory: u32, name: []const u8, left: Left, now: Time) void {
        const parent = self.at(directory);
        const index = self.takeName(directory, name, left);
        parent.modified = now;
        parent.changed = now;
        const node = self.at(index);
        node.changed = now;
        if (node.kind == .directory) {
            self.forgetWhiteouts(index);
            node.links = 0;
            parent.links -= 1;
        } else node.links -= 1;
    }

    /// Takes away a name that only the host has.
    pub fn hide(self: *Tree, directory: u32, name: []const u8, now: Time) error{OutOfMemory}!void {
        assert(!self.covers(directory, name));
        try self.addEntry(directory, name, whiteout);
        const parent = self.at(directory);
        parent.modified = now;
        parent.changed = now;
    }

    /// Puts another node behind a name that is there; the old one stays, with a name less.
    pub fn replace(self: *Tree, directory: u32, name: []const u8, index: u32, now: Time) void {
        const entry = &self.at(directory).entries.items[self.indexOf(directory, name).?];
        const old = self.at(entry.node);
        if (old.kind == .directory) self.forgetWhiteouts(entry.node);
        old.changed = now;
        old.links = if (old.kind == .directory) 0 else old.links - 1;
        entry.node = index;
        const parent = self.at(directory);
        parent.modified = now;
        parent.changed = now;
        const node = self.at(index);
        node.changed = now;
        if (old.kind == .directory) parent.links -= 1;
        if (node.kind == .directory) {
            node.links = 2;
            node.parent = directory;
            parent.links += 1;
        } else node.links += 1;
    }

    /// Takes the name of something that has another already, as renaming does.
    pub fn moveAway(self: *Tree, directory: u32, name: []const u8, left: Left, now: Time) void {
        const parent = self.at(directory);
        const index = self.takeName(directory, name, left);
        parent.modified = now;
        parent.changed = now;
        const node = self.at(index);
        if (node.kind == .directory) parent.links -= 1 else node.links -= 1;
    }

    /// Lets two names change places.
    pub fn exchange(self: *Tree, directories: [2]u32, one_name: []const u8, other_name: []const u8, now: Time) void {
        const first = &self.at(directories[0]).entries.items[self.indexOf(directories[0], one_name).?];
        const second = &self.at(directories[1]).entries.items[self.indexOf(directories[1], other_name).?];
        for ([_]u32{ first.node, second.node }, [_]u32{ directories[1], directories[0] }, directories) |index, to, from| {
            const node = self.at(index);
            node.changed = now;
            self.at(from).modified = now;
            self.at(from).changed = now;
            if (node.kind != .directory) continue;
            node.parent = to;
            self.at(from).links -= 1;
            self.at(to).links += 1;
        }
        std.mem.swap(u32, &first.node, &second.node);
    }

    // Contents

    /// The greatest size that a file may have.
    pub fn sizeMax(self: *const Tree, index: u32) u64 {
        return pagesOf(self.at(index).size) + (limits.private_bytes_max - self.bytes);
    }

    /// A file's content to write to, with the first `keep` bytes of what it had.
    pub fn ownContent(self: *Tree, index: u32, keep: u64) Error!*Content {
        const node = self.at(index);
        assert(node.kind == .file and keep <= node.size);
        const old = node.content orelse {
            if (self.contents >= limits.private_descriptors_max) return error.NoSpace;
            node.content = try Content.create(self.allocator);
            self.contents += 1;
            return node.content.?;
        };
        // What a shared mapping shows is this tree's alone, whoever else in its machine refers to it.
        if (old.mapped or !old.isShared() or planted.is(.private_content_shared)) return old;
        const copy = try old.copy(self.allocator, keep);
        old.release(self.allocator);
        node.content = copy;
        return copy;
    }

    /// A file's content for a shared mapping.
    pub fn mapShared(self: *Tree, index: u32) Error!*Content {
        const content = try self.ownContent(index, self.at(index).size);
        content.mapped = true;
        self.mapped = true;
        return content;
    }

    pub fn setSize(self: *Tree, index: u32, size: u64) void {
        const node = self.at(index);
        self.bytes = self.bytes - pagesOf(node.size) + pagesOf(size);
        assert(self.bytes <= limits.private_bytes_max);
        node.size = size;
    }

    /// Cuts a file off or extends it by zeros; the caller has looked whether there is room.
    pub fn resize(self: *Tree, index: u32, size: u64) Error!void {
        const node = self.at(index);
        if (size == node.size) return;
        if (size == 0 and !node.isMapped()) {
            node.content.?.release(self.allocator);
            node.content = null;
            self.contents -= 1;
        } else {
            const content = try self.ownContent(index, @min(size, node.size));
            _ = host.check(linux.ftruncate(content.fd, @intCast(size))) catch return error.NoSpace;
        }
        self.setSize(index, size);
    }

    // Comparing

    /// Whether two trees are the same in everything that a guest could notice.
    pub fn equals(self: *const Tree, other: *const Tree) bool {
        if (self == other) return true;
        if (self.used != other.used or self.names != other.names or self.bytes != other.bytes or self.contents != other.contents or self.next_inode != other.next_inode) return false;
        for (0..@max(self.nodes.items.len, other.nodes.items.len)) |index| {
            const mine: Node = if (index < self.nodes.items.len) self.nodes.items[index] else .{};
            const others: Node = if (index < other.nodes.items.len) other.nodes.items[index] else .{};
            if (!sameNode(&mine, &others)) return false;
        }
        return true;
    }

    /// A planted fault: the names that another tree has taken away from the host.
    pub fn takeWhiteouts(self: *Tree, from: *const Tree) error{OutOfMemory}!void {
        for (0..@min(self.nodes.items.len, from.nodes.items.len)) |number| {
            const index: u32 = @intCast(number);
            if (!self.at(index).merged or !from.at(index).merged) continue;
            for (from.at(index).entries.items) |entry| {
                if (entry.node == whiteout and !self.covers(index, entry.name)) try self.addEntry(index, entry.name, whiteout);
            }
        }
    }

    /// A planted fault: the contents that files had in another tree.
    pub fn takeContents(self: *Tree, from: *const Tree) void {
        for (self.nodes.items[0..@min(self.nodes.items.len, from.nodes.items.len)], 0..) |*node, index| {
            const other = from.at(@intCast(index));
            if (node.kind != .file or other.kind != .file) continue;
            if (node.content) |content| content.release(self.allocator);
            node.content = if (other.content) |content| content.retain() else null;
            node.size = other.size;
        }
    }
};

fn sameNode(a: *const Node, b: *const Node) bool {
    if (a.kind != b.kind) return false;
    if (a.kind == .free) return true;
    inline for (.{ "mode", "owner", "links", "inode", "accessed", "modified", "changed", "parent", "size", "next_cookie", "merged", "origin" }) |field| {
        if (!std.meta.eql(@field(a, field), @field(b, field))) return false;
    }
    if (!std.mem.eql(u8, a.target, b.target) or a.entries.items.len != b.entries.items.len) return false;
    for (a.entries.items, b.entries.items) |one, two| {
        if (one.node != two.node or one.cookie != two.cookie or !std.mem.eql(u8, one.name, two.name)) return false;
    }
    if ((a.content == null) != (b.content == null)) return false;
    return if (a.content) |content| content.equals(b.content.?, a.size) else true;
}
