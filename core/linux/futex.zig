//! futex(2): threads that sleep on a word of memory, and their wake-ups. Nothing of it reaches the host.
//!
//! A machine has one address space, so the address is the key. As on Linux, who waits with FUTEX_PRIVATE_FLAG is woken only
//! with it, and who waits without it only without.
//! Sources: futex(2), FUTEX_WAKE_OP(2const), get_robust_list(2).
const std = @import("std");
const kernel_module = @import("kernel.zig");
const thread_calls = @import("thread_calls.zig");
const time = @import("time.zig");
const waiting = @import("waiting.zig");
const table = @import("table.zig");
const layout = @import("../layout.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const Thread = @import("threads.zig").Thread;
const fail = kernel_module.fail;

const command_mask = 0x7f;
const private_flag = 0x80;
const clock_realtime_flag = 0x100;
const Command = enum(u32) { wait = 0, wake = 1, requeue = 3, cmp_requeue = 4, wake_op = 5, wait_bitset = 9, wake_bitset = 10, _ };

pub const any_bits: u32 = 0xffff_ffff;

pub fn futex(k: *Kernel, a: Args) i64 {
    const operation: u32 = @truncate(a[1]);
    const command: Command = @enumFromInt(operation & command_mask);
    const bits: u32 = @truncate(a[5]);
    // futex(2) speaks of FUTEX_WAIT too, but the kernel refuses it there.
    if (operation & clock_realtime_flag != 0 and command != .wait_bitset) return fail(.NOSYS);
    const private = operation & private_flag != 0;
    switch (command) {
        .wait, .wake, .requeue, .cmp_requeue, .wake_op, .wait_bitset, .wake_bitset => if (a[0] % 4 != 0) return fail(.INVAL),
        _ => return fail(.NOSYS),
    }
    return switch (command) {
        .wait => wait(k, a, .{ .bits = any_bits, .private = private, .realtime = false, .absolute = false }),
        .wait_bitset => if (bits == 0) fail(.INVAL) else wait(k, a, .{ .bits = bits, .private = private, .realtime = operation & clock_realtime_flag != 0, .absolute = true }),
        .wake => wake(k, a, .{ .address = a[0], .private = private }),
        .wake_bitset => if (bits == 0) fail(.INVAL) else wake(k, a, .{ .address = a[0], .private = private, .bits = bits }),
        .requeue => requeue(k, a, private, null),
        .cmp_requeue => requeue(k, a, private, bits),
        .wake_op => wakeOp(k, a, private),
        _ => unreachable,
    };
}

fn read(k: *Kernel, address: u64) ?u32 {
    return k.memory.readValue(u32, address) catch null;
}

const How = struct { bits: u32, private: bool, realtime: bool, absolute: bool };

/// FUTEX_WAIT's time is how long, FUTEX_WAIT_BITSET's is until when. A wake-up ends the call by itself (`wakeAt`), so
/// a further try means that its time is over or a signal is to act.
fn wait(k: *Kernel, a: Args, how: How) i64 {
    const call = &k.threads.current.call;
    if (k.isFirstTry()) {
        if (a[3] != 0) {
            const given = k.memory.readValue(time.Timespec, a[3]) catch return fail(.FAULT);
            const ns = time.fromTimespec(given) orelse return fail(.INVAL);
            k.waitDeadline(if (how.realtime) .realtime else .monotonic, if (how.absolute) .date else .span, ns);
        }
        const value = read(k, a[0]) orelse return fail(.FAULT);
        if (value != @as(u32, @truncate(a[2]))) return fail(.AGAIN);
        call.futex = .{ .address = a[0], .bits = how.bits, .private = how.private };
    }
    if (k.isTimeOver()) return fail(.TIMEDOUT);
    return k.block();
}

/// A word, and whom of those who wait on it. What the kernel does by itself is not private.
pub const Key = struct {
    address: u64,
    private: bool = false,
    bits: u32 = any_bits,

    fn fits(key: Key, sleeps: waiting.FutexWait) bool {
        return sleeps.address == key.address and sleeps.private == key.private and sleeps.bits & key.bits != 0;
    }
};

/// Ends the waits of at most `most` threads, in the order in which they began; how many.
pub fn wakeAt(k: *Kernel, key: Key, most: u32) u32 {
    var woken: u32 = 0;
    var sleepers = k.threads.waitingInOrder();
    while (woken < most) {
        const thread = sleepers.next() orelse break;
        const sleeps = thread.call.futex orelse continue;
        if (!key.fits(sleeps)) continue;
        table.finish(k, thread, 0);
        woken += 1;
    }
    return woken;
}

/// Linux wakes one even if asked for none, and does not look at a private word.
fn wake(k: *Kernel, a: Args, key: Key) i64 {
    if (!isThere(k, a[0], key.private)) return fail(.FAULT);
    return wakeAt(k, key, @max(1, countOf(a[2])));
}

fn isThere(k: *Kernel, address: u64, private: bool) bool {
    return if (private) address < layout.address_end else read(k, address) != null;
}

fn countOf(value: u64) u32 {
    return @intCast(@max(0, @as(i32, @bitCast(@as(u32, @truncate(value))))));
}

/// Wakes some and lets others wait on another address; how many of both. futex(2) says that FUTEX_REQUEUE counts only the
/// woken, but the kernel counts all.
fn requeue(k: *Kernel, a: Args, private: bool, expected: ?u32) i64 {
    const signed = [_]i32{ @bitCast(@as(u32, @truncate(a[2]))), @bitCast(@as(u32, @truncate(a[3]))) };
    if (signed[0] < 0 or signed[1] < 0 or a[4] % 4 != 0) return fail(.INVAL);
    if (!isThere(k, a[0], private) or !isThere(k, a[4], private)) return fail(.FAULT);
    if (expected) |wanted| if ((read(k, a[0]) orelse return fail(.FAULT)) != wanted) return fail(.AGAIN);
    const key: Key = .{ .address = a[0], .private = private };
    const woken = wakeAt(k, key, @intCast(signed[0]));
    var moved: u32 = 0;
    var sleepers = k.threads.waitingInOrder();
    while (moved < signed[1]) {
        const thread = sleepers.next() orelse break;
        const sleeps = if (thread.call.futex) |*some| some else continue;
        if (!key.fits(sleeps.*)) continue;
        sleeps.address = a[4];
        moved += 1;
    }
    return woken + moved;
}

/// Changes a second word, wakes who waits on the first, and, if the second was as asked, who waits on it.
fn wakeOp(k: *Kernel, a: Args, private: bool) i64 {
    const encoded: u32 = @truncate(a[5]);
    const operation: u3 = @truncate(encoded >> 28);
    const shifts = encoded >> 31 != 0;
    const comparison: u4 = @truncate(encoded >> 24);
    const operand_field: i32 = @as(i12, @bitCast(@as(u12, @truncate(encoded >> 12))));
    const compared: i32 = @as(i12, @bitCast(@as(u12, @truncate(encoded))));
    if (a[4] % 4 != 0) return fail(.INVAL);
    if (!isThere(k, a[0], private)) return fail(.FAULT);
    const old = read(k, a[4]) orelse return fail(.FAULT);
    const operand: u32 = if (shifts) @as(u32, 1) << @truncate(@as(u32, @bitCast(operand_field))) else @bitCast(operand_field);
    const new = switch (operation) {
        0 => operand,
        1 => old +% operand,
        2 => old | operand,
        3 => old & ~operand,
        4 => old ^ operand,
        else => return fail(.NOSYS),
    };
    const was: i32 = @bitCast(old);
    const holds = switch (comparison) {
        0 => was == compared,
        1 => was != compared,
        2 => was < compared,
        3 => was <= compared,
        4 => was > compared,
        5 => was >= compared,
        else => return fail(.NOSYS),
    };
    k.memory.writeValue(a[4], new) catch return fail(.FAULT);
    var woken = wakeAt(k, .{ .address = a[0], .private = private }, @max(1, countOf(a[2])));
    if (holds) woken += wakeAt(k, .{ .address = a[4], .private = private }, @max(1, countOf(a[3])));
    return woken;
}

const owner_mask: u32 = 0x3fff_ffff;
const owner_died: u32 = 0x4000_0000;
const waiters: u32 = 0x8000_0000;
/// Linux's ROBUST_LIST_LIMIT.
const robust_entries_max = 2048;

/// Marks the locks that an ending thread still holds, and wakes one who waits for each.
pub fn releaseRobustList(k: *Kernel, thread: *const Thread) void {
    const head = thread.robust_list;
    if (head == 0) return;
    const offset = k.memory.readValue(u64, head +% 8) catch return;
    const pending = k.memory.readValue(u64, head +% 16) catch return;
    var entry = k.memory.readValue(u64, head) catch return;
    var left: u32 = robust_entries_max;
    while (entry & ~@as(u64, 1) != head and left > 0) : (left -= 1) {
        const next = k.memory.readValue(u64, entry & ~@as(u64, 1));
        if (entry != pending) release(k, thread, (entry & ~@as(u64, 1)) +% offset);
        entry = next catch return;
    }
    if (pending & ~@as(u64, 1) != 0) release(k, thread, (pending & ~@as(u64, 1)) +% offset);
}

fn release(k: *Kernel, thread: *const Thread, address: u64) void {
    const value = read(k, address) orelse return;
    if (value & owner_mask != @as(u32, @intCast(thread.id))) return;
    k.memory.writeValue(address, (value & waiters) | owner_died) catch return;
    if (value & waiters != 0) _ = wakeAt(k, .{ .address = address }, 1);
}
