//! The system calls of timers: interval timers, alarm, POSIX timers.
//! Source: setitimer(2), alarm(2), timer_create(2), timer_settime(2), timer_getoverrun(2).
const std = @import("std");
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const signals = @import("signals.zig");
const time = @import("time.zig");
const timers_module = @import("timers.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const Timer = timers_module.Timer;
const Timers = timers_module.Timers;
const fail = kernel_module.fail;
const ns_per_s = std.time.ns_per_s;

const Timeval = extern struct { sec: i64, usec: i64 };
const IntervalValue = extern struct { interval: Timeval, value: Timeval };
const TimerSpec = extern struct { interval: time.Timespec, value: time.Timespec };

/// struct sigevent of the kernel ABI.
const SignalEvent = extern struct { value: u64, signal: i32, notify: i32, thread: i32, padding: [11]i32 = @splat(0) };
comptime {
    std.debug.assert(@sizeOf(SignalEvent) == 64);
}
const SIGEV_SIGNAL = 0;
const SIGEV_NONE = 1;
const SIGEV_THREAD = 2;
const SIGEV_THREAD_ID = 4;
const TIMER_ABSTIME = 1;

fn nsOf(value: Timeval) ?u64 {
    if (value.sec < 0 or value.usec < 0 or value.usec >= std.time.us_per_s) return null;
    return @as(u64, @intCast(value.sec)) *| ns_per_s +| @as(u64, @intCast(value.usec)) * std.time.ns_per_us;
}

/// An armed timer never shows as one that is not.
fn timevalOf(ns: u64) Timeval {
    const us = if (ns == 0) 0 else @max(1, ns / std.time.ns_per_us);
    return .{ .sec = @intCast(us / std.time.us_per_s), .usec = @intCast(us % std.time.us_per_s) };
}

fn intervalTimer(k: *Kernel, which: u64) ?*Timer {
    const index: u32 = @truncate(which);
    return if (index < k.timers.interval.len) &k.timers.interval[index] else null;
}

fn valueOf(k: *Kernel, timer: *const Timer) IntervalValue {
    k.timers.expire(k);
    return .{ .interval = timevalOf(timer.interval_ns), .value = timevalOf(Timers.leftNs(k, timer)) };
}

/// Sets a timer to a span from now.
fn setSpan(k: *Kernel, timer: *Timer, span_ns: u64, interval_ns: u64) void {
    timer.dated = false;
    k.timers.set(timer, if (span_ns == 0) 0 else k.clockNs(timer.clock) +| span_ns, if (span_ns == 0) 0 else interval_ns);
    k.tick();
}

pub fn getitimer(k: *Kernel, a: Args) i64 {
    const timer = intervalTimer(k, a[0]) orelse return fail(.INVAL);
    k.memory.writeValue(a[1], valueOf(k, timer)) catch return fail(.FAULT);
    return 0;
}

pub fn setitimer(k: *Kernel, a: Args) i64 {
    const timer = intervalTimer(k, a[0]) orelse return fail(.INVAL);
    // Linux takes no address for a disarmed timer.
    var new = std.mem.zeroes(IntervalValue);
    if (a[1] != 0) new = k.memory.readValue(IntervalValue, a[1]) catch return fail(.FAULT);
    const span = nsOf(new.value) orelse return fail(.INVAL);
    const interval = nsOf(new.interval) orelse return fail(.INVAL);
    k.prepareTimers() catch return fail(.NOMEM);
    const old = valueOf(k, timer);
    setSpan(k, timer, span, interval);
    if (a[2] != 0) k.memory.writeValue(a[2], old) catch return fail(.FAULT);
    return 0;
}

pub fn alarm(k: *Kernel, a: Args) i64 {
    const timer = &k.timers.interval[0];
    k.prepareTimers() catch return fail(.NOMEM);
    const left = valueOf(k, timer).value;
    setSpan(k, timer, @as(u64, @as(u32, @truncate(a[0]))) * ns_per_s, 0);
    // To the nearest second, but never 0 for one that was armed.
    const half_second = std.time.us_per_s / 2;
    return left.sec + @intFromBool(left.usec >= half_second or (left.sec == 0 and left.usec > 0));
}

fn timerClock(value: u64) union(enum) { clock: timers_module.Clock, refused: i64 } {
    return switch (time.clockOf(value) orelse return .{ .refused = fail(.INVAL) }) {
        .realtime, .tai => .{ .clock = .realtime },
        .monotonic => .{ .clock = .monotonic },
        .boottime => .{ .clock = .boottime },
        .process_cpu, .thread_cpu => .{ .clock = .cpu },
        .monotonic_raw, .realtime_coarse, .monotonic_coarse => .{ .refused = fail(.OPNOTSUPP) },
    };
}

pub fn timerCreate(k: *Kernel, a: Args) i64 {
    const clock = switch (timerClock(a[0])) {
        .clock => |clock| clock,
        .refused => |errno| return errno,
    };
    var made: u64 = 0;
    for (&k.timers.posix) |*timer| made += @intFromBool(timer.made);
    if (made >= k.queueLimit()) return fail(.AGAIN);
    const index = for (&k.timers.posix, 0..) |*timer, index| {
        if (!timer.made) break index;
    } else return fail(.AGAIN);
    var timer: Timer = .{ .made = true, .clock = clock, .value = index };
    if (a[1] != 0) {
        const event = k.memory.readValue(SignalEvent, a[1]) catch return fail(.FAULT);
        timer.value = event.value;
        timer.notifies = event.notify != SIGEV_NONE;
        switch (event.notify) {
            SIGEV_NONE => {},
            SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID => {
                if (event.notify == SIGEV_THREAD_ID) {
                    if (k.threads.find(event.thread) == null) return fail(.INVAL);
                    timer.thread = event.thread;
                }
                if (event.signal < 1 or event.signal > signals.count) return fail(.INVAL);
                timer.signal = @intCast(event.signal);
            },
            else => return fail(.INVAL),
        }
    }
    k.prepareTimers() catch return fail(.AGAIN);
    k.memory.writeValue(a[2], @as(i32, @intCast(index))) catch return fail(.FAULT);
    k.timers.posix[index] = timer;
    return 0;
}

fn posixTimer(k: *Kernel, id: u64) ?*Timer {
    const index: u32 = @truncate(id);
    if (index >= limits.timers_max or !k.timers.posix[index].made) return null;
    return &k.timers.posix[index];
}

fn specOf(k: *Kernel, timer: *const Timer) TimerSpec {
    k.timers.expire(k);
    return .{ .interval = time.toTimespec(timer.interval_ns), .value = time.toTimespec(Timers.leftNs(k, timer)) };
}

pub fn timerSettime(k: *Kernel, a: Args) i64 {
    const new = k.memory.readValue(TimerSpec, a[2]) catch return if (a[2] == 0) fail(.INVAL) else fail(.FAULT);
    const value = time.fromTimespec(new.value) orelse return fail(.INVAL);
    const interval = time.fromTimespec(new.interval) orelse return fail(.INVAL);
    const timer = posixTimer(k, a[0]) orelse return fail(.INVAL);
    k.prepareTimers() catch return fail(.NOMEM);
    const old = specOf(k, timer);
    Timers.forgetSignal(k, @intCast(@as(u32, @truncate(a[0]))));
    timer.overruns_told = 0;
    if (a[1] & TIMER_ABSTIME != 0 and value != 0) {
        timer.dated = true;
        k.timers.set(timer, value, interval);
        k.tick();
    } else setSpan(k, timer, value, interval);
    if (a[3] != 0) k.memory.writeValue(a[3], old) catch return fail(.FAULT);
    return 0;
}

pub fn timerGettime(k: *Kernel, a: Args) i64 {
    const timer = posixTimer(k, a[0]) orelse return fail(.INVAL);
    k.memory.writeValue(a[1], specOf(k, timer)) catch return fail(.FAULT);
    return 0;
}

pub fn timerGetoverrun(k: *Kernel, a: Args) i64 {
    const timer = posixTimer(k, a[0]) orelse return fail(.INVAL);
    return timer.overruns_told;
}

pub fn timerDelete(k: *Kernel, a: Args) i64 {
    const timer = posixTimer(k, a[0]) orelse return fail(.INVAL);
    Timers.forgetSignal(k, @intCast(@as(u32, @truncate(a[0]))));
    k.timers.set(timer, 0, 0);
    timer.* = .{};
    return 0;
}
