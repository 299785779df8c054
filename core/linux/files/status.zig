//! What files are: stat and its family, access, folder listings, file systems.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const canaries = @import("../canaries.zig");
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const layers = @import("private/layers.zig");
const names = @import("names.zig");
const paths = @import("../paths.zig");
const permissions_module = @import("../permissions.zig");
const private_status = @import("private/status.zig");
const private_tree = @import("private/tree.zig");
const synthetic = @import("../synthetic.zig");
const table = @import("table.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const cwd: u64 = @bitCast(@as(i64, AT_FDCWD));

/// struct stat of x86-64.
const Stat = extern struct {
    dev: u64,
    ino: u64,
    nlink: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    padding: u32 = 0,
    rdev: u64,
    size: i64,
    blksize: i64,
    blocks: i64,
    atim: [2]i64,
    mtim: [2]i64,
    ctim: [2]i64,
    unused: [3]i64 = @splat(0),
};
comptime {
    assert(@sizeOf(Stat) == 144);
    assert(@sizeOf(linux.Statx) == 256);
}

/// What is known of a file, as statx gives it.
pub const Facts = linux.Statx;

fn makeDevice(major: u64, minor: u64) u64 {
    return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~@as(u64, 0xff)) << 12 | (major & ~@as(u64, 0xfff)) << 32;
}

fn toStat(facts: *const Facts) Stat {
    return .{
        .dev = makeDevice(facts.dev_major, facts.dev_minor),
        .ino = facts.ino,
        .nlink = facts.nlink,
        .mode = facts.mode,
        .uid = facts.uid,
        .gid = facts.gid,
        .rdev = makeDevice(facts.rdev_major, facts.rdev_minor),
        .size = @bitCast(facts.size),
        .blksize = facts.blksize,
        .blocks = @bitCast(facts.blocks),
        .atim = .{ facts.atime.sec, facts.atime.nsec },
        .mtim = .{ facts.mtime.sec, facts.mtime.nsec },
        .ctim = .{ facts.ctime.sec, facts.ctime.nsec },
    };
}

fn ofHost(k: *Kernel, fd: i32, facts: *Facts) i64 {
    k.hostCall();
    return @bitCast(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true, .MODE = true, .NLINK = true, .UID = true, .GID = true, .ATIME = true, .MTIME = true, .CTIME = true, .INO = true, .SIZE = true, .BLOCKS = true, .BTIME = true }, facts));
}

/// What the host has at a path of the guest's.
fn ofPlace(k: *Kernel, fd: i32, path: []const u8, facts: *Facts) i64 {
    const rc = ofHost(k, fd, facts);
    if (rc == 0) layers.tellOwner(k, path, facts);
    return rc;
}

/// The facts of something the VMM makes up.
fn madeUp(k: *Kernel, mode: u32, size: u64, inode: u64, device: [2]u32) Facts {
    var facts = std.mem.zeroes(Facts);
    const basic_mask = 0x7ff;
    facts.mask = @bitCast(@as(u32, basic_mask));
    facts.mode = @intCast(mode);
    facts.nlink = 1;
    facts.blksize = 4096;
    facts.size = size;
    facts.ino = inode;
    facts.rdev_major = device[0];
    facts.rdev_minor = device[1];
    const seconds: i64 = @intCast(k.clock.realtimeNs() / std.time.ns_per_s);
    inline for (.{ "atime", "mtime", "ctime" }) |field| @field(facts, field).sec = seconds;
    return facts;
}

fn inodeOf(path: []const u8) u64 {
    return std.hash.Wyhash.hash(0, path) >> 16 | 1;
}

