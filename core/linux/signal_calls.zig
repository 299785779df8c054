//! The system calls of signals: actions, masks, sending, waiting, the alternate stack.
//! Source: sigaction(2), sigprocmask(2), sigtimedwait(2), rt_sigqueueinfo(2), sigaltstack(2), kill(2).
const std = @import("std");
const kernel_module = @import("kernel.zig");
const signals_module = @import("signals.zig");
const time = @import("time.zig");
const waiting = @import("waiting.zig");
const Args = kernel_module.Args;
const Entry = signals_module.Entry;
const Kernel = kernel_module.Kernel;
const Thread = @import("threads.zig").Thread;
const fail = kernel_module.fail;

const mask_bytes = 8;

/// The flags that Linux knows; others do not stay, which is how programs find out.
const known_action_flags: u64 = 0xdc00_0807;

/// siginfo_t; what the two words are depends on the code.
pub const SigInfo = extern struct { signal: i32, errno: i32 = 0, code: i32, padding: i32 = 0, first: u64 = 0, second: u64 = 0, rest: [12]u64 = @splat(0) };
comptime {
    std.debug.assert(@sizeOf(SigInfo) == 128);
}

pub fn infoOf(entry: Entry) SigInfo {
    return .{ .signal = entry.signal, .code = entry.code, .first = entry.first, .second = entry.second };
}

fn signalNumber(value: u64) ?u8 {
    const signal: i32 = @bitCast(@as(u32, @truncate(value)));
    return if (signal >= 1 and signal <= signals_module.count) @intCast(signal) else null;
}

pub fn rtSigaction(k: *Kernel, a: Args) i64 {
    const signal = signalNumber(a[0]) orelse return fail(.INVAL);
    if (a[3] != mask_bytes) return fail(.INVAL);
    const slot = &k.signals.actions[signal];
    const old = slot.*;
    if (a[1] != 0) {
        if (signals_module.bit(signal) & signals_module.unblockable != 0) return fail(.INVAL);
        slot.* = k.memory.readValue(signals_module.Action, a[1]) catch return fail(.FAULT);
        slot.flags &= known_action_flags;
        slot.mask &= ~signals_module.unblockable;
        const ignored = slot.handler == signals_module.ignore_handler or (slot.handler == signals_module.default_handler and signals_module.isIgnoredByDefault(signal));
        if (ignored) {
            k.signals.forget(signal);
            for (k.threads.list.items) |thread| thread.signals.queue.forget(signal);
        }
        k.tick();
    }
    if (a[2] != 0) k.memory.writeValue(a[2], old) catch return fail(.FAULT);
    return 0;
}

pub fn rtSigprocmask(k: *Kernel, a: Args) i64 {
    if (a[3] != mask_bytes) return fail(.INVAL);
    const own = &k.threads.current.signals;
    const old = own.blocked;
    if (a[1] != 0) {
        const set = (k.memory.readValue(u64, a[1]) catch return fail(.FAULT)) & ~signals_module.unblockable;
        own.blocked = switch (a[0]) {
            0 => old | set,
            1 => old & ~set,
            2 => set,
            else => return fail(.INVAL),
        };
        // What is let out here may be another thread's to take.
        if (own.blocked != old and k.threads.list.items.len > 1) k.changed();
        k.tick();
    }
    if (a[2] != 0) k.memory.writeValue(a[2], old) catch return fail(.FAULT);
    return 0;
}

/// The run loop restores the registers from the frame.
pub fn rtSigreturn(k: *Kernel, _: Args) i64 {
    k.registers_replaced = true;
    return 0;
}

pub fn rtSigpending(k: *Kernel, a: Args) i64 {
    if (a[1] > mask_bytes) return fail(.INVAL);
    k.tick();
    const own = &k.threads.current.signals;
    const pending = own.pendingSet(&k.signals, ~@as(u64, 0)) & own.blocked;
    k.memory.write(a[0], std.mem.asBytes(&pending)[0..@intCast(a[1])]) catch return fail(.FAULT);
    return 0;
}

pub fn rtSigsuspend(k: *Kernel, a: Args) i64 {
    if (a[1] != mask_bytes) return fail(.INVAL);
    k.threads.current.signals.setTemporaryMask(k.memory.readValue(u64, a[0]) catch return fail(.FAULT));
    return pause(k, a);
}

pub fn pause(k: *Kernel, _: Args) i64 {
    return k.block();
}

/// Takes a signal of a set, blocked as a rule, without its handler.
pub fn rtSigtimedwait(k: *Kernel, a: Args) i64 {
    if (a[3] != mask_bytes) return fail(.INVAL);
    const set = (k.memory.readValue(u64, a[0]) catch return fail(.FAULT)) & ~signals_module.unblockable;
    if (a[2] != 0 and k.isFirstTry()) {
        const span = time.fromTimespec(k.memory.readValue(time.Timespec, a[2]) catch return fail(.FAULT)) orelse return fail(.INVAL);
        k.waitDeadline(.monotonic, .span, span);
    }
    const own = &k.threads.current.signals;
    own.awaited = 0;
    k.tick();
    if (own.take(&k.signals, set, k.processSignalsOf(k.threads.current))) |entry| return tellSignal(k, k.withParticulars(entry), a[1]);
    if (k.isTimeOver()) return fail(.AGAIN);
    const result = k.block();
    // Until the next try, its signals are this thread's to take.
    if (result == waiting.blocked) own.awaited = set;
    return result;
}

