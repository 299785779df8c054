//! Layers: a folder of the host as far as it may be read, over which the machine's own changes lie.
//!
//! What a layer shows of the host is made a node of the private tree before it changes: a file with its bytes, a link, a
//! folder with all that are above it; a folder goes on showing what the host has in it. The host is only ever read, beneath
//! a mount, links refused, and only what may be read. Which folders have a layer: `core/abi/layers_setup.zig`.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../../canaries.zig");
const host = @import("../../../host.zig");
const kernel_module = @import("../../kernel.zig");
const mapped = @import("mapped.zig");
const mounts = @import("mounts.zig");
const names = @import("../names.zig");
const open_module = @import("open.zig");
const paths = @import("../../paths.zig");
const table = @import("../table.zig");
const tree_module = @import("tree.zig");
const Kernel = kernel_module.Kernel;
const Target = names.Target;
const fail = kernel_module.fail;

/// All the bytes of a file.
pub const whole = std.math.maxInt(u64);

const permission_bits = 0o7777;

/// What the host has at a path of a layer; 0, or a negative errno.
pub fn look(k: *Kernel, path: []const u8, facts: *linux.Statx) i64 {
    var at: paths.HostPlace = undefined;
    const fd = openShown(k, path, paths.O_PATH, &at);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    return examine(k, @intCast(fd), facts);
}

fn openShown(k: *Kernel, path: []const u8, flags: u64, at: *paths.HostPlace) i64 {
    const space = names.namespaceOf(k);
    space.hostPlace(path, at) catch |failure| return paths.errnoOf(failure);
    if (!space.reveals(at)) return fail(.NOENT);
    k.hostCall();
    return at.open(flags | paths.O_NOFOLLOW, 0);
}

pub fn examine(k: *Kernel, fd: i32, facts: *linux.Statx) i64 {
    k.hostCall();
    return @bitCast(linux.statx(fd, "", linux.AT.EMPTY_PATH, linux.STATX.BASIC_STATS, facts));
}

pub fn isDirectory(facts: *const linux.Statx) bool {
    return facts.mode & linux.S.IFMT == linux.S.IFDIR;
}

/// Whose a file of the host is to the guest: what is the host user's own is the guest's user's.
pub fn ownerOf(k: *const Kernel, facts: *const linux.Statx) tree_module.User {
    const user = open_module.userOf(k);
    return .{
        .uid = if (facts.uid == linux.geteuid()) user.uid else facts.uid,
        .gid = if (facts.gid == linux.getegid()) user.gid else facts.gid,
    };
}

/// What the guest is told of a file of the host's.
pub fn tellOwner(k: *const Kernel, path: []const u8, facts: *linux.Statx) void {
    const space = names.namespaceOf(k);
    if (!mounts.isInLayer(&space, path)) return;
    const owner = ownerOf(k, facts);
    facts.uid = owner.uid;
    facts.gid = owner.gid;
}

/// Whether the guest's user has these rights on what the host has.
pub fn allows(k: *const Kernel, facts: *const linux.Statx, wanted: u3) bool {
    return mounts.allowsBits(facts.mode, isDirectory(facts), ownerOf(k, facts), open_module.userOf(k), wanted);
}

/// Gives a node the times of the file it comes from, and the numbers that tell that from others.
pub fn describe(node: *tree_module.Node, facts: *const linux.Statx) void {
    node.accessed = timeOf(facts.atime);
    node.modified = timeOf(facts.mtime);
    node.changed = timeOf(facts.ctime);
    // A file with several names is one with each of them on the host, and no longer here.
    if (node.kind == .directory or facts.nlink == 1) node.origin = originOf(facts);
}

fn timeOf(time: linux.statx_timestamp) tree_module.Time {
    return .{ .sec = time.sec, .nsec = time.nsec };
}

fn originOf(facts: *const linux.Statx) tree_module.Origin {
    return .{ .major = facts.dev_major, .minor = facts.dev_minor, .inode = facts.ino };
}

/// The node of a layer's folder, made with those above it where the tree lacks them; or a negative errno. The user may
/// search all of them.
pub fn folder(k: *Kernel, path: []const u8) i64 {
    const user = open_module.userOf(k);
    const root = mounts.rootOf(k.files.private, path) orelse return fail(.NOENT);
    const start = k.files.private.roots[root].len;
    var index = root;
    var parts = std.mem.tokenizeScalar(u8, path[start..], '/');
    while (parts.next()) |name| {
        const tree = k.files.private;
        if (tree.at(index).kind != .directory) return fail(.NOTDIR);
        if (!mounts.allows(tree.at(index), user, 1)) return fail(.ACCES);
        const next: i64 = if (tree.lookup(index, name)) |there| there else makeFolder(k, index, name, path[0 .. start + parts.index]);
        if (next < 0) return next;
        index = @intCast(next);
    }
    return if (k.files.private.at(index).kind == .directory) index else fail(.NOTDIR);
}

fn makeFolder(k: *Kernel, parent: u32, name: []const u8, path: []const u8) i64 {
    if (!k.files.private.at(parent).merged or k.files.private.covers(parent, name)) return fail(.NOENT);
    var facts: linux.Statx = undefined;
    const rc = look(k, path, &facts);
    if (rc < 0) return rc;
    if (!isDirectory(&facts)) return fail(.NOTDIR);
    const index = make(k, .directory, &facts);
    if (index < 0) return index;
    k.files.private.at(@intCast(index)).merged = !canaries.is(.folder_covered);
    return put(k, parent, name, @intCast(index));
}

