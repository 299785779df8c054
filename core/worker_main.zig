//! The worker executable: the core without an embedder in its process. It is started with its descriptors in place
//! (`worker/spawn.zig`) and serves one embedder until that goes away.
const std = @import("std");
const linux = std.os.linux;
const channel = @import("worker/channel.zig");
const host = @import("host.zig");
const jail = @import("jail/jail.zig");
const self_module = @import("worker/self.zig");
const serve = @import("worker/serve.zig");
const touched = @import("memory/touched.zig");
const abi_version = @import("abi/version.zig").abi_version;

const usage = "pristine-worker is started by Pristine; it is of no use by itself\n";

pub fn main(init: std.process.Init.Minimal) u8 {
    var words: [4][]const u8 = undefined;
    var arguments = init.args.iterate();
    _ = arguments.skip();
    for (&words) |*word| word.* = arguments.next() orelse return misused();
    const shared = channel.map(channel.memory_fd) catch return misused();
    host.close(channel.memory_fd);
    endWithParent();
    const has_jail = std.mem.eql(u8, words[0], "jail");
    self_module.self = .{
        .shared = shared,
        .socket = channel.socket_fd,
        .events = channel.events_fd,
        .jail = if (has_jail) .begin(.{
            .network = std.mem.eql(u8, words[1], "network"),
            .split = std.mem.eql(u8, words[2], "split"),
            .strict = std.mem.eql(u8, words[3], "strict"),
        }) else null,
    };
    touched.openPageMap();
    shared.abi_version = abi_version;
    serve.run();
}

fn misused() u8 {
    _ = linux.write(2, usage, usage.len);
    return 125;
}

/// Descriptors that the embedder had open are none of its business; its end is also this process's; doubles are not awaited.
fn endWithParent() void {
    for ([_]i32{ channel.socket_fd, channel.events_fd }) |fd| _ = linux.fcntl(fd, F_SETFD, linux.FD_CLOEXEC);
    _ = linux.syscall3(.close_range, channel.events_fd + 1, std.math.maxInt(u32), 0);
    const SET_PDEATHSIG = 1;
    _ = linux.prctl(SET_PDEATHSIG, @intFromEnum(linux.SIG.KILL), 0, 0, 0);
    const Action = extern struct { handler: usize, flags: u64 = 0, restorer: usize = 0, mask: u64 = 0 };
    const ignored: Action = .{ .handler = 1 };
    _ = linux.syscall4(.rt_sigaction, @intFromEnum(linux.SIG.CHLD), @intFromPtr(&ignored), 0, 8);
    for ([_]linux.SIG{ .INT, .TERM, .HUP, .PIPE }) |signal| _ = linux.syscall4(.rt_sigaction, @intFromEnum(signal), @intFromPtr(&ignored), 0, 8);
}

const F_SETFD = 2;
