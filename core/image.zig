//! Images: a machine at one instant, complete and immutable, and the forks made of it.
//!
//! Freezing copies no memory: the machine's memfd becomes the image's and is sealed, and the machine goes on copy-on-write
//! like a fork. Only what has an image already (a fork, a machine frozen before) is copied into a new one. A fork shares
//! every page and all of the VMM's records until it changes them; it has no VM until it runs.
//! Not here: putting a fork back (`reset.zig`).
const std = @import("std");
const call_module = @import("call.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const planted = @import("planted.zig");
const vm_pool = @import("vm_pool.zig");
const windows = @import("remote/windows.zig");
const vectors_module = @import("vectors.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const FrameImage = @import("memory/frame_image.zig").FrameImage;
const FrameSpace = @import("memory/frames.zig").FrameSpace;
const Machine = @import("machine.zig").Machine;
const Output = @import("output.zig").Output;
const SpaceImage = @import("memory/space_image.zig").SpaceImage;
const WriteSet = @import("write_set.zig").WriteSet;
const frozen_files = @import("linux/files/frozen.zig");

pub const Error = error{ OutOfMemory, HostFailure };

pub const Image = struct {
    allocator: std.mem.Allocator,
    references: std.atomic.Value(u32) = .init(1),
    frames: FrameImage,
    space: SpaceImage,
    /// The frozen machine's other state. What a reset does not copy from it is not to be used, but for its kernel's files
    /// and threads.
    machine: Machine,
    write_set: WriteSet = .{},
    /// The write set as it was before what requests use is recorded anew.
    unrecorded_writes: WriteSet = .{},
    /// Which standard outputs the embedder reads.
    piped: [2]bool = .{ false, false },

    /// Freezes a machine that does not run.
    pub fn freeze(machine: *Machine) Error!*Image {
        const allocator = machine.allocator;
        // Another thread must not take the VM away while its processor is read.
        const held = vm_pool.hold(machine);
        defer if (held) vm_pool.unpin(machine);
        if (machine.gates) |gates| gates.closeAll();
        call_module.prepare(machine);
        var wiped = try Wiped.wipe(machine);
        defer wiped.putBack(machine);
        const self = try allocator.create(Image);
        errdefer allocator.destroy(self);
        self.* = .{
            .allocator = allocator,
            .frames = undefined,
            .space = undefined,
            .machine = machine.*,
            .piped = .{ machine.outputs[0] != null, machine.outputs[1] != null },
        };
        machine.current().segments = machine.currentSegments();
        self.machine.clock.freeze();
        self.machine.kernel = try machine.kernel.freeze(&self.machine.clock);
        errdefer self.machine.kernel.deinit();
        self.machine.connections = try machine.connections.copy(allocator);
        errdefer self.machine.connections.deinit(allocator);
        self.machine.shown = .{};
        self.machine.gates = null;
        self.machine.remote = null;
        try self.freezeVectors(machine);
        // The image must be able to outlive the machine, so it has a tracer of its own for forks to copy.
        if (machine.tracer) |tracer| self.machine.tracer = try tracer.another();
        errdefer if (self.machine.tracer) |tracer| tracer.destroy();
        // In the image's own memory too, where a stub can load it without an exit.
        machine.frames.noteWrite(@intCast(layout.vectors_physical / limits.page_size));
        var loadable = self.callVectors().*;
        vectors_module.keepComponents(&loadable, machine.platform.device.xcr0);
        @memcpy(machine.vectorsPage(), std.mem.asBytes(&loadable));
        try self.space.freeze(&machine.space);
        errdefer self.space.giveBack(&machine.space);
        const first = machine.image == null;
        try self.frames.freeze(&machine.frames);
        _ = machine.program.retain();
        if (first) machine.image = self.retain();
        return self;
    }

    /// Nothing was recorded: the write set is what it was before.
    pub fn keepWrites(self: *Image) void {
        self.write_set.lock.lock();
        defer self.write_set.lock.unlock();
        if (self.write_set.count > 0) return;
        std.mem.swap(std.DynamicBitSetUnmanaged, &self.write_set.frames, &self.unrecorded_writes.frames);
        std.mem.swap(u32, &self.write_set.count, &self.unrecorded_writes.count);
    }

    pub fn retain(self: *Image) *Image {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Image) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        const allocator = self.allocator;
        if (self.machine.tracer) |tracer| tracer.destroy();
        self.machine.kernel.deinit();
        self.machine.connections.deinit(allocator);
        self.machine.program.release(allocator);
        self.space.deinit(allocator);
        self.frames.deinit();
        self.write_set.deinit(allocator);
        self.unrecorded_writes.deinit(allocator);
        allocator.destroy(self);
    }

    pub const ForkOptions = struct {
        memory_bytes: u64,
        /// Taken over, on failure too.
        outputs: [2]?*Output = .{ null, null },
    };

    /// A machine that is as this one was; its cost does not depend on how much memory the image has.
    pub fn fork(self: *Image, options: ForkOptions) Error!*Machine {
        const allocator = self.allocator;
        errdefer destroyOutputs(allocator, options.outputs);
        const machine = try allocator.create(Machine);
        errdefer allocator.destroy(machine);
        machine.* = self.machine;
        machine.frames = try FrameSpace.initFork(allocator, &self.frames, options.memory_bytes, machine.growth());
        errdefer machine.frames.deinit();
        machine.space = try AddressSpace.initFork(allocator, &machine.frames, &self.space);
        errdefer machine.space.deinit();
        machine.kernel.threads = try self.machine.kernel.threads.copy();
        errdefer machine.kernel.threads.deinit();
        machine.kernel.answers = .{};
        machine.kernel.files = try frozen_files.copy(&self.machine.kernel.files, options.outputs);
        errdefer machine.kernel.files.deinit();
        machine.kernel.exports = try self.machine.kernel.exports.copy(allocator);
        errdefer machine.kernel.exports.deinit(allocator);
        machine.kernel.imports = try self.machine.kernel.imports.copy(allocator);
        errdefer machine.kernel.imports.deinit(allocator);
        machine.connections = try self.machine.connections.share(allocator);
        errdefer machine.connections.deinit(allocator);
        machine.tracer = if (self.machine.tracer) |tracer| try tracer.another() else null;
        self.ownParts(machine, options);
        return machine;
    }

    fn destroyOutputs(allocator: std.mem.Allocator, outputs: [2]?*Output) void {
        for (outputs) |output| if (output) |some| {
            some.deinit();
            allocator.destroy(some);
        };
    }

    fn ownParts(self: *Image, machine: *Machine, options: ForkOptions) void {
        machine.attachment = .{};
        machine.interrupt = .{};
        machine.outputs = options.outputs;
        for (options.outputs) |output| if (output) |some| {
            some.interrupt = &machine.interrupt;
        };
        machine.broken = false;
        machine.report = .init(machine.allocator);
        machine.image = self.retain();
        machine.is_fork = true;
        machine.populated = false;
        machine.resets = .{};
        machine.program = self.machine.program.retain();
        machine.connectVcpu();
        machine.clock = .initFork(&self.machine.clock, machine.systemPage(.vdso_parameters));
        machine.kernel.memory = machine.space.access();
        machine.kernel.space = &machine.space;
        machine.kernel.machine = machine;
        windows.enter(&machine.space.area);
        machine.kernel.clock = &machine.clock;
        machine.kernel.interrupt = &machine.interrupt;
        machine.kernel.counters = .{};
        machine.kernel.cycles_forgotten = 0;
        machine.kernel.cycles_before = self.machine.kernel.cpuCycles();
        // The clock's page was written, and perhaps the write set.
        machine.frames.touched.stale = true;
    }

    /// The vector state of each thread, in the image's own memory. A call in a fork begins as the next one in the machine would.
    fn freezeVectors(self: *Image, machine: *Machine) Error!void {
        const threads = &machine.kernel.threads;
        const frozen = &self.machine.kernel.threads;
        for (frozen.list.items, threads.list.items) |mine, thread| try mine.vectors.inherit(&thread.vectors, &machine.vm, machine.allocator);
        const caller = if (threads.caller_fresh) threads.current else threads.caller;
        try frozen.caller.vectors.inherit(&caller.vectors, &machine.vm, machine.allocator);
        frozen.caller_fresh = false;
    }

    /// The vector state with which a call in a fork begins.
    pub fn callVectors(self: *const Image) *const kvm.Xsave {
        return self.machine.kernel.threads.caller.vectors.current.memory;
    }
};

/// Pages that forks are to find zero (MADV_WIPEONFORK): zero while the machine is frozen, the machine's own again behind it.
const Wiped = struct {
    const Page = struct { frame: u32, bytes: [limits.page_size]u8 };
    pages: std.ArrayList(Page) = .empty,

    fn wipe(machine: *Machine) Error!Wiped {
        var self: Wiped = .{};
        errdefer self.putBack(machine);
        for (machine.space.vmas.items.items) |vma| {
            if (!vma.wipe_on_fork or planted.is(.wiped_page_kept)) continue;
            var at = vma.start;
            while (machine.space.nextFrame(&at, vma.end)) |frame| : (at += limits.page_size) {
                const bytes = machine.frames.bytes(frame, 1);
                const page = self.pages.addOne(machine.allocator) catch return error.OutOfMemory;
                page.* = .{ .frame = frame, .bytes = bytes[0..limits.page_size].* };
                @memset(bytes, 0);
            }
        }
        return self;
    }

    fn putBack(self: *Wiped, machine: *Machine) void {
        for (self.pages.items) |*page| @memcpy(machine.frames.bytes(page.frame, 1), &page.bytes);
        self.pages.deinit(machine.allocator);
    }
};
