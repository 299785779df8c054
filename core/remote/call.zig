//! Calling a remote: on the caller's processor, under a root table that shows both, without copying anything and without the
//! scheduler of the host. Two exits: the caller's system call, and the remote's return.
//!
//! Two ways. A **call** jumps to a function that the remote has exported; it runs on the remote's call stack, in the name of its
//! first thread. A **resume** wakes a thread of the remote that waits (pristine_wait), which has the caller's buffer until it
//! waits again. Either way the remote is another machine that runs on a VM that is lent to it: its system calls, faults, threads
//! and signals are its own, and its caller's run ends it (`Interrupt.outer`).
//!
//! The caller goes on behind a stub that clears the vector state, wherever its program had been.
const std = @import("std");
const call_module = @import("../call.zig");
const gates = @import("gates.zig");
const guest_device = @import("../linux/files/guest_device.zig");
const host = @import("../host.zig");
const interrupt_module = @import("../interrupt.zig");
const kernel_module = @import("../linux/kernel.zig");
const kvm = @import("../kvm.zig");
const layout = @import("../layout.zig");
const lending = @import("lending.zig");
const limits = @import("../limits.zig");
const queue = @import("queue.zig");
const remote_calls = @import("../linux/remote_calls.zig");
const run_module = @import("../run.zig");
const scheduler = @import("../scheduler.zig");
const shown = @import("shown.zig");
const system_area = @import("../system_area.zig");
const table = @import("../linux/table.zig");
const vectors_module = @import("../vectors.zig");
const vm_pool = @import("../vm_pool.zig");
const waiting = @import("../linux/waiting.zig");
const Exit = @import("../vcpu.zig").Exit;
const Failure = @import("failure.zig").Failure;
const Lent = lending.Lent;
const Machine = @import("../machine.zig").Machine;
const Outcome = run_module.Outcome;
const Reason = interrupt_module.Reason;
const Remote = @import("remote.zig").Remote;
const Seat = @import("remote.zig").Seat;
const Thread = @import("../linux/threads.zig").Thread;

/// What becomes of the caller's system call.
pub const Ended = union(enum) {
    /// The remote has answered; the caller's registers are set.
    answered,
    /// The call was not made, and the caller is told so.
    refused: i64,
    /// The embedder wants the caller to stop: the call is made when it goes on.
    again,
    /// The caller's run ends.
    outcome: Outcome,
};

fn failed(caller: *Machine, failure: Failure) Ended {
    caller.remote_failure = failure;
    return .{ .outcome = .remote_failed };
}

/// The function of an import stub.
pub fn call(caller: *Machine, index: u64) Ended {
    const imports = caller.kernel.imports.list.items;
    if (index >= imports.len) return .{ .refused = kernel_module.fail(.NOSYS) };
    const import = &imports[@intCast(index)];
    const name = import.name;
    const colon = std.mem.indexOfScalar(u8, name, ':').?;
    const remote_name = name[0..colon];
    const user = caller.vcpu.registers().*;
    for ([_]u64{ user.rdi, user.rsi, user.rdx, user.r10, user.r8, user.r9 }) |argument| {
        // Registers that are no arguments hold anything: in a remote often its own addresses, which it may pass on, too.
        const window = layout.windowOf(argument) orelse continue;
        if (window != caller.window()) return failed(caller, .of(.points_into_remote, remote_name));
    }
    const opened = open(caller, remote_name, .call);
    var use = switch (opened) {
        .use => |use| use,
        .failure => |kind| return failed(caller, .of(kind, remote_name)),
        .called_away => return .again,
    };
    defer use.end();
    const machine = use.remote.machine;
    const function = machine.kernel.exports.findNear(name[colon + 1 ..], import.hint) orelse return failed(caller, .of(.no_function, name));
    import.hint = @intCast(function);
    const address = machine.kernel.exports.list.items[function].address;
    if (address == 0) return failed(caller, .of(.no_function, name));
    if (use.isForAnotherThread(caller, function)) return .again;
    var borrowed: Borrowed = .of(caller, use, .clears_vectors);
    borrowed.what = function;
    borrowed.begin() catch |failure| return failed(caller, .of(kindOf(failure), remote_name));
    const outcome = if (use.seat == .alone) callFunction(machine, &user, address) else callOnThread(&borrowed, &user, address);
    use.is_lost = outcome == .thread_ended;
    const result: i64 = @bitCast(machine.vcpu.registers().rdi);
    const ended = borrowed.end(&user, outcome, result, remote_name);
    if (ended == .answered and use.seat == .alone) {
        const held = caller.connections.find(remote_name).?;
        use.is_kept = gates.open(caller, .{ .remote = use.remote, .connection = held.connection, .version = held.version });
    }
    return ended;
}

