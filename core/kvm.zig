//! The KVM ioctl ABI of x86-64: request numbers, structures and exit reasons, no policy.
//! Source: Linux Documentation/virt/kvm/api.rst and uapi/linux/kvm.h. Sizes are asserted at compile time.
const std = @import("std");
const assert = std.debug.assert;

pub const api_version = 12;

pub const GET_API_VERSION = 0xAE00;
pub const CREATE_VM = 0xAE01;
pub const CHECK_EXTENSION = 0xAE03;
pub const GET_VCPU_MMAP_SIZE = 0xAE04;
pub const GET_SUPPORTED_CPUID = 0xC008AE05;
pub const CREATE_VCPU = 0xAE41;
pub const SET_USER_MEMORY_REGION = 0x4020AE46;
pub const RUN = 0xAE80;
pub const SET_REGS = 0x4090AE82;
pub const GET_SREGS = 0x8138AE83;
pub const SET_SREGS = 0x4138AE84;
pub const GET_MSRS = 0xC008AE88;
pub const SET_MSRS = 0x4008AE89;
pub const SET_CPUID2 = 0x4008AE90;
pub const GET_TSC_KHZ = 0xAEA3;
pub const GET_XSAVE = 0x9000AEA4;
pub const SET_XSAVE = 0x5000AEA5;
pub const SET_XCRS = 0x4188AEA7;
pub const GET_VCPU_EVENTS = 0x8040AE9F;
pub const SET_VCPU_EVENTS = 0x4040AEA0;
pub const SET_DEBUGREGS = 0x4080AEA2;
pub const SET_DEVICE_ATTR = 0x4018AEE1;

pub const CAP_SYNC_REGS = 74;
pub const CAP_IMMEDIATE_EXIT = 136;

pub const VCPU_TSC_CTRL = 0;
pub const VCPU_TSC_OFFSET = 0;

pub const SYNC_X86_REGS = 1;
pub const SYNC_X86_SREGS = 2;

pub const MSR_STAR = 0xC000_0081;
pub const MSR_LSTAR = 0xC000_0082;
pub const MSR_SFMASK = 0xC000_0084;
pub const MSR_TSC = 0x10;

pub const ExitReason = enum(u32) {
    unknown = 0,
    exception = 1,
    io = 2,
    hypercall = 3,
    debug = 4,
    hlt = 5,
    mmio = 6,
    irq_window_open = 7,
    shutdown = 8,
    fail_entry = 9,
    intr = 10,
    internal_error = 17,
    system_event = 24,
    memory_fault = 39,
    _,
};

pub const Regs = extern struct {
    rax: u64 = 0,
    rbx: u64 = 0,
    rcx: u64 = 0,
    rdx: u64 = 0,
    rsi: u64 = 0,
    rdi: u64 = 0,
    rsp: u64 = 0,
    rbp: u64 = 0,
    r8: u64 = 0,
    r9: u64 = 0,
    r10: u64 = 0,
    r11: u64 = 0,
    r12: u64 = 0,
    r13: u64 = 0,
    r14: u64 = 0,
    r15: u64 = 0,
    rip: u64 = 0,
    rflags: u64 = 0,
};

pub const Segment = extern struct {
    base: u64 = 0,
    limit: u32 = 0,
    selector: u16 = 0,
    type: u8 = 0,
    present: u8 = 0,
    dpl: u8 = 0,
    db: u8 = 0,
    s: u8 = 0,
    l: u8 = 0,
    g: u8 = 0,
    avl: u8 = 0,
    unusable: u8 = 0,
    padding: u8 = 0,
};

pub const DescriptorTable = extern struct { base: u64 = 0, limit: u16 = 0, padding: [3]u16 = @splat(0) };

pub const Sregs = extern struct {
    cs: Segment,
    ds: Segment,
    es: Segment,
    fs: Segment,
    gs: Segment,
    ss: Segment,
    tr: Segment,
    ldt: Segment,
    gdt: DescriptorTable,
    idt: DescriptorTable,
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupt_bitmap: [4]u64,
};

/// Pristine injects no events; the first byte tells whether an exception is on its way (exception.injected).
pub const VcpuEvents = extern struct { bytes: [64]u8 align(8) };

pub const SyncRegs = extern struct { regs: Regs, sregs: Sregs, events: VcpuEvents };

/// Breakpoint addresses, DR6 and DR7 as after power-on.
pub const DebugRegs = extern struct { db: [4]u64 = @splat(0), dr6: u64 = 0xffff_0ff0, dr7: u64 = 0x400, flags: u64 = 0, reserved: [9]u64 = @splat(0) };

pub const IoExit = extern struct { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 };
pub const MmioExit = extern struct { phys_addr: u64, data: [8]u8, len: u32, is_write: u8 };
pub const InternalErrorExit = extern struct { suberror: u32, ndata: u32, data: [16]u64 };
pub const FailEntryExit = extern struct { hardware_entry_failure_reason: u64, cpu: u32 };

pub const Run = extern struct {
    request_interrupt_window: u8,
    immediate_exit: u8,
    padding1: [6]u8,
    exit_reason: ExitReason,
    ready_for_interrupt_injection: u8,
    if_flag: u8,
    flags: u16,
    cr8: u64,
    apic_base: u64,
    exit: extern union {
        io: IoExit,
        mmio: MmioExit,
        internal: InternalErrorExit,
        fail_entry: FailEntryExit,
        padding: [256]u8,
    },
    valid_regs: u64,
    dirty_regs: u64,
    sync: extern union { s: SyncRegs, padding: [2048]u8 },
};

pub const UserspaceMemoryRegion = extern struct {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
};

pub const MsrEntry = extern struct { index: u32, reserved: u32 = 0, data: u64 };

pub fn Msrs(comptime count: u32) type {
    return extern struct { nmsrs: u32 = count, pad: u32 = 0, entries: [count]MsrEntry };
}

pub const CpuidEntry = extern struct {
    function: u32,
    index: u32,
    flags: u32,
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
    padding: [3]u32 = @splat(0),
};

pub const cpuid_entries_max = 256;
pub const Cpuid = extern struct {
    nent: u32 = cpuid_entries_max,
    padding: u32 = 0,
    entries: [cpuid_entries_max]CpuidEntry = undefined,
};

pub const Xcr = extern struct { xcr: u32, reserved: u32 = 0, value: u64 };
pub const Xcrs = extern struct { nr_xcrs: u32, flags: u32 = 0, xcrs: [16]Xcr, padding: [16]u64 = @splat(0) };

pub const xsave_bytes = 4096;
pub const Xsave = extern struct { region: [xsave_bytes]u8 align(64) };

pub const DeviceAttr = extern struct { flags: u32 = 0, group: u32, attr: u64, addr: u64 };

comptime {
    assert(@sizeOf(Regs) == 144);
    assert(@sizeOf(Segment) == 24);
    assert(@sizeOf(Sregs) == 312);
    assert(@sizeOf(Run) == 2352);
    assert(@offsetOf(Run, "exit") == 32);
    assert(@offsetOf(Run, "valid_regs") == 288);
    assert(@offsetOf(Run, "sync") == 304);
    assert(@sizeOf(UserspaceMemoryRegion) == 32);
    assert(@sizeOf(CpuidEntry) == 40);
    assert(@sizeOf(Xcrs) == 392);
    assert(@sizeOf(MsrEntry) == 16);
    assert(@sizeOf(DebugRegs) == 128);
    assert(@sizeOf(VcpuEvents) == 64);
}
