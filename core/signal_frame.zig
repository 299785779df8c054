//! Signal frames as Linux lays them on the user stack: building one for a handler, and going back from it.
//! Layout: struct rt_sigframe, ucontext, sigcontext and the XSAVE area of arch/x86 (uapi/asm/sigcontext.h).
const std = @import("std");
const assert = std.debug.assert;
const faults = @import("faults.zig");
const host = @import("host.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const Machine = @import("machine.zig").Machine;
const signal_calls = @import("linux/signal_calls.zig");
const signals_module = @import("linux/signals.zig");
const vectors = @import("vectors.zig");

/// A system call that a signal interrupted, so that it can be made again.
/// `timed`: it would have ended at some time by itself.
pub const InterruptedCall = struct { number: u64, result: i64, timed: bool };

const SigContext = extern struct {
    r8: u64 = 0,
    r9: u64 = 0,
    r10: u64 = 0,
    r11: u64 = 0,
    r12: u64 = 0,
    r13: u64 = 0,
    r14: u64 = 0,
    r15: u64 = 0,
    rdi: u64 = 0,
    rsi: u64 = 0,
    rbp: u64 = 0,
    rbx: u64 = 0,
    rdx: u64 = 0,
    rax: u64 = 0,
    rcx: u64 = 0,
    rsp: u64 = 0,
    rip: u64 = 0,
    eflags: u64 = 0,
    cs: u16 = layout.selector_user_code,
    gs: u16 = 0,
    fs: u16 = 0,
    ss: u16 = layout.selector_user_data,
    err: u64 = 0,
    trapno: u64 = 0,
    oldmask: u64 = 0,
    cr2: u64 = 0,
    fpstate: u64 = 0,
    reserved: [8]u64 = @splat(0),
};

const UContext = extern struct {
    flags: u64,
    link: u64 = 0,
    stack: signals_module.AlternateStack,
    mcontext: SigContext,
    sigmask: u64,
};

const Frame = extern struct { return_address: u64, ucontext: UContext, info: signal_calls.SigInfo };

comptime {
    assert(@sizeOf(SigContext) == 256);
    assert(@sizeOf(UContext) == 304);
    assert(@offsetOf(Frame, "info") == 312);
}

/// UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const ucontext_flags = 1 | 2 | 4;
const red_zone_bytes = 128;
const extended_magic_1 = 0x4650_5853;
const extended_magic_2 = 0x4650_5845;
const software_reserved_offset = 464;
const xsave_header_offset = 512;
const legacy_bytes = 512;

/// Bytes of the XSAVE area with all components the guest may use (CPUID leaf 0xd).
pub fn xsaveBytes() usize {
    const Cached = struct {
        var bytes: usize = 0;
    };
    if (Cached.bytes == 0) Cached.bytes = @min(@max(host.cpuid(0xd, 0).ebx, legacy_bytes + 64), @sizeOf(kvm.Xsave));
    return Cached.bytes;
}

const system_call_bytes = 2;
const eintr = -4;

/// Builds the frame of a handler and points the registers at it; false when the stack cannot take it.
/// Not part of its callers: its frame is large, and theirs are in the way of every exit.
pub noinline fn build(machine: *Machine, delivery: signals_module.Delivery, action: signals_module.Action, call: ?InterruptedCall) bool {
    if (action.handler >= layout.address_end) return false;
    const regs = machine.vcpu.registers();
    const signals = &machine.current().signals;
    if (call) |interrupted| {
        if (interrupted.result == eintr and action.flags & signals_module.SA_RESTART != 0 and restarts(interrupted)) {
            regs.rax = interrupted.number;
            regs.rip -= system_call_bytes;
        }
    }
    const alternate = signals.alternate;
    var sp = regs.rsp -% red_zone_bytes;
    const moves = action.flags & signals_module.SA_ONSTACK != 0 and alternate.isEnabled() and !alternate.holds(regs.rsp);
    if (moves) sp = alternate.base +% alternate.size;

    var xsave: kvm.Xsave = undefined;
    _ = host.ioctlPtr(machine.vcpu.vm.vcpu_fd, kvm.GET_XSAVE, &xsave) catch return false;
    const bytes = xsaveBytes();
    sp = std.mem.alignBackward(u64, sp -% (bytes + 4), 64);
    const fpstate = sp;
    writeSoftwareReserved(&xsave, bytes);
    sp = std.mem.alignBackward(u64, sp -% @sizeOf(Frame), 16) -% 8;
    if (alternate.holds(regs.rsp) and !alternate.holds(sp)) return false;
    const fault: faults.Fault = delivery.fault orelse .{ .signal = delivery.entry.signal, .code = 0 };

    const frame: Frame = .{
        .return_address = if (action.flags & signals_module.SA_RESTORER != 0) action.restorer else layout.stub_signal_return,
        .ucontext = .{
            .flags = ucontext_flags,
            .stack = alternate,
            .mcontext = contextOf(regs, fault, signals.saved_mask orelse signals.blocked, fpstate),
            .sigmask = signals.saved_mask orelse signals.blocked,
        },
        .info = signal_calls.infoOf(delivery.entry),
    };
    const memory = machine.kernel.memory;
    memory.write(fpstate, xsave.region[0..bytes]) catch return false;
    memory.writeValue(fpstate + bytes, @as(u32, extended_magic_2)) catch return false;
    memory.writeValue(sp, frame) catch return false;

    // Handlers begin with the initial vector state, whatever the program has made of its own.
    vectors.put(machine.vcpu.vm, &vectors.initial) catch return false;
    signals.saved_mask = null;
    if (alternate.flags & signals_module.SS_AUTODISARM != 0) signals.alternate = .{};
    signals.blocked |= action.mask;
    if (action.flags & signals_module.SA_NODEFER == 0) signals.blocked |= signals_module.bit(fault.signal);
    regs.rdi = fault.signal;
    regs.rsi = sp + @offsetOf(Frame, "info");
    regs.rdx = sp + @offsetOf(Frame, "ucontext");
    regs.rax = 0;
    regs.rsp = sp;
    regs.rip = action.handler;
    const direction_trap_resume: u64 = 0x400 | 0x100 | 0x10000;
    regs.rflags &= ~direction_trap_resume;
    machine.vcpu.resumeUser();
    return true;
}

/// Sleeps and waits with a time-out end with EINTR whatever the action says (signal(7)).
fn restarts(call: InterruptedCall) bool {
    const futex = 202;
    return switch (call.number) {
        futex => !call.timed,
        7, 23, 34, 35, 128, 130, 230, 232, 270, 271, 281, 441 => false,
        else => true,
    };
}

fn contextOf(regs: *const kvm.Regs, fault: faults.Fault, mask: u64, fpstate: u64) SigContext {
    var context: SigContext = .{ .err = fault.error_code, .trapno = fault.vector, .oldmask = mask, .cr2 = fault.address, .fpstate = fpstate, .eflags = regs.rflags };
    inline for (@typeInfo(kvm.Regs).@"struct".fields) |field| {
        if (@hasField(SigContext, field.name)) @field(context, field.name) = @field(regs, field.name);
    }
    return context;
}

fn writeSoftwareReserved(xsave: *kvm.Xsave, bytes: usize) void {
    const area = xsave.region[software_reserved_offset..][0..48];
    @memset(area, 0);
    std.mem.writeInt(u32, area[0..4], extended_magic_1, .little);
    std.mem.writeInt(u32, area[4..8], @intCast(bytes + 4), .little);
    const low: u64 = host.cpuid(0xd, 0).eax;
    std.mem.writeInt(u64, area[8..16], low, .little);
    std.mem.writeInt(u32, area[16..20], @intCast(bytes), .little);
}

/// Goes back from a handler (rt_sigreturn): registers, vector state and mask as the frame holds them now. False when the
/// frame cannot be read or its vector state is not valid.
pub noinline fn restore(machine: *Machine) bool {
    const regs = machine.vcpu.registers();
    const memory = machine.kernel.memory;
    const address = regs.rsp -% 8;
    const frame = memory.readValue(Frame, address) catch return false;
    const context = frame.ucontext.mcontext;
    if (context.rip >= layout.address_end) return false;
    const signals = &machine.current().signals;
    signals.blocked = frame.ucontext.sigmask & ~signals_module.unblockable;
    // Linux too leaves the stack as it is if the frame's is none, or the program goes on standing on it.
    signals.setAlternate(frame.ucontext.stack, context.rsp) catch {};
    inline for (@typeInfo(kvm.Regs).@"struct".fields) |field| {
        if (@hasField(SigContext, field.name)) @field(regs, field.name) = @field(context, field.name);
    }
    regs.rflags = context.eflags;
    if (context.fpstate == 0) return true;
    return restoreVectors(machine, context.fpstate);
}

fn restoreVectors(machine: *Machine, address: u64) bool {
    var xsave: kvm.Xsave = .{ .region = @splat(0) };
    const memory = machine.kernel.memory;
    const bytes = xsaveBytes();
    const magic = memory.readValue(u32, address +% software_reserved_offset) catch return false;
    const length = if (magic == extended_magic_1) bytes else legacy_bytes;
    memory.read(address, xsave.region[0..length]) catch return false;
    if (length == legacy_bytes) std.mem.writeInt(u64, xsave.region[xsave_header_offset..][0..8], 3, .little);
    // KVM refuses reserved bits in MXCSR and in the header; such a frame is the guest's error.
    vectors.put(machine.vcpu.vm, &xsave) catch return false;
    return true;
}