/// A call that its caller has made through a gate, and that comes to the VMM with `exit`: an ordinary call from here on.
pub noinline fn adopt(caller: *Machine, exit: Exit) Ended {
    const under_way = gates.take(caller) orelse return .{ .outcome = .{ .broken = "a root table that no gate leads to" } };
    defer gates.taken(caller);
    under_way.remote.stepIn();
    const use: Use = .{ .remote = under_way.remote, .seat = .alone };
    defer use.end();
    var borrowed: Borrowed = .of(caller, use, .clears_vectors);
    borrowed.segments = under_way.segments;
    borrowed.caller_root = caller.space.tables.rootPhysical();
    borrowed.begin() catch |failure| {
        borrowed.goBack(&under_way.user);
        return failed(caller, .of(kindOf(failure), under_way.name));
    };
    const machine = use.remote.machine;
    const program = actInCall(machine);
    const outcome = run_module.goOn(machine, .call, exit);
    endThread(machine, machine.kernel.threads.caller);
    call_module.endCaller(machine, program);
    const result: i64 = @bitCast(machine.vcpu.registers().rdi);
    const ended = borrowed.end(&under_way.user, outcome, result, under_way.name);
    // Behind a gate the result is there.
    if (ended == .answered) caller.vcpu.registers().r10 = @bitCast(result);
    return ended;
}

fn kindOf(failure: anyerror) Failure.Kind {
    return if (failure == error.TooMany) .too_many else .host;
}

/// What a caller resumes a remote with. One that does so by a file gets what read(2) and write(2) can answer, and keeps its vector
/// state.
pub const Resume = struct { name: []const u8, buffer: u64, length: u64, by_file: bool = false };

/// pristine_resume(name, buffer, length).
pub fn resumeByCall(caller: *Machine) Ended {
    const user = caller.vcpu.registers();
    var buffer: [limits.remote_name_max_bytes]u8 = undefined;
    const name = caller.kernel.memory.readCString(user.rdi, &buffer) catch |failure| return refused(if (failure == error.NameTooLong) .NAMETOOLONG else .FAULT);
    return resumeWaiting(caller, .{ .name = name, .buffer = user.rsi, .length = user.rdx });
}

fn refused(errno: std.os.linux.E) Ended {
    return .{ .refused = kernel_module.fail(errno) };
}

/// Whether read(2) and write(2) can answer so: with a number of bytes, or an errno.
fn isOfFile(reply: i64, length: u64) bool {
    const errno_max = 4095;
    return if (reply < 0) reply >= -errno_max else reply <= length;
}

/// Lets a remote have the caller's buffer until it replies: "REMOTE", or "REMOTE:FUNCTION" for one that tells by names what is wanted.
pub fn resumeWaiting(caller: *Machine, wanted: Resume) Ended {
    const user = caller.vcpu.registers().*;
    if (!isCallers(caller, wanted.buffer, wanted.length)) return refused(.FAULT);
    const colon = std.mem.indexOfScalar(u8, wanted.name, ':') orelse wanted.name.len;
    const name = wanted.name[0..colon];
    var use = switch (open(caller, name, .wake)) {
        .use => |use| use,
        .failure => |kind| return switch (kind) {
            .not_connected => refused(.NOENT),
            .again => refused(.DEADLK),
            else => failed(caller, .of(kind, name)),
        },
        .called_away => return .again,
    };
    defer use.end();
    var function: ?usize = null;
    if (colon < wanted.name.len) function = use.remote.machine.kernel.exports.find(wanted.name[colon + 1 ..]) orelse return refused(.NOENT);
    const what = function orelse limits.exports_max;
    if (use.isForAnotherThread(caller, what)) return .again;
    var borrowed: Borrowed = .of(caller, use, if (wanted.by_file) .keeps_vectors else .clears_vectors);
    borrowed.what = what;
    borrowed.begin() catch |failure| return failed(caller, .of(kindOf(failure), name));
    const lent = &borrowed.lent;
    lent.is_resumed = true;
    lent.buffer = wanted.buffer;
    lent.length = wanted.length;
    if (function) |number| lent.function = @intCast(number);
    const outcome = serve(&borrowed);
    if (wanted.by_file and !isOfFile(lent.reply, wanted.length)) lent.bad_reply = true;
    use.is_lost = outcome == .thread_ended;
    return borrowed.end(&user, outcome, borrowed.lent.reply, name);
}

