//! Changes to names in the private tree, and to what belongs to a name: modes, times, sizes.
//!
//! Called by `../names.zig` once a path is known to be private. What a layer shows of the host is made the tree's first where
//! it is to change; where it is to go, a whiteout covers it.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../../canaries.zig");
const host_names = @import("host_names.zig");
const kernel_module = @import("../../kernel.zig");
const layers = @import("layers.zig");
const mounts = @import("mounts.zig");
const names = @import("../names.zig");
const open_module = @import("open.zig");
const isBeneath = @import("../../permissions.zig").isBeneath;
const paths = @import("../../paths.zig");
const status = @import("status.zig");
const table = @import("../table.zig");
const transfer = @import("../transfer.zig");
const tree_module = @import("tree.zig");
const Kernel = kernel_module.Kernel;
const Target = names.Target;
const Tree = tree_module.Tree;
const fail = kernel_module.fail;
const now = open_module.now;
const userOf = open_module.userOf;

const sticky = 0o1000;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

const Failed = error{Errno};

/// A step towards a change; the errno is kept, so that what goes wrong can be passed on by `try`.
const Change = struct {
    k: *Kernel,
    errno: i64 = 0,

    fn failWith(self: *Change, errno: i64) Failed {
        self.errno = errno;
        return error.Errno;
    }

    /// A node's number, or why there is none.
    fn node(self: *Change, found: i64) Failed!u32 {
        return if (found < 0) self.failWith(found) else @intCast(found);
    }

    /// The directory that holds a name, which the user may change.
    fn directoryOf(self: *Change, target: *const Target) Failed!u32 {
        const tree = self.k.files.private;
        const parent = target.place.parent();
        const directory = switch (target.private) {
            .host => unreachable,
            // In a layer it may have been the host's alone until now.
            .absent => |deepest| if (tree.at(deepest).merged) try self.node(layers.folder(self.k, parent.path())) else deepest,
            .shown => try self.node(layers.folder(self.k, parent.path())),
            .node => |index| blk: {
                if (tree.isRoot(index)) return self.failWith(fail(.BUSY));
                const space = names.namespaceOf(self.k);
                const where = mounts.find(&space, parent.path()) catch |failure| return self.failWith(paths.errnoOf(failure));
                break :blk if (where == .node) where.node else return self.failWith(fail(.ACCES));
            },
        };
        const found = self.k.files.private.at(directory);
        // A removed directory takes no names any more.
        if (found.links == 0) return self.failWith(fail(.NOENT));
        if (!mounts.allows(found, userOf(self.k), 3)) return self.failWith(fail(.ACCES));
        return directory;
    }

    fn own(self: *Change) Failed!*Tree {
        return self.k.files.ownPrivate() catch return self.failWith(fail(.NOMEM));
    }

    fn demandRoomForName(self: *Change) Failed!void {
        if (!self.k.files.private.hasRoomForName()) return self.failWith(fail(.NOSPC));
    }

    fn make(self: *Change, target: *const Target, kind: tree_module.Kind, mode: u64) Failed!u32 {
        if (target.private != .absent) return self.failWith(fail(.EXIST));
        const directory = try self.directoryOf(target);
        try self.demandRoomForName();
        const tree = try self.own();
        const index = tree.make(kind, @intCast(mode), userOf(self.k), now(self.k)) catch |failure| return self.failWith(open_module.errnoOf(failure));
        tree.link(directory, target.place.name(), index, now(self.k)) catch {
            tree.drop(index);
            return self.failWith(fail(.NOMEM));
        };
        return index;
    }

    /// What is behind a name that is to go: a node, or what a layer shows of the host.
    const Victim = struct {
        node: ?u32,
        is_directory: bool,
        owner: tree_module.User,

        /// What the host has in it shows too.
        fn isMerged(self: Victim, tree: *const Tree) bool {
            return if (self.node) |index| tree.at(index).merged else self.is_directory;
        }
    };

    fn victimOf(self: *Change, target: *const Target) Failed!Victim {
        switch (target.private) {
            .host => unreachable,
            .absent => return self.failWith(fail(.NOENT)),
            .node => |index| {
                const found = self.k.files.private.at(index);
                return .{ .node = index, .is_directory = found.kind == .directory, .owner = found.owner };
            },
            .shown => {
                var facts: linux.Statx = undefined;
                const rc = layers.look(self.k, target.place.path(), &facts);
                if (rc < 0) return self.failWith(rc);
                return .{ .node = null, .is_directory = layers.isDirectory(&facts), .owner = layers.ownerOf(self.k, &facts) };
            },
        }
    }

    /// The name of what is there may go from `directory`.
    fn demandRemovable(self: *Change, victim: Victim, directory: u32) Failed!void {
        const user = userOf(self.k);
        const parent = self.k.files.private.at(directory);
        const protected = parent.mode & sticky != 0 and user.uid != 0 and user.uid != victim.owner.uid and user.uid != parent.owner.uid;
        if (protected) return self.failWith(fail(.PERM));
    }

    fn demandEmpty(self: *Change, victim: Victim, target: *const Target) Failed!void {
        const tree = self.k.files.private;
        if (victim.node) |index| if (!tree.isEmpty(index)) return self.failWith(fail(.NOTEMPTY));
        if (!victim.isMerged(tree)) return;
        const rc = host_names.demandNone(self.k, target.place.path(), victim.node);
        if (rc < 0) return self.failWith(rc);
    }

    /// What is left of a name that a node loses.
    fn left(self: *Change, target: *const Target, directory: u32) tree_module.Left {
        if (canaries.is(.whiteout_forgotten)) return .nothing;
        const space = names.namespaceOf(self.k);
        const shows = self.k.files.private.at(directory).merged and mounts.hostHas(&space, target.place.path());
        return if (shows) .whiteout else .nothing;
    }

    fn remove(self: *Change, target: *const Target, as_directory: bool) Failed!i64 {
        const victim = try self.victimOf(target);
        const directory = try self.directoryOf(target);
        try self.demandRemovable(victim, directory);
        if (as_directory) {
            if (!victim.is_directory) return self.failWith(fail(.NOTDIR));
            try self.demandEmpty(victim, target);
        } else {
            if (victim.is_directory) return self.failWith(fail(.ISDIR));
            if (target.place.must_be_directory) return self.failWith(fail(.NOTDIR));
        }
        const index = victim.node orelse {
            try self.demandRoomForName();
            (try self.own()).hide(directory, target.place.name(), now(self.k)) catch return self.failWith(fail(.NOMEM));
            return 0;
        };
        (try self.own()).unlink(directory, target.place.name(), self.left(target, directory), now(self.k));
        self.k.files.dropIfUnused(index);
        return 0;
    }

    fn hardLink(self: *Change, index: u32, new: *const Target) Failed!i64 {
        if (new.private != .absent) return self.failWith(fail(.EXIST));
        const directory = try self.directoryOf(new);
        if (self.k.files.private.at(index).kind == .directory) return self.failWith(fail(.PERM));
        if (new.place.must_be_directory) return self.failWith(fail(.NOENT));
        try self.demandRoomForName();
        (try self.own()).link(directory, new.place.name(), index, now(self.k)) catch return self.failWith(fail(.NOMEM));
        return 0;
    }

    /// The order of what is refused is Linux's (rename(2) does not say it): what is there, what lies in what, kinds, file systems,
    /// what is left in a folder.
    fn rename(self: *Change, old: *const Target, new: *const Target, flags: u64) Failed!i64 {
        const moved = try self.victimOf(old);
        const replaced: ?Victim = if (new.private == .absent) null else try self.victimOf(new);
        if (replaced != null and flags & RENAME_NOREPLACE != 0) return self.failWith(fail(.EXIST));
        if (replaced == null and flags & RENAME_EXCHANGE != 0) return self.failWith(fail(.NOENT));
        const from = try self.directoryOf(old);
        const to = try self.directoryOf(new);
        if (!moved.is_directory and (old.place.must_be_directory or new.place.must_be_directory)) return self.failWith(fail(.NOTDIR));
        if (isWithin(new, old)) return self.failWith(fail(.INVAL));
        if (isWithin(old, new)) return self.failWith(if (flags & RENAME_EXCHANGE != 0) fail(.INVAL) else fail(.NOTEMPTY));
        if (replaced) |other| if (if (moved.node) |index| other.node == index else std.mem.eql(u8, old.place.path(), new.place.path())) return 0;
        try self.demandRemovable(moved, from);
        if (replaced) |other| try self.demandRemovable(other, to);
        if (flags & RENAME_EXCHANGE != 0) return self.exchange(moved, replaced.?, old, from, new, to);
        if (replaced) |other| {
            if (moved.is_directory and !other.is_directory) return self.failWith(fail(.NOTDIR));
            if (!moved.is_directory and other.is_directory) return self.failWith(fail(.ISDIR));
        }
        if (moved.isMerged(self.k.files.private)) return self.failWith(fail(.XDEV));
        if (replaced) |other| if (other.is_directory) try self.demandEmpty(other, new);
        const index = try self.movable(moved, old);
        const remains = self.left(old, from);
        if (remains == .whiteout) try self.demandRoomForName();
        const tree = try self.own();
        const gone = if (replaced) |other| other.node else null;
        if (gone != null) tree.replace(to, new.place.name(), index, now(self.k)) else tree.link(to, new.place.name(), index, now(self.k)) catch return self.failWith(fail(.NOMEM));
        tree.moveAway(from, old.place.name(), remains, now(self.k));
        if (gone) |node_gone| self.k.files.dropIfUnused(node_gone);
        return 0;
    }

    fn isWithin(inner: *const Target, outer: *const Target) bool {
        const above = inner.place.parent();
        return isBeneath(above.path(), outer.place.path());
    }

    /// The node that is to have another name; a file of the host's is copied. A folder that shows the host's stays where that
    /// is.
    fn movable(self: *Change, moved: Victim, target: *const Target) Failed!u32 {
        if (moved.isMerged(self.k.files.private)) return self.failWith(fail(.XDEV));
        return moved.node orelse self.node(layers.take(self.k, target, layers.whole));
    }

    fn exchange(self: *Change, moved: Victim, other: Victim, old: *const Target, from: u32, new: *const Target, to: u32) Failed!i64 {
        if (other.isMerged(self.k.files.private)) return self.failWith(fail(.XDEV));
        _ = try self.movable(moved, old);
        _ = try self.movable(other, new);
        (try self.own()).exchange(.{ from, to }, old.place.name(), new.place.name(), now(self.k));
        return 0;
    }
};

