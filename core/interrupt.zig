//! Ending a run from outside: deadlines of the thread that runs a guest, and requests of other threads.
//!
//! A POSIX timer of the running thread (SIGEV_THREAD_ID) or another thread's tgkill interrupts KVM_RUN. The reason is
//! always noted first and `immediate_exit` set second, so that no request is lost between two KVM_RUNs. Blocking host
//! calls wait in ppoll with the signal let through only there, so none is lost before a wait either.
//! Sources: timer_create(2), KVM api.rst (immediate_exit).
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const kvm = @import("kvm.zig");
const vm_pool = @import("vm_pool.zig");

/// A real-time signal that neither Bun nor glibc uses.
pub const kick_signal = 35;

pub const Reason = struct {
    pub const wall: u32 = 1 << 0;
    pub const cpu: u32 = 1 << 1;
    pub const abort: u32 = 1 << 2;
    pub const close: u32 = 1 << 3;
    /// The run is over.
    pub const ending = wall | cpu | abort | close;
    /// What is asked of the embedder's own run of a machine, which may be over, or wait for its turn while others run it.
    pub const of_own_run = wall | cpu | abort | pause;
    /// A signal for the guest was queued.
    pub const signal: u32 = 1 << 4;
    /// A host-side wait may have become ready (an output buffer was drained or closed).
    pub const wake: u32 = 1 << 5;
    /// A timer of the guest's own may be due.
    pub const timer: u32 = 1 << 6;
    /// Another thread of the guest's is to have the processor, or it is time to look who wants it.
    pub const slice: u32 = 1 << 7;
    /// The embedder has something to do between two steps of the run.
    pub const pause: u32 = 1 << 8;
    /// The seat of a remote is wanted back (`remote/gates.zig`).
    pub const gate: u32 = 1 << 9;
};

/// One machine's interruption state; shared between threads and the signal handler.
pub const Interrupt = struct {
    reasons: std.atomic.Value(u32) = .init(0),
    /// The attached VM's, null while there is none. `request` reads it under the lock of the VM pool.
    run: ?*kvm.Run = null,
    /// Thread that runs the guest, 0 while none does.
    thread: std.atomic.Value(i32) = .init(0),
    /// Of a remote that runs on its caller's processor: the caller's, the end of which is the remote's too, and what the first of
    /// all callers is asked for; and the remote's own, which is that of all calls of it together.
    outer: ?*const Interrupt = null,
    base: ?*Interrupt = null,
    /// The running thread has its timers.
    has_timers: bool = false,
    /// Some of them may be set for this.
    is_armed: bool = false,

    pub fn raise(self: *Interrupt, reason: u32) void {
        _ = self.reasons.fetchOr(reason, .seq_cst);
        if (self.run) |run| @as(*volatile u8, &run.immediate_exit).* = 1;
    }

    /// From another thread: note the reason and get the running thread out of the guest or out of its wait.
    pub fn request(self: *Interrupt, reason: u32) void {
        {
            vm_pool.lock.lock();
            defer vm_pool.lock.unlock();
            self.raise(reason);
        }
        self.tell();
    }

    fn tell(self: *const Interrupt) void {
        const thread = self.thread.load(.seq_cst);
        if (thread != 0) _ = linux.tgkill(linux.getpid(), thread, @enumFromInt(kick_signal));
    }

    /// The same for a machine that keeps its VM meanwhile, without the lock.
    pub fn kick(self: *Interrupt, reason: u32) void {
        self.raise(reason);
        self.tell();
    }

    pub fn pending(self: *const Interrupt) u32 {
        const own = self.reasons.load(.seq_cst);
        const base = if (self.base) |some| some.reasons.load(.seq_cst) & ~Reason.of_own_run else 0;
        const outer = if (self.outer) |some| some.pending() & (Reason.ending | Reason.gate) else 0;
        return own | base | outer;
    }

    pub fn clear(self: *Interrupt, reasons: u32) void {
        _ = self.reasons.fetchAnd(~reasons, .seq_cst);
        if (self.base) |base| _ = base.reasons.fetchAnd(~reasons | Reason.of_own_run, .seq_cst);
    }

    /// To be called before KVM_RUN after an interruption: from here on only new reasons stop it.
    pub fn rearmEntry(self: *Interrupt) void {
        if (self.run) |run| @as(*volatile u8, &run.immediate_exit).* = 0;
    }
};

