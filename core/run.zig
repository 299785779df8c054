//! The loop that runs a machine: enter the guest, answer what it asks, until it stops for a reason.
const std = @import("std");
const faults = @import("faults.zig");
const gates = @import("remote/gates.zig");
const interrupt_module = @import("interrupt.zig");
const layout = @import("layout.zig");
const lending = @import("remote/lending.zig");
const limits = @import("limits.zig");
const Machine = @import("machine.zig").Machine;
const signal_frame = @import("signal_frame.zig");
const signals_module = @import("linux/signals.zig");
const kernel_module = @import("linux/kernel.zig");
const outside = @import("linux/sockets/outside.zig");
const remote_call = @import("remote/call.zig");
const remote_calls = @import("linux/remote_calls.zig");
const scheduler = @import("scheduler.zig");
const system_area = @import("system_area.zig");
const thread_calls = @import("linux/thread_calls.zig");
const waiting = @import("linux/waiting.zig");
const table = @import("linux/table.zig");
const Exception = @import("vcpu.zig").Exception;
const Exit = @import("vcpu.zig").Exit;
const vectors_module = @import("vectors.zig");
const Reason = interrupt_module.Reason;

/// `answer` is `idle`, and the end of a call by which something came to one of the embedder's connections: then it is paused.
///
/// Of a remote on its caller's processor: `serve` until the thread that has the caller's buffer waits again, `waits` until any
/// thread waits for a caller.
pub const Goal = enum { exit, listen, ready, call, idle, rest, answer, serve, waits };

pub const Outcome = union(enum) {
    exit: u8,
    signal: u8,
    ready,
    listen,
    /// All threads sleep; with the goal of that name there is something for the embedder at one of its connections.
    idle,
    /// The embedder asked for it.
    paused,
    call_return,
    /// The remote has answered the resume under way.
    replied,
    /// A thread of the remote waits for a caller.
    waits,
    /// The remote's thread that served the call has ended.
    thread_ended,
    /// A call of a remote has failed; `Machine.remote_failure` says how.
    remote_failed,
    out_of_memory,
    timeout: enum { wall, cpu },
    aborted,
    closed,
    /// Some of the image's memory never comes; `FrameSpace.cutOff` says why.
    cut_off,
    /// The VM cannot go on, and why.
    broken: []const u8,
};

const debug_vector = 1;
const trap_flag: u64 = 0x100;

/// The same instruction may fault so often at one address before the fault counts as incurable.
const same_fault_max = 64;

/// Runs with the registers in the vCPU's sync area. On return they are the current thread's.
pub fn run(machine: *Machine, goal: Goal) Outcome {
    machine.fault_repeats = 0;
    while (true) {
        if (machine.frames.cutOff() != null) return stopAsUser(machine, .cut_off);
        if (machine.kernel.lent) |lent| if (lent.isOver()) return stopAsUser(machine, .closed);
        if (machine.frames.lost) return .{ .broken = "the host refused to change the guest's memory" };
        if (machine.kernel.interrupt.pending() != 0) {
            if (interrupted(machine)) |outcome| return stopAsUser(machine, outcome);
        }
        if (scheduler.needsTurn(machine)) {
            if (takeTurn(machine, goal)) |outcome| return outcome;
            if (scheduler.needsTurn(machine)) continue;
        }
        scheduler.plan(machine);
        const exit = if (machine.kernel.lent) |lent| lent.enter() else machine.vcpu.enter();
        if (machine.kernel.lent) |lent| {
            // Ring 0 has no gate for a remote that calls another one, but a remote can make it believe so.
            // It is not where it was called any more, and ended for that.
            if (machine.vcpu.segments().cr3 != lent.root and exit != .broken) return .{ .signal = faults.SIGKILL };
        } else if (machine.gates != null) switch (gates.caught(machine, exit)) {
            .own => {},
            .moved => {
                machine.kernel.interrupt.rearmEntry();
                continue;
            },
            .in_remote => {
                if (endRemoteCall(machine, 0, remote_call.adopt(machine, exit))) |outcome| return outcome;
                continue;
            },
        };
        if (answer(machine, goal, exit)) |outcome| return outcome;
    }
}

/// Goes on with an exit that is to be answered first.
pub fn goOn(machine: *Machine, goal: Goal, exit: Exit) Outcome {
    machine.fault_repeats = 0;
    return answer(machine, goal, exit) orelse run(machine, goal);
}

