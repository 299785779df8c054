//! `pristine doctor --selftest`: the properties everything rests on, tried on this machine.
const std = @import("std");
const bare_program = @import("../bare_program.zig");
const call_module = @import("../call.zig");
const host = @import("../host.zig");
const interrupt_module = @import("../interrupt.zig");
const limits = @import("../limits.zig");
const platform_module = @import("../platform.zig");
const Outcome = @import("../run.zig").Outcome;
const Platform = platform_module.Platform;

pub const exit_rounds = 32;

pub fn exitCost(allocator: std.mem.Allocator, platform: *const Platform) !u64 {
    return platform_module.exitCost(allocator, platform, exit_rounds);
}

/// Programs of a few instructions; each exits with status 0 if what it tries holds.
const exit_0 = "xor %edi, %edi\n mov $231, %eax\n syscall\n";
const exit_1 = "mov $1, %edi\n mov $231, %eax\n syscall\n";
const map_page = "mov $9, %eax\n xor %edi, %edi\n mov $0x200000, %esi\n mov $3, %edx\n mov $0x22, %r10d\n mov $-1, %r8\n xor %r9d, %r9d\n syscall\n";

comptime {
    asm (".pushsection .rodata.selftest, \"a\"\n" ++
            assemble("registers", "mov $7, %ebx\n mov $9, %r15d\n mov $5, %edx\n mov $39, %eax\n syscall\n add %rbx, %r15\n add %rdx, %r15\n cmp $21, %r15\n jne 1f\n" ++ exit_0 ++ "1: " ++ exit_1) ++
            assemble("paging", map_page ++ "movq $77, 0x123000(%rax)\n cmpq $77, 0x123000(%rax)\n jne 1f\n cmpq $0, 0x1fff8(%rax)\n jne 1f\n" ++ exit_0 ++ "1: " ++ exit_1) ++
            assemble("protection", map_page ++ "mov %rax, %rdi\n movq $1, (%rdi)\n mov $10, %eax\n mov $4096, %esi\n mov $1, %edx\n syscall\n movq $2, (%rdi)\n" ++ exit_1) ++
            assemble("unmapping", map_page ++ "mov %rax, %rdi\n movq $1, (%rdi)\n mov $11, %eax\n mov $4096, %esi\n syscall\n mov (%rdi), %rax\n" ++ exit_1) ++
            assemble("discarding", map_page ++ "mov %rax, %rdi\n movq $1, (%rdi)\n mov $28, %eax\n mov $4096, %esi\n mov $4, %edx\n syscall\n cmpq $0, (%rdi)\n jne 1f\n" ++ exit_0 ++ "1: " ++ exit_1) ++
            assemble("privilege", "hlt\n" ++ exit_1) ++
            assemble("endless", "1: jmp 1b\n") ++
            assemble("add", "lea (%rdi, %rsi), %rax\n ret\n") ++
            ".popsection\n");
}

fn assemble(comptime name: []const u8, comptime body: []const u8) []const u8 {
    return "selftest_" ++ name ++ ":\n" ++ body ++ "\nselftest_" ++ name ++ "_end:\n";
}

fn code(comptime name: []const u8) []const u8 {
    const start = @extern([*]const u8, .{ .name = "selftest_" ++ name });
    const end = @extern([*]const u8, .{ .name = "selftest_" ++ name ++ "_end" });
    return start[0 .. @intFromPtr(end) - @intFromPtr(start)];
}

const Case = struct { id: []const u8, title: []const u8, run_fn: *const fn (std.mem.Allocator, *const Platform) anyerror!void };

/// A case that runs a program and expects one outcome.
fn expecting(comptime name: []const u8, comptime expected: Outcome, comptime wall_ms: u64) *const fn (std.mem.Allocator, *const Platform) anyerror!void {
    return struct {
        fn run(allocator: std.mem.Allocator, platform: *const Platform) anyerror!void {
            const machine = try bare_program.boot(allocator, platform, code(name), 16 * limits.MiB);
            defer machine.destroy();
            const outcome = machine.run(.exit, .{ .wall_ns = wall_ms * std.time.ns_per_ms });
            if (!std.meta.eql(outcome, expected)) return error.WrongOutcome;
        }
    }.run;
}

const exits: Outcome = .{ .exit = 0 };
const segmentation_fault: Outcome = .{ .signal = 11 };
const patience_ms = 10_000;

pub const cases = [_]Case{
    .{ .id = "selftest.registers", .title = "a system call keeps the guest's registers", .run_fn = expecting("registers", exits, patience_ms) },
    .{ .id = "selftest.paging", .title = "memory is mapped when it is touched", .run_fn = expecting("paging", exits, patience_ms) },
    .{ .id = "selftest.protection", .title = "a page made read-only refuses the next write", .run_fn = expecting("protection", segmentation_fault, patience_ms) },
    .{ .id = "selftest.unmapping", .title = "an unmapped page refuses the next read", .run_fn = expecting("unmapping", segmentation_fault, patience_ms) },
    .{ .id = "selftest.discarding", .title = "discarded memory reads as zero", .run_fn = expecting("discarding", exits, patience_ms) },
    .{ .id = "selftest.privilege", .title = "a privileged instruction is a fault", .run_fn = expecting("privilege", segmentation_fault, patience_ms) },
    .{ .id = "selftest.endless", .title = "an endless loop ends at its time limit", .run_fn = expecting("endless", .{ .timeout = .wall }, 20) },
    .{ .id = "selftest.call", .title = "a function of the guest is called in one exit", .run_fn = callsInOneExit },
};

fn callsInOneExit(allocator: std.mem.Allocator, platform: *const Platform) anyerror!void {
    const machine = try bare_program.boot(allocator, platform, code("add"), 16 * limits.MiB);
    defer machine.destroy();
    var frame = std.mem.zeroes(call_module.Frame);
    frame.function = machine.program.entry;
    frame.integers[0] = 40;
    frame.integers[1] = 2;
    const time_limits: interrupt_module.Limits = .{ .wall_ns = patience_ms * std.time.ns_per_ms };
    if (call_module.call(machine, &frame, time_limits) != .call_return) return error.WrongOutcome;
    const before = machine.vcpu.exits;
    if (call_module.call(machine, &frame, time_limits) != .call_return) return error.WrongOutcome;
    if (frame.result_integer != 42) return error.WrongResult;
    if (machine.vcpu.exits - before != 1) return error.TooManyExits;
}

test "every self-test passes where KVM can be used" {
    const platform = platform_module.probe(std.testing.allocator, null) catch |failure| switch (failure) {
        error.NoDevice, error.NoAccess => return error.SkipZigTest,
        else => return failure,
    };
    defer host.close(platform.device.fd);
    try interrupt_module.installHandler();
    for (cases) |case| case.run_fn(std.testing.allocator, &platform) catch |failure| {
        std.debug.print("{s}\n", .{case.title});
        return failure;
    };
}