/// A timer that is left running between runs: setting one costs more than a short call's whole overhead. Each run notes
/// its deadline; a timer that fires early sets itself to what is left, one that fires when nothing runs stays silent, and
/// it is set anew only for a deadline before the one it is set to.
const Timer = struct {
    id: i32 = -1,
    /// What `target` is told; may differ from one deadline to the next.
    reason: u32,
    clock: linux.clockid_t,
    /// When the timer will fire by its clock; 0 when it is not set.
    fires_ns: std.atomic.Value(u64) = .init(0),
    deadline_ns: std.atomic.Value(u64) = .init(0),
    target: std.atomic.Value(?*Interrupt) = .init(null),

    fn create(self: *Timer) host.Error!void {
        // struct sigevent of the kernel ABI: value, signo, notify, thread id; 64 bytes in all.
        const SigEvent = extern struct { value: usize, signo: i32, notify: i32, tid: i32, padding: [11]i32 = @splat(0) };
        comptime std.debug.assert(@sizeOf(SigEvent) == 64);
        const thread_id_notify = 4;
        var event: SigEvent = .{ .value = @intFromPtr(self), .signo = kick_signal, .notify = thread_id_notify, .tid = linux.gettid() };
        _ = try host.check(linux.syscall3(.timer_create, @intFromEnum(self.clock), @intFromPtr(&event), @intFromPtr(&self.id)));
    }

    /// Safe in a signal handler.
    fn set(self: *Timer, at_ns: u64) void {
        self.fires_ns.store(at_ns, .seq_cst);
        const spec: linux.itimerspec = .{
            .it_interval = .{ .sec = 0, .nsec = 0 },
            .it_value = .{ .sec = @intCast(at_ns / std.time.ns_per_s), .nsec = @intCast(at_ns % std.time.ns_per_s) },
        };
        const absolute = 1;
        _ = linux.syscall4(.timer_settime, @intCast(self.id), absolute, @intFromPtr(&spec), 0);
    }

    fn arm(self: *Timer, target: *Interrupt, ns: u64) void {
        const deadline = host.nowNs(self.clock) +| @max(ns, 1);
        self.deadline_ns.store(deadline, .seq_cst);
        self.target.store(target, .seq_cst);
        const fires = self.fires_ns.load(.seq_cst);
        if (fires == 0 or fires > deadline) self.set(deadline);
    }

    fn disarm(self: *Timer) void {
        self.target.store(null, .seq_cst);
    }

    /// For a thread that does other things behind a run: the timer's signal would interrupt them.
    fn stop(self: *Timer) void {
        self.disarm();
        if (self.fires_ns.load(.seq_cst) == 0) return;
        self.set(0);
    }

    /// In the signal handler.
    fn fired(self: *Timer) void {
        self.fires_ns.store(0, .seq_cst);
        const target = self.target.load(.seq_cst) orelse return;
        const deadline = self.deadline_ns.load(.seq_cst);
        if (host.nowNs(self.clock) < deadline) self.set(deadline) else target.raise(self.reason);
    }
};

/// The timers of one thread that runs guests.
pub const ThreadTimers = struct {
    wall: Timer = .{ .reason = Reason.wall, .clock = .MONOTONIC },
    cpu: Timer = .{ .reason = Reason.cpu, .clock = .THREAD_CPUTIME_ID },
    guest: Timer = .{ .reason = Reason.timer, .clock = .MONOTONIC },
    slice: Timer = .{ .reason = Reason.slice, .clock = .MONOTONIC },

    pub fn init(self: *ThreadTimers) host.Error!void {
        try self.wall.create();
        errdefer _ = linux.syscall1(.timer_delete, @intCast(self.wall.id));
        try self.cpu.create();
        errdefer _ = linux.syscall1(.timer_delete, @intCast(self.cpu.id));
        try self.guest.create();
        errdefer _ = linux.syscall1(.timer_delete, @intCast(self.guest.id));
        try self.slice.create();
    }

    pub fn deinit(self: *ThreadTimers) void {
        _ = linux.syscall1(.timer_delete, @intCast(self.wall.id));
        _ = linux.syscall1(.timer_delete, @intCast(self.cpu.id));
        _ = linux.syscall1(.timer_delete, @intCast(self.guest.id));
        _ = linux.syscall1(.timer_delete, @intCast(self.slice.id));
    }

    pub fn arm(self: *ThreadTimers, target: *Interrupt, limits: Limits) void {
        self.wall.reason = if (limits.isPause()) Reason.pause else Reason.wall;
        if (limits.wallOrPause()) |ns| self.wall.arm(target, ns);
        if (limits.cpu_ns) |ns| self.cpu.arm(target, ns);
    }

    pub fn disarm(self: *ThreadTimers) void {
        self.wall.disarm();
        self.cpu.disarm();
        self.guest.disarm();
        self.slice.disarm();
    }
};

pub const Limits = struct {
    wall_ns: ?u64 = null,
    cpu_ns: ?u64 = null,
    /// After this the run pauses, unless its time is over before.
    pause_ns: ?u64 = null,

    fn isPause(self: Limits) bool {
        const pause = self.pause_ns orelse return false;
        return pause < self.wall_ns orelse return true;
    }

    fn wallOrPause(self: Limits) ?u64 {
        return if (self.isPause()) self.pause_ns else self.wall_ns;
    }
};

threadlocal var thread_timers: ?*ThreadTimers = null;