/// Whether a buffer lies in memory that the caller itself may write.
fn isCallers(caller: *Machine, address: u64, length: u64) bool {
    if (length == 0) return true;
    if (address +% length < address) return false;
    var at = address;
    while (at < address + length) {
        const owner = lending.machineAt(caller, at);
        const vma = owner.space.vmas.find(at) orelse return false;
        if (!vma.rights.write) return false;
        at = vma.end;
    }
    return true;
}

/// A remote, and the seat that its caller has there.
const Use = struct {
    remote: *Remote,
    seat: Seat,
    is_lost: bool = false,
    /// The caller keeps the seat for calls through a gate.
    is_kept: bool = false,

    /// A call cannot be paused. On the embedder's own thread, which has other things to do, only that is called which was quick the
    /// last time; the rest, and what nobody knows yet, when the caller goes on on another thread. What a remote calls is part of it.
    fn isForAnotherThread(self: *const Use, caller: *Machine, what: usize) bool {
        if (!caller.runs_briefly or self.remote.quick.isSet(what)) return false;
        caller.kernel.interrupt.raise(Reason.pause);
        return true;
    }

    fn end(self: *const Use) void {
        if (self.is_kept) return self.remote.stepBack();
        self.remote.releaseAs(self.seat, if (self.is_lost) .gone else .waiting);
    }
};

const Opened = union(enum) { use: Use, failure: Failure.Kind, called_away };

/// The remote of a name, when it is the caller's turn.
fn open(caller: *Machine, name: []const u8, kind: enum { call, wake }) Opened {
    const held = caller.connections.find(name) orelse return .{ .failure = .not_connected };
    const remote = held.resolve() catch return .{ .failure = .host };
    if (lending.isInChain(caller, remote) or !lending.beginToWait(caller, remote)) return .{ .failure = .again };
    defer lending.endToWait(caller);
    const seat = seatOf(caller, remote, if (kind == .call) .call else .wake) orelse return .called_away;
    if (remote.death == null) return .{ .use = .{ .remote = remote, .seat = seat } };
    remote.release(seat);
    return .{ .failure = .dead };
}

fn seatOf(caller: *Machine, remote: *Remote, use: queue.Use) ?Seat {
    if (caller.gates) |some| if (some.takeSeat(remote)) {
        remote.stepIn();
        return .alone;
    };
    return remote.acquire(use, .{ .interrupt = caller.kernel.interrupt, .owner = lending.ownerOf(caller) }, null);
}

