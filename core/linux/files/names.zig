//! System calls that take paths and change names, or what belongs to a name. What is allowed is decided on the resolved
//! path, and the host is asked only beneath a mount, links refused. Not here: opening (`opening.zig`).
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../canaries.zig");
const descriptor_links = @import("descriptor_links.zig");
const host = @import("../../host.zig");
const layers = @import("private/layers.zig");
const kernel_module = @import("../kernel.zig");
const opening = @import("opening.zig");
const paths = @import("../paths.zig");
const private_mounts = @import("private/mounts.zig");
const private_names = @import("private/names.zig");
const private_open = @import("private/open.zig");
const synthetic = @import("../synthetic.zig");
const table = @import("table.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_FOLLOW = 0x400;
const AT_EMPTY_PATH = 0x1000;

/// A resolved path, and where it is on the host unless it is synthetic or private.
pub const Target = struct {
    place: paths.Place = .{},
    node: ?*const synthetic.Node = null,
    private: private_mounts.Where = .host,
    at: paths.HostPlace = undefined,
};

pub const Failed = error{Failed};

/// The path space as the guest's user sees it.
pub fn namespaceOf(k: *const Kernel) paths.Namespace {
    var space = k.files.namespace();
    space.user = private_open.userOf(k);
    return space;
}

/// Reads and resolves a path argument; the error's errno is in `errno`.
pub const Lookup = struct {
    k: *Kernel,
    /// For calls that make a name or take one away.
    changes_name: bool = false,
    errno: i64 = 0,

    pub fn failWith(self: *Lookup, code: i64) Failed {
        self.errno = code;
        return error.Failed;
    }

    /// The guest folder that a relative path starts from.
    fn start(self: *Lookup, folder: i32, path: []const u8, buffer: *[paths.path_max]u8) Failed![]const u8 {
        if (folder == AT_FDCWD or (path.len > 0 and path[0] == '/')) return self.k.files.working_directory;
        const description = self.k.files.get(folder) orelse return self.failWith(fail(.BADF));
        return switch (description.kind) {
            .host_directory => |directory| directory.path,
            .synthetic_directory => |directory| directory.path,
            .private_directory => |directory| self.k.files.private.pathOf(directory.node, buffer) orelse self.failWith(fail(.NOENT)),
            else => self.failWith(fail(.NOTDIR)),
        };
    }

    pub fn readPath(self: *Lookup, address: u64, buffer: *[paths.path_max]u8) Failed![]const u8 {
        return self.k.memory.readCString(address, buffer) catch |failure| self.failWith(switch (failure) {
            error.Fault => fail(.FAULT),
            error.NameTooLong => fail(.NAMETOOLONG),
        });
    }

    pub fn resolve(self: *Lookup, folder: i32, path: []const u8, follow: bool, out: *Target) Failed!void {
        var space = namespaceOf(self.k);
        space.changes_name = self.changes_name;
        if (path.len == 0) return self.failWith(fail(.NOENT));
        var buffer: [paths.path_max]u8 = undefined;
        const from = try self.start(folder, path, &buffer);
        space.resolve(from, path, follow, &out.place) catch |failure| return self.failWith(paths.errnoOf(failure));
        out.node = space.syntheticNode(out.place.path());
        if (out.node == null) out.private = private_mounts.find(&space, out.place.path()) catch |failure| return self.failWith(paths.errnoOf(failure));
        const is_of_host = out.private == .host or out.private == .shown;
        if (out.node == null and is_of_host) space.hostPlace(out.place.path(), &out.at) catch |failure| return self.failWith(paths.errnoOf(failure));
    }

    /// Resolves a path argument.
    pub fn argument(self: *Lookup, folder: i32, address: u64, follow: bool, out: *Target) Failed!void {
        var buffer: [paths.path_max]u8 = undefined;
        return self.resolve(folder, try self.readPath(address, &buffer), follow, out);
    }

    /// When the target is /proc/self/fd/N of a file or folder: its host descriptor, and the target becomes what it was
    /// opened by, whose rights it has.
    fn throughDescriptor(self: *Lookup, target: *Target) Failed!?i32 {
        const space = self.k.files.namespace();
        const description = self.k.files.get(space.descriptorAt(target.place.path()) orelse return null).?;
        const fd = switch (description.kind) {
            .host_file => |file| file.file.fd,
            .host_directory => |directory| directory.fd,
            else => return null,
        };
        space.hostPlace(description.path, &target.at) catch |failure| return self.failWith(paths.errnoOf(failure));
        target.node = null;
        return fd;
    }

    /// When the target is /proc/self/fd/N of a private file or folder, or of what a layer shows: the target becomes what is
    /// open there.
    pub fn throughPrivateDescriptor(self: *Lookup, target: *Target) void {
        const number = self.k.files.namespace().descriptorAt(target.place.path()) orelse return;
        const description = self.k.files.get(number).?;
        switch (description.kind) {
            .private_file, .private_directory => |open| {
                target.node = null;
                target.private = .{ .node = open.node };
            },
            else => {
                var found: Target = .{};
                if (layers.findOpened(self.k, description, &found)) target.* = found;
            },
        }
    }

    /// Refuses what may not be accessed so.
    pub fn demand(self: *Lookup, target: *const Target, access: enum { read, write }) Failed!void {
        if (target.node != null) return if (access == .write) self.failWith(fail(.ACCES));
        const space = self.k.files.namespace();
        const wanted = if (access == .read) @import("../permissions.zig").Access.read else .write;
        if (space.allows(wanted, &target.at)) return;
        return self.failWith(paths.errnoOf(space.refuse(wanted, &target.at)));
    }

    /// The parent folder on the host, for calls that change a name in it. The name itself must be writable.
    pub fn parent(self: *Lookup, target: *const Target) Failed!i32 {
        try self.demand(target, .write);
        return self.openParent(target);
    }

    /// The same for a name that was granted in another way.
    pub fn openParent(self: *Lookup, target: *const Target) Failed!i32 {
        const folder = target.place.parent();
        if (target.place.length == 0) return self.failWith(fail(.BUSY));
        const space = self.k.files.namespace();
        var at: paths.HostPlace = undefined;
        space.hostPlace(folder.path(), &at) catch |failure| return self.failWith(paths.errnoOf(failure));
        if (at.mount != target.at.mount) return self.failWith(fail(.BUSY));
        self.k.hostCall();
        const rc = at.open(paths.O_PATH | opening.O_DIRECTORY, 0);
        return if (rc < 0) self.failWith(rc) else @intCast(rc);
    }
};

/// A name of 255 bytes, a slash and a NUL.
pub const name_room = 257;

pub fn nameZ(target: *const Target, buffer: *[name_room]u8) [*:0]const u8 {
    const name = target.place.name();
    @memcpy(buffer[0..name.len], name);
    // The host is to know that it must be a folder.
    buffer[name.len] = if (target.place.must_be_directory) '/' else 0;
    buffer[name.len + 1] = 0;
    return @ptrCast(buffer);
}

// Changing names

pub fn mkdir(k: *Kernel, a: Args) i64 {
    return mkdirat(k, .{ @bitCast(@as(i64, AT_FDCWD)), a[0], a[1], 0, 0, 0 });
}
pub fn mkdirat(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], false, &target) catch return lookup.errno;
    if (target.node != null) return fail(.EXIST);
    if (target.private != .host) return private_names.makeDirectory(k, &target, a[2]);
    const folder = lookup.parent(&target) catch return if (isThere(k, &target)) fail(.EXIST) else lookup.errno;
    defer host.close(folder);
    var buffer: [name_room]u8 = undefined;
    k.hostCall();
    return @bitCast(linux.mkdirat(folder, nameZ(&target, &buffer), @intCast(a[2] & table.mode_mask & ~@as(u64, k.umask))));
}

