//! System calls that take paths: opening, examining, and changing names. What is allowed is decided in one place
//! (`Place.forReading`, `forWriting`) on the resolved path, and the host is asked only beneath a mount, links refused.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../canaries.zig");
const descriptor_links = @import("descriptor_links.zig");
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const paths = @import("../paths.zig");
const synthetic = @import("../synthetic.zig");
const table = @import("table.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const HostFile = @import("../../host_file.zig").HostFile;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_FOLLOW = 0x400;
const AT_EMPTY_PATH = 0x1000;

pub const O_CREAT = 0o100;
pub const O_EXCL = 0o200;
pub const O_TRUNC = 0o1000;
pub const O_DIRECTORY = 0o200000;
pub const O_NOFOLLOW = 0o400000;
pub const O_CLOEXEC = 0o2000000;
const O_TMPFILE = 0o20000000;
/// What of a guest's open flags reaches the host.
pub const host_open_flags = 3 | O_CREAT | O_EXCL | O_TRUNC | 0o10000 | 0o4010000 | O_DIRECTORY;

/// A resolved path, and where it is on the host unless it is synthetic.
pub const Target = struct {
    place: paths.Place = .{},
    node: ?*const synthetic.Node = null,
    at: paths.HostPlace = undefined,
};

pub const Failed = error{Failed};

/// Reads and resolves a path argument; the error's errno is in `errno`.
pub const Lookup = struct {
    k: *Kernel,
    errno: i64 = 0,

    pub fn failWith(self: *Lookup, code: i64) Failed {
        self.errno = code;
        return error.Failed;
    }

    /// The guest folder that a relative path starts from.
    fn start(self: *Lookup, folder: i32, path: []const u8) Failed![]const u8 {
        if (folder == AT_FDCWD or (path.len > 0 and path[0] == '/')) return self.k.files.working_directory;
        const description = self.k.files.get(folder) orelse return self.failWith(fail(.BADF));
        return switch (description.kind) {
            .host_directory => |directory| directory.path,
            .synthetic_directory => |directory| directory.path,
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
        const space = self.k.files.namespace();
        if (path.len == 0) return self.failWith(fail(.NOENT));
        const from = try self.start(folder, path);
        space.resolve(from, path, follow, &out.place) catch |failure| return self.failWith(paths.errnoOf(failure));
        out.node = space.syntheticNode(out.place.path());
        if (out.node == null) space.hostPlace(out.place.path(), &out.at) catch |failure| return self.failWith(paths.errnoOf(failure));
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
        const folder = target.place.parent();
        if (target.place.length == 0) return self.failWith(fail(.BUSY));
        const space = self.k.files.namespace();
        var at: paths.HostPlace = undefined;
        space.hostPlace(folder.path(), &at) catch |failure| return self.failWith(paths.errnoOf(failure));
        if (at.mount != target.at.mount) return self.failWith(fail(.BUSY));
        self.k.hostCall();
        const rc = at.open(paths.O_PATH | O_DIRECTORY, 0);
        return if (rc < 0) self.failWith(rc) else @intCast(rc);
    }
};

pub fn nameZ(target: *const Target, buffer: *[256:0]u8) [*:0]const u8 {
    const name = target.place.name();
    @memcpy(buffer[0..name.len], name);
    buffer[name.len] = 0;
    return buffer;
}

// Opening

pub fn open(k: *Kernel, a: Args) i64 {
    return openAt(k, AT_FDCWD, a[0], a[1], a[2]);
}
pub fn openat(k: *Kernel, a: Args) i64 {
    return openAt(k, transfer.descriptorOf(a[0]), a[1], a[2], a[3]);
}
pub fn creat(k: *Kernel, a: Args) i64 {
    return openAt(k, AT_FDCWD, a[0], O_CREAT | O_TRUNC | 1, a[1]);
}

fn openAt(k: *Kernel, folder: i32, path_address: u64, given: u64, mode: u64) i64 {
    if (given & paths.O_PATH == 0 and (given & 3 == 3 or given & O_TMPFILE & ~@as(u64, O_DIRECTORY) != 0)) return fail(.INVAL);
    // With O_PATH all flags but these mean nothing.
    const flags = if (given & paths.O_PATH != 0) given & (paths.O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) else given;
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    const follow = flags & O_NOFOLLOW == 0 and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL;
    lookup.argument(folder, path_address, follow, &target) catch return lookup.errno;
    if (target.place.must_be_directory and flags & O_CREAT != 0) return fail(.ISDIR);
    const description = openTarget(k, &lookup, &target, flags, mode) catch |failure| return switch (failure) {
        error.Failed => lookup.errno,
        error.OutOfMemory => fail(.NOMEM),
        error.IsDirectory => fail(.ISDIR),
        error.NoDevice => fail(.NXIO),
        error.Exists => fail(.EXIST),
        error.Denied => fail(.ACCES),
        error.Loop => fail(.LOOP),
        error.NotDirectory => fail(.NOTDIR),
    };
    return install(k, description, flags & O_CLOEXEC != 0);
}

fn openTarget(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64, mode: u64) OpenError!*table.Description {
    const node = target.node orelse return if (flags & paths.O_PATH != 0) openPath(k, lookup, target, flags) else openHost(k, lookup, target, flags, mode);
    if (node.content != .descriptor) return openSynthetic(k, node, target, flags);
    const number = k.files.namespace().descriptorAt(target.place.path()) orelse return lookup.failWith(fail(.NOENT));
    return descriptor_links.open(k, lookup, k.files.get(number).?, flags);
}

fn install(k: *Kernel, description: *table.Description, close_on_exec: bool) i64 {
    const bound = k.resource_limits[@intFromEnum(linux.rlimit_resource.NOFILE)].current;
    return k.files.install(description, 0, close_on_exec, bound) catch |failure| {
        k.files.release(description);
        return switch (failure) {
            error.OutOfMemory => fail(.NOMEM),
            error.TooMany => fail(.MFILE),
        };
    };
}

pub const OpenError = Failed || error{ OutOfMemory, IsDirectory, NoDevice, Exists, Denied, Loop, NotDirectory };

fn openSynthetic(k: *Kernel, node: *const synthetic.Node, target: *const Target, flags: u64) OpenError!*table.Description {
    const files = &k.files;
    const status_flags: u32 = @truncate(flags & ~@as(u64, O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC));
    const path = target.place.path();
    const writes = flags & 3 != 0;
    if (flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL) return error.Exists;
    if (flags & O_DIRECTORY != 0 and node.content != .directory) return error.NotDirectory;
    switch (node.content) {
        .directory => {
            if (writes) return error.IsDirectory;
            return files.create(.{ .synthetic_directory = .{ .path = try files.allocator.dupe(u8, path) } }, status_flags, path);
        },
        .device => |device| {
            if (device == .terminal) return error.NoDevice;
            return files.create(.{ .device = device }, status_flags, path);
        },
        .stream => |number| {
            const description = files.get(number) orelse return error.NoDevice;
            description.references += 1;
            return description;
        },
        .link, .working_directory, .descriptor => return error.Loop,
        .program => {
            if (writes) return error.Denied;
            const file = k.program_file.?.retain();
            errdefer file.release(files.allocator);
            return files.create(.{ .host_file = .{ .file = file } }, status_flags, k.program_path);
        },
        .text, .generated => {
            if (writes) return error.Denied;
            return files.create(.{ .text = .{ .bytes = try textOf(k, node) } }, status_flags, path);
        },
    }
}

fn textOf(k: *Kernel, node: *const synthetic.Node) error{OutOfMemory}![]u8 {
    switch (node.content) {
        .text => |text| return k.files.allocator.dupe(u8, text),
        .generated => |generate| {
            var out: std.Io.Writer.Allocating = .init(k.files.allocator);
            errdefer out.deinit();
            generate(k, &out.writer) catch return error.OutOfMemory;
            return out.toOwnedSlice();
        },
        else => unreachable,
    }
}

/// O_PATH: any kind of file, for the guest to examine and to start paths from.
fn openPath(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64) OpenError!*table.Description {
    k.hostCall();
    const rc = target.at.open(paths.O_PATH | O_NOFOLLOW | (flags & O_DIRECTORY), 0);
    if (rc < 0) return lookup.failWith(rc);
    const fd: i32 = @intCast(rc);
    var taken = false;
    errdefer if (!taken) host.close(fd);
    const kind = (paths.modeOf(fd) orelse return lookup.failWith(fail(.IO))) & linux.S.IFMT;
    const path = target.place.path();
    const status_flags: u32 = @truncate(flags & (paths.O_PATH | O_DIRECTORY));
    if (kind == linux.S.IFDIR) return createDirectory(k, fd, path, status_flags);
    if (target.place.must_be_directory) return error.NotDirectory;
    if (kind == linux.S.IFLNK and flags & O_NOFOLLOW == 0) return error.Loop;
    if (kind != linux.S.IFLNK or !target.place.link_shown) try lookup.demand(target, .read);
    taken = true;
    const file = try HostFile.create(k.files.allocator, fd, target.place.path());
    errdefer file.release(k.files.allocator);
    return k.files.create(.{ .host_file = .{ .file = file } }, status_flags, path);
}

/// The descriptor passes over unless this fails.
pub fn createDirectory(k: *Kernel, fd: i32, path: []const u8, status_flags: u32) error{OutOfMemory}!*table.Description {
    const copy = try k.files.allocator.dupe(u8, path);
    errdefer k.files.allocator.free(copy);
    return k.files.create(.{ .host_directory = .{ .fd = fd, .path = copy } }, status_flags, path);
}

fn openHost(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64, mode: u64) OpenError!*table.Description {
    const reads = flags & 3 != 1;
    const writes = flags & 3 != 0 or flags & (O_CREAT | O_TRUNC) != 0;
    if (reads) try lookup.demand(target, .read);
    if (writes) try lookup.demand(target, .write);
    // Non-blocking, so that a FIFO cannot hold the VMM; what is neither a file nor a folder is closed again.
    const wanted = flags & host_open_flags | table.O_NONBLOCK | O_NOFOLLOW | 0o400;
    k.hostCall();
    if (flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL) try refuseSpecial(lookup, target);
    const rc = target.at.open(wanted, if (flags & O_CREAT != 0) mode & table.mode_mask & ~@as(u64, k.umask) else 0);
    if (rc < 0) return lookup.failWith(rc);
    const fd: i32 = @intCast(rc);
    var taken = false;
    errdefer if (!taken) host.close(fd);
    const status_flags: u32 = @truncate(flags & ~@as(u64, O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_NOFOLLOW));
    const path = target.place.path();
    switch ((paths.modeOf(fd) orelse return lookup.failWith(fail(.IO))) & linux.S.IFMT) {
        linux.S.IFREG => {
            if (target.place.must_be_directory) return error.NotDirectory;
            taken = true;
            const file = try HostFile.create(k.files.allocator, fd, path);
            errdefer file.release(k.files.allocator);
            return k.files.create(.{ .host_file = .{ .file = file } }, status_flags, path);
        },
        linux.S.IFDIR => return createDirectory(k, fd, path, status_flags),
        else => return error.Denied,
    }
}

/// Opening a device may already do something, so its kind is looked at before.
fn refuseSpecial(lookup: *Lookup, target: *const Target) OpenError!void {
    const rc = target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
    if (rc < 0) return;
    defer host.close(@intCast(rc));
    switch ((paths.modeOf(@intCast(rc)) orelse return lookup.failWith(fail(.IO))) & linux.S.IFMT) {
        linux.S.IFREG, linux.S.IFDIR => {},
        linux.S.IFLNK => return error.Loop,
        else => return error.Denied,
    }
}

// Changing names

pub fn mkdir(k: *Kernel, a: Args) i64 {
    return mkdirat(k, .{ @bitCast(@as(i64, AT_FDCWD)), a[0], a[1], 0, 0, 0 });
}
pub fn mkdirat(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], false, &target) catch return lookup.errno;
    if (target.node != null) return fail(.EXIST);
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    var buffer: [256:0]u8 = undefined;
    k.hostCall();
    return @bitCast(linux.mkdirat(folder, nameZ(&target, &buffer), @intCast(a[2] & table.mode_mask & ~@as(u64, k.umask))));
}