fn ofDevice(k: *Kernel, device: synthetic.Device) Facts {
    const minor: u32 = switch (device) {
        .null => 3,
        .zero => 5,
        .full => 7,
        .random => 9,
        .terminal, .channel => 0,
        .guest => 1,
        .remote => 2,
    };
    const major: u32 = switch (device) {
        .null, .zero, .full, .random => 1,
        .terminal => 5,
        // For local use (Linux's devices.txt).
        .channel, .guest, .remote => 240,
    };
    return madeUp(k, linux.S.IFCHR | 0o666, 0, minor, .{ major, minor });
}

fn ofNode(k: *Kernel, node: *const synthetic.Node, follow: bool, facts: *Facts) i64 {
    facts.* = switch (node.content) {
        .directory => madeUp(k, linux.S.IFDIR | 0o555, 0, inodeOf(node.path), .{ 0, 0 }),
        .device => |device| ofDevice(k, device),
        .text => |text| madeUp(k, linux.S.IFREG | 0o444, if (node.always) 0 else text.len, inodeOf(node.path), .{ 0, 0 }),
        .generated => madeUp(k, linux.S.IFREG | 0o444, 0, inodeOf(node.path), .{ 0, 0 }),
        .link, .working_directory => madeUp(k, linux.S.IFLNK | 0o777, 0, inodeOf(node.path), .{ 0, 0 }),
        .descriptor => madeUp(k, linux.S.IFLNK | 0o700, 64, inodeOf(node.path), .{ 0, 0 }),
        .program => {
            if (follow) return ofHost(k, k.program_file.?.fd, facts);
            facts.* = madeUp(k, linux.S.IFLNK | 0o777, 0, inodeOf(node.path), .{ 0, 0 });
            return 0;
        },
        .stream => |number| {
            const description = k.files.get(number) orelse return fail(.NOENT);
            return ofDescription(k, description, facts);
        },
    };
    return 0;
}

fn ofDescription(k: *Kernel, description: *const table.Description, facts: *Facts) i64 {
    switch (description.kind) {
        .host_stream => |stream| return ofHost(k, stream.fd, facts),
        .host_file => |file| return ofPlace(k, file.file.fd, description.path, facts),
        .host_directory => |directory| {
            var target: names.Target = .{};
            const is_changed = layers.findOpened(k, description, &target) and target.private == .node;
            if (!is_changed) return ofPlace(k, directory.fd, description.path, facts);
            facts.* = private_status.facts(k, target.private.node);
        },
        .output, .pipe_read, .pipe_write => facts.* = madeUp(k, linux.S.IFIFO | 0o600, 0, k.files.streamNumber(description), .{ 0, 0 }),
        .socket => |socket| facts.* = madeUp(k, linux.S.IFSOCK | 0o777, 0, socket.number, .{ 0, 0 }),
        .device => |device| facts.* = ofDevice(k, device),
        .text => |text| facts.* = madeUp(k, linux.S.IFREG | 0o444, text.bytes.len, inodeOf(description.path), .{ 0, 0 }),
        .synthetic_directory => |directory| facts.* = madeUp(k, linux.S.IFDIR | 0o555, 0, inodeOf(directory.path), .{ 0, 0 }),
        .private_file, .private_directory => |open| facts.* = private_status.facts(k, open.node),
        // All of them are one file without a type to Linux.
        .epoll, .event, .timer, .signals => facts.* = madeUp(k, 0o600, 0, 1, .{ 0, 0 }),
    }
    return 0;
}

