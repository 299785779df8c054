//! The threads of one machine: what each has of its own, which one acts, and which is to run next.
//!
//! A machine has one processor. The current thread's segment bases and vector state are in it; all others hold theirs here,
//! and general registers are here whenever a thread does not run. A call of a guest function runs as a thread of its own
//! in the first thread's name, which stands still meanwhile.
//! Not here: switching (`../scheduler.zig`), the system calls (`thread_calls.zig`), waiting (`waiting.zig`).
const std = @import("std");
const kvm = @import("../kvm.zig");
const Lent = @import("../remote/lending.zig").Lent;
const limits = @import("../limits.zig");
const planted = @import("../planted.zig");
const signals_module = @import("signals.zig");
const waiting = @import("waiting.zig");
const Vectors = @import("../vectors.zig").Vectors;

pub const Segments = struct { fs: u64 = 0, gs: u64 = 0 };

pub const State = enum {
    runnable,
    /// Its system call waits for something.
    waiting,
    /// Only the first thread stays when it has ended, as the process's name.
    ended,
};

pub const Thread = struct {
    id: i32,
    state: State = .runnable,
    /// Of two that have had the same time, the one with the lower number runs first; so do those that wait.
    turn: u64 = 0,
    /// Processor time that it has had, in cycles; who has slept is set on to what the others have had. Whoever has had
    /// least runs next.
    had: u64 = 0,
    regs: kvm.Regs = .{},
    /// Those in the processor are newer while this is the current thread.
    segments: Segments = .{},
    vectors: Vectors = .{},
    signals: signals_module.ThreadSignals = .{},
    /// The system call that waits.
    call: waiting.Call = .{},
    /// What that waits for of the host's. Never part of an image: a call that waits is tried again in every fork.
    asks: waiting.Asks = .{},
    /// Of a remote that several call at once: the call that it serves, by which alone it is run, and whether it is in the guest on
    /// another processor now.
    bound: ?*const Lent = null,
    away: bool = false,
    /// A system call whose result is in the registers already, for a handler to make it again.
    answered: ?Answered = null,
    /// The call that it made last had a time of its own to end.
    timed: bool = false,
    clear_child_tid: u64 = 0,
    robust_list: u64 = 0,
    name: [16]u8 = @splat(0),
    /// Cycles of the machine's CPU time that were this thread's, up to its last switch.
    cycles: u64 = 0,

    pub const Answered = struct { number: u64, result: i64 };

    pub fn isAlive(self: *const Thread) bool {
        return self.state != .ended;
    }

    /// What /proc/self/comm shows, cut to its length.
    pub fn setName(self: *Thread, name: []const u8) void {
        self.name = @splat(0);
        const count = @min(name.len, self.name.len - 1);
        @memcpy(self.name[0..count], name[0..count]);
    }

    /// Takes over another thread's state, but for memory of its own.
    fn copyFrom(self: *Thread, from: *const Thread) void {
        const vectors = self.vectors;
        const asks = self.asks;
        self.* = from.*;
        self.vectors = vectors;
        self.vectors.current = from.vectors.current;
        self.asks = asks;
        self.asks.clear();
        // The other kernel's files are not this one's: the descriptor is looked up anew.
        self.call.held = null;
        self.bound = null;
        self.away = false;
    }
};

