//! The system calls: number, name, handler and the shapes of the arguments, one row each.
//!
//! The shapes drive `--trace` and the fuzzer. An unknown number answers ENOSYS and is counted. A new call is one function
//! in its family's file and one row here.
const std = @import("std");
const call_module = @import("call.zig");
const events = @import("events/handlers.zig");
const exec = @import("exec.zig");
const files = @import("files/handlers.zig");
const futex = @import("futex.zig");
const identity = @import("identity.zig");
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const memory = @import("memory.zig");
const privileged = @import("privileged.zig");
const remote_calls = @import("remote_calls.zig");
const scheduling = @import("scheduling.zig");
const signal_calls = @import("signal_calls.zig");
const sockets = @import("sockets/handlers.zig");
const time = @import("time.zig");
const thread_calls = @import("thread_calls.zig");
const timer_calls = @import("timer_calls.zig");
const waiting = @import("waiting.zig");
const Thread = @import("threads.zig").Thread;
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;

const Call = call_module.Call;
pub const Shape = call_module.Shape;
const row = call_module.row;

/// Pristine's own calls, far outside Linux's numbers; see guest/pristine.h.
pub const ready_number = 0x50520001;
pub const generation_number = 0x50520002;

/// What the rows make the host do; the other families stay inside the VMM.
pub const host_calls = [_]call_module.HostCalls{ files.host_calls, sockets.host_calls };

const own_rows = [_]Call{
    row(ready_number, "pristine_ready", identity.ready, &.{}),
    row(generation_number, "pristine_generation", identity.generation, &.{}),
    row(0x50520003, "pristine_export", remote_calls.exportFunction, &.{ .path, .address }),
    row(0x50520004, "pristine_import", remote_calls.import, &.{.path}),
    row(remote_calls.wait_number, "pristine_wait", remote_calls.wait, &.{ .address, .address, .integer, .hex }),
    row(0x50520006, "pristine_reply", remote_calls.reply, &.{.integer}),
    row(remote_calls.resume_number, "pristine_resume", remote_calls.resumeRemote, &.{ .path, .address, .size }),
    row(0x50520008, "pristine_caller_alloc", remote_calls.callerAlloc, &.{.size}),
    row(0x50520009, "pristine_entry", remote_calls.quickEntry, &.{}),
};

