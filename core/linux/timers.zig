//! Armed timers of one machine: the interval timers, the POSIX timers and the limit of CPU time; what is due and what
//! comes next. They cost nothing while none is armed; otherwise the thread that runs the guest has one host timer, set to
//! the nearest of them.
//!
//! In an image, and in a fork until it runs, a timer that was set to a span holds what is left of it: time stands still for
//! it. One that was set to a date holds the date.
//! Not here: the system calls (`timer_calls.zig`). Source: setitimer(2), timer_create(2), setrlimit(2).
const std = @import("std");
const limits = @import("../limits.zig");
const signals_module = @import("signals.zig");
const threads = @import("threads.zig");
const Kernel = @import("kernel.zig").Kernel;
const ns_per_s = std.time.ns_per_s;

pub const Clock = enum(u8) { realtime, monotonic, boottime, cpu };

pub const Timer = struct {
    made: bool = false,
    clock: Clock = .monotonic,
    /// Set to a date of its clock, not to a span.
    dated: bool = false,
    /// SIGEV_NONE is a timer that only tells its time.
    notifies: bool = true,
    signal: u8 = signals_module.SIGALRM,
    /// The thread it tells; 0 for the process.
    thread: i32 = 0,
    value: u64 = 0,
    /// By its clock; 0 while it is not armed.
    expires_ns: u64 = 0,
    interval_ns: u64 = 0,
    /// Expirations since its signal was queued, beyond the first.
    overruns: u64 = 0,
    /// The overruns of the signal that was delivered last.
    overruns_told: i32 = 0,
};

/// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF. A machine's CPU time is not divided into its own and the kernel's.
const intervals = [_]Timer{
    .{ .made = true, .clock = .monotonic, .signal = signals_module.SIGALRM },
    .{ .made = true, .clock = .cpu, .signal = signals_module.SIGVTALRM },
    .{ .made = true, .clock = .cpu, .signal = signals_module.SIGPROF },
};

