//! The emulated kernel's state of one machine, as the system-call handlers see it.
//!
//! A handler is `fn (kernel: *Kernel, args: Args) i64`: a result, or a negative errno. It reads guest memory only through
//! `kernel.memory`, counts each host call it causes with `kernel.hostCall()`, and blocks only through `kernel.waitForHost`.
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
const signals_module = @import("signals.zig");
const Scheduling = @import("scheduling.zig").Scheduling;
const Signals = signals_module.Signals;
const timerfd = @import("events/timerfd.zig");
const timers_module = @import("timers.zig");
const Timers = timers_module.Timers;

pub const Args = [6]u64;

/// A handler's answer for a failed call.
pub fn fail(code: linux.E) i64 {
    return -@as(i64, @intFromEnum(code));
}

pub const Wait = interrupt_module.WaitResult;

/// Why the guest stops running, as its own system calls or the kernel decide it.
pub const Stop = union(enum) {
    exit: u8,
    ready,
    /// Another program is to take this one's place.
    exec: *exec.Prepared,
};

pub const Identity = struct { uid: u32 = 1000, gid: u32 = 1000, pid: i32 = 1000, parent: i32 = 1 };

pub const Counters = struct {
    exits: u64 = 0,
    syscalls: u64 = 0,
    faults: u64 = 0,
    host_calls: u64 = 0,
    /// Time-stamp counter cycles spent in runs and calls.
    cycles: u64 = 0,
    by_number: [limits.system_call_numbers]u32 = @splat(0),
    unsupported: [limits.system_call_numbers]u32 = @splat(0),
};

pub const Segments = struct { fs: u64 = 0, gs: u64 = 0 };