/// Whether the host has what a path led to.
fn isThere(k: *Kernel, target: *const Target) bool {
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    if (fd < 0) return isWayToMount(k, target, fd);
    host.close(@intCast(fd));
    return true;
}

/// Whether what the host does not have leads to something that the guest has: it is a folder to it.
pub fn isWayToMount(k: *const Kernel, target: *const Target, rc: i64) bool {
    return rc == fail(.NOENT) and k.files.namespace().leadsToMount(target.place.path());
}

/// Whether a name that may be read but not written leads to nothing: the look-up comes before the right, as on Linux.
fn isMissing(k: *Kernel, target: *const Target) bool {
    const space = k.files.namespace();
    if (target.node != null or space.allows(.write, &target.at) or !space.allows(.read, &target.at)) return false;
    return !isThere(k, target);
}

fn remove(k: *Kernel, folder_fd: u64, path: u64, directory: bool) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(folder_fd), path, false, &target) catch return lookup.errno;
    if (target.private != .host) return private_names.remove(k, &target, directory);
    if (isMissing(k, &target)) return fail(.NOENT);
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    // The host looks at the slash behind a name, and says what it is of.
    var buffer: [name_room]u8 = undefined;
    k.hostCall();
    return @bitCast(linux.unlinkat(folder, nameZ(&target, &buffer), if (directory) AT_REMOVEDIR else 0));
}
pub fn unlink(k: *Kernel, a: Args) i64 {
    return remove(k, @bitCast(@as(i64, AT_FDCWD)), a[0], false);
}
pub fn rmdir(k: *Kernel, a: Args) i64 {
    return remove(k, @bitCast(@as(i64, AT_FDCWD)), a[0], true);
}
pub fn unlinkat(k: *Kernel, a: Args) i64 {
    if (a[2] & ~@as(u64, AT_REMOVEDIR) != 0) return fail(.INVAL);
    return remove(k, a[0], a[1], a[2] & AT_REMOVEDIR != 0);
}

