//! Runs and calls as JavaScript asks for them: synchronously on its own thread, or on a native thread with an event at the
//! end; and how each outcome becomes a state, a status and an error record.
const std = @import("std");
const call_module = @import("../call.zig");
const errors = @import("../errors.zig");
const events = @import("../events.zig");
const faults = @import("../faults.zig");
const interrupt_module = @import("../interrupt.zig");
const limits = @import("../limits.zig");
const Output = @import("../output.zig").Output;
const machine_module = @import("../machine.zig");
const registry = @import("registry.zig");
const remotes = @import("remotes.zig");
const run_module = @import("../run.zig");
const runner = @import("../runner.zig");
const Entry = registry.Entry;
const Outcome = run_module.Outcome;
const Reason = interrupt_module.Reason;

/// Milliseconds as JavaScript gives them: infinite and NaN are no limit, negative is at once.
fn nanoseconds(milliseconds: f64) ?u64 {
    if (std.math.isNan(milliseconds) or milliseconds > 1e15) return null;
    return @intFromFloat(@max(milliseconds, 0) * 1e6);
}

fn timeLimits(wall_ms: f64, cpu_ms: f64) interrupt_module.Limits {
    return .{ .wall_ns = nanoseconds(wall_ms), .cpu_ns = nanoseconds(cpu_ms) };
}

fn goalOf(until: u32) ?run_module.Goal {
    return switch (until) {
        0 => .exit,
        1 => .listen,
        2 => .ready,
        3 => .idle,
        4 => .rest,
        5 => .answer,
        else => null,
    };
}

fn unknownGoal() i32 {
    return registry.last_error.set(.BAD_OPTION, "an unknown stop point", "use \"listen\" or \"ready\"", .{ .option = "until" }).status();
}

/// The status of a machine that cannot go on; null when it can.
fn refusesRuns(entry: *Entry) ?i32 {
    return switch (entry.machine.state) {
        .loaded, .stopped => null,
        .exited => registry.last_error.set(.GUEST_EXIT, "the program has ended already", "boot another machine to run it again", .{ .exitCode = entry.block.stop_code }).status(),
        else => registry.poisoned(entry).status(),
    };
}

/// Runs the program on this thread for `budget_ms` at most, behind which it is paused and can go on with `run`.
pub fn runHere(handle: u32, until: u32, budget_ms: f64, timeout_ms: f64, cpu_timeout_ms: f64) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const goal = goalOf(until) orelse return unknownGoal();
    if (refusesRuns(entry)) |refused| return refused;
    var time_limits = timeLimits(timeout_ms, cpu_timeout_ms);
    time_limits.pause_ns = nanoseconds(budget_ms);
    entry.machine.interrupt.clear(Reason.abort | Reason.pause);
    setOutputs(entry.machine, .briefly_on_reader);
    entry.machine.runs_briefly = true;
    const outcome = inTurn(entry, time_limits, false) orelse ran: {
        defer endTurn(entry);
        break :ran entry.machine.run(goal, time_limits);
    };
    setOutputs(entry.machine, .beside_reader);
    entry.machine.runs_briefly = false;
    interrupt_module.stopThread();
    const code = resultOf(entry, outcome, &registry.last_error, false, time_limits);
    publishState(entry);
    return code;
}

/// Starts the program on a native thread; the end is an event with `ticket`.
pub fn run(handle: u32, until: u32, timeout_ms: f64, cpu_timeout_ms: f64, ticket: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const goal = goalOf(until) orelse return unknownGoal();
    if (refusesRuns(entry)) |refused| return refused;
    entry.task = .{ .job = .{ .context = entry, .work_fn = runTask }, .goal = goal, .time_limits = timeLimits(timeout_ms, cpu_timeout_ms), .ticket = ticket };
    return start(entry);
}

/// Starts the call in the control block on a native thread.
pub fn callAsync(handle: u32, ticket: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    if (refusesCalls(entry)) |code| return code.status();
    const frame = &entry.block.call;
    entry.task = .{ .job = .{ .context = entry, .work_fn = callTask }, .goal = .call, .time_limits = timeLimits(frame.timeout_ms, frame.cpu_timeout_ms), .ticket = ticket };
    return start(entry);
}

fn start(entry: *Entry) i32 {
    // Here and not where the thread begins: a request may come before it does.
    entry.machine.interrupt.clear(Reason.abort | Reason.pause);
    entry.busy.store(1, .release);
    @atomicStore(u32, &entry.block.state, @intFromEnum(machine_module.State.running), .release);
    runner.submit(&entry.task.job) catch {
        entry.busy.store(0, .release);
        publishState(entry);
        return registry.last_error.set(.INTERNAL, "no native thread could be started", "close machines that run, or raise the limit on threads (ulimit -u)", .{}).status();
    };
    return 0;
}

fn refusesCalls(entry: *Entry) ?errors.Code {
    return switch (entry.machine.state) {
        .poisoned => registry.poisoned(entry),
        else => null,
    };
}