pub const Threads = struct {
    allocator: std.mem.Allocator,
    /// The first thread, then the others in the order in which they were made.
    list: std.ArrayList(*Thread) = .empty,
    /// In whose name the machine acts; its segment bases and vector state are in the processor if those of any are.
    current: *Thread,
    /// Runs functions that the embedder calls. Not in the list.
    caller: *Thread,
    /// Of a remote: the call by which it runs.
    acting: ?*const Lent = null,
    /// A call is under way, and the first thread stands still.
    calling: bool = false,
    /// A call begins with the vector state that the program has then; otherwise with its own from the call before.
    caller_fresh: bool = true,
    next_id: i32 = 0,
    /// Grows with every wait and every wake-up: whoever is served first has the lowest number.
    turns: u64 = 0,
    /// Grows with everything that a waiting thread may be waiting for.
    changes: u64 = 0,
    /// `changes` when those that wait were tried last.
    served: u64 = 0,
    /// The least time that any thread that could run has had, never less than before.
    least_had: u64 = 0,
    /// The machine's CPU cycles when time was counted last.
    switched_at: u64 = 0,
    slice_began_ns: u64 = 0,
    /// Who could run has changed since the host was asked to interrupt the guest for it.
    replan: bool = false,

    pub fn init(allocator: std.mem.Allocator, first_id: i32) error{OutOfMemory}!Threads {
        const main = try allocator.create(Thread);
        errdefer allocator.destroy(main);
        main.* = .{ .id = first_id };
        const caller = try allocator.create(Thread);
        errdefer allocator.destroy(caller);
        caller.* = .{ .id = first_id, .state = .ended };
        var self: Threads = .{ .allocator = allocator, .current = main, .caller = caller, .next_id = first_id + 1 };
        try self.list.append(allocator, main);
        return self;
    }

    pub fn deinit(self: *Threads) void {
        for (self.list.items) |thread| self.destroy(thread);
        self.destroy(self.caller);
        self.list.deinit(self.allocator);
    }

    fn destroy(self: *Threads, thread: *Thread) void {
        thread.vectors.deinit(self.allocator);
        thread.asks.deinit(self.allocator);
        self.allocator.destroy(thread);
    }

    /// The thread that bears the process's id.
    pub fn first(self: *const Threads) *Thread {
        return self.list.items[0];
    }

    /// The thread of an id that is alive; during a call, the call's thread has the first one's id.
    pub fn find(self: *const Threads, id: i32) ?*Thread {
        if (self.calling and id == self.caller.id) return self.caller;
        for (self.list.items) |thread| if (thread.id == id and thread.isAlive()) return thread;
        return null;
    }

    pub const MakeError = error{ OutOfMemory, TooMany };

    /// A thread as its parent is, but for what a new one has of its own.
    pub fn make(self: *Threads, parent: *const Thread) MakeError!*Thread {
        if (self.list.items.len >= limits.threads_max) return error.TooMany;
        try self.list.ensureUnusedCapacity(self.allocator, 1);
        const thread = try self.allocator.create(Thread);
        thread.* = .{
            .id = self.takeId(),
            .turn = self.takeTurn(),
            .had = parent.had,
            .regs = parent.regs,
            .segments = parent.segments,
            .signals = .{ .blocked = parent.signals.saved_mask orelse parent.signals.blocked },
            .name = parent.name,
        };
        self.list.appendAssumeCapacity(thread);
        self.replan = true;
        return thread;
    }

    /// The next id that no thread has.
    fn takeId(self: *Threads) i32 {
        while (true) {
            const id = self.next_id;
            self.next_id = if (id >= limits.thread_id_max) self.first().id + 1 else id + 1;
            for (self.list.items) |thread| {
                if (thread.id == id) break;
            } else return id;
        }
    }

    pub fn takeTurn(self: *Threads) u64 {
        self.turns += 1;
        return self.turns;
    }

    /// The thread's own end. The first stays as the process's name; the current one's place in the processor is nobody's.
    pub fn end(self: *Threads, thread: *Thread) void {
        thread.state = .ended;
        if (thread == self.first()) return;
        if (self.current == thread) self.current = self.first();
        for (self.list.items, 0..) |other, index| if (other == thread) {
            _ = self.list.orderedRemove(index);
            break;
        };
        self.destroy(thread);
    }

    /// Ends all threads but the current one, which becomes the first (execve). In a call, the first one goes on.
    pub fn keepOnlyCurrent(self: *Threads) void {
        const id = self.first().id;
        const kept = if (self.calling) self.first() else self.current;
        if (self.calling) {
            kept.signals.takeOver(&self.caller.signals);
            self.caller.state = .ended;
            self.calling = false;
        }
        kept.state = .runnable;
        kept.call = .{};
        kept.answered = null;
        kept.asks.clear();
        for (self.list.items) |thread| if (thread != kept) self.destroy(thread);
        self.list.items.len = 1;
        self.list.items[0] = kept;
        kept.id = id;
        self.current = kept;
    }

    pub fn countAlive(self: *const Threads) usize {
        var alive: usize = 0;
        for (self.list.items) |thread| alive += @intFromBool(thread.isAlive());
        return alive;
    }

    /// A thread stands still while a call runs in its name.
    pub fn mayRun(self: *const Threads, thread: *const Thread) bool {
        if (thread.state != .runnable or thread.away or (self.calling and thread == self.first())) return false;
        return thread.bound == null or thread.bound == self.acting;
    }

    /// Whether a call that sleeps has somebody to run.
    pub fn anyFor(self: *const Threads, acting: *const Lent) bool {
        for (self.list.items) |thread| {
            if (thread.state == .runnable and !thread.away and (thread.bound == null or thread.bound == acting)) return true;
        }
        return false;
    }

    /// Who is to run next: a call that is under way before all others, which run while it waits.
    pub fn next(self: *const Threads) ?*Thread {
        if (self.calling and self.caller.state == .runnable) return self.caller;
        var found: ?*Thread = null;
        for (self.list.items) |thread| {
            if (!self.mayRun(thread)) continue;
            if (found == null or isBefore(thread, found.?)) found = thread;
        }
        return found;
    }

    fn isBefore(one: *const Thread, other: *const Thread) bool {
        return if (one.had != other.had) one.had < other.had else one.turn < other.turn;
    }

    /// Counts the time that the current thread has had.
    pub fn account(self: *Threads, now_cycles: u64) void {
        // Processors that run at once do not count together.
        const spent = now_cycles -| self.switched_at;
        self.switched_at = now_cycles;
        self.current.cycles +%= spent;
        self.current.had +%= spent;
        self.least_had = @max(self.least_had, if (self.next()) |thread| thread.had else self.current.had);
    }

    /// The current thread wants all others that can run to run first.
    pub fn yield(self: *Threads) void {
        self.current.turn = self.takeTurn();
        for (self.list.items) |thread| if (self.mayRun(thread)) {
            self.current.had = @max(self.current.had, thread.had);
        };
    }

    /// Whether another thread than the current one could run.
    pub fn anyOther(self: *const Threads) bool {
        if (self.list.items.len == 1 and !self.calling) return false;
        if (self.calling and self.caller.state == .runnable) return self.caller != self.current;
        for (self.list.items) |thread| if (thread != self.current and self.mayRun(thread)) return true;
        return false;
    }

    /// The thread's system call is over; a result was put where it belongs by the caller.
    pub fn wake(self: *Threads, thread: *Thread) void {
        thread.state = .runnable;
        thread.turn = self.takeTurn();
        // Who has slept comes soon, but gets no more than others for it.
        thread.had = @max(thread.had, self.least_had);
        self.replan = true;
    }

    /// The current thread's system call waits.
    pub fn sleep(self: *Threads, thread: *Thread) void {
        thread.state = .waiting;
        thread.turn = self.takeTurn();
        self.replan = true;
    }

    pub fn anyWaiting(self: *const Threads) bool {
        for (self.list.items) |thread| if (thread.state == .waiting) return true;
        return self.caller.state == .waiting;
    }

    /// The threads that wait, in the order in which they began to.
    pub const Waiting = struct {
        found: [limits.threads_max + 1]*Thread,
        count: usize,
        at: usize = 0,

        fn add(self: *Waiting, thread: *Thread) void {
            self.found[self.count] = thread;
            self.count += 1;
        }

        pub fn next(self: *Waiting) ?*Thread {
            if (self.at == self.count) return null;
            self.at += 1;
            return self.found[self.at - 1];
        }

        fn before(_: void, one: *Thread, other: *Thread) bool {
            return one.turn < other.turn;
        }
    };

    pub fn waitingInOrder(self: *const Threads) Waiting {
        // What is not found is not looked at, and filling it takes longer than many a call.
        @setRuntimeSafety(false);
        var all: Waiting = .{ .found = undefined, .count = 0 };
        for (self.list.items) |thread| {
            // The first thread stands still while a call runs in its name.
            const stands = self.calling and thread == self.first();
            if (thread.state == .waiting and !stands) all.add(thread);
        }
        if (self.calling and self.caller.state == .waiting) all.add(self.caller);
        std.sort.insertion(*Thread, all.found[0..all.count], {}, Waiting.before);
        return all;
    }

    /// A copy for an image. Vector state is the caller's to bring.
    pub fn copy(from: *const Threads) error{OutOfMemory}!Threads {
        var self = from.*;
        self.list = .empty;
        errdefer self.deinitList();
        for (from.list.items) |thread| try self.list.append(self.allocator, try copyThread(self.allocator, thread));
        self.caller = try copyThread(self.allocator, from.caller);
        self.current = self.list.items[from.indexOfCurrent()];
        // Everyone who waits looks again: what they asked of the host is not copied.
        self.changes += 1;
        return self;
    }

    fn deinitList(self: *Threads) void {
        for (self.list.items) |thread| self.destroy(thread);
        self.list.deinit(self.allocator);
    }

    fn copyThread(allocator: std.mem.Allocator, from: *const Thread) error{OutOfMemory}!*Thread {
        const thread = try allocator.create(Thread);
        thread.* = .{ .id = from.id };
        thread.copyFrom(from);
        return thread;
    }

    /// Where the current thread stands in the list: no call is under way while a machine is frozen or put back.
    fn indexOfCurrent(self: *const Threads) usize {
        return std.mem.indexOfScalar(*Thread, self.list.items, self.current) orelse 0;
    }

    fn plant(thread: *Thread, before: *const Thread) void {
        planted.keeps(.waiting_call_kept, thread, "call", before);
        planted.keeps(.thread_registers_kept, thread, "regs", before);
        planted.keeps(.thread_signals_kept, thread, "signals", before);
    }

    /// Puts all back to the image's; vector state is shown where the image has it.
    pub fn restore(self: *Threads, image: *const Threads) error{OutOfMemory}!void {
        while (self.list.items.len > image.list.items.len and !planted.is(.threads_kept)) self.destroy(self.list.pop().?);
        while (self.list.items.len < image.list.items.len) {
            const thread = try self.allocator.create(Thread);
            thread.* = .{ .id = 0 };
            self.list.append(self.allocator, thread) catch {
                self.allocator.destroy(thread);
                return error.OutOfMemory;
            };
        }
        for (self.list.items[0..image.list.items.len], image.list.items, 0..) |thread, from, index| {
            const before = if (planted.enabled) thread.* else {};
            thread.copyFrom(from);
            if (planted.enabled and index > 0) plant(thread, &before);
        }
        self.caller.copyFrom(image.caller);
        self.current = self.list.items[image.indexOfCurrent()];
        self.calling = false;
        self.caller_fresh = image.caller_fresh;
        self.next_id = image.next_id;
        self.turns = image.turns;
        // A new number, so that everyone who waits looks again.
        self.changes = image.changes + 1;
        self.least_had = image.least_had;
        self.switched_at = image.switched_at;
    }
};