/// Finds the facts of what a folder descriptor and a path name.
pub fn find(k: *Kernel, folder: u64, path_address: u64, flags: u64, facts: *Facts) i64 {
    var lookup: names.Lookup = .{ .k = k };
    var buffer: [paths.path_max]u8 = undefined;
    const path = if (path_address == 0 and flags & AT_EMPTY_PATH != 0) "" else lookup.readPath(path_address, &buffer) catch return lookup.errno;
    const number = transfer.descriptorOf(folder);
    if (path.len == 0 and flags & AT_EMPTY_PATH != 0 and number != AT_FDCWD) {
        const description = k.files.get(number) orelse return fail(.BADF);
        return ofDescription(k, description, facts);
    }
    var target: names.Target = .{};
    const follow = flags & AT_SYMLINK_NOFOLLOW == 0;
    lookup.resolve(number, if (path.len == 0 and flags & AT_EMPTY_PATH != 0) "." else path, follow, &target) catch return lookup.errno;
    if (target.node) |node| {
        if (node.content == .descriptor and follow) {
            const named = k.files.get(k.files.namespace().descriptorAt(target.place.path()).?).?;
            const rc = ofDescription(k, named, facts);
            return if (rc == 0 and target.place.must_be_directory and facts.mode & linux.S.IFMT != linux.S.IFDIR) fail(.NOTDIR) else rc;
        }
        const rc = ofNode(k, node, follow, facts);
        if (rc == 0 and target.place.must_be_directory and facts.mode & linux.S.IFMT != linux.S.IFDIR) return fail(.NOTDIR);
        return rc;
    }
    switch (target.private) {
        .host, .shown => {},
        .absent => return fail(.NOENT),
        .node => |index| {
            facts.* = private_status.facts(k, index);
            return if (target.place.must_be_directory and facts.mode & linux.S.IFMT != linux.S.IFDIR) fail(.NOTDIR) else 0;
        },
    }
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    if (names.isWayToMount(k, &target, fd)) {
        facts.* = madeUp(k, linux.S.IFDIR | 0o555, 0, inodeOf(target.place.path()), .{ 0, 0 });
        return 0;
    }
    if (fd < 0) return fd;
    defer if (!canaries.is(.host_descriptor_leaked)) host.close(@intCast(fd));
    const rc = ofPlace(k, @intCast(fd), target.place.path(), facts);
    if (rc < 0) return rc;
    const is_directory = facts.mode & linux.S.IFMT == linux.S.IFDIR;
    if (target.place.must_be_directory and !is_directory) return fail(.NOTDIR);
    // A folder that only leads to something granted may be examined, anything else must be granted itself.
    const shown = target.place.link_shown and facts.mode & linux.S.IFMT == linux.S.IFLNK;
    if (!is_directory and !shown) lookup.demand(&target, .read) catch return lookup.errno;
    return 0;
}

fn answer(k: *Kernel, address: u64, rc: i64, facts: *const Facts) i64 {
    if (rc < 0) return rc;
    k.memory.writeValue(address, toStat(facts)) catch return fail(.FAULT);
    return 0;
}