fn remove(k: *Kernel, folder_fd: u64, path: u64, directory: bool) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(folder_fd), path, false, &target) catch return lookup.errno;
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    // A name with a slash behind it is a folder's, and only rmdir removes one.
    if (target.place.must_be_directory and !directory) {
        const named = target.at.open(paths.O_PATH | O_DIRECTORY, 0);
        if (named < 0) return named;
        host.close(@intCast(named));
        return fail(.ISDIR);
    }
    var buffer: [256:0]u8 = undefined;
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

fn twoNames(k: *Kernel, a: Args, comptime act: fn (i32, [*:0]const u8, i32, [*:0]const u8, u64) i64, flags: u64, follow_old: bool) i64 {
    var lookup: Lookup = .{ .k = k };
    var old: Target = .{};
    var new: Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], follow_old, &old) catch return lookup.errno;
    lookup.argument(transfer.descriptorOf(a[2]), a[3], false, &new) catch return lookup.errno;
    const old_folder = lookup.parent(&old) catch return lookup.errno;
    defer host.close(old_folder);
    const new_folder = lookup.parent(&new) catch return lookup.errno;
    defer host.close(new_folder);
    const space = k.files.namespace();
    space.demandMove(&old.at, &new.at) catch |failure| return paths.errnoOf(failure);
    if (flags & RENAME_EXCHANGE != 0) space.demandMove(&new.at, &old.at) catch |failure| return paths.errnoOf(failure);
    var old_buffer: [256:0]u8 = undefined;
    var new_buffer: [256:0]u8 = undefined;
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
    return twoNames(k, .{ cwd, a[0], cwd, a[1], 0, 0 }, doRename, 0, false);
}
pub fn renameat(k: *Kernel, a: Args) i64 {
    return twoNames(k, a, doRename, 0, false);
}
pub fn renameat2(k: *Kernel, a: Args) i64 {
    if (a[4] & ~@as(u64, 3) != 0) return fail(.INVAL);
    return twoNames(k, a, doRename, a[4], false);
}
pub fn link(k: *Kernel, a: Args) i64 {
    return twoNames(k, .{ cwd, a[0], cwd, a[1], 0, 0 }, doLink, 0, false);
}
pub fn linkat(k: *Kernel, a: Args) i64 {
    if (a[4] & ~@as(u64, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0) return fail(.INVAL);
    // Linking what a descriptor refers to takes a right that no guest has.
    if (a[4] & AT_EMPTY_PATH != 0) return fail(.NOENT);
    return twoNames(k, a, doLink, 0, a[4] & AT_SYMLINK_FOLLOW != 0);
}

pub fn symlink(k: *Kernel, a: Args) i64 {
    return symlinkat(k, .{ a[0], cwd, a[1], 0, 0, 0 });
}
pub fn symlinkat(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    var text_bytes: [paths.path_max]u8 = undefined;
    const text = lookup.readPath(a[0], &text_bytes) catch return lookup.errno;
    if (text.len == 0) return fail(.NOENT);
    lookup.argument(transfer.descriptorOf(a[1]), a[2], false, &target) catch return lookup.errno;
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    var buffer: [256:0]u8 = undefined;
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
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) return lookup.failWith(fd);
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
    if (!canaries.is(.truncate_unchecked) or target.node != null) lookup.demand(&target, .write) catch return lookup.errno;
    refuseSpecial(&lookup, &target) catch |failure| return if (failure == error.Failed) lookup.errno else fail(.ACCES);
    k.hostCall();
    const fd = target.at.open(1 | table.O_NONBLOCK | O_NOFOLLOW, 0);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    const refused = transfer.checkSize(k, a[1]);
    if (refused != 0) return refused;
    return @bitCast(linux.ftruncate(@intCast(fd), @bitCast(a[1])));
}

/// Runs `act` on an O_PATH descriptor's /proc name, for calls that know no AT_EMPTY_PATH.
fn onOpened(k: *Kernel, folder: u64, path: u64, follow: bool, context: anytype, comptime act: anytype) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(folder), path, follow, &target) catch return lookup.errno;
    const opened: ?i32 = if (follow) lookup.throughDescriptor(&target) catch return lookup.errno else null;
    lookup.demand(&target, .write) catch return lookup.errno;
    k.hostCall();
    const fd = if (opened) |some| some else target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
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
    return onOpened(k, cwd, a[0], true, a[1], doChmod);
}
pub fn fchmodat(k: *Kernel, a: Args) i64 {
    return onOpened(k, a[0], a[1], true, a[2], doChmod);
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
        if (description.kind != .host_file or !description.mayWrite()) return fail(.PERM);
        const address: usize = if (times) |*some| @intFromPtr(some) else 0;
        k.hostCall();
        return @bitCast(linux.syscall4(.utimensat, @intCast(description.kind.host_file.file.fd), 0, address, 0));
    }
    return onOpened(k, a[0], a[1], a[3] & AT_SYMLINK_NOFOLLOW == 0, times, doUtimens);
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
    } else {
        k.hostCall();
        const fd = target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
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
