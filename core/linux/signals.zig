//! Signals: actions, masks, what is pending and in which order, and which action comes next.
//! Not here: the system calls (`signal_calls.zig`), and building the frame (`signal_frame.zig`).
//! Source: signal(7), sigaction(2), sigaltstack(2).
const std = @import("std");
const faults = @import("../faults.zig");
const limits = @import("../limits.zig");

pub const count = 64;
pub const real_time_first = 32;
pub const SIGKILL = 9;
pub const SIGPIPE = 13;
pub const SIGALRM = 14;
pub const SIGSTOP = 19;
pub const SIGXCPU = 24;
pub const SIGXFSZ = 25;
pub const SIGVTALRM = 26;
pub const SIGPROF = 27;

pub const SA_NODEFER: u64 = 0x4000_0000;
pub const SA_RESETHAND: u64 = 0x8000_0000;
pub const SA_ONSTACK: u64 = 0x0800_0000;
pub const SA_RESTORER: u64 = 0x0400_0000;
pub const SA_RESTART: u64 = 0x1000_0000;

pub const default_handler = 0;
pub const ignore_handler = 1;

pub const SI_USER = 0;
pub const SI_KERNEL = 0x80;
pub const SI_QUEUE = -1;
pub const SI_TIMER = -2;
pub const SI_TKILL = -6;

/// struct sigaction as the kernel's ABI has it.
pub const Action = extern struct { handler: u64 = 0, flags: u64 = 0, restorer: u64 = 0, mask: u64 = 0 };

pub const SS_ONSTACK: u32 = 1;
pub const SS_DISABLE: u32 = 2;
pub const SS_AUTODISARM: u32 = 1 << 31;

/// struct sigaltstack. Of the flags it holds SS_DISABLE or SS_AUTODISARM; SS_ONSTACK is told, never kept.
pub const AlternateStack = extern struct {
    base: u64 = 0,
    flags: u32 = SS_DISABLE,
    padding: u32 = 0,
    size: u64 = 0,

    pub fn isEnabled(self: *const AlternateStack) bool {
        return self.flags & SS_DISABLE == 0;
    }

    /// Whether a stack pointer stands on it. One that disarms itself is free as soon as a handler runs.
    pub fn holds(self: *const AlternateStack, stack_pointer: u64) bool {
        if (!self.isEnabled() or self.flags & SS_AUTODISARM != 0) return false;
        return stack_pointer > self.base and stack_pointer - self.base <= self.size;
    }
};

/// One pending signal. The two words are what its siginfo has behind si_code: sender and value, or timer, overruns and
/// value.
pub const Entry = struct {
    signal: u8 = 0,
    /// The POSIX timer that sent it.
    timer: u8 = no_timer,
    /// Sent by the embedder.
    outside: bool = false,
    code: i32 = SI_USER,
    first: u64 = 0,
    second: u64 = 0,

    pub const no_timer = 255;
};

/// What a handler is told: a pending signal, or a fault of the guest's own.
pub const Delivery = struct { entry: Entry, fault: ?faults.Fault = null };

/// What comes next for a pending signal.
pub const Disposition = union(enum) { ignore, terminate: u8, handle: struct { delivery: Delivery, action: Action } };

const queue_capacity = limits.signals_queued_max + limits.timers_max + real_time_first;

