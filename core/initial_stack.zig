//! What a program finds on its stack: arguments, environment and the auxiliary vector.
//! Source: System V ABI AMD64 supplement 3.4.1 (initial stack), getauxval(3).
const std = @import("std");
const linux = std.os.linux;
const elf = @import("elf.zig");
const errors = @import("errors.zig");
const host = @import("host.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const signal_frame = @import("signal_frame.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const Machine = @import("machine.zig").Machine;

const page = limits.page_size;

/// What the caller knows of the program that is started.
pub const Facts = struct {
    /// By which name it was started (AT_EXECFN).
    name: []const u8,
    /// Where its dynamic loader lies; 0 without one.
    interpreter_base: u64 = 0,
};

/// Builds the initial stack: strings on top, then the auxiliary vector, the pointers and the argument count.
const StackBuilder = struct {
    space: *AddressSpace,
    at: u64,

    fn bytes(self: *StackBuilder, content: []const u8) !u64 {
        self.at -= content.len;
        try self.space.writeAnyRights(self.at, content);
        return self.at;
    }

    /// The string gets a NUL behind it.
    fn string(self: *StackBuilder, text: []const u8) !u64 {
        self.at -= 1;
        try self.space.writeAnyRights(self.at, &.{0});
        return self.bytes(text);
    }
};

const AT_NULL = 0;
const AT_PHDR = 3;
const AT_PHENT = 4;
const AT_PHNUM = 5;
const AT_PAGESZ = 6;
const AT_BASE = 7;
const AT_FLAGS = 8;
const AT_ENTRY = 9;
const AT_UID = 11;
const AT_EUID = 12;
const AT_GID = 13;
const AT_EGID = 14;
const AT_PLATFORM = 15;
const AT_HWCAP = 16;
const AT_CLKTCK = 17;
const AT_SECURE = 23;
const AT_RANDOM = 25;
const AT_HWCAP2 = 26;
const AT_EXECFN = 31;
const AT_SYSINFO_EHDR = 33;
const AT_MINSIGSTKSZ = 51;

/// HWCAP2 bit 1: the FSGSBASE instructions work in ring 3.
const hwcap2_fsgsbase = 2;
const signal_frame_bytes = 1024;

/// Writes everything a program finds on its stack; its first stack pointer.
pub fn build(machine: *Machine, facts: Facts, argv: []const []const u8, env: []const []const u8) !u64 {
    const allocator = machine.allocator;
    var stack: StackBuilder = .{ .space = &machine.space, .at = machine.space.area.end - 8 };
    const name = try stack.string(facts.name);
    var words: std.ArrayList(u64) = .empty;
    defer words.deinit(allocator);
    try words.ensureTotalCapacity(allocator, argv.len + env.len + 64);
    words.appendAssumeCapacity(argv.len);
    for ([_][]const []const u8{ argv, env }) |list| {
        for (list) |text| words.appendAssumeCapacity(try stack.string(text));
        words.appendAssumeCapacity(0);
    }
    const platform = try stack.string("x86_64");
    var random: [16]u8 = undefined;
    _ = linux.getrandom(&random, random.len, 0);
    const random_address = try stack.bytes(&random);

    const program = machine.program;
    const identity = machine.kernel.identity;
    const fsgsbase: u64 = if (machine.platform.fsgsbase()) hwcap2_fsgsbase else 0;
    for ([_][2]u64{
        .{ AT_SYSINFO_EHDR, machine.space.area.vdso_base },
        .{ AT_HWCAP, host.cpuid(1, 0).edx },
        .{ AT_PAGESZ, page },
        .{ AT_CLKTCK, 100 },
        .{ AT_PHDR, program.headersAddress() },
        .{ AT_PHENT, @sizeOf(elf.ProgramHeader) },
        .{ AT_PHNUM, program.image.phnum },
        .{ AT_BASE, facts.interpreter_base },
        .{ AT_FLAGS, 0 },
        .{ AT_ENTRY, program.entry },
        .{ AT_UID, identity.uid },
        .{ AT_EUID, identity.uid },
        .{ AT_GID, identity.gid },
        .{ AT_EGID, identity.gid },
        .{ AT_SECURE, 0 },
        .{ AT_RANDOM, random_address },
        .{ AT_HWCAP2, fsgsbase },
        .{ AT_EXECFN, name },
        .{ AT_PLATFORM, platform },
        .{ AT_MINSIGSTKSZ, signal_frame_bytes + signal_frame.xsaveBytes() },
        .{ AT_NULL, 0 },
    }) |pair| words.appendSliceAssumeCapacity(&pair);

    const rsp = std.mem.alignBackward(u64, stack.at - words.items.len * 8, 16);
    try machine.space.writeAnyRights(rsp, std.mem.sliceAsBytes(words.items));
    return rsp;
}

/// Refuses what Linux would refuse with E2BIG.
pub fn checkArguments(argv: []const []const u8, env: []const []const u8, record: *errors.Record) error{Failed}!void {
    var total: u64 = 0;
    for ([_][]const []const u8{ argv, env }) |list| {
        for (list) |text| {
            total += text.len + 1 + 8;
            if (text.len < limits.argument_max_bytes) continue;
            _ = record.format(.BAD_OPTION, "one argument or environment string has {d} bytes; Linux allows {d}", .{ text.len, limits.argument_max_bytes - 1 }, "pass large data by stdin or a file", .{ .option = "args" });
            return error.Failed;
        }
    }
    if (total <= limits.arguments_total_max_bytes) return;
    _ = record.format(.BAD_OPTION, "arguments and environment have {d} bytes together; Linux allows {d}", .{ total, limits.arguments_total_max_bytes }, "pass fewer, or pass data by stdin or a file", .{ .option = "args" });
    return error.Failed;
}