pub const Kernel = struct {
    allocator: std.mem.Allocator,
    memory: GuestAccess,
    space: *AddressSpace,
    files: FileTable,
    signals: Signals = .{},
    timers: Timers = .{},
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
    name: [16]u8 = @splat(0),
    /// What /proc/self tells: the program's path, its file, its arguments with a NUL behind each.
    program_path: []const u8 = "",
    program_file: ?*HostFile = null,
    command_line: []const u8 = "",
    clear_child_tid: u64 = 0,
    stop: ?Stop = null,
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
        .signals = .copied,
        .timers = .copied,
        .clock = .kept,
        .interrupt = .kept,
        .counters = .kept,
        .identity = .copied,
        .scheduling = .copied,
        .umask = .copied,
        .segments = .copied,
        .current_segments = .copied,
        .resource_limits = .copied,
        .name = .copied,
        .program_path = .copied,
        .program_file = .copied,
        .command_line = .copied,
        .clear_child_tid = .copied,
        .stop = .copied,
        .registers_replaced = .copied,
        .stack_pointer = .kept,
        .entered_tsc = .kept,
        .cycles_forgotten = .restored,
        .cycles_before = .restored,
    };

    pub fn deinit(self: *Kernel) void {
        self.forgetStop();
        self.files.deinit();
    }

    /// Forgets a reason to stop that nobody acted on.
    pub fn forgetStop(self: *Kernel) void {
        const stop = self.stop orelse return;
        self.stop = null;
        if (stop == .exec) stop.exec.discard(self.allocator);
    }

    /// An image's kernel: all but open files is copied, and what belongs to the machine alone is not to be used.
    pub fn freeze(self: *const Kernel) frozen.Error!Kernel {
        var image = self.*;
        image.timers.putToSleep(self);
        image.files = try frozen.copy(&self.files, .{ null, null });
        if (!self.timers.asleep) timerfd.shift(&image.files, self, .to_rest);
        return image;
    }

    /// Puts everything back to the image's state.
    pub fn restore(self: *Kernel, image: *const Kernel, outputs: frozen.Outputs) frozen.Error!void {
        const before = if (planted.enabled) self.* else {};
        reset_fields.copy(Kernel, self, image);
        if (planted.enabled) self.plant(&before);
        self.cycles_forgotten = self.counters.cycles;
        self.cycles_before = image.cpuCycles();
        try frozen.restore(&self.files, &image.files, outputs);
    }

    fn plant(self: *Kernel, before: *const Kernel) void {
        planted.keeps(.scheduling_kept, self, "scheduling", before);
        planted.keeps(.umask_kept, self, "umask", before);
        planted.keeps(.limit_kept, self, "resource_limits", before);
        planted.keeps(.name_kept, self, "name", before);
        planted.keeps(.thread_address_kept, self, "clear_child_tid", before);
        planted.keeps(.handler_kept, &self.signals, "actions", &before.signals);
        planted.keeps(.mask_kept, &self.signals, "blocked", &before.signals);
        planted.keeps(.pending_kept, &self.signals, "queue", &before.signals);
        planted.keeps(.pending_kept, &self.signals, "queued", &before.signals);
        planted.keeps(.pending_kept, &self.signals, "queued_set", &before.signals);
        planted.keeps(.timer_kept, self, "timers", before);
        planted.keeps(.alternate_stack_kept, &self.signals, "alternate", &before.signals);
    }

    /// What another program finds changed (execve(2), "Effect on process attributes"): signals that were handled have their
    /// default action again, and what is to be closed is closed.
    pub fn prepareForProgram(self: *Kernel, name: []const u8) void {
        self.signals.prepareForProgram();
        self.timers.prepareForProgram();
        self.files.closeForProgram();
        self.clear_child_tid = 0;
        self.setName(std.fs.path.basename(name));
    }

    /// What /proc/self/comm shows, cut to its length.
    pub fn setName(self: *Kernel, name: []const u8) void {
        self.name = @splat(0);
        const count = @min(name.len, self.name.len - 1);
        @memcpy(self.name[0..count], name[0..count]);
    }

    /// CPU time of the machine: what it has spent in runs and calls but for waiting. Asked while it runs.
    pub fn cpuTimeNs(self: *const Kernel) u64 {
        return self.clock.cyclesToNs(self.cpuCycles() + (host.rdtsc() -% self.entered_tsc));
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

    /// Blocks until the host descriptor has one of `events`, the time is over, or the guest is to do something else: stop,
    /// or act on a signal. With `fd` -1 it only waits. The only place where a handler may block.
    pub fn waitForHost(self: *Kernel, fd: i32, events: i16, timeout_ns: ?u64) Wait {
        var descriptors = [_]linux.pollfd{.{ .fd = fd, .events = events, .revents = 0 }};
        return self.waitForAny(if (fd < 0) descriptors[0..0] else &descriptors, timeout_ns);
    }

    pub fn waitForAny(self: *Kernel, descriptors: []linux.pollfd, timeout_ns: ?u64) Wait {
        self.hostCall();
        const deadline: ?u64 = if (timeout_ns) |ns| host.monotonicNs() +| ns else null;
        const result: Wait = while (true) {
            if (self.endsWait(.waiting)) break .interrupted;
            const left = if (deadline) |at| at -| host.monotonicNs() else null;
            const before = host.rdtsc();
            const waited = interrupt_module.wait(self.interrupt, descriptors, left);
            self.entered_tsc +%= host.rdtsc() -% before;
            if (waited != .interrupted) break waited;
        };
        if (self.timers.isActive(self)) self.armTimers(.running);
        return result;
    }

    /// Before the guest runs for the first time since it was frozen: the spans of timers go on from now.
    pub fn wakeTimers(self: *Kernel) void {
        if (!self.timers.asleep) return;
        timerfd.shift(&self.files, self, .from_rest);
        self.timers.wake(self);
    }

    const Doing = enum { running, waiting };

    /// Whether a wait that was interrupted is over; if not, it goes on as if nothing had been.
    pub fn endsWait(self: *Kernel, doing: Doing) bool {
        const Reason = interrupt_module.Reason;
        const passing = Reason.signal | Reason.timer | Reason.wake;
        // Reasons first: what is noted behind this is found by the next look.
        self.interrupt.clear(passing);
        self.tickWhile(doing);
        return self.interrupt.pending() & ~passing != 0 or self.signals.endsWait();
    }

    /// Sends the signals of timers that are due, and sets the host's timer to what comes next.
    pub fn tick(self: *Kernel) void {
        self.tickWhile(.running);
    }

    fn tickWhile(self: *Kernel, doing: Doing) void {
        if (!self.timers.isActive(self)) return;
        self.timers.expire(self);
        self.armTimers(doing);
    }

    fn armTimers(self: *Kernel, doing: Doing) void {
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
        if (!self.signals.send(entry, self.queueLimit())) self.signals.raise(entry.signal);
    }

    /// The next signal that is to act now, with all that its handler is told.
    pub fn nextSignal(self: *Kernel) ?signals_module.Disposition {
        if (self.timers.isActive(self)) self.timers.expire(self);
        var disposition = self.signals.next() orelse return null;
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
