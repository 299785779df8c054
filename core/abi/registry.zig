//! The machines of the process by handle, the platform they share, and the records of errors.
//!
//! Used on the JavaScript thread only. A machine's entry also holds what belongs to its embedding and not to the machine:
//! the control block that JavaScript sees and the job under way on a native thread.
const std = @import("std");
const linux = std.os.linux;
const clock = @import("../clock.zig");
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const interrupt_module = @import("../interrupt.zig");
const kvm = @import("../kvm.zig");
const limits = @import("../limits.zig");
const platform_module = @import("../platform.zig");
const runner = @import("../runner.zig");
const types = @import("types.zig");
const worker = @import("../worker/self.zig");
const Goal = @import("../run.zig").Goal;
const Level = @import("../cpu_baseline.zig").Level;
const Machine = @import("../machine.zig").Machine;
const Remote = @import("../remote/remote.zig").Remote;

pub const allocator = std.heap.c_allocator;

/// What a native thread does for a machine.
pub const Task = struct {
    job: runner.Job,
    goal: Goal,
    time_limits: interrupt_module.Limits,
    ticket: u32,
};

pub const Entry = struct {
    handle: u32,
    machine: *Machine,
    block: *align(limits.page_size) types.MachineBlock,
    task: Task = undefined,
    /// 1 while a native thread has the machine.
    busy: std.atomic.Value(u32) = .init(0),
    /// The record of the last asynchronous failure.
    failure: errors.Record = .{},
};

var entries: std.ArrayList(?*Entry) = .empty;
var free_handles: std.ArrayList(u32) = .empty;

pub var last_error: errors.Record = .{};
var result: std.Io.Writer.Allocating = .init(allocator);

/// An empty writer for the text that `pristine_result` hands out.
pub fn newResult() *std.Io.Writer {
    result.clearRetainingCapacity();
    return &result.writer;
}

pub fn resultText() []const u8 {
    return result.written();
}

var platform: ?platform_module.Platform = null;

/// The platform, probed at the first call. Failures are not kept: the device may become usable.
pub fn thePlatform() platform_module.ProbeError!*const platform_module.Platform {
    if (platform == null) try usePlatform(try platform_module.probe(allocator, null));
    return &platform.?;
}

fn usePlatform(probed: platform_module.Platform) platform_module.ProbeError!void {
    platform = probed;
    try interrupt_module.installHandler();
    host.ignoreFileSizeSignal();
}

/// Machines of this process are shown no more of the processor than `level` has. To be asked for before the first of them.
pub fn showBaseline(level: u32) i32 {
    const wanted = std.enums.fromInt(Level, level) orelse return badBaseline("there is no such level", "give x86-64, x86-64-v2, x86-64-v3 or x86-64-v4");
    if (platform != null) return badBaseline("machines have been made with all of the processor already", "choose the baseline before the first machine");
    const shown = platform_module.probe(allocator, wanted) catch |failure| return kvmError(failure).status();
    // What was probed is what machines get, unless nothing can be hidden.
    if (!shown.cpuid_honoured) {
        host.close(shown.device.fd);
        return badBaseline("this KVM lets programs see the host's own CPUID, of which nothing can be hidden", "take the snapshot where there is hardware virtualization, or on a processor like the one that is to resume it");
    }
    usePlatform(shown) catch |failure| return kvmError(failure).status();
    return 0;
}

fn badBaseline(message: []const u8, hint: []const u8) i32 {
    return last_error.set(.BAD_OPTION, message, hint, .{ .option = "cpu-baseline" }).status();
}

pub fn kvmError(failure: platform_module.ProbeError) errors.Code {
    const hint = switch (failure) {
        error.NoDevice => "load the kernel's KVM module (modprobe kvm_intel or kvm_amd), or run on a host that offers virtualization; `pristine doctor` tells more",
        error.NoAccess => "add the user to the group that owns /dev/kvm (usually `kvm`), or run in a container with --device /dev/kvm",
        error.WrongVersion, error.MissingCapability => "use a Linux kernel of version 5.10 or later",
        else => "run `pristine doctor` to see which part of KVM does not work",
    };
    const message = switch (failure) {
        error.NoDevice => "/dev/kvm is not there",
        error.NoAccess => "/dev/kvm may not be opened by this user",
        error.WrongVersion => "/dev/kvm speaks another API version than 12",
        error.MissingCapability => "this KVM lacks sync_regs or immediate_exit",
        error.OutOfMemory => "there is no memory for a virtual machine",
        error.ProbeFailed => "a test program did not run in a virtual machine",
        error.HostFailure => "KVM refused to make a virtual machine",
    };
    return last_error.set(.KVM_UNAVAILABLE, message, hint, .{});
}