/// A remote that has its caller's processor.
const Borrowed = struct {
    lent: Lent,
    caller: *Machine,
    remote: *Remote,
    seat: Seat,
    segments: kernel_module.Segments,
    caller_root: u64,
    exits: u64 = 0,
    way: Way,
    /// Of `Remote.quick`; null where that is not known.
    what: ?usize = null,
    began_tsc: u64 = 0,

    /// What becomes of the caller's vector state. Whoever calls by a function, or by Pristine's own calls, does not count on it.
    const Way = enum { clears_vectors, keeps_vectors };

    fn of(caller: *Machine, use: Use, way: Way) Borrowed {
        const outer = caller.kernel.lent;
        const mask = if (outer) |lent| lent.mask else 0;
        return .{
            .lent = .{
                .remote = use.remote,
                .caller = caller,
                .owner = if (outer) |lent| lent.owner else caller,
                .mask = mask | shown.maskOf(use.remote.machine.window().?),
                .outer = caller.kernel.memory,
                .is_shared = use.seat != .alone and use.remote.isShared(),
            },
            .caller = caller,
            .remote = use.remote,
            .seat = use.seat,
            .segments = caller.currentSegments(),
            .caller_root = caller.vcpu.segments().cr3,
            .way = way,
        };
    }

    /// The remote is ready to be entered but for its registers.
    fn begin(self: *Borrowed) !void {
        const caller = self.caller;
        const machine = self.remote.machine;
        const owner = self.lent.owner;
        // Another remote of the same window is being called already.
        if (caller.kernel.lent) |outer| if (outer.mask == self.lent.mask) return error.HostFailure;
        // Without its timers a thread of the host cannot interrupt what runs on it.
        if (!caller.kernel.interrupt.has_timers) {
            _ = try interrupt_module.threadTimers(std.heap.c_allocator);
            caller.kernel.interrupt.has_timers = true;
        }
        vm_pool.runWithout(machine);
        if (self.way == .keeps_vectors) try caller.current().vectors.keep(caller.vcpu.vm, caller.allocator);
        try owner.shown.show(owner, self.remote);
        const root = try owner.shown.rootOf(owner, self.lent.mask);
        machine.borrow(&self.lent);
        self.began_tsc = machine.kernel.entered_tsc;
        self.exits = machine.vcpu.exits;
        self.lent.root = root;
        machine.vcpu.segments().cr3 = root;
        // Whoever sets the bases next may find them as they are to be.
        owner.vm.run.dirty_regs |= kvm.SYNC_X86_SREGS;
    }

    /// Back to the caller, whose registers at its system call were `user`.
    fn end(self: *Borrowed, user: *const kvm.Regs, outcome: Outcome, result: i64, name: []const u8) Ended {
        const caller = self.caller;
        const machine = self.remote.machine;
        caller.vcpu.exits += machine.vcpu.exits - self.exits;
        machine.giveBack(&self.lent);
        if (self.what) |what| {
            const ns = machine.clock.cyclesToNs(host.rdtsc() -% self.began_tsc);
            self.remote.quick.setValue(what, ns < limits.remote_quick_ns);
        }
        caller.kernel.counters.remote_calls += 1;
        caller.kernel.threads.replan = true;
        caller.kernel.tick();
        self.goBack(user);
        switch (outcome) {
            .call_return, .replied => if (!self.lent.bad_reply) return self.answer(user, result),
            else => {},
        }
        return self.failure(outcome, name);
    }

    /// The caller's registers are as behind its system call.
    fn goBack(self: *Borrowed, user: *const kvm.Regs) void {
        const caller = self.caller;
        caller.vcpu.segments().cr3 = self.caller_root;
        caller.vcpu.setSegmentBases(self.segments.fs, self.segments.gs);
        const regs = caller.vcpu.registers();
        regs.* = user.*;
        regs.rip = user.rcx;
        regs.rflags = user.r11;
        caller.vcpu.resumeUser();
    }

    fn answer(self: *Borrowed, user: *const kvm.Regs, result: i64) Ended {
        const caller = self.caller;
        const regs = caller.vcpu.registers();
        switch (self.way) {
            .clears_vectors => {
                regs.r11 = @bitCast(result);
                regs.rip = layout.stub_leave_remote;
            },
            .keeps_vectors => {
                caller.current().vectors.load(caller.vcpu.vm) catch return .{ .outcome = .{ .broken = "the vector state could not be loaded" } };
                regs.rax = @bitCast(result);
                regs.rip = user.rcx;
            },
        }
        return .answered;
    }

    fn failure(self: *Borrowed, outcome: Outcome, name: []const u8) Ended {
        // What was its end is that of all calls under way.
        defer if (self.remote.death != null) self.remote.kickLocked();
        const machine = self.remote.machine;
        var what: Failure = .of(.ended, name);
        switch (outcome) {
            // The caller's own run is over.
            .timeout, .aborted => return .{ .outcome = outcome },
            .closed => {
                if (self.caller.kernel.interrupt.pending() & interrupt_module.Reason.ending != 0) return .{ .outcome = outcome };
                what.kind = .dead;
            },
            .paused => return .{ .outcome = outcome },
            .signal => |signal| {
                const fault = machine.last_fault;
                const own = fault.signal == signal;
                const of_caller = own and isAddressFault(signal) and !machine.space.area.contains(fault.address, 1);
                what.kind = if (of_caller) .bad_pointer else .fault;
                what.code = signal;
                what.address = if (own) fault.address else 0;
                if (signal == kill_signal) self.remote.death = .killed;
            },
            .exit => |code| {
                what.code = code;
                self.remote.death = .exited;
                machine.settle(outcome);
            },
            .out_of_memory => {
                self.remote.death = .out_of_memory;
                machine.settle(outcome);
            },
            .thread_ended => {},
            .replied => what.kind = .bad_reply,
            .remote_failed => {
                self.caller.remote_failure = machine.remote_failure;
                return .{ .outcome = outcome };
            },
            .broken => {
                self.remote.death = .broken;
                return .{ .outcome = outcome };
            },
            else => {
                self.remote.death = .broken;
                what.kind = .host;
            },
        }
        return failed(self.caller, what);
    }
};

const kill_signal = 9;