pub const Timers = struct {
    interval: [intervals.len]Timer = intervals,
    posix: [limits.timers_max]Timer = @splat(.{}),
    /// How many of all are armed.
    armed: u32 = 0,
    /// Spans hold what is left of them.
    asleep: bool = false,

    pub fn set(self: *Timers, timer: *Timer, expires_ns: u64, interval_ns: u64) void {
        if (timer.expires_ns != 0) self.armed -= 1;
        timer.expires_ns = expires_ns;
        timer.interval_ns = interval_ns;
        timer.overruns = 0;
        if (timer.expires_ns != 0) self.armed += 1;
    }

    /// For execve: POSIX timers are gone with the program, interval timers run on.
    pub fn prepareForProgram(self: *Timers) void {
        for (&self.posix) |*timer| {
            self.set(timer, 0, 0);
            timer.* = .{};
        }
    }

    /// In a copy for an image: spans stand still from now on.
    pub fn putToSleep(self: *Timers, k: *const Kernel) void {
        if (self.asleep) return;
        self.asleep = true;
        self.shift(k, .to_rest);
    }

    /// Before the guest runs for the first time since it was frozen: spans go on from now.
    pub fn wake(self: *Timers, k: *const Kernel) void {
        if (!self.asleep) return;
        self.asleep = false;
        self.shift(k, .from_rest);
    }

    fn shift(self: *Timers, k: *const Kernel, direction: enum { to_rest, from_rest }) void {
        if (self.armed == 0) return;
        for ([_][]Timer{ &self.interval, &self.posix }) |some| for (some) |*timer| {
            // The CPU time of a fork goes on from the image's by itself.
            if (timer.expires_ns == 0 or timer.dated or timer.clock == .cpu) continue;
            const now = k.clockNs(timer.clock);
            timer.expires_ns = if (direction == .to_rest) @max(1, timer.expires_ns -| now) else timer.expires_ns +| now;
        };
    }

    pub fn isActive(self: *const Timers, k: *const Kernel) bool {
        return self.armed > 0 or k.cpuLimit().current != unlimited;
    }

    /// Sends the signals of all that is due.
    pub fn expire(self: *Timers, k: *Kernel) void {
        if (self.armed > 0) {
            for (&self.interval) |*timer| {
                if (self.takeExpirations(k, timer) > 0) k.sendSignal(.{ .signal = timer.signal, .code = signals_module.SI_KERNEL });
            }
            for (&self.posix, 0..) |*timer, index| {
                const times = self.takeExpirations(k, timer);
                if (times > 0 and timer.notifies) notify(k, timer, @intCast(index), times);
            }
        }
        enforceCpuLimit(k);
    }

    /// How often a timer has expired since it was looked at last; a periodic one is set on.
    fn takeExpirations(self: *Timers, k: *const Kernel, timer: *Timer) u64 {
        if (timer.expires_ns == 0) return 0;
        const now = k.clockNs(timer.clock);
        if (now < timer.expires_ns) return 0;
        if (timer.interval_ns == 0) {
            timer.expires_ns = 0;
            self.armed -= 1;
            return 1;
        }
        const times = (now - timer.expires_ns) / timer.interval_ns + 1;
        timer.expires_ns +|= times *| timer.interval_ns;
        return times;
    }

    fn notify(k: *Kernel, timer: *Timer, index: u8, times: u64) void {
        if (holds(k, index)) {
            timer.overruns +|= times;
            return;
        }
        timer.overruns = times - 1;
        const entry: signals_module.Entry = .{ .signal = timer.signal, .timer = index, .code = signals_module.SI_TIMER, .first = index, .second = timer.value };
        if (timer.thread == 0) return k.sendSignal(entry);
        // The signal of a timer whose thread has ended goes nowhere.
        if (k.threads.find(timer.thread)) |thread| _ = k.sendToThread(thread, entry);
    }

    /// Whether a timer's signal is on its way.
    fn holds(k: *const Kernel, index: u8) bool {
        if (k.signals.queue.holdsTimer(index)) return true;
        const thread = receiver(k, &k.timers.posix[index]) orelse return false;
        return thread.signals.queue.holdsTimer(index);
    }

    fn receiver(k: *const Kernel, timer: *const Timer) ?*threads.Thread {
        return if (timer.thread == 0) null else k.threads.find(timer.thread);
    }

    /// What a timer has sent does not arrive once it is set anew or deleted.
    pub fn forgetSignal(k: *Kernel, index: u8) void {
        k.signals.queue.forgetTimer(index);
        if (receiver(k, &k.timers.posix[index])) |thread| thread.signals.queue.forgetTimer(index);
    }

    /// The signal of a timer is delivered: its overruns.
    pub fn delivered(self: *Timers, index: u8) u32 {
        const timer = &self.posix[index];
        timer.overruns_told = @intCast(@min(timer.overruns, std.math.maxInt(i32)));
        timer.overruns = 0;
        return @intCast(timer.overruns_told);
    }

    /// How long until something must be done; null when nothing is to come. A timer whose signal is on its way, or ignored,
    /// waits for it: what expires meanwhile is counted when somebody looks.
    pub fn nextDelayNs(self: *const Timers, k: *const Kernel, waiting: bool) ?u64 {
        var least: ?u64 = null;
        for (&self.interval) |*timer| if (!isSilent(k, timer, null)) shorten(&least, k, timer, waiting);
        for (&self.posix, 0..) |*timer, index| if (!isSilent(k, timer, @intCast(index))) shorten(&least, k, timer, waiting);
        if (!waiting and k.cpuLimit().current != unlimited) least = @min(least orelse unlimited, cpuLimitNs(k) -| k.clockNs(.cpu));
        // Nothing is gained by interrupting the guest more often than it takes to go in and out.
        return @max(least orelse return null, limits.timer_step_min_ns);
    }

    fn isSilent(k: *const Kernel, timer: *const Timer, index: ?u8) bool {
        const to = receiver(k, timer) orelse k.threads.first();
        if (timer.expires_ns == 0 or !timer.notifies or k.signals.isIgnored(timer.signal, to.signals.blocked)) return true;
        return if (index) |own| holds(k, own) else k.signals.pendingSet() & signals_module.bit(timer.signal) != 0;
    }

    /// CPU time stands still while the guest waits.
    fn shorten(least: *?u64, k: *const Kernel, timer: *const Timer, waiting: bool) void {
        if (waiting and timer.clock == .cpu) return;
        least.* = @min(least.* orelse unlimited, timer.expires_ns -| k.clockNs(timer.clock));
    }

    /// What is left of a timer, after `expire`; an armed one never tells 0.
    pub fn leftNs(k: *const Kernel, timer: *const Timer) u64 {
        if (timer.expires_ns == 0) return 0;
        return @max(1, timer.expires_ns -| k.clockNs(timer.clock));
    }
};

const unlimited = std.math.maxInt(u64);

/// A limit of 0 seconds acts as one of 1.
fn cpuLimitNs(k: *const Kernel) u64 {
    return @max(1, k.cpuLimit().current) *| ns_per_s;
}

/// SIGXCPU at the soft limit and each second beyond, which Linux does by raising it; SIGKILL at the hard one.
fn enforceCpuLimit(k: *Kernel) void {
    const limit = k.cpuLimit();
    if (limit.current == unlimited) return;
    const spent = k.clockNs(.cpu);
    if (spent < cpuLimitNs(k)) return;
    if (limit.maximum != unlimited and spent >= @max(1, limit.maximum) *| ns_per_s) {
        k.sendSignal(.{ .signal = signals_module.SIGKILL, .code = signals_module.SI_KERNEL });
    } else k.sendSignal(.{ .signal = signals_module.SIGXCPU, .code = signals_module.SI_KERNEL });
    k.resource_limits[@intFromEnum(std.os.linux.rlimit_resource.CPU)].current = @min(spent / ns_per_s + 1, limit.maximum);
}