pub const Signals = struct {
    actions: [count + 1]Action = @splat(.{}),
    blocked: u64 = 0,
    /// Signals without particulars: the embedder's, from any thread, and those for which the queue had no room.
    pending: std.atomic.Value(u64) = .init(0),
    /// Signals with particulars, in the order in which they were sent.
    queue: [queue_capacity]Entry = @splat(.{}),
    queued: u32 = 0,
    /// The signals that the queue holds.
    queued_set: u64 = 0,
    /// How many signals were sent, for those who poll.
    arrivals: std.atomic.Value(u64) = .init(0),
    /// Blocked signals that rt_sigtimedwait waits for.
    awaited: u64 = 0,
    alternate: AlternateStack = .{},
    /// Details of a synchronous fault that waits to be delivered.
    fault: ?faults.Fault = null,
    /// A mask that rt_sigsuspend, ppoll or pselect6 replaced, to come back after the handler.
    saved_mask: ?u64 = null,

    pub fn bit(signal: u32) u64 {
        return @as(u64, 1) << @intCast(signal - 1);
    }

    pub const unblockable = bit(SIGKILL) | bit(SIGSTOP);

    /// Without particulars. May be called from any thread.
    pub fn raise(self: *Signals, signal: u32) void {
        if (signal < 1 or signal > count) return;
        _ = self.pending.fetchOr(bit(signal), .seq_cst);
        _ = self.arrivals.fetchAdd(1, .monotonic);
    }

    /// With particulars. A signal that would be ignored is dropped, and so is a second one of the same kind unless it is a
    /// real-time signal. False if the queue is full for signals of its kind.
    pub fn send(self: *Signals, entry: Entry, queued_max: u64) bool {
        if (self.isIgnored(entry.signal)) return true;
        const real_time = entry.signal >= real_time_first;
        if (!real_time and entry.timer == Entry.no_timer and self.pendingSet() & bit(entry.signal) != 0) return true;
        if (real_time and entry.timer == Entry.no_timer and self.countQueued() >= @min(queued_max, limits.signals_queued_max)) return false;
        std.debug.assert(self.queued < queue_capacity);
        self.queue[self.queued] = entry;
        self.queued += 1;
        self.queued_set |= bit(entry.signal);
        _ = self.arrivals.fetchAdd(1, .monotonic);
        return true;
    }

    /// Queued signals that count against the limit: timers have room of their own, and of other signals there is one a kind.
    fn countQueued(self: *const Signals) u32 {
        var found: u32 = 0;
        for (self.queue[0..self.queued]) |entry| found += @intFromBool(entry.signal >= real_time_first and entry.timer == Entry.no_timer);
        return found;
    }

    pub fn holdsTimer(self: *const Signals, timer: u8) bool {
        for (self.queue[0..self.queued]) |entry| if (entry.timer == timer) return true;
        return false;
    }

    /// What a timer has sent does not arrive once it is set anew or deleted.
    pub fn forgetTimer(self: *Signals, timer: u8) void {
        for (self.queue[0..self.queued], 0..) |entry, index| if (entry.timer == timer) return self.remove(index);
    }

    pub fn pendingSet(self: *const Signals) u64 {
        return self.pending.load(.seq_cst) | self.queued_set;
    }

    /// A fault of the guest's own instruction: it cannot be blocked or ignored.
    pub fn raiseFault(self: *Signals, fault: faults.Fault) void {
        const action = &self.actions[fault.signal];
        if (self.blocked & bit(fault.signal) != 0 or action.handler == ignore_handler) {
            action.handler = default_handler;
            self.blocked &= ~bit(fault.signal);
        }
        self.fault = fault;
    }

    /// For execve: handlers are gone with the program, what is ignored, blocked and pending stays.
    pub fn prepareForProgram(self: *Signals) void {
        for (&self.actions) |*action| {
            const ignored = action.handler == ignore_handler;
            action.* = .{ .handler = if (ignored) ignore_handler else default_handler };
        }
        self.alternate = .{};
    }

    /// Whether a signal is to act now. Those that are ignored are forgotten.
    pub fn anyDeliverable(self: *Signals) bool {
        if (self.fault != null) return true;
        var ready = self.pendingSet() & ~self.unmaskable();
        while (ready != 0) : (ready &= ready - 1) {
            const signal: u8 = @intCast(@ctz(ready) + 1);
            if (!self.isIgnored(signal)) return true;
            self.forget(signal);
        }
        return false;
    }

    /// Whether a wait is to end.
    pub fn endsWait(self: *Signals) bool {
        return self.pendingSet() & self.awaited != 0 or self.anyDeliverable();
    }

    fn unmaskable(self: *const Signals) u64 {
        return self.blocked & ~unblockable;
    }

    /// Ignored signals vanish when they are sent, unless they are blocked: a handler may be there when they are let in.
    pub fn isIgnored(self: *const Signals, signal: u8) bool {
        if (self.unmaskable() & bit(signal) != 0) return false;
        return switch (self.actions[signal].handler) {
            ignore_handler => true,
            default_handler => isIgnoredByDefault(signal),
            else => false,
        };
    }

    pub fn forget(self: *Signals, signal: u8) void {
        _ = self.pending.fetchAnd(~bit(signal), .seq_cst);
        var index: usize = 0;
        while (index < self.queued) if (self.queue[index].signal == signal) self.remove(index) else {
            index += 1;
        };
    }

    fn remove(self: *Signals, index: usize) void {
        const signal = self.queue[index].signal;
        self.queued -= 1;
        std.mem.copyForwards(Entry, self.queue[index..self.queued], self.queue[index + 1 .. self.queued + 1]);
        self.queue[self.queued] = .{};
        for (self.queue[0..self.queued]) |entry| if (entry.signal == signal) return;
        self.queued_set &= ~bit(signal);
    }

    /// Takes the lowest pending signal of a set; of one kind the oldest.
    pub fn take(self: *Signals, set: u64) ?Entry {
        const ready = self.pendingSet() & set;
        if (ready == 0) return null;
        const signal: u8 = @intCast(@ctz(ready) + 1);
        for (self.queue[0..self.queued], 0..) |entry, index| if (entry.signal == signal) {
            self.remove(index);
            return entry;
        };
        _ = self.pending.fetchAnd(~bit(signal), .seq_cst);
        return .{ .signal = signal, .outside = true };
    }

    /// Takes the next signal that is to act now.
    pub fn next(self: *Signals) ?Disposition {
        if (self.fault) |fault| {
            self.fault = null;
            return self.dispose(.{ .entry = .{ .signal = fault.signal, .code = fault.code, .first = fault.address }, .fault = fault });
        }
        const entry = self.take(~self.unmaskable()) orelse return null;
        return self.dispose(.{ .entry = entry });
    }

    fn dispose(self: *Signals, delivery: Delivery) Disposition {
        const signal = delivery.entry.signal;
        const action = &self.actions[signal];
        if (signal == SIGKILL) return .{ .terminate = signal };
        switch (action.handler) {
            default_handler => return if (isIgnoredByDefault(signal)) .ignore else .{ .terminate = signal },
            ignore_handler => return .ignore,
            else => {
                const taken = action.*;
                if (taken.flags & SA_RESETHAND != 0) action.handler = default_handler;
                return .{ .handle = .{ .delivery = delivery, .action = taken } };
            },
        }
    }

    /// Another mask until the call is over and its signals are delivered.
    pub fn setTemporaryMask(self: *Signals, mask: u64) void {
        self.saved_mask = self.blocked;
        self.blocked = mask & ~unblockable;
    }

    /// The call ends without a signal: its mask goes with it.
    pub fn endTemporaryMask(self: *Signals) void {
        self.blocked = self.saved_mask orelse return;
        self.saved_mask = null;
    }

    pub const StackError = error{ Busy, Invalid, TooSmall };

    /// Gives handlers another stack; not while one of them stands on the present one.
    pub fn setAlternate(self: *Signals, new: AlternateStack, stack_pointer: u64) StackError!void {
        if (self.alternate.holds(stack_pointer)) return error.Busy;
        const mode = new.flags & ~SS_AUTODISARM;
        if (mode != 0 and mode != SS_ONSTACK and mode != SS_DISABLE) return error.Invalid;
        if (mode == SS_DISABLE) {
            self.alternate = .{};
            return;
        }
        if (new.size < stack_min_bytes) return error.TooSmall;
        self.alternate = .{ .base = new.base, .flags = new.flags & SS_AUTODISARM, .size = new.size };
    }
};

