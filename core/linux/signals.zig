//! Signals: actions, masks, what is pending, and which action comes next. Building the frame is `signal_frame.zig`.
//! Source: signal(7), sigaction(2), sigaltstack(2).
const std = @import("std");
const linux = std.os.linux;
const faults = @import("../faults.zig");
const kernel_module = @import("kernel.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

pub const count = 64;
pub const SIGKILL = 9;
pub const SIGSTOP = 19;

pub const SA_NODEFER: u64 = 0x4000_0000;
pub const SA_RESETHAND: u64 = 0x8000_0000;
pub const SA_ONSTACK: u64 = 0x0800_0000;
pub const SA_RESTORER: u64 = 0x0400_0000;
pub const SA_RESTART: u64 = 0x1000_0000;

pub const default_handler = 0;
pub const ignore_handler = 1;

/// struct sigaction as the kernel's ABI has it.
pub const Action = extern struct { handler: u64 = 0, flags: u64 = 0, restorer: u64 = 0, mask: u64 = 0 };

pub const AlternateStack = extern struct { base: u64 = 0, flags: i32 = disabled, padding: i32 = 0, size: u64 = 0 };
const disabled = 2;
const minimum_stack_bytes = 2048;

const SI_USER = 0;
const SI_TKILL = -6;

/// What comes next for a pending signal.
pub const Disposition = union(enum) { ignore, terminate: u8, handle: struct { fault: faults.Fault, action: Action } };

pub const Signals = struct {
    actions: [count + 1]Action = @splat(.{}),
    blocked: u64 = 0,
    pending: std.atomic.Value(u64) = .init(0),
    /// si_code of each pending signal: sent by kill unless tkill or tgkill sent it.
    codes: [count + 1]i8 = @splat(SI_USER),
    alternate: AlternateStack = .{},
    /// Details of a synchronous fault that waits to be delivered.
    fault: ?faults.Fault = null,
    /// A mask that rt_sigsuspend replaced, to come back after the handler.
    saved_mask: ?u64 = null,

    pub fn bit(signal: u32) u64 {
        return @as(u64, 1) << @intCast(signal - 1);
    }

    /// May be called from any thread.
    pub fn raise(self: *Signals, signal: u32) void {
        if (signal < 1 or signal > count) return;
        _ = self.pending.fetchOr(bit(signal), .seq_cst);
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

    pub fn anyDeliverable(self: *const Signals) bool {
        return self.fault != null or self.pending.load(.seq_cst) & ~self.unmaskable() != 0;
    }

    fn unmaskable(self: *const Signals) u64 {
        return self.blocked & ~(bit(SIGKILL) | bit(SIGSTOP));
    }

    /// Takes the next signal that is to act now.
    pub fn next(self: *Signals) ?Disposition {
        if (self.fault) |fault| {
            self.fault = null;
            return self.dispose(fault);
        }
        const ready = self.pending.load(.seq_cst) & ~self.unmaskable();
        if (ready == 0) return null;
        const signal: u8 = @intCast(@ctz(ready) + 1);
        _ = self.pending.fetchAnd(~bit(signal), .seq_cst);
        const code = self.codes[signal];
        self.codes[signal] = SI_USER;
        return self.dispose(.{ .signal = signal, .code = code });
    }

    fn dispose(self: *Signals, fault: faults.Fault) Disposition {
        const action = &self.actions[fault.signal];
        if (fault.signal == SIGKILL) return .{ .terminate = fault.signal };
        switch (action.handler) {
            default_handler => return if (isIgnoredByDefault(fault.signal)) .ignore else .{ .terminate = fault.signal },
            ignore_handler => return .ignore,
            else => {
                const taken = action.*;
                if (taken.flags & SA_RESETHAND != 0) action.handler = default_handler;
                return .{ .handle = .{ .fault = fault, .action = taken } };
            },
        }
    }
};

/// SIGCHLD, SIGCONT, SIGURG, SIGWINCH; and the stopping signals, since a machine has no job control.
fn isIgnoredByDefault(signal: u8) bool {
    return switch (signal) {
        17, 18, 23, 28, SIGSTOP, 20, 21, 22 => true,
        else => false,
    };
}

fn signalNumber(value: u64) ?u32 {
    const signal: i32 = @bitCast(@as(u32, @truncate(value)));
    return if (signal >= 1 and signal <= count) @intCast(signal) else null;
}

const mask_bytes = 8;

pub fn rtSigaction(k: *Kernel, a: Args) i64 {
    const signal = signalNumber(a[0]) orelse return fail(.INVAL);
    if (a[3] != mask_bytes) return fail(.INVAL);
    const slot = &k.signals.actions[signal];
    const old = slot.*;
    if (a[1] != 0) {
        if (signal == SIGKILL or signal == SIGSTOP) return fail(.INVAL);
        slot.* = k.memory.readValue(Action, a[1]) catch return fail(.FAULT);
    }
    if (a[2] != 0) k.memory.writeValue(a[2], old) catch return fail(.FAULT);
    return 0;
}

pub fn rtSigprocmask(k: *Kernel, a: Args) i64 {
    if (a[3] != mask_bytes) return fail(.INVAL);
    const old = k.signals.blocked;
    if (a[1] != 0) {
        const set = k.memory.readValue(u64, a[1]) catch return fail(.FAULT);
        k.signals.blocked = switch (a[0]) {
            0 => old | set,
            1 => old & ~set,
            2 => set,
            else => return fail(.INVAL),
        };
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
    const pending = k.signals.pending.load(.seq_cst) & k.signals.blocked;
    k.memory.write(a[0], std.mem.asBytes(&pending)[0..@intCast(a[1])]) catch return fail(.FAULT);
    return 0;
}

pub fn rtSigsuspend(k: *Kernel, a: Args) i64 {
    if (a[1] != mask_bytes) return fail(.INVAL);
    const mask = k.memory.readValue(u64, a[0]) catch return fail(.FAULT);
    k.signals.saved_mask = k.signals.blocked;
    k.signals.blocked = mask;
    while (!k.signals.anyDeliverable()) {
        if (k.waitForHost(-1, 0, null) == .interrupted) break;
    }
    return fail(.INTR);
}

pub fn pause(k: *Kernel, _: Args) i64 {
    while (!k.signals.anyDeliverable()) {
        if (k.waitForHost(-1, 0, null) == .interrupted) break;
    }
    return fail(.INTR);
}

pub fn sigaltstack(k: *Kernel, a: Args) i64 {
    const old = k.signals.alternate;
    if (a[0] != 0) {
        const new = k.memory.readValue(AlternateStack, a[0]) catch return fail(.FAULT);
        if (new.flags & ~@as(i32, disabled | 1) != 0) return fail(.INVAL);
        if (new.flags & disabled != 0) {
            k.signals.alternate = .{};
        } else {
            if (new.size < minimum_stack_bytes) return fail(.NOMEM);
            k.signals.alternate = .{ .base = new.base, .flags = 0, .size = new.size };
        }
    }
    if (a[1] != 0) k.memory.writeValue(a[1], old) catch return fail(.FAULT);
    return 0;
}

fn sendTo(k: *Kernel, pid: u64, signal_value: u64, code: i8) i64 {
    const target: i32 = @bitCast(@as(u32, @truncate(pid)));
    if (target != k.identity.pid and target != 0 and target != -k.identity.pid) return fail(.SRCH);
    if (@as(u32, @truncate(signal_value)) == 0) return 0;
    const signal = signalNumber(signal_value) orelse return fail(.INVAL);
    if (k.signals.pending.load(.seq_cst) & Signals.bit(signal) == 0) k.signals.codes[signal] = code;
    k.raiseSignal(signal);
    return 0;
}

pub fn kill(k: *Kernel, a: Args) i64 {
    return sendTo(k, a[0], a[1], SI_USER);
}

pub fn tkill(k: *Kernel, a: Args) i64 {
    const thread: i32 = @bitCast(@as(u32, @truncate(a[0])));
    return if (thread <= 0) fail(.INVAL) else sendTo(k, a[0], a[1], SI_TKILL);
}

pub fn tgkill(k: *Kernel, a: Args) i64 {
    const group: i32 = @bitCast(@as(u32, @truncate(a[0])));
    const thread: i32 = @bitCast(@as(u32, @truncate(a[1])));
    if (group <= 0 or thread <= 0) return fail(.INVAL);
    if (group != k.identity.pid) return fail(.SRCH);
    return sendTo(k, a[1], a[2], SI_TKILL);
}

test "a fault cannot be blocked or ignored, other signals wait for their mask" {
    var signals: Signals = .{};
    signals.actions[11] = .{ .handler = ignore_handler };
    signals.blocked = Signals.bit(11) | Signals.bit(15);
    signals.raiseFault(.{ .signal = 11, .code = 1 });
    try std.testing.expectEqual(Disposition{ .terminate = 11 }, signals.next().?);
    signals.raise(15);
    try std.testing.expectEqual(null, signals.next());
    signals.blocked = 0;
    try std.testing.expectEqual(Disposition{ .terminate = 15 }, signals.next().?);
    signals.raise(17);
    try std.testing.expectEqual(Disposition.ignore, signals.next().?);
}
