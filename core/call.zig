//! Calling a function of the guest by the System V ABI, on a stack of its own.
//!
//! Arguments arrive in the machine's control block; strings and typed arrays are staged on the call's stack first. The
//! function returns to a stub that makes one exit. Source: System V ABI, AMD64 supplement, 3.2.3.
const std = @import("std");
const assert = std.debug.assert;
const interrupt_module = @import("interrupt.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const Machine = @import("machine.zig").Machine;
const Outcome = @import("run.zig").Outcome;
const Thread = @import("linux/threads.zig").Thread;
const vectors_module = @import("vectors.zig");
const vm_pool = @import("vm_pool.zig");

/// What a call passes and what comes back. Lives in the control block that JavaScript writes directly.
pub const Frame = extern struct {
    function: u64,
    integers: [limits.call_integer_args_max]u64,
    floats: [limits.call_float_args_max]u64,
    stack_args: [limits.call_stack_args_max]u64,
    float_count: u32,
    stack_count: u32,
    timeout_ms: f64,
    cpu_timeout_ms: f64,
    result_integer: u64,
    result_float: u64,
};

pub const CallArea = struct {
    /// Guest address of the stack's end; 0 until the first call.
    top: u64 = 0,
    bottom: u64 = 0,
    /// Bytes staged for the next call, from the top down.
    staged: u64 = 0,
};

pub const StageError = error{ OutOfMemory, TooLarge };

const page = limits.page_size;

/// Maps the call stack, with a guard page below it, at the first call.
fn ensureStack(machine: *Machine) error{OutOfMemory}!void {
    return mapStack(machine, &machine.call);
}

/// The same for the calls of a remote's callers, which may come between two steps of the embedder's.
pub fn ensureCallersStack(machine: *Machine) error{OutOfMemory}!void {
    return mapStack(machine, &machine.callers_stack);
}

fn mapStack(machine: *Machine, area: *CallArea) error{OutOfMemory}!void {
    if (area.top != 0) return;
    const space = &machine.space;
    const bytes = limits.call_stack_bytes + page;
    const start = space.findFree(bytes, page) orelse return error.OutOfMemory;
    space.map(.{ .start = start, .end = start + page, .rights = .{}, .kind = .call_stack }) catch return error.OutOfMemory;
    space.map(.{ .start = start + page, .end = start + bytes, .rights = .{ .read = true, .write = true }, .kind = .call_stack }) catch return error.OutOfMemory;
    // Functions with more arguments than were given, such as syscall(2), look for them behind their return address.
    const behind_bytes = 128;
    area.* = .{ .top = start + bytes - behind_bytes, .bottom = start + page };
}

/// Gives the machine its call stack now, so that forks of it find one: mapped at the first call, it would be taken away
/// by every reset. Without memory for it, the first call says so.
pub fn prepare(machine: *Machine) void {
    ensureStack(machine) catch return;
    _ = machine.space.pieceAnyRights(machine.call.top - 8, 8, .read);
    if (machine.window() == null) return;
    ensureCallersStack(machine) catch return;
    _ = machine.space.pieceAnyRights(machine.callers_stack.top - 8, 8, .read);
}

/// Forgets what was staged for the call before.
pub fn begin(machine: *Machine) error{OutOfMemory}!void {
    try ensureStack(machine);
    machine.call.staged = 0;
}

/// Copies bytes and a NUL behind them onto the call stack; the guest address of the copy.
pub fn stage(machine: *Machine, bytes: []const u8) StageError!u64 {
    try ensureStack(machine);
    const length = std.mem.alignForward(u64, bytes.len + 1, 16);
    if (machine.call.staged + length > limits.call_staged_max_bytes) return error.TooLarge;
    const address = machine.call.top - machine.call.staged - length;
    machine.space.writeAnyRights(address, bytes) catch return error.OutOfMemory;
    machine.space.writeAnyRights(address + bytes.len, &.{0}) catch return error.OutOfMemory;
    machine.call.staged += length;
    return address;
}

/// Calls `frame.function` on this thread. Only `call_return` fills the results.
pub fn call(machine: *Machine, frame: *Frame, time_limits: interrupt_module.Limits) Outcome {
    vm_pool.pin(machine) catch return .{ .broken = "the host refused a virtual machine" };
    defer vm_pool.unpin(machine);
    ensureStack(machine) catch return .out_of_memory;
    if (frame.function >= layout.address_end) return .{ .broken = "the function's address is not one of the guest's" };
    const program = machine.current();
    defer endCaller(machine, program);
    const by_stub = beginCaller(machine) catch return .{ .broken = "the vector state could not be read or loaded" };
    return enter(machine, frame, by_stub, time_limits);
}

fn enter(machine: *Machine, frame: *Frame, by_stub: bool, time_limits: interrupt_module.Limits) Outcome {
    const stack_args = frame.stack_args[0..@min(frame.stack_count, limits.call_stack_args_max)];
    // At the function's first instruction rsp + 8 is a multiple of 16 and the return address lies at rsp.
    const with_arguments = std.mem.alignBackward(u64, machine.call.top - machine.call.staged - stack_args.len * 8, 16);
    const rsp = with_arguments - 8;
    writeStack(machine, with_arguments, stack_args) catch return .out_of_memory;

    const regs = machine.vcpu.registers();
    regs.* = .{
        .rip = frame.function,
        .rsp = rsp,
        .rax = @min(frame.float_count, limits.call_float_args_max),
        .rdi = frame.integers[0],
        .rsi = frame.integers[1],
        .rdx = frame.integers[2],
        .rcx = frame.integers[3],
        .r8 = frame.integers[4],
        .r9 = frame.integers[5],
    };
    if (frame.float_count > 0) {
        // The stub loads the vector registers from the staging area and jumps on to the function.
        const floats = rsp - 128 - limits.call_float_args_max * 8;
        machine.space.writeAnyRights(floats, std.mem.asBytes(&frame.floats)) catch return .out_of_memory;
        regs.r10 = frame.function;
        regs.r11 = floats;
        regs.rip = layout.stub_float_call;
    }
    if (by_stub) {
        regs.rbx = regs.rax;
        regs.r12 = regs.rdx;
        regs.r13 = regs.rip;
        regs.r14 = layout.vectors_address;
        regs.rip = layout.stub_load_vectors;
    }
    machine.vcpu.resumeUser();
    const outcome = machine.enter(.call, time_limits);
    if (outcome == .call_return) {
        frame.result_integer = regs.rdi;
        frame.result_float = regs.rdx;
    }
    return outcome;
}

fn writeStack(machine: *Machine, address: u64, stack_args: []const u64) !void {
    try machine.space.writeAnyRights(address - 8, std.mem.asBytes(&@as(u64, layout.stub_call_return)));
    if (stack_args.len > 0) try machine.space.writeAnyRights(address, std.mem.sliceAsBytes(stack_args));
}

/// The call's thread acts in the first one's name, which stands still: its id, its mask, its FS and GS. True if the stub is
/// to load the vector state.
fn beginCaller(machine: *Machine) !bool {
    const threads = &machine.kernel.threads;
    const caller = threads.caller;
    const program = threads.current;
    program.segments = machine.currentSegments();
    if (threads.caller_fresh) {
        if (machine.started and machine.state != .exited) {
            try caller.vectors.takeOver(&program.vectors, &machine.vm, machine.allocator);
        } else {
            // A program that has ended needs its state no more, and one that has not begun has none.
            caller.vectors.current = program.vectors.current;
            program.vectors.current = .{ .memory = &vectors_module.initial };
        }
        threads.caller_fresh = false;
    }
    actAsFirst(machine);
    if (!std.meta.eql(program.segments, caller.segments)) machine.vcpu.setSegmentBases(caller.segments.fs, caller.segments.gs);
    const image = machine.image orelse return loaded(machine, caller);
    if (machine.is_fork and caller.vectors.leaveToStub(&machine.vm, image.callVectors(), machine.platform.device.hasXsave())) return true;
    return loaded(machine, caller);
}

/// The call's thread is the current one, in the first one's name.
pub fn actAsFirst(machine: *Machine) void {
    const threads = &machine.kernel.threads;
    const caller = threads.caller;
    const main = threads.first();
    caller.id = main.id;
    caller.state = .runnable;
    caller.segments = main.segments;
    takeOver(caller, main);
    threads.calling = true;
    threads.current = caller;
}

/// What a thread has of its own beside its registers.
fn takeOver(to: *Thread, from: *const Thread) void {
    to.signals.takeOver(&from.signals);
    inline for (.{ "name", "clear_child_tid", "robust_list" }) |field| @field(to, field) = @field(from, field);
}

fn loaded(machine: *Machine, caller: *Thread) !bool {
    try caller.vectors.load(&machine.vm);
    return false;
}

/// Back to the thread that was the current one; what the call has made of the first thread's bases, mask and name stays.
pub fn endCaller(machine: *Machine, program: *Thread) void {
    const threads = &machine.kernel.threads;
    if (!threads.calling) return;
    threads.calling = false;
    threads.caller.state = .ended;
    threads.caller.call = .{};
    threads.caller.asks.clear();
    const bases = if (threads.current == threads.caller) machine.currentSegments() else threads.caller.segments;
    threads.first().segments = bases;
    takeOver(threads.first(), threads.caller);
    // Others may have run meanwhile, and ended.
    const there = std.mem.indexOfScalar(*Thread, threads.list.items, program) != null;
    threads.current = if (there) program else threads.first();
}