/// Linux's MINSIGSTKSZ.
const stack_min_bytes = 2048;

/// SIGCHLD, SIGCONT, SIGURG, SIGWINCH; and the stopping signals, since a machine has no job control.
pub fn isIgnoredByDefault(signal: u8) bool {
    return switch (signal) {
        17, 18, 23, 28, SIGSTOP, 20, 21, 22 => true,
        else => false,
    };
}

const testing = std.testing;

test "a fault cannot be blocked or ignored, other signals wait for their mask" {
    var signals: Signals = .{};
    signals.actions[11] = .{ .handler = ignore_handler };
    signals.blocked = Signals.bit(11) | Signals.bit(15);
    signals.raiseFault(.{ .signal = 11, .code = 1 });
    try testing.expectEqual(Disposition{ .terminate = 11 }, signals.next().?);
    signals.raise(15);
    try testing.expectEqual(null, signals.next());
    signals.blocked = 0;
    try testing.expectEqual(Disposition{ .terminate = 15 }, signals.next().?);
    signals.raise(17);
    try testing.expect(!signals.anyDeliverable());
    try testing.expectEqual(null, signals.next());
}

test "real-time signals keep order and number up to the limit, others come once" {
    var signals: Signals = .{ .blocked = ~@as(u64, 0) };
    for (0..3) |value| try testing.expect(signals.send(.{ .signal = 40, .second = value }, 3));
    try testing.expect(!signals.send(.{ .signal = 41 }, 3));
    try testing.expect(signals.send(.{ .signal = 10, .second = 7 }, 3));
    try testing.expect(signals.send(.{ .signal = 10, .second = 8 }, 3));
    try testing.expectEqual(7, signals.take(~@as(u64, 0)).?.second);
    for (0..3) |value| try testing.expectEqual(value, signals.take(~@as(u64, 0)).?.second);
    try testing.expectEqual(null, signals.take(~@as(u64, 0)));
    try testing.expectEqual(0, signals.pendingSet());
}
