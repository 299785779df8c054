//! Making and closing machines: from JavaScript's configuration to a machine with its program loaded.
const std = @import("std");
const linux = std.os.linux;
const config_module = @import("config.zig");
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const interrupt_module = @import("../interrupt.zig");
const limits = @import("../limits.zig");
const loader = @import("../loader.zig");
const machine_module = @import("../machine.zig");
const registry = @import("registry.zig");
const standard_streams = @import("standard_streams.zig");
const types = @import("types.zig");
const channel = @import("../worker/channel.zig");
const Remote = @import("../remote/remote.zig").Remote;
const windows = @import("../remote/windows.zig");
const worker = @import("../worker/self.zig");
const worker_client = @import("../worker/client.zig");
const Config = config_module.Config;
const Machine = machine_module.Machine;

/// Boots a program; the machine's handle, or a status.
pub fn create(json: []const u8) i32 {
    const record = &registry.last_error;
    var parsed = config_module.parse(registry.allocator, json) catch |failure| {
        return record.format(.INTERNAL, "the core could not read its configuration ({t})", .{failure}, "the JavaScript side and the core do not fit; run `npm run build`", .{}).status();
    };
    defer parsed.deinit();
    if (worker.self) |*me| return createInWorker(me, &parsed.value, parsed.arena.allocator());
    if (parsed.value.worker != 0) return worker_client.create(&parsed.value, json);
    return createHere(&parsed.value, parsed.arena.allocator());
}

/// With the descriptors that came for it; behind the jail's wall from here on.
fn createInWorker(me: *worker.Self, config: *Config, arena: std.mem.Allocator) i32 {
    const record = &registry.last_error;
    var descriptors: [limits.worker_descriptors_max]i32 = undefined;
    const count = config.descriptors(&descriptors) orelse 0;
    const received = if (count > 0) channel.receiveDescriptors(me.socket, &descriptors) catch return hostFull() else descriptors[0..0];
    defer for (received) |fd| host.close(fd);
    config.adopt(arena, received) catch return hostFull();
    const handle = createHere(config, arena);
    if (handle < 0) return handle;
    const jail = if (me.jail) |*some| some else return handle;
    jail.enter(&registry.find(@intCast(handle)).?.machine.kernel.files.scope.*) catch {
        const code = record.format(.UNSUPPORTED, "the jail is not whole: {s}", .{jail.missing()}, "leave `strict` out (--jail), or run where the kernel permits it", .{ .feature = "jail" });
        _ = close(@intCast(handle));
        return code.status();
    };
    return handle;
}

fn createHere(config: *Config, arena: std.mem.Allocator) i32 {
    const record = &registry.last_error;
    const platform = registry.thePlatform() catch |failure| return registry.kvmError(failure).status();
    const memory = memoryBytes(config.memory, record) catch return record.code.status();
    if (config.remote and memory > limits.remote_memory_max_bytes) return record.set(.BAD_OPTION, "a remote cannot have more than 16 GiB of memory", "give `memory` (--memory) at most 16GiB", .{ .option = "memory" }).status();
    const opened = loader.open(registry.allocator, arena, config.program, config.programFd, record) catch return record.code.status();
    const program = opened.program;
    if (opened.prefix.len > 0) {
        const behind = config.argv[@min(1, config.argv.len)..];
        config.argv = std.mem.concat(arena, []const u8, &.{ opened.prefix, behind }) catch {
            program.release(registry.allocator);
            return createError(error.OutOfMemory, memory, record).status();
        };
    }
    const machine = Machine.create(registry.allocator, platform, memory, if (config.remote) .ofRemote(windows.leastUsed()) else .ordinary) catch |failure| {
        program.release(registry.allocator);
        return createError(failure, memory, record).status();
    };
    machine.program = program;
    if (config.remote and !program.image.movable) {
        machine.destroyVm();
        return record.format(.BAD_OPTION, "{s} is linked to fixed addresses, and a remote must be movable", .{config.program[0..@min(config.program.len, 512)]}, "link it as a position-independent executable (cc -static-pie, or -pie)", .{ .option = "remote" }).status();
    }
    const entry = registry.register(machine) catch |failure| {
        machine.destroyVm();
        return registerError(failure, record).status();
    };
    boot(entry, config, record) catch {
        if (machine.kernel_made) machine.destroy() else machine.destroyVm();
        registry.remove(entry);
        return record.code.status();
    };
    if (config.remote) _ = Remote.create(registry.allocator, machine) catch {
        machine.destroy();
        registry.remove(entry);
        return registerError(error.OutOfMemory, record).status();
    };
    entry.block.state = @intFromEnum(machine.state);
    return @intCast(entry.handle);
}

const Failed = error{Failed};

fn memoryBytes(wanted: f64, record: *errors.Record) Failed!u64 {
    const low: f64 = @floatFromInt(limits.memory_min_bytes);
    const high: f64 = @floatFromInt(limits.memory_max_bytes);
    if (wanted >= low and wanted <= high) return @intFromFloat(wanted);
    _ = record.format(.BAD_OPTION, "a machine cannot have {d} bytes of memory", .{wanted}, "use a size from \"256KiB\" to \"1024GiB\" for `memory` (--memory)", .{ .option = "memory" });
    return error.Failed;
}

