//! System calls that take paths: opening, examining, and changing names. What is allowed is decided in one place
//! (`Place.forReading`, `forWriting`) on the resolved path, and the host is asked only beneath a mount, links refused.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
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

const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;
const O_CLOEXEC = 0o2000000;
const O_TMPFILE = 0o20000000;
/// What of a guest's open flags reaches the host.
const host_open_flags = 3 | O_CREAT | O_EXCL | O_TRUNC | 0o10000 | 0o4010000 | O_DIRECTORY;

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
        var buffer: [paths.path_max]u8 = undefined;
        const from = try self.start(folder, path, &buffer);
        space.resolve(from, path, follow, &out.place) catch |failure| return self.failWith(paths.errnoOf(failure));
        out.node = space.syntheticNode(out.place.path());
        if (out.node == null) out.private = private_mounts.find(&space, out.place.path()) catch |failure| return self.failWith(paths.errnoOf(failure));
        if (out.node == null and out.private == .host) space.hostPlace(out.place.path(), &out.at) catch |failure| return self.failWith(paths.errnoOf(failure));
    }

    /// Resolves a path argument.
    pub fn argument(self: *Lookup, folder: i32, address: u64, follow: bool, out: *Target) Failed!void {
        var buffer: [paths.path_max]u8 = undefined;
        return self.resolve(folder, try self.readPath(address, &buffer), follow, out);
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

/// A name of 255 bytes, a slash and a NUL.
const name_room = 257;

fn nameZ(target: *const Target, buffer: *[name_room]u8) [*:0]const u8 {
    const name = target.place.name();
    @memcpy(buffer[0..name.len], name);
    // The host is to know that it must be a folder.
    buffer[name.len] = if (target.place.must_be_directory) '/' else 0;
    buffer[name.len + 1] = 0;
    return @ptrCast(buffer);
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

fn openAt(k: *Kernel, folder: i32, path_address: u64, flags: u64, mode: u64) i64 {
    if (flags & 3 == 3) return fail(.INVAL);
    if (flags & paths.O_PATH != 0) return fail(.INVAL);
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    const follow = flags & O_NOFOLLOW == 0 and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL;
    lookup.argument(folder, path_address, follow, &target) catch return lookup.errno;
    if (target.place.must_be_directory and flags & O_CREAT != 0) return fail(.ISDIR);
    if (flags & O_TMPFILE != 0 and target.private == .host) return fail(.INVAL);
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

fn openTarget(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64, mode: u64) OpenError!*table.Description {
    if (target.node) |node| return openSynthetic(k, node, target, flags);
    if (target.private != .host) return private_open.open(k, lookup, target, target.private, flags, mode);
    return openHost(k, lookup, target, flags, mode);
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
        .link => return error.Loop,
        .program => {
            if (writes) return error.Denied;
            return files.create(.{ .program = .{ .bytes = k.program_bytes } }, status_flags, path);
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

fn openHost(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64, mode: u64) OpenError!*table.Description {
    const reads = flags & 3 != 1;
    const writes = flags & 3 != 0 or flags & (O_CREAT | O_TRUNC) != 0;
    if (reads) try lookup.demand(target, .read);
    if (writes) try lookup.demand(target, .write);
    // Non-blocking, so that a FIFO cannot hold the VMM; what is neither a file nor a folder is closed again.
    const wanted = flags & host_open_flags | table.O_NONBLOCK | O_NOFOLLOW | 0o400;
    k.hostCall();
    try refuseSpecial(lookup, target);
    const rc = target.at.open(wanted, if (flags & O_CREAT != 0) mode & 0o7777 & ~@as(u64, k.umask) else 0);
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
            const file = try table.HostFile.create(k.files.allocator, fd);
            errdefer file.release(k.files.allocator);
            return k.files.create(.{ .host_file = .{ .file = file } }, status_flags, path);
        },
        linux.S.IFDIR => return k.files.create(.{ .host_directory = .{ .fd = fd, .path = try k.files.allocator.dupe(u8, path) } }, status_flags, path),
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
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], false, &target) catch return lookup.errno;
    if (target.node != null) return fail(.EXIST);
    if (target.private != .host) return private_names.makeDirectory(k, &target, a[2]);
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    var buffer: [name_room]u8 = undefined;
    k.hostCall();
    return @bitCast(linux.mkdirat(folder, nameZ(&target, &buffer), @intCast(a[2] & 0o7777 & ~@as(u64, k.umask))));
}

fn remove(k: *Kernel, folder_fd: u64, path: u64, directory: bool) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(folder_fd), path, false, &target) catch return lookup.errno;
    if (target.private != .host) return private_names.remove(k, &target, directory);
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
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

const Act = fn (i32, [*:0]const u8, i32, [*:0]const u8, u64) i64;
const PrivateAct = fn (*Kernel, *const Target, *const Target, u64) i64;

fn twoNames(k: *Kernel, a: Args, comptime act: Act, comptime private: PrivateAct, flags: u64) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var old: Target = .{};
    var new: Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], flags & AT_SYMLINK_FOLLOW != 0, &old) catch return lookup.errno;
    lookup.argument(transfer.descriptorOf(a[2]), a[3], false, &new) catch return lookup.errno;
    if ((old.private == .host) != (new.private == .host)) return fail(.XDEV);
    if (old.private != .host) return private(k, &old, &new, flags);
    const old_folder = lookup.parent(&old) catch return lookup.errno;
    defer host.close(old_folder);
    const new_folder = lookup.parent(&new) catch return lookup.errno;
    defer host.close(new_folder);
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
    return twoNames(k, .{ cwd, a[0], cwd, a[1], 0, 0 }, doRename, private_names.rename, 0);
}
pub fn renameat(k: *Kernel, a: Args) i64 {
    return twoNames(k, a, doRename, private_names.rename, 0);
}
pub fn renameat2(k: *Kernel, a: Args) i64 {
    if (a[4] & ~@as(u64, 3) != 0 or a[4] == 3) return fail(.INVAL);
    return twoNames(k, a, doRename, private_names.rename, a[4]);
}
fn linkPrivate(k: *Kernel, old: *const Target, new: *const Target, _: u64) i64 {
    if (old.private != .node) return fail(.NOENT);
    return private_names.hardLink(k, old.private.node, new);
}

