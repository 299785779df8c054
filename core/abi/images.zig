//! Freezing, forking and resetting as JavaScript asks for them. Images have handles of their own.
const std = @import("std");
const difference_module = @import("../difference.zig");
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const image_module = @import("../image.zig");
const limits = @import("../limits.zig");
const registry = @import("registry.zig");
const reset_module = @import("../reset.zig");
const Image = image_module.Image;
const Machine = @import("../machine.zig").Machine;
const Output = @import("../output.zig").Output;
const Remote = @import("../remote/remote.zig").Remote;

var images: std.ArrayList(?*Image) = .empty;
var free_handles: std.ArrayList(u32) = .empty;

pub fn find(handle: u32) ?*Image {
    if (handle < images.items.len) {
        if (images.items[handle]) |image| return image;
    }
    _ = registry.last_error.set(.CLOSED, "the snapshot is closed", "freeze a machine again", .{});
    return null;
}

pub fn register(image: *Image) error{OutOfMemory}!u32 {
    if (free_handles.pop()) |handle| {
        images.items[handle] = image;
        return handle;
    }
    try images.append(registry.allocator, image);
    errdefer _ = images.pop();
    // Room for every handle to come back, so that closing cannot fail.
    try free_handles.ensureTotalCapacity(registry.allocator, images.items.len);
    return @intCast(images.items.len - 1);
}

/// Freezes a machine that does not run; the image's handle.
pub fn freeze(handle: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    if (entry.machine.state == .poisoned) return registry.poisoned(entry).status();
    if (!entry.machine.frames.waitForAll()) {
        registry.last_error = entry.machine.frames.cutOff().?.*;
        return registry.last_error.code.status();
    }
    const image = Image.freeze(entry.machine) catch |failure| return hostFailure(failure, "freeze the machine");
    const image_handle = register(image) catch {
        image.release();
        return hostFailure(error.OutOfMemory, "freeze the machine");
    };
    return @intCast(image_handle);
}

fn hostFailure(failure: image_module.Error, comptime what: []const u8) i32 {
    return switch (failure) {
        error.OutOfMemory => registry.last_error.set(.INTERNAL, "the host has no memory left to " ++ what, "free memory on the host", .{}),
        error.HostFailure => registry.last_error.format(.INTERNAL, "the host refused to " ++ what ++ " ({t})", .{host.last_errno}, "close machines, or raise the limits on open files, memory and mappings (ulimit -n, ulimit -v, vm.max_map_count)", .{}),
    }.status();
}

/// The handle is free afterwards; forks keep what they need.
pub fn close(handle: u32) i32 {
    const image = find(handle) orelse return registry.last_error.code.status();
    images.items[handle] = null;
    free_handles.appendAssumeCapacity(handle);
    image.release();
    return 0;
}

/// The memory ceiling that the frozen machine had.
pub fn memory(handle: u32) f64 {
    const image = find(handle) orelse return @floatFromInt(registry.last_error.code.status());
    return @floatFromInt(image.machine.frames.frames_max * limits.page_size);
}

/// A fork of an image; its machine handle.
pub fn fork(handle: u32, memory_bytes: f64) i32 {
    const image = find(handle) orelse return registry.last_error.code.status();
    const needed: f64 = @floatFromInt(image.frames.frames_used * limits.page_size);
    if (!(memory_bytes >= needed and memory_bytes <= @as(f64, @floatFromInt(limits.memory_max_bytes)))) {
        return registry.last_error.format(.BAD_OPTION, "a fork cannot have {d} bytes of memory, the snapshot alone uses {d}", .{ memory_bytes, needed }, "give `memory` (--memory) more than the snapshot uses, or leave it out", .{ .option = "memory" }).status();
    }
    return forkWith(image, @intFromFloat(memory_bytes)) catch |failure| hostFailure(failure, "make a fork");
}