fn isAddressFault(signal: u8) bool {
    const bus = 7;
    const segv = 11;
    return signal == segv or signal == bus;
}

/// Calls an exported function with the caller's argument registers.
fn callFunction(machine: *Machine, user: *const kvm.Regs, function: u64) Outcome {
    call_module.ensureCallersStack(machine) catch return .out_of_memory;
    const rsp = machine.callers_stack.top - 8;
    machine.space.writeAnyRights(rsp, std.mem.asBytes(&@as(u64, layout.stub_call_return))) catch return .out_of_memory;
    const program = actInCall(machine);
    defer call_module.endCaller(machine, program);
    const thread = machine.kernel.threads.caller;
    defer endThread(machine, thread);
    machine.vcpu.setSegmentBases(thread.segments.fs, thread.segments.gs);
    const regs = machine.vcpu.registers();
    regs.* = .{ .rip = layout.stub_enter_remote, .rsp = rsp, .r11 = function, .rdi = user.rdi, .rsi = user.rsi, .rdx = user.rdx, .rcx = user.r10, .r8 = user.r8, .r9 = user.r9 };
    return start(machine, thread, .call);
}

/// The thread of calls has the processor, with what it holds of vectors; whose turn it was before.
fn actInCall(machine: *Machine) *Thread {
    const threads = &machine.kernel.threads;
    const program = threads.current;
    call_module.actAsFirst(machine);
    threads.caller.vectors.current = .processor;
    return program;
}

/// Runs with the registers in the sync area, which are the thread's, also if others have their turn first.
fn start(machine: *Machine, thread: *Thread, goal: run_module.Goal) Outcome {
    machine.vcpu.resumeUser();
    thread.regs = machine.vcpu.registers().*;
    return run_module.run(machine, goal);
}

/// The same on a thread that the remote has lent, below what its stack holds; afterwards it waits again as if nothing had been.
fn callOnThread(borrowed: *Borrowed, user: *const kvm.Regs, function: u64) Outcome {
    const machine = borrowed.remote.machine;
    const thread = lentThread(machine, borrowed.seat) orelse return .{ .broken = "no thread of the remote waits" };
    const before: Waiting = .of(thread);
    const red_zone = 128;
    const rsp = std.mem.alignBackward(u64, thread.regs.rsp -% red_zone, 16) - 8;
    machine.space.writeAnyRights(rsp, std.mem.asBytes(&@as(u64, layout.stub_call_return))) catch return badWait(machine, rsp);
    take(borrowed, thread);
    const regs = machine.vcpu.registers();
    regs.* = .{ .rip = layout.stub_enter_remote, .rsp = rsp, .r11 = function, .rdi = user.rdi, .rsi = user.rsi, .rdx = user.rdx, .rcx = user.r10, .r8 = user.r8, .r9 = user.r9 };
    const outcome = start(machine, thread, .call);
    if (outcome != .call_return) keepVectors(machine);
    before.putBack(borrowed);
    return outcome;
}

/// A thread that waits goes on on the caller's processor.
fn take(borrowed: *Borrowed, thread: *Thread) void {
    const machine = borrowed.remote.machine;
    const threads = &machine.kernel.threads;
    thread.call = .{};
    thread.answered = null;
    threads.wake(thread);
    threads.current = thread;
    thread.vectors.current = .processor;
    borrowed.lent.bind(thread);
    machine.vcpu.setSegmentBases(thread.segments.fs, thread.segments.gs);
}

/// What the processor holds of vectors is not the thread's any more.
fn endThread(machine: *Machine, thread: *Thread) void {
    const current = machine.current();
    // Another one may have been at work when the call was ended.
    if (current != thread) current.vectors.keep(machine.vcpu.vm, machine.allocator) catch {
        current.vectors.current = .{ .memory = &vectors_module.initial };
    };
    thread.vectors.current = .{ .memory = &vectors_module.initial };
    machine.kernel.threads.caller_fresh = true;
}