pub fn link(k: *Kernel, a: Args) i64 {
    return twoNames(k, .{ cwd, a[0], cwd, a[1], 0, 0 }, doLink, linkPrivate, 0);
}
pub fn linkat(k: *Kernel, a: Args) i64 {
    if (a[4] & AT_EMPTY_PATH != 0) return linkOpened(k, a);
    return twoNames(k, a, doLink, linkPrivate, a[4] & AT_SYMLINK_FOLLOW);
}

/// Gives an open private file a name; the first path must be empty.
fn linkOpened(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k, .changes_name = true };
    var buffer: [paths.path_max]u8 = undefined;
    const path = lookup.readPath(a[1], &buffer) catch return lookup.errno;
    if (path.len > 0) return twoNames(k, a, doLink, linkPrivate, a[4] & AT_SYMLINK_FOLLOW);
    const description = k.files.get(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    var new: Target = .{};
    lookup.argument(transfer.descriptorOf(a[2]), a[3], false, &new) catch return lookup.errno;
    if (description.kind != .private_file or new.private == .host) return fail(.XDEV);
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
    lookup.argument(transfer.descriptorOf(a[0]), a[1], false, &target) catch return lookup.errno;
    var buffer: [paths.path_max]u8 = undefined;
    var text: []const u8 = undefined;
    if (target.node) |node| switch (node.content) {
        .program => text = k.program_path,
        .link => |to| text = to,
        else => return fail(.INVAL),
    } else if (target.private != .host) {
        if (target.private != .node) return fail(.NOENT);
        const node = k.files.private.at(target.private.node);
        if (node.kind != .link) return fail(.INVAL);
        text = node.target;
    } else {
        lookup.demand(&target, .read) catch return lookup.errno;
        k.hostCall();
        const fd = target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
        if (fd < 0) return fd;
        defer host.close(@intCast(fd));
        const length: i64 = @bitCast(linux.readlinkat(@intCast(fd), "", &buffer, buffer.len));
        // Linux answers ENOENT for an empty path on something that is not a link; for a named one it is EINVAL.
        if (length < 0) return if (length == fail(.NOENT)) fail(.INVAL) else length;
        text = buffer[0..@intCast(length)];
    }
    const count = @min(text.len, @as(usize, @intCast(size)));
    k.memory.write(a[2], text[0..count]) catch return fail(.FAULT);
    return @intCast(count);
}

