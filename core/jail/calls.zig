//! The system calls that a worker may make: what the VMM itself needs, and what the rows of the system-call table do on the host
//! for the guests that it has.
const std = @import("std");
const linux = std.os.linux;
const seccomp = @import("seccomp.zig");
const table = @import("../linux/table.zig");
const Check = seccomp.Check;
const Rule = seccomp.Rule;

pub const Needs = struct {
    /// A machine may write on the host.
    writes: bool,
    network: bool,
    /// The process will still be doubled.
    doubles: bool,
};

/// Memory, threads, timers and events of the VMM's own, whatever the guest does.
const own = [_]linux.SYS{
    .brk,          .clock_getres,   .clock_gettime, .clock_nanosleep, .close,           .epoll_pwait,     .exit,        .exit_group,
    .fallocate,    .fcntl,          .ftruncate,     .futex,           .getegid,         .geteuid,         .getpid,      .getrandom,
    .getrusage,    .gettid,         .lseek,         .madvise,         .memfd_create,    .membarrier,      .mremap,      .munmap,
    .nanosleep,    .poll,           .ppoll,         .pread64,         .pwrite64,        .read,            .recvmsg,     .restart_syscall,
    .rt_sigaction, .rt_sigprocmask, .rt_sigreturn,  .sched_yield,     .set_robust_list, .set_tid_address, .sigaltstack, .statx,
    .timer_create, .timer_delete,   .timer_settime, .write,           .writev,
};

/// Only after the process has been doubled is its number known to the filter.
const of_a_process = [_]linux.SYS{ .tgkill, .tkill, .process_vm_readv, .process_vm_writev };

const PROT_EXEC = 4;
const CLONE_VM_THREAD = 0x0001_0100;
const PR_SET_NAME = 15;
const PR_SET_VMA = 0x5356_4d41;
/// The upper half of a request's number below its size: the device's letter.
const kvm_requests = 0xae00;
const pagemap_scan: u32 = 0xc060_6610;
const FIONREAD = 0x541b;
const TCGETS = 0x5401;
const TIOCGWINSZ = 0x5413;

const checked = [_]Rule{
    .{ .call = .mmap, .checks = &.{.{ .argument = 2, .how = .has_none, .value = PROT_EXEC }} },
    .{ .call = .mprotect, .checks = &.{.{ .argument = 2, .how = .has_none, .value = PROT_EXEC }} },
    .{ .call = .clone, .checks = &.{.{ .argument = 0, .how = .has_all, .value = CLONE_VM_THREAD }} },
    .{ .call = .prctl, .checks = &.{.{ .argument = 0, .how = .equals, .value = PR_SET_NAME }} },
    .{ .call = .prctl, .checks = &.{.{ .argument = 0, .how = .equals, .value = PR_SET_VMA }} },
    .{ .call = .ioctl, .checks = &.{ .{ .argument = 1, .how = .has_all, .value = kvm_requests }, .{ .argument = 1, .how = .has_none, .value = 0x5100 } } },
    .{ .call = .ioctl, .checks = &.{.{ .argument = 1, .how = .equals, .value = pagemap_scan }} },
    .{ .call = .ioctl, .checks = &.{.{ .argument = 1, .how = .equals, .value = FIONREAD }} },
    .{ .call = .ioctl, .checks = &.{.{ .argument = 1, .how = .equals, .value = TCGETS }} },
    .{ .call = .ioctl, .checks = &.{.{ .argument = 1, .how = .equals, .value = TIOCGWINSZ }} },
};

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;

const sockets = [_]Rule{
    .{ .call = .socket, .checks = &.{.{ .argument = 0, .how = .equals, .value = AF_UNIX }} },
    .{ .call = .socket, .checks = &.{.{ .argument = 0, .how = .equals, .value = AF_INET }} },
    .{ .call = .socket, .checks = &.{.{ .argument = 0, .how = .equals, .value = AF_INET6 }} },
};

const rules_max = 256;

pub const List = struct {
    list: [rules_max]Rule = undefined,
    length: usize = 0,
    /// Where the checks of its own rules are.
    own_process: [1]Check = undefined,

    pub fn rules(self: *const List) []const Rule {
        return self.list[0..self.length];
    }

    fn add(self: *List, rule: Rule) void {
        self.list[self.length] = rule;
        self.length += 1;
    }

    fn addCalls(self: *List, more: []const linux.SYS) void {
        for (more) |call| if (!self.has(call)) self.add(.{ .call = call });
    }

    pub fn has(self: *const List, call: linux.SYS) bool {
        for (self.rules()) |rule| if (rule.call == call) return true;
        return false;
    }

    pub fn distinct(self: *const List) usize {
        var count: usize = 0;
        for (self.rules(), 0..) |rule, index| {
            for (self.list[0..index]) |before| {
                if (before.call == rule.call) break;
            } else count += 1;
        }
        return count;
    }

    pub fn fill(self: *List, needs: Needs) void {
        self.own_process = .{.{ .argument = 0, .how = .equals, .value = @intCast(linux.getpid()) }};
        for (checked) |rule| self.add(rule);
        for (of_a_process) |call| self.add(.{ .call = call, .checks = if (needs.doubles) &.{} else &self.own_process });
        self.addCalls(&own);
        if (needs.doubles) {
            self.addCalls(&.{ .fork, .seccomp });
            // A further filter is the only thing that it still asks of it.
        }
        for (table.host_calls) |family| {
            self.addCalls(family.reads);
            if (needs.writes) self.addCalls(family.writes);
            if (needs.network) self.addCalls(family.network);
        }
        if (needs.network) for (sockets) |rule| self.add(rule);
    }
};

test "a jail without rights makes no socket, writes no file and runs no program" {
    var list: List = .{};
    list.fill(.{ .writes = false, .network = false, .doubles = false });
    for ([_]linux.SYS{ .execve, .execveat, .fork, .vfork, .clone3, .ptrace, .socket, .connect, .bind, .unlinkat, .renameat2, .mkdirat, .mount, .unshare, .setns, .bpf, .seccomp, .prlimit64, .kill, .pidfd_getfd, .io_uring_setup }) |call|
        try std.testing.expect(!list.has(call));
    for ([_]linux.SYS{ .openat2, .ioctl, .futex, .memfd_create, .ppoll }) |call| try std.testing.expect(list.has(call));
    var more: List = .{};
    more.fill(.{ .writes = true, .network = true, .doubles = false });
    for ([_]linux.SYS{ .socket, .connect, .unlinkat, .renameat2 }) |call| try std.testing.expect(more.has(call));
    try std.testing.expect(!more.has(.execve));
}
