//! What native threads tell the JavaScript thread: a bounded queue and one eventfd that is readable while it holds something.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const worker = @import("worker/self.zig");

pub const Kind = enum(u32) { run_done = 1, call_done = 2, output_ready = 3, job_done = 4 };

pub const Event = extern struct { kind: u32, handle: u32, ticket: u32, status: i32 };

var lock: host.Mutex = .{};
var queue: std.ArrayList(Event) = .empty;
var taken: usize = 0;
var wake_fd: i32 = -1;

/// The eventfd, made at the first call.
pub fn descriptor() host.Error!i32 {
    lock.lock();
    defer lock.unlock();
    if (wake_fd < 0) wake_fd = @intCast(try host.check(linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK)));
    return wake_fd;
}

/// Queues an event. The queue is as long as there are runs under way and outputs not yet announced, so it needs no bound
/// of its own; without memory the process could not go on in any case.
pub fn push(event: Event) void {
    if (worker.forward(event)) return;
    lock.lock();
    const was_empty = queue.items.len == taken;
    queue.append(std.heap.c_allocator, event) catch @panic("out of memory for an event");
    const fd = wake_fd;
    lock.unlock();
    if (was_empty and fd >= 0) {
        const one: u64 = 1;
        _ = linux.write(fd, @ptrCast(&one), 8);
    }
}

/// Moves up to `out.len` events out of the queue.
pub fn take(out: []Event) usize {
    lock.lock();
    defer lock.unlock();
    const count = @min(out.len, queue.items.len - taken);
    @memcpy(out[0..count], queue.items[taken..][0..count]);
    taken += count;
    if (taken == queue.items.len) {
        queue.clearRetainingCapacity();
        taken = 0;
    }
    return count;
}
