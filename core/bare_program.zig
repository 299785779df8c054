//! A machine whose program is a few bytes of machine code, without files, libraries or permissions: for self-tests.
const std = @import("std");
const builder = @import("elf_builder.zig");
const errors = @import("errors.zig");
const loader = @import("loader.zig");
const Identity = @import("linux/kernel.zig").Identity;
const FileTable = @import("linux/files/table.zig").FileTable;
const Machine = @import("machine.zig").Machine;
const Platform = @import("platform.zig").Platform;

const code_address = 0x40_0100;
const code_offset = 0x100;

pub const Error = error{ OutOfMemory, HostFailure, Failed };

/// Boots `code`; its one segment of two pages is readable, writable and executable.
pub fn boot(allocator: std.mem.Allocator, platform: *const Platform, code: []const u8, memory_bytes: u64) Error!*Machine {
    const file = try builder.build(allocator, .{ .entry = code_address, .segments = &.{.{ .flags = 7, .memsz = 0x2000 }} });
    defer allocator.free(file);
    @memcpy(file[code_offset..][0..code.len], code);
    const machine = try Machine.create(allocator, platform, memory_bytes, .ordinary);
    errdefer if (machine.kernel_made) machine.destroy() else machine.destroyVm();
    var record: errors.Record = .{};
    machine.program = try loader.openBytes(allocator, file, &record);
    const identity: Identity = .{};
    machine.kernel = .{
        .allocator = allocator,
        .memory = machine.space.access(),
        .space = &machine.space,
        .threads = try .init(allocator, identity.pid),
        .files = try FileTable.initEmpty(allocator),
        .clock = &machine.clock,
        .interrupt = &machine.interrupt,
    };
    machine.kernel_made = true;
    try loader.load(machine, "program", &.{"program"}, &.{}, &record);
    return machine;
}