const RENAME_EXCHANGE = 2;

const Act = fn (i32, [*:0]const u8, i32, [*:0]const u8, u64) i64;
const PrivateAct = fn (*Kernel, *const Target, *const Target, u64) i64;

fn twoNames(k: *Kernel, a: Args, comptime act: Act, comptime private: PrivateAct, flags: u64, follow_old: bool) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var old: Target = .{};
    var new: Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], follow_old, &old) catch return lookup.errno;
    if (follow_old) lookup.throughPrivateDescriptor(&old);
    // A link is made of what is there, before it is asked where.
    if (act == doLink and old.private == .absent) return fail(.NOENT);
    lookup.argument(transfer.descriptorOf(a[2]), a[3], false, &new) catch return lookup.errno;
    if ((old.private == .host) != (new.private == .host)) return fail(.XDEV);
    if (old.private != .host) return private(k, &old, &new, flags);
    if (isMissing(k, &old)) return fail(.NOENT);
    const old_folder = lookup.parent(&old) catch return lookup.errno;
    defer host.close(old_folder);
    const new_folder = lookup.parent(&new) catch return lookup.errno;
    defer host.close(new_folder);
    const space = k.files.namespace();
    space.demandMove(&old.at, &new.at) catch |failure| return paths.errnoOf(failure);
    if (flags & RENAME_EXCHANGE != 0) space.demandMove(&new.at, &old.at) catch |failure| return paths.errnoOf(failure);
    var old_buffer: [name_room]u8 = undefined;
    var new_buffer: [name_room]u8 = undefined;
    k.hostCall();
    return act(old_folder, nameZ(&old, &old_buffer), new_folder, nameZ(&new, &new_buffer), flags);
}

fn doRename(old_folder: i32, old: [*:0]const u8, new_folder: i32, new: [*:0]const u8, flags: u64) i64 {
    return @bitCast(linux.renameat2(old_folder, old, new_folder, new, @bitCast(@as(u32, @truncate(flags)))));
}
fn doLink(old_folder: i32, old: [*:0]const u8, new_folder: i32, new: [*:0]const u8, _: u64) i64 {
    return @bitCast(linux.linkat(old_folder, old, new_folder, new, 0));
}

const cwd: u64 = @bitCast(@as(i64, AT_FDCWD));

