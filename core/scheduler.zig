//! Which thread of a machine has its one processor: switching, taking turns, trying again what waits, and sleeping when
//! nobody can run.
//!
//! Threads run until they wait, yield or have used their slice while another could run. Nothing interrupts a thread that is
//! the only one to run, unless others sleep until a time or wait for the host. All host waiting of a machine happens here.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const guest_device = @import("linux/files/guest_device.zig");
const interrupt_module = @import("interrupt.zig");
const limits = @import("limits.zig");
const outside = @import("linux/sockets/outside.zig");
const remote_calls = @import("linux/remote_calls.zig");
const table = @import("linux/table.zig");
const timerfd = @import("linux/events/timerfd.zig");
const vectors_module = @import("vectors.zig");
const Kernel = @import("linux/kernel.zig").Kernel;
const Reason = interrupt_module.Reason;
const Machine = @import("machine.zig").Machine;
const Thread = @import("linux/threads.zig").Thread;
const Threads = @import("linux/threads.zig").Threads;
const Vectors = @import("vectors.zig").Vectors;

pub const Turn = enum {
    /// A thread is loaded: the guest may be entered.
    go,
    /// Something has happened; look again.
    again,
    /// All threads sleep, and one waits for connections.
    listens,
    /// All threads sleep, and the embedder has something to take.
    news,
    failed,
};

/// What lets a machine stop while all its threads sleep. `at_waits`: that one of a remote waits for a caller.
pub const Stops = enum { never, at_listeners, at_waits, at_news, at_rest };

/// Whether the current thread cannot go on, so that another is to be chosen. Its registers are kept then.
pub fn needsTurn(machine: *const Machine) bool {
    const threads = &machine.kernel.threads;
    return machine.kernel.gives_way or threads.current.state != .runnable or (threads.calling and threads.current == threads.first());
}

/// Keeps the registers in the sync area, which are the user's, as the current thread's.
pub fn save(machine: *Machine) void {
    const thread = machine.current();
    thread.regs = machine.vcpu.registers().*;
    thread.segments = machine.currentSegments();
}

/// Makes a thread the current one and puts its state into the processor. Registers of the one before are kept already.
pub fn load(machine: *Machine, thread: *Thread) Vectors.Error!void {
    const threads = &machine.kernel.threads;
    const before = threads.current;
    if (before != thread) {
        threads.account(machine.kernel.cpuCyclesNow());
        try before.vectors.keep(machine.vcpu.vm, machine.allocator);
        threads.current = thread;
    }
    if (thread != threads.caller and !threads.calling) forgetCaller(threads);
    try thread.vectors.load(machine.vcpu.vm);
    const bases = machine.currentSegments();
    if (!std.meta.eql(bases, thread.segments)) machine.vcpu.setSegmentBases(thread.segments.fs, thread.segments.gs);
    machine.vcpu.registers().* = thread.regs;
    machine.vcpu.resumeUser();
}

/// The program goes on: the next call begins with the state that it has then.
fn forgetCaller(threads: *Threads) void {
    threads.caller_fresh = true;
    threads.caller.vectors.current = .{ .memory = &vectors_module.initial };
}

/// Chooses who goes on and loads it; sleeps if nobody can.
pub fn turn(machine: *Machine, stops: Stops) Turn {
    const k = &machine.kernel;
    k.gives_way = false;
    retryWaiting(machine);
    k.threads.account(k.cpuCyclesNow());
    // What other threads would do, such as compiling, is not worth an answer's wait.
    if (stops == .at_news and outside.isAnswered(k)) return .news;
    const thread = k.threads.next() orelse return sleep(machine, stops);
    load(machine, thread) catch return .failed;
    k.threads.slice_began_ns = host.monotonicNs();
    k.threads.replan = true;
    return .go;
}

/// Runs the handlers of calls that may be able to end now.
pub fn retryWaiting(machine: *Machine) void {
    const k = &machine.kernel;
    const threads = &k.threads;
    const acting = threads.current;
    defer threads.current = acting;
    // The host is asked anew for those who are not tried now.
    defer k.answers.clear();
    if (!threads.anyWaiting()) {
        threads.served = threads.changes;
        return;
    }
    var waiting = threads.waitingInOrder();
    while (waiting.next()) |thread| {
        if (!mayEnd(k, thread)) continue;
        // Each may have much to look at, but a time limit does not wait for all of them.
        if (machine.kernel.interrupt.pending() & Reason.ending != 0) return;
        threads.current = thread;
        const result = table.again(k) orelse continue;
        if (machine.tracer) |tracer| tracer.call(k, thread.call.number, thread.call.args, result);
        table.finish(k, thread, result);
    }
    threads.served = threads.changes;
}

fn mayEnd(k: *Kernel, thread: *Thread) bool {
    const call = &thread.call;
    if (call.futex == null and call.seen != k.threads.changes) return true;
    if (call.deadline != null and k.isDue(thread)) return true;
    for (k.answers.entries.items) |answer| {
        for (thread.asks.entries.items) |ask| if (ask.fd == answer.fd) return true;
    }
    return thread.asks.incomplete or k.isInterrupted(thread);
}

