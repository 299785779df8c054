//! Where a guest's path is: in the private tree, or on the host as ever.
//!
//! Beneath a mount point a name is looked up in the tree first, then on the host, if the permissions reveal it there. What
//! the guest may write on the host, or what a volume shows, is the host's alone; a directory that the guest made is the
//! tree's alone.
const std = @import("std");
const host = @import("../../../host.zig");
const paths = @import("../../paths.zig");
const permissions_module = @import("../../permissions.zig");
const tree_module = @import("tree.zig");
const Namespace = paths.Namespace;
const Tree = tree_module.Tree;

pub const Where = union(enum) {
    /// Not of the private layer.
    host,
    node: u32,
    /// A name that is not there, directly in this directory.
    absent: u32,
};

/// Whether a guest path is a mount point or leads to one.
pub fn leadsToMountPoint(path: []const u8) bool {
    for (tree_module.mount_points) |point| if (permissions_module.isBeneath(point, path)) return true;
    return false;
}

/// What of the bits 4, 2 and 1 (read, write, execute) a user has on a node. Root lacks only what nobody has.
pub fn allows(node: *const tree_module.Node, user: tree_module.User, wanted: u3) bool {
    if (user.uid == 0) return wanted & 1 == 0 or node.kind == .directory or node.mode & 0o111 != 0;
    const shift: u5 = if (user.uid == node.owner.uid) 6 else if (user.gid == node.owner.gid) 3 else 0;
    return node.mode >> shift & wanted == wanted;
}

/// Finds a path without links but for perhaps its last component. Everything before that must be a directory the user may
/// search.
pub fn find(space: *const Namespace, path: []const u8) paths.Error!Where {
    const tree = space.private orelse return .host;
    var root: u32 = 0;
    while (!permissions_module.isBeneath(path, tree_module.mount_points[root])) {
        root += 1;
        if (root == tree_module.mount_points.len) return .host;
    }
    return findIn(space, tree, root, path);
}

fn findIn(space: *const Namespace, tree: *const Tree, root: u32, path: []const u8) paths.Error!Where {
    const start = tree_module.mount_points[root].len;
    if (try isOfHost(space, path[0..start])) return .host;
    var index = root;
    var parts = std.mem.tokenizeScalar(u8, path[start..], '/');
    while (parts.next()) |name| {
        const node = tree.at(index);
        if (node.kind != .directory) return error.NotDirectory;
        const so_far = path[0 .. start + parts.index];
        if (try isOfHost(space, so_far)) return .host;
        if (!allows(node, space.user, 1)) return error.Denied;
        index = tree.lookup(index, name) orelse {
            if (index == root and hostHas(space, so_far)) return .host;
            return if (parts.peek() == null) .{ .absent = index } else error.NotFound;
        };
    }
    return .{ .node = index };
}

/// What may be written there, or what a volume shows at or beneath a mount point, is the host's with all beneath it.
fn isOfHost(space: *const Namespace, path: []const u8) paths.Error!bool {
    // Most machines have neither a volume nor anything to write to, and then the place need not be made out.
    const write = space.permissions.write;
    if (space.mounts.len == 1 and !write.all and write.paths.len == 0) return false;
    var at: paths.HostPlace = undefined;
    try space.hostPlace(path, &at);
    if (at.mount.volume and isInMountPoint(at.mount.guest)) return true;
    return space.allows(.write, &at);
}

fn isInMountPoint(path: []const u8) bool {
    for (tree_module.mount_points) |point| if (permissions_module.isBeneath(path, point)) return true;
    return false;
}

/// Tells the hook of a name that is not there for the guest, but on the host.
pub fn tellHidden(space: *const Namespace, path: []const u8) void {
    const tell = space.hook.denied_fn orelse return;
    for (tree_module.mount_points) |point| {
        if (!std.mem.eql(u8, std.fs.path.dirname(path).?, point)) continue;
        var at: paths.HostPlace = undefined;
        space.hostPlace(path, &at) catch return;
        if (!space.reveals(&at) and exists(&at)) tell(space.hook.context, .read, at.hostPath());
    }
}

/// Whether the host has something by this name that the guest may know of.
fn hostHas(space: *const Namespace, path: []const u8) bool {
    var at: paths.HostPlace = undefined;
    space.hostPlace(path, &at) catch return false;
    return space.reveals(&at) and exists(&at);
}

/// What cannot be looked at is there: the host's own answer says why.
fn exists(at: *const paths.HostPlace) bool {
    const rc = at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    if (rc >= 0) {
        host.close(@intCast(rc));
        return true;
    }
    return rc != -@as(i64, @intFromEnum(std.os.linux.E.NOENT));
}