fn forkWith(image: *Image, memory_bytes: u64) image_module.Error!i32 {
    var outputs: [2]?*Output = .{ null, null };
    for (image.piped, 0..) |is_piped, index| {
        if (!is_piped) continue;
        errdefer for (outputs) |made| if (made) |some| registry.allocator.destroy(some);
        const output = try registry.allocator.create(Output);
        output.* = .{ .allocator = registry.allocator, .interrupt = undefined, .handle = undefined, .stream = @intCast(index + 1) };
        outputs[index] = output;
    }
    const machine = try image.fork(.{ .memory_bytes = memory_bytes, .outputs = outputs });
    if (machine.window() != null) _ = Remote.create(registry.allocator, machine) catch |failure| {
        machine.destroy();
        return failure;
    };
    const entry = registry.register(machine) catch |failure| {
        if (machine.remote) |remote| remote.letGo() else machine.destroy();
        return if (failure == error.OutOfMemory) error.OutOfMemory else error.HostFailure;
    };
    for (outputs) |output| if (output) |some| {
        some.handle = entry.handle;
    };
    entry.block.state = @intFromEnum(machine.state);
    entry.block.fork_generation = @floatFromInt(machine.clock.current.generation);
    return @intCast(entry.handle);
}

/// Which standard outputs JavaScript reads: bit 0 stdout, bit 1 stderr.
pub fn piped(handle: u32) i32 {
    const image = find(handle) orelse return registry.last_error.code.status();
    return @as(i32, @intFromBool(image.piped[0])) | @as(i32, @intFromBool(image.piped[1])) << 1;
}

const same_image = std.math.maxInt(u32);

/// Puts a fork back; what it came to is in the control block.
pub fn reset(handle: u32, mode: u32, limit_bytes: f64, to: u32) i32 {
    const started = host.monotonicNs();
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const machine = entry.machine;
    if (!machine.is_fork) return registry.last_error.set(.UNSUPPORTED, "only a fork can be reset", "freeze() the machine and fork() the snapshot", .{ .feature = "reset" }).status();
    const wanted = std.enums.fromInt(reset_module.Mode, mode) orelse return registry.last_error.set(.BAD_OPTION, "an unknown way to reset", "use \"auto\", \"rewrite\" or \"full\"", .{ .option = "mode" }).status();
    const limit: u64 = if (limit_bytes >= 0 and limit_bytes < 1 << 60) @intFromFloat(limit_bytes) else std.math.maxInt(u64);
    const report = if (to == same_image or images.items.len > to and images.items[to] == machine.image)
        reset_module.reset(machine, wanted, limit)
    else other: {
        const image = find(to) orelse return registry.last_error.code.status();
        if (!compatible(machine, image)) return registry.last_error.set(.BAD_OPTION, "the snapshot does not come from the same booted machine", "reset to another snapshot of that machine, or of one of its forks", .{ .option = "to" }).status();
        break :other reset_module.resetTo(machine, image);
    };
    const done = report catch |failure| {
        entry.block.state = @intFromEnum(machine.state);
        return hostFailure(failure, "reset the fork");
    };
    if (machine.remote) |remote| remote.death = null;
    const block = entry.block;
    block.state = @intFromEnum(machine.state);
    block.reset_mode = @intFromEnum(done.mode);
    block.reset_pages = done.pages;
    block.fork_generation = @floatFromInt(machine.clock.current.generation);
    block.reset_nanoseconds = @floatFromInt(host.monotonicNs() - started);
    return 0;
}

/// Both must come from one boot: what never changes afterwards (permissions, streams) is then the same.
fn compatible(machine: *const Machine, image: *const Image) bool {
    if (image.machine.kernel.files.scope != machine.kernel.files.scope) return false;
    if (image.frames.bytes_max != machine.frames.bytes_max or image.frames.frames_used > machine.frames.frames_max) return false;
    for (machine.outputs, image.piped) |mine, is_piped| if ((mine != null) != is_piped) return false;
    return true;
}

/// Writes what differs between two machines of one image as the result's text; its length.
pub fn difference(first: u32, second: u32) i32 {
    var status: i32 = 0;
    const one = registry.getIdle(first, &status) orelse return status;
    const two = registry.getIdle(second, &status) orelse return status;
    if (one.machine.image == null or one.machine.image != two.machine.image) {
        return registry.last_error.set(.BAD_OPTION, "the machines are not of one snapshot", "compare forks of the same snapshot", .{ .option = "second" }).status();
    }
    const out = registry.newResult();
    difference_module.write(out, one.machine, two.machine) catch return hostFailure(error.HostFailure, "compare machines");
    return @intCast(registry.resultText().len);
}
