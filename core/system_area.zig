//! What the VMM puts into every guest's system area: descriptor tables and stubs, as bytes.
//!
//! Rules of the stubs: only rax, rcx and r11 may be lost, nothing is pushed (the user stack has a red zone), no data of their own.
//! Sources: Intel SDM volume 3, chapters 6 and 7 (IDT, TSS); AMD APM volume 3 (SYSCALL, SYSRET).
const std = @import("std");
const assert = std.debug.assert;
const gate_stubs = @import("remote/gate_stubs.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const vectors = @import("vectors.zig");

/// How `syscall` reaches the VMM. See `platform.zig` for how it is found out.
pub const SyscallRoute = enum {
    /// `syscall` enters ring 0, where `out` exits (hardware virtualization).
    ring0_out,
    /// `syscall` stays in ring 3 at LSTAR, where a store to the exit page exits (PVM).
    ring3_store,
};

const gate_interrupt = 0x8e00;
const exception_ist = 1;

/// Fills the descriptor page: GDT, TSS, IDT.
pub fn writeDescriptors(page: *[limits.page_size]u8) void {
    const gdt: *[10]u64 = @ptrCast(@alignCast(page[layout.gdt_offset..].ptr));
    gdt.* = @splat(0);
    gdt[layout.selector_kernel_code / 8] = 0x00af_9b00_0000_ffff;
    gdt[layout.selector_kernel_data / 8] = 0x00cf_9300_0000_ffff;
    gdt[layout.selector_user_data / 8] = 0x00cf_f300_0000_ffff;
    gdt[layout.selector_user_code / 8] = 0x00af_fb00_0000_ffff;
    const tss = layout.Page.descriptors.address() + layout.tss_offset;
    gdt[layout.selector_tss / 8] = 103 | (tss & 0xff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56;
    gdt[layout.selector_tss / 8 + 1] = tss >> 32;

    const stack_end = layout.Page.exception_stack.address() + limits.page_size;
    const tss_bytes = page[layout.tss_offset..][0..104];
    @memset(tss_bytes, 0);
    std.mem.writeInt(u64, tss_bytes[4..12], stack_end, .little);
    std.mem.writeInt(u64, tss_bytes[36..44], stack_end, .little);
    std.mem.writeInt(u16, tss_bytes[102..104], 104, .little);

    for (0..layout.vectors) |vector| {
        const handler = if (vector == layout.breakpoint_vector) layout.stub_ring0_gate else exceptionStub(@intCast(vector));
        const gate = page[layout.idt_offset + vector * 16 ..][0..16];
        std.mem.writeInt(u16, gate[0..2], @truncate(handler), .little);
        std.mem.writeInt(u16, gate[2..4], layout.selector_kernel_code, .little);
        std.mem.writeInt(u16, gate[4..6], gate_interrupt | exception_ist, .little);
        std.mem.writeInt(u16, gate[6..8], @truncate(handler >> 16), .little);
        std.mem.writeInt(u64, gate[8..16], handler >> 32, .little);
    }
    // #BP and #OF may be raised by ring 3 itself (int3, into).
    for ([_]usize{ 3, 4 }) |vector| page[layout.idt_offset + vector * 16 + 5] |= 0x60;
}

const exception_stub_bytes = 16;

pub fn exceptionStub(vector: u8) u64 {
    return layout.Page.ring0_stubs.address() + @as(u64, vector) * exception_stub_bytes;
}

/// Calls that need nothing but a number are answered by the stub itself, without an exit: the numbers of getpid and
/// gettid. Only rax and rcx change meanwhile, and no flag does.
const getpid = 39;
const gettid = 186;

/// `xchg %rax, %rcx` puts the number where `jrcxz` can test it without touching flags; all 64 bits
/// of it, since rax may also be the result of a function on its way out. Behind it comes the exit; the
/// answer's `mov` and `leave` come last.
fn answering(comptime exit: []const u8, comptime leave: []const u8) Answering {
    const exchange = [_]u8{ 0x48, 0x91 };
    const first = exchange ++ [_]u8{ 0x48, 0x8d, 0x49, @bitCast(@as(i8, -getpid)) };
    const second = [_]u8{ 0x48, 0x8d, 0x89 } ++ std.mem.toBytes(@as(i32, getpid - gettid));
    const undo = [_]u8{ 0x48, 0x8d, 0x89 } ++ std.mem.toBytes(@as(i32, gettid)) ++ exchange;
    const jump_bytes = 2;
    const behind_second = undo.len + exit.len;
    const jump_second = [_]u8{ 0xe3, behind_second };
    const jump_first = [_]u8{ 0xe3, second.len + jump_bytes + behind_second };
    const before_exit = first ++ jump_first ++ second ++ jump_second ++ undo;
    const code = before_exit ++ exit ++ exchange ++ [_]u8{ 0xb8, 0, 0, 0, 0 } ++ leave;
    return .{
        .code = code,
        .answer = before_exit.len + exit.len + exchange.len + 1,
        .exit_end = before_exit.len,
        .thread_jump = first.len + jump_bytes + second.len + 1,
    };
}

const Answering = struct {
    code: []const u8,
    answer: usize,
    exit_end: usize,
    /// How far the jump for gettid goes.
    thread_jump: usize,
};

/// Lets gettid exit as other calls do: its jump leads to the next instruction.
pub fn leaveThreadIds(ring0_page: *[limits.page_size]u8, user_page: *[limits.page_size]u8) void {
    const ring0 = comptime answering(&ring0_exit, &ring0_leave);
    const ring3 = comptime answering(&ring3_exit, &ring3_leave);
    const jrcxz = 0xe3;
    const pages = [_]struct { *[limits.page_size]u8, usize }{
        .{ ring0_page, layout.stub_ring0_syscall - layout.Page.ring0_stubs.address() + ring0.thread_jump },
        .{ user_page, layout.stub_syscall - layout.Page.user_stubs.address() + ring3.thread_jump },
    };
    // A stub that answers nothing has no jump.
    for (pages) |page| if (page[0][page[1] - 1] == jrcxz) {
        page[0][page[1]] = 0;
    };
}

/// Whether the stub may answer by itself, and with what. A trace wants to see every call.
pub const Answers = union(enum) { none, process: i32 };

/// The stub's bytes: with the answer patched in, or just the exit.
fn putSystemCallStub(page: *[limits.page_size]u8, offset: u64, comptime exit: []const u8, comptime leave: []const u8, answers: Answers) void {
    const with = comptime answering(exit, leave);
    // The exit is at the same place either way, so that its instruction pointer is one constant.
    switch (answers) {
        .none => {
            @memset(page[offset..][0..with.exit_end], 0x90);
            @memcpy(page[offset + with.exit_end ..][0..exit.len], exit);
        },
        .process => |pid| {
            @memcpy(page[offset..][0..with.code.len], with.code);
            std.mem.writeInt(i32, page[offset + with.answer ..][0..4], pid, .little);
        },
    }
}

const ring0_exit = [_]u8{ 0xe6, layout.port_syscall, 0x48, 0x0f, 0x07 };
const ring0_leave = [_]u8{ 0x48, 0x0f, 0x07 };
const ring3_exit = store_to_exit_page ++ trap;
const ring3_leave = [_]u8{ 0xff, 0xe1 };

/// Fills the ring-0 stub page: for each vector `out %al, $port; hlt`, and the system-call stub `out; sysretq`.
pub fn writeRing0Stubs(page: *[limits.page_size]u8, answers: Answers) void {
    @memset(page, 0xf4);
    for (0..layout.vectors) |vector| {
        page[vector * exception_stub_bytes ..][0..2].* = .{ 0xe6, @intCast(layout.port_exception + vector) };
    }
    const offset = layout.stub_ring0_syscall - layout.Page.ring0_stubs.address();
    putSystemCallStub(page, offset, &ring0_exit, &ring0_leave, answers);
    @memcpy(page[layout.stub_ring0_gate - layout.Page.ring0_stubs.address() ..][0..gate_stubs.handler_code.len], &gate_stubs.handler_code);
}

/// Where the ring-0 system-call stub goes on after the VMM has answered.
pub const ring0_sysret = layout.stub_ring0_syscall + answering(&ring0_exit, &ring0_leave).exit_end + 2;

/// `movabs %rax, exit page`: ten bytes, stores rax and so carries the system call's number.
const store_to_exit_page = [_]u8{ 0x48, 0xa3 } ++ std.mem.toBytes(std.mem.nativeToLittle(u64, layout.Page.exit.address()));
const trap = [_]u8{ 0x0f, 0x0b };
const syscall = [_]u8{ 0x0f, 0x05 };
/// `movq %xmm0, %rdx; mov %rax, %rdi; or $-1, %eax`: a called function's results travel in rdx and rdi, where no stub takes
/// them for the number of a call that it answers by itself.
const results_aside = [_]u8{ 0x66, 0x48, 0x0f, 0x7e, 0xc2, 0x48, 0x89, 0xc7, 0x83, 0xc8, 0xff };

/// `movsd 8*i(%r11), %xmm<i>` for eight registers, then `jmp *%r10`.
const load_float_arguments = blk: {
    var code: []const u8 = &.{};
    for (0..limits.call_float_args_max) |i| {
        code = code ++ [_]u8{ 0xf2, 0x41, 0x0f, 0x10, 0x43 | @as(u8, i) << 3, 8 * i };
    }
    code = code ++ [_]u8{ 0x41, 0xff, 0xe2 };
    break :blk code[0..code.len].*;
};

/// `mov $15, %eax; syscall`: rt_sigreturn, for handlers registered without a restorer.
const signal_return = [_]u8{ 0xb8, 15, 0, 0, 0 } ++ syscall ++ trap;

/// State components that fit the page they are loaded from, which are all that a guest can use: x87, SSE, AVX, AVX-512 and
/// PKRU. XRSTOR wants the whole area of what it is asked for to be there.
const loaded_components: u32 = 0x2e7;

/// Their size, with what lies between them.
const initial_vectors_bytes = 2696;

/// `mov $components, %eax; xor %edx, %edx; xrstor64 (%r14); mov %rbx, %rax; mov %r12, %rdx; xor %ebx, %ebx;
/// xor %r12d, %r12d; xor %r14d, %r14d; jmp *%r13`: loads all vector state and goes on to a function whose rax and rdx came
/// in rbx and r12.
const load_vectors = [_]u8{0xb8} ++ std.mem.toBytes(loaded_components) ++ [_]u8{ 0x31, 0xd2, 0x49, 0x0f, 0xae, 0x2e, 0x48, 0x89, 0xd8, 0x4c, 0x89, 0xe2 } ++
    [_]u8{ 0x31, 0xdb, 0x45, 0x31, 0xe4, 0x45, 0x31, 0xf6, 0x41, 0xff, 0xe5 };

/// How `xrstor64 address(%rip)` ends behind `before` bytes of a stub.
fn relative(comptime stub: u64, comptime before: usize, comptime address: u64) [4]u8 {
    return std.mem.toBytes(@as(i32, @intCast(@as(i64, address) - @as(i64, stub + before + 4))));
}

/// `mov $components, %eax; xrstor64 (initial vectors)`, for the place that it is to stand at. The upper half of the components is
/// what edx holds, a function's third argument perhaps: none is there that a processor could have.
pub fn clearVectors(comptime at: u64) [13]u8 {
    const head = [_]u8{0xb8} ++ std.mem.toBytes(loaded_components) ++ [_]u8{ 0x48, 0x0f, 0xae, 0x2d };
    return head ++ relative(at, head.len, layout.initial_vectors_address);
}

/// Vectors are cleared; `xor %eax, %eax; jmp *%r11`: into a remote's function, whose arguments are in their registers, with
/// nothing of its caller's vector state.
const enter_remote = clearVectors(layout.stub_enter_remote) ++ [_]u8{ 0x31, 0xc0, 0x41, 0xff, 0xe3 };

/// Vectors are cleared; `mov %r11, %rax; jmp *%rcx`: behind a system call whose result is in r11, with nothing of the vector state
/// that another machine has left.
const leave_remote = clearVectors(layout.stub_leave_remote) ++ [_]u8{ 0x4c, 0x89, 0xd8, 0xff, 0xe1 };

/// What all functions that lead to remotes end in: the System V ABI wants the control words of MXCSR and x87 kept, and a system
/// call has its fourth argument elsewhere. `sub $8, %rsp; stmxcsr (%rsp); fnstcw 4(%rsp); mov %rcx, %r10`, the gate or the call,
/// then `ldmxcsr (%rsp); fldcw 4(%rsp); add $8, %rsp; ret`.
fn importTail(comptime route: SyscallRoute) []const u8 {
    const before = [_]u8{ 0x48, 0x83, 0xec, 8, 0x0f, 0xae, 0x1c, 0x24, 0xd9, 0x7c, 0x24, 4, 0x49, 0x89, 0xca };
    const behind = [_]u8{ 0x0f, 0xae, 0x14, 0x24, 0xd9, 0x6c, 0x24, 4, 0x48, 0x83, 0xc4, 8, 0xc3 };
    const approach = gate_stubs.approach(layout.imports_tail + before.len);
    const first = before ++ approach;
    const filled = layout.imports_ordinary - layout.imports_tail;
    const ordinary = first ++ [_]u8{nop} ** (filled - first.len) ++ gate_stubs.numberOf(import_number);
    const at = layout.imports_tail + ordinary.len;
    const call = switch (route) {
        .ring0_out => syscall,
        .ring3_store => quickCall(at),
    };
    const answered = layout.imports_answered - layout.imports_tail;
    const tail = ordinary ++ call ++ behind;
    const back = tail.len - behind.len;
    const jump_bytes = 2;
    const jump = [_]u8{ 0xeb, @bitCast(@as(i8, @intCast(@as(i64, back) - @as(i64, answered + gate_stubs.take_result.len + jump_bytes)))) };
    return tail ++ [_]u8{nop} ** (answered - tail.len) ++ gate_stubs.take_result ++ jump;
}

/// Where `syscall` stays in ring 3, what it does can be done without it, and is done sooner: `pushfq; pop %r11; jmp` to where it
/// leads. To go on at rcx, which is behind a `syscall` for a call that is made again.
fn quickEntry(comptime at: u64) [8]u8 {
    const flags = [_]u8{ 0x9c, 0x41, 0x5b, 0xe9 };
    const distance = @as(i64, layout.stub_syscall) - @as(i64, at + flags.len + 4);
    return flags ++ std.mem.toBytes(@as(i32, @intCast(distance)));
}

/// The same to go on behind it: `lea behind(%rip), %rcx` first.
fn quickCall(comptime at: u64) [17]u8 {
    const entry_bytes = 8;
    const way_on = [_]u8{ 0x48, 0x8d, 0x0d } ++ std.mem.toBytes(@as(i32, entry_bytes + syscall.len));
    return way_on ++ quickEntry(at + way_on.len) ++ syscall;
}

const nop = 0x90;

/// The number of the system call that the first function of a remote is. Its low byte is 0, so that the others' is the function's.
pub const import_number: u32 = 0x5053_0000;

/// Fills the page of functions that lead to remotes: `mov $number, %eax; jmp tail` each.
pub fn writeImportStubs(page: *[limits.page_size]u8, route: SyscallRoute) void {
    @memset(page, 0xcc);
    const tail = layout.imports_tail - layout.imports_address;
    switch (route) {
        inline else => |known| @memcpy(page[tail..][0..comptime importTail(known).len], comptime importTail(known)),
    }
    const own = layout.imports_system_call - layout.imports_address;
    const quick = comptime quickEntry(layout.imports_system_call);
    if (route == .ring3_store) @memcpy(page[own..][0..quick.len], &quick);
    const length = 10;
    for (0..limits.imports_max) |index| {
        const stub = page[index * layout.import_stub_bytes ..][0..layout.import_stub_bytes];
        stub[0] = 0xb8;
        std.mem.writeInt(u32, stub[1..5], import_number + @as(u32, @intCast(index)), .little);
        stub[5] = 0xe9;
        std.mem.writeInt(i32, stub[6..length], @intCast(tail - index * layout.import_stub_bytes - length), .little);
    }
}

/// Fills the stub page of ring 3.
pub fn writeUserStubs(page: *[limits.page_size]u8, route: SyscallRoute, answers: Answers) void {
    @memset(page, 0xcc);
    putSystemCallStub(page, layout.stub_syscall - layout.Page.user_stubs.address(), &ring3_exit, &ring3_leave, answers);
    switch (route) {
        .ring3_store => put(page, layout.stub_call_return, &(results_aside ++ store_to_exit_page ++ trap)),
        .ring0_out => put(page, layout.stub_call_return, &(results_aside ++ syscall ++ trap)),
    }
    put(page, layout.stub_float_call, &load_float_arguments);
    put(page, layout.stub_signal_return, &signal_return);
    put(page, layout.stub_load_vectors, &load_vectors);
    put(page, layout.stub_enter_remote, &enter_remote);
    put(page, layout.stub_leave_remote, &leave_remote);
    gate_stubs.put(page);
    put(page, layout.initial_vectors_address, vectors.initial.region[0..initial_vectors_bytes]);
}

/// The instruction pointer with which an exit of the call-return stub arrives.
pub fn callReturnRip(route: SyscallRoute) u64 {
    return layout.stub_call_return + results_aside.len + switch (route) {
        .ring3_store => store_to_exit_page.len,
        .ring0_out => syscall.len,
    };
}

/// The instruction pointer with which an exit of the ring-3 system-call stub arrives.
pub const ring3_syscall_rip = layout.stub_syscall + answering(&ring3_exit, &ring3_leave).exit_end + store_to_exit_page.len;

fn put(page: *[limits.page_size]u8, address: u64, code: []const u8) void {
    const offset = address - layout.Page.user_stubs.address();
    @memcpy(page[offset..][0..code.len], code);
}

comptime {
    assert(store_to_exit_page.len == 10);
    assert(layout.stub_signal_return + signal_return.len <= layout.stub_load_vectors);
    assert(layout.stub_float_call + load_float_arguments.len <= layout.stub_signal_return);
    assert(layout.stub_load_vectors + load_vectors.len <= layout.stub_enter_remote);
    assert(layout.stub_enter_remote + enter_remote.len <= layout.stub_leave_remote);
    assert(layout.stub_leave_remote + leave_remote.len <= layout.stub_gate);
    assert(layout.initial_vectors_address % 64 == 0);
    assert(layout.initial_vectors_address + initial_vectors_bytes <= layout.Page.exception_stack.address());
    assert(layout.imports_tail + importTail(.ring3_store).len <= layout.imports_system_call);
    assert(layout.imports_system_call + 0x20 <= layout.gate_table_address);
    assert(layout.idt_offset + layout.vectors * 16 <= limits.page_size);
}
