//! Changes to names in the private tree, and to what belongs to a name: modes, times, sizes.
//!
//! Called by `../names.zig` once a path is known to be private.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("../../kernel.zig");
const mounts = @import("mounts.zig");
const paths = @import("../../paths.zig");
const names = @import("../names.zig");
const open_module = @import("open.zig");
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

    /// The directory that holds a name, which the user may change.
    fn directoryOf(self: *Change, target: *const Target) Failed!u32 {
        const directory = switch (target.private) {
            .absent => |directory| directory,
            .host => unreachable,
            .node => |index| blk: {
                if (self.k.files.private.at(index).isRoot()) return self.failWith(fail(.BUSY));
                const parent = target.place.parent();
                const space = names.namespaceOf(self.k);
                const where = mounts.find(&space, parent.path()) catch |failure| return self.failWith(paths.errnoOf(failure));
                break :blk if (where == .node) where.node else return self.failWith(fail(.ACCES));
            },
        };
        const node = self.k.files.private.at(directory);
        // A removed directory takes no names any more.
        if (node.links == 0) return self.failWith(fail(.NOENT));
        if (!mounts.allows(node, userOf(self.k), 3)) return self.failWith(fail(.ACCES));
        return directory;
    }

    /// A node that is there and whose name may go from `directory`.
    fn removable(self: *Change, target: *const Target, directory: u32) Failed!u32 {
        if (target.private != .node) return self.failWith(fail(.NOENT));
        const index = target.private.node;
        const user = userOf(self.k);
        const parent = self.k.files.private.at(directory);
        const node = self.k.files.private.at(index);
        const protected = parent.mode & sticky != 0 and user.uid != 0 and user.uid != node.owner.uid and user.uid != parent.owner.uid;
        if (protected) return self.failWith(fail(.PERM));
        return index;
    }

    fn own(self: *Change) Failed!*Tree {
        return self.k.files.ownPrivate() catch return self.failWith(fail(.NOMEM));
    }

    fn make(self: *Change, target: *const Target, kind: tree_module.Kind, mode: u64) Failed!u32 {
        if (target.private == .node) return self.failWith(fail(.EXIST));
        const directory = try self.directoryOf(target);
        const tree = try self.own();
        const index = tree.make(kind, @intCast(mode), userOf(self.k), now(self.k)) catch |failure| return self.failWith(open_module.errnoOf(failure));
        tree.link(directory, target.place.name(), index, now(self.k)) catch {
            tree.drop(index);
            return self.failWith(fail(.NOMEM));
        };
        return index;
    }

    fn remove(self: *Change, target: *const Target, as_directory: bool) Failed!i64 {
        const directory = try self.directoryOf(target);
        const index = try self.removable(target, directory);
        const node = self.k.files.private.at(index);
        if (as_directory) {
            if (node.kind != .directory) return self.failWith(fail(.NOTDIR));
            if (node.entries.items.len > 0) return self.failWith(fail(.NOTEMPTY));
        } else {
            if (node.kind == .directory) return self.failWith(fail(.ISDIR));
            if (target.place.must_be_directory) return self.failWith(fail(.NOTDIR));
        }
        (try self.own()).unlink(directory, target.place.name(), now(self.k));
        self.k.files.dropIfUnused(index);
        return 0;
    }

    fn hardLink(self: *Change, index: u32, new: *const Target) Failed!i64 {
        if (new.private == .node) return self.failWith(fail(.EXIST));
        const directory = try self.directoryOf(new);
        const node = self.k.files.private.at(index);
        if (node.kind == .directory) return self.failWith(fail(.PERM));
        if (new.place.must_be_directory) return self.failWith(fail(.NOENT));
        (try self.own()).link(directory, new.place.name(), index, now(self.k)) catch return self.failWith(fail(.NOMEM));
        return 0;
    }

    fn rename(self: *Change, old: *const Target, new: *const Target, flags: u64) Failed!i64 {
        const from = try self.directoryOf(old);
        const index = try self.removable(old, from);
        const to = try self.directoryOf(new);
        const is_directory = self.k.files.private.at(index).kind == .directory;
        if (!is_directory and (old.place.must_be_directory or new.place.must_be_directory)) return self.failWith(fail(.NOTDIR));
        if (is_directory and self.k.files.private.isBeneath(to, index)) return self.failWith(fail(.INVAL));
        if (flags & RENAME_EXCHANGE != 0) return self.exchange(old, from, new, to);
        if (new.private != .node) {
            const tree = try self.own();
            tree.link(to, new.place.name(), index, now(self.k)) catch return self.failWith(fail(.NOMEM));
            tree.moveAway(from, old.place.name(), now(self.k));
            return 0;
        }
        if (flags & RENAME_NOREPLACE != 0) return self.failWith(fail(.EXIST));
        const replaced = try self.removable(new, to);
        if (replaced == index) return 0;
        const node = self.k.files.private.at(replaced);
        if (is_directory and node.kind != .directory) return self.failWith(fail(.NOTDIR));
        if (!is_directory and node.kind == .directory) return self.failWith(fail(.ISDIR));
        if (node.entries.items.len > 0) return self.failWith(fail(.NOTEMPTY));
        const tree = try self.own();
        tree.replace(to, new.place.name(), index, now(self.k));
        tree.moveAway(from, old.place.name(), now(self.k));
        self.k.files.dropIfUnused(replaced);
        return 0;
    }

    fn exchange(self: *Change, old: *const Target, from: u32, new: *const Target, to: u32) Failed!i64 {
        const other = try self.removable(new, to);
        const tree = try self.own();
        if (tree.at(other).kind == .directory and tree.isBeneath(from, other)) return self.failWith(fail(.INVAL));
        if (other != old.private.node) tree.exchange(.{ from, to }, old.place.name(), new.place.name(), now(self.k));
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

pub fn truncate(k: *Kernel, target: *const Target, size: u64) i64 {
    const index = switch (target.private) {
        .node => |index| index,
        else => return fail(.NOENT),
    };
    const node = k.files.private.at(index);
    if (node.kind == .directory) return fail(.ISDIR);
    if (target.place.must_be_directory) return fail(.NOTDIR);
    if (node.kind == .socket) return fail(.INVAL);
    if (!mounts.allows(node, userOf(k), 2)) return fail(.ACCES);
    const refused = transfer.checkSize(k, size);
    if (refused != 0) return refused;
    return open_module.resize(k, index, size);
}