pub fn rename(k: *Kernel, a: Args) i64 {
    return twoNames(k, .{ cwd, a[0], cwd, a[1], 0, 0 }, doRename, private_names.rename, 0, false);
}
pub fn renameat(k: *Kernel, a: Args) i64 {
    return twoNames(k, a, doRename, private_names.rename, 0, false);
}
pub fn renameat2(k: *Kernel, a: Args) i64 {
    if (a[4] & ~@as(u64, 3) != 0 or a[4] == 3) return fail(.INVAL);
    return twoNames(k, a, doRename, private_names.rename, a[4], false);
}
fn linkPrivate(k: *Kernel, old: *const Target, new: *const Target, _: u64) i64 {
    return private_names.hardLinkTarget(k, old, new);
}

pub fn link(k: *Kernel, a: Args) i64 {
    return twoNames(k, .{ cwd, a[0], cwd, a[1], 0, 0 }, doLink, linkPrivate, 0, false);
}
pub fn linkat(k: *Kernel, a: Args) i64 {
    if (a[4] & ~@as(u64, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0) return fail(.INVAL);
    if (a[4] & AT_EMPTY_PATH != 0) return linkOpened(k, a);
    return twoNames(k, a, doLink, linkPrivate, 0, a[4] & AT_SYMLINK_FOLLOW != 0);
}

/// Gives an open private file a name; the first path must be empty.
fn linkOpened(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var buffer: [paths.path_max]u8 = undefined;
    const path = lookup.readPath(a[1], &buffer) catch return lookup.errno;
    if (path.len > 0) return twoNames(k, a, doLink, linkPrivate, 0, a[4] & AT_SYMLINK_FOLLOW != 0);
    const number = transfer.descriptorOf(a[0]);
    const description = k.files.get(number) orelse return if (number == AT_FDCWD) fail(.NOENT) else fail(.BADF);
    // Linking what a descriptor of the host's refers to takes a right that no guest has.
    if (description.kind != .private_file) return fail(.NOENT);
    var new: Target = .{};
    lookup.argument(transfer.descriptorOf(a[2]), a[3], false, &new) catch return lookup.errno;
    if (new.private == .host) return fail(.XDEV);
    return private_names.hardLink(k, description.kind.private_file.node, &new);
}

pub fn symlink(k: *Kernel, a: Args) i64 {
    return symlinkat(k, .{ a[0], cwd, a[1], 0, 0, 0 });
}
pub fn symlinkat(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var target: Target = .{};
    var text_bytes: [paths.path_max]u8 = undefined;
    const text = lookup.readPath(a[0], &text_bytes) catch return lookup.errno;
    if (text.len == 0) return fail(.NOENT);
    lookup.argument(transfer.descriptorOf(a[1]), a[2], false, &target) catch return lookup.errno;
    if (target.private != .host) return private_names.makeLink(k, &target, text);
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    var buffer: [name_room]u8 = undefined;
    var text_z: [paths.path_max:0]u8 = undefined;
    @memcpy(text_z[0..text.len], text);
    text_z[text.len] = 0;
    k.hostCall();
    return @bitCast(linux.symlinkat(&text_z, folder, nameZ(&target, &buffer)));
}

pub fn readlink(k: *Kernel, a: Args) i64 {
    return readlinkat(k, .{ cwd, a[0], a[1], a[2], 0, 0 });
}
pub fn readlinkat(k: *Kernel, a: Args) i64 {
    const size: i32 = @bitCast(@as(u32, @truncate(a[3])));
    if (size <= 0) return fail(.INVAL);
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    var buffer: [paths.path_max]u8 = undefined;
    const path = lookup.readPath(a[1], &buffer) catch return lookup.errno;
    const text = (if (path.len == 0) descriptor_links.textOfOpened(&lookup, transfer.descriptorOf(a[0]), &buffer) else blk: {
        lookup.resolve(transfer.descriptorOf(a[0]), path, false, &target) catch return lookup.errno;
        break :blk textOfLink(&lookup, &target, &buffer);
    }) catch return lookup.errno;
    const count = if (canaries.is(.readlink_unbounded)) text.len else @min(text.len, @as(usize, @intCast(size)));
    k.memory.write(a[2], text[0..count]) catch return fail(.FAULT);
    return @intCast(count);
}

fn textOfLink(lookup: *Lookup, target: *const Target, buffer: *[paths.path_max]u8) Failed![]const u8 {
    const k = lookup.k;
    if (target.node) |node| return switch (node.content) {
        .program => k.program_path,
        .link => |to| to,
        .working_directory => k.files.working_directory,
        .descriptor => descriptor_links.textOf(k, target, buffer),
        else => lookup.failWith(fail(.INVAL)),
    };
    switch (target.private) {
        .host, .shown => {},
        .absent => return lookup.failWith(fail(.NOENT)),
        .node => |index| {
            const node = k.files.private.at(index);
            return if (node.kind == .link) node.target else lookup.failWith(fail(.INVAL));
        },
    }
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    if (fd < 0) return lookup.failWith(if (isWayToMount(k, target, fd)) fail(.INVAL) else fd);
    defer host.close(@intCast(fd));
    const mode = paths.modeOf(@intCast(fd)) orelse return lookup.failWith(fail(.IO));
    // Programs that make a path canonical ask this of every folder on it; the guest was found to know of this one.
    if (mode & linux.S.IFMT == linux.S.IFDIR) return lookup.failWith(fail(.INVAL));
    if (!target.place.link_shown) try lookup.demand(target, .read);
    const length: i64 = @bitCast(linux.readlinkat(@intCast(fd), "", buffer, buffer.len));
    // Linux answers ENOENT for an empty path on something that is not a link; for a named one it is EINVAL.
    if (length < 0) return lookup.failWith(if (length == fail(.NOENT)) fail(.INVAL) else length);
    return buffer[0..@intCast(length)];
}

// Changing files by name

pub fn truncate(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(AT_FDCWD, a[0], true, &target) catch return lookup.errno;
    if (target.private != .host) return private_names.truncate(k, &target, a[1]);
    if (!canaries.is(.truncate_unchecked) or target.node != null) lookup.demand(&target, .write) catch return lookup.errno;
    opening.refuseSpecial(&lookup, &target) catch |failure| return if (failure == error.Failed) lookup.errno else fail(.ACCES);
    k.hostCall();
    const fd = target.at.open(1 | table.O_NONBLOCK | paths.O_NOFOLLOW, 0);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    const refused = transfer.checkSize(k, a[1]);
    if (refused != 0) return refused;
    return @bitCast(linux.ftruncate(@intCast(fd), @bitCast(a[1])));
}

/// Runs `act` on an O_PATH descriptor's /proc name, for calls that know no AT_EMPTY_PATH.
fn onOpened(k: *Kernel, folder: u64, path: u64, follow: bool, context: anytype, comptime act: anytype, comptime private: anytype) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(folder), path, follow, &target) catch return lookup.errno;
    if (follow) lookup.throughPrivateDescriptor(&target);
    if (target.private != .host) return private(k, &target, context);
    const opened: ?i32 = if (follow) lookup.throughDescriptor(&target) catch return lookup.errno else null;
    lookup.demand(&target, .write) catch return lookup.errno;
    k.hostCall();
    const fd = if (opened) |some| some else target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
    if (fd < 0) return fd;
    defer if (opened == null) host.close(@intCast(fd));
    const mode = paths.modeOf(@intCast(fd)) orelse return fail(.IO);
    if (mode & linux.S.IFMT == linux.S.IFLNK) return fail(.OPNOTSUPP);
    var buffer: [64:0]u8 = undefined;
    const name = std.fmt.bufPrintZ(&buffer, "/proc/self/fd/{d}", .{fd}) catch unreachable;
    return act(name, context);
}

