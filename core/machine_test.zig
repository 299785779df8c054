//! Machines with a few instructions in them: what a hostile or broken program, or a hostile ring 0, may do to the VMM.
//! Each case is code that is copied into a minimal program; none may hang or end the process.
const std = @import("std");
const bare_program = @import("bare_program.zig");
const faults = @import("faults.zig");
const interrupt_module = @import("interrupt.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const platform_module = @import("platform.zig");
const Machine = @import("machine.zig").Machine;
const Outcome = @import("run.zig").Outcome;
const testing = std.testing;

var platform: ?platform_module.Platform = null;

fn thePlatform() !*const platform_module.Platform {
    if (platform == null) {
        platform = platform_module.probe(std.heap.c_allocator, null) catch |failure| switch (failure) {
            error.NoDevice, error.NoAccess => return error.SkipZigTest,
            else => return failure,
        };
        try interrupt_module.installHandler();
    }
    return &platform.?;
}

pub fn bootCode(code: []const u8, memory_bytes: u64) !*Machine {
    return bare_program.boot(testing.allocator, try thePlatform(), code, memory_bytes);
}

const generous: interrupt_module.Limits = .{ .wall_ns = 20 * std.time.ns_per_s };
const short: interrupt_module.Limits = .{ .wall_ns = 50 * std.time.ns_per_ms };

fn runCode(code: []const u8, time_limits: interrupt_module.Limits) !Outcome {
    const machine = try bootCode(code, 16 * limits.MiB);
    defer machine.destroy();
    const outcome = machine.run(.exit, time_limits);
    if (outcome == .broken) std.debug.print("broken: {s}\n", .{outcome.broken});
    return outcome;
}

/// Code between two labels of the assembly below.
fn snippet(comptime name: []const u8) []const u8 {
    const start = @extern([*]const u8, .{ .name = "snippet_" ++ name });
    const end = @extern([*]const u8, .{ .name = "snippet_" ++ name ++ "_end" });
    return start[0 .. @intFromPtr(end) - @intFromPtr(start)];
}

fn assemble(comptime name: []const u8, comptime body: []const u8) []const u8 {
    return "snippet_" ++ name ++ ":\n" ++ body ++ "\nsnippet_" ++ name ++ "_end:\n";
}

const exit_0 = "xor %edi, %edi\n mov $231, %eax\n syscall\n";

comptime {
    @setEvalBranchQuota(10_000);
    asm (".pushsection .rodata.snippets, \"a\"\n" ++
            assemble("exit", "mov $42, %edi\n mov $231, %eax\n syscall") ++
            assemble("spin", "1: jmp 1b") ++
            assemble("spin_syscalls", "1: mov $39, %eax\n syscall\n jmp 1b") ++
            assemble("hlt", "hlt") ++
            assemble("out", "out %al, $0x80") ++
            assemble("out_syscall_port", "out %al, $0x40") ++
            assemble("in", "in $0x60, %al") ++
            assemble("cli", "cli") ++
            assemble("ud2", "ud2") ++
            assemble("int3", "int3") ++
            assemble("int80", "int $0x80") ++
            assemble("int_page_fault", "int $14") ++
            assemble("divide", "xor %ecx, %ecx\n mov $1, %eax\n cltd\n idiv %ecx") ++
            assemble("nowhere", "mov $0x123456789000, %rax\n jmp *%rax") ++
            assemble("non_canonical_jump", "mov $0x8000123456789000, %rax\n jmp *%rax") ++
            assemble("non_canonical_read", "mov $0x8000123456789000, %rax\n mov (%rax), %rax") ++
            assemble("kernel_half", "mov $0xffffffff81000000, %rax\n mov (%rax), %rax") ++
            assemble("null_write", "xor %eax, %eax\n mov %eax, (%rax)") ++
            assemble("trap_flag", "pushfq\n orq $0x100, (%rsp)\n popfq\n nop\n nop") ++
            assemble("alignment", "pushfq\n orq $0x40000, (%rsp)\n popfq\n mov 1(%rsp), %rax") ++
            assemble("deep_stack", "1: push %rax\n jmp 1b") ++
            assemble("touch_all", "mov $9, %eax\n xor %edi, %edi\n mov $0x40000000, %esi\n mov $3, %edx\n mov $0x4022, %r10d\n mov $-1, %r8\n xor %r9d, %r9d\n syscall\n 1: movb $1, (%rax)\n add $4096, %rax\n jmp 1b") ++
            // rdi: address to touch, given by the case.
            assemble("read_rdi", "mov (%rdi), %rax\n" ++ exit_0) ++
            assemble("write_rdi", "mov %rax, (%rdi)\n" ++ exit_0) ++
            assemble("write_vector_rdi", "movups %xmm0, (%rdi)\n" ++ exit_0) ++
            assemble("exchange_rdi", "lock xadd %rax, (%rdi)\n" ++ exit_0) ++
            assemble("jump_rdi", "jmp *%rdi") ++
            // A jump into the system-call stub with a return address of the guest's own making.
            assemble("stub_bad_return", "mov $0x8000123456789000, %rcx\n mov $0x246, %r11d\n mov $39, %eax\n jmp *%rdi") ++
            assemble("flags_kept", "stc\n mov $39, %eax\n syscall\n jnc 1f\n" ++ exit_0 ++ "1: ud2") ++
            assemble("vectors_kept", "mov $0x1122334455667788, %rax\n movq %rax, %xmm7\n vpbroadcastq %xmm7, %ymm7\n mov $39, %eax\n syscall\n" ++
                "vextracti128 $1, %ymm7, %xmm0\n movq %xmm0, %rbx\n mov $0x1122334455667788, %rax\n cmp %rax, %rbx\n jne 1f\n movq %xmm7, %rbx\n cmp %rax, %rbx\n jne 1f\n" ++ exit_0 ++ "1: ud2") ++
            assemble("registers_kept", "mov $1, %ebx\n mov $2, %ebp\n mov $3, %r8d\n mov $4, %r9d\n mov $5, %r10d\n mov $6, %r12d\n mov $7, %r15d\n mov $8, %edx\n mov $39, %eax\n syscall\n" ++
                "add %rbx, %rbp\n add %r8, %r9\n add %r9, %r10\n add %r10, %r12\n add %r12, %r15\n add %rbp, %r15\n add %rdx, %r15\n cmp $36, %r15\n jne 1f\n" ++ exit_0 ++ "1: ud2") ++
            assemble("red_zone_kept", "mov $0x77, %eax\n mov %rax, -8(%rsp)\n mov %rax, -128(%rsp)\n mov $39, %eax\n syscall\n cmpq $0x77, -8(%rsp)\n jne 1f\n cmpq $0x77, -128(%rsp)\n jne 1f\n" ++ exit_0 ++ "1: ud2") ++
            // Ring-0 code for the cases that stand for a guest which took its ring 0 over.
            assemble("ring0_hlt", "hlt") ++
            assemble("ring0_ud2", "ud2") ++
            assemble("ring0_odd_port", "out %al, $0x21\n out %al, $0x99") ++
            assemble("ring0_read_nowhere", "mov $0x123456789000, %rax\n mov (%rax), %rax") ++
            assemble("ring0_bad_stack", "xor %esp, %esp\n push %rax") ++
            ".popsection\n");
}

fn expectSignal(expected: u8, outcome: Outcome) !void {
    if (outcome == .signal and outcome.signal == expected) return;
    std.debug.print("expected {s}, got {any}\n", .{ faults.signalName(expected), outcome });
    return error.TestUnexpectedResult;
}

test "an exit status and system calls that keep flags, registers, vectors and the red zone" {
    try testing.expectEqual(Outcome{ .exit = 42 }, try runCode(snippet("exit"), generous));
    inline for (.{ "flags_kept", "vectors_kept", "registers_kept", "red_zone_kept" }) |name| {
        testing.expectEqual(Outcome{ .exit = 0 }, try runCode(snippet(name), generous)) catch |failure| {
            std.debug.print("{s}\n", .{name});
            return failure;
        };
    }
}

test "exceptions end as the signal Linux would send" {
    inline for (.{
        .{ "hlt", 11 },                .{ "out", 11 },            .{ "out_syscall_port", 11 }, .{ "in", 11 },
        .{ "int80", 11 },              .{ "int_page_fault", 11 }, .{ "cli", 11 },              .{ "ud2", 4 },
        .{ "int3", 5 },                .{ "divide", 8 },          .{ "nowhere", 11 },          .{ "non_canonical_jump", 11 },
        .{ "kernel_half", 11 },        .{ "null_write", 11 },     .{ "trap_flag", 5 },         .{ "deep_stack", 11 },
        .{ "non_canonical_read", 11 },
    }) |case| {
        expectSignal(case[1], try runCode(snippet(case[0]), generous)) catch |failure| {
            std.debug.print("{s}\n", .{case[0]});
            return failure;
        };
    }
}

test "an unaligned access with the alignment flag set is SIGBUS where the CPU checks alignment" {
    // QEMU's emulator does not check: there the code runs on into the int3 that fills the page.
    const outcome = try runCode(snippet("alignment"), generous);
    try testing.expect(outcome == .signal and (outcome.signal == 7 or outcome.signal == 5));
}

test "an endless loop and an endless stream of system calls end at the time limit" {
    try testing.expectEqual(Outcome{ .timeout = .wall }, try runCode(snippet("spin"), short));
    try testing.expectEqual(Outcome{ .timeout = .wall }, try runCode(snippet("spin_syscalls"), short));
    try testing.expectEqual(Outcome{ .timeout = .cpu }, try runCode(snippet("spin"), .{ .cpu_ns = 20 * std.time.ns_per_ms }));
}

test "memory without end stops at the ceiling" {
    try testing.expectEqual(Outcome.out_of_memory, try runCode(snippet("touch_all"), generous));
}

/// Runs a snippet with rdi set.
fn runWithRdi(code: []const u8, rdi: u64) !Outcome {
    const machine = try bootCode(code, 16 * limits.MiB);
    defer machine.destroy();
    machine.current().regs.rdi = rdi;
    return machine.run(.exit, generous);
}

test "every page of the system area is closed to ring 3, but for what it may read or run" {
    const P = layout.Page;
    inline for (.{ "read_rdi", "write_rdi", "write_vector_rdi", "exchange_rdi", "jump_rdi" }) |name| {
        var page: u64 = 0;
        while (page < layout.system_pages + layout.gate_table_pages + 2) : (page += 1) {
            const address = layout.system_base + page * limits.page_size;
            const in_gate_table = address >= layout.gate_table_address and address < layout.gate_table_ring0;
            const data = address == P.vdso_parameters.address() or address == layout.vectors_address or in_gate_table;
            const readable = data or address == P.user_stubs.address() or address == layout.imports_address or in_gate_table or (address >= P.vdso_parameters.address() and address < layout.vdso_base + layout.vdso_pages_max * limits.page_size);
            const outcome = try runWithRdi(snippet(name), address);
            if (comptime std.mem.eql(u8, name, "read_rdi")) {
                if (readable) {
                    try testing.expectEqual(Outcome{ .exit = 0 }, outcome);
                    continue;
                }
            }
            // Running a readable page's code is allowed; whatever it does ends as some signal or as the stub's ud2.
            if (comptime std.mem.eql(u8, name, "jump_rdi")) {
                if (readable and !data) continue;
            }
            expectSignal(11, outcome) catch |failure| {
                std.debug.print("{s} at 0x{x}\n", .{ name, address });
                return failure;
            };
        }
    }
}

test "jumps into the stubs do no more than a system call or a fault" {
    const inside = layout.stub_syscall;
    const outcome = try runWithRdi(snippet("stub_bad_return"), inside);
    try expectSignal(11, outcome);
    try expectSignal(11, try runWithRdi(snippet("jump_rdi"), layout.stub_call_return));
    try expectSignal(11, try runWithRdi(snippet("jump_rdi"), layout.stub_ring0_syscall));
}

/// Replaces the ring-0 stub of #UD by `code` and lets the guest raise it.
fn runHostile(code: []const u8, wipe: ?layout.Page) !Outcome {
    const machine = try bootCode(snippet("ud2"), 16 * limits.MiB);
    defer machine.destroy();
    const stubs = machine.frames.bytes(@intCast(layout.Page.ring0_stubs.physical() / limits.page_size), 1);
    @memcpy(stubs[6 * 16 ..][0..code.len], code);
    if (wipe) |page| @memset(machine.frames.bytes(@intCast(page.physical() / limits.page_size), 1), 0);
    return machine.run(.exit, short);
}

fn expectBroken(outcome: Outcome) !void {
    switch (outcome) {
        .broken, .timeout => {},
        else => {
            std.debug.print("expected a broken machine, got {any}\n", .{outcome});
            return error.TestUnexpectedResult;
        },
    }
}

test "a hostile ring 0 breaks its own machine and nothing else" {
    inline for (.{ "spin", "ring0_hlt", "ring0_ud2", "ring0_odd_port", "ring0_read_nowhere", "ring0_bad_stack" }) |name| {
        expectBroken(try runHostile(snippet(name), null)) catch |failure| {
            std.debug.print("{s}\n", .{name});
            return failure;
        };
    }
    // Without an IDT the fault becomes a triple fault.
    try expectBroken(try runHostile(snippet("ring0_hlt"), .descriptors));
}

test "wiped page tables end the machine, not the process" {
    const machine = try bootCode(snippet("spin_syscalls"), 16 * limits.MiB);
    defer machine.destroy();
    const root = machine.space.tables.root;
    for (machine.frames.bytes(root, 1)) |*byte| byte.* = 0xff;
    const outcome = machine.run(.exit, short);
    try testing.expect(outcome == .broken or outcome == .timeout or outcome == .signal);
}

test "random bytes as a program end in some way, every time" {
    var random = std.Random.DefaultPrng.init(0x5eed);
    var code: [256]u8 = undefined;
    const rounds = 60;
    for (0..rounds) |_| {
        random.random().bytes(&code);
        const machine = try bootCode(&code, 4 * limits.MiB);
        defer machine.destroy();
        inline for (.{ "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9" }) |name| {
            @field(machine.current().regs, name) = random.random().int(u64) >> random.random().int(u6);
        }
        _ = machine.run(.exit, .{ .wall_ns = 10 * std.time.ns_per_ms });
    }
}
