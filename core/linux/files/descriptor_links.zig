//! /proc/self/fd/N: the guest's own descriptors by name. What is opened is what the guest has open, with the rights of the
//! path it was opened by; the host's descriptors have no names here.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../host.zig");
const HostFile = @import("../../host_file.zig").HostFile;
const kernel_module = @import("../kernel.zig");
const layers = @import("private/layers.zig");
const names = @import("names.zig");
const objects = @import("../events/objects.zig");
const opening = @import("opening.zig");
const paths = @import("../paths.zig");
const private_names = @import("private/names.zig");
const private_open = @import("private/open.zig");
const table = @import("table.zig");
const Kernel = kernel_module.Kernel;
const Lookup = names.Lookup;
const OpenError = opening.OpenError;
const Target = names.Target;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
const O_CREAT = opening.O_CREAT;
const O_EXCL = opening.O_EXCL;
const O_TRUNC = opening.O_TRUNC;
const O_DIRECTORY = opening.O_DIRECTORY;
const O_NOFOLLOW = opening.O_NOFOLLOW;
const O_CLOEXEC = opening.O_CLOEXEC;

/// A file or folder is opened anew, with the rights of the path by which the guest has opened it; anything
/// else is the same open file once more, which keeps the access it has.
pub fn open(k: *Kernel, lookup: *Lookup, open_file: *table.Description, flags: u64, mode: u64) OpenError!*table.Description {
    if (flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL) return error.Exists;
    if (flags & O_NOFOLLOW != 0) return error.Loop;
    switch (open_file.kind) {
        .private_file, .private_directory => |node| return private_open.openNode(k, lookup, node.node, .{ .path = open_file.path }, flags, mode),
        .socket => if (flags & paths.O_PATH == 0) return lookup.failWith(fail(.NXIO)),
        else => {},
    }
    const is_directory = open_file.kind == .host_directory or open_file.kind == .synthetic_directory;
    if (flags & O_DIRECTORY != 0 and !is_directory) return error.NotDirectory;
    const reads = flags & (paths.O_PATH | 3) != 1;
    const writes = flags & paths.O_PATH == 0 and (flags & 3 != 0 or flags & O_TRUNC != 0);
    const host_fd = switch (open_file.kind) {
        .host_file => |file| file.file.fd,
        .host_directory => |directory| directory.fd,
        else => {
            if (flags & paths.O_PATH == 0 and (reads and !open_file.mayRead() or writes and !open_file.mayWrite())) return error.Denied;
            open_file.references += 1;
            return open_file;
        },
    };
    var target: Target = .{};
    if (writes and layers.findOpened(k, open_file, &target)) return private_open.open(k, lookup, &target, flags, mode);
    k.files.namespace().hostPlace(open_file.path, &target.at) catch |failure| return lookup.failWith(paths.errnoOf(failure));
    // A folder that is open was found to be one the guest may know of; what it lists is decided entry by entry.
    if (reads and !is_directory) try lookup.demand(&target, .read);
    if (writes) try lookup.demand(&target, .write);
    switch ((paths.modeOf(host_fd) orelse return lookup.failWith(fail(.IO))) & linux.S.IFMT) {
        linux.S.IFREG, linux.S.IFDIR => {},
        linux.S.IFLNK => return error.Loop,
        else => if (flags & paths.O_PATH == 0) return error.Denied,
    }
    var buffer: [64:0]u8 = undefined;
    const name = std.fmt.bufPrintZ(&buffer, "/proc/self/fd/{d}", .{host_fd}) catch unreachable;
    const wanted = if (flags & paths.O_PATH != 0) flags else flags & (opening.host_open_flags & ~@as(u64, O_CREAT | O_EXCL)) | table.O_NONBLOCK | 0o400;
    k.hostCall();
    const rc: i64 = @bitCast(linux.syscall4(.openat, @bitCast(@as(i64, AT_FDCWD)), @intFromPtr(name.ptr), wanted | O_CLOEXEC, 0));
    if (rc < 0) return lookup.failWith(rc);
    const status_flags: u32 = @truncate(flags & ~@as(u64, O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC));
    if (is_directory) {
        errdefer host.close(@intCast(rc));
        const at: ?u64 = if (open_file.kind.host_directory.at == null) null else 0;
        return opening.createDirectory(k, @intCast(rc), open_file.path, status_flags, at);
    }
    const file = try HostFile.create(k.files.allocator, @intCast(rc), open_file.path);
    errdefer file.release(k.files.allocator);
    file.copied = open_file.kind.host_file.file.copied;
    return k.files.create(.{ .host_file = .{ .file = file } }, status_flags, open_file.path);
}

/// Where /proc/self/fd/N points: the path the guest knows, or what Linux calls a file without one.
pub fn textOf(k: *Kernel, target: *const Target, buffer: *[paths.path_max]u8) []const u8 {
    const description = k.files.get(k.files.namespace().descriptorAt(target.place.path()).?).?;
    return switch (description.kind) {
        .host_directory, .host_file, .device, .text, .synthetic_directory => description.path,
        .private_file, .private_directory => |open_node| private_names.pathOfOpened(k, open_node.node, description.path, buffer),
        .epoll, .event, .timer, .signals => objects.nameOf(description),
        .socket => |socket| std.fmt.bufPrint(buffer, "socket:[{d}]", .{socket.number}) catch unreachable,
        .pipe_read, .pipe_write, .output, .host_stream => std.fmt.bufPrint(buffer, "pipe:[{d}]", .{k.files.streamNumber(description)}) catch unreachable,
    };
}

/// An O_PATH descriptor of a link is read by an empty path.
pub fn textOfOpened(lookup: *Lookup, fd: i32, buffer: *[paths.path_max]u8) names.Failed![]const u8 {
    const description = lookup.k.files.get(fd) orelse return lookup.failWith(if (fd == AT_FDCWD) fail(.NOENT) else fail(.BADF));
    if (description.kind == .private_file and description.isPathOnly()) {
        const node = lookup.k.files.private.at(description.kind.private_file.node);
        return if (node.kind == .link) node.target else lookup.failWith(fail(.NOENT));
    }
    if (description.kind != .host_file or !description.isPathOnly()) return lookup.failWith(fail(.NOENT));
    lookup.k.hostCall();
    const length: i64 = @bitCast(linux.readlinkat(description.kind.host_file.file.fd, "", buffer, buffer.len));
    return if (length < 0) lookup.failWith(length) else buffer[0..@intCast(length)];
}
