//! One machine: a VM, its memory, its emulated kernel and the program in it, from boot to the end.
//!
//! Here: making one, running it, taking it down, and its states. Not here: the loop (`run.zig`), calls of guest functions
//! (`call.zig`), loading a program (`loader.zig`). A machine is used by one thread at a time; `interrupt` alone may be
//! touched from others.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const clock_module = @import("clock.zig");
const errors = @import("errors.zig");
const faults = @import("faults.zig");
const host = @import("host.zig");
const interrupt_module = @import("interrupt.zig");
const kernel_module = @import("linux/kernel.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const loader = @import("loader.zig");
const page_tables = @import("memory/page_tables.zig");
const platform_module = @import("platform.zig");
const run_module = @import("run.zig");
const system_area = @import("system_area.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const FrameSpace = @import("memory/frames.zig").FrameSpace;
const Output = @import("output.zig").Output;
const Platform = platform_module.Platform;
const Tracer = @import("tracer.zig").Tracer;
const Vcpu = @import("vcpu.zig").Vcpu;
const Vm = @import("vm.zig").Vm;
const vm_pool = @import("vm_pool.zig");

pub const State = enum(u32) { loaded, running, stopped, exited, poisoned, closed };

pub const StopReason = enum(u32) { none, exit, signal, listen, ready };

const call_module = @import("call.zig");

pub const Machine = struct {
    allocator: std.mem.Allocator,
    platform: *const Platform,
    vm: Vm,
    vcpu: Vcpu,
    frames: FrameSpace,
    space: AddressSpace,
    clock: clock_module.Clock,
    kernel: kernel_module.Kernel,
    kernel_made: bool = false,
    interrupt: interrupt_module.Interrupt,
    program: loader.Program,
    tracer: ?*Tracer = null,
    outputs: [2]?*Output = .{ null, null },
    /// The registers with which the program goes on.
    saved: kvm.Regs = .{},
    /// The program's vector state, kept while guest functions are called in the middle of it.
    saved_vectors: ?*kvm.Xsave = null,
    call: call_module.CallArea = .{},
    /// Where the embedder's small allocations in guest memory come from.
    arena: struct { at: u64 = 0, end: u64 = 0 } = .{},
    state: State = .loaded,
    started: bool = false,
    /// The guest is made to trap behind the stub that a signal found it in.
    stepping: bool = false,
    /// The VM did what no stub does: it is not used again.
    broken: bool = false,
    last_fault: faults.Fault = .{ .signal = 0, .code = 0 },
    fault_repeats: u32 = 0,
    fault_address: u64 = 0,
    fault_rip: u64 = 0,
    report: std.Io.Writer.Allocating,

    /// Makes the VM and its empty address space; `loader.load` and `kernel` follow.
    pub fn create(allocator: std.mem.Allocator, platform: *const Platform, memory_bytes: u64) CreateError!*Machine {
        const self = try allocator.create(Machine);
        errdefer allocator.destroy(self);
        self.* = .{
            .allocator = allocator,
            .platform = platform,
            .vm = try vm_pool.take(&platform.device),
            .vcpu = undefined,
            .frames = undefined,
            .space = undefined,
            .clock = undefined,
            .kernel = undefined,
            .interrupt = undefined,
            .program = .{},
            .report = .init(allocator),
        };
        errdefer vm_pool.give(&self.vm, false);
        self.frames = try FrameSpace.init(allocator, memory_bytes, .{ .context = self, .grow_fn = growSlots });
        errdefer self.frames.deinit();
        try self.frames.reserveSystem(layout.system_physical / limits.page_size, layout.system_pages);
        self.space = try AddressSpace.init(allocator, &self.frames);
        errdefer self.space.deinit();
        self.interrupt = .{ .run = self.vm.run };
        self.vcpu = .{ .vm = &self.vm, .route = platform.route, .exception_stack = self.systemPage(.exception_stack) };
        try self.mapSystemArea();
        try self.vm.enterLongMode(&platform.device, self.space.tables.rootPhysical(), platform.syscallEntry(), platform.syscallFlagMask());
        self.clock = .init(platform.prepareTsc(&self.vm), &platform.calibration, self.systemPage(.vdso_parameters));
        return self;
    }

    pub const CreateError = error{ OutOfMemory, HostFailure };

    fn growSlots(context: *anyopaque, bytes: u64) host.Error!void {
        const self: *Machine = @ptrCast(@alignCast(context));
        return self.vm.backPhysical(self.frames.base, bytes, self.frames.bytes_max);
    }

    fn systemPage(self: *Machine, page: layout.Page) *align(limits.page_size) [limits.page_size]u8 {
        return @ptrCast(self.frames.bytes(@intCast(page.physical() / limits.page_size), 1).ptr);
    }

    /// Writes the stubs anew; to be called before the first run.
    pub fn writeStubs(self: *Machine, answers: system_area.Answers) void {
        system_area.writeRing0Stubs(self.systemPage(.ring0_stubs), answers);
        system_area.writeUserStubs(self.systemPage(.user_stubs), self.platform.route, answers);
    }

    fn mapSystemArea(self: *Machine) CreateError!void {
        system_area.writeDescriptors(self.systemPage(.descriptors));
        self.writeStubs(.none);
        const P = layout.Page;
        const leaf = page_tables.leaf;
        try self.space.mapSystemPage(P.descriptors.address(), leaf(P.descriptors.physical(), .{ .user = false }));
        try self.space.mapSystemPage(P.ring0_stubs.address(), leaf(P.ring0_stubs.physical(), .{ .user = false, .execute = true }));
        try self.space.mapSystemPage(P.user_stubs.address(), leaf(P.user_stubs.physical(), .{ .execute = true }));
        try self.space.mapSystemPage(P.exception_stack.address(), leaf(P.exception_stack.physical(), .{ .user = false, .write = true }));
        if (self.platform.route == .ring3_store) {
            try self.space.mapSystemPage(P.exit.address(), leaf(layout.exit_physical, .{ .write = true }));
        }
        try self.space.mapSystemPage(P.vdso_parameters.address(), leaf(P.vdso_parameters.physical(), .{}));
        const vdso = @embedFile("vdso_image");
        comptime assert(vdso.len <= layout.vdso_pages_max * limits.page_size);
        const first: u32 = @intCast(layout.Page.vdso_parameters.physical() / limits.page_size + 1);
        @memcpy(self.frames.bytes(first, layout.vdso_pages_max)[0..vdso.len], vdso);
        for (0..layout.vdso_pages_max) |index| {
            const physical = (first + index) * limits.page_size;
            try self.space.mapSystemPage(layout.vdso_base + index * limits.page_size, leaf(physical, .{ .execute = true }));
        }
    }

    /// Takes everything down. Nothing may run in the machine any more.
    pub fn destroy(self: *Machine) void {
        assert(self.interrupt.thread.load(.seq_cst) == 0);
        self.kernel.deinit();
        self.destroyVm();
    }

    /// Takes down a machine whose kernel was not made yet.
    pub fn destroyVm(self: *Machine) void {
        self.program.deinit();
        self.space.deinit();
        vm_pool.give(&self.vm, !self.broken);
        self.frames.deinit();
        if (self.tracer) |tracer| tracer.destroy();
        for (self.outputs) |output| if (output) |some| {
            some.deinit();
            self.allocator.destroy(some);
        };
        if (self.saved_vectors) |area| self.allocator.destroy(area);
        self.report.deinit();
        const allocator = self.allocator;
        self.* = undefined;
        allocator.destroy(self);
    }

    /// Runs the program on, on the calling thread, until `goal` or its end.
    pub fn run(self: *Machine, goal: run_module.Goal, time_limits: interrupt_module.Limits) run_module.Outcome {
        assert(self.state == .loaded or self.state == .stopped);
        if (self.saved_vectors) |area| _ = host.ioctlPtr(self.vm.vcpu_fd, kvm.SET_XSAVE, area) catch {};
        self.forgetVectors();
        self.vcpu.registers().* = self.saved;
        self.vcpu.resumeUser();
        const outcome = self.enter(goal, time_limits);
        self.settle(outcome);
        return outcome;
    }

    fn forgetVectors(self: *Machine) void {
        if (self.saved_vectors) |area| self.allocator.destroy(area);
        self.saved_vectors = null;
    }

    /// Enters the guest with its time limits and measures it.
    pub fn enter(self: *Machine, goal: run_module.Goal, time_limits: interrupt_module.Limits) run_module.Outcome {
        self.started = true;
        const interrupt = &self.interrupt;
        interrupt.clear(interrupt_module.Reason.wall | interrupt_module.Reason.cpu | interrupt_module.Reason.wake);
        interrupt.rearmEntry();
        const limited = time_limits.wall_ns != null or time_limits.cpu_ns != null;
        const timers: ?*interrupt_module.ThreadTimers = if (limited) interrupt_module.threadTimers(std.heap.c_allocator) catch return .{ .broken = "no timer could be made for this thread" } else null;
        interrupt.thread.store(threadId(), .seq_cst);
        self.clock.anchor();
        if (timers) |some| some.arm(interrupt, time_limits);
        const before = host.rdtsc();
        self.kernel.entered_tsc = before;
        const outcome = run_module.run(self, goal);
        self.kernel.counters.cycles += host.rdtsc() -% before;
        if (timers) |some| some.disarm();
        interrupt.thread.store(0, .seq_cst);
        return outcome;
    }

    /// The state after an outcome of the program itself.
    pub fn settle(self: *Machine, outcome: run_module.Outcome) void {
        if (outcome == .broken) self.broken = true;
        self.state = switch (outcome) {
            .ready, .call_return => .stopped,
            .exit, .signal => .exited,
            .out_of_memory, .timeout, .aborted, .closed, .broken => .poisoned,
        };
        if (outcome == .signal and self.last_fault.signal == outcome.signal) self.writeReport();
        if (self.state == .exited or self.state == .poisoned) self.endOutputs();
    }

    pub fn endOutputs(self: *Machine) void {
        for (self.outputs) |output| if (output) |some| some.end();
    }

    pub fn writeReport(self: *Machine) void {
        self.report.clearRetainingCapacity();
        faults.writeReport(&self.report.writer, self.last_fault, &self.saved, self.program.namer()) catch {};
    }

    /// The first line of the last report, for messages.
    pub fn reportLine(self: *Machine) []const u8 {
        const text = self.report.written();
        return text[0 .. std.mem.indexOfScalar(u8, text, '\n') orelse text.len];
    }
};

threadlocal var cached_thread_id: i32 = 0;

fn threadId() i32 {
    if (cached_thread_id == 0) cached_thread_id = linux.gettid();
    return cached_thread_id;
}
