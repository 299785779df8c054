//! The kernel of a new machine: its trace, its outputs and its files, from the configuration.
const std = @import("std");
const linux = std.os.linux;
const config_module = @import("config.zig");
const errors = @import("../errors.zig");
const files_setup = @import("files_setup.zig");
const host = @import("../host.zig");
const kernel_module = @import("../linux/kernel.zig");
const registry = @import("registry.zig");
const Output = @import("../output.zig").Output;
const Threads = @import("../linux/threads.zig").Threads;
const Tracer = @import("../tracer.zig").Tracer;
const Config = config_module.Config;

pub fn makeKernel(entry: *registry.Entry, config: *const Config, record: *errors.Record) error{Failed}!void {
    const machine = entry.machine;
    for ([_]i32{ config.stdout, config.stderr }, 0..) |stream, index| {
        if (stream != config_module.stream_piped) continue;
        const output = registry.allocator.create(Output) catch return outOfMemory(record);
        output.* = .{ .allocator = registry.allocator, .interrupt = &machine.interrupt, .handle = entry.handle, .stream = @intCast(index + 1) };
        machine.outputs[index] = output;
    }
    if (config.trace >= 0) {
        const fd = duplicate(config.trace) catch return badDescriptor(record, "trace");
        machine.tracer = Tracer.create(registry.allocator, fd) catch return outOfMemory(record);
    }
    const identity: kernel_module.Identity = .{};
    machine.kernel = .{
        .allocator = registry.allocator,
        .memory = machine.space.access(),
        .space = &machine.space,
        .machine = machine,
        .threads = Threads.init(registry.allocator, identity.pid) catch return outOfMemory(record),
        .files = undefined,
        .clock = &machine.clock,
        .interrupt = &machine.interrupt,
    };
    errdefer machine.kernel.threads.deinit();
    try files_setup.make(machine, config, record);
    if (machine.tracer == null) machine.writeStubs(.{ .process = machine.kernel.identity.pid });
}

/// The embedder's descriptors are duplicated, so that each side closes its own.
pub fn duplicate(fd: i32) host.Error!i32 {
    const dupfd_cloexec = 1030;
    return @intCast(try host.check(linux.fcntl(fd, dupfd_cloexec, 3)));
}

pub fn badDescriptor(record: *errors.Record, option: []const u8) error{Failed} {
    _ = record.format(.BAD_OPTION, "the descriptor given for {s} is not open", .{option}, "pass an open file descriptor, \"pipe\", \"inherit\" or \"ignore\"", .{ .option = option });
    return error.Failed;
}

pub fn outOfMemory(record: *errors.Record) error{Failed} {
    _ = record.set(.INTERNAL, "the host has no memory left", "free memory on the host", .{});
    return error.Failed;
}