fn publishState(entry: *Entry) void {
    @atomicStore(u32, &entry.block.state, @intFromEnum(entry.machine.state), .release);
}

fn runTask(context: *anyopaque) void {
    const entry: *Entry = @ptrCast(@alignCast(context));
    const outcome = inTurn(entry, entry.task.time_limits, false) orelse ran: {
        defer endTurn(entry);
        break :ran entry.machine.run(entry.task.goal, entry.task.time_limits);
    };
    finish(entry, outcome, .run_done);
}

/// A remote is used by one at a time: whoever calls it, and the embedder. Null once it is the embedder's turn; otherwise why it did
/// not come, which leaves the machine as it was.
fn inTurn(entry: *Entry, time_limits: interrupt_module.Limits, is_call: bool) ?Outcome {
    const remote = entry.machine.remote orelse return null;
    const interruption = &entry.machine.interrupt;
    const pauses = if (time_limits.pause_ns) |ns| ns < time_limits.wall_ns orelse std.math.maxInt(u64) else false;
    if (remote.acquire(.alone, .{ .interrupt = interruption, .owner = remote.machine }, if (pauses) time_limits.pause_ns else time_limits.wall_ns) != null) {
        switch (entry.machine.state) {
            .loaded, .stopped => return null,
            // The one before may have ended it meanwhile. What has exited can be called.
            .exited => if (is_call) return null,
            else => {},
        }
        remote.release(.alone);
        entry.machine.remote_failure = .of(.dead, "itself");
        return .remote_failed;
    }
    const reasons = interruption.pending();
    if (reasons & Reason.close != 0) return .closed;
    if (reasons & Reason.abort != 0) return .aborted;
    interruption.clear(Reason.pause);
    return if (pauses or reasons & Reason.pause != 0) .paused else .{ .timeout = .wall };
}

fn endTurn(entry: *Entry) void {
    if (entry.machine.remote) |remote| remote.release(.alone);
}

fn callTask(context: *anyopaque) void {
    const entry: *Entry = @ptrCast(@alignCast(context));
    const outcome = inTurn(entry, entry.task.time_limits, true) orelse called: {
        defer endTurn(entry);
        const outcome = call_module.call(entry.machine, &entry.block.call, entry.task.time_limits);
        settleCall(entry.machine, outcome);
        break :called outcome;
    };
    finish(entry, outcome, .call_done);
}

/// Publishes an outcome and tells JavaScript. After the event was queued the machine may be gone.
fn finish(entry: *Entry, outcome: Outcome, kind: events.Kind) void {
    const status = resultOf(entry, outcome, &entry.failure, kind == .call_done, entry.task.time_limits);
    publishState(entry);
    const event: events.Event = .{ .kind = @intFromEnum(kind), .handle = entry.handle, .ticket = entry.task.ticket, .status = status };
    entry.busy.store(0, .release);
    @import("../host.zig").futexWake(&entry.busy, 1);
    events.push(event);
}

/// Runs the call in the control block on this thread.
pub fn call(handle: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    if (refusesCalls(entry)) |code| return code.status();
    const machine = entry.machine;
    machine.interrupt.clear(Reason.abort | Reason.pause);
    const frame = &entry.block.call;
    const time_limits = timeLimits(frame.timeout_ms, frame.cpu_timeout_ms);
    setOutputs(machine, .on_reader);
    const outcome = inTurn(entry, time_limits, true) orelse called: {
        defer endTurn(entry);
        const outcome = call_module.call(machine, frame, time_limits);
        if (outcome != .call_return) settleCall(machine, outcome);
        break :called outcome;
    };
    setOutputs(machine, .beside_reader);
    if (outcome == .call_return) return 0;
    const code = resultOf(entry, outcome, &registry.last_error, true, time_limits);
    publishState(entry);
    return code;
}

fn setOutputs(machine: *machine_module.Machine, runs: Output.Runs) void {
    for (machine.outputs) |output| if (output) |some| {
        some.runs = runs;
    };
}

/// A call that returned leaves the machine as it was; anything else ends or poisons it.
fn settleCall(machine: *machine_module.Machine, outcome: Outcome) void {
    switch (outcome) {
        .call_return => {},
        .signal => {
            machine.settle(outcome);
            machine.state = .poisoned;
        },
        else => machine.settle(outcome),
    }
}