pub fn makeDirectory(k: *Kernel, target: *const Target, mode: u64) i64 {
    var change: Change = .{ .k = k };
    _ = change.make(target, .directory, mode & 0o1777 & ~@as(u64, k.umask)) catch return change.errno;
    return 0;
}

pub fn makeFile(k: *Kernel, target: *const Target, mode: u64) i64 {
    var change: Change = .{ .k = k };
    _ = change.make(target, .file, mode & 0o7777 & ~@as(u64, k.umask)) catch return change.errno;
    return 0;
}

/// Makes a socket's file, as bind(2) does; its node or a negative errno.
pub fn makeSocket(k: *Kernel, target: *const Target, mode: u64) i64 {
    if (target.place.must_be_directory) return fail(.NOENT);
    var change: Change = .{ .k = k };
    return change.make(target, .socket, mode) catch change.errno;
}

/// The name by which /proc/self/fd shows an open node: one that it has, else the one it was opened by.
pub fn pathOfOpened(k: *Kernel, index: u32, opened_by: []const u8, buffer: *[paths.path_max]u8) []const u8 {
    const tree = k.files.private;
    if (tree.at(index).links == 0) return std.fmt.bufPrint(buffer, "{s} (deleted)", .{opened_by}) catch opened_by;
    const space = names.namespaceOf(k);
    const where = mounts.find(&space, opened_by) catch .host;
    if (where == .node and where.node == index) return opened_by;
    return tree.anyPathOf(index, buffer) orelse opened_by;
}

