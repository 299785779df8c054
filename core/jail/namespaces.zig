//! Namespaces of its own for this process, as many as the host permits, and no capabilities.
//!
//! Source: namespaces(7), user_namespaces(7), capabilities(7).
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");

const NEWNS = 0x0002_0000;
const NEWUTS = 0x0400_0000;
const NEWIPC = 0x0800_0000;
const NEWUSER = 0x1000_0000;
const NEWNET = 0x4000_0000;

pub const Got = struct {
    names: []const u8,
    /// Why there is no namespace of users, and with it none of the others; `SUCCESS` when there is.
    refused: linux.E = .SUCCESS,
};

/// Moves this process, which must have one thread. Without the host's network, its own has not even a loopback that is up.
pub fn enter(has_network: bool) Got {
    const wanted: usize = NEWNS | NEWUTS | NEWIPC | @as(usize, if (has_network) 0 else NEWNET);
    const user = linux.geteuid();
    const group = linux.getegid();
    const names = if (has_network) "mount, uts, ipc" else "mount, uts, ipc, net";
    if (host.check(linux.unshare(wanted | NEWUSER))) |_| {
        mapUser(user, group);
        dropCapabilities();
        return .{ .names = if (has_network) "user, mount, uts, ipc" else "user, mount, uts, ipc, net" };
    } else |_| {}
    const refused = host.last_errno;
    // A process that may everything needs no namespace of users for the others.
    const got = if (host.check(linux.unshare(wanted))) |_| names else |_| "";
    dropCapabilities();
    return .{ .names = got, .refused = refused };
}

/// Its own user and group keep their numbers; all others are nobody's.
fn mapUser(user: u32, group: u32) void {
    writeText("/proc/self/setgroups", "deny");
    var buffer: [64]u8 = undefined;
    writeText("/proc/self/uid_map", std.fmt.bufPrint(&buffer, "{d} {d} 1", .{ user, user }) catch unreachable);
    writeText("/proc/self/gid_map", std.fmt.bufPrint(&buffer, "{d} {d} 1", .{ group, group }) catch unreachable);
}

fn writeText(path: [*:0]const u8, text: []const u8) void {
    const fd: i32 = @intCast(host.check(linux.open(path, .{ .ACCMODE = .WRONLY, .CLOEXEC = true }, 0)) catch return);
    defer host.close(fd);
    _ = linux.write(fd, text.ptr, text.len);
}

fn dropCapabilities() void {
    const Header = extern struct { version: u32, pid: i32 };
    const Data = extern struct { effective: u32 = 0, permitted: u32 = 0, inheritable: u32 = 0 };
    const version_3 = 0x2008_0522;
    const header: Header = .{ .version = version_3, .pid = 0 };
    const none: [2]Data = .{ .{}, .{} };
    _ = linux.syscall2(.capset, @intFromPtr(&header), @intFromPtr(&none));
}
