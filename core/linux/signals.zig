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

pub const queue_capacity = limits.signals_queued_max + limits.timers_max + real_time_first;

pub fn bit(signal: u32) u64 {
    return @as(u64, 1) << @intCast(signal - 1);
}

pub const unblockable = bit(SIGKILL) | bit(SIGSTOP);

/// Signals with particulars, in the order in which they were sent: the process's, or one thread's.
pub const Queue = struct {
    entries: [queue_capacity]Entry = @splat(.{}),
    count: u32 = 0,
    /// The signals that it holds.
    set: u64 = 0,

    /// False if the queue is full for signals of its kind. A second signal of one kind is dropped unless it is a real-time
    /// signal; `already` are those that are pending elsewhere for the same receiver.
    fn push(self: *Queue, entry: Entry, queued_max: u64, already: u64) bool {
        const real_time = entry.signal >= real_time_first;
        if (!real_time and entry.timer == Entry.no_timer and (self.set | already) & bit(entry.signal) != 0) return true;
        if (real_time and entry.timer == Entry.no_timer and self.countCharged() >= @min(queued_max, limits.signals_queued_max)) return false;
        std.debug.assert(self.count < queue_capacity);
        self.entries[self.count] = entry;
        self.count += 1;
        self.set |= bit(entry.signal);
        return true;
    }

    /// Queued signals that count against the limit: timers have room of their own, and of other signals there is one a kind.
    fn countCharged(self: *const Queue) u32 {
        var found: u32 = 0;
        for (self.entries[0..self.count]) |entry| found += @intFromBool(entry.signal >= real_time_first and entry.timer == Entry.no_timer);
        return found;
    }

    pub fn holdsTimer(self: *const Queue, timer: u8) bool {
        for (self.entries[0..self.count]) |entry| if (entry.timer == timer) return true;
        return false;
    }

    /// What a timer has sent does not arrive once it is set anew or deleted.
    pub fn forgetTimer(self: *Queue, timer: u8) void {
        for (self.entries[0..self.count], 0..) |entry, index| if (entry.timer == timer) return self.remove(index);
    }

    pub fn forget(self: *Queue, signal: u8) void {
        var index: usize = 0;
        while (index < self.count) if (self.entries[index].signal == signal) self.remove(index) else {
            index += 1;
        };
    }

    fn remove(self: *Queue, index: usize) void {
        const signal = self.entries[index].signal;
        self.count -= 1;
        std.mem.copyForwards(Entry, self.entries[index..self.count], self.entries[index + 1 .. self.count + 1]);
        self.entries[self.count] = .{};
        for (self.entries[0..self.count]) |entry| if (entry.signal == signal) return;
        self.set &= ~bit(signal);
    }

    /// Takes the oldest of one signal.
    fn take(self: *Queue, signal: u8) ?Entry {
        for (self.entries[0..self.count], 0..) |entry, index| if (entry.signal == signal) {
            self.remove(index);
            return entry;
        };
        return null;
    }
};