/// The node of what a layer shows at a place, with the first `keep` bytes of a file; or a negative errno.
pub fn take(k: *Kernel, target: *const Target, keep: u64) i64 {
    const path = target.place.path();
    var at: paths.HostPlace = undefined;
    const fd = openShown(k, path, paths.O_PATH, &at);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    var facts: linux.Statx = undefined;
    const rc = examine(k, @intCast(fd), &facts);
    if (rc < 0) return rc;
    if (isDirectory(&facts)) return folder(k, path);
    const above = target.place.parent();
    const parent = folder(k, above.path());
    if (parent < 0) return parent;
    const made = switch (facts.mode & linux.S.IFMT) {
        linux.S.IFREG => copyFile(k, &at, keep),
        linux.S.IFLNK => copyLink(k, @intCast(fd), &facts),
        else => fail(.ACCES),
    };
    const index = if (made < 0) made else put(k, @intCast(parent), target.place.name(), @intCast(made));
    if (index >= 0) k.files.becomesPrivate(path, originOf(&facts), @intCast(index));
    return index;
}

/// A node without a name, of what the host has.
fn make(k: *Kernel, kind: tree_module.Kind, facts: *const linux.Statx) i64 {
    const tree = k.files.ownPrivate() catch return fail(.NOMEM);
    const index = tree.make(kind, facts.mode & permission_bits, ownerOf(k, facts), open_module.now(k)) catch |failure| return open_module.errnoOf(failure);
    describe(tree.at(index), facts);
    return index;
}

/// Gives a copy the name of what it is of, by which nothing changes for whoever looks.
fn put(k: *Kernel, parent: u32, name: []const u8, index: u32) i64 {
    const tree = k.files.private;
    const folder_before = .{ tree.at(parent).modified, tree.at(parent).changed };
    const changed = tree.at(index).changed;
    if (!tree.hasRoomForName()) {
        tree.drop(index);
        return fail(.NOSPC);
    }
    tree.link(parent, name, index, .{}) catch {
        tree.drop(index);
        return fail(.NOMEM);
    };
    tree.at(index).changed = changed;
    tree.at(parent).modified, tree.at(parent).changed = folder_before;
    return index;
}

fn copyLink(k: *Kernel, fd: i32, facts: *const linux.Statx) i64 {
    var target: [paths.path_max]u8 = undefined;
    k.hostCall();
    const length: i64 = @bitCast(linux.readlinkat(fd, "", &target, target.len));
    if (length < 0) return length;
    const copy = k.files.allocator.dupe(u8, target[0..@intCast(length)]) catch return fail(.NOMEM);
    const index = make(k, .link, facts);
    if (index < 0) k.files.allocator.free(copy) else k.files.private.at(@intCast(index)).target = copy;
    return index;
}

const nonblock = 0o4000;

/// The file is opened anew, and what is opened is what is copied, whatever has taken its place meanwhile.
fn copyFile(k: *Kernel, at: *const paths.HostPlace, keep: u64) i64 {
    const space = names.namespaceOf(k);
    if (!space.allows(.read, at)) return paths.errnoOf(space.refuse(.read, at));
    k.hostCall();
    const fd = at.open(nonblock | paths.O_NOFOLLOW, 0);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    var facts: linux.Statx = undefined;
    const rc = examine(k, @intCast(fd), &facts);
    if (rc < 0) return rc;
    if (facts.mode & linux.S.IFMT != linux.S.IFREG) return fail(.ACCES);
    const index = make(k, .file, &facts);
    if (index < 0) return index;
    const filled = fill(k, @intCast(index), @intCast(fd), @min(facts.size, keep));
    if (filled == 0) return index;
    k.files.private.drop(@intCast(index));
    return filled;
}

fn fill(k: *Kernel, index: u32, fd: i32, bytes: u64) i64 {
    if (bytes == 0) return 0;
    const tree = k.files.private;
    if (bytes > mapped.sizeMax(k, index, bytes)) return fail(.NOSPC);
    tree.resize(index, bytes) catch |failure| return open_module.errnoOf(failure);
    k.hostCall();
    tree.at(index).content.?.fill(fd, bytes) catch |failure| return if (failure == error.NoSpace) fail(.NOSPC) else fail(.IO);
    return 0;
}

/// The node of a target that a layer has, which is made if it shows the host's; or a negative errno.
pub fn nodeOf(k: *Kernel, target: *const Target, keep: u64) i64 {
    return switch (target.private) {
        .host => unreachable,
        .absent => fail(.NOENT),
        .node => |index| index,
        .shown => take(k, target, keep),
    };
}

/// Where what a guest has open of the host is in a layer: false if it is in none, or if its path leads to something else by now.
pub fn findOpened(k: *Kernel, description: *const table.Description, target: *Target) bool {
    const fd = switch (description.kind) {
        .host_file => |file| file.file.fd,
        .host_directory => |directory| directory.fd,
        else => return false,
    };
    if (mounts.rootOf(k.files.private, description.path) == null) return false;
    var lookup: names.Lookup = .{ .k = k };
    lookup.resolve(0, description.path, false, target) catch return false;
    var facts: linux.Statx = undefined;
    if (examine(k, fd, &facts) < 0) return false;
    switch (target.private) {
        .host, .absent => return false,
        .node => |index| return std.meta.eql(k.files.private.at(index).origin, originOf(&facts)),
        .shown => {
            var now: linux.Statx = undefined;
            return look(k, description.path, &now) == 0 and std.meta.eql(originOf(&now), originOf(&facts));
        },
    }
}
