//! One machine: a VM, its memory, its emulated kernel and the program in it, from boot to the end.
//!
//! Here: making one, running it, taking it down, and its states. Not here: the loop (`run.zig`), calls of guest functions
//! (`call.zig`), loading a program (`loader.zig`), freezing and forking (`image.zig`), which machines have a VM
//! (`vm_pool.zig`). A machine is used by one thread at a time; `interrupt` alone may be touched from others.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const clock_module = @import("clock.zig");
const errors = @import("errors.zig");
const exec = @import("linux/exec.zig");
const faults = @import("faults.zig");
const gate_stubs = @import("remote/gate_stubs.zig");
const host = @import("host.zig");
const interrupt_module = @import("interrupt.zig");
const kernel_module = @import("linux/kernel.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const loader = @import("loader.zig");
const page_tables = @import("memory/page_tables.zig");
const platform_module = @import("platform.zig");
const reset = @import("reset.zig");
const run_module = @import("run.zig");
const scheduler = @import("scheduler.zig");
const system_area = @import("system_area.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const frames_module = @import("memory/frames.zig");
const FrameSpace = frames_module.FrameSpace;
const Image = @import("image.zig").Image;
const Output = @import("output.zig").Output;
const Platform = platform_module.Platform;
const Program = @import("program.zig").Program;
const touched = @import("memory/touched.zig");
const Thread = @import("linux/threads.zig").Thread;
const Tracer = @import("tracer.zig").Tracer;
const Connections = @import("remote/connections.zig").Connections;
const Failure = @import("remote/failure.zig").Failure;
const Gates = @import("remote/gates.zig").Gates;
const Lent = @import("remote/lending.zig").Lent;
const Remote = @import("remote/remote.zig").Remote;
const Shown = @import("remote/shown.zig").Shown;
const windows = @import("remote/windows.zig");
const Vcpu = @import("vcpu.zig").Vcpu;
const vectors_module = @import("vectors.zig");
const Vm = @import("vm.zig").Vm;
const vm_pool = @import("vm_pool.zig");

pub const State = enum(u32) { loaded, running, stopped, exited, poisoned, closed };

pub const StopReason = enum(u32) { none, exit, signal, listen, ready, idle, paused };

const call_module = @import("call.zig");

pub const Machine = struct {
    allocator: std.mem.Allocator,
    platform: *const Platform,
    /// Valid while `attachment.attached`.
    vm: Vm = undefined,
    attachment: vm_pool.Attachment = .{},
    vcpu: Vcpu,
    frames: FrameSpace,
    space: AddressSpace,
    clock: clock_module.Clock,
    kernel: kernel_module.Kernel,
    kernel_made: bool = false,
    interrupt: interrupt_module.Interrupt = .{},
    program: *Program = undefined,
    tracer: ?*Tracer = null,
    outputs: [2]?*Output = .{ null, null },
    call: call_module.CallArea = .{},
    /// Of a remote: where the calls of others run.
    callers_stack: call_module.CallArea = .{},
    /// Where the embedder's small allocations in guest memory come from.
    arena: struct { at: u64 = 0, end: u64 = 0 } = .{},
    state: State = .loaded,
    started: bool = false,
    /// It runs on the embedder's own thread, for a moment.
    runs_briefly: bool = false,
    /// The guest is made to trap behind the stub that a signal found it in.
    stepping: bool = false,
    /// The current thread has had its slice: it gives way as soon as its registers are the user's.
    gives_way: bool = false,
    /// The stub leaves gettid to the VMM, since there were several threads.
    asks_thread_ids: bool = false,
    /// The VM did what no stub does: it is not used again.
    broken: bool = false,
    last_fault: faults.Fault = .{ .signal = 0, .code = 0 },
    fault_repeats: u32 = 0,
    fault_address: u64 = 0,
    fault_rip: u64 = 0,
    /// The registers of the last stop, for reports: its thread may be gone.
    stop_regs: kvm.Regs = .{},
    report: std.Io.Writer.Allocating,
    /// The image whose memory this machine shares: of a fork the one it goes back to, of a machine the first it was
    /// frozen into.
    image: ?*Image = null,
    /// Made from an image: it can be reset.
    is_fork: bool = false,
    /// The pages that requests are known to write have been copied for this fork.
    populated: bool = true,
    resets: reset.History = .{},
    /// Of one that others call: what they have of it.
    remote: ?*Remote = null,
    /// The remotes that it calls, and what its VM shows of them.
    connections: Connections = .{},
    shown: Shown = .{},
    /// What it calls remotes through without exits; null before it has.
    gates: ?*Gates = null,
    /// How the last call of a remote failed.
    remote_failure: Failure = .of(.host, ""),

    /// See `reset_fields.zig`.
    pub const at_reset = .{
        .allocator = .kept,
        .platform = .kept,
        .vm = .restored,
        .attachment = .kept,
        .vcpu = .kept,
        .frames = .restored,
        .space = .restored,
        .clock = .restored,
        .kernel = .restored,
        .kernel_made = .kept,
        .interrupt = .restored,
        .program = .restored,
        .tracer = .kept,
        .outputs = .restored,
        .call = .copied,
        .callers_stack = .copied,
        .arena = .copied,
        .state = .copied,
        .started = .copied,
        .runs_briefly = .kept,
        .stepping = .copied,
        .gives_way = .copied,
        .asks_thread_ids = .copied,
        .broken = .restored,
        .last_fault = .copied,
        .fault_repeats = .copied,
        .fault_address = .copied,
        .fault_rip = .copied,
        .stop_regs = .copied,
        .report = .restored,
        .image = .kept,
        .is_fork = .kept,
        .populated = .kept,
        .resets = .kept,
        .remote = .kept,
        .connections = .restored,
        .shown = .kept,
        .gates = .kept,
        .remote_failure = .kept,
    };

    /// Makes an empty address space; `loader.load` and `kernel` follow. The VM comes with the first run.
    pub fn create(allocator: std.mem.Allocator, platform: *const Platform, memory_bytes: u64, area: layout.UserArea) CreateError!*Machine {
        const self = try allocator.create(Machine);
        errdefer allocator.destroy(self);
        self.* = .{
            .allocator = allocator,
            .platform = platform,
            .vcpu = undefined,
            .frames = undefined,
            .space = undefined,
            .clock = undefined,
            .kernel = undefined,
            .report = .init(allocator),
        };
        self.frames = try FrameSpace.init(allocator, memory_bytes, physicalOf(&area), self.growth());
        errdefer self.frames.deinit();
        try self.frames.reserveSystem(layout.system_physical / limits.page_size, layout.system_pages);
        self.space = try AddressSpace.init(allocator, &self.frames, area);
        errdefer self.space.deinit();
        self.connectVcpu();
        try self.mapSystemArea();
        windows.enter(&self.space.area);
        self.clock = .init(0, &platform.calibration, self.systemPage(.vdso_parameters));
        return self;
    }

    fn physicalOf(area: *const layout.UserArea) frames_module.Physical {
        if (area.window == null) return .{};
        return .{ .base = area.physicalBase(), .bytes_max = limits.remote_physical_bytes };
    }

    /// The parts that refer to the machine's own place in memory.
    pub fn connectVcpu(self: *Machine) void {
        self.vcpu = .{ .vm = &self.vm, .route = self.platform.route, .exception_stack = self.systemPage(.exception_stack) };
    }

    pub fn growth(self: *Machine) frames_module.Grow {
        return .{ .context = self, .grow_fn = growSlots };
    }

    pub const CreateError = error{ OutOfMemory, HostFailure };

    fn growSlots(context: *anyopaque, bytes: u64) host.Error!void {
        const self: *Machine = @ptrCast(@alignCast(context));
        if (self.remote) |remote| try remote.showGrowth(bytes);
        vm_pool.lock.lock();
        defer vm_pool.lock.unlock();
        if (self.attachment.attached) try self.vm.back(&self.vm.backing, &self.frames, bytes);
    }

    /// The VM pool has given the machine a VM.
    pub fn attached(self: *Machine) host.Error!void {
        const platform = self.platform;
        const root = self.space.tables.rootPhysical();
        if (!self.vm.prepared) {
            try self.vm.enterLongMode(&platform.device, root, platform.syscallEntry(), platform.syscallFlagMask());
            self.vm.tsc_offset = platform.prepareTsc(&self.vm);
            self.vm.prepared = true;
        }
        const segments = self.current().segments;
        self.vm.loadSegments(&platform.device, root, segments.fs, segments.gs);
        try self.vm.back(&self.vm.backing, &self.frames, self.frames.blocks.items.len * limits.window_size);
        self.shown.forgetVm();
        self.interrupt.run = self.vm.run;
        self.vm.vectors_initial = true;
        self.clock.useCounter(self.vm.tsc_offset);
    }

    /// The VM pool takes the VM away: what only the VM holds of the guest's state is kept. False if it could not be.
    pub fn detaching(self: *Machine) bool {
        self.interrupt.run = null;
        if (self.gates) |gates| gates.giveBackAll();
        if (!self.kernel_made) return true;
        self.current().segments = self.currentSegments();
        const threads = &self.kernel.threads;
        for ([_]*Thread{ threads.current, threads.caller }) |thread| thread.vectors.keep(&self.vm, self.allocator) catch {
            self.state = .poisoned;
            return false;
        };
        return true;
    }

    /// The window that a remote lies in; null for any other machine.
    pub fn window(self: *const Machine) ?u4 {
        return self.space.area.window;
    }

    /// Gives a remote the processor of its caller.
    pub fn borrow(self: *Machine, lent: *Lent) void {
        self.started = true;
        lent.act();
        for (self.outputs) |output| if (output) |some| {
            some.runs = .on_reader;
        };
        self.shareThreadIds();
        if (!self.populated) self.populate();
        self.clock.useCounter(lent.owner.vm.tsc_offset);
        self.clock.anchor();
        const kernel = &self.kernel;
        kernel.threads.replan = true;
        kernel.entered_tsc = host.rdtsc();
        kernel.wakeTimers();
        kernel.tick();
    }

    pub fn giveBack(self: *Machine, lent: *Lent) void {
        const kernel = &self.kernel;
        kernel.counters.cycles += host.rdtsc() -% kernel.entered_tsc;
        lent.retire();
        for (self.outputs) |output| if (output) |some| {
            some.runs = .beside_reader;
        };
        if (self.is_fork) self.frames.touched.stale = true;
    }

    /// Memory in the guest that lives as long as the machine, or until it is reset: small pieces from shared pages, large ones with
    /// pages of their own. Null if there is none.
    pub fn allocate(self: *Machine, bytes: u64, alignment: u64) ?u64 {
        const arena = &self.arena;
        const start = std.mem.alignForward(u64, arena.at, alignment);
        if (arena.at != 0 and start + bytes <= arena.end) {
            arena.at = start + bytes;
            return start;
        }
        // What there can never be is not promised.
        if (bytes > self.frames.frames_max * limits.page_size) return null;
        const mapped = std.mem.alignForward(u64, @max(bytes, limits.arena_bytes), limits.page_size);
        const address = self.space.findFree(mapped, @max(alignment, limits.page_size)) orelse return null;
        self.space.map(.{ .start = address, .end = address + mapped, .rights = .{ .read = true, .write = true }, .kind = .anonymous }) catch return null;
        if (bytes < limits.arena_bytes) arena.* = .{ .at = address + bytes, .end = address + mapped };
        return address;
    }

    pub fn current(self: *const Machine) *Thread {
        return self.kernel.threads.current;
    }

    pub fn currentSegments(self: *Machine) kernel_module.Segments {
        if (!self.attachment.attached and self.kernel.lent == null) return self.current().segments;
        const sregs = self.vcpu.segments();
        return .{ .fs = sregs.fs.base, .gs = sregs.gs.base };
    }

    /// Where the stub that loads vector state finds it.
    pub fn vectorsPage(self: *Machine) *align(limits.page_size) [limits.page_size]u8 {
        return @ptrCast(self.frames.bytes(@intCast(layout.vectors_physical / limits.page_size), 1).ptr);
    }

    pub fn systemPage(self: *Machine, page: layout.Page) *align(limits.page_size) [limits.page_size]u8 {
        return @ptrCast(self.frames.bytes(@intCast(page.physical() / limits.page_size), 1).ptr);
    }

    pub fn gateTable(self: *Machine) *gate_stubs.Table {
        return @ptrCast(self.frames.bytes(@intCast(layout.gate_table_physical / limits.page_size), layout.gate_table_pages).ptr);
    }

    /// Writes the stubs anew; to be called before the first run.
    pub fn writeStubs(self: *Machine, answers: system_area.Answers) void {
        system_area.writeRing0Stubs(self.systemPage(.ring0_stubs), answers);
        system_area.writeUserStubs(self.systemPage(.user_stubs), self.platform.route, answers);
    }

    /// From now on gettid comes to the VMM: the stub knows only one thread.
    pub fn askThreadIds(self: *Machine) void {
        self.asks_thread_ids = true;
        system_area.leaveThreadIds(self.systemPage(.ring0_stubs), self.systemPage(.user_stubs));
        for ([_]layout.Page{ .ring0_stubs, .user_stubs }) |page| self.frames.noteWrite(@intCast(page.physical() / limits.page_size));
        self.shareThreadIds();
    }

    /// On its caller's processor the stubs are those of the first of its callers, which may know one thread only.
    fn shareThreadIds(self: *Machine) void {
        const lent = self.kernel.lent orelse return;
        if (self.asks_thread_ids and !lent.owner.asks_thread_ids) lent.owner.askThreadIds();
    }

    fn mapSystemArea(self: *Machine) CreateError!void {
        system_area.writeDescriptors(self.systemPage(.descriptors));
        self.writeStubs(.none);
        const vdso = @embedFile("vdso_image");
        comptime assert(vdso.len <= layout.vdso_pages_max * limits.page_size);
        const first_vdso = layout.Page.vdso_parameters.physical() + limits.page_size;
        @memcpy(self.frames.bytes(@intCast(first_vdso / limits.page_size), layout.vdso_pages_max)[0..vdso.len], vdso);
        const imports = self.frames.bytes(@intCast(layout.imports_physical / limits.page_size), 1);
        system_area.writeImportStubs(imports[0..limits.page_size], self.platform.route);
        const P = layout.Page;
        try self.mapSystemPages(P.descriptors.address(), P.descriptors.physical(), 1, .{ .user = false });
        try self.mapSystemPages(P.ring0_stubs.address(), P.ring0_stubs.physical(), 1, .{ .user = false, .execute = true });
        try self.mapSystemPages(P.user_stubs.address(), P.user_stubs.physical(), 1, .{ .execute = true });
        try self.mapSystemPages(P.exception_stack.address(), P.exception_stack.physical(), 1, .{ .user = false, .write = true });
        if (self.platform.route == .ring3_store) {
            try self.space.mapSystemPage(P.exit.address(), page_tables.leaf(layout.exit_physical, .{ .write = true }));
        }
        try self.mapSystemPages(layout.vectors_address, layout.vectors_physical, 1, .{});
        try self.mapSystemPages(layout.imports_address, layout.imports_physical, 1, .{ .execute = true });
        self.gateTable().init(self.space.tables.rootPhysical());
        try self.mapSystemPages(layout.gate_table_address, layout.gate_table_physical, layout.gate_table_pages, .{});
        try self.mapSystemPages(layout.gate_table_ring0, layout.gate_table_physical, layout.gate_table_pages, .{ .user = false });
        try self.mapVdso(layout.vdso_base);
        // A remote reads its own clocks, also where the system area is its caller's.
        if (self.space.area.window != null) try self.mapVdso(self.space.area.vdso_base);
    }

    fn mapVdso(self: *Machine, base: u64) CreateError!void {
        const parameters = layout.Page.vdso_parameters.physical();
        try self.mapSystemPages(base - limits.page_size, parameters, 1, .{});
        try self.mapSystemPages(base, parameters + limits.page_size, layout.vdso_pages_max, .{ .execute = true });
    }

    /// `physical` is where the pages are in a machine whose memory begins at 0.
    fn mapSystemPages(self: *Machine, address: u64, physical: u64, count: u64, rights: page_tables.LeafRights) CreateError!void {
        for (0..count) |index| {
            const at = index * limits.page_size;
            try self.space.mapSystemPage(address + at, page_tables.leaf(self.frames.physical_base + physical + at, rights));
        }
    }

    /// Takes everything down. Nothing may run in the machine any more.
    pub fn destroy(self: *Machine) void {
        assert(self.interrupt.thread.load(.seq_cst) == 0);
        // Nothing of the guest's state is wanted any more.
        const threads = &self.kernel.threads;
        for ([_]*Thread{ threads.current, threads.caller }) |thread| thread.vectors.current = .{ .memory = &vectors_module.initial };
        vm_pool.detach(self);
        self.kernel.deinit();
        self.kernel_made = false;
        self.destroyVm();
    }

    /// Takes down a machine whose kernel was not made yet.
    pub fn destroyVm(self: *Machine) void {
        vm_pool.detach(self);
        windows.leave(&self.space.area);
        if (self.gates) |gates| gates.destroy();
        self.shown.deinit();
        self.connections.deinit(self.allocator);
        self.program.release(self.allocator);
        self.space.deinit();
        self.frames.deinit();
        if (self.image) |image| image.release();
        if (self.tracer) |tracer| tracer.destroy();
        for (self.outputs) |output| if (output) |some| {
            some.deinit();
            self.allocator.destroy(some);
        };
        self.report.deinit();
        const allocator = self.allocator;
        self.* = undefined;
        allocator.destroy(self);
    }

    /// Runs the program on, on the calling thread, until `goal` or its end.
    pub fn run(self: *Machine, goal: run_module.Goal, time_limits: interrupt_module.Limits) run_module.Outcome {
        assert(self.state == .loaded or self.state == .stopped);
        const outcome = self.runPinned(goal, time_limits);
        self.settle(outcome);
        return outcome;
    }

    fn runPinned(self: *Machine, goal: run_module.Goal, time_limits: interrupt_module.Limits) run_module.Outcome {
        vm_pool.pin(self) catch return .{ .broken = "the host refused a virtual machine" };
        defer vm_pool.unpin(self);
        scheduler.load(self, self.current()) catch return .{ .broken = "the vector state could not be loaded" };
        return self.enter(goal, time_limits);
    }

    /// Enters the guest with its time limits and measures it.
    pub fn enter(self: *Machine, goal: run_module.Goal, time_limits: interrupt_module.Limits) run_module.Outcome {
        self.started = true;
        const interrupt = &self.interrupt;
        const Reason = interrupt_module.Reason;
        interrupt.clear(Reason.wall | Reason.cpu | Reason.wake | Reason.timer | Reason.slice);
        interrupt.rearmEntry();
        const kernel = &self.kernel;
        const limited = time_limits.wall_ns != null or time_limits.cpu_ns != null or time_limits.pause_ns != null or kernel.timers.isActive(kernel) or kernel.threads.list.items.len > 1;
        const timers: ?*interrupt_module.ThreadTimers = if (limited) interrupt_module.threadTimers(std.heap.c_allocator) catch return .{ .broken = "no timer could be made for this thread" } else null;
        interrupt.thread.store(host.threadId(), .seq_cst);
        interrupt.has_timers = timers != null;
        self.clock.anchor();
        if (timers) |some| some.arm(interrupt, time_limits);
        if (!self.populated) self.populate();
        const faults_before = if (self.is_fork) touched.threadFaults() else 0;
        // The slice that was under way when the machine stopped is nobody's now; it may have been another thread's of the host.
        kernel.threads.replan = true;
        kernel.entered_tsc = host.rdtsc();
        kernel.wakeTimers();
        kernel.tick();
        if (self.gates) |gates| gates.beginRun();
        // What came while nothing ran acts before the guest does.
        if (kernel.isInterrupted(self.current())) interrupt.raise(Reason.signal);
        const outcome = run_module.run(self, goal);
        if (self.gates) |gates| gates.endRun();
        kernel.counters.cycles += host.rdtsc() -% kernel.entered_tsc;
        if (self.is_fork and touched.threadFaults() != faults_before) self.frames.touched.stale = true;
        interrupt_module.disarmThread();
        interrupt.thread.store(0, .seq_cst);
        return outcome;
    }

    fn populate(self: *Machine) void {
        self.populated = true;
        self.image.?.write_set.populate(&self.frames);
        self.frames.touched.stale = true;
    }

    /// Lets another program take the place of the one that runs (execve). False if it does not fit into the memory: then
    /// there is nothing left to go back to.
    pub fn startProgram(self: *Machine, prepared: *exec.Prepared) bool {
        defer prepared.destroy(self.allocator);
        const old = self.program;
        self.program = prepared.program;
        loader.adoptProgram(self);
        old.release(self.allocator);
        self.space.unmap(0, layout.user_end) catch return false;
        self.space.brk_end = 0;
        self.call = .{};
        self.callers_stack = .{};
        self.arena = .{};
        self.kernel.prepareForProgram(prepared.name);
        self.program.setCommandLine(self.allocator, prepared.argv) catch return false;
        loader.start(self, prepared.interpreter, prepared.name, prepared.argv, prepared.env) catch return false;
        const thread = self.current();
        thread.vectors.current = .{ .memory = &vectors_module.initial };
        self.vcpu.setSegmentBases(0, 0);
        thread.segments = .{};
        scheduler.load(self, thread) catch return false;
        return true;
    }

    /// The state after an outcome of the program itself.
    pub fn settle(self: *Machine, outcome: run_module.Outcome) void {
        if (outcome == .broken) self.broken = true;
        self.state = switch (outcome) {
            .ready, .listen, .idle, .paused, .call_return, .replied, .waits => .stopped,
            .exit, .signal => .exited,
            .remote_failed, .thread_ended, .out_of_memory, .timeout, .aborted, .closed, .cut_off, .broken => .poisoned,
        };
        if (outcome == .signal and self.last_fault.signal == outcome.signal) self.writeReport();
        if (self.state == .exited or self.state == .poisoned) self.endOutputs();
    }

    pub fn endOutputs(self: *Machine) void {
        for (self.outputs) |output| if (output) |some| some.end();
    }

    pub fn writeReport(self: *Machine) void {
        self.report.clearRetainingCapacity();
        faults.writeReport(&self.report.writer, self.last_fault, &self.stop_regs, self.program.namer()) catch {};
    }

    /// The first line of the last report, for messages.
    pub fn reportLine(self: *Machine) []const u8 {
        const text = self.report.written();
        return text[0 .. std.mem.indexOfScalar(u8, text, '\n') orelse text.len];
    }
};
