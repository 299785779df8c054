//! What remains to who has broken out: each attempt is made by a process of its own behind a jail.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const jail_module = @import("jail.zig");
const table = @import("../linux/files/table.zig");

const Attempt = *const fn () void;

/// What became of an attempt.
const Fate = union(enum) { refused: linux.E, done, killed: u32 };

const first_errno = 100;

fn answer(rc: usize) void {
    const signed: isize = @bitCast(rc);
    linux.exit_group(if (signed >= 0) 0 else @intCast(first_errno - signed));
}

/// Makes an attempt behind a jail whose machine may read `readable`.
fn fateOf(readable: []const u8, network: bool, attempt: Attempt) !Fate {
    const pid: isize = @bitCast(linux.fork());
    if (pid < 0) return error.HostFailure;
    if (pid == 0) {
        var jail: jail_module.Jail = .begin(.{ .strict = false, .network = network, .split = false });
        const scope = std.heap.page_allocator.create(table.Scope) catch linux.exit_group(99);
        scope.* = .{ .arena = .init(std.heap.page_allocator), .permissions = .{ .read = .{ .paths = &.{readable} } } };
        jail.enter(scope) catch linux.exit_group(98);
        attempt();
        linux.exit_group(97);
    }
    var status: u32 = 0;
    _ = try host.check(linux.wait4(@intCast(pid), &status, 0, null));
    if (status & 0x7f != 0) return .{ .killed = status & 0x7f };
    const code = status >> 8 & 0xff;
    try std.testing.expect(code == 0 or code >= first_errno);
    return if (code == 0) .done else .{ .refused = @enumFromInt(code - first_errno) };
}

const attempts = struct {
    fn readable() void {
        answer(linux.open("/proc/version", .{ .CLOEXEC = true }, 0));
    }
    fn other() void {
        answer(linux.open("/etc/passwd", .{ .CLOEXEC = true }, 0));
    }
    fn make() void {
        answer(linux.open("/tmp/pristine-jail-test", .{ .ACCMODE = .WRONLY, .CREAT = true }, 0o600));
    }
    fn run() void {
        const none = [_:null]?[*:0]const u8{};
        answer(linux.execve("/bin/true", &none, &none));
    }
    fn connects() void {
        answer(linux.socket(linux.AF.INET, linux.SOCK.STREAM, 0));
    }
    fn speaksToKernel() void {
        answer(linux.socket(linux.AF.NETLINK, linux.SOCK.RAW, 0));
    }
    fn traces() void {
        answer(linux.syscall4(.ptrace, 16, @intCast(linux.getppid()), 0, 0));
    }
    fn readsAnother() void {
        answer(linux.syscall6(.process_vm_readv, 1, 0, 0, 0, 0, 0));
    }
    fn signals() void {
        answer(linux.syscall2(.kill, 1, 0));
    }
    fn remounts() void {
        answer(linux.syscall5(.mount, 0, 0, 0, 0, 0));
    }
    fn makesCode() void {
        answer(linux.mmap(null, 4096, .{ .READ = true, .EXEC = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0));
    }
    fn doubles() void {
        answer(linux.fork());
    }
    fn takesPower() void {
        answer(linux.syscall1(.unshare, 0x1000_0000));
    }
};

test "behind a jail only what the machine may is left, and calls that no guest needs end the process" {
    const killed: Fate = .{ .killed = @intFromEnum(linux.SIG.SYS) };
    for ([_]Attempt{ attempts.run, attempts.connects, attempts.traces, attempts.readsAnother, attempts.signals, attempts.remounts, attempts.makesCode, attempts.doubles, attempts.takesPower }) |attempt|
        try std.testing.expectEqual(killed, try fateOf("/proc/version", false, attempt));
    try std.testing.expectEqual(killed, try fateOf("/proc/version", true, attempts.speaksToKernel));
    try std.testing.expectEqual(.done, try fateOf("/proc/version", true, attempts.connects));
    // Without Landlock only the VMM's own checks are left for files.
    if (@import("landlock.zig").version()) |_| {} else |_| return error.SkipZigTest;
    try std.testing.expectEqual(.done, try fateOf("/proc/version", false, attempts.readable));
    try std.testing.expectEqual(Fate{ .refused = .ACCES }, try fateOf("/proc/version", false, attempts.other));
    try std.testing.expectEqual(Fate{ .refused = .ACCES }, try fateOf("/proc/version", false, attempts.make));
}