fn answer(machine: *Machine, goal: Goal, exit: Exit) ?Outcome {
    switch (exit) {
        .system_call => {
            // The guest gets on: what faults again at one address does so for another reason.
            machine.fault_repeats = 0;
            return systemCall(machine, goal);
        },
        .call_return => {
            machine.stepping = false;
            if (goal == .call and isCalled(machine)) return .call_return;
            return raise(machine, .{ .signal = faults.SIGSEGV, .code = 0, .address = machine.vcpu.registers().rip });
        },
        .exception => |exception| return exceptionOf(machine, exception),
        .exit_page => |address| return raise(machine, faults.ofExitPage(address)),
        .interrupted => machine.kernel.interrupt.rearmEntry(),
        // A file that the guest has mapped may have become shorter; then its next access faults and is answered there.
        .memory_gone => if (!dropBeyondFiles(machine)) {
            // The file may have become as long as before by now. What no trying again cures is the host's memory.
            machine.fault_repeats += 1;
            if (machine.fault_repeats > same_fault_max) return .{ .broken = "the host has no memory for the guest's" };
        },
        .broken => |why| return .{ .broken = why },
    }
    return null;
}

/// Whether the current thread runs the function that was called.
fn isCalled(machine: *const Machine) bool {
    if (machine.kernel.lent) |lent| if (lent.serving) |thread| return machine.current() == thread;
    return machine.current() == machine.kernel.threads.caller;
}

/// Of all machines whose memory is reached now.
fn dropBeyondFiles(machine: *Machine) bool {
    const dropped = machine.space.dropBeyondFiles() catch false;
    const lent = machine.kernel.lent orelse return dropped;
    return dropBeyondFiles(lent.caller) or dropped;
}

/// The current thread cannot go on: another takes its turn, or all sleep. On null it is to be looked again.
noinline fn takeTurn(machine: *Machine, goal: Goal) ?Outcome {
    const stops: scheduler.Stops = switch (goal) {
        .listen => .at_listeners,
        .idle, .answer => .at_news,
        .rest => .at_rest,
        .ready => .at_waits,
        else => .never,
    };
    switch (scheduler.turn(machine, stops)) {
        .failed => return .{ .broken = "the host has no memory, or refused a thread's state" },
        .listens => return if (goal == .ready) .ready else .listen,
        .news => return .idle,
        .again => return if (machine.space.out_of_memory) .out_of_memory else null,
        .go => if (machine.space.out_of_memory) return .out_of_memory,
    }
    const thread = machine.current();
    const answered = thread.answered;
    thread.answered = null;
    if (machine.kernel.anyDeliverable(thread)) return deliverSignals(machine, if (answered) |call| .{ .number = call.number, .result = call.result, .timed = thread.timed } else null);
    thread.signals.endTemporaryMask();
    return null;
}

/// Keeps the registers with which the guest would go on in ring 3; a thread that sleeps has kept them already.
fn stopAsUser(machine: *Machine, outcome: Outcome) Outcome {
    if (scheduler.needsTurn(machine)) return outcome;
    const regs = machine.vcpu.registers();
    if (regs.rip == system_area.ring0_sysret) {
        regs.rip = regs.rcx;
        regs.rflags = regs.r11;
    }
    scheduler.save(machine);
    machine.stop_regs = machine.current().regs;
    return outcome;
}

/// A reason from outside is pending; null when the guest may go on.
noinline fn interrupted(machine: *Machine) ?Outcome {
    // In this order: what is noted from here on stops the next entry.
    machine.kernel.interrupt.rearmEntry();
    const reasons = machine.kernel.interrupt.pending();
    if (reasons & Reason.close != 0) return .closed;
    if (reasons & Reason.abort != 0) return .aborted;
    if (reasons & Reason.wall != 0) return .{ .timeout = .wall };
    if (reasons & Reason.cpu != 0) return .{ .timeout = .cpu };
    // Whoever polls a signalfd looks again.
    if (reasons & Reason.signal != 0) machine.kernel.changed();
    if (reasons & Reason.pause != 0 and canPause(machine)) {
        machine.kernel.interrupt.clear(Reason.pause);
        return .paused;
    }
    if (reasons & Reason.gate != 0) gates.giveBackWanted(lending.ownerOf(machine));
    machine.kernel.interrupt.clear(Reason.signal | Reason.wake | Reason.timer | Reason.slice);
    machine.kernel.tick();
    // Who sleeps is looked at when turns are taken.
    if (reasons & Reason.wake != 0) machine.kernel.changed();
    if (scheduler.needsTurn(machine) or !machine.started) return null;
    if (reasons & Reason.slice != 0 and scheduler.sliceIsOver(machine)) machine.gives_way = true;
    if (!machine.gives_way and !machine.kernel.anyDeliverable(machine.current())) return null;
    // It belongs to the registers that are there now: whoever answers it acts on the rest.
    if (machine.vcpu.vm.holdsException()) return null;
    if (machine.gives_way) return giveWayOrStep(machine);
    return deliverOrStep(machine);
}