pub const AddError = error{ OutOfMemory, HostFailure, TooMany };

/// Gives a machine a handle and a control block.
pub fn register(machine: *Machine) AddError!*Entry {
    const handle: u32 = free_handles.pop() orelse blk: {
        const most: usize = if (worker.self == null) limits.machines_max else limits.worker_machines_max;
        if (entries.items.len >= most) return error.TooMany;
        try entries.append(allocator, null);
        // Room for every handle to come back, so that closing cannot fail.
        try free_handles.ensureTotalCapacity(allocator, entries.items.len);
        break :blk @intCast(entries.items.len - 1);
    };
    errdefer free_handles.appendAssumeCapacity(handle);
    const block = try makeBlock(handle);
    errdefer freeBlock(block);
    const entry = try allocator.create(Entry);
    entry.* = .{ .handle = handle, .machine = machine, .block = block };
    entries.items[handle] = entry;
    return entry;
}

/// Takes a closed machine's entry away.
pub fn remove(entry: *Entry) void {
    entries.items[entry.handle] = null;
    free_handles.appendAssumeCapacity(entry.handle);
    freeBlock(entry.block);
    allocator.destroy(entry);
}

const Block = *align(limits.page_size) types.MachineBlock;

/// A page of zeros; a worker's are where the embedder sees them.
fn makeBlock(handle: u32) host.Error!Block {
    if (worker.self) |me| {
        const block: Block = @ptrCast(&me.shared.blocks[handle]);
        block.* = std.mem.zeroes(types.MachineBlock);
        return block;
    }
    return @ptrFromInt(try host.check(linux.mmap(null, limits.page_size, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0)));
}

fn freeBlock(block: Block) void {
    if (worker.self == null) _ = linux.munmap(@ptrCast(block), limits.page_size);
}

pub fn find(handle: u32) ?*Entry {
    return if (handle < entries.items.len) entries.items[handle] else null;
}

/// The machine's entry, or the status of a CLOSED error.
pub fn get(handle: u32, status: *i32) ?*Entry {
    if (find(handle)) |entry| return entry;
    status.* = last_error.set(.CLOSED, "the machine is closed", "boot another machine", .{}).status();
    return null;
}

/// The error of using a machine that a fault, a time-out or an abort has stopped.
pub fn poisoned(entry: *const Entry) errors.Code {
    const hint = if (entry.machine.is_fork) "reset() the fork" else "boot another machine; a fork of a snapshot can be reset";
    return last_error.set(.NEEDS_RESET, "the machine was stopped by a fault, a time-out or an abort", hint, .{});
}

/// A remote's callers run it on threads of their own: whoever reads or changes it here waits until it is nobody's.
pub const Turn = struct {
    remote: ?*Remote = null,
    /// The status of a BUSY error if it did not come.
    status: i32 = 0,

    pub const none: Turn = .{};

    pub fn end(self: Turn) void {
        if (self.remote) |remote| remote.release(.alone);
    }
};

pub fn turn(handle: u32) Turn {
    const entry = find(handle) orelse return .none;
    const remote = entry.machine.remote orelse return .none;
    // Its own run has it.
    if (entry.busy.load(.acquire) != 0) return .{ .status = busy() };
    if (remote.acquire(.alone, null, limits.remote_turn_ns) != null) return .{ .remote = remote };
    return .{ .status = last_error.set(.BUSY, "the remote is being called all the time", "give its callers a shorter `timeout`, or ask when they are done", .{}).status() };
}

/// The machine's entry when no native thread has it; otherwise the status of CLOSED or BUSY.
pub fn getIdle(handle: u32, status: *i32) ?*Entry {
    const entry = get(handle, status) orelse return null;
    if (entry.busy.load(.acquire) == 0) return entry;
    status.* = busy();
    return null;
}

fn busy() i32 {
    return last_error.set(.BUSY, "the machine is running", "wait for the run or call under way to end", .{}).status();
}
