//! Gates: calls of remotes that the VMM does not see.
//!
//! Behind an ordinary call of a remote that is connected so, its caller may keep the seat, and its gate table lets the next calls
//! through (`gate_stubs.zig`): the function runs on the caller's processor, with no exit. Whatever brings the processor to the VMM
//! meanwhile makes an ordinary call of it, as if it had been one from its beginning (`call.adopt`).
//!
//! The seat is given back as soon as somebody else wants it: at once while the caller does not run, else as soon as it has left
//! the guest. Which gates are open is the caller's thread's business, but for giving back: that is under the lock of all gates.
const std = @import("std");
const gate_stubs = @import("gate_stubs.zig");
const host = @import("../host.zig");
const kvm = @import("../kvm.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const shown = @import("shown.zig");
const Connection = @import("connections.zig").Connection;
const Exit = @import("../vcpu.zig").Exit;
const Machine = @import("../machine.zig").Machine;
const Reason = @import("../interrupt.zig").Reason;
const Remote = @import("remote.zig").Remote;
const Segments = @import("../linux/kernel.zig").Segments;

/// Of whose the seats are. Taken behind the VM pool's lock, before those of queues.
var lock: host.Mutex = .{};
/// All machines that have had gates.
var all: std.DoublyLinkedList = .{};

const Gate = struct {
    state: enum {
        closed,
        /// The caller has the remote's seat.
        open,
        /// It had: its table is to be changed before it runs again.
        given_back,
    } = .closed,
    /// Kept as long as the caller may reach it.
    remote: ?*Remote = null,
    connection: ?*Connection = null,
    /// `Connection.version` when it was opened.
    version: u32 = 0,
    /// `Names.version` of what the caller had asked for, and of what the remote offered, when functions were looked up.
    looked_up: ?[2]u32 = null,
    /// Somebody waits for the seat.
    is_wanted: bool = false,

    fn isToBeGivenBack(self: *const Gate) bool {
        return @atomicLoad(bool, &self.is_wanted, .seq_cst) or self.isOutdated();
    }

    fn isOutdated(self: *const Gate) bool {
        return @atomicLoad(u32, &self.connection.?.version, .seq_cst) != self.version;
    }
};

const Import = struct { window: u4 = 0, function: u64 = 0 };

pub const Gates = struct {
    machine: *Machine,
    node: std.DoublyLinkedList.Node = .{},
    /// The machine runs: it is asked for its seats, and gives them back itself.
    runs: bool = false,
    /// Since when calls through gates are counted, by the time-stamp counter.
    counted_since: u64 = 0,
    gates: [layout.remote_windows]Gate = @splat(.{}),
    /// What the functions of remotes lead to; nothing where `function` is 0.
    imports: [limits.imports_max]Import = @splat(.{}),

    fn create(machine: *Machine) ?*Gates {
        const self = machine.allocator.create(Gates) catch return null;
        self.* = .{ .machine = machine, .runs = true };
        lock.lock();
        defer lock.unlock();
        all.append(&self.node);
        machine.gates = self;
        return self;
    }

    /// The machine is taken down, and has no VM any more.
    pub fn destroy(self: *Gates) void {
        {
            lock.lock();
            defer lock.unlock();
            all.remove(&self.node);
        }
        for (&self.gates) |*gate| {
            std.debug.assert(gate.state != .open);
            forget(gate);
        }
        self.machine.allocator.destroy(self);
    }

    /// The machine begins to run, on the thread that it runs on.
    pub fn beginRun(self: *Gates) void {
        {
            lock.lock();
            defer lock.unlock();
            self.runs = true;
        }
        self.counted_since = host.rdtsc();
        const known = self.machine.kernel.imports.list.items.len;
        for (self.imports[known..]) |*import| import.function = 0;
        self.giveBackWanted();
        for (&self.gates, 0..) |*gate, window| {
            if (gate.state != .open) {
                self.end(@intCast(window));
                continue;
            }
            gate.remote.?.machine.clock.anchor();
            // A reset has taken what was in the table.
            self.arm(@intCast(window));
        }
    }

    /// It has stopped.
    pub fn endRun(self: *Gates) void {
        self.goHome();
        for (self.gates) |gate| if (gate.state == .open) self.settle(gate.remote.?);
        lock.lock();
        defer lock.unlock();
        self.runs = false;
        for (&self.gates) |*gate| if (gate.is_wanted) giveBack(gate);
    }

    /// Stopped on the way into a remote or out of it, and not to go on there.
    fn goHome(self: *Gates) void {
        const machine = self.machine;
        const home = machine.space.tables.rootPhysical();
        if (machine.vcpu.segments().cr3 != home) setRoot(machine, home);
    }

    /// Somebody has asked for seats.
    fn giveBackWanted(self: *Gates) void {
        for (&self.gates) |*gate| if (gate.state == .open and gate.isToBeGivenBack()) self.settle(gate.remote.?);
        {
            lock.lock();
            defer lock.unlock();
            for (&self.gates) |*gate| if (gate.state == .open and gate.isToBeGivenBack()) giveBack(gate);
        }
        for (&self.gates, 0..) |*gate, window| if (gate.state == .given_back) self.end(@intCast(window));
    }

    /// Closes all gates, of a machine that does not run.
    pub fn closeAll(self: *Gates) void {
        self.giveBackAll();
        for (0..self.gates.len) |window| self.end(@intCast(window));
    }

    /// The VM is taken away: what it leads to is lost, and the table is changed later.
    pub fn giveBackAll(self: *Gates) void {
        lock.lock();
        defer lock.unlock();
        for (&self.gates) |*gate| if (gate.state == .open) giveBack(gate);
    }

    /// Another remote is to be shown in the window.
    pub fn closeWindow(self: *Gates, window: u4) void {
        if (self.gates[window].state == .open) self.settle(self.gates[window].remote.?);
        {
            lock.lock();
            defer lock.unlock();
            giveBack(&self.gates[window]);
        }
        self.end(window);
    }

    fn end(self: *Gates, window: u4) void {
        const gate = &self.gates[window];
        if (gate.remote == null) return;
        self.disarm(window);
        self.forgetFunctions(window);
        forget(gate);
    }

    /// The gate of a remote, if its seat is the caller's: it is closed, and the caller has the seat to use, or to release.
    pub fn takeSeat(self: *Gates, remote: *const Remote) bool {
        const window = remote.machine.window().?;
        const gate = &self.gates[window];
        {
            lock.lock();
            defer lock.unlock();
            if (gate.state != .open or gate.remote != remote) return false;
            gate.state = .closed;
            gate.is_wanted = false;
        }
        self.disarm(window);
        self.settle(remote);
        return true;
    }

    /// All functions of the remote that the machine has asked for.
    fn lookUp(self: *Gates, window: u4) void {
        const gate = &self.gates[window];
        const imports = &self.machine.kernel.imports;
        const exports = &gate.remote.?.machine.kernel.exports;
        const versions = [2]u32{ imports.version, exports.version };
        if (std.meta.eql(gate.looked_up, versions)) return;
        gate.looked_up = versions;
        self.forgetFunctions(window);
        const names = imports.list.items;
        for (names, self.imports[0..names.len]) |entry, *import| {
            const colon = std.mem.indexOfScalar(u8, entry.name, ':').?;
            if (!std.mem.eql(u8, entry.name[0..colon], gate.connection.?.name)) continue;
            const found = exports.find(entry.name[colon + 1 ..]) orelse continue;
            import.* = .{ .window = window, .function = exports.list.items[found].address };
        }
    }

    fn forgetFunctions(self: *Gates, window: u4) void {
        for (&self.imports) |*import| if (import.window == window) {
            import.function = 0;
        };
    }

    fn arm(self: *Gates, window: u4) void {
        const remote = self.gates[window].remote.?;
        const root = self.machine.shown.rootOf(self.machine, shown.maskOf(window)) catch return;
        const to = self.table();
        for (self.imports[0..self.machine.kernel.imports.list.items.len], 0..) |import, index| {
            if (import.function == 0 or import.window != window) continue;
            to.entries[index].root = root;
            to.entries[index].stack = remote.machine.callers_stack.top;
            to.entries[index].function = import.function;
        }
    }

    fn disarm(self: *Gates, window: u4) void {
        const home = self.machine.space.tables.rootPhysical();
        const entries = &self.table().entries;
        for (self.imports, 0..) |import, index| {
            if (import.function != 0 and import.window == window) entries[index] = .{ .root = home };
        }
    }

    fn table(self: *Gates) *gate_stubs.Table {
        const first = layout.gate_table_physical / limits.page_size;
        for (0..layout.gate_table_pages) |index| self.machine.frames.noteWrite(@intCast(first + index));
        return self.machine.gateTable();
    }

    /// Counts the calls that went through: as many as the remote's memory says, but no more than there was time for.
    fn settle(self: *Gates, remote: *const Remote) void {
        const cycles_least = 100;
        const machine = remote.machine;
        const address = machine.callers_stack.top + @offsetOf(gate_stubs.Bases, "calls");
        const piece = machine.space.pieceAnyRights(address, @sizeOf(u64), .write) orelse return;
        if (piece.bytes.len < @sizeOf(u64)) return;
        var calls: u64 = 0;
        piece.copyTo(std.mem.asBytes(&calls)) catch return;
        piece.copyFrom(&@as([@sizeOf(u64)]u8, @splat(0))) catch return;
        self.machine.kernel.counters.remote_calls += @min(calls, (host.rdtsc() -% self.counted_since) / cycles_least);
    }

    fn forget(gate: *Gate) void {
        const remote = gate.remote orelse return;
        gate.connection.?.release();
        gate.* = .{};
        remote.letGo();
    }
};

fn isQuiet(remote: *const Remote) bool {
    const kernel = &remote.machine.kernel;
    return kernel.threads.list.items.len == 1 and !kernel.timers.isActive(kernel);
}

/// What an ordinary call was, behind which a gate may be opened.
pub const Called = struct { remote: *Remote, connection: *Connection, version: u32 };

/// Behind an ordinary call that its caller has made `alone`: opens the gate, if there is one to be, and keeps the seat then.
pub fn open(caller: *Machine, called: Called) bool {
    const remote = called.remote;
    const again = remote.last_caller == caller;
    remote.last_caller = caller;
    if (!called.connection.exitless or !again or !caller.platform.fsgsbase()) return false;
    // A remote calls others by an ordinary call: its functions are not those of the first caller's table.
    if (caller.kernel.lent != null or caller.window() != null) return false;
    if (remote.death != null or !isQuiet(remote)) return false;
    const self = caller.gates orelse Gates.create(caller) orelse return false;
    const window = remote.machine.window().?;
    const gate = &self.gates[window];
    if (gate.remote) |other| if (other != remote or gate.connection != called.connection) self.end(window);
    if (gate.remote == null) {
        gate.remote = remote.retain();
        gate.connection = called.connection.retain();
    }
    const segments = remote.machine.kernel.threads.first().segments;
    const bases: gate_stubs.Bases = .{ .fs = segments.fs, .gs = segments.gs };
    remote.machine.space.writeAnyRights(remote.machine.callers_stack.top, std.mem.asBytes(&bases)) catch return false;
    self.lookUp(window);
    gate.version = called.version;
    {
        lock.lock();
        defer lock.unlock();
        // Whoever waits has come before, or sees the gate.
        if (gate.isOutdated() or remote.queue.isWanted()) return false;
        gate.state = .open;
    }
    self.arm(window);
    return true;
}

/// With the lock held.
fn giveBack(gate: *Gate) void {
    gate.is_wanted = false;
    if (gate.state != .open) return;
    gate.state = .given_back;
    gate.remote.?.queue.releaseAlone(.{});
}

/// Somebody waits for the remote's seat: whoever keeps it for a gate is to give it back.
pub fn askBack(remote: *const Remote) void {
    askWhere("remote", remote);
}

/// Something else is behind a name now.
pub fn askBackOf(connection: *const Connection) void {
    askWhere("connection", connection);
}

fn askWhere(comptime field: []const u8, value: anytype) void {
    lock.lock();
    defer lock.unlock();
    var node = all.first;
    while (node) |some| : (node = some.next) {
        const self: *Gates = @fieldParentPtr("node", some);
        for (&self.gates) |*gate| if (@field(gate, field) == value) askOne(self, gate);
    }
}

fn askOne(self: *Gates, gate: *Gate) void {
    if (gate.state != .open) return;
    if (!self.runs) return giveBack(gate);
    @atomicStore(bool, &gate.is_wanted, true, .seq_cst);
    self.machine.interrupt.kick(Reason.gate);
}

/// The machine, which runs on this thread, is asked for seats.
pub fn giveBackWanted(machine: *Machine) void {
    // In this order: whoever asks from here on is heard the next time.
    machine.interrupt.clear(Reason.gate);
    if (machine.gates) |self| self.giveBackWanted();
}

/// What an exit is that came while gates may be open.
pub const Caught = enum {
    /// The machine's own.
    own,
    /// The processor was at a gate; the machine goes on before it, or behind it.
    moved,
    /// It is in a remote: an ordinary call is to be made of that.
    in_remote,
};

/// Looks where an exit of a machine came from that is not itself called.
pub fn caught(machine: *Machine, exit: Exit) Caught {
    const regs = machine.vcpu.registers();
    const home = machine.space.tables.rootPhysical();
    const root = machine.vcpu.segments().cr3;
    const ring = machine.vcpu.segments().cs.dpl;
    if (exit == .interrupted and ring == 0 and gate_stubs.isHandler(regs.rip)) return finishCrossing(machine, home);
    if (root == home) {
        if (exit != .interrupted or !gate_stubs.isEntered(regs.rip)) return .own;
        regs.rip = layout.imports_ordinary;
        return moved(machine, exit, home);
    }
    // Of an exception, the registers are those of ring 3 already.
    if (exit != .exception and ring == 0) return .in_remote;
    const part = gate_stubs.partOf(regs.rip);
    switch (part) {
        .beyond => return .in_remote,
        .to_leave => regs.rip = gate_stubs.left_address,
        .to_call => regs.rip = layout.imports_ordinary,
        .to_call_framed => {
            const frame = frameOf(machine, root) orelse return .in_remote;
            restore(machine, &frame);
            regs.r11 = frame.number;
            regs.rip = layout.imports_ordinary;
        },
        .to_answer, .to_answer_aside => {
            // What has come of the remote's own memory here is its fault.
            if (exit != .interrupted) return .in_remote;
            const frame = frameOf(machine, root) orelse return .in_remote;
            const result = if (part == .to_answer) regs.rax else regs.r10;
            if (part == .to_answer) machine.kernel.counters.remote_calls += 1;
            regs.* = .{ .r10 = result, .rcx = layout.imports_answered, .rip = layout.stub_leave_remote, .rflags = regs.rflags };
            restore(machine, &frame);
        },
    }
    return moved(machine, exit, home);
}

fn moved(machine: *Machine, exit: Exit, home: u64) Caught {
    // The gate's own exception may be on its way still, which KVM does not tell; it would come at the next entry, with these
    // registers. What else may be on its way comes again.
    if (exit == .interrupted) machine.vcpu.vm.clearEvents() catch {};
    if (machine.vcpu.segments().cr3 != home) setRoot(machine, home);
    machine.vcpu.resumeUser();
    return .moved;
}

/// Does what ring 0 was about to.
fn finishCrossing(machine: *Machine, home: u64) Caught {
    const Pushed = extern struct { rip: u64, cs: u64, rflags: u64, rsp: u64, ss: u64 };
    const bytes = machine.vcpu.exception_stack[limits.page_size - @sizeOf(Pushed) ..];
    const pushed: Pushed = std.mem.bytesToValue(Pushed, bytes[0..@sizeOf(Pushed)]);
    const regs = machine.vcpu.registers();
    // A breakpoint of the program's own, or of the remote's.
    const crossing = gate_stubs.crossing(pushed.rip) orelse return if (machine.vcpu.segments().cr3 == home) .own else .in_remote;
    regs.rip = switch (crossing) {
        .enter => layout.imports_ordinary,
        .leave => gate_stubs.left_address,
    };
    regs.rsp = pushed.rsp;
    regs.rflags = pushed.rflags;
    return moved(machine, .interrupted, home);
}

fn setRoot(machine: *Machine, root: u64) void {
    machine.vcpu.segments().cr3 = root;
    machine.vcpu.vm.run.dirty_regs |= kvm.SYNC_X86_SREGS;
}

/// What is kept of the caller: as good as the remote has left it.
fn frameOf(machine: *Machine, root: u64) ?gate_stubs.Frame {
    const remote = remoteBehind(machine, root) orelse return null;
    var frame: gate_stubs.Frame = undefined;
    const address = remote.machine.callers_stack.top - @sizeOf(gate_stubs.Frame);
    const piece = remote.machine.space.pieceAnyRights(address, @sizeOf(gate_stubs.Frame), .read) orelse return null;
    piece.copyTo(std.mem.asBytes(&frame)) catch return null;
    for ([_]*u64{ &frame.fs, &frame.gs }) |base| if (base.* >= layout.address_end) {
        base.* = 0;
    };
    return frame;
}

fn remoteBehind(machine: *Machine, root: u64) ?*Remote {
    const self = machine.gates orelse return null;
    for (&self.gates, 0..) |*gate, window| {
        if (gate.state != .open) continue;
        const shown_root = machine.shown.rootOf(machine, shown.maskOf(@intCast(window))) catch continue;
        if (shown_root == root) return gate.remote;
    }
    return null;
}

fn restore(machine: *Machine, frame: *const gate_stubs.Frame) void {
    copyRegisters(machine.vcpu.registers(), frame);
    machine.vcpu.setSegmentBases(frame.fs, frame.gs);
}

fn copyRegisters(to: *kvm.Regs, frame: *const gate_stubs.Frame) void {
    inline for (.{ "rbx", "rbp", "r12", "r13", "r14", "r15", "rsp" }) |name| @field(to, name) = @field(frame, name);
}

/// A call that was under way when the processor left the guest.
pub const UnderWay = struct {
    remote: *Remote,
    name: []const u8,
    /// The caller's registers, as at an ordinary call.
    user: kvm.Regs,
    segments: Segments,
};

/// Takes over the seat of the remote that the processor is in; null if it is in none that has a gate, which no stub brings about.
pub fn take(machine: *Machine) ?UnderWay {
    const self = machine.gates orelse return null;
    const root = machine.vcpu.segments().cr3;
    const remote = remoteBehind(machine, root) orelse return null;
    const frame = frameOf(machine, root) orelse std.mem.zeroes(gate_stubs.Frame);
    const gate = &self.gates[remote.machine.window().?];
    var user: kvm.Regs = .{ .rcx = layout.imports_answered, .r11 = 2 };
    copyRegisters(&user, &frame);
    _ = self.takeSeat(remote);
    self.table().adopted().* = 1;
    return .{ .remote = remote, .name = gate.connection.?.name, .user = user, .segments = .{ .fs = frame.fs, .gs = frame.gs } };
}

/// The call that was taken over has ended.
pub fn taken(machine: *Machine) void {
    machine.gates.?.table().adopted().* = 0;
}
