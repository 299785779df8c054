//! Exceptions of the guest as Linux signals, and the report of a fatal one.
//! Source: Linux arch/x86/kernel/traps.c behaviour as described in signal(7) and sigaction(2).
const std = @import("std");
const linux = std.os.linux;
const kvm = @import("kvm.zig");
const Exception = @import("vcpu.zig").Exception;
const FaultOutcome = @import("memory/address_space.zig").FaultOutcome;
const FaultAccess = @import("memory/address_space.zig").FaultAccess;

/// A synchronous signal: number, si_code, si_addr, and what the frame's uc_mcontext reports.
pub const Fault = struct {
    signal: u8,
    code: i32,
    address: u64 = 0,
    vector: u8 = 0,
    error_code: u64 = 0,
};

pub const SIGILL = 4;
pub const SIGTRAP = 5;
pub const SIGBUS = 7;
pub const SIGFPE = 8;
pub const SIGKILL = 9;
pub const SIGSEGV = 11;

const SI_KERNEL = 0x80;
const SEGV_MAPERR = 1;
const SEGV_ACCERR = 2;
const SEGV_PKUERR = 4;
const protection_key_bit = 32;
const ILL_ILLOPN = 2;
const FPE_INTDIV = 1;
const FPE_FLTDIV = 3;
const FPE_FLTOVF = 4;
const FPE_FLTUND = 5;
const FPE_FLTRES = 6;
const FPE_FLTINV = 7;
const TRAP_TRACE = 2;
const BUS_ADRALN = 1;
const BUS_ADRERR = 2;

pub const page_fault_vector = 14;

/// What a page fault's error code says about the access (Intel SDM volume 3, 4.7).
pub fn accessOf(error_code: u64) FaultAccess {
    if (error_code & 16 != 0) return .execute;
    return if (error_code & 2 != 0) .write else .read;
}

pub fn ofPageFault(exception: Exception, outcome: FaultOutcome) Fault {
    return .{
        .signal = if (outcome == .beyond_file) SIGBUS else SIGSEGV,
        .code = switch (outcome) {
            .no_right => SEGV_ACCERR,
            .beyond_file => BUS_ADRERR,
            else => SEGV_MAPERR,
        },
        .address = exception.address,
        .vector = exception.vector,
        .error_code = exception.error_code,
    };
}

/// A fault that mapping the page cannot cure: the rights of its protection key, which the guest itself has taken away.
pub fn isOfProtectionKey(exception: Exception) bool {
    return exception.error_code & protection_key_bit != 0;
}

pub fn ofProtectionKey(exception: Exception) Fault {
    return .{ .signal = SIGSEGV, .code = SEGV_PKUERR, .address = exception.address, .vector = exception.vector, .error_code = exception.error_code };
}

pub fn ofExitPage(address: u64) Fault {
    return .{ .signal = SIGSEGV, .code = SEGV_ACCERR, .address = address, .vector = page_fault_vector };
}

pub fn ofException(exception: Exception, rip: u64) Fault {
    var fault: Fault = switch (exception.vector) {
        0 => .{ .signal = SIGFPE, .code = FPE_INTDIV, .address = rip },
        1 => .{ .signal = SIGTRAP, .code = TRAP_TRACE, .address = rip },
        3 => .{ .signal = SIGTRAP, .code = SI_KERNEL },
        6 => .{ .signal = SIGILL, .code = ILL_ILLOPN, .address = rip },
        12 => .{ .signal = SIGBUS, .code = SI_KERNEL },
        16, 19 => .{ .signal = SIGFPE, .code = 0, .address = rip },
        17 => .{ .signal = SIGBUS, .code = BUS_ADRALN },
        else => .{ .signal = SIGSEGV, .code = SI_KERNEL },
    };
    fault.vector = exception.vector;
    fault.error_code = exception.error_code;
    return fault;
}

pub const x87_vector = 16;
pub const simd_vector = 19;

/// si_code of a floating-point exception, from the unmasked exceptions that are set, as Linux orders them.
pub fn floatingCode(raised: u32) i32 {
    if (raised & 0x01 != 0) return FPE_FLTINV;
    if (raised & 0x04 != 0) return FPE_FLTDIV;
    if (raised & 0x08 != 0) return FPE_FLTOVF;
    if (raised & 0x12 != 0) return FPE_FLTUND;
    if (raised & 0x20 != 0) return FPE_FLTRES;
    return 0;
}

const names = [_][]const u8{
    "signal 0",  "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
};

pub fn signalName(signal: u32) []const u8 {
    return if (signal < names.len) names[signal] else "real-time signal";
}

/// Names the place of an address, such as "main+0x12"; an empty string when no symbol is near.
pub const Namer = struct {
    context: *anyopaque,
    name_fn: *const fn (context: *anyopaque, address: u64, out: []u8) []const u8,
};

/// Writes the report of a fatal fault: a line for people, then the registers.
pub fn writeReport(out: *std.Io.Writer, fault: Fault, regs: *const kvm.Regs, namer: Namer) std.Io.Writer.Error!void {
    var buffer: [256]u8 = undefined;
    const place = namer.name_fn(namer.context, regs.rip, &buffer);
    try out.print("{s} at {s}{s}0x{x}", .{ signalName(fault.signal), place, if (place.len > 0) " = " else "", regs.rip });
    if (fault.signal == SIGSEGV or fault.signal == SIGBUS) {
        const what = if (fault.vector != page_fault_vector) "protection fault" else switch (accessOf(fault.error_code)) {
            .read => "read of",
            .write => "write to",
            .execute => "jump to",
        };
        try out.print(": {s}", .{what});
        if (fault.vector == page_fault_vector) try out.print(" 0x{x}{s}", .{ fault.address, if (fault.signal == SIGBUS) ", behind the end of its file" else if (fault.code == SEGV_MAPERR) ", not mapped" else ", not allowed" });
    }
    inline for (@typeInfo(kvm.Regs).@"struct".fields, 0..) |field, index| {
        try out.writeAll(if (index % 4 == 0) "\n  " else "  ");
        try out.print("{s: >6} {x:0>16}", .{ field.name, @field(regs, field.name) });
    }
    try out.writeByte('\n');
}