/// Lets a thread that waits have the caller's buffer, until it waits again.
fn serve(borrowed: *Borrowed) Outcome {
    const machine = borrowed.remote.machine;
    const thread = lentThread(machine, if (borrowed.seat == .alone) .waits else borrowed.seat) orelse {
        if (borrowed.seat == .alone) if (threadAtFile(machine)) |thread| return serveCopied(borrowed, thread);
        // It may not have come so far yet.
        if (machine.state != .loaded and machine.state != .stopped) return .{ .broken = "the remote has ended" };
        scheduler.load(machine, machine.current()) catch return .{ .broken = "the vector state could not be loaded" };
        const outcome = run_module.run(machine, .waits);
        keepVectors(machine);
        return if (outcome == .waits) serve(borrowed) else outcome;
    };
    const before: Waiting = .of(thread);
    const outcome = deliver(borrowed, thread);
    if (outcome == .replied) {
        thread.vectors.current = .{ .memory = &vectors_module.initial };
        return outcome;
    }
    keepVectors(machine);
    if (borrowed.lent.serving == null) return outcome;
    if (before.call.args[3] & remote_calls.may_be_put_back != 0) {
        before.putBack(borrowed);
    } else borrowed.remote.death = borrowed.remote.death orelse .left_in_the_middle;
    return outcome;
}

/// A thread that gets a copy of the buffer, by a read(2) that leaves it its vector state. It does not reach its caller's memory
/// itself: one whose caller is gone goes on, and nobody gets its answer.
fn serveCopied(borrowed: *Borrowed, thread: *Thread) Outcome {
    const machine = borrowed.remote.machine;
    const k = &machine.kernel;
    const result = guest_device.give(k, &borrowed.lent, thread.call.args[1], thread.call.args[2]);
    table.finish(k, thread, result);
    thread.answered = null;
    scheduler.load(machine, thread) catch return .{ .broken = "the vector state could not be loaded" };
    borrowed.lent.bind(thread);
    const outcome = run_module.run(machine, .serve);
    keepVectors(machine);
    if (outcome == .signal and borrowed.lent.serving != null) borrowed.remote.death = borrowed.remote.death orelse .left_in_the_middle;
    return outcome;
}

/// A thread as it waited.
const Waiting = struct {
    thread: *Thread,
    regs: kvm.Regs,
    call: waiting.Call,

    fn of(thread: *Thread) Waiting {
        return .{ .thread = thread, .regs = thread.regs, .call = thread.call };
    }

    /// The thread waits again, as if it had not been woken; unless it has ended.
    fn putBack(self: *const Waiting, borrowed: *Borrowed) void {
        if (borrowed.lent.serving != self.thread) return;
        const machine = borrowed.remote.machine;
        machine.kernel.letGo(self.thread);
        self.thread.regs = self.regs;
        self.thread.call = self.call;
        self.thread.answered = null;
        self.thread.vectors.current = .{ .memory = &vectors_module.initial };
        machine.kernel.threads.sleep(self.thread);
    }
};

fn deliver(borrowed: *Borrowed, thread: *Thread) Outcome {
    const machine = borrowed.remote.machine;
    const k = &machine.kernel;
    const where = thread.call.args;
    const lent = &borrowed.lent;
    if (where[3] & remote_calls.in_registers != 0) {
        thread.regs.rdx = lent.buffer;
    } else {
        k.memory.writeValue(where[0], lent.buffer) catch return badWait(machine, where[0]);
        k.memory.writeValue(where[1], lent.length) catch return badWait(machine, where[1]);
    }
    if (where[4] != 0) k.memory.writeValue(where[4], lent.function) catch return badWait(machine, where[4]);
    thread.regs.rax = lent.length;
    take(borrowed, thread);
    const regs = machine.vcpu.registers();
    regs.* = thread.regs;
    // As the caller goes on: with the result, and nothing in the vector state.
    regs.r11 = thread.regs.rax;
    regs.rcx = thread.regs.rip;
    regs.rip = layout.stub_leave_remote;
    return start(machine, thread, .serve);
}

fn keepVectors(machine: *Machine) void {
    machine.current().vectors.keep(machine.vcpu.vm, machine.allocator) catch {};
}

/// A thread that is lent in this way, and serves nobody.
fn lentThread(machine: *Machine, seat: Seat) ?*Thread {
    for (machine.kernel.threads.list.items) |thread| {
        const lent_for = remote_calls.lentFor(thread) orelse continue;
        if (thread.bound == null and (lent_for == .calls) == (seat == .calls)) return thread;
    }
    return null;
}

/// A thread that waits by a file. It is used alone: what runs scripts has one thread for them.
fn threadAtFile(machine: *Machine) ?*Thread {
    for (machine.kernel.threads.list.items) |thread| if (guest_device.isWaiting(&machine.kernel, thread)) return thread;
    return null;
}

fn badWait(machine: *Machine, address: u64) Outcome {
    machine.last_fault = .{ .signal = 11, .code = 1, .address = address };
    return .{ .signal = 11 };
}
