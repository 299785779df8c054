//! What private files are, and what is in private directories.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../../host.zig");
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
const O_DIRECTORY = 0o200000;

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
    found.nlink = node.links;
    found.uid = node.owner.uid;
    found.gid = node.owner.gid;
    found.ino = node.inode;
    found.dev_major = device[0];
    found.dev_minor = device[1];
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

pub fn isPrivate(found: *const linux.Statx) bool {
    return found.dev_major == device[0] and found.dev_minor == device[1];
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
        const inode = if (place == 0 or node.isRoot()) node.inode else tree.at(node.parent).inode;
        if (!put(out, &length, name, inode, linux.DT.DIR, place + 1, directory)) return status.finish(length);
    }
    for (node.entries.items) |entry| {
        if (directory.at >= entry.cookie) continue;
        const child = tree.at(entry.node);
        const kind: u8 = switch (child.kind) {
            .directory => linux.DT.DIR,
            .link => linux.DT.LNK,
            .socket => linux.DT.SOCK,
            .file, .free => linux.DT.REG,
        };
        if (!put(out, &length, entry.name, child.inode, kind, entry.cookie, directory)) return status.finish(length);
    }
    if (!node.isRoot()) return @intCast(length);
    return listHost(k, directory, out, length);
}

fn put(out: []u8, length: *usize, name: []const u8, inode: u64, kind: u8, next: u64, directory: *table.OpenNode) bool {
    if (!status.putEntry(out, length, name, inode, kind, next)) return false;
    directory.at = next;
    return true;
}

/// What the host has at a mount point that the guest may know of, and no private file of that name hides. The folder is
/// opened anew each time, since a listing's place is the guest's alone.
fn listHost(k: *Kernel, directory: *table.OpenNode, out: []u8, before: usize) i64 {
    var length = before;
    const path = tree_module.mount_points[directory.node];
    const space = names.namespaceOf(k);
    var at: paths.HostPlace = undefined;
    space.hostPlace(path, &at) catch return @intCast(length);
    if (!space.reveals(&at)) return @intCast(length);
    k.hostCall();
    const opened = at.open(O_DIRECTORY | paths.O_NOFOLLOW, 0);
    if (opened < 0) return @intCast(length);
    defer host.close(@intCast(opened));
    var number: u64 = host_base;
    var buffer: [32 * 1024]u8 align(8) = undefined;
    while (true) {
        k.hostCall();
        const count: i64 = @bitCast(linux.getdents64(@intCast(opened), &buffer, buffer.len));
        if (count <= 0) return @intCast(length);
        var offset: usize = 0;
        while (offset < count) : (number += 1) {
            const entry = status.HostEntry.read(buffer[offset..]);
            offset += entry.length;
            if (number < directory.at or isDots(entry.name)) continue;
            if (k.files.private.lookup(directory.node, entry.name) != null or !status.visible(&space, path, entry.name)) continue;
            if (!put(out, &length, entry.name, entry.inode, entry.kind, number + 1, directory)) return status.finish(length);
        }
    }
}

fn isDots(name: []const u8) bool {
    return std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..");
}
