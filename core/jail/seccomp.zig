//! A seccomp filter from a list of permitted system calls: all others end the process.
//!
//! Source: seccomp(2), Documentation/userspace-api/seccomp_filter.rst; struct sock_filter of linux/filter.h.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");

/// What the lower half of an argument must be.
pub const Check = struct {
    argument: u8,
    how: enum { equals, has_all, has_none },
    value: u32,
};

pub const Rule = struct {
    call: linux.SYS,
    /// All must hold.
    checks: []const Check = &.{},
};

const Instruction = extern struct { code: u16, jump_true: u8 = 0, jump_false: u8 = 0, value: u32 };
const Program = extern struct { length: u16, instructions: [*]const Instruction };

const load_word = 0x20;
const jump_equal = 0x15;
const jump_at_least = 0x35;
const and_value = 0x54;
const answer = 0x06;

const allow = 0x7fff_0000;
const kill_process = 0x8000_0000;
const architecture_x86_64 = 0xc000_003e;
/// Numbers of the x32 ABI begin here.
const x32_first = 0x4000_0000;

/// Offsets in struct seccomp_data.
const data_number = 0;
const data_architecture = 4;
const data_arguments = 16;

const instructions_max = 1024;

const Writer = struct {
    list: [instructions_max]Instruction = undefined,
    length: usize = 0,

    fn add(self: *Writer, instruction: Instruction) void {
        self.list[self.length] = instruction;
        self.length += 1;
    }

    fn rule(self: *Writer, permitted: Rule) void {
        const behind: u8 = @intCast(sizeOf(permitted.checks));
        self.add(.{ .code = jump_equal, .jump_false = behind + 1, .value = @intCast(@intFromEnum(permitted.call)) });
        var left = behind;
        for (permitted.checks) |check| {
            self.add(.{ .code = load_word, .value = data_arguments + 8 * @as(u32, check.argument) });
            left -= 1;
            if (check.how != .equals) {
                self.add(.{ .code = and_value, .value = check.value });
                left -= 1;
            }
            left -= 1;
            const wanted: u32 = switch (check.how) {
                .equals, .has_all => check.value,
                .has_none => 0,
            };
            // To behind the rule's end, where the number is loaded again.
            self.add(.{ .code = jump_equal, .jump_false = left + 1, .value = wanted });
        }
        self.add(.{ .code = answer, .value = allow });
        if (permitted.checks.len > 0) self.add(.{ .code = load_word, .value = data_number });
    }
};

fn sizeOf(checks: []const Check) usize {
    var size: usize = 0;
    for (checks) |check| size += if (check.how == .equals) 2 else 3;
    return size;
}

fn write(rules: []const Rule) Writer {
    var out: Writer = .{};
    out.add(.{ .code = load_word, .value = data_architecture });
    out.add(.{ .code = jump_equal, .jump_true = 1, .value = architecture_x86_64 });
    out.add(.{ .code = answer, .value = kill_process });
    out.add(.{ .code = load_word, .value = data_number });
    out.add(.{ .code = jump_at_least, .jump_false = 1, .value = x32_first });
    out.add(.{ .code = answer, .value = kill_process });
    for (rules) |permitted| out.rule(permitted);
    out.add(.{ .code = answer, .value = kill_process });
    return out;
}

/// Holds for the calling thread and those that it makes, or for all threads there are.
pub fn install(rules: []const Rule, all_threads: bool) host.Error!void {
    const program = write(rules);
    const SET_MODE_FILTER = 1;
    const FLAG_TSYNC = 1;
    const argument: Program = .{ .length = @intCast(program.length), .instructions = &program.list };
    const rc = try host.check(linux.seccomp(SET_MODE_FILTER, if (all_threads) FLAG_TSYNC else 0, &argument));
    // The id of a thread that could not be brought in.
    if (rc != 0) return error.HostFailure;
}

/// What a filter answers, for tests: a filter that is wrong ends processes or, worse, does not.
fn evaluate(program: *const Writer, number: u32, arguments: [6]u64) u32 {
    var accumulator: u32 = 0;
    var at: usize = 0;
    while (true) {
        const instruction = program.list[at];
        at += 1;
        switch (instruction.code) {
            load_word => accumulator = switch (instruction.value) {
                data_number => number,
                data_architecture => architecture_x86_64,
                else => @truncate(arguments[(instruction.value - data_arguments) / 8]),
            },
            and_value => accumulator &= instruction.value,
            jump_equal => at += if (accumulator == instruction.value) instruction.jump_true else instruction.jump_false,
            jump_at_least => at += if (accumulator >= instruction.value) instruction.jump_true else instruction.jump_false,
            answer => return instruction.value,
            else => unreachable,
        }
    }
}

test "a filter permits what its rules say, and nothing else" {
    const rules = [_]Rule{
        .{ .call = .read },
        .{ .call = .mmap, .checks = &.{.{ .argument = 2, .how = .has_none, .value = 4 }} },
        .{ .call = .clone, .checks = &.{.{ .argument = 0, .how = .has_all, .value = 0x10100 }} },
        .{ .call = .tgkill, .checks = &.{ .{ .argument = 0, .how = .equals, .value = 77 }, .{ .argument = 2, .how = .has_none, .value = 0xff00 } } },
        .{ .call = .socket, .checks = &.{.{ .argument = 0, .how = .equals, .value = 1 }} },
        .{ .call = .socket, .checks = &.{.{ .argument = 0, .how = .equals, .value = 2 }} },
        .{ .call = .write },
    };
    const program = write(&rules);
    const Case = struct { linux.SYS, [6]u64, bool };
    for ([_]Case{
        .{ .read, @splat(0), true },
        .{ .write, @splat(0), true },
        .{ .mmap, .{ 0, 0, 3, 0, 0, 0 }, true },
        .{ .mmap, .{ 0, 0, 7, 0, 0, 0 }, false },
        .{ .clone, .{ 0x10e00, 0, 0, 0, 0, 0 }, false },
        .{ .clone, .{ 0x3d0f00 | 0x10100, 0, 0, 0, 0, 0 }, true },
        .{ .clone, .{ 17, 0, 0, 0, 0, 0 }, false },
        .{ .tgkill, .{ 77, 1, 9, 0, 0, 0 }, true },
        .{ .tgkill, .{ 78, 1, 9, 0, 0, 0 }, false },
        .{ .tgkill, .{ 77, 1, 0x900, 0, 0, 0 }, false },
        .{ .socket, .{ 1, 0, 0, 0, 0, 0 }, true },
        .{ .socket, .{ 2, 0, 0, 0, 0, 0 }, true },
        .{ .socket, .{ 16, 0, 0, 0, 0, 0 }, false },
        .{ .execve, @splat(0), false },
        .{ .ptrace, @splat(0), false },
    }) |case| {
        const expected: u32 = if (case[2]) allow else kill_process;
        try std.testing.expectEqual(expected, evaluate(&program, @intCast(@intFromEnum(case[0])), case[1]));
    }
    try std.testing.expectEqual(kill_process, evaluate(&program, x32_first, @splat(0)));
}