/// Whether the machine can be left as it is and go on later, perhaps with another VM. If not it is made to trap where it can.
fn canPause(machine: *Machine) bool {
    if (scheduler.needsTurn(machine)) return true;
    if (machine.vcpu.vm.holdsException()) return false;
    if (machine.vcpu.inOwnCode()) {
        stopStepping(machine);
        return true;
    }
    if (machine.vcpu.stepOutOfStub()) machine.stepping = true;
    return false;
}

/// Lets another thread run, or makes the guest trap where that can be done.
fn giveWayOrStep(machine: *Machine) ?Outcome {
    if (!machine.vcpu.inOwnCode()) {
        if (machine.vcpu.stepOutOfStub()) machine.stepping = true;
        return null;
    }
    stopStepping(machine);
    giveWay(machine);
    return null;
}

/// The guest has got out of the stub before it trapped: the flag is not its own.
fn stopStepping(machine: *Machine) void {
    if (!machine.stepping) return;
    machine.stepping = false;
    machine.vcpu.registers().rflags &= ~trap_flag;
}

/// The registers in the sync area are the user's: the current thread goes to the end of those that want to run.
fn giveWay(machine: *Machine) void {
    machine.gives_way = false;
    scheduler.save(machine);
    machine.kernel.gives_way = true;
}

/// Delivers what is pending, or makes the guest trap where that can be done.
fn deliverOrStep(machine: *Machine) ?Outcome {
    if (!machine.kernel.anyDeliverable(machine.current())) return null;
    if (machine.vcpu.inOwnCode()) {
        stopStepping(machine);
        return deliverSignals(machine, null);
    }
    // Inside a stub the registers are not the user's: one step behind it they are. The stub may answer by itself or go on to
    // a function, so waiting for an exit could be for ever.
    if (machine.vcpu.stepOutOfStub()) machine.stepping = true;
    return null;
}

fn systemCall(machine: *Machine, goal: Goal) ?Outcome {
    const k = &machine.kernel;
    const regs = machine.vcpu.registers();
    if (machine.stepping) {
        machine.stepping = false;
        regs.r11 &= ~trap_flag;
    }
    // Linux looks at the lower half only.
    const number: u64 = @as(u32, @truncate(regs.rax));
    const args: [6]u64 = .{ regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9 };
    k.stack_pointer = regs.rsp;
    const sregs = machine.vcpu.segments();
    k.current_segments = .{ .fs = sregs.fs.base, .gs = sregs.gs.base };
    if (regs.rcx >= layout.address_end) {
        return raise(machine, .{ .signal = faults.SIGSEGV, .code = 0, .address = regs.rcx });
    }
    if (number == remote_calls.resume_number or number -% system_area.import_number < limits.imports_max) return callRemote(machine, number);
    const result = table.dispatch(k, number, args);
    if (k.stop) |stop| if (stop == .resumes) {
        k.stop = null;
        return endRemoteCall(machine, number, remote_call.resumeWaiting(machine, stop.resumes));
    };
    if (result == waiting.blocked) {
        asUserAfterCall(machine, @bitCast(number));
        scheduler.save(machine);
        if (stopOfRemote(k, goal)) |outcome| return outcome;
        return if (machine.space.out_of_memory) .out_of_memory else null;
    }
    if (machine.tracer) |tracer| tracer.call(k, number, args, result);
    if (k.made) |made| if (!startThread(machine, made)) return .{ .broken = "the vector state of a thread could not be read" };
    if (k.ends_thread) return endThread(machine);
    if (k.segments) |segments| {
        machine.vcpu.setSegmentBases(segments.fs, segments.gs);
        k.segments = null;
    }
    if (stopOfRemote(k, goal)) |outcome| return stopAfterCall(machine, result, outcome);
    if (k.stop) |stop| {
        k.stop = null;
        switch (stop) {
            .exit => |code| return stopAfterCall(machine, result, .{ .exit = code }),
            // Its callers hold on to the program that was there.
            .exec => |prepared| if (k.lent != null) {
                prepared.discard(k.allocator);
                return stopAfterCall(machine, result, .{ .signal = faults.SIGKILL });
            } else return if (machine.startProgram(prepared)) null else stopAsUser(machine, .{ .signal = faults.SIGKILL }),
            .ready => if (goal == .ready) return stopAfterCall(machine, result, .ready),
            .waits, .replied, .resumes => unreachable,
        }
    }
    if (machine.space.out_of_memory) return stopAfterCall(machine, result, .out_of_memory);
    if (k.registers_replaced) {
        k.registers_replaced = false;
        if (!signal_frame.restore(machine)) return raise(machine, .{ .signal = faults.SIGSEGV, .code = signals_module.SI_KERNEL });
        machine.vcpu.resumeUser();
        return if (k.anyDeliverable(machine.current())) deliverSignals(machine, null) else null;
    }
    if (k.anyDeliverable(machine.current())) {
        asUserAfterCall(machine, result);
        return deliverSignals(machine, .{ .number = number, .result = result, .timed = machine.current().timed });
    }
    if (machine.gives_way or k.gives_way) {
        asUserAfterCall(machine, result);
        giveWay(machine);
        return null;
    }
    if (goal == .answer and outside.hasBytes(k)) return stopAfterCall(machine, result, .paused);
    machine.vcpu.resumeSystemCall(result);
    return null;
}