/// The calling thread's timers, made at its first use. They live as long as the process on threads that never say
/// `releaseThread`.
pub fn threadTimers(allocator: std.mem.Allocator) error{ OutOfMemory, HostFailure }!*ThreadTimers {
    if (thread_timers) |timers| return timers;
    const timers = try allocator.create(ThreadTimers);
    errdefer allocator.destroy(timers);
    timers.* = .{};
    try timers.init();
    thread_timers = timers;
    return timers;
}

/// Interrupts the guest that runs on the calling thread once `ns` have passed. Nothing to do while none runs: its next run
/// looks at its timers first.
pub fn armGuestTimer(interrupt: *Interrupt, ns: u64) void {
    const timers = thread_timers orelse return;
    if (interrupt.thread.load(.seq_cst) == 0) return;
    interrupt.is_armed = true;
    timers.guest.arm(interrupt, ns);
}

/// Interrupts the guest that runs on the calling thread so that its threads can take turns.
pub fn armSlice(interrupt: *Interrupt, ns: u64) void {
    const timers = thread_timers orelse return;
    interrupt.is_armed = true;
    timers.slice.arm(interrupt, ns);
}

/// A guest that runs on the calling thread no more is not interrupted for itself, though another one may be running.
pub fn disarmGuest(interrupt: *const Interrupt) void {
    if (!interrupt.is_armed) return;
    const timers = thread_timers orelse return;
    for ([_]*Timer{ &timers.guest, &timers.slice }) |timer| {
        if (timer.target.load(.seq_cst) == interrupt) timer.disarm();
    }
}

pub fn disarmSlice() void {
    if (thread_timers) |timers| timers.slice.disarm();
}

pub fn disarmThread() void {
    if (thread_timers) |timers| timers.disarm();
}

/// The calling thread runs no guest for now, and is not to be interrupted.
pub fn stopThread() void {
    const timers = thread_timers orelse return;
    inline for (.{ &timers.wall, &timers.cpu, &timers.guest, &timers.slice }) |timer| timer.stop();
}

/// In a double of the process: the kernel has not doubled the timers.
pub fn startAnew() void {
    thread_timers = null;
}

pub fn releaseThread(allocator: std.mem.Allocator) void {
    const timers = thread_timers orelse return;
    timers.deinit();
    allocator.destroy(timers);
    thread_timers = null;
}

const timer_signal_code = -2;

/// Kernel layout of a timer's siginfo: signo, errno, code, pad, timer id, overrun, value.
const TimerInfo = extern struct { signo: i32, errno: i32, code: i32, padding: i32, timer: i32, overrun: i32, value: usize };

fn handle(_: i32, info: *const TimerInfo, _: ?*anyopaque) callconv(.c) void {
    if (info.code != timer_signal_code) return;
    const timer: *Timer = @ptrFromInt(info.value);
    timer.fired();
}

/// Installs the handler once in the process.
pub fn installHandler() host.Error!void {
    const KernelSigaction = extern struct { handler: usize, flags: u64, restorer: usize, mask: u64 };
    const action: KernelSigaction = .{
        .handler = @intFromPtr(&handle),
        .flags = linux.SA.SIGINFO | linux.SA.RESTART | linux.SA.ONSTACK | linux.SA.RESTORER,
        .restorer = @intFromPtr(&restore),
        .mask = 0,
    };
    _ = try host.check(linux.syscall4(.rt_sigaction, kick_signal, @intFromPtr(&action), 0, 8));
}

fn restore() callconv(.naked) noreturn {
    asm volatile (
        \\ mov $15, %%eax
        \\ syscall
    );
}

const kick_bit: u64 = 1 << (kick_signal - 1);

pub const WaitResult = enum { ready, interrupted, timed_out };

/// Waits for `poll` descriptors with the kick signal let in only during the wait itself. `interrupted` when a reason is
/// or becomes pending.
pub fn wait(interrupt: *Interrupt, descriptors: []linux.pollfd, timeout_ns: ?u64) WaitResult {
    var old: u64 = 0;
    const block: u64 = kick_bit;
    _ = linux.syscall4(.rt_sigprocmask, linux.SIG.BLOCK, @intFromPtr(&block), @intFromPtr(&old), 8);
    defer _ = linux.syscall4(.rt_sigprocmask, linux.SIG.SETMASK, @intFromPtr(&old), 0, 8);
    if (interrupt.pending() != 0) return .interrupted;
    const open_mask = old & ~kick_bit;
    var ts: linux.timespec = undefined;
    const ts_address: usize = if (timeout_ns) |ns| blk: {
        ts = .{ .sec = @intCast(ns / std.time.ns_per_s), .nsec = @intCast(ns % std.time.ns_per_s) };
        break :blk @intFromPtr(&ts);
    } else 0;
    while (true) {
        const rc: isize = @bitCast(linux.syscall5(.ppoll, @intFromPtr(descriptors.ptr), descriptors.len, ts_address, @intFromPtr(&open_mask), 8));
        if (interrupt.pending() != 0) return .interrupted;
        if (rc > 0) return .ready;
        if (rc == 0) return .timed_out;
        if (rc != -@as(isize, @intFromEnum(linux.E.INTR))) return .ready;
    }
}
