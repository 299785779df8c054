//! The emulated kernel's state of one machine, as the system-call handlers see it.
//!
//! A handler is `fn (kernel: *Kernel, args: Args) i64`: a result, or a negative errno. It reads guest memory only through
//! `kernel.memory`, counts each host call it causes with `kernel.hostCall()`, and never waits: it returns `kernel.block()`
//! and is run again when something may have changed (`waiting.zig`).
const std = @import("std");
const linux = std.os.linux;
const exec = @import("exec.zig");
const host = @import("../host.zig");
const interrupt_module = @import("../interrupt.zig");
const limits = @import("../limits.zig");
const AddressSpace = @import("../memory/address_space.zig").AddressSpace;
const Clock = @import("../clock.zig").Clock;
const FileTable = @import("files/table.zig").FileTable;
const frozen = @import("files/frozen.zig");
const planted = @import("../planted.zig");
const reset_fields = @import("../reset_fields.zig");
const HostFile = @import("../host_file.zig").HostFile;
const GuestAccess = @import("../memory/access.zig").GuestAccess;
const Lent = @import("../remote/lending.zig").Lent;
const Machine = @import("../machine.zig").Machine;
const remote_call = @import("../remote/call.zig");
const remote_calls = @import("remote_calls.zig");
const signals_module = @import("signals.zig");
const Scheduling = @import("scheduling.zig").Scheduling;
const Signals = signals_module.Signals;
const timerfd = @import("events/timerfd.zig");
const timers_module = @import("timers.zig");
const Timers = timers_module.Timers;
const threads_module = @import("threads.zig");
const Thread = threads_module.Thread;
const Threads = threads_module.Threads;
const waiting = @import("waiting.zig");

pub const Args = [6]u64;

/// A handler's answer for a failed call.
pub fn fail(code: linux.E) i64 {
    return -@as(i64, @intFromEnum(code));
}

/// Why the guest stops running, as its own system calls or the kernel decide it.
pub const Stop = union(enum) {
    exit: u8,
    ready,
    /// Another program is to take this one's place.
    exec: *exec.Prepared,
    /// A thread of a remote waits for a caller, without or with an answer for the one before.
    waits,
    replied,
    /// A caller lets a remote have a buffer, by a file that has the remote's name.
    resumes: remote_call.Resume,
};

/// A new thread, and where its stack pointer is to be; 0 is where its parent's is.
pub const Made = struct { thread: *Thread, stack: u64 };

pub const Identity = struct { uid: u32 = 1000, gid: u32 = 1000, pid: i32 = 1000, parent: i32 = 1 };

pub const Counters = struct {
    exits: u64 = 0,
    syscalls: u64 = 0,
    faults: u64 = 0,
    host_calls: u64 = 0,
    remote_calls: u64 = 0,
    /// Bytes that the VMM has copied between a remote and its caller: none, but for programs that cannot do without.
    bytes_copied: u64 = 0,
    /// Time-stamp counter cycles spent in runs and calls.
    cycles: u64 = 0,
    by_number: [limits.system_call_numbers]u32 = @splat(0),
    unsupported: [limits.system_call_numbers]u32 = @splat(0),
};

pub const Segments = threads_module.Segments;