fn createError(failure: Machine.CreateError, memory: u64, record: *errors.Record) errors.Code {
    return switch (failure) {
        error.OutOfMemory => record.set(.OUT_OF_MEMORY, "the program does not fit into its memory", "raise `memory` (--memory)", .{ .limit = memory }),
        error.HostFailure => record.format(.INTERNAL, "the host refused to make a machine ({t})", .{host.last_errno}, "close machines, or raise the limits on open files and memory (ulimit -n, ulimit -v)", .{}),
    };
}

fn registerError(failure: registry.AddError, record: *errors.Record) errors.Code {
    return switch (failure) {
        error.TooMany => record.set(.INTERNAL, "too many machines are open", "close() machines that are done", .{}),
        else => record.set(.INTERNAL, "the host has no memory left", "free memory on the host", .{}),
    };
}

fn boot(entry: *registry.Entry, config: *const Config, record: *errors.Record) Failed!void {
    const machine = entry.machine;
    try standard_streams.makeKernel(entry, config, record);
    machine.kernel_made = true;
    loader.load(machine, config.program, config.argv, config.env, record) catch return error.Failed;
}

/// Stops what runs in the machine, and waits until its thread has left it.
pub fn stop(handle: u32) i32 {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return status;
    while (entry.busy.load(.acquire) != 0) {
        entry.machine.interrupt.request(interrupt_module.Reason.close);
        host.futexWait(&entry.busy, 1, std.time.ns_per_ms);
    }
    return 0;
}

/// Stops what runs in the machine and takes it down. The handle is free afterwards.
pub fn close(handle: u32) i32 {
    const status = stop(handle);
    if (status < 0) return status;
    const entry = registry.find(handle).?;
    if (entry.machine.remote) |remote| remote.close() else entry.machine.destroy();
    registry.remove(entry);
    return 0;
}

/// The writing end does not block: JavaScript's thread must go on when the pipe is full.
pub fn pipe(ends: *[2]i32) i32 {
    _ = host.check(linux.pipe2(ends, .{ .CLOEXEC = true })) catch return hostFull();
    const set_flags = 4;
    const non_blocking = 0o4000;
    _ = linux.fcntl(ends[1], set_flags, 1 | non_blocking);
    return 0;
}

pub fn imageFile(bytes: []const u8) i32 {
    const fd: i32 = @intCast(host.check(linux.memfd_create("pristine-program", linux.MFD.CLOEXEC)) catch return hostFull());
    var done: usize = 0;
    while (done < bytes.len) {
        done += host.check(linux.write(fd, bytes.ptr + done, bytes.len - done)) catch {
            host.close(fd);
            return hostFull();
        };
    }
    return fd;
}

fn hostFull() i32 {
    return registry.last_error.format(.INTERNAL, "the host refused a descriptor or memory ({t})", .{host.last_errno}, "close machines, or raise the limit on open files (ulimit -n)", .{}).status();
}

pub fn block(handle: u32) ?*types.MachineBlock {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return null;
    return entry.block;
}

pub fn machineError(handle: u32) []const u8 {
    const entry = registry.find(handle) orelse return "";
    return entry.failure.text();
}

pub fn machineReport(handle: u32) []const u8 {
    const entry = registry.find(handle) orelse return "";
    return entry.machine.report.written();
}

/// Where a thread of the machine waits for connections, as text; 0 when none does.
pub fn listener(handle: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const kernel = &entry.machine.kernel;
    const out = registry.newResult();
    for (kernel.threads.list.items) |thread| {
        const index = thread.call.listens orelse continue;
        const sockets = kernel.files.sockets.list.items;
        if (thread.state != .waiting or index >= sockets.len) continue;
        switch (sockets[index].local) {
            .ip => |ip| out.print("{f}", .{ip}) catch {},
            .unix => |*name| out.print("unix:{s}{s}", .{ if (name.isAbstract()) "@" else "", name.text()[@intFromBool(name.isAbstract())..] }) catch {},
            .none, .unspecified => continue,
        }
        break;
    }
    return @intCast(registry.resultText().len);
}

pub fn counters(handle: u32, out: *types.Counters) i32 {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return status;
    const machine = entry.machine;
    const from = &machine.kernel.counters;
    out.* = .{
        .exits = machine.vcpu.exits,
        .syscalls = from.syscalls,
        .faults = from.faults,
        .remote_calls = from.remote_calls,
        .bytes_copied = from.bytes_copied,
        .host_calls = from.host_calls,
        .pages_touched = machine.frames.touchedPages(entry.busy.load(.acquire) == 0),
        .pages_copied = machine.resets.pages_copied,
        .guest_nanoseconds = machine.clock.cyclesToNs(from.cycles),
        .cycles = from.cycles,
        .by_number = from.by_number,
        .unsupported = from.unsupported,
    };
    return 0;
}

fn outputOf(handle: u32, stream: u32) ?*@import("../output.zig").Output {
    const entry = registry.find(handle) orelse return null;
    return if (stream == 1 or stream == 2) entry.machine.outputs[stream - 1] else null;
}

pub fn outputRead(handle: u32, stream: u32, out: []u8) i32 {
    const output = outputOf(handle, stream) orelse return -1;
    return output.read(out);
}

pub fn outputClose(handle: u32, stream: u32) i32 {
    const output = outputOf(handle, stream) orelse return 0;
    output.closeReader();
    return 0;
}
