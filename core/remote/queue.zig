//! Who may use a remote, in the order in which they came. Each user has a seat: all of it, or one of the threads that the remote
//! has lent to its callers, of which as many are used at once. Whoever waits can be called away.
const std = @import("std");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const gates = @import("gates.zig");
const interrupt_module = @import("../interrupt.zig");
const Interrupt = interrupt_module.Interrupt;
const Machine = @import("../machine.zig").Machine;
const Reason = interrupt_module.Reason;

/// `alone`: nobody else meanwhile, for the embedder and for remotes that have lent no thread. `calls`: a thread that is lent for
/// calls only. `waits`: one that waits to be resumed.
pub const Seat = enum { alone, calls, waits };
/// What a seat is wanted for.
pub const Use = enum { alone, call, wake };

/// Threads by what they are lent for.
pub const Threads = struct {
    calls: u32 = 0,
    waits: u32 = 0,

    pub fn all(self: Threads) u32 {
        return self.calls + self.waits;
    }
};

pub const Queue = struct {
    lock: host.Mutex = .{},
    users: u32 = 0,
    alone: bool = false,
    lent: Threads = .{},
    free: Threads = .{},
    waiting: std.DoublyLinkedList = .{},
    /// Somebody has begun to wait: whoever keeps a seat that is not used is told.
    waits_fn: ?*const fn (queue: *Queue) void = null,

    const Waiter = struct { node: std.DoublyLinkedList.Node = .{}, use: Use, seat: Seat = .alone, granted: std.atomic.Value(u32) = .init(0) };

    /// What ends a wait: the end of the caller's run, and the embedder's wish to pause it.
    const called_away = Reason.ending | Reason.pause;

    /// Who waits, to be called away or to be asked for what it keeps itself meanwhile, of which others may be in need.
    pub const Asker = struct { interrupt: *const Interrupt, owner: *Machine };

    /// Null if the caller was called away, or the time is over.
    pub fn acquire(self: *Queue, use: Use, asker: ?Asker, wait_ns: ?u64) ?Seat {
        var waiter: Waiter = .{ .use = use };
        if (self.takeOrWait(&waiter)) return waiter.seat;
        if (self.waits_fn) |tell| tell(self);
        const deadline = host.monotonicNs() +| (wait_ns orelse std.math.maxInt(u64));
        while (waiter.granted.load(.acquire) == 0) {
            const asked = if (asker) |some| some.interrupt.pending() else 0;
            if (asked & Reason.gate != 0) {
                gates.giveBackWanted(asker.?.owner);
                continue;
            }
            const away = asked & called_away != 0;
            if (away or host.monotonicNs() >= deadline) return if (self.leave(&waiter)) null else waiter.seat;
            host.futexWait(&waiter.granted, 0, limits.remote_look_ns);
        }
        return waiter.seat;
    }

    fn fits(self: *const Queue, use: Use) ?Seat {
        if (self.alone) return null;
        const suitable = switch (use) {
            .alone => 0,
            .call => self.lent.all(),
            .wake => self.lent.waits,
        };
        if (suitable == 0) return if (self.users == 0) .alone else null;
        if (use == .call and self.free.calls > 0) return .calls;
        return if (self.free.waits > 0) .waits else null;
    }

    fn take(self: *Queue, seat: Seat) void {
        self.users += 1;
        switch (seat) {
            .alone => self.alone = true,
            .calls => self.free.calls -= 1,
            .waits => self.free.waits -= 1,
        }
    }

    fn takeOrWait(self: *Queue, waiter: *Waiter) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.waiting.first == null) if (self.fits(waiter.use)) |seat| {
            self.take(seat);
            waiter.seat = seat;
            return true;
        };
        self.waiting.append(&waiter.node);
        return false;
    }

    /// False if its turn has just come.
    fn leave(self: *Queue, waiter: *Waiter) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (waiter.granted.load(.acquire) != 0) return false;
        self.waiting.remove(&waiter.node);
        // Those behind may fit where this one did not.
        self.grant();
        return true;
    }

    /// Gives a seat back. Behind a use of all of it, `lent` says which threads wait for callers now.
    pub fn releaseAlone(self: *Queue, lent: Threads) void {
        self.lock.lock();
        defer self.lock.unlock();
        std.debug.assert(self.alone and self.users == 1);
        self.alone = false;
        self.users = 0;
        self.lent = lent;
        self.free = lent;
        self.grant();
    }

    /// `again`: its thread waits for the next caller; otherwise it is gone.
    pub fn releaseThread(self: *Queue, seat: Seat, again: bool) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.users -= 1;
        switch (seat) {
            .alone => unreachable,
            inline .calls, .waits => |kind| {
                if (again) @field(self.free, @tagName(kind)) += 1 else @field(self.lent, @tagName(kind)) -= 1;
            },
        }
        self.grant();
    }

    /// Whether somebody waits.
    pub fn isWanted(self: *Queue) bool {
        self.lock.lock();
        defer self.lock.unlock();
        return self.waiting.first != null;
    }

    /// Whether there may be several users at once.
    pub fn isShared(self: *Queue) bool {
        self.lock.lock();
        defer self.lock.unlock();
        return !self.alone and self.lent.all() > 1;
    }

    fn grant(self: *Queue) void {
        while (self.waiting.first) |node| {
            const waiter: *Waiter = @fieldParentPtr("node", node);
            const seat = self.fits(waiter.use) orelse return;
            self.take(seat);
            _ = self.waiting.popFirst();
            waiter.seat = seat;
            waiter.granted.store(1, .release);
            // Under the lock: behind it the waiter may be gone.
            host.futexWake(&waiter.granted, 1);
        }
    }
};

test "whoever waits goes on in order, as many at once as there are threads" {
    var queue: Queue = .{};
    try std.testing.expectEqual(Seat.alone, queue.acquire(.call, null, null).?);
    try std.testing.expectEqual(null, queue.acquire(.alone, null, 0));
    var interrupt: Interrupt = .{};
    interrupt.raise(Reason.abort);
    try std.testing.expectEqual(null, queue.acquire(.wake, .{ .interrupt = &interrupt, .owner = undefined }, null));
    queue.releaseAlone(.{ .calls = 1, .waits = 1 });
    try std.testing.expect(queue.isShared());
    try std.testing.expectEqual(Seat.calls, queue.acquire(.call, null, null).?);
    try std.testing.expectEqual(null, queue.acquire(.alone, null, 0));
    try std.testing.expectEqual(Seat.waits, queue.acquire(.call, null, null).?);
    try std.testing.expectEqual(null, queue.acquire(.wake, null, 0));
    queue.releaseThread(.waits, true);
    try std.testing.expectEqual(Seat.waits, queue.acquire(.wake, null, 0).?);
    queue.releaseThread(.waits, false);
    queue.releaseThread(.calls, true);
    try std.testing.expectEqual(Seat.alone, queue.acquire(.wake, null, 0).?);
    queue.releaseAlone(.{});
}