pub fn stat(k: *Kernel, a: Args) i64 {
    var facts: Facts = undefined;
    return answer(k, a[1], find(k, cwd, a[0], 0, &facts), &facts);
}
pub fn lstat(k: *Kernel, a: Args) i64 {
    var facts: Facts = undefined;
    return answer(k, a[1], find(k, cwd, a[0], AT_SYMLINK_NOFOLLOW, &facts), &facts);
}
pub fn fstat(k: *Kernel, a: Args) i64 {
    const description = k.files.get(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    var facts: Facts = undefined;
    return answer(k, a[1], ofDescription(k, description, &facts), &facts);
}
pub fn newfstatat(k: *Kernel, a: Args) i64 {
    if (a[3] & ~@as(u64, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x800) != 0) return fail(.INVAL);
    var facts: Facts = undefined;
    return answer(k, a[2], find(k, a[0], a[1], a[3], &facts), &facts);
}

pub fn statx(k: *Kernel, a: Args) i64 {
    if (a[2] & ~@as(u64, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x800 | 0x6000) != 0) return fail(.INVAL);
    if (a[3] & 0x8000_0000 != 0) return fail(.INVAL);
    var facts: Facts = undefined;
    const rc = find(k, a[0], a[1], a[2], &facts);
    if (rc < 0) return rc;
    k.memory.writeValue(a[4], facts) catch return fail(.FAULT);
    return 0;
}

const W_OK = 2;

fn accessAt(k: *Kernel, folder: u64, path: u64, mode: u64, flags: u64) i64 {
    if (mode & ~@as(u64, 7) != 0) return fail(.INVAL);
    var facts: Facts = undefined;
    const rc = find(k, folder, path, flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), &facts);
    if (rc < 0) return rc;
    var lookup: names.Lookup = .{ .k = k };
    var target: names.Target = .{};
    var buffer: [paths.path_max]u8 = undefined;
    const name = if (path == 0) "" else lookup.readPath(path, &buffer) catch return lookup.errno;
    const opened: ?*table.Description = if (name.len == 0) k.files.get(transfer.descriptorOf(folder)) else null;
    if (opened) |description| switch (description.kind) {
        .private_file, .private_directory => |open| return private_status.access(k, open.node, mode),
        else => {},
    };
    const from = if (opened) |description| description.path else if (name.len == 0) "." else name;
    if (from.len == 0) return if (mode & 1 != 0) fail(.ACCES) else 0;
    lookup.resolve(if (opened == null) transfer.descriptorOf(folder) else AT_FDCWD, from, flags & AT_SYMLINK_NOFOLLOW == 0, &target) catch return lookup.errno;
    if (flags & AT_SYMLINK_NOFOLLOW == 0) lookup.throughPrivateDescriptor(&target);
    if (target.node != null) {
        const bits: u64 = facts.mode & 7;
        return if (mode & ~bits != 0) fail(.ACCES) else 0;
    }
    if (target.private == .node) return private_status.access(k, target.private.node, mode);
    // What a layer shows is written to by making it the machine's own.
    const is_shown = target.private == .shown;
    if (is_shown and mode & W_OK != 0 and !layers.allows(k, &facts, W_OK)) return fail(.ACCES);
    if (!is_shown and mode & W_OK != 0) lookup.demand(&target, .write) catch return lookup.errno;
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    if (names.isWayToMount(k, &target, fd)) return 0;
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    if (facts.mode & linux.S.IFMT == linux.S.IFLNK) return 0;
    var link: [64]u8 = undefined;
    const opened_name = std.fmt.bufPrintZ(&link, "/proc/self/fd/{d}", .{fd}) catch unreachable;
    return @bitCast(linux.faccessat(AT_FDCWD, opened_name, @intCast(if (is_shown) mode & ~@as(u64, W_OK) else mode), 0));
}
pub fn access(k: *Kernel, a: Args) i64 {
    return accessAt(k, cwd, a[0], a[1], 0);
}
pub fn faccessat(k: *Kernel, a: Args) i64 {
    return accessAt(k, a[0], a[1], a[2], 0);
}
pub fn faccessat2(k: *Kernel, a: Args) i64 {
    return accessAt(k, a[0], a[1], a[2], a[3]);
}

// Folder listings

const entry_header_bytes = 19;