fn doChmod(name: [*:0]const u8, mode: u64) i64 {
    return @bitCast(linux.chmod(name, @intCast(mode & table.mode_mask)));
}
pub fn chmod(k: *Kernel, a: Args) i64 {
    return onOpened(k, cwd, a[0], true, a[1], doChmod, private_names.chmodTarget);
}
pub fn fchmodat(k: *Kernel, a: Args) i64 {
    return onOpened(k, a[0], a[1], true, a[2], doChmod, private_names.chmodTarget);
}

const Times = ?[2]linux.timespec;
fn doUtimens(name: [*:0]const u8, times: Times) i64 {
    const address: usize = if (times) |*some| @intFromPtr(some) else 0;
    return @bitCast(linux.syscall4(.utimensat, @bitCast(@as(i64, AT_FDCWD)), @intFromPtr(name), address, 0));
}
pub fn utimensat(k: *Kernel, a: Args) i64 {
    const times: Times = if (a[2] == 0) null else k.memory.readValue([2]linux.timespec, a[2]) catch return fail(.FAULT);
    if (a[1] == 0) {
        const description = k.files.opened(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
        switch (description.kind) {
            .private_file, .private_directory => |opened| return private_names.setTimes(k, opened.node, times),
            else => {},
        }
        var target: Target = .{};
        if (layers.findOpened(k, description, &target)) return private_names.setTimesOf(k, &target, times);
        if (description.kind != .host_file or !description.mayWrite()) return fail(.PERM);
        const address: usize = if (times) |*some| @intFromPtr(some) else 0;
        k.hostCall();
        return @bitCast(linux.syscall4(.utimensat, @intCast(description.kind.host_file.file.fd), 0, address, 0));
    }
    return onOpened(k, a[0], a[1], a[3] & AT_SYMLINK_NOFOLLOW == 0, times, doUtimens, private_names.setTimesOf);
}

/// Owners stay as they are: setting one to what it is, or to nothing, is all that is allowed.
pub fn chownat(k: *Kernel, a: Args) i64 {
    return chown(k, .{ a[1], a[2], a[3], 0, 0, 0 });
}
pub fn chown(k: *Kernel, a: Args) i64 {
    const nobody = std.math.maxInt(u32);
    const user: u32 = @truncate(a[1]);
    const group: u32 = @truncate(a[2]);
    if (user != nobody and user != k.identity.uid) return fail(.PERM);
    if (group != nobody and group != k.identity.gid) return fail(.PERM);
    return 0;
}

// Folders

pub fn chdir(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(AT_FDCWD, a[0], true, &target) catch return lookup.errno;
    if (target.node) |node| {
        if (node.content == .descriptor) return fchdir(k, .{ @intCast(k.files.namespace().descriptorAt(target.place.path()).?), 0, 0, 0, 0, 0 });
        if (node.content != .directory) return fail(.NOTDIR);
    } else if (target.private == .absent) {
        return fail(.NOENT);
    } else if (target.private == .node) {
        const node = k.files.private.at(target.private.node);
        if (node.kind != .directory) return fail(.NOTDIR);
        if (!private_mounts.allows(node, private_open.userOf(k), 1)) return fail(.ACCES);
    } else {
        k.hostCall();
        const fd = target.at.open(paths.O_PATH | paths.O_NOFOLLOW, 0);
        if (isWayToMount(k, &target, fd)) return moveTo(k, target.place.path());
        if (fd < 0) return fd;
        defer host.close(@intCast(fd));
        const mode = paths.modeOf(@intCast(fd)) orelse return fail(.IO);
        if (mode & linux.S.IFMT != linux.S.IFDIR) return fail(.NOTDIR);
    }
    return moveTo(k, target.place.path());
}

fn moveTo(k: *Kernel, path: []const u8) i64 {
    const copy = k.files.allocator.dupe(u8, path) catch return fail(.NOMEM);
    k.files.allocator.free(k.files.working_directory);
    k.files.working_directory = copy;
    return 0;
}

pub fn fchdir(k: *Kernel, a: Args) i64 {
    const description = k.files.get(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    return switch (description.kind) {
        .host_directory => |directory| moveTo(k, directory.path),
        .synthetic_directory => |directory| moveTo(k, directory.path),
        .private_directory => |directory| {
            var buffer: [paths.path_max]u8 = undefined;
            return moveTo(k, k.files.private.pathOf(directory.node, &buffer) orelse return fail(.NOENT));
        },
        else => fail(.NOTDIR),
    };
}

pub fn getcwd(k: *Kernel, a: Args) i64 {
    const path = k.files.working_directory;
    if (a[1] == 0) return fail(.INVAL);
    if (path.len + 1 > a[1]) return fail(.RANGE);
    k.memory.write(a[0], path) catch return fail(.FAULT);
    k.memory.write(a[0] + path.len, &.{0}) catch return fail(.FAULT);
    return @intCast(path.len + 1);
}