/// What all threads of a process share: its actions, and the signals sent to the process.
pub const Signals = struct {
    actions: [count + 1]Action = @splat(.{}),
    /// Signals without particulars: the embedder's, from any thread, and those for which the queue had no room.
    pending: std.atomic.Value(u64) = .init(0),
    queue: Queue = .{},
    /// How many were sent to the process or any thread, for those who poll.
    arrivals: std.atomic.Value(u64) = .init(0),

    /// Without particulars. May be called from any thread.
    pub fn raise(self: *Signals, signal: u32) void {
        if (signal < 1 or signal > count) return;
        _ = self.pending.fetchOr(bit(signal), .seq_cst);
        _ = self.arrivals.fetchAdd(1, .monotonic);
    }

    /// To the process. A signal that would be ignored by its first thread is dropped.
    pub fn send(self: *Signals, entry: Entry, queued_max: u64, blocked: u64) bool {
        if (self.isIgnored(entry.signal, blocked)) return true;
        return self.queue.push(entry, queued_max, self.pending.load(.seq_cst));
    }

    pub fn pendingSet(self: *const Signals) u64 {
        return self.pending.load(.seq_cst) | self.queue.set;
    }

    /// For execve: handlers are gone with the program, what is ignored, blocked and pending stays.
    pub fn prepareForProgram(self: *Signals) void {
        for (&self.actions) |*action| {
            const ignored = action.handler == ignore_handler;
            action.* = .{ .handler = if (ignored) ignore_handler else default_handler };
        }
    }

    /// Ignored signals vanish when they are sent, unless they are blocked: a handler may be there when they are let in.
    pub fn isIgnored(self: *const Signals, signal: u8, blocked: u64) bool {
        if (blocked & ~unblockable & bit(signal) != 0) return false;
        return switch (self.actions[signal].handler) {
            ignore_handler => true,
            default_handler => isIgnoredByDefault(signal),
            else => false,
        };
    }

    pub fn forget(self: *Signals, signal: u8) void {
        _ = self.pending.fetchAnd(~bit(signal), .seq_cst);
        self.queue.forget(signal);
    }

    fn take(self: *Signals, signal: u8) ?Entry {
        if (self.queue.take(signal)) |entry| return entry;
        if (self.pending.fetchAnd(~bit(signal), .seq_cst) & bit(signal) == 0) return null;
        return .{ .signal = signal, .outside = true };
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
};

/// What each thread has of its own: its mask, the signals sent to it alone, its fault, its alternate stack.
pub const ThreadSignals = struct {
    blocked: u64 = 0,
    queue: Queue = .{},
    /// Blocked signals that rt_sigtimedwait waits for.
    awaited: u64 = 0,
    alternate: AlternateStack = .{},
    /// Details of a synchronous fault that waits to be delivered.
    fault: ?faults.Fault = null,
    /// A mask that rt_sigsuspend, ppoll or pselect6 replaced, to come back after the handler.
    saved_mask: ?u64 = null,

    /// What another thread has becomes this one's. A queue is copied only if it holds something: it is large.
    pub fn takeOver(self: *ThreadSignals, other: *const ThreadSignals) void {
        if (other.queue.count > 0 or self.queue.count > 0) self.queue = other.queue;
        inline for (.{ "blocked", "awaited", "alternate", "fault", "saved_mask" }) |field| @field(self, field) = @field(other, field);
    }

    /// To this thread alone.
    pub fn send(self: *ThreadSignals, shared: *const Signals, entry: Entry, queued_max: u64) bool {
        if (shared.isIgnored(entry.signal, self.blocked)) return true;
        return self.queue.push(entry, queued_max, 0);
    }

    /// A fault of the guest's own instruction: it cannot be blocked or ignored.
    pub fn raiseFault(self: *ThreadSignals, shared: *Signals, fault: faults.Fault) void {
        const action = &shared.actions[fault.signal];
        if (self.blocked & bit(fault.signal) != 0 or action.handler == ignore_handler) {
            action.handler = default_handler;
            self.blocked &= ~bit(fault.signal);
        }
        self.fault = fault;
    }

    /// What the thread may take: its own signals, and those of the process that `of_process` leaves it.
    pub fn pendingSet(self: *const ThreadSignals, shared: *const Signals, of_process: u64) u64 {
        return self.queue.set | (shared.pendingSet() & of_process);
    }

    /// Whether a signal is to act now. Those that are ignored are forgotten.
    pub fn anyDeliverable(self: *ThreadSignals, shared: *Signals, of_process: u64) bool {
        if (self.fault != null) return true;
        var ready = self.pendingSet(shared, of_process) & ~self.masked();
        while (ready != 0) : (ready &= ready - 1) {
            const signal: u8 = @intCast(@ctz(ready) + 1);
            if (!shared.isIgnored(signal, self.blocked)) return true;
            shared.forget(signal);
            self.queue.forget(signal);
        }
        return false;
    }

    pub fn masked(self: *const ThreadSignals) u64 {
        return self.blocked & ~unblockable;
    }

    /// Takes the lowest pending signal of a set; of one kind the oldest, and the thread's own before the process's.
    pub fn take(self: *ThreadSignals, shared: *Signals, set: u64, of_process: u64) ?Entry {
        var ready = self.pendingSet(shared, of_process) & set;
        while (ready != 0) : (ready &= ready - 1) {
            const signal: u8 = @intCast(@ctz(ready) + 1);
            if (self.queue.take(signal)) |entry| return entry;
            if (of_process & bit(signal) == 0) continue;
            if (shared.take(signal)) |entry| return entry;
        }
        return null;
    }

    /// Takes the next signal that is to act now.
    pub fn next(self: *ThreadSignals, shared: *Signals, of_process: u64) ?Disposition {
        if (self.fault) |fault| {
            self.fault = null;
            return shared.dispose(.{ .entry = .{ .signal = fault.signal, .code = fault.code, .first = fault.address }, .fault = fault });
        }
        const entry = self.take(shared, ~self.masked(), of_process) orelse return null;
        return shared.dispose(.{ .entry = entry });
    }

    /// Another mask until the call is over and its signals are delivered.
    pub fn setTemporaryMask(self: *ThreadSignals, mask: u64) void {
        if (self.saved_mask == null) self.saved_mask = self.blocked;
        self.blocked = mask & ~unblockable;
    }

    /// The call ends without a signal: its mask goes with it.
    pub fn endTemporaryMask(self: *ThreadSignals) void {
        self.blocked = self.saved_mask orelse return;
        self.saved_mask = null;
    }

    pub const StackError = error{ Busy, Invalid, TooSmall };

    /// Gives handlers another stack; not while one of them stands on the present one.
    pub fn setAlternate(self: *ThreadSignals, new: AlternateStack, stack_pointer: u64) StackError!void {
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
    var shared: Signals = .{};
    var own: ThreadSignals = .{};
    const all = ~@as(u64, 0);
    shared.actions[11] = .{ .handler = ignore_handler };
    own.blocked = bit(11) | bit(15);
    own.raiseFault(&shared, .{ .signal = 11, .code = 1 });
    try testing.expectEqual(Disposition{ .terminate = 11 }, own.next(&shared, all).?);
    shared.raise(15);
    try testing.expectEqual(null, own.next(&shared, all));
    own.blocked = 0;
    try testing.expectEqual(null, own.next(&shared, 0));
    try testing.expectEqual(Disposition{ .terminate = 15 }, own.next(&shared, all).?);
    shared.raise(17);
    try testing.expect(!own.anyDeliverable(&shared, all));
    try testing.expectEqual(null, own.next(&shared, all));
}

test "real-time signals keep order and number up to the limit, others come once; a thread's own come first" {
    var shared: Signals = .{};
    const all = ~@as(u64, 0);
    var own: ThreadSignals = .{ .blocked = all };
    for (0..3) |value| try testing.expect(shared.send(.{ .signal = 40, .second = value }, 3, all));
    try testing.expect(!shared.send(.{ .signal = 41 }, 3, all));
    try testing.expect(shared.send(.{ .signal = 10, .second = 7 }, 3, all));
    try testing.expect(shared.send(.{ .signal = 10, .second = 8 }, 3, all));
    try testing.expect(own.send(&shared, .{ .signal = 10, .second = 9 }, 3));
    try testing.expectEqual(9, own.take(&shared, all, all).?.second);
    try testing.expectEqual(7, own.take(&shared, all, all).?.second);
    for (0..3) |value| try testing.expectEqual(value, own.take(&shared, all, all).?.second);
    try testing.expectEqual(null, own.take(&shared, all, all));
    try testing.expectEqual(0, own.pendingSet(&shared, all));
}