pub fn getdents64(k: *Kernel, a: Args) i64 {
    const description = k.files.opened(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    var buffer: [32 * 1024]u8 align(8) = undefined;
    const room = buffer[0..@intCast(@min(a[2] & 0xffff_ffff, buffer.len))];
    switch (description.kind) {
        .host_directory => |*directory| {
            const count = if (directory.at) |*at| private_status.listShown(k, directory.path, at, room) else listHost(k, directory.fd, directory.path, room);
            if (count <= 0) return count;
            k.memory.write(a[1], room[0..@intCast(count)]) catch return fail(.FAULT);
            return count;
        },
        .synthetic_directory => |*directory| {
            const before = directory.at;
            const count = listSynthetic(k, directory.path, &directory.at, room);
            if (count == 0 and before != directory.at) return 0;
            if (count < 0) return count;
            k.memory.write(a[1], room[0..@intCast(count)]) catch return fail(.FAULT);
            return count;
        },
        .private_directory => |*directory| {
            const count = private_status.list(k, directory, room);
            if (count <= 0) return count;
            k.memory.write(a[1], room[0..@intCast(count)]) catch return fail(.FAULT);
            return count;
        },
        else => return fail(.NOTDIR),
    }
}

/// One entry as the host's getdents64 gives it.
pub const HostEntry = struct {
    name: []const u8,
    inode: u64,
    kind: u8,
    length: u16,

    pub fn read(bytes: []const u8) HostEntry {
        const length = std.mem.readInt(u16, bytes[16..18], .little);
        return .{
            .name = std.mem.sliceTo(bytes[entry_header_bytes..length], 0),
            .inode = std.mem.readInt(u64, bytes[0..8], .little),
            .kind = bytes[18],
            .length = length,
        };
    }
};

/// The host's entries; in a folder that only leads to something granted, those that are or lead to it.
fn listHost(k: *Kernel, fd: i32, path: []const u8, out: []u8) i64 {
    const space = names.namespaceOf(k);
    const everything = space.showsAllOf(path);
    while (true) {
        k.hostCall();
        const count: i64 = @bitCast(linux.getdents64(fd, out.ptr, out.len));
        if (count <= 0) return count;
        var kept: usize = 0;
        var at: usize = 0;
        while (at < count) {
            const entry: HostEntry = .read(out[at..]);
            const length = entry.length;
            if (everything or visible(&space, path, entry.name)) {
                std.mem.copyForwards(u8, out[kept..][0..length], out[at..][0..length]);
                kept += length;
            }
            at += length;
        }
        if (kept > 0) return @intCast(kept);
    }
}

pub fn visible(space: *const paths.Namespace, folder: []const u8, name: []const u8) bool {
    if (std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..")) return true;
    var buffer: [paths.path_max + 256]u8 = undefined;
    const path = std.fmt.bufPrint(&buffer, "{s}/{s}", .{ if (folder.len == 1) "" else folder, name }) catch return false;
    if (path.len >= paths.path_max) return false;
    var at: paths.HostPlace = undefined;
    space.hostPlace(path, &at) catch return false;
    return at.mount.volume and !space.permissions.deny_read.covers(at.hostPath()) or space.permissions.reveals(at.hostPath()) or space.leadsToPrivate(path);
}

fn listSynthetic(k: *Kernel, path: []const u8, position: *u64, out: []u8) i64 {
    var length: usize = 0;
    var index: u64 = 0;
    for ([_][]const u8{ ".", ".." }) |name| {
        if (index >= position.*) {
            if (!putEntry(out, &length, name, inodeOf(path), linux.DT.DIR, index + 1)) return finish(length);
            position.* = index + 1;
        }
        index += 1;
    }
    for (&synthetic.nodes) |*node| {
        const name = synthetic.nameIn(node, path) orelse continue;
        if (index >= position.*) {
            const kind: u8 = switch (node.content) {
                .directory => linux.DT.DIR,
                .device => linux.DT.CHR,
                .link, .program, .stream, .working_directory, .descriptor => linux.DT.LNK,
                .text, .generated => linux.DT.REG,
            };
            if (!putEntry(out, &length, name, inodeOf(node.path), kind, index + 1)) return finish(length);
            position.* = index + 1;
        }
        index += 1;
    }
    for (private_tree.mount_points) |point| {
        if (!std.mem.eql(u8, std.fs.path.dirname(point).?, path)) continue;
        if (index >= position.*) {
            if (!putEntry(out, &length, std.fs.path.basename(point), inodeOf(point), linux.DT.DIR, index + 1)) return finish(length);
            position.* = index + 1;
        }
        index += 1;
    }
    return if (std.mem.eql(u8, path, synthetic.descriptors_path)) listDescriptors(k, index, position, out, &length) else @intCast(length);
}

/// The guest's open descriptors; each has the place of its number in the listing.
fn listDescriptors(k: *Kernel, first: u64, position: *u64, out: []u8, length: *usize) i64 {
    for (k.files.slots.items, first..) |slot, index| {
        if (slot.description == null or index < position.*) continue;
        var buffer: [16]u8 = undefined;
        const name = std.fmt.bufPrint(&buffer, "{d}", .{index - first}) catch unreachable;
        if (!putEntry(out, length, name, index, linux.DT.LNK, index + 1)) return finish(length.*);
        position.* = index + 1;
    }
    return @intCast(length.*);
}

pub fn finish(length: usize) i64 {
    return if (length == 0) fail(.INVAL) else @intCast(length);
}

pub fn putEntry(out: []u8, length: *usize, name: []const u8, inode: u64, kind: u8, next: u64) bool {
    const bytes = std.mem.alignForward(usize, entry_header_bytes + name.len + 1, 8);
    if (length.* + bytes > out.len) return false;
    const entry = out[length.*..][0..bytes];
    @memset(entry, 0);
    std.mem.writeInt(u64, entry[0..8], inode, .little);
    std.mem.writeInt(u64, entry[8..16], next, .little);
    std.mem.writeInt(u16, entry[16..18], @intCast(bytes), .little);
    entry[18] = kind;
    @memcpy(entry[entry_header_bytes..][0..name.len], name);
    length.* += bytes;
    return true;
}

// File systems

pub const Statfs = extern struct { type: i64, bsize: i64, blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, fsid: [2]i32, namelen: i64, frsize: i64, flags: i64, spare: [4]i64 };
comptime {
    assert(@sizeOf(Statfs) == 120);
}
const ext4_magic = 0xef53;
const proc_magic = 0x9fa0;
const sysfs_magic = 0x62656572;
const tmpfs_magic = 0x01021994;

/// What kind of file system a node of the synthetic tree lies on; programs look whether /proc and /sys are real.
fn magicOf(k: *Kernel, path: []const u8) i64 {
    const node = k.files.namespace().syntheticNode(path) orelse return ext4_magic;
    if (permissions_module.isBeneath(node.path, "/proc")) return proc_magic;
    if (permissions_module.isBeneath(node.path, "/sys")) return sysfs_magic;
    return if (permissions_module.isBeneath(node.path, "/dev")) tmpfs_magic else ext4_magic;
}

/// The host's file systems are none of the guest's business: one of a fixed size answers for all.
fn hostFileSystem(magic: i64) Statfs {
    return .{ .type = magic, .bsize = 4096, .blocks = 1 << 20, .bfree = 1 << 19, .bavail = 1 << 19, .files = 1 << 20, .ffree = 1 << 19, .fsid = .{ 0, 0 }, .namelen = 255, .frsize = 4096, .flags = 0, .spare = @splat(0) };
}

fn writeStatfs(k: *Kernel, address: u64, found: Statfs) i64 {
    k.memory.writeValue(address, found) catch return fail(.FAULT);
    return 0;
}
pub fn statfs(k: *Kernel, a: Args) i64 {
    var facts: Facts = undefined;
    const rc = find(k, cwd, a[0], 0, &facts);
    if (rc < 0) return rc;
    var lookup: names.Lookup = .{ .k = k };
    var target: names.Target = .{};
    lookup.argument(AT_FDCWD, a[0], true, &target) catch return lookup.errno;
    lookup.throughPrivateDescriptor(&target);
    if (target.private != .host) return writeStatfs(k, a[1], private_status.fileSystem(k));
    return writeStatfs(k, a[1], hostFileSystem(magicOf(k, target.place.path())));
}
pub fn fstatfs(k: *Kernel, a: Args) i64 {
    const description = k.files.get(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    const is_private = description.kind == .private_file or description.kind == .private_directory;
    return writeStatfs(k, a[1], if (is_private) private_status.fileSystem(k) else hostFileSystem(magicOf(k, description.path)));
}
