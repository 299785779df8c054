//! One call of a remote, from its side: whose processor it has meanwhile, how it reaches its caller's memory, and, where several
//! call at once, how they take turns in the VMM.
//!
//! A machine's records are one thread's of the host at a time. Calls that run at once hold the remote's lock while the VMM acts
//! for it, and let go of it while the guest runs or sleeps; what a machine has of a processor is kept here then (`leave`, `come`).
const std = @import("std");
const linux = std.os.linux;
const access = @import("../memory/access.zig");
const host = @import("../host.zig");
const interrupt_module = @import("../interrupt.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const vcpu_module = @import("../vcpu.zig");
const vm_pool = @import("../vm_pool.zig");
const GuestAccess = access.GuestAccess;
const Interrupt = interrupt_module.Interrupt;
const Machine = @import("../machine.zig").Machine;
const Mask = @import("shown.zig").Mask;
const Reason = interrupt_module.Reason;
const remote_module = @import("remote.zig");
const Remote = remote_module.Remote;
const Thread = @import("../linux/threads.zig").Thread;

/// Lives on the stack of the thread that makes the call.
pub const Lent = struct {
    remote: *Remote,
    caller: *Machine,
    /// The first of a chain of callers, whose VM it is.
    owner: *Machine,
    /// The remotes that can be reached meanwhile.
    mask: Mask,
    /// The root table that it runs on.
    root: u64 = 0,
    /// How the caller reaches its own memory.
    outer: GuestAccess,
    /// Others may call the remote at the same time.
    is_shared: bool,
    /// The remote's thread that has the call, until it has answered.
    serving: ?*Thread = null,
    /// It waits for a reply, not for the return of a function.
    is_resumed: bool = false,
    reply: i64 = 0,
    /// The caller's buffer, of a resume.
    buffer: u64 = 0,
    length: u64 = 0,
    /// The number of the function that the caller has named; -1 if none.
    function: i64 = -1,
    /// The answer is longer than the buffer, or no result of the call that was made.
    bad_reply: bool = false,
    interrupt: Interrupt = .{},
    node: std.DoublyLinkedList.Node = .{},
    /// Not in the VMM: in the guest, or asleep.
    is_away: std.atomic.Value(bool) = .init(false),
    /// `Threads.changes` when it went to sleep; null while it does not.
    sleeps_since: ?u64 = null,
    kept: ?Kept = null,

    /// What a machine has of a processor.
    const Kept = struct { vcpu: vcpu_module.Vcpu, current: *Thread, stepping: bool, gives_way: bool, fault_repeats: u32, fault_address: u64, fault_rip: u64, entered_tsc: u64 };

    /// The remote acts by this call, on its processor.
    pub fn act(self: *Lent) void {
        const machine = self.remote.machine;
        machine.vcpu.vm = &self.owner.vm;
        machine.vcpu.exception_stack = self.owner.vcpu.exception_stack;
        self.interrupt.outer = self.caller.kernel.interrupt;
        self.interrupt.base = &machine.interrupt;
        // What is the thread's own is far away in a shared library: the caller knows it.
        self.interrupt.thread.store(self.interrupt.outer.?.thread.load(.monotonic), .seq_cst);
        self.interrupt.has_timers = true;
        // Nobody else knows of it yet, and the VM stays where it is meanwhile.
        self.interrupt.run = self.owner.vm.run;
        self.remote.enlist(self);
        self.place(machine);
        // What the call before has left is over with it.
        machine.gives_way = false;
        machine.stepping = false;
        machine.kernel.gives_way = false;
    }

    fn place(self: *Lent, machine: *Machine) void {
        const kernel = &machine.kernel;
        kernel.lent = self;
        kernel.memory = self.memory();
        kernel.interrupt = &self.interrupt;
        kernel.threads.acting = self;
    }

    /// The call is over.
    pub fn retire(self: *Lent) void {
        const machine = self.remote.machine;
        self.unbind();
        displace(machine);
        self.remote.tellOthers(self);
        self.remote.dismiss(self);
        interrupt_module.disarmGuest(&self.interrupt);
    }

    fn displace(machine: *Machine) void {
        const kernel = &machine.kernel;
        kernel.lent = null;
        kernel.memory = machine.space.access();
        kernel.interrupt = &machine.interrupt;
        kernel.threads.acting = null;
        machine.vcpu.vm = &machine.vm;
        machine.vcpu.exception_stack = machine.systemPage(.exception_stack);
    }

    /// The thread serves this call, and runs by it alone.
    pub fn bind(self: *Lent, thread: *Thread) void {
        self.serving = thread;
        if (self.is_shared) thread.bound = self;
    }

    /// It has answered: it is not this call's any more.
    pub fn unbind(self: *Lent) void {
        const thread = self.serving orelse return;
        thread.bound = null;
        self.serving = null;
    }

    /// Another call has brought the remote to its end.
    pub fn isOver(self: *const Lent) bool {
        return self.is_shared and self.remote.death != null;
    }

    /// Enters the guest.
    pub fn enter(self: *Lent) vcpu_module.Exit {
        const machine = self.remote.machine;
        if (!self.is_shared) return machine.vcpu.enter();
        self.owner.shown.grow(&self.owner.vm, machine.window().?, machine.frames.blocks.items.len * limits.window_size) catch return .{ .broken = "the host refused memory slots" };
        machine.kernel.threads.current.away = true;
        self.leave(null);
        const exit = self.kept.?.vcpu.enter();
        self.come();
        machine.kernel.threads.current.away = false;
        return exit;
    }

    /// Waits as `interrupt_module.wait` does.
    pub fn wait(self: *Lent, entries: *std.ArrayList(linux.pollfd), timeout_ns: ?u64) interrupt_module.WaitResult {
        if (!self.is_shared) return interrupt_module.wait(&self.interrupt, entries.items, timeout_ns);
        const threads = &self.remote.machine.kernel.threads;
        // What is asked of the host is this call's own while others act.
        const own = entries.*;
        entries.* = .empty;
        self.leave(threads.changes);
        const result = interrupt_module.wait(&self.interrupt, own.items, timeout_ns);
        self.come();
        entries.deinit(self.remote.machine.kernel.allocator);
        entries.* = own;
        // Its thread may have been woken meanwhile, and is to be loaded then.
        self.remote.machine.kernel.gives_way = true;
        return result;
    }

    /// Lets others act. Those who have something to do now are told.
    fn leave(self: *Lent, sleeps_since: ?u64) void {
        const machine = self.remote.machine;
        const threads = &machine.kernel.threads;
        self.kept = .{
            .vcpu = machine.vcpu,
            .current = threads.current,
            .stepping = machine.stepping,
            .gives_way = machine.gives_way,
            .fault_repeats = machine.fault_repeats,
            .fault_address = machine.fault_address,
            .fault_rip = machine.fault_rip,
            .entered_tsc = machine.kernel.entered_tsc,
        };
        self.sleeps_since = sleeps_since;
        displace(machine);
        threads.current = threads.first();
        self.remote.tellOthers(self);
        self.is_away.store(true, .seq_cst);
        self.remote.lock.unlock();
    }

    fn come(self: *Lent) void {
        self.is_away.store(false, .seq_cst);
        self.remote.lock.lock();
        const machine = self.remote.machine;
        const kept = &self.kept.?;
        self.place(machine);
        const exits = machine.vcpu.exits;
        machine.vcpu = kept.vcpu;
        machine.vcpu.exits = @max(exits, kept.vcpu.exits);
        machine.kernel.threads.current = kept.current;
        machine.stepping = kept.stepping;
        machine.gives_way = kept.gives_way;
        machine.fault_repeats = kept.fault_repeats;
        machine.fault_address = kept.fault_address;
        machine.fault_rip = kept.fault_rip;
        machine.kernel.entered_tsc = kept.entered_tsc;
        self.sleeps_since = null;
    }

    /// Whether there is something for it to do that it does not know of: its thread can go on, or who sleeps looks again.
    pub fn hasNews(self: *const Lent) bool {
        const threads = &self.remote.machine.kernel.threads;
        if (self.sleeps_since) |changes| return changes != threads.changes or threads.anyFor(self);
        const thread = self.serving orelse return false;
        return thread.state == .runnable and thread != self.kept.?.current;
    }

    /// Memory of the remote and of all its callers.
    pub fn memory(self: *Lent) GuestAccess {
        return .{ .context = self, .piece_fn = pieceOf };
    }

    fn pieceOf(context: *anyopaque, address: u64, length: usize, intent: access.Intent) ?access.Piece {
        const self: *Lent = @ptrCast(@alignCast(context));
        const space = &self.remote.machine.space;
        const own = space.area.contains(address, 1);
        const reached = if (own) space.access() else self.outer;
        return reached.piece_fn(reached.context, address, length, intent);
    }

    /// Memory of the caller's own; its address, null if it has no more.
    pub fn allocate(self: *Lent, bytes: u64) ?i64 {
        if (bytes == 0 or bytes > layout.user_end) return null;
        const alignment: u64 = if (bytes >= limits.page_size) limits.page_size else 16;
        const address = self.caller.allocate(bytes, alignment) orelse return null;
        return @intCast(address);
    }
};

/// The machine whose memory an address is, as whoever runs sees it.
pub fn machineAt(machine: *Machine, address: u64) *Machine {
    var at = machine;
    while (at.kernel.lent) |lent| : (at = lent.caller) {
        if (layout.windowOf(address) == at.window()) return at;
    }
    return at;
}

/// The first of a chain of callers, whose processor it is.
pub fn ownerOf(machine: *Machine) *Machine {
    return if (machine.kernel.lent) |lent| lent.owner else machine;
}

/// Whether a call of the remote is under way in the chain that the machine is the end of.
pub fn isInChain(machine: *const Machine, remote: *const Remote) bool {
    var at = machine;
    while (at.kernel.lent) |lent| : (at = lent.caller) if (lent.remote == remote) return true;
    return false;
}

/// What a caller asks for: a remote that waits, or a function, to be jumped to or to be named to a thread that waits.
pub const Wanted = struct { remote: []const u8, function: ?[]const u8, by: enum { call, name } };

/// The remotes of a chain wait for another one from now on: false if that one's own chain waits for one of them, in which case none
/// of both would ever go on.
pub fn beginToWait(machine: *Machine, remote: *Remote) bool {
    if (machine.kernel.lent == null) return true;
    remote_module.waits_lock.lock();
    defer remote_module.waits_lock.unlock();
    var next: *Remote = remote;
    for (0..chain_max) |_| {
        next = next.wants orelse break;
        if (isInChain(machine, next)) return false;
    }
    setWants(machine, remote);
    return true;
}

pub fn endToWait(machine: *Machine) void {
    if (machine.kernel.lent == null) return;
    remote_module.waits_lock.lock();
    defer remote_module.waits_lock.unlock();
    setWants(machine, null);
}

/// Each remote of a chain has a window of its own.
const chain_max = layout.remote_windows;

fn setWants(machine: *Machine, remote: ?*Remote) void {
    var at = machine;
    while (at.kernel.lent) |lent| : (at = lent.caller) lent.remote.wants = remote;
}

/// Whether a remote of that name offers a function. Nobody is waited for.
pub fn offers(machine: *Machine, wanted: Wanted) bool {
    const held = machine.connections.find(wanted.remote) orelse return false;
    const remote = held.resolve() catch return false;
    remote.exports_lock.lock();
    defer remote.exports_lock.unlock();
    return remote.death == null and isOffered(remote, wanted);
}

fn isOffered(remote: *const Remote, wanted: Wanted) bool {
    const function = wanted.function orelse return true;
    const exports = &remote.machine.kernel.exports;
    const index = exports.find(function) orelse return false;
    return wanted.by == .name or exports.list.items[index].address != 0;
}