pub const Kernel = struct {
    allocator: std.mem.Allocator,
    memory: GuestAccess,
    space: *AddressSpace,
    files: FileTable,
    threads: Threads,
    /// The process's; each thread has its own beside.
    signals: Signals = .{},
    timers: Timers = .{},
    /// What the host had to say in the wait that just ended.
    answers: waiting.Answers = .{},
    clock: *Clock,
    interrupt: *interrupt_module.Interrupt,
    counters: Counters = .{},
    identity: Identity = .{},
    scheduling: Scheduling = .{},
    umask: u32 = 0o022,
    /// FS and GS bases to load before the guest goes on; set by arch_prctl.
    segments: ?Segments = null,
    current_segments: Segments = .{},
    resource_limits: [16]ResourceLimit = default_resource_limits,
    /// What /proc/self tells: the program's path, its file, its arguments with a NUL behind each.
    program_path: []const u8 = "",
    program_file: ?*HostFile = null,
    command_line: []const u8 = "",
    /// Of a remote: what it offers to callers.
    exports: remote_calls.Names = .{},
    /// Functions of remotes that the program has asked for.
    imports: remote_calls.Names = .{},
    /// Of a remote: the call under way.
    lent: ?*Lent = null,
    /// Whose kernel it is; null where there is no machine.
    machine: ?*Machine = null,
    stop: ?Stop = null,
    /// The current thread lets others run.
    gives_way: bool = false,
    /// The current thread is to end (exit).
    ends_thread: bool = false,
    /// What the last thread to exit has exited with.
    exit_code: u8 = 0,
    /// A thread just made, which begins as its parent stands behind its call.
    made: ?Made = null,
    /// Set by a handler whose call must not have its result written (rt_sigreturn).
    registers_replaced: bool = false,
    /// The guest's at the system call under way.
    stack_pointer: u64 = 0,
    /// Host counter when the run under way began, moved on by what it has waited.
    entered_tsc: u64 = 0,
    /// Cycles spent before the last reset, which the guest's CPU time does not count, and those its image had spent, which
    /// it does.
    cycles_forgotten: u64 = 0,
    cycles_before: u64 = 0,

    /// What a reset does to each field: `copied` from the image; `restored` by code of its own; `kept` because it is the
    /// fork's own or never changes. A field without an entry does not compile.
    pub const at_reset = .{
        .allocator = .kept,
        .memory = .kept,
        .space = .kept,
        .files = .restored,
        .threads = .restored,
        .signals = .copied,
        .timers = .copied,
        .answers = .kept,
        .clock = .kept,
        .interrupt = .kept,
        .counters = .kept,
        .identity = .copied,
        .scheduling = .copied,
        .umask = .copied,
        .segments = .copied,
        .current_segments = .copied,
        .resource_limits = .copied,
        .program_path = .copied,
        .program_file = .copied,
        .command_line = .copied,
        .exports = .restored,
        .imports = .restored,
        .lent = .kept,
        .machine = .kept,
        .stop = .copied,
        .gives_way = .copied,
        .ends_thread = .copied,
        .exit_code = .copied,
        .registers_replaced = .copied,
        .made = .kept,
        .stack_pointer = .kept,
        .entered_tsc = .kept,
        .cycles_forgotten = .restored,
        .cycles_before = .restored,
    };

    pub fn deinit(self: *Kernel) void {
        self.forgetStop();
        self.letAllGo();
        self.files.deinit();
        self.threads.deinit();
        self.answers.deinit(self.allocator);
        self.exports.deinit(self.allocator);
        self.imports.deinit(self.allocator);
    }

    /// Forgets a reason to stop that nobody acted on.
    pub fn forgetStop(self: *Kernel) void {
        const stop = self.stop orelse return;
        self.stop = null;
        if (stop == .exec) stop.exec.discard(self.allocator);
    }

    /// Gives up the file that a thread's call holds open.
    pub fn letGo(self: *Kernel, thread: *Thread) void {
        const held = thread.call.held orelse return;
        thread.call.held = null;
        self.files.release(held.description);
    }

    fn letAllGo(self: *Kernel) void {
        for (self.threads.list.items) |thread| self.letGo(thread);
        self.letGo(self.threads.caller);
    }

    /// An image's kernel: all but open files is copied, and what belongs to the machine alone is not to be used. Spans have
    /// left what they have at the instant at which `clock`, the image's, stands.
    pub fn freeze(self: *const Kernel, clock: *Clock) frozen.Error!Kernel {
        var image = self.*;
        image.clock = clock;
        image.answers = .{};
        image.threads = try self.threads.copy();
        errdefer image.threads.deinit();
        image.lent = null;
        image.machine = null;
        image.exports = try self.exports.copy(self.allocator);
        errdefer image.exports.deinit(self.allocator);
        image.imports = try self.imports.copy(self.allocator);
        errdefer image.imports.deinit(self.allocator);
        image.files = try frozen.copy(&self.files, .{ null, null });
        if (!image.timers.asleep) {
            waiting.putToSleep(&image, image.threads.list.items);
            timerfd.shift(&image.files, &image, .to_rest);
        }
        image.timers.putToSleep(&image);
        return image;
    }

    /// Puts everything back to the image's state.
    pub fn restore(self: *Kernel, image: *const Kernel, outputs: frozen.Outputs) frozen.Error!void {
        const before = if (planted.enabled) self.* else {};
        const thread_before = if (planted.enabled) self.threads.first().* else {};
        self.letAllGo();
        try self.restoreExports(image);
        try self.imports.become(self.allocator, &image.imports);
        reset_fields.copy(Kernel, self, image);
        try self.threads.restore(&image.threads);
        if (planted.enabled) self.plant(&before, &thread_before);
        self.cycles_forgotten = self.counters.cycles;
        self.cycles_before = image.cpuCycles();
        try frozen.restore(&self.files, &image.files, outputs);
    }

    fn restoreExports(self: *Kernel, image: *const Kernel) error{OutOfMemory}!void {
        const remote = if (self.machine) |machine| machine.remote else null;
        if (remote) |some| some.exports_lock.lock();
        defer if (remote) |some| some.exports_lock.unlock();
        try self.exports.become(self.allocator, &image.exports);
    }

    fn plant(self: *Kernel, before: *const Kernel, thread_before: *const Thread) void {
        const thread = self.threads.first();
        planted.keeps(.scheduling_kept, self, "scheduling", before);
        planted.keeps(.umask_kept, self, "umask", before);
        planted.keeps(.limit_kept, self, "resource_limits", before);
        planted.keeps(.name_kept, thread, "name", thread_before);
        planted.keeps(.thread_address_kept, thread, "clear_child_tid", thread_before);
        planted.keeps(.handler_kept, &self.signals, "actions", &before.signals);
        planted.keeps(.mask_kept, &thread.signals, "blocked", &thread_before.signals);
        planted.keeps(.pending_kept, &self.signals, "queue", &before.signals);
        planted.keeps(.timer_kept, self, "timers", before);
        planted.keeps(.alternate_stack_kept, &thread.signals, "alternate", &thread_before.signals);
    }

    /// What another program finds changed (execve(2), "Effect on process attributes"): signals that were handled have their
    /// default action again, and what is to be closed is closed.
    pub fn prepareForProgram(self: *Kernel, name: []const u8) void {
        self.letAllGo();
        self.threads.keepOnlyCurrent();
        const thread = self.threads.current;
        self.signals.prepareForProgram();
        thread.signals.alternate = .{};
        self.timers.prepareForProgram();
        self.files.closeForProgram();
        thread.clear_child_tid = 0;
        thread.robust_list = 0;
        thread.setName(std.fs.path.basename(name));
    }

    /// CPU time of the machine: what it has spent in runs and calls but for waiting. Asked while it runs.
    pub fn cpuTimeNs(self: *const Kernel) u64 {
        return self.clock.cyclesToNs(self.cpuCyclesNow());
    }

    /// Cycles of the machine's CPU time, asked while it runs.
    pub fn cpuCyclesNow(self: *const Kernel) u64 {
        return self.cpuCycles() + (host.rdtsc() -% self.entered_tsc);
    }

    /// CPU time of one thread, asked while the machine runs.
    pub fn threadCpuNs(self: *const Kernel, thread: *const Thread) u64 {
        const running = if (thread == self.threads.current) self.cpuCyclesNow() -% self.threads.switched_at else 0;
        return self.clock.cyclesToNs(thread.cycles +% running);
    }

    /// What the guest has spent in runs and calls that are over.
    pub fn cpuCycles(self: *const Kernel) u64 {
        return self.cycles_before + self.counters.cycles - self.cycles_forgotten;
    }

    pub fn clockNs(self: *const Kernel, clock: timers_module.Clock) u64 {
        return switch (clock) {
            .realtime => self.clock.realtimeNs(),
            .monotonic => self.clock.monotonicNs(),
            .boottime => self.clock.boottimeNs(),
            .cpu => self.cpuTimeNs(),
        };
    }

    /// Counts one host call made for the guest.
    pub fn hostCall(self: *Kernel) void {
        self.counters.host_calls += 1;
    }

    /// This call cannot go on: its thread sleeps, and the handler is run again when something may have changed. EINTR if a
    /// signal is to act instead.
    pub fn block(self: *Kernel) i64 {
        return waiting.block(self);
    }

    /// Whether the handler runs for the first time for this call.
    pub fn isFirstTry(self: *const Kernel) bool {
        return self.threads.current.call.tries == 0;
    }

    /// When the call's time is over; null is never. Only the first try sets it.
    pub fn waitDeadline(self: *Kernel, clock: timers_module.Clock, kind: waiting.SpanOrDate, ns: ?u64) void {
        waiting.setDeadline(self, clock, kind, ns);
    }

    pub fn isTimeOver(self: *const Kernel) bool {
        return self.isDue(self.threads.current);
    }

    /// What is left of the call's time; null if it has none.
    pub fn timeLeftNs(self: *const Kernel) ?u64 {
        const deadline = self.threads.current.call.deadline orelse return null;
        return deadline.ns -| self.clockNs(deadline.clock);
    }

    pub fn isDue(self: *const Kernel, thread: *const Thread) bool {
        const deadline = thread.call.deadline orelse return false;
        return self.clockNs(deadline.clock) >= deadline.ns;
    }

    /// What a call that waits more than once has done so far.
    pub fn callProgress(self: *Kernel) *u64 {
        return &self.threads.current.call.progress;
    }

    /// Something that threads may wait for has changed.
    pub fn changed(self: *Kernel) void {
        self.threads.changes += 1;
    }

    /// Which of their events host descriptors have, in `revents`; a handler that then blocks is run again when they have some.
    pub fn askHost(self: *Kernel, entries: []linux.pollfd, patience: waiting.Patience) void {
        waiting.askHost(self, entries, patience);
    }

    /// The signals of the process that are this thread's to take: each goes to the first thread that lets it in.
    pub fn processSignalsOf(self: *const Kernel, thread: *const Thread) u64 {
        var left = ~@as(u64, 0);
        if (self.threads.calling) {
            if (thread == self.threads.caller) return left;
            left &= turnsAway(self.threads.caller);
        }
        for (self.threads.list.items) |other| {
            if (other == thread) return left;
            if (other.isAlive() and !(self.threads.calling and other == self.threads.first())) left &= turnsAway(other);
        }
        return left;
    }

    fn turnsAway(thread: *const Thread) u64 {
        return thread.signals.masked() & ~thread.signals.awaited;
    }

    /// Whether a signal is to act on the thread now.
    pub fn anyDeliverable(self: *Kernel, thread: *Thread) bool {
        return thread.signals.anyDeliverable(&self.signals, self.processSignalsOf(thread));
    }

    /// Whether a thread's wait is to end for a signal.
    pub fn isInterrupted(self: *Kernel, thread: *Thread) bool {
        const of_process = self.processSignalsOf(thread);
        if (thread.signals.pendingSet(&self.signals, of_process) & thread.signals.awaited != 0) return true;
        return thread.signals.anyDeliverable(&self.signals, of_process);
    }

    /// Whether a wait for the embedder's side of an output is over; if not, it goes on as if nothing had been.
    pub fn endsHostWait(self: *Kernel) bool {
        const Reason = interrupt_module.Reason;
        const passing = Reason.signal | Reason.timer | Reason.wake | Reason.slice;
        // Reasons first: what is noted behind this is found by the next look.
        self.interrupt.clear(passing);
        self.tickWhile(.running);
        return self.interrupt.pending() & ~passing != 0 or self.isInterrupted(self.threads.current);
    }

    /// Before the guest runs for the first time since it was frozen: the spans of timers go on from now.
    pub fn wakeTimers(self: *Kernel) void {
        if (!self.timers.asleep) return;
        waiting.wake(self, self.threads.list.items);
        timerfd.shift(&self.files, self, .from_rest);
        self.timers.wake(self);
    }

    const Doing = enum { running, waiting };

    /// Sends the signals of timers that are due, and sets the host's timer to what comes next.
    pub fn tick(self: *Kernel) void {
        self.tickWhile(.running);
    }

    pub fn tickWhile(self: *Kernel, doing: Doing) void {
        if (!self.timers.isActive(self)) return;
        self.timers.expire(self);
        self.armTimers(doing);
    }

    pub fn armTimers(self: *Kernel, doing: Doing) void {
        if (self.timers.nextDelayNs(self, doing == .waiting)) |ns| interrupt_module.armGuestTimer(self.interrupt, ns);
    }

    /// Before a timer is armed: the thread has what interrupts the guest for it.
    pub fn prepareTimers(self: *Kernel) error{ OutOfMemory, HostFailure }!void {
        self.hostCall();
        _ = try interrupt_module.threadTimers(std.heap.c_allocator);
    }

    pub fn cpuLimit(self: *const Kernel) ResourceLimit {
        return self.resource_limits[@intFromEnum(linux.rlimit_resource.CPU)];
    }

    /// How large a file the guest may write, in bytes.
    pub fn fileSizeLimit(self: *const Kernel) u64 {
        return self.resource_limits[@intFromEnum(linux.rlimit_resource.FSIZE)].current;
    }

    /// How many real-time signals may wait.
    pub fn queueLimit(self: *const Kernel) u64 {
        return self.resource_limits[@intFromEnum(linux.rlimit_resource.SIGPENDING)].current;
    }

    /// The sender of the guest's own signals, as siginfo has it.
    pub fn senderWord(self: *const Kernel) u64 {
        return @as(u64, self.identity.uid) << 32 | @as(u32, @bitCast(self.identity.pid));
    }

    /// Makes a signal of the kernel's pending for the guest; it acts before the guest runs on.
    pub fn raiseSignal(self: *Kernel, signal: u8) void {
        self.sendSignal(.{ .signal = signal, .code = signals_module.SI_USER, .first = self.senderWord() });
    }

    /// What does not find room in the queue still comes, once and without its particulars.
    pub fn sendSignal(self: *Kernel, entry: signals_module.Entry) void {
        if (!self.queueSignal(entry)) self.signals.raise(entry.signal);
    }

    /// To the process. False if its queue is full.
    pub fn queueSignal(self: *Kernel, entry: signals_module.Entry) bool {
        self.signalArrives();
        return self.signals.send(entry, self.queueLimit(), self.threads.first().signals.blocked);
    }

    fn signalArrives(self: *Kernel) void {
        _ = self.signals.arrivals.fetchAdd(1, .monotonic);
        self.changed();
    }

    /// To one thread. False if its queue is full.
    pub fn sendToThread(self: *Kernel, thread: *Thread, entry: signals_module.Entry) bool {
        self.signalArrives();
        return thread.signals.send(&self.signals, entry, self.queueLimit());
    }

    /// The next signal that is to act on the current thread now, with all that its handler is told.
    pub fn nextSignal(self: *Kernel) ?signals_module.Disposition {
        if (self.timers.isActive(self)) self.timers.expire(self);
        const thread = self.threads.current;
        var disposition = thread.signals.next(&self.signals, self.processSignalsOf(thread)) orelse return null;
        switch (disposition) {
            .handle => |*handling| handling.delivery.entry = self.withParticulars(handling.delivery.entry),
            else => {},
        }
        if (self.timers.isActive(self)) self.armTimers(.running);
        return disposition;
    }

    /// What is known of a signal only when it is taken: how often its timer was overrun, who is outside.
    pub fn withParticulars(self: *Kernel, entry: signals_module.Entry) signals_module.Entry {
        var told = entry;
        if (entry.timer != signals_module.Entry.no_timer) told.first |= @as(u64, self.timers.delivered(entry.timer)) << 32;
        if (entry.outside) told.first = @as(u64, self.identity.uid) << 32 | @as(u32, @bitCast(self.identity.parent));
        return told;
    }
};

pub const ResourceLimit = extern struct { current: u64, maximum: u64 };
const unlimited = std.math.maxInt(u64);

const default_resource_limits = blk: {
    var table: [16]ResourceLimit = @splat(.{ .current = unlimited, .maximum = unlimited });
    table[@intFromEnum(linux.rlimit_resource.STACK)] = .{ .current = limits.stack_default_bytes, .maximum = unlimited };
    table[@intFromEnum(linux.rlimit_resource.CORE)] = .{ .current = 0, .maximum = unlimited };
    table[@intFromEnum(linux.rlimit_resource.NOFILE)] = .{ .current = 1024, .maximum = 4096 };
    table[@intFromEnum(linux.rlimit_resource.SIGPENDING)] = .{ .current = limits.signals_queued_max, .maximum = limits.signals_queued_max };
    break :blk table;
};
