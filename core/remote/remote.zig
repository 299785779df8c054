//! A remote: a machine whose functions other machines call. Whoever is connected keeps its memory, which their VMs show, until
//! they have let go of it, also when the embedder has closed it.
const std = @import("std");
const gates = @import("gates.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const remote_calls = @import("../linux/remote_calls.zig");
const Interrupt = @import("../interrupt.zig").Interrupt;
const Lent = @import("lending.zig").Lent;
const Machine = @import("../machine.zig").Machine;
const queue_module = @import("queue.zig");
const Queue = queue_module.Queue;
const Reason = @import("../interrupt.zig").Reason;
const vm_pool = @import("../vm_pool.zig");

/// Why a remote cannot be called any more.
pub const Death = enum { closed, exited, killed, out_of_memory, left_in_the_middle, broken };

pub const Seat = queue_module.Seat;

/// Of who waits for what, in the whole process.
pub var waits_lock: host.Mutex = .{};

pub const Remote = struct {
    allocator: std.mem.Allocator,
    references: std.atomic.Value(u32) = .init(1),
    machine: *Machine,
    queue: Queue = .{},
    /// Held by whoever has a seat while the VMM acts for the remote.
    lock: host.Mutex = .{},
    death: ?Death = null,
    /// Who has made the last call, to be compared with only.
    last_caller: ?*const Machine = null,
    /// Held while what it offers changes, which others look at whoever has a seat.
    exports_lock: host.Mutex = .{},
    /// What took no long time when it was last called: exported functions by their number, and a resume that names none.
    quick: std.StaticBitSet(limits.exports_max + 1) = .initEmpty(),
    /// What the chain of calls that it is part of waits for. Under `waits_lock`.
    wants: ?*Remote = null,
    /// Calls under way.
    calls: std.DoublyLinkedList = .{},
    /// Changes whenever the machine has given page tables up, whose frames may hold others from then on. What a VM remembers of the
    /// remote as of before is wrong.
    age: u32 = 0,

    /// The machine is the remote's from now on.
    pub fn create(allocator: std.mem.Allocator, machine: *Machine) error{OutOfMemory}!*Remote {
        std.debug.assert(machine.window() != null and machine.remote == null);
        const self = try allocator.create(Remote);
        self.* = .{ .allocator = allocator, .machine = machine };
        // A fork has the threads that its image had.
        self.queue.waits_fn = askBack;
        self.queue.lent = self.lentThreads();
        self.queue.free = self.queue.lent;
        machine.remote = self;
        return self;
    }

    fn askBack(queue: *Queue) void {
        gates.askBack(@fieldParentPtr("queue", queue));
    }

    pub fn retain(self: *Remote) *Remote {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn letGo(self: *Remote) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        self.machine.destroy();
        self.allocator.destroy(self);
    }

    /// Ends the calls under way and lets go of the machine.
    pub fn close(self: *Remote) void {
        self.machine.interrupt.request(Reason.close);
        self.kick();
        _ = self.acquire(.alone, null, null);
        self.death = .closed;
        self.machine.endOutputs();
        // Remotes that call each other, or themselves, would keep each other for ever.
        vm_pool.detach(self.machine);
        self.machine.shown.deinit();
        self.machine.connections.deinit(self.machine.allocator);
        self.machine.connections = .{};
        self.release(.alone);
        self.letGo();
    }

    /// A seat, and the right to act; null if the caller was called away, or the time is over.
    pub fn acquire(self: *Remote, use: queue_module.Use, asker: ?Queue.Asker, wait_ns: ?u64) ?Seat {
        const seat = self.queue.acquire(use, asker, wait_ns) orelse return null;
        self.lock.lock();
        return seat;
    }

    /// Does nothing for the remote any more, but keeps the seat.
    pub fn stepBack(self: *Remote) void {
        self.lock.unlock();
    }

    /// The same as `acquire` for one who has the seat.
    pub fn stepIn(self: *Remote) void {
        self.lock.lock();
    }

    pub fn release(self: *Remote, seat: Seat) void {
        return self.releaseAs(seat, .waiting);
    }

    /// The thread that was used may be `gone`.
    pub fn releaseAs(self: *Remote, seat: Seat, thread: enum { waiting, gone }) void {
        const lent = if (seat == .alone) self.lentThreads() else undefined;
        self.lock.unlock();
        if (seat == .alone) self.queue.releaseAlone(lent) else self.queue.releaseThread(seat, thread == .waiting);
    }

    /// Whether several may call it at once. They read one clock, so their processors must count alike.
    pub fn isShared(self: *Remote) bool {
        return self.machine.platform.time_stamp_counter != .own and self.queue.isShared();
    }

    fn lentThreads(self: *const Remote) queue_module.Threads {
        var lent: queue_module.Threads = .{};
        for (self.machine.kernel.threads.list.items) |thread| switch (remote_calls.lentFor(thread) orelse continue) {
            .calls => lent.calls += 1,
            .waits => lent.waits += 1,
        };
        return lent;
    }

    pub fn enlist(self: *Remote, lent: *Lent) void {
        self.calls.append(&lent.node);
    }

    pub fn dismiss(self: *Remote, lent: *Lent) void {
        self.calls.remove(&lent.node);
    }

    /// Those who have something to do that they do not know of are told.
    pub fn tellOthers(self: *Remote, but: *const Lent) void {
        var node = self.calls.first;
        while (node) |some| : (node = some.next) {
            const lent: *Lent = @fieldParentPtr("node", some);
            if (lent != but and lent.is_away.load(.seq_cst) and lent.hasNews()) lent.interrupt.request(Reason.wake | Reason.slice);
        }
    }

    /// Gets all calls under way out of the guest and out of their waits, to look what is wanted of them; the next ones are ordinary.
    pub fn kick(self: *Remote) void {
        gates.askBack(self);
        self.lock.lock();
        defer self.lock.unlock();
        self.kickLocked();
    }

    pub fn kickLocked(self: *Remote) void {
        var node = self.calls.first;
        while (node) |some| : (node = some.next) {
            const lent: *Lent = @fieldParentPtr("node", some);
            lent.interrupt.request(Reason.wake);
        }
    }

    /// The machine's memory is to grow: whoever runs it shows more of it before anybody can touch that.
    pub fn showGrowth(self: *Remote, bytes: u64) host.Error!void {
        const acting = self.machine.kernel.lent orelse return;
        try acting.owner.shown.grow(&acting.owner.vm, self.machine.window().?, bytes);
        if (!acting.is_shared) return;
        // The others show it when they enter the guest again, so they have to leave it first.
        self.kickLocked();
        var node = self.calls.first;
        while (node) |some| : (node = some.next) {
            const lent: *Lent = @fieldParentPtr("node", some);
            while (lent != acting and lent.is_away.load(.seq_cst) and lent.sleeps_since == null) std.atomic.spinLoopHint();
        }
    }
};