/// Writes the stop into the control block, or an error into `record`; the status that says which.
fn resultOf(entry: *Entry, outcome: Outcome, record: *errors.Record, is_call: bool, time_limits: interrupt_module.Limits) i32 {
    const machine = entry.machine;
    const block = entry.block;
    return switch (outcome) {
        .call_return, .replied, .waits, .thread_ended => 0,
        .remote_failed => remotes.failureOf(machine, record).status(),
        .ready => stopped(block, .ready, 0),
        .listen => stopped(block, .listen, 0),
        .idle => stopped(block, .idle, 0),
        .paused => stopped(block, .paused, 0),
        .exit => |code| if (is_call) record.format(.GUEST_EXIT, "the program exited with status {d} during a call", .{code}, "the function called exit; boot another machine or fork a snapshot", .{ .exitCode = code }).status() else stopped(block, .exit, code),
        .signal => |signal| if (is_call) faultOf(machine, signal, record).status() else stopped(block, .signal, signal),
        .out_of_memory => record.format(.OUT_OF_MEMORY, "the program needs more than its {d} KiB of memory", .{machine.frames.frames_max * limits.page_size / limits.KiB}, "raise `memory` (--memory)", .{ .limit = machine.frames.frames_max * limits.page_size }).status(),
        .timeout => |kind| timedOut(record, kind == .wall, time_limits).status(),
        .aborted, .closed => record.set(.ABORTED, "the run was stopped", "", .{}).status(),
        .cut_off => blk: {
            record.* = machine.frames.cutOff().?.*;
            break :blk record.code.status();
        },
        .broken => |why| record.format(.INTERNAL, "the machine cannot go on: {s}", .{why}, "run `pristine doctor --selftest`; if that passes, report the program that did it", .{}).status(),
    };
}

fn stopped(block: anytype, reason: machine_module.StopReason, code: i32) i32 {
    block.stop_reason = @intFromEnum(reason);
    block.stop_code = code;
    return 0;
}

fn timedOut(record: *errors.Record, wall: bool, time_limits: interrupt_module.Limits) errors.Code {
    const ns = (if (wall) time_limits.wall_ns else time_limits.cpu_ns) orelse 0;
    const milliseconds = @as(f64, @floatFromInt(ns)) / 1e6;
    const kind = if (wall) "wall" else "cpu";
    const option = if (wall) "timeout" else "cpuTimeout";
    var hint_buffer: [128]u8 = undefined;
    const hint = std.fmt.bufPrint(&hint_buffer, "raise `{s}`, or set it to Infinity", .{option}) catch unreachable;
    return record.format(.TIMEOUT, "the guest ran longer than {d} ms of {s} time", .{ milliseconds, kind }, hint, .{ .kind = kind, .milliseconds = milliseconds });
}

fn faultOf(machine: *machine_module.Machine, signal: u8, record: *errors.Record) errors.Code {
    const fault = machine.last_fault;
    const own = fault.signal == signal;
    const message = if (own) machine.reportLine() else faults.signalName(signal);
    var buffer: [256]u8 = undefined;
    const namer = machine.program.namer();
    return record.format(.GUEST_FAULT, "the guest was ended by {s}", .{message}, "the machine's report has the registers; the fault is in the guest's code", .{
        .signal = faults.signalName(signal),
        .address = fault.address,
        .rip = machine.stop_regs.rip,
        .symbol = namer.name_fn(namer.context, machine.stop_regs.rip, &buffer),
        .report = machine.report.written(),
    });
}

/// Stops a run or call under way: for good (kind 1), or so that it can go on (kind 2).
pub fn interrupt(handle: u32, kind: u32) i32 {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return status;
    const reason = if (kind == 2) Reason.pause else Reason.abort;
    if (entry.busy.load(.acquire) != 0) entry.machine.interrupt.request(reason);
    return 0;
}

/// Makes a signal pending for the guest.
pub fn sendSignal(handle: u32, number: u32) i32 {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return status;
    if (number < 1 or number > 64) return registry.last_error.set(.BAD_OPTION, "there is no such signal", "use a name such as \"SIGTERM\" or a number from 1 to 64", .{ .option = "signal" }).status();
    entry.machine.kernel.signals.raise(number);
    entry.machine.interrupt.request(Reason.signal);
    if (entry.machine.remote) |remote| if (entry.busy.load(.acquire) == 0) remote.kick();
    return 0;
}

/// Forgets what was staged for the call before.
pub fn callBegin(handle: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    if (refusesCalls(entry)) |code| return code.status();
    call_module.begin(entry.machine) catch return stageError(error.OutOfMemory);
    return 0;
}

/// Copies bytes to the call stack and passes their address as integer argument `slot`.
pub fn callStage(handle: u32, slot: u32, bytes: []const u8) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    if (slot >= limits.call_integer_args_max + limits.call_stack_args_max) return stageError(error.TooLarge);
    const address = call_module.stage(entry.machine, bytes) catch |failure| return stageError(failure);
    const frame = &entry.block.call;
    if (slot < limits.call_integer_args_max) frame.integers[slot] = address else frame.stack_args[slot - limits.call_integer_args_max] = address;
    return 0;
}

fn stageError(failure: call_module.StageError) i32 {
    const record = &registry.last_error;
    return switch (failure) {
        error.OutOfMemory => record.set(.OUT_OF_MEMORY, "the call stack does not fit into the machine's memory", "raise `memory`", .{ .limit = 0 }),
        error.TooLarge => record.set(.BAD_OPTION, "a call's strings and typed arrays are larger than 512 KiB together", "put them into the guest with memory.allocate() and memory.write(), and pass the address", .{ .option = "args" }),
    }.status();
}