const rows = files.rows ++ events.rows ++ sockets.rows ++ privileged.rows ++ [_]Call{
    row(9, "mmap", memory.mmap, &.{ .address, .size, .protection, .map_flags, .descriptor, .offset }),
    row(10, "mprotect", memory.mprotect, &.{ .address, .size, .protection }),
    row(11, "munmap", memory.munmap, &.{ .address, .size }),
    row(12, "brk", memory.brk, &.{.address}),
    row(25, "mremap", memory.mremap, &.{ .address, .size, .size, .hex, .address }),
    row(26, "msync", memory.msync, &.{ .address, .size, .hex }),
    row(28, "madvise", memory.madvise, &.{ .address, .size, .integer }),
    row(149, "mlock", memory.mlock, &.{ .address, .size }),
    row(151, "mlockall", memory.mlockall, &.{.hex}),
    row(152, "munlockall", memory.munlockall, &.{}),
    row(325, "mlock2", memory.mlock2, &.{ .address, .size, .hex }),
    row(150, "munlock", memory.mlock, &.{ .address, .size }),

    row(13, "rt_sigaction", signal_calls.rtSigaction, &.{ .signal, .address, .address, .size }),
    row(14, "rt_sigprocmask", signal_calls.rtSigprocmask, &.{ .integer, .address, .address, .size }),
    row(15, "rt_sigreturn", signal_calls.rtSigreturn, &.{}),
    row(34, "pause", signal_calls.pause, &.{}),
    row(62, "kill", signal_calls.kill, &.{ .integer, .signal }),
    row(128, "rt_sigtimedwait", signal_calls.rtSigtimedwait, &.{ .address, .address, .address, .size }),
    row(129, "rt_sigqueueinfo", signal_calls.rtSigqueueinfo, &.{ .integer, .signal, .address }),
    row(297, "rt_tgsigqueueinfo", signal_calls.rtTgsigqueueinfo, &.{ .integer, .integer, .signal, .address }),
    row(127, "rt_sigpending", signal_calls.rtSigpending, &.{ .address, .size }),
    row(130, "rt_sigsuspend", signal_calls.rtSigsuspend, &.{ .address, .size }),
    row(131, "sigaltstack", signal_calls.sigaltstack, &.{ .address, .address }),
    row(200, "tkill", signal_calls.tkill, &.{ .integer, .signal }),
    row(234, "tgkill", signal_calls.tgkill, &.{ .integer, .integer, .signal }),

    row(36, "getitimer", timer_calls.getitimer, &.{ .interval_timer, .address }),
    row(37, "alarm", timer_calls.alarm, &.{.unsigned}),
    row(38, "setitimer", timer_calls.setitimer, &.{ .interval_timer, .address, .address }),
    row(222, "timer_create", timer_calls.timerCreate, &.{ .clock, .address, .address }),
    row(223, "timer_settime", timer_calls.timerSettime, &.{ .integer, .hex, .address, .address }),
    row(224, "timer_gettime", timer_calls.timerGettime, &.{ .integer, .address }),
    row(225, "timer_getoverrun", timer_calls.timerGetoverrun, &.{.integer}),
    row(226, "timer_delete", timer_calls.timerDelete, &.{.integer}),

    row(135, "personality", scheduling.personality, &.{.hex}),
    row(140, "getpriority", scheduling.getpriority, &.{ .integer, .integer }),
    row(141, "setpriority", scheduling.setpriority, &.{ .integer, .integer, .integer }),
    row(142, "sched_setparam", scheduling.schedSetparam, &.{ .integer, .address }),
    row(143, "sched_getparam", scheduling.schedGetparam, &.{ .integer, .address }),
    row(144, "sched_setscheduler", scheduling.schedSetscheduler, &.{ .integer, .integer, .address }),
    row(145, "sched_getscheduler", scheduling.schedGetscheduler, &.{.integer}),
    row(146, "sched_get_priority_max", scheduling.schedGetPriorityMax, &.{.integer}),
    row(147, "sched_get_priority_min", scheduling.schedGetPriorityMin, &.{.integer}),
    row(203, "sched_setaffinity", scheduling.schedSetaffinity, &.{ .integer, .size, .address }),
    row(24, "sched_yield", thread_calls.schedYield, &.{}),
    row(35, "nanosleep", time.nanosleep, &.{ .address, .address }),
    row(96, "gettimeofday", time.gettimeofday, &.{ .address, .address }),
    row(98, "getrusage", time.getrusage, &.{ .integer, .address }),
    row(100, "times", time.times, &.{.address}),
    row(202, "futex", futex.futex, &.{ .address, .integer, .integer, .address, .address, .integer }),
    row(201, "time", time.time, &.{.address}),
    row(228, "clock_gettime", time.clockGettime, &.{ .clock, .address }),
    row(229, "clock_getres", time.clockGetres, &.{ .clock, .address }),
    row(230, "clock_nanosleep", time.clockNanosleep, &.{ .clock, .hex, .address, .address }),

    row(39, "getpid", identity.getpid, &.{}),
    row(59, "execve", exec.execve, &.{ .path, .address, .address }),
    row(322, "execveat", exec.execveat, &.{ .directory_descriptor, .path, .address, .address, .hex }),
    row(56, "clone", thread_calls.clone, &.{ .hex, .address, .address, .address, .hex }),
    row(60, "exit", thread_calls.exit, &.{.integer}),
    row(435, "clone3", thread_calls.clone3, &.{ .address, .size }),
    row(274, "get_robust_list", thread_calls.getRobustList, &.{ .integer, .address, .address }),
    row(63, "uname", identity.uname, &.{.address}),
    row(97, "getrlimit", identity.getrlimit, &.{ .integer, .address }),
    row(99, "sysinfo", identity.sysinfo, &.{.address}),
    row(102, "getuid", identity.getuid, &.{}),
    row(104, "getgid", identity.getgid, &.{}),
    row(105, "setuid", identity.setUids, &.{.integer}),
    row(106, "setgid", identity.setGids, &.{.integer}),
    row(107, "geteuid", identity.getuid, &.{}),
    row(108, "getegid", identity.getgid, &.{}),
    row(110, "getppid", identity.getppid, &.{}),
    row(111, "getpgrp", identity.getpgrp, &.{}),
    row(109, "setpgid", identity.setpgid, &.{ .integer, .integer }),
    row(112, "setsid", identity.setsid, &.{}),
    row(113, "setreuid", identity.setTwoUids, &.{ .integer, .integer }),
    row(114, "setregid", identity.setTwoGids, &.{ .integer, .integer }),
    row(115, "getgroups", identity.getgroups, &.{ .integer, .address }),
    row(117, "setresuid", identity.setThreeUids, &.{ .integer, .integer, .integer }),
    row(118, "getresuid", identity.getresuid, &.{ .address, .address, .address }),
    row(119, "setresgid", identity.setThreeGids, &.{ .integer, .integer, .integer }),
    row(120, "getresgid", identity.getresgid, &.{ .address, .address, .address }),
    row(121, "getpgid", identity.getProcessGroup, &.{.integer}),
    row(122, "setfsuid", identity.setFileUid, &.{.integer}),
    row(123, "setfsgid", identity.setFileGid, &.{.integer}),
    row(124, "getsid", identity.getProcessGroup, &.{.integer}),
    row(125, "capget", identity.capget, &.{ .address, .address }),
    row(126, "capset", identity.capset, &.{ .address, .address }),
    row(157, "prctl", identity.prctl, &.{ .integer, .hex, .hex, .hex, .hex }),
    row(158, "arch_prctl", identity.archPrctl, &.{ .hex, .address }),
    row(160, "setrlimit", identity.setrlimit, &.{ .integer, .address }),
    row(186, "gettid", thread_calls.gettid, &.{}),
    row(204, "sched_getaffinity", identity.schedGetaffinity, &.{ .integer, .size, .address }),
    row(218, "set_tid_address", thread_calls.setTidAddress, &.{.address}),
    row(231, "exit_group", identity.exitGroup, &.{.integer}),
    row(273, "set_robust_list", thread_calls.setRobustList, &.{ .address, .size }),
    row(302, "prlimit64", identity.prlimit64, &.{ .integer, .integer, .address, .address }),
    row(309, "getcpu", identity.getcpu, &.{ .address, .address, .address }),
    row(318, "getrandom", identity.getrandom, &.{ .bytes_out, .size, .hex }),
};

