//! Starting the worker executable, from a process with threads of its own (posix_spawn(3)).
const std = @import("std");
const linux = std.os.linux;
const channel = @import("channel.zig");
const config_module = @import("../abi/config.zig");
const host = @import("../host.zig");

/// glibc's structure is smaller; only it looks inside.
const FileActions = extern struct { opaque_bytes: [256]u8 align(16) };
extern "c" fn posix_spawn(pid: *i32, path: [*:0]const u8, actions: *const FileActions, attributes: ?*anyopaque, argv: [*:null]const ?[*:0]const u8, environment: [*:null]const ?[*:0]const u8) c_int;
extern "c" fn posix_spawn_file_actions_init(actions: *FileActions) c_int;
extern "c" fn posix_spawn_file_actions_destroy(actions: *FileActions) c_int;
extern "c" fn posix_spawn_file_actions_adddup2(actions: *FileActions, from: c_int, to: c_int) c_int;
extern "c" fn posix_spawn_file_actions_addopen(actions: *FileActions, fd: c_int, path: [*:0]const u8, flags: c_int, mode: c_uint) c_int;

const O_RDWR = 2;
/// Above the worker's own, so that none is overwritten before it has been copied.
const out_of_the_way = 64;

/// Starts it with three descriptors, of the channel's socket, its memory and the eventfd; its process id.
pub fn start(config: *const config_module.WorkerConfig, descriptors: [3]i32) (host.Error || error{NotFound})!i32 {
    var path_buffer: [4096]u8 = undefined;
    const path = std.fmt.bufPrintZ(&path_buffer, "{s}", .{config.path}) catch return error.NotFound;
    var moved: [3]i32 = @splat(-1);
    defer for (moved) |fd| host.close(fd);
    const dupfd_cloexec = 1030;
    for (&moved, descriptors) |*fd, from| fd.* = @intCast(try host.check(linux.fcntl(from, dupfd_cloexec, out_of_the_way)));
    var actions: FileActions = undefined;
    if (posix_spawn_file_actions_init(&actions) != 0) return error.HostFailure;
    defer _ = posix_spawn_file_actions_destroy(&actions);
    var failed: c_int = 0;
    for (moved, [_]c_int{ channel.socket_fd, channel.memory_fd, channel.events_fd }) |from, to| failed |= posix_spawn_file_actions_adddup2(&actions, from, to);
    for ([_]c_int{ 0, 1 }) |fd| failed |= posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    if (failed != 0) return error.HostFailure;
    const argv = [_:null]?[*:0]const u8{ path, if (config.jail) "jail" else "plain", if (config.network) "network" else "inside", if (config.split) "split" else "single", if (config.strict) "strict" else "best" };
    // Nothing of this process's environment is in a worker.
    const environment = [_:null]?[*:0]const u8{};
    var pid: i32 = 0;
    const status = posix_spawn(&pid, path, &actions, null, &argv, &environment);
    if (status == @intFromEnum(linux.E.NOENT)) return error.NotFound;
    if (status != 0) {
        host.last_errno = @enumFromInt(status);
        return error.HostFailure;
    }
    return pid;
}

/// The process id of a process's parent; 0 if it is not known.
pub fn parentOf(pid: i32) i32 {
    var path: [64]u8 = undefined;
    const name = std.fmt.bufPrintZ(&path, "/proc/{d}/stat", .{pid}) catch unreachable;
    const fd: i32 = @intCast(host.check(linux.open(name, .{ .CLOEXEC = true }, 0)) catch return 0);
    defer host.close(fd);
    var bytes: [512]u8 = undefined;
    const text = bytes[0 .. host.check(linux.read(fd, &bytes, bytes.len)) catch return 0];
    // "pid (name) state ppid", where the name may hold anything.
    const behind = std.mem.lastIndexOfScalar(u8, text, ')') orelse return 0;
    var words = std.mem.tokenizeScalar(u8, text[behind + 1 ..], ' ');
    _ = words.next();
    return std.fmt.parseInt(i32, words.next() orelse return 0, 10) catch 0;
}
