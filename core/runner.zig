//! Native threads that run machines, so that the JavaScript thread stays free.
//!
//! A job is taken by an idle thread or by a new one; a thread with nothing to do ends after a while. One job is one run or
//! one call of one machine; its end is an event.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const interrupt_module = @import("interrupt.zig");
const limits = @import("limits.zig");

pub const Job = struct {
    context: *anyopaque,
    work_fn: *const fn (context: *anyopaque) void,
    next: ?*Job = null,
};

var lock: host.Mutex = .{};
var first: ?*Job = null;
var last: ?*Job = null;
var idle: u32 = 0;
var queued: u32 = 0;
/// Changes whenever a job is queued; idle threads sleep on it.
var bell: std.atomic.Value(u32) = .init(0);

pub const SubmitError = error{NoThread};

/// Queues a job; it must stay where it is until its work function has been called.
pub fn submit(job: *Job) SubmitError!void {
    lock.lock();
    job.next = null;
    if (last) |tail| tail.next = job else first = job;
    last = job;
    queued += 1;
    const needs_thread = queued > idle;
    lock.unlock();
    _ = bell.fetchAdd(1, .seq_cst);
    host.futexWake(&bell, 1);
    if (!needs_thread) return;
    const thread = std.Thread.spawn(.{ .stack_size = limits.runner_stack_bytes }, work, .{}) catch {
        if (withdraw(job)) return error.NoThread;
        return;
    };
    thread.detach();
}

/// Takes a queued job back; false when a thread has it already.
fn withdraw(job: *Job) bool {
    lock.lock();
    defer lock.unlock();
    var before: ?*Job = null;
    var at = first;
    while (at) |some| : ({
        before = some;
        at = some.next;
    }) {
        if (some != job) continue;
        if (before) |previous| previous.next = job.next else first = job.next;
        if (last == job) last = before;
        queued -= 1;
        return true;
    }
    return false;
}

fn takeJob() ?*Job {
    const job = first orelse return null;
    first = job.next;
    if (first == null) last = null;
    queued -= 1;
    return job;
}

/// Before the process is doubled: no thread is in the middle of anything here.
pub fn hold() void {
    lock.lock();
}

/// In the double, which has none of the threads.
pub fn startAnew() void {
    first = null;
    last = null;
    idle = 0;
    queued = 0;
}

pub fn letGo() void {
    lock.unlock();
}

fn work() void {
    defer interrupt_module.releaseThread(std.heap.c_allocator);
    while (true) {
        lock.lock();
        if (takeJob()) |job| {
            lock.unlock();
            job.work_fn(job.context);
            continue;
        }
        const seen = bell.load(.seq_cst);
        idle += 1;
        lock.unlock();
        const deadline = host.monotonicNs() + limits.runner_idle_ns;
        host.futexWait(&bell, seen, limits.runner_idle_ns);
        lock.lock();
        idle -= 1;
        const nothing = first == null;
        lock.unlock();
        if (nothing and host.monotonicNs() >= deadline) return;
    }
}
