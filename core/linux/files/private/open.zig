//! Opening private files, and what is done to open ones: reading, writing, sizes, mapping.
const std = @import("std");
const linux = std.os.linux;
const content_module = @import("content.zig");
const kernel_module = @import("../../kernel.zig");
const layers = @import("layers.zig");
const mapped = @import("mapped.zig");
const mounts = @import("mounts.zig");
const names = @import("../names.zig");
const opening = @import("../opening.zig");
const paths = @import("../../paths.zig");
const table = @import("../table.zig");
const tree_module = @import("tree.zig");
const Kernel = kernel_module.Kernel;
const OpenNode = table.OpenNode;
const Time = tree_module.Time;
const fail = kernel_module.fail;

const O_CREAT = opening.O_CREAT;
const O_EXCL = opening.O_EXCL;
const O_TRUNC = opening.O_TRUNC;
const O_DIRECTORY = opening.O_DIRECTORY;
const O_NOFOLLOW = opening.O_NOFOLLOW;
const O_CLOEXEC = opening.O_CLOEXEC;
const O_TMPFILE = opening.O_TMPFILE;

pub fn now(k: *Kernel) Time {
    const nanoseconds = k.clock.realtimeNs();
    return .{ .sec = @intCast(nanoseconds / std.time.ns_per_s), .nsec = @intCast(nanoseconds % std.time.ns_per_s) };
}

pub fn userOf(k: *const Kernel) tree_module.User {
    return .{ .uid = k.identity.uid, .gid = k.identity.gid };
}

pub fn errnoOf(failure: tree_module.Error) i64 {
    return fail(if (failure == error.NoSpace) .NOSPC else .NOMEM);
}

/// Opens or creates what a path leads to.
pub fn open(k: *Kernel, lookup: *names.Lookup, target: *const names.Target, flags: u64, mode: u64) opening.OpenError!*table.Description {
    const named: Named = .{ .path = target.place.path(), .must_be_directory = target.place.must_be_directory };
    switch (target.private) {
        .host => unreachable,
        .node => |index| return openNode(k, lookup, index, named, flags, mode),
        .shown => return openNode(k, lookup, try takeUp(k, lookup, target, flags), named, flags, mode),
        .absent => |deepest| {
            if (flags & O_CREAT == 0 or flags & O_TMPFILE != 0) return lookup.failWith(fail(.NOENT));
            const directory = try parentOf(k, lookup, target, deepest);
            if (!mounts.allows(k.files.private.at(directory), userOf(k), 3)) return error.Denied;
            const index = create(k, directory, target.place.name(), bitsOf(k, mode)) catch |failure| return lookup.failWith(errnoOf(failure));
            return describe(k, index, named.path, flags);
        },
    }
}

/// The directory in which a name is to be made; in a layer it may be the host's alone until then.
fn parentOf(k: *Kernel, lookup: *names.Lookup, target: *const names.Target, deepest: u32) names.Failed!u32 {
    if (!k.files.private.at(deepest).merged) return deepest;
    const parent = target.place.parent();
    const index = layers.folder(k, parent.path());
    return if (index < 0) lookup.failWith(index) else @intCast(index);
}

/// Whether opening so changes what a layer shows, or is a matter of the layer's own. All else is opened as the host's.
pub fn takesUp(k: *Kernel, target: *const names.Target, flags: u64) bool {
    if (flags & paths.O_PATH != 0) return false;
    if (flags & 3 != 0 or flags & (O_TRUNC | O_TMPFILE) != 0 or flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL) return true;
    // A folder that only leads to something granted is listed like those above it.
    return !k.files.namespace().allows(.read, &target.at);
}

/// Makes what a layer shows a node, once it is known that it may be opened so.
fn takeUp(k: *Kernel, lookup: *names.Lookup, target: *const names.Target, flags: u64) opening.OpenError!u32 {
    var facts: linux.Statx = undefined;
    const rc = layers.look(k, target.place.path(), &facts);
    if (rc < 0) return lookup.failWith(rc);
    if (flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL) return error.Exists;
    switch (facts.mode & linux.S.IFMT) {
        linux.S.IFDIR => if (flags & O_TMPFILE == 0 and flags & (3 | O_TRUNC | O_CREAT) != 0) return error.IsDirectory,
        linux.S.IFLNK => return if (flags & O_DIRECTORY != 0) error.NotDirectory else error.Loop,
        else => {
            if (flags & O_DIRECTORY != 0 or target.place.must_be_directory) return error.NotDirectory;
            if (!layers.allows(k, &facts, rightsFor(flags))) return error.Denied;
        },
    }
    const index = layers.take(k, target, if (flags & O_TRUNC != 0) 0 else layers.whole);
    return if (index < 0) lookup.failWith(index) else @intCast(index);
}