/// A thread of a remote has come to wait for a caller.
fn stopOfRemote(k: *kernel_module.Kernel, goal: Goal) ?Outcome {
    const stop = k.stop orelse return null;
    switch (stop) {
        .waits, .replied => k.stop = null,
        else => return null,
    }
    return switch (goal) {
        .serve => if (stop == .replied) .replied else null,
        .waits => .waits,
        else => null,
    };
}

fn callRemote(machine: *Machine, number: u64) ?Outcome {
    machine.kernel.counters.syscalls += 1;
    return endRemoteCall(machine, number, if (number == remote_calls.resume_number) remote_call.resumeByCall(machine) else remote_call.call(machine, number - system_area.import_number));
}

fn endRemoteCall(machine: *Machine, number: u64, ended: remote_call.Ended) ?Outcome {
    switch (ended) {
        .answered => {
            if (machine.space.out_of_memory) return stopAsUser(machine, .out_of_memory);
            // What has come meanwhile acts behind the call.
            if (machine.kernel.anyDeliverable(machine.current())) machine.kernel.interrupt.raise(Reason.signal);
        },
        .refused => |result| machine.vcpu.resumeSystemCall(result),
        .again => {
            const regs = machine.vcpu.registers();
            const syscall_bytes = 2;
            asUserAfterCall(machine, @bitCast(number));
            // A program that has jumped to the stub may have left anything there.
            regs.rip -%= syscall_bytes;
        },
        .outcome => |outcome| return stopAsUser(machine, outcome),
    }
    return null;
}

/// A new thread begins as its parent stands behind its call, but for the result and the stack.
noinline fn startThread(machine: *Machine, made: kernel_module.Made) bool {
    const k = &machine.kernel;
    k.made = null;
    if (!machine.asks_thread_ids) machine.askThreadIds();
    const thread = made.thread;
    const parent = machine.vcpu.registers();
    thread.regs = parent.*;
    thread.regs.rip = parent.rcx;
    thread.regs.rflags = parent.r11;
    thread.regs.rax = 0;
    if (made.stack != 0) thread.regs.rsp = made.stack;
    thread.vectors.inherit(&machine.current().vectors, machine.vcpu.vm, machine.allocator) catch return false;
    return true;
}

/// exit(2): the process ends with its last thread, and by that one's code.
fn endThread(machine: *Machine) ?Outcome {
    const k = &machine.kernel;
    k.ends_thread = false;
    if (k.threads.countAlive() == 1) return stopAfterCall(machine, 0, .{ .exit = k.exit_code });
    const serves = if (k.lent) |lent| lent.serving == machine.current() else false;
    thread_calls.endCurrent(k);
    if (!serves) return null;
    k.lent.?.serving = null;
    return .thread_ended;
}

/// Puts the registers into the state right behind the `syscall` instruction.
fn asUserAfterCall(machine: *Machine, result: i64) void {
    const regs = machine.vcpu.registers();
    regs.rax = @bitCast(result);
    regs.rip = regs.rcx;
    regs.rflags = regs.r11;
    machine.vcpu.resumeUser();
}

fn stopAfterCall(machine: *Machine, result: i64, outcome: Outcome) Outcome {
    asUserAfterCall(machine, result);
    return stopAsUser(machine, outcome);
}

