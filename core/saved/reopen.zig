//! What a saved machine had open on the host, opened again: by the guest's own paths, under the permissions of whoever opens
//! the snapshot, and only if it is the same. The snapshot itself grants nothing.
const std = @import("std");
const linux = std.os.linux;
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const host_socket = @import("../linux/sockets/host_socket.zig");
const paths = @import("../linux/paths.zig");
const records = @import("records.zig");
const Content = @import("../linux/files/private/content.zig").Content;
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const FileTable = @import("../linux/files/table.zig").FileTable;
const HostFile = @import("../host_file.zig").HostFile;
const Kernel = @import("../linux/kernel.zig").Kernel;
const Socket = @import("../linux/sockets/socket.zig").Socket;

/// `Refused`: the record says why.
pub const Error = error{ OutOfMemory, HostFailure, Refused };

/// Why the last one was refused.
pub threadlocal var record: ?*errors.Record = null;

fn refuse(code: errors.Code, comptime message: []const u8, path: []const u8, hint: []const u8, details: anytype) error{Refused} {
    _ = record.?.format(code, message, .{path[0..@min(path.len, 1024)]}, hint, details);
    return error.Refused;
}

fn refuseFile(path: []const u8, writes: bool) error{Refused} {
    return refuse(.DENIED, "the snapshot has {s} open, which is not permitted", path, "permit it when you open the snapshot: `permissions.read` or `.write` (--allow-read, --allow-write)", .{ .permission = if (writes) "write" else "read", .resource = path });
}

const Opened = union(enum) { fd: i32, missing, denied };

fn openPath(files: *FileTable, path: []const u8, flags: u64, writes: bool) Opened {
    const space = files.namespace();
    var place: paths.Place = .{};
    space.resolve("/", path, true, &place) catch |failure| return if (failure == error.Denied) .denied else .missing;
    var at: paths.HostPlace = undefined;
    space.hostPlace(place.path(), &at) catch return .missing;
    if (!space.allows(.read, &at) or writes and !space.allows(.write, &at)) return .denied;
    const non_blocking = 0o4000;
    const no_terminal = 0o400;
    const rc = at.open(flags | non_blocking | no_terminal, 0);
    return if (rc < 0) .missing else .{ .fd = @intCast(rc) };
}

/// A file that open files or mappings refer to. One that only mappings refer to may be absent: what the snapshot has of it is
/// all there is then.
pub fn file(allocator: std.mem.Allocator, files: *FileTable, saved: *const records.File, contents: []const *Content, is_open: bool) Error!*HostFile {
    if (saved.isCopy()) return copy(allocator, saved, contents[saved.content.?]);
    if (saved.content) |number| return HostFile.ofContent(allocator, contents[number], saved.path);
    const writes = saved.access != 0;
    // A program that was given as bytes has no path.
    if (!std.mem.startsWith(u8, saved.path, "/")) return absent(allocator, saved.path);
    const fd = switch (openPath(files, saved.path, saved.access, writes)) {
        .fd => |fd| fd,
        .denied => return if (is_open) refuseFile(saved.path, writes) else absent(allocator, saved.path),
        // Where a machine has files of its own, the host's do not show, and it found its program all the same.
        .missing => return if (!is_open and !files.scope.permissions.allows(.read, saved.path)) absent(allocator, saved.path) else refuse(.SNAPSHOT_INVALID, "the snapshot needs {s}, which is not there any more", saved.path, "put the file back, or take the snapshot again", .{ .section = "files" }),
    };
    const made = try HostFile.create(allocator, fd, saved.path);
    errdefer made.release(allocator);
    const mode = paths.modeOf(fd) orelse 0;
    const facts = made.facts();
    // What is open for writing changes by being used.
    if (mode & linux.S.IFMT != linux.S.IFREG or !writes and (facts.bytes != saved.bytes or facts.modified_ns != saved.modified_ns))
        return refuse(.SNAPSHOT_INVALID, "{s} has changed since the snapshot was taken", saved.path, "put the file back as it was, or take the snapshot again", .{ .section = "files" });
    return made;
}

