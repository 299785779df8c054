//! Where a guest's path is: in the private tree, or on the host as ever.
//!
//! Beneath a mount point a name is looked up in the tree first, then on the host, if the permissions reveal it there. What
//! the guest may write on the host, or what a volume shows, is the host's alone; a directory that the guest made is the
//! tree's alone. In a layer what the tree does not have, and no whiteout covers, is the host's until the guest changes it
//! (`layers.zig`).
const std = @import("std");
const canaries = @import("../../canaries.zig");
const host = @import("../../../host.zig");
const paths = @import("../../paths.zig");
const permissions_module = @import("../../permissions.zig");
const tree_module = @import("tree.zig");
const Namespace = paths.Namespace;
const Tree = tree_module.Tree;

pub const Where = union(enum) {
    /// Not of the private tree.
    host,
    node: u32,
    /// A name that is not there, in this directory; in a layer perhaps in one beneath it that only the host has yet.
    absent: u32,
    /// The host's, as a layer shows it.
    shown,
};

/// Whether a guest path is a mount point or leads to one.
pub fn leadsToMountPoint(space: *const Namespace, path: []const u8) bool {
    const tree = space.private orelse return false;
    for (tree.roots) |point| if (permissions_module.isBeneath(point, path)) return true;
    for (space.ways) |way| if (permissions_module.isBeneath(way, path)) return true;
    return false;
}

/// What of the bits 4, 2 and 1 (read, write, execute) a user has on a node.
pub fn allows(node: *const tree_module.Node, user: tree_module.User, wanted: u3) bool {
    return allowsBits(node.mode, node.kind == .directory, node.owner, user, wanted);
}

/// Root lacks only what nobody has.
pub fn allowsBits(mode: u32, is_directory: bool, owner: tree_module.User, user: tree_module.User, wanted: u3) bool {
    if (user.uid == 0) return wanted & 1 == 0 or is_directory or mode & 0o111 != 0;
    const shift: u5 = if (user.uid == owner.uid) 6 else if (user.gid == owner.gid) 3 else 0;
    return mode >> shift & wanted == wanted;
}

/// The root that a path is or lies beneath.
pub fn rootOf(tree: *const Tree, path: []const u8) ?u32 {
    for (tree.roots, 0..) |point, root| if (permissions_module.isBeneath(path, point)) return @intCast(root);
    return null;
}

fn isLayer(root: u32) bool {
    return root >= tree_module.mount_points.len;
}

/// Whether a path is of a layer, private or shown.
pub fn isInLayer(space: *const Namespace, path: []const u8) bool {
    const root = rootOf(space.private orelse return false, path) orelse return false;
    return isLayer(root) and !(isOfHost(space, root, path) catch true);
}

/// Finds a path without links but for perhaps its last component. Everything before that must be a directory the user may
/// search.
pub fn find(space: *const Namespace, path: []const u8) paths.Error!Where {
    const tree = space.private orelse return .host;
    return findIn(space, tree, rootOf(tree, path) orelse return .host, path);
}

fn findIn(space: *const Namespace, tree: *const Tree, root: u32, path: []const u8) paths.Error!Where {
    const start = tree.roots[root].len;
    if (try isOfHost(space, root, path[0..start])) return .host;
    var index = root;
    var parts = std.mem.tokenizeScalar(u8, path[start..], '/');
    while (parts.next()) |name| {
        const node = tree.at(index);
        if (node.kind != .directory) return error.NotDirectory;
        const so_far = path[0 .. start + parts.index];
        if (try isOfHost(space, root, so_far)) return .host;
        if (!allows(node, space.user, 1)) return error.Denied;
        index = tree.lookup(index, name) orelse {
            if (node.merged and !tree.covers(index, name)) return findBeneath(space, root, path, so_far.len, index);
            if (index == root and !isLayer(root) and hostHas(space, so_far)) return .host;
            return if (parts.peek() == null) .{ .absent = index } else error.NotFound;
        };
    }
    return .{ .node = index };
}

/// Beneath a layer's directory `index`, where the tree has nothing of the path any more. What is at its end tells all of the
/// folders on the way.
fn findBeneath(space: *const Namespace, root: u32, path: []const u8, start: usize, index: u32) paths.Error!Where {
    var parts = std.mem.tokenizeScalar(u8, path[start..], '/');
    while (parts.next()) |_| if (try isOfHost(space, root, path[0 .. start + parts.index])) return .host;
    return if (hostHas(space, path)) .shown else .{ .absent = index };
}

/// What may be written there, or what a volume shows at or beneath a mount point, is the host's with all beneath it. So is what
/// of a layer is denied to be written: it stays what it is.
fn isOfHost(space: *const Namespace, root: u32, path: []const u8) paths.Error!bool {
    // Most machines have neither a volume nor anything to write to, and then the place need not be made out.
    const write = space.permissions.write;
    const deny = space.permissions.deny_write;
    const may_be_denied = isLayer(root) and (deny.all or deny.paths.len > 0);
    if (space.mounts.len == 1 and !write.all and write.paths.len == 0 and !may_be_denied) return false;
    var at: paths.HostPlace = undefined;
    try space.hostPlace(path, &at);
    if (at.mount.volume and rootOf(space.private.?, at.mount.guest) != null) return true;
    if (isLayer(root) and space.permissions.denies(.write, at.hostPath())) return true;
    return space.allows(.write, &at);
}

/// Tells the hook of a name that is not there for the guest, but on the host.
pub fn tellHidden(space: *const Namespace, path: []const u8) void {
    const tell = space.hook.denied_fn orelse return;
    const tree = space.private orelse return;
    const root = rootOf(tree, path) orelse return;
    // A directory that the guest made shows nothing of the host.
    if (!isLayer(root) and !std.mem.eql(u8, std.fs.path.dirname(path).?, tree.roots[root])) return;
    var at: paths.HostPlace = undefined;
    space.hostPlace(path, &at) catch return;
    if (!space.reveals(&at) and exists(&at)) tell(space.hook.context, .read, at.hostPath());
}

/// Whether the host has something by this name that the guest may know of.
pub fn hostHas(space: *const Namespace, path: []const u8) bool {
    var at: paths.HostPlace = undefined;
    space.hostPlace(path, &at) catch return false;
    return (space.reveals(&at) or canaries.is(.layer_unchecked)) and exists(&at);
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