/// Reading and writing, as permission bits have them.
fn rightsFor(flags: u64) u3 {
    const writes = flags & 3 != 0 or flags & O_TRUNC != 0;
    return (if (flags & 3 != 1) @as(u3, 4) else 0) | (if (writes) @as(u3, 2) else 0);
}

/// How a node was found.
pub const Named = struct { path: []const u8, must_be_directory: bool = false };

/// Opens what is there, or makes a file without a name in it.
pub fn openNode(k: *Kernel, lookup: *names.Lookup, index: u32, named: Named, flags: u64, mode: u64) opening.OpenError!*table.Description {
    if (flags & O_TMPFILE != 0) {
        const made = try temporary(k, lookup, index, flags, bitsOf(k, mode));
        var buffer: [paths.path_max]u8 = undefined;
        const path = std.fmt.bufPrint(&buffer, "{s}/#{d}", .{ named.path, k.files.private.at(made).inode }) catch named.path;
        return describe(k, made, path, flags);
    }
    try examine(k, lookup, named, index, flags);
    return describe(k, index, named.path, flags);
}

fn bitsOf(k: *const Kernel, mode: u64) u32 {
    return @intCast(mode & 0o7777 & ~@as(u64, k.umask));
}

fn describe(k: *Kernel, index: u32, path: []const u8, flags: u64) opening.OpenError!*table.Description {
    errdefer k.files.dropIfUnused(index);
    const status_flags: u32 = @truncate(flags & ~@as(u64, O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_NOFOLLOW));
    const kind: table.Kind = if (k.files.private.at(index).kind == .directory) .{ .private_directory = .{ .node = index } } else .{ .private_file = .{ .node = index } };
    return k.files.create(kind, status_flags, path);
}

fn create(k: *Kernel, directory: u32, name: []const u8, mode: u32) tree_module.Error!u32 {
    const tree = try k.files.ownPrivate();
    const index = try tree.make(.file, mode, userOf(k), now(k));
    errdefer tree.drop(index);
    try tree.link(directory, name, index, now(k));
    return index;
}

/// A file without a name.
fn temporary(k: *Kernel, lookup: *names.Lookup, directory: u32, flags: u64, mode: u32) opening.OpenError!u32 {
    const node = k.files.private.at(directory);
    if (node.kind != .directory) return error.NotDirectory;
    if (flags & O_DIRECTORY == 0 or flags & 3 == 0 or flags & O_CREAT != 0) return lookup.failWith(fail(.INVAL));
    if (!mounts.allows(node, userOf(k), 3)) return error.Denied;
    const tree = try k.files.ownPrivate();
    return tree.make(.file, mode, userOf(k), now(k)) catch |failure| return lookup.failWith(errnoOf(failure));
}

/// Whether what is there may be opened so; empties it if that is asked.
fn examine(k: *Kernel, lookup: *names.Lookup, named: Named, index: u32, flags: u64) opening.OpenError!void {
    const node = k.files.private.at(index);
    if (flags & paths.O_PATH != 0) {
        // It gives no access, so that it needs no right.
        if (node.kind != .directory and (flags & O_DIRECTORY != 0 or named.must_be_directory)) return error.NotDirectory;
        return if (node.kind == .link and flags & O_NOFOLLOW == 0) error.Loop;
    }
    const writes = flags & 3 != 0 or flags & O_TRUNC != 0;
    if (flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL) return error.Exists;
    switch (node.kind) {
        .free => unreachable,
        .link => return if (flags & O_DIRECTORY != 0) error.NotDirectory else error.Loop,
        .directory => if (writes or flags & O_CREAT != 0) return error.IsDirectory,
        .file, .socket => if (flags & O_DIRECTORY != 0 or named.must_be_directory) return error.NotDirectory,
    }
    if (node.kind == .socket) return lookup.failWith(fail(.NXIO));
    if (!mounts.allows(node, userOf(k), rightsFor(flags))) return error.Denied;
    if (flags & O_TRUNC == 0) return;
    const rc = resize(k, index, 0);
    if (rc < 0) return lookup.failWith(rc);
}