/// The snapshot's copy of a file. All forks have the same one, so nobody may write to it, whatever the guest does with its
/// descriptor; it grants nothing of the host's.
fn copy(allocator: std.mem.Allocator, saved: *const records.File, content: *const Content) Error!*HostFile {
    const modified: linux.timespec = .{ .sec = @intCast(@divFloor(saved.modified_ns, std.time.ns_per_s)), .nsec = @intCast(@mod(saved.modified_ns, std.time.ns_per_s)) };
    const omitted: linux.timespec = .{ .sec = 0, .nsec = utime_omit };
    // A time that no file can have is no reason to refuse it.
    _ = linux.syscall4(.utimensat, @intCast(content.fd), 0, @intFromPtr(&[2]linux.timespec{ omitted, modified }), 0);
    _ = try host.check(linux.fchmod(content.fd, 0o555));
    FrameImage.seal(content.fd) catch |failure| {
        // The same file is open once more: it is sealed already.
        if (host.last_errno != .PERM) return failure;
    };
    var buffer: [32]u8 = undefined;
    const name = std.fmt.bufPrintZ(&buffer, "/proc/self/fd/{d}", .{content.fd}) catch unreachable;
    const made = try HostFile.create(allocator, @intCast(try host.check(linux.open(name, .{ .CLOEXEC = true }, 0))), saved.path);
    made.copied = true;
    return made;
}

/// utimensat(2).
const utime_omit = 0x3fff_fffe;

/// Reading it fails, as reading behind the end of a file does.
fn absent(allocator: std.mem.Allocator, path: []const u8) Error!*HostFile {
    const fd: i32 = @intCast(try host.check(linux.memfd_create("pristine-absent", linux.MFD.CLOEXEC)));
    return HostFile.create(allocator, fd, path);
}

pub fn directory(files: *FileTable, path: []const u8, place: u64) Error!i32 {
    const O_DIRECTORY = 0o200000;
    return switch (openPath(files, path, O_DIRECTORY, false)) {
        .fd => |fd| {
            if (place > 0) _ = linux.lseek(fd, @intCast(place & std.math.maxInt(i63)), linux.SEEK.SET);
            return fd;
        },
        .denied => refuseFile(path, false),
        .missing => refuse(.SNAPSHOT_INVALID, "the snapshot has the folder {s} open, which is not there any more", path, "put the folder back, or take the snapshot again", .{ .section = "files" }),
    };
}

/// Listeners of the host's are bound again, where whoever opens the snapshot permits it.
pub fn listener(kernel: *Kernel, socket: *Socket) Error!void {
    var buffer: [128]u8 = undefined;
    switch (socket.local) {
        .ip => |ip| {
            const name = std.fmt.bufPrint(&buffer, "{f}", .{ip}) catch "";
            if (!kernel.files.scope.network.allows(.listen, &ip)) return refuse(.DENIED, "the snapshot listens at {s}, which is not permitted", name, "permit it when you open the snapshot: `permissions.listen` (--allow-listen)", .{ .permission = "listen", .resource = name });
            if (host_socket.ensure(kernel, socket) < 0) return error.HostFailure;
            const backlog: u32 = if (socket.state == .listening) socket.backlog else 0;
            if (socket.host.?.bind(socket.family, &socket.local) < 0 or socket.state == .listening and linux.listen(socket.host.?.fd, backlog) != 0)
                return refuse(.BAD_OPTION, "the snapshot listens at {s}, which cannot be bound", name, "end whoever listens there", .{ .option = "permissions" });
        },
        // Its name was a file, which others may have taken since.
        else => return refuse(.UNSUPPORTED, "the snapshot has a socket of the host at a path{s}", "", "let the program listen at a TCP port before the snapshot is taken", .{ .feature = "unix" }),
    }
}