// Changing files by name

pub fn truncate(k: *Kernel, a: Args) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(AT_FDCWD, a[0], true, &target) catch return lookup.errno;
    if (target.private != .host) return private_names.truncate(k, &target, a[1]);
    lookup.demand(&target, .write) catch return lookup.errno;
    refuseSpecial(&lookup, &target) catch |failure| return if (failure == error.Failed) lookup.errno else fail(.ACCES);
    k.hostCall();
    const fd = target.at.open(1 | table.O_NONBLOCK | O_NOFOLLOW, 0);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    return @bitCast(linux.ftruncate(@intCast(fd), @bitCast(a[1])));
}

/// Runs `act` on an O_PATH descriptor's /proc name, for calls that know no AT_EMPTY_PATH.
fn onOpened(k: *Kernel, folder: u64, path: u64, follow: bool, context: anytype, comptime act: anytype, comptime private: anytype) i64 {
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    lookup.argument(transfer.descriptorOf(folder), path, follow, &target) catch return lookup.errno;
    switch (target.private) {
        .host => {},
        .absent => return fail(.NOENT),
        .node => |index| return private(k, index, context),
    }
    lookup.demand(&target, .write) catch return lookup.errno;
    k.hostCall();
    const fd = target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) return fd;
    defer host.close(@intCast(fd));
    const mode = paths.modeOf(@intCast(fd)) orelse return fail(.IO);
    if (mode & linux.S.IFMT == linux.S.IFLNK) return fail(.OPNOTSUPP);
    var buffer: [64:0]u8 = undefined;
    const name = std.fmt.bufPrintZ(&buffer, "/proc/self/fd/{d}", .{fd}) catch unreachable;
    return act(name, context);
}

fn doChmod(name: [*:0]const u8, mode: u64) i64 {
    return @bitCast(linux.chmod(name, @intCast(mode & 0o7777)));
}
pub fn chmod(k: *Kernel, a: Args) i64 {
    return onOpened(k, cwd, a[0], true, a[1], doChmod, private_names.chmod);
}
pub fn fchmodat(k: *Kernel, a: Args) i64 {
    return onOpened(k, a[0], a[1], true, a[2], doChmod, private_names.chmod);
}

const Times = ?[2]linux.timespec;
fn doUtimens(name: [*:0]const u8, times: Times) i64 {
    const address: usize = if (times) |*some| @intFromPtr(some) else 0;
    return @bitCast(linux.syscall4(.utimensat, @bitCast(@as(i64, AT_FDCWD)), @intFromPtr(name), address, 0));
}
pub fn utimensat(k: *Kernel, a: Args) i64 {
    const times: Times = if (a[2] == 0) null else k.memory.readValue([2]linux.timespec, a[2]) catch return fail(.FAULT);
    if (a[1] == 0) {
        const description = k.files.get(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
        switch (description.kind) {
            .private_file, .private_directory => |opened| return private_names.setTimes(k, opened.node, times),
            else => {},
        }
        if (description.kind != .host_file or !description.mayWrite()) return fail(.PERM);
        const address: usize = if (times) |*some| @intFromPtr(some) else 0;
        k.hostCall();
        return @bitCast(linux.syscall4(.utimensat, @intCast(description.kind.host_file.file.fd), 0, address, 0));
    }
    return onOpened(k, a[0], a[1], a[3] & AT_SYMLINK_NOFOLLOW == 0, times, doUtimens, private_names.setTimes);
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
        if (node.content != .directory) return fail(.NOTDIR);
    } else if (target.private != .host) {
        if (target.private != .node) return fail(.NOENT);
        const node = k.files.private.at(target.private.node);
        if (node.kind != .directory) return fail(.NOTDIR);
        if (!private_mounts.allows(node, private_open.userOf(k), 1)) return fail(.ACCES);
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