const by_number = blk: {
    @setEvalBranchQuota(20_000);
    var table: [limits.system_call_numbers]?Call = @splat(null);
    for (rows) |call| {
        if (table[call.number] != null) @compileError("two rows for system call " ++ call.name);
        table[call.number] = call;
    }
    break :blk table;
};

pub fn find(number: u64) ?*const Call {
    if (number < by_number.len) {
        return if (by_number[@intCast(number)]) |*call| call else null;
    }
    for (&own_rows) |*call| {
        if (call.number == number) return call;
    }
    return null;
}

/// Begins one system call of the current thread and counts it; `waiting.blocked` if its thread is to sleep now.
pub fn dispatch(k: *Kernel, number: u64, args: Args) i64 {
    const thread = k.threads.current;
    thread.call = .{ .number = number, .args = args };
    const result = begin(k, number, args);
    if (result == waiting.blocked) {
        thread.call.seen = k.threads.changes;
        thread.call.tries = 1;
        hold(k, thread);
        k.threads.sleep(thread);
    } else forget(k, thread);
    return result;
}

/// Tries the current thread's call again; null if it goes on waiting.
pub fn again(k: *Kernel) ?i64 {
    const thread = k.threads.current;
    const call = &thread.call;
    call.seen = k.threads.changes;
    call.listens = null;
    thread.asks.clear();
    k.files.held = call.held;
    const result = find(call.number).?.handler(k, call.args);
    k.files.held = null;
    call.tries +|= 1;
    hold(k, thread);
    return if (result == waiting.blocked) null else result;
}

/// Ends the call that a thread waits in.
pub fn finish(k: *Kernel, thread: *Thread, result: i64) void {
    thread.regs.rax = @bitCast(result);
    thread.answered = .{ .number = thread.call.number, .result = result };
    forget(k, thread);
    k.threads.wake(thread);
}

/// A call that waits keeps the file of its descriptor open.
fn hold(k: *Kernel, thread: *Thread) void {
    const call = &thread.call;
    const shapes = find(call.number).?.shapes;
    if (call.held != null or shapes.len == 0 or shapes[0] != .descriptor) return;
    const fd: i32 = @bitCast(@as(u32, @truncate(call.args[0])));
    const description = k.files.get(fd) orelse return;
    description.references += 1;
    call.held = .{ .fd = fd, .description = description };
}

fn forget(k: *Kernel, thread: *Thread) void {
    k.letGo(thread);
    thread.timed = thread.call.deadline != null;
    thread.call = .{};
    thread.asks.clear();
}

fn begin(k: *Kernel, number: u64, args: Args) i64 {
    k.counters.syscalls += 1;
    const index: usize = @intCast(@min(number, limits.system_call_numbers - 1));
    k.counters.by_number[index] +%= 1;
    const call = find(number) orelse {
        k.counters.unsupported[index] +%= 1;
        return kernel_module.fail(.NOSYS);
    };
    return call.handler(k, args);
}