pub fn read(k: *Kernel, file: *OpenNode, out: []u8, position: ?u64) i64 {
    const node = k.files.private.at(file.node);
    const at = position orelse file.at;
    const content = node.content orelse return 0;
    if (at >= node.size) return 0;
    k.hostCall();
    const rc: i64 = @bitCast(linux.pread(content.fd, out.ptr, out.len, @intCast(at)));
    if (rc > 0 and position == null) file.at += @intCast(rc);
    return rc;
}

pub fn write(k: *Kernel, file: *OpenNode, bytes: []const u8, position: ?u64, append: bool) i64 {
    if (bytes.len == 0) return 0;
    const tree = k.files.ownPrivate() catch return fail(.NOMEM);
    const node = tree.at(file.node);
    const at = if (append) node.size else position orelse file.at;
    if (at >= k.fileSizeLimit()) return fail(.FBIG);
    const wanted = @min(bytes.len, k.fileSizeLimit() - at);
    const size_max = mapped.sizeMax(k, file.node, at +| wanted);
    if (at >= size_max) return fail(.NOSPC);
    const count = @min(wanted, size_max - at);
    const content = tree.ownContent(file.node, node.size) catch |failure| return errnoOf(failure);
    k.hostCall();
    const rc: i64 = @bitCast(linux.pwrite(content.fd, bytes.ptr, count, @intCast(at)));
    // A host without memory is a file system without room.
    if (rc <= 0) return if (rc == fail(.NOMEM)) fail(.NOSPC) else rc;
    const end = at + @as(u64, @intCast(rc));
    if (end > node.size) tree.setSize(file.node, end);
    node.modified = now(k);
    node.changed = node.modified;
    if (position == null) file.at = end;
    return rc;
}

pub fn resize(k: *Kernel, index: u32, size: u64) i64 {
    if (size > std.math.maxInt(i64)) return fail(.INVAL);
    if (k.files.private.at(index).kind == .directory) return fail(.ISDIR);
    const tree = k.files.ownPrivate() catch return fail(.NOMEM);
    if (size > mapped.sizeMax(k, index, size)) return fail(.NOSPC);
    if (size != tree.at(index).size) k.hostCall();
    tree.resize(index, size) catch |failure| return errnoOf(failure);
    const node = tree.at(index);
    node.modified = now(k);
    node.changed = node.modified;
    return 0;
}

const FALLOC_PUNCH_HOLE_KEEP_SIZE = 3;

pub fn allocate(k: *Kernel, file: *const OpenNode, mode: u64, offset: u64, length: u64) i64 {
    const end_max = std.math.maxInt(i64);
    if (offset > end_max or length == 0 or length > end_max) return fail(.INVAL);
    if (offset + length > end_max) return fail(.FBIG);
    if (mode != 0 and mode != FALLOC_PUNCH_HOLE_KEEP_SIZE) return fail(.OPNOTSUPP);
    const tree = k.files.ownPrivate() catch return fail(.NOMEM);
    const node = tree.at(file.node);
    if (mode == 0 and offset + length > mapped.sizeMax(k, file.node, offset + length)) return fail(.NOSPC);
    if (mode != 0 and node.content == null) return 0;
    const content = tree.ownContent(file.node, node.size) catch |failure| return errnoOf(failure);
    k.hostCall();
    const rc: i64 = @bitCast(linux.fallocate(content.fd, @intCast(mode), @intCast(offset), @intCast(length)));
    if (rc < 0) return if (rc == fail(.NOMEM)) fail(.NOSPC) else rc;
    if (mode == 0 and offset + length > node.size) tree.setSize(file.node, offset + length);
    node.modified = now(k);
    node.changed = node.modified;
    return 0;
}

/// SEEK_DATA and SEEK_HOLE; the others are the caller's.
pub fn seekContent(k: *Kernel, file: *OpenNode, offset: i64, whence: u64) i64 {
    if (whence != content_module.SEEK_DATA and whence != content_module.SEEK_HOLE) return fail(.INVAL);
    const node = k.files.private.at(file.node);
    if (offset < 0 or offset >= node.size) return fail(.NXIO);
    k.hostCall();
    const rc: i64 = @bitCast(linux.lseek(node.content.?.fd, offset, @intCast(whence)));
    if (rc >= 0) file.at = @intCast(rc);
    return rc;
}
