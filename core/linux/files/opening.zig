//! Opening what a path leads to: on the host, in the synthetic tree, in the private one, by an open descriptor's name.
//!
//! What is allowed is decided on the resolved path (`names.zig`), and the host is asked only beneath a mount, links refused.
const std = @import("std");
const linux = std.os.linux;
const descriptor_links = @import("descriptor_links.zig");
const guest_device = @import("guest_device.zig");
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const names = @import("names.zig");
const outside = @import("../sockets/outside.zig");
const paths = @import("../paths.zig");
const private_open = @import("private/open.zig");
const synthetic = @import("../synthetic.zig");
const table = @import("table.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const Failed = names.Failed;
const HostFile = @import("../../host_file.zig").HostFile;
const Kernel = kernel_module.Kernel;
const Lookup = names.Lookup;
const Target = names.Target;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
pub const O_CREAT = 0o100;
pub const O_EXCL = 0o200;
pub const O_TRUNC = 0o1000;
pub const O_DIRECTORY = 0o200000;
pub const O_NOFOLLOW = 0o400000;
pub const O_CLOEXEC = 0o2000000;
pub const O_TMPFILE = 0o20000000;
/// What of a guest's open flags reaches the host.
pub const host_open_flags = 3 | O_CREAT | O_EXCL | O_TRUNC | 0o10000 | 0o4010000 | O_DIRECTORY;

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
    if (given & paths.O_PATH == 0 and given & 3 == 3) return fail(.INVAL);
    // With O_PATH all flags but these mean nothing.
    const flags = if (given & paths.O_PATH != 0) given & (paths.O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) else given;
    var lookup: Lookup = .{ .k = k };
    var target: Target = .{};
    const follow = flags & O_NOFOLLOW == 0 and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL;
    lookup.argument(folder, path_address, follow, &target) catch return lookup.errno;
    if (target.place.must_be_directory and flags & O_CREAT != 0) return fail(.ISDIR);
    if (flags & O_TMPFILE != 0 and !isPrivate(k, &target)) return fail(.INVAL);
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

/// Whether a target is of the private layer, by its own name or by /proc/self/fd/N.
fn isPrivate(k: *Kernel, target: *const Target) bool {
    if (target.private != .host) return true;
    const number = k.files.namespace().descriptorAt(target.place.path()) orelse return false;
    return k.files.get(number).?.kind == .private_directory;
}

fn openTarget(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64, mode: u64) OpenError!*table.Description {
    const is_private = target.private == .node or target.private == .absent or target.private == .shown and private_open.takesUp(k, target, flags);
    if (is_private) return private_open.open(k, lookup, target, flags, mode);
    const node = target.node orelse return if (flags & paths.O_PATH != 0) openPath(k, lookup, target, flags) else openHost(k, lookup, target, flags, mode);
    if (node.content != .descriptor) return openSynthetic(k, lookup, node, target, flags);
    const number = k.files.namespace().descriptorAt(target.place.path()) orelse return lookup.failWith(fail(.NOENT));
    return descriptor_links.open(k, lookup, k.files.get(number).?, flags, mode);
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

fn openSynthetic(k: *Kernel, lookup: *Lookup, node: *const synthetic.Node, target: *const Target, flags: u64) OpenError!*table.Description {
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
            if (device == .channel and flags & paths.O_PATH == 0) return openChannel(k, lookup, status_flags);
            if (device == .remote) {
                const rc = guest_device.checkRemote(k, path);
                if (rc < 0) return lookup.failWith(rc);
            }
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

/// /dev/pristine: the descriptor is that of a connected socket.
fn openChannel(k: *Kernel, lookup: *Lookup, status_flags: u32) OpenError!*table.Description {
    const socket = outside.makeChannel(k) catch |failure| return switch (failure) {
        error.NoEmbedder => error.NoDevice,
        error.Taken => lookup.failWith(fail(.BUSY)),
        error.TooMany => lookup.failWith(fail(.NFILE)),
        error.OutOfMemory => error.OutOfMemory,
    };
    errdefer outside.dropChannel(k, socket);
    return k.files.create(.{ .socket = socket }, status_flags, "");
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
    if (kind == linux.S.IFDIR) return createDirectory(k, fd, path, status_flags, null);
    if (target.place.must_be_directory) return error.NotDirectory;
    if (kind == linux.S.IFLNK and flags & O_NOFOLLOW == 0) return error.Loop;
    if (kind != linux.S.IFLNK or !target.place.link_shown) try lookup.demand(target, .read);
    taken = true;
    const file = try HostFile.create(k.files.allocator, fd, target.place.path());
    errdefer file.release(k.files.allocator);
    return k.files.create(.{ .host_file = .{ .file = file } }, status_flags, path);
}

/// The descriptor passes over unless this fails. `at` is for what a layer shows.
pub fn createDirectory(k: *Kernel, fd: i32, path: []const u8, status_flags: u32, at: ?u64) error{OutOfMemory}!*table.Description {
    const copy = try k.files.allocator.dupe(u8, path);
    errdefer k.files.allocator.free(copy);
    return k.files.create(.{ .host_directory = .{ .fd = fd, .path = copy, .at = at } }, status_flags, path);
}

fn openHost(k: *Kernel, lookup: *Lookup, target: *const Target, flags: u64, mode: u64) OpenError!*table.Description {
    const reads = flags & 3 != 1;
    const creates = flags & O_CREAT != 0;
    const writes = flags & 3 != 0 or flags & O_TRUNC != 0 or (creates and flags & O_EXCL != 0);
    if (reads) try lookup.demand(target, .read);
    if (writes) try lookup.demand(target, .write);
    // A file that is there already is only opened, which takes no right to make it.
    const may_create = creates and (writes or k.files.namespace().allows(.write, &target.at));
    const given = if (creates and !may_create) flags & ~@as(u64, O_CREAT) else flags;
    // Non-blocking, so that a FIFO cannot hold the VMM; what is neither a file nor a folder is closed again.
    const wanted = given & host_open_flags | table.O_NONBLOCK | O_NOFOLLOW | 0o400;
    k.hostCall();
    if (flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL) try refuseSpecial(lookup, target);
    const rc = target.at.open(wanted, if (may_create) mode & table.mode_mask & ~@as(u64, k.umask) else 0);
    if (rc == fail(.NOENT) and creates) try lookup.demand(target, .write);
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
        linux.S.IFDIR => if (creates) return error.IsDirectory else return createDirectory(k, fd, path, status_flags, if (target.private == .shown) 0 else null),
        else => return error.Denied,
    }
}

/// Opening a device may already do something, so its kind is looked at before.
pub fn refuseSpecial(lookup: *Lookup, target: *const Target) OpenError!void {
    const rc = target.at.open(paths.O_PATH | O_NOFOLLOW, 0);
    if (rc < 0) return;
    defer host.close(@intCast(rc));
    switch ((paths.modeOf(@intCast(rc)) orelse return lookup.failWith(fail(.IO))) & linux.S.IFMT) {
        linux.S.IFREG, linux.S.IFDIR => {},
        linux.S.IFLNK => return error.Loop,
        else => return error.Denied,
    }
}
