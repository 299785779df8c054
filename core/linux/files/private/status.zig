//! What private files are, and what is in private directories.
const std = @import("std");
const linux = std.os.linux;
const HostNames = @import("host_names.zig").HostNames;
const kernel_module = @import("../../kernel.zig");
const limits = @import("../../../limits.zig");
const mounts = @import("mounts.zig");
const names = @import("../names.zig");
const open_module = @import("open.zig");
const paths = @import("../../paths.zig");
const status = @import("../status.zig");
const table = @import("../table.zig");
const tree_module = @import("tree.zig");
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

/// The last device number there is, which no file of a host has.
const device = .{ 0xfff, 0xf_ffff };
/// What tmpfs says is a directory's size.
const entry_bytes = 20;
const basic_mask = 0x7ff;

pub fn facts(k: *Kernel, index: u32) linux.Statx {
    const node = k.files.private.at(index);
    var found = std.mem.zeroes(linux.Statx);
    found.mask = @bitCast(@as(u32, basic_mask));
    found.mode = @intCast(node.mode | @as(u32, switch (node.kind) {
        .directory => linux.S.IFDIR,
        .link => linux.S.IFLNK,
        .socket => linux.S.IFSOCK,
        .file, .free => linux.S.IFREG,
    }));
    // As on overlayfs, which does not count what two folders have together.
    found.nlink = if (node.merged) 1 else node.links;
    found.uid = node.owner.uid;
    found.gid = node.owner.gid;
    found.ino = inodeOf(node);
    found.dev_major = if (node.origin) |origin| origin.major else device[0];
    found.dev_minor = if (node.origin) |origin| origin.minor else device[1];
    found.blksize = limits.page_size;
    found.size = switch (node.kind) {
        .directory => node.entries.items.len * entry_bytes,
        .link => node.target.len,
        .socket => 0,
        .file, .free => node.size,
    };
    if (node.content) |content| found.blocks = blocksOf(k, content.fd);
    inline for (.{ .{ "atime", "accessed" }, .{ "mtime", "modified" }, .{ "ctime", "changed" } }) |pair| {
        const time: tree_module.Time = @field(node, pair[1]);
        @field(found, pair[0]).sec = time.sec;
        @field(found, pair[0]).nsec = time.nsec;
    }
    return found;
}

fn inodeOf(node: *const tree_module.Node) u64 {
    return if (node.origin) |origin| origin.inode else node.inode;
}

/// Holes take no blocks, which only the host knows.
fn blocksOf(k: *Kernel, fd: i32) u64 {
    var found: linux.Statx = undefined;
    k.hostCall();
    const rc: i64 = @bitCast(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .BLOCKS = true }, &found));
    return if (rc < 0) 0 else found.blocks;
}

pub fn access(k: *Kernel, index: u32, mode: u64) i64 {
    return if (mounts.allows(k.files.private.at(index), open_module.userOf(k), @intCast(mode & 7))) 0 else fail(.ACCES);
}

const tmpfs_magic = 0x0102_1994;

pub fn fileSystem(k: *const Kernel) status.Statfs {
    const tree = k.files.private;
    const blocks = limits.private_bytes_max / limits.page_size;
    const free = (limits.private_bytes_max - tree.bytes) / limits.page_size;
    return .{
        .type = tmpfs_magic,
        .bsize = limits.page_size,
        .blocks = blocks,
        .bfree = free,
        .bavail = free,
        .files = limits.private_nodes_max,
        .ffree = limits.private_nodes_max - tree.used,
        .fsid = .{ 0, 0 },
        .namelen = 255,
        .frsize = limits.page_size,
        .flags = 0,
        .spare = @splat(0),
    };
}

// Listings

/// Places in a listing: "." and "..", the tree's own entries by their cookies, then the host's by their number.
const host_base = 1 << 40;

pub fn list(k: *Kernel, directory: *table.OpenNode, out: []u8) i64 {
    const tree = k.files.private;
    const node = tree.at(directory.node);
    if (node.links == 0) return fail(.NOENT);
    var length: usize = 0;
    for ([_][]const u8{ ".", ".." }, 0..) |name, place| {
        if (directory.at > place) continue;
        const inode = inodeOf(if (place == 0 or tree.isRoot(directory.node)) node else tree.at(node.parent));
        if (!put(out, &length, name, inode, linux.DT.DIR, place + 1, &directory.at)) return status.finish(length);
    }
    for (node.entries.items) |entry| {
        if (directory.at >= entry.cookie or entry.node == tree_module.whiteout) continue;
        const child = tree.at(entry.node);
        const kind: u8 = switch (child.kind) {
            .directory => linux.DT.DIR,
            .link => linux.DT.LNK,
            .socket => linux.DT.SOCK,
            .file, .free => linux.DT.REG,
        };
        if (!put(out, &length, entry.name, inodeOf(child), kind, entry.cookie, &directory.at)) return status.finish(length);
    }
    if (!node.merged and !tree.isRoot(directory.node)) return @intCast(length);
    var buffer: [paths.path_max]u8 = undefined;
    const path = tree.pathOf(directory.node, &buffer) orelse return @intCast(length);
    return listHost(k, path, directory.node, &directory.at, out, length);
}

/// A folder that a layer shows, and that the guest may have changed since it opened it.
pub fn listShown(k: *Kernel, path: []const u8, at: *u64, out: []u8) i64 {
    const space = names.namespaceOf(k);
    switch (mounts.find(&space, path) catch |failure| return paths.errnoOf(failure)) {
        .host, .shown => return listHost(k, path, null, at, out, 0),
        .absent => return fail(.NOENT),
        .node => |index| {
            // A directory that shows nothing of the host has taken its place.
            if (!k.files.private.at(index).merged) return fail(.NOENT);
            var directory: table.OpenNode = .{ .node = index, .at = at.* };
            defer at.* = directory.at;
            return list(k, &directory, out);
        },
    }
}

fn put(out: []u8, length: *usize, name: []const u8, inode: u64, kind: u8, next: u64, at: *u64) bool {
    if (!status.putEntry(out, length, name, inode, kind, next)) return false;
    at.* = next;
    return true;
}

/// What the host has there that the guest may know of, and no private file of that name hides.
fn listHost(k: *Kernel, path: []const u8, covering: ?u32, at: *u64, out: []u8, before: usize) i64 {
    var length = before;
    var found: HostNames = undefined;
    if (found.open(k, path, covering) < 0) return @intCast(length);
    defer found.close();
    while (found.next()) |entry| {
        const next = host_base + found.number;
        if (at.* >= next) continue;
        if (!put(out, &length, entry.name, entry.inode, entry.kind, next, at)) return status.finish(length);
    }
    return @intCast(length);
}
