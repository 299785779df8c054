//! futex(2) for one thread: a wake finds nobody, and a wait ends with its time or a signal.
const std = @import("std");
const kernel_module = @import("kernel.zig");
const time = @import("time.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const command_mask = 0x7f;
const clock_realtime_flag = 0x100;
const Command = enum(u32) { wait = 0, wake = 1, requeue = 3, cmp_requeue = 4, wake_op = 5, wait_bitset = 9, wake_bitset = 10, _ };

pub fn futex(k: *Kernel, a: Args) i64 {
    const operation: u32 = @truncate(a[1]);
    if (a[0] % 4 != 0) return fail(.INVAL);
    const command: Command = @enumFromInt(operation & command_mask);
    switch (command) {
        .wait, .wait_bitset => {
            if (command == .wait_bitset and @as(u32, @truncate(a[5])) == 0) return fail(.INVAL);
            return wait(k, a, command == .wait_bitset, operation & clock_realtime_flag != 0);
        },
        .wake, .wake_bitset => {
            if (command == .wake_bitset and @as(u32, @truncate(a[5])) == 0) return fail(.INVAL);
            _ = k.memory.readValue(u32, a[0]) catch return fail(.FAULT);
            return 0;
        },
        .requeue, .cmp_requeue, .wake_op => {
            const value = k.memory.readValue(u32, a[0]) catch return fail(.FAULT);
            if (command == .cmp_requeue and value != @as(u32, @truncate(a[5]))) return fail(.AGAIN);
            return 0;
        },
        else => return fail(.NOSYS),
    }
}

/// FUTEX_WAIT's time is how long, FUTEX_WAIT_BITSET's is until when.
fn wait(k: *Kernel, a: Args, absolute: bool, realtime: bool) i64 {
    var deadline: ?u64 = null;
    if (a[3] != 0) {
        const given = k.memory.readValue(time.Timespec, a[3]) catch return fail(.FAULT);
        const ns = time.fromTimespec(given) orelse return fail(.INVAL);
        const start: u64 = if (absolute) 0 else k.clock.monotonicNs();
        deadline = start +| ns;
    }
    if ((k.memory.readValue(u32, a[0]) catch return fail(.FAULT)) != @as(u32, @truncate(a[2]))) return fail(.AGAIN);
    while (true) {
        var left: ?u64 = null;
        if (deadline) |until| {
            const now = if (absolute and realtime) k.clock.realtimeNs() else k.clock.monotonicNs();
            if (now >= until) return fail(.TIMEDOUT);
            left = until - now;
        }
        if (k.waitForHost(-1, 0, left) == .interrupted) return fail(.INTR);
    }
}