noinline fn exceptionOf(machine: *Machine, exception: Exception) ?Outcome {
    machine.kernel.counters.faults += 1;
    const regs = machine.vcpu.registers();
    // Single-stepping goes over the stub, as it goes over a system call.
    if (exception.vector == debug_vector and machine.vcpu.inUserStub()) {
        machine.vcpu.resumeUser();
        return null;
    }
    const stepped = exception.vector == debug_vector and machine.stepping;
    stopStepping(machine);
    if (stepped) {
        machine.vcpu.resumeUser();
        if (machine.gives_way) giveWay(machine) else return deliverSignals(machine, null);
        return null;
    }
    if (exception.vector != faults.page_fault_vector) return raise(machine, faultOf(machine, exception));
    if (faults.isOfProtectionKey(exception)) {
        if (loadVectorsFromOutside(machine)) return null;
        return raise(machine, faults.ofProtectionKey(exception));
    }
    // A remote may fault on its caller's memory.
    const owner = lending.machineAt(machine, exception.address);
    const outcome = owner.space.fault(exception.address, faults.accessOf(exception.error_code));
    switch (outcome) {
        .resolved, .awaited => {
            const same = outcome == .resolved and machine.fault_address == exception.address and machine.fault_rip == regs.rip;
            machine.fault_repeats = if (same) machine.fault_repeats + 1 else 0;
            machine.fault_address = exception.address;
            machine.fault_rip = regs.rip;
            if (machine.fault_repeats > same_fault_max) return .{ .broken = "a page fault that mapping the page does not cure" };
            machine.vcpu.resumeUser();
            if (machine.kernel.lent) |lent| lent.owner.shown.follow(lent.owner);
            // An interruption may have come on the way here, where it could not be acted on.
            return if (machine.gives_way) giveWayOrStep(machine) else deliverOrStep(machine);
        },
        .out_of_memory => {
            if (owner != machine) owner.space.out_of_memory = true;
            return stopAsUser(machine, .out_of_memory);
        },
        .not_mapped, .no_right, .beyond_file => return raise(machine, faults.ofPageFault(exception, outcome)),
    }
}

/// The stub that loads a fork's vector state cannot read it where the request before has taken all rights away.
fn loadVectorsFromOutside(machine: *Machine) bool {
    const state = if (machine.image) |image| image.callVectors() else &vectors_module.initial;
    if (!machine.vcpu.inUserStub() or machine.vcpu.registers().rip < layout.stub_load_vectors) return false;
    vectors_module.put(machine.vcpu.vm, state) catch return false;
    machine.vcpu.resumeUser();
    return true;
}

fn faultOf(machine: *Machine, exception: Exception) faults.Fault {
    var fault = faults.ofException(asHardware(machine, exception), machine.vcpu.registers().rip);
    const simd = exception.vector == faults.simd_vector;
    if (simd or exception.vector == faults.x87_vector) {
        fault.code = faults.floatingCode(machine.current().vectors.raisedExceptions(machine.vcpu.vm, simd) catch 0);
    }
    return fault;
}

/// PVM raises #UD for `int n` in ring 3, where hardware raises #GP; programs see what hardware does.
fn asHardware(machine: *Machine, exception: Exception) Exception {
    const undefined_opcode = 6;
    const general_protection = 13;
    const int_opcode = 0xcd;
    if (exception.vector != undefined_opcode) return exception;
    const opcode = machine.kernel.memory.readValue(u8, machine.vcpu.registers().rip) catch return exception;
    return if (opcode == int_opcode) .{ .vector = general_protection, .error_code = 0, .address = 0 } else exception;
}

/// Delivers the signal of the guest's own fault.
noinline fn raise(machine: *Machine, fault: faults.Fault) ?Outcome {
    machine.vcpu.resumeUser();
    machine.last_fault = fault;
    machine.current().signals.raiseFault(&machine.kernel.signals, fault);
    return deliverSignals(machine, null);
}

/// Acts on pending signals; the registers in the sync area are the user's. `call` is the system call just answered, which
/// is made again after a handler with SA_RESTART.
noinline fn deliverSignals(machine: *Machine, call: ?signal_frame.InterruptedCall) ?Outcome {
    const signals = &machine.current().signals;
    var restartable = call;
    while (machine.kernel.nextSignal()) |disposition| switch (disposition) {
        .ignore => {},
        .terminate => |signal| return stopAsUser(machine, .{ .signal = signal }),
        .handle => |handling| {
            if (!signal_frame.build(machine, handling.delivery, handling.action, restartable)) {
                const fault: faults.Fault = .{ .signal = faults.SIGSEGV, .code = signals_module.SI_KERNEL };
                machine.last_fault = .{ .signal = fault.signal, .code = 0, .address = machine.vcpu.registers().rsp };
                if (handling.delivery.entry.signal == faults.SIGSEGV) return stopAsUser(machine, .{ .signal = faults.SIGSEGV });
                signals.raiseFault(&machine.kernel.signals, fault);
            }
            restartable = null;
        },
    };
    signals.endTemporaryMask();
    return null;
}