/// Sleeps until a thread may be able to go on, or until an interruption.
fn sleep(machine: *Machine, stops: Stops) Turn {
    const k = &machine.kernel;
    interrupt_module.disarmSlice();
    k.tickWhile(.waiting);
    timerfd.expire(k);
    // A timer has just expired.
    if (k.threads.served != k.threads.changes) return .again;
    var least = nearestDeadlineNs(k);
    if (timerfd.nextNs(k)) |ns| least = @min(least orelse ns, ns);
    if (stops == .at_news and outside.anyNews(k)) {
        // What the host lets somebody do at once is done first, such as writing a line to a log.
        if (anyAsks(&k.threads) and !askHost(k, 0)) return .failed;
        return if (k.answers.entries.items.len > 0) .again else .news;
    }
    const may_stop = switch (stops) {
        .at_rest => true,
        .at_listeners => anyListens(&k.threads),
        .at_waits => anyWaitsForCaller(k),
        .never, .at_news => false,
    };
    if (may_stop) {
        if (!askHost(k, 0)) return .failed;
        return if (k.answers.entries.items.len > 0 or machine.kernel.interrupt.pending() != 0 or (least orelse 1) == 0) .again else if (stops == .at_rest) .news else .listens;
    }
    if (anyIncomplete(&k.threads)) least = @min(least orelse limits.wake_step_ns, limits.wake_step_ns);
    const before = host.rdtsc();
    const asked = askHost(k, least);
    k.entered_tsc +%= host.rdtsc() -% before;
    return if (asked) .again else .failed;
}

/// Waits for what the threads want of the host; null is without end, 0 only looks. What is there is in `answers`.
fn askHost(k: *Kernel, timeout_ns: ?u64) bool {
    k.hostCall();
    const entries = &k.answers.entries;
    k.answers.clear();
    var waiting = k.threads.waitingInOrder();
    while (waiting.next()) |thread| {
        entries.appendSlice(k.allocator, thread.asks.entries.items) catch return false;
    }
    for (entries.items) |*entry| entry.revents = 0;
    const result = if (k.lent) |lent| lent.wait(entries, timeout_ns) else interrupt_module.wait(k.interrupt, entries.items, timeout_ns);
    if (result != .ready) {
        k.answers.clear();
        return true;
    }
    var kept: usize = 0;
    for (entries.items) |entry| if (entry.revents != 0) {
        entries.items[kept] = entry;
        kept += 1;
    };
    entries.shrinkRetainingCapacity(kept);
    return true;
}

fn anyListens(threads: *const Threads) bool {
    for (threads.list.items) |thread| if (thread.state == .waiting and thread.call.listens != null) return true;
    return false;
}

fn anyWaitsForCaller(k: *const Kernel) bool {
    for (k.threads.list.items) |thread| {
        if (guest_device.isWaiting(k, thread)) return true;
        if (remote_calls.lentFor(thread)) |lent_for| if (lent_for == .waits) return true;
    }
    return false;
}

fn anyIncomplete(threads: *const Threads) bool {
    for (threads.list.items) |thread| if (thread.state == .waiting and thread.asks.incomplete) return true;
    return threads.caller.state == .waiting and threads.caller.asks.incomplete;
}

/// How long until the first sleeping thread's time is over; null if none has a time.
fn nearestDeadlineNs(k: *const Kernel) ?u64 {
    var least: ?u64 = null;
    var waiting = k.threads.waitingInOrder();
    while (waiting.next()) |thread| {
        const deadline = thread.call.deadline orelse continue;
        const left = deadline.ns -| k.clockNs(deadline.clock);
        least = @min(least orelse left, left);
    }
    return least;
}

/// Before the guest is entered: lets the host interrupt it when another thread is to have a turn.
pub fn plan(machine: *Machine) void {
    const k = &machine.kernel;
    const threads = &k.threads;
    if (threads.served != threads.changes) retryWaiting(machine);
    if (!threads.replan) return;
    threads.replan = false;
    // During a call the first thread stands still, with whatever it waits for.
    if (threads.list.items.len == 1) return;
    var least: ?u64 = null;
    if (threads.anyOther()) least = limits.slice_ns -| (host.monotonicNs() -| threads.slice_began_ns);
    if (nearestDeadlineNs(k)) |ns| least = @min(least orelse ns, ns);
    if (timerfd.nextNs(k)) |ns| least = @min(least orelse ns, ns);
    if (anyAsks(threads)) least = @min(least orelse limits.slice_ns, limits.slice_ns);
    if (least) |ns| interrupt_module.armSlice(k.interrupt, @max(ns, limits.wake_step_ns)) else interrupt_module.disarmSlice();
}

fn anyAsks(threads: *const Threads) bool {
    for (threads.list.items) |thread| if (thread.state == .waiting and thread.asks.entries.items.len > 0) return true;
    return threads.caller.state == .waiting and threads.caller.asks.entries.items.len > 0;
}

/// The slice is over, or it is time to look who could run. True if the current thread is to give way.
pub fn sliceIsOver(machine: *Machine) bool {
    const k = &machine.kernel;
    const threads = &k.threads;
    threads.replan = true;
    if (anyAsks(threads)) _ = askHost(k, 0);
    timerfd.expire(k);
    retryWaiting(machine);
    threads.account(k.cpuCyclesNow());
    return if (threads.next()) |thread| thread != threads.current else false;
}