pub fn makeLink(k: *Kernel, target: *const Target, text: []const u8) i64 {
    var change: Change = .{ .k = k };
    if (target.place.must_be_directory and target.private != .node) return fail(.NOENT);
    const copy = k.files.allocator.dupe(u8, text) catch return fail(.NOMEM);
    const index = change.make(target, .link, 0o777) catch {
        k.files.allocator.free(copy);
        return change.errno;
    };
    k.files.private.at(index).target = copy;
    return 0;
}

pub fn remove(k: *Kernel, target: *const Target, directory: bool) i64 {
    var change: Change = .{ .k = k };
    return change.remove(target, directory) catch change.errno;
}

pub fn hardLink(k: *Kernel, index: u32, new: *const Target) i64 {
    var change: Change = .{ .k = k };
    return change.hardLink(index, new) catch change.errno;
}

pub fn hardLinkTarget(k: *Kernel, old: *const Target, new: *const Target) i64 {
    if (old.private == .absent) return fail(.NOENT);
    if (new.private != .absent) return fail(.EXIST);
    if (old.private == .shown) {
        var facts: linux.Statx = undefined;
        const rc = layers.look(k, old.place.path(), &facts);
        if (rc < 0) return rc;
        if (layers.isDirectory(&facts)) return fail(.PERM);
    }
    const index = layers.nodeOf(k, old, layers.whole);
    return if (index < 0) index else hardLink(k, @intCast(index), new);
}