fn tellSignal(k: *Kernel, entry: Entry, address: u64) i64 {
    if (address != 0) k.memory.writeValue(address, infoOf(entry)) catch return fail(.FAULT);
    return entry.signal;
}

pub fn sigaltstack(k: *Kernel, a: Args) i64 {
    const old = k.threads.current.signals.alternate;
    const on_it = old.holds(k.stack_pointer);
    if (a[0] != 0) {
        const new = k.memory.readValue(signals_module.AlternateStack, a[0]) catch return fail(.FAULT);
        k.threads.current.signals.setAlternate(new, k.stack_pointer) catch |failure| return switch (failure) {
            error.Busy => fail(.PERM),
            error.Invalid => fail(.INVAL),
            error.TooSmall => fail(.NOMEM),
        };
    }
    var told = old;
    if (on_it) told.flags |= signals_module.SS_ONSTACK;
    if (a[1] != 0) k.memory.writeValue(a[1], told) catch return fail(.FAULT);
    return 0;
}

/// 0 if a process id means the guest, else a negative errno.
fn checkProcess(k: *const Kernel, pid: u64) i64 {
    const target: i32 = @bitCast(@as(u32, @truncate(pid)));
    return if (target == k.identity.pid or target == 0 or target == -k.identity.pid) 0 else fail(.SRCH);
}

/// A thread by its id, which must not be 0 or negative.
fn findThread(k: *const Kernel, value: u64, errno: *i64) ?*Thread {
    const id: i32 = @bitCast(@as(u32, @truncate(value)));
    errno.* = fail(if (id <= 0) .INVAL else .SRCH);
    return if (id <= 0) null else k.threads.find(id);
}

fn isOwnGroup(k: *const Kernel, value: u64) bool {
    return @as(i32, @bitCast(@as(u32, @truncate(value)))) == k.identity.pid;
}

/// Sends a signal of the guest's own to itself; signal 0 only asks.
pub fn kill(k: *Kernel, a: Args) i64 {
    const refused = checkProcess(k, a[0]);
    if (refused != 0) return refused;
    if (@as(u32, @truncate(a[1])) == 0) return 0;
    const signal = signalNumber(a[1]) orelse return fail(.INVAL);
    k.sendSignal(.{ .signal = signal, .code = signals_module.SI_USER, .first = k.senderWord() });
    return 0;
}

fn sendToThread(k: *Kernel, thread: *Thread, signal_value: u64) i64 {
    if (@as(u32, @truncate(signal_value)) == 0) return 0;
    const signal = signalNumber(signal_value) orelse return fail(.INVAL);
    const sent = k.sendToThread(thread, .{ .signal = signal, .code = signals_module.SI_TKILL, .first = k.senderWord() });
    return if (sent) 0 else fail(.AGAIN);
}

pub fn tkill(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    return sendToThread(k, findThread(k, a[0], &errno) orelse return errno, a[1]);
}

pub fn tgkill(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const thread = findThread(k, a[1], &errno) orelse return errno;
    if (@as(i32, @bitCast(@as(u32, @truncate(a[0])))) <= 0) return fail(.INVAL);
    return if (isOwnGroup(k, a[0])) sendToThread(k, thread, a[2]) else fail(.SRCH);
}

/// The siginfo is the sender's own: to itself a process may send any.
fn entryOf(k: *Kernel, signal: u8, address: u64) ?signals_module.Entry {
    const info = k.memory.readValue(SigInfo, address) catch return null;
    return .{ .signal = signal, .code = info.code, .first = info.first, .second = info.second };
}

pub fn rtSigqueueinfo(k: *Kernel, a: Args) i64 {
    if (!isOwnGroup(k, a[0])) return fail(.SRCH);
    const signal = signalNumber(a[1]) orelse return if (@as(u32, @truncate(a[1])) == 0) 0 else fail(.INVAL);
    const entry = entryOf(k, signal, a[2]) orelse return fail(.FAULT);
    return if (k.queueSignal(entry)) 0 else fail(.AGAIN);
}

pub fn rtTgsigqueueinfo(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const thread = findThread(k, a[1], &errno) orelse return errno;
    if (@as(i32, @bitCast(@as(u32, @truncate(a[0])))) <= 0) return fail(.INVAL);
    if (!isOwnGroup(k, a[0])) return fail(.SRCH);
    const signal = signalNumber(a[2]) orelse return if (@as(u32, @truncate(a[2])) == 0) 0 else fail(.INVAL);
    const entry = entryOf(k, signal, a[3]) orelse return fail(.FAULT);
    return if (k.sendToThread(thread, entry)) 0 else fail(.AGAIN);
}
