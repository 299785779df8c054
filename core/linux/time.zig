//! Clocks, sleeps and the process's own timers. Clock reads normally never get here: the vDSO answers them in the guest.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const kernel_module = @import("kernel.zig");
const timers = @import("timers.zig");
const Thread = @import("threads.zig").Thread;
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

pub const Timespec = extern struct { sec: i64, nsec: i64 };
const Timeval = extern struct { sec: i64, usec: i64 };
const ns_per_s = std.time.ns_per_s;

pub const Clock = enum(u32) { realtime = 0, monotonic = 1, process_cpu = 2, thread_cpu = 3, monotonic_raw = 4, realtime_coarse = 5, monotonic_coarse = 6, boottime = 7, tai = 11 };

pub fn clockOf(value: u64) ?Clock {
    const id: i32 = @bitCast(@as(u32, @truncate(value)));
    // clock_getcpuclockid(3): the complement of a process id, then the kind. Only the guest itself is there to be measured.
    if (id < 0) return if (id >> 3 == -1 and id & 3 != 3) (if (id & 4 != 0) .thread_cpu else .process_cpu) else null;
    return std.enums.fromInt(Clock, @as(u32, @truncate(value)));
}

fn nowNs(k: *Kernel, clock: Clock) u64 {
    return switch (clock) {
        .realtime, .realtime_coarse, .tai => k.clock.realtimeNs(),
        .monotonic, .monotonic_raw, .monotonic_coarse => k.clock.monotonicNs(),
        .boottime => k.clock.boottimeNs(),
        // A machine's CPU time is the time it spent in the guest and in the VMM for it.
        .process_cpu => k.cpuTimeNs(),
        .thread_cpu => k.threadCpuNs(k.threads.current),
    };
}

pub fn toTimespec(ns: u64) Timespec {
    return .{ .sec = @intCast(ns / ns_per_s), .nsec = @intCast(ns % ns_per_s) };
}

/// Nanoseconds of a valid time; null for a negative or malformed one.
pub fn fromTimespec(ts: Timespec) ?u64 {
    if (ts.sec < 0 or ts.nsec < 0 or ts.nsec >= ns_per_s) return null;
    return @as(u64, @intCast(ts.sec)) *| ns_per_s +| @as(u64, @intCast(ts.nsec));
}

/// The CPU time of a thread by its id, as pthread_getcpuclockid(3) names it; null if the clock is none of those.
fn threadOfClock(k: *const Kernel, value: u64) ?*Thread {
    const id: i32 = @bitCast(@as(u32, @truncate(value)));
    if (id >= 0 or id & 7 != 6) return null;
    return k.threads.find(~(id >> 3));
}

pub fn clockGettime(k: *Kernel, a: Args) i64 {
    if (threadOfClock(k, a[0])) |thread| {
        k.memory.writeValue(a[1], toTimespec(k.threadCpuNs(thread))) catch return fail(.FAULT);
        return 0;
    }
    const clock = clockOf(a[0]) orelse return fail(.INVAL);
    k.memory.writeValue(a[1], toTimespec(nowNs(k, clock))) catch return fail(.FAULT);
    return 0;
}

pub fn clockGetres(k: *Kernel, a: Args) i64 {
    const clock = clockOf(a[0]) orelse return fail(.INVAL);
    const coarse = clock == .realtime_coarse or clock == .monotonic_coarse;
    const resolution: Timespec = .{ .sec = 0, .nsec = if (coarse) 4_000_000 else 1 };
    if (a[1] != 0) k.memory.writeValue(a[1], resolution) catch return fail(.FAULT);
    return 0;
}

pub fn gettimeofday(k: *Kernel, a: Args) i64 {
    const ns = k.clock.realtimeNs();
    if (a[0] != 0) k.memory.writeValue(a[0], Timeval{ .sec = @intCast(ns / ns_per_s), .usec = @intCast(ns % ns_per_s / 1000) }) catch return fail(.FAULT);
    if (a[1] != 0) k.memory.writeValue(a[1], [2]i32{ 0, 0 }) catch return fail(.FAULT);
    return 0;
}

pub fn time(k: *Kernel, a: Args) i64 {
    const seconds: i64 = @intCast(k.clock.realtimeNs() / ns_per_s);
    if (a[0] != 0) k.memory.writeValue(a[0], seconds) catch return fail(.FAULT);
    return seconds;
}

/// Sleeps until the call's time is over; on a signal what is left of a span is written to `rest_address`.
fn sleep(k: *Kernel, rest_address: u64) i64 {
    if (k.isTimeOver()) return 0;
    const result = k.block();
    if (result != fail(.INTR) or rest_address == 0) return result;
    const deadline = k.threads.current.call.deadline.?;
    k.memory.writeValue(rest_address, toTimespec(deadline.ns -| k.clockNs(deadline.clock))) catch return fail(.FAULT);
    return result;
}

pub fn nanosleep(k: *Kernel, a: Args) i64 {
    const wanted = k.memory.readValue(Timespec, a[0]) catch return fail(.FAULT);
    const ns = fromTimespec(wanted) orelse return fail(.INVAL);
    k.waitDeadline(.monotonic, .span, ns);
    return sleep(k, a[1]);
}

const TIMER_ABSTIME = 1;

pub fn clockNanosleep(k: *Kernel, a: Args) i64 {
    const clock: timers.Clock = switch (clockOf(a[0]) orelse return fail(.INVAL)) {
        .realtime, .tai => .realtime,
        .monotonic => .monotonic,
        .boottime => .boottime,
        .thread_cpu, .process_cpu, .monotonic_raw, .realtime_coarse, .monotonic_coarse => return fail(.OPNOTSUPP),
    };
    const wanted = k.memory.readValue(Timespec, a[2]) catch return fail(.FAULT);
    const ns = fromTimespec(wanted) orelse return fail(.INVAL);
    const absolute = a[1] & TIMER_ABSTIME != 0;
    k.waitDeadline(clock, if (absolute) .date else .span, ns);
    return sleep(k, if (absolute) 0 else a[3]);
}

const Rusage = extern struct { user: Timeval, system: Timeval, rest: [14]i64 = @splat(0) };
comptime {
    std.debug.assert(@sizeOf(Rusage) == 144);
}

fn toTimeval(ns: u64) Timeval {
    return .{ .sec = @intCast(ns / ns_per_s), .usec = @intCast(ns % ns_per_s / 1000) };
}

pub fn getrusage(k: *Kernel, a: Args) i64 {
    const who: i32 = @bitCast(@as(u32, @truncate(a[0])));
    if (who < -1 or who > 1) return fail(.INVAL);
    const spent = switch (who) {
        -1 => 0,
        1 => k.threadCpuNs(k.threads.current),
        else => k.cpuTimeNs(),
    };
    var usage: Rusage = .{ .user = toTimeval(spent), .system = .{ .sec = 0, .usec = 0 } };
    usage.rest[0] = @intCast(k.space.frames.frames_used * 4);
    k.memory.writeValue(a[1], usage) catch return fail(.FAULT);
    return 0;
}

pub fn times(k: *Kernel, a: Args) i64 {
    const ticks_per_second = 100;
    const spent: i64 = @intCast(k.cpuTimeNs() / (ns_per_s / ticks_per_second));
    if (a[0] != 0) k.memory.writeValue(a[0], [4]i64{ spent, 0, 0, 0 }) catch return fail(.FAULT);
    return @intCast(k.clock.monotonicNs() / (ns_per_s / ticks_per_second));
}