pub fn rename(k: *Kernel, old: *const Target, new: *const Target, flags: u64) i64 {
    var change: Change = .{ .k = k };
    return change.rename(old, new, flags) catch change.errno;
}

pub fn chmod(k: *Kernel, index: u32, mode: u64) i64 {
    const user = userOf(k);
    if (k.files.private.at(index).kind == .link) return fail(.OPNOTSUPP);
    if (user.uid != 0 and user.uid != k.files.private.at(index).owner.uid) return fail(.PERM);
    const tree = k.files.ownPrivate() catch return fail(.NOMEM);
    const node = tree.at(index);
    node.mode = @intCast(mode & 0o7777);
    node.changed = now(k);
    return 0;
}

pub fn chmodTarget(k: *Kernel, target: *const Target, mode: u64) i64 {
    const index = layers.nodeOf(k, target, layers.whole);
    return if (index < 0) index else chmod(k, @intCast(index), mode);
}

const UTIME_NOW = 0x3fff_ffff;
const UTIME_OMIT = 0x3fff_fffe;

/// Sets access and modification time; without `times` both to now, which whoever may write may do too.
pub fn setTimes(k: *Kernel, index: u32, times: ?[2]linux.timespec) i64 {
    const user = userOf(k);
    const now_both: [2]linux.timespec = @splat(.{ .sec = 0, .nsec = UTIME_NOW });
    const given = times orelse now_both;
    for (given) |time| {
        const special = time.nsec == UTIME_NOW or time.nsec == UTIME_OMIT;
        if (!special and (time.nsec < 0 or time.nsec >= std.time.ns_per_s)) return fail(.INVAL);
    }
    const current = k.files.private.at(index);
    const is_owner = user.uid == 0 or user.uid == current.owner.uid;
    const both_now = given[0].nsec == UTIME_NOW and given[1].nsec == UTIME_NOW;
    if (!is_owner and !(both_now and mounts.allows(current, user, 2))) return fail(if (both_now) .ACCES else .PERM);
    const tree = k.files.ownPrivate() catch return fail(.NOMEM);
    const node = tree.at(index);
    for (given, [_]*tree_module.Time{ &node.accessed, &node.modified }) |time, place| {
        if (time.nsec == UTIME_OMIT) continue;
        place.* = if (time.nsec == UTIME_NOW) now(k) else .{ .sec = time.sec, .nsec = @intCast(time.nsec) };
    }
    node.changed = now(k);
    return 0;
}

pub fn setTimesOf(k: *Kernel, target: *const Target, times: ?[2]linux.timespec) i64 {
    const index = layers.nodeOf(k, target, layers.whole);
    return if (index < 0) index else setTimes(k, @intCast(index), times);
}

pub fn truncate(k: *Kernel, target: *const Target, size: u64) i64 {
    var facts: linux.Statx = undefined;
    switch (target.private) {
        .host => unreachable,
        .absent => return fail(.NOENT),
        .node => |index| facts = status.facts(k, index),
        .shown => {
            const rc = layers.look(k, target.place.path(), &facts);
            if (rc < 0) return rc;
        },
    }
    const kind = facts.mode & linux.S.IFMT;
    if (kind == linux.S.IFDIR) return fail(.ISDIR);
    if (target.place.must_be_directory) return fail(.NOTDIR);
    if (kind != linux.S.IFREG) return fail(.INVAL);
    const may_write = if (target.private == .node) mounts.allows(k.files.private.at(target.private.node), userOf(k), 2) else layers.allows(k, &facts, 2);
    if (!may_write) return fail(.ACCES);
    const refused = transfer.checkSize(k, size);
    if (refused != 0) return refused;
    const index = layers.nodeOf(k, target, size);
    return if (index < 0) index else open_module.resize(k, @intCast(index), size);
}
