//! How system calls wait: a handler that cannot finish returns, its thread sleeps, and the same handler is run again from
//! its start when something may have changed. What it must remember until then is here, and is plain data: a thread can be
//! frozen, forked and put back in the middle of any call.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const timers = @import("timers.zig");
const Args = kernel_module.Args;
const Held = @import("files/table.zig").Held;
const Kernel = kernel_module.Kernel;

/// What a handler answers whose thread is to sleep. No result and no errno.
pub const blocked = std.math.minInt(i64);

/// When a wait is over.
pub const Deadline = struct {
    clock: timers.Clock,
    /// A date of its clock; otherwise a span, which stands still while the machine is frozen.
    dated: bool,
    /// By its clock. In a frozen machine, what is left of a span.
    ns: u64,
};

/// A thread that sleeps in futex(2), and for which wake-ups.
pub const FutexWait = struct { address: u64, bits: u32, private: bool };

/// The system call of a thread that waits.
pub const Call = struct {
    number: u64 = 0,
    args: Args = @splat(0),
    tries: u32 = 0,
    deadline: ?Deadline = null,
    /// What the call has done already, such as bytes of a long write.
    progress: u64 = 0,
    futex: ?FutexWait = null,
    /// `Threads.changes` when it was tried last.
    seen: u64 = 0,
    /// The open file that its first argument names.
    held: ?Held = null,
    /// The socket on which it waits for connections, among others perhaps.
    listens: ?u32 = null,
};

/// Host descriptors of which a waiting thread wants to hear. None of them is the guest's to name.
pub const Asks = struct {
    entries: std.ArrayList(linux.pollfd) = .empty,
    /// There was no memory for all: the thread is to look again by itself.
    incomplete: bool = false,

    pub fn clear(self: *Asks) void {
        self.entries.clearRetainingCapacity();
        self.incomplete = false;
    }

    pub fn deinit(self: *Asks, allocator: std.mem.Allocator) void {
        self.entries.deinit(allocator);
    }
};

/// What the host had to say in the last wait: only descriptors that had something.
pub const Answers = struct {
    entries: std.ArrayList(linux.pollfd) = .empty,

    pub fn deinit(self: *Answers, allocator: std.mem.Allocator) void {
        self.entries.deinit(allocator);
    }

    pub fn clear(self: *Answers) void {
        self.entries.clearRetainingCapacity();
    }

    pub fn of(self: *const Answers, asked: linux.pollfd) i16 {
        for (self.entries.items) |entry| {
            if (entry.fd == asked.fd) return entry.revents & (asked.events | linux.POLL.ERR | linux.POLL.HUP | linux.POLL.NVAL);
        }
        return 0;
    }
};

pub const Patience = enum {
    /// The handler is going to wait if nothing is there: the host is asked with the wait itself.
    patient,
    now,
};

pub const SpanOrDate = enum { span, date };

/// The kernel's side of `Kernel.block`: the current thread sleeps unless a signal is to act.
pub fn block(k: *Kernel) i64 {
    return if (k.isInterrupted(k.threads.current)) kernel_module.fail(.INTR) else blocked;
}

pub fn setDeadline(k: *Kernel, clock: timers.Clock, kind: SpanOrDate, ns: ?u64) void {
    const call = &k.threads.current.call;
    if (call.tries > 0) return;
    const given = ns orelse return;
    call.deadline = .{ .clock = clock, .dated = kind == .date, .ns = if (kind == .date) given else k.clockNs(clock) +| given };
}

pub fn askHost(k: *Kernel, entries: []linux.pollfd, patience: Patience) void {
    const asks = &k.threads.current.asks.entries;
    for (entries) |*entry| {
        entry.revents = k.answers.of(entry.*);
        // Without room to note it the thread would not wake for it: then the host is asked at once, and again with every try.
        asks.append(k.allocator, entry.*) catch {
            k.threads.current.asks.incomplete = true;
        };
    }
    if (patience == .patient or entries.len == 0) return;
    k.hostCall();
    const rc: isize = @bitCast(linux.poll(entries.ptr, @intCast(entries.len), 0));
    if (rc < 0) for (entries) |*entry| {
        entry.revents = 0;
    };
}

/// Spans of threads that wait hold what is left of them from now on.
pub fn putToSleep(k: *const Kernel, threads: anytype) void {
    for (threads) |thread| {
        const deadline = if (thread.call.deadline) |*some| some else continue;
        if (!deadline.dated) deadline.ns -|= k.clockNs(deadline.clock);
    }
}

/// The machine runs for the first time since it was frozen.
pub fn wake(k: *const Kernel, threads: anytype) void {
    for (threads) |thread| {
        const deadline = if (thread.call.deadline) |*some| some else continue;
        if (!deadline.dated) deadline.ns +|= k.clockNs(deadline.clock);
    }
}
