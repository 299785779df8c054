//! The system calls of signals: actions, masks, sending, waiting, the alternate stack.
//! Source: sigaction(2), sigprocmask(2), sigtimedwait(2), rt_sigqueueinfo(2), sigaltstack(2), kill(2).
const std = @import("std");
const kernel_module = @import("kernel.zig");
const signals_module = @import("signals.zig");
const time = @import("time.zig");
const Args = kernel_module.Args;
const Entry = signals_module.Entry;
const Kernel = kernel_module.Kernel;
const Signals = signals_module.Signals;
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
        if (Signals.bit(signal) & Signals.unblockable != 0) return fail(.INVAL);
        slot.* = k.memory.readValue(signals_module.Action, a[1]) catch return fail(.FAULT);
        slot.flags &= known_action_flags;
        slot.mask &= ~Signals.unblockable;
        const ignored = slot.handler == signals_module.ignore_handler or (slot.handler == signals_module.default_handler and signals_module.isIgnoredByDefault(signal));
        if (ignored) k.signals.forget(signal);
        k.tick();
    }
    if (a[2] != 0) k.memory.writeValue(a[2], old) catch return fail(.FAULT);
    return 0;
}

pub fn rtSigprocmask(k: *Kernel, a: Args) i64 {
    if (a[3] != mask_bytes) return fail(.INVAL);
    const old = k.signals.blocked;
    if (a[1] != 0) {
        const set = (k.memory.readValue(u64, a[1]) catch return fail(.FAULT)) & ~Signals.unblockable;
        k.signals.blocked = switch (a[0]) {
            0 => old | set,
            1 => old & ~set,
            2 => set,
            else => return fail(.INVAL),
        };
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
    const pending = k.signals.pendingSet() & k.signals.blocked;
    k.memory.write(a[0], std.mem.asBytes(&pending)[0..@intCast(a[1])]) catch return fail(.FAULT);
    return 0;
}

pub fn rtSigsuspend(k: *Kernel, a: Args) i64 {
    if (a[1] != mask_bytes) return fail(.INVAL);
    k.signals.setTemporaryMask(k.memory.readValue(u64, a[0]) catch return fail(.FAULT));
    return pause(k, a);
}

pub fn pause(k: *Kernel, _: Args) i64 {
    while (k.waitForHost(-1, 0, null) != .interrupted) {}
    return fail(.INTR);
}

/// Takes a signal of a set, blocked as a rule, without its handler.
pub fn rtSigtimedwait(k: *Kernel, a: Args) i64 {
    if (a[3] != mask_bytes) return fail(.INVAL);
    const set = (k.memory.readValue(u64, a[0]) catch return fail(.FAULT)) & ~Signals.unblockable;
    var deadline: ?u64 = null;
    if (a[2] != 0) {
        const span = time.fromTimespec(k.memory.readValue(time.Timespec, a[2]) catch return fail(.FAULT)) orelse return fail(.INVAL);
        deadline = k.clockNs(.monotonic) +| span;
    }
    k.signals.awaited = set;
    defer k.signals.awaited = 0;
    while (true) {
        k.tick();
        if (k.signals.take(set)) |entry| return tellSignal(k, k.withParticulars(entry), a[1]);
        if (k.signals.anyDeliverable()) return fail(.INTR);
        const left = if (deadline) |at| at -| k.clockNs(.monotonic) else null;
        if (left != null and left.? == 0) return fail(.AGAIN);
        if (k.waitForHost(-1, 0, left) == .interrupted and !k.signals.endsWait()) return fail(.INTR);
    }
}

fn tellSignal(k: *Kernel, entry: Entry, address: u64) i64 {
    if (address != 0) k.memory.writeValue(address, infoOf(entry)) catch return fail(.FAULT);
    return entry.signal;
}

pub fn sigaltstack(k: *Kernel, a: Args) i64 {
    const old = k.signals.alternate;
    const on_it = old.holds(k.stack_pointer);
    if (a[0] != 0) {
        const new = k.memory.readValue(signals_module.AlternateStack, a[0]) catch return fail(.FAULT);
        k.signals.setAlternate(new, k.stack_pointer) catch |failure| return switch (failure) {
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

fn checkThread(k: *const Kernel, value: u64) i64 {
    const thread: i32 = @bitCast(@as(u32, @truncate(value)));
    if (thread <= 0) return fail(.INVAL);
    return if (thread == k.identity.pid) 0 else fail(.SRCH);
}

/// Sends one of the guest's own signals to itself; signal 0 only asks.
fn send(k: *Kernel, signal_value: u64, code: i32) i64 {
    if (@as(u32, @truncate(signal_value)) == 0) return 0;
    const signal = signalNumber(signal_value) orelse return fail(.INVAL);
    k.sendSignal(.{ .signal = signal, .code = code, .first = k.senderWord() });
    return 0;
}

pub fn kill(k: *Kernel, a: Args) i64 {
    const refused = checkProcess(k, a[0]);
    return if (refused != 0) refused else send(k, a[1], signals_module.SI_USER);
}

pub fn tkill(k: *Kernel, a: Args) i64 {
    const refused = checkThread(k, a[0]);
    return if (refused != 0) refused else send(k, a[1], signals_module.SI_TKILL);
}

pub fn tgkill(k: *Kernel, a: Args) i64 {
    for (a[0..2]) |id| {
        const refused = checkThread(k, id);
        if (refused != 0) return refused;
    }
    return send(k, a[2], signals_module.SI_TKILL);
}

/// The siginfo is the sender's own: to itself a process may send any.
fn sendInfo(k: *Kernel, signal_value: u64, address: u64) i64 {
    const info = k.memory.readValue(SigInfo, address) catch return fail(.FAULT);
    if (@as(u32, @truncate(signal_value)) == 0) return 0;
    const signal = signalNumber(signal_value) orelse return fail(.INVAL);
    const sent = k.signals.send(.{ .signal = signal, .code = info.code, .first = info.first, .second = info.second }, k.queueLimit());
    return if (sent) 0 else fail(.AGAIN);
}

pub fn rtSigqueueinfo(k: *Kernel, a: Args) i64 {
    const refused = checkThread(k, a[0]);
    return if (refused != 0) fail(.SRCH) else sendInfo(k, a[1], a[2]);
}

pub fn rtTgsigqueueinfo(k: *Kernel, a: Args) i64 {
    for (a[0..2]) |id| {
        const refused = checkThread(k, id);
        if (refused != 0) return refused;
    }
    return sendInfo(k, a[2], a[3]);
}
