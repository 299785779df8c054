//! A thread's vector state (x87, MXCSR, SSE, AVX, AVX-512): where it is now, and how it gets into the processor.
//!
//! The current thread's stays in the processor from run to run; it is read out only when another thread's is to go there,
//! the machine loses its VM or is frozen. What is loaded is KVM's XSAVE image in the standard form.
//! Sources: Intel SDM volume 1, chapter 13; KVM api.rst, KVM_GET_XSAVE.
const std = @import("std");
const host = @import("host.zig");
const kvm = @import("kvm.zig");
const planted = @import("planted.zig");
const Vm = @import("vm.zig").Vm;

/// As after power-on: everything in its initial configuration.
pub const initial: kvm.Xsave = blk: {
    @setEvalBranchQuota(10_000);
    const initial_fcw = 0x37f;
    const initial_mxcsr = 0x1f80;
    var area: kvm.Xsave = .{ .region = @splat(0) };
    std.mem.writeInt(u16, area.region[0..2], initial_fcw, .little);
    std.mem.writeInt(u32, area.region[24..28], initial_mxcsr, .little);
    break :blk area;
};

const Place = union(enum) {
    processor,
    /// To be loaded before the guest runs on.
    memory: *const kvm.Xsave,
};

/// Takes components out of an XSAVE image that a guest may not load itself; they are in their initial configuration then.
pub fn keepComponents(area: *kvm.Xsave, components: u64) void {
    const header = area.region[512..520];
    std.mem.writeInt(u64, header, std.mem.readInt(u64, header, .little) & components, .little);
}

const header_offset = 512;
const pkru_component = 9;

/// Gives the processor a state. What an image does not name, KVM leaves as it was or not, by its version: MXCSR and the
/// rights of protection keys, which ring 3 may have changed. So an image always names x87, SSE and those rights, and no other
/// machine finds them.
pub fn put(vm: *const Vm, area: *const kvm.Xsave) host.Error!void {
    var complete = area.*;
    const header = complete.region[header_offset..][0..8];
    var components = std.mem.readInt(u64, header, .little);
    nameLegacy(&complete, components);
    components |= x87_component | sse_component;
    if (vm.pkru_offset != 0) {
        const pkru: u64 = 1 << pkru_component;
        if (components & pkru == 0) @memset(complete.region[vm.pkru_offset..][0..8], 0);
        components |= pkru;
    }
    std.mem.writeInt(u64, header, components, .little);
    _ = try host.ioctlPtr(vm.vcpu_fd, kvm.SET_XSAVE, &complete);
}

const x87_component: u64 = 1 << 0;
const sse_component: u64 = 1 << 1;
const avx_component: u64 = 1 << 2;

/// Writes the initial configuration of the legacy components that are not named (Intel SDM volume 1, 13.6).
fn nameLegacy(area: *kvm.Xsave, components: u64) void {
    const fresh = &initial.region;
    const control_end = 24;
    const mxcsr_end = 32;
    const x87_end = 160;
    const sse_end = 416;
    if (components & x87_component == 0) {
        area.region[0..control_end].* = fresh[0..control_end].*;
        area.region[mxcsr_end..x87_end].* = fresh[mxcsr_end..x87_end].*;
    }
    if (components & (sse_component | avx_component) == 0) area.region[control_end..mxcsr_end].* = fresh[control_end..mxcsr_end].*;
    if (components & sse_component == 0) area.region[x87_end..sse_end].* = fresh[x87_end..sse_end].*;
}

/// Loads all but the part that a planted fault keeps; a part that the processor does not have cannot be kept.
fn loadWithFault(vm: *const Vm, area: *const kvm.Xsave) host.Error!void {
    if (planted.is(.vectors_not_loaded)) return;
    var now: kvm.Xsave = undefined;
    _ = try host.ioctlPtr(vm.vcpu_fd, kvm.GET_XSAVE, &now);
    var next = area.*;
    const parts: []const struct { planted.Fault, usize, usize, u64 } = &.{
        .{ .mxcsr_kept, 24, 28, 2 },
        .{ .x87_kept, 0, 24, 1 },
        .{ .avx_upper_halves_kept, 576, 832, 4 },
        .{ .avx512_kept, 1088, 2688, 0xe0 },
    };
    const there: u64 = host.cpuid(0xd, 0).eax;
    for (parts) |part| if (planted.is(part[0]) and part[3] & ~there == 0) {
        @memcpy(next.region[part[1]..part[2]], now.region[part[1]..part[2]]);
        if (part[0] == .x87_kept) @memcpy(next.region[32..160], now.region[32..160]);
        std.mem.writeInt(u64, next.region[512..520], std.mem.readInt(u64, next.region[512..520], .little) | part[3], .little);
    };
    try put(vm, &next);
}

pub const Vectors = struct {
    /// The state with which the thread goes on.
    current: Place = .{ .memory = &initial },
    /// Own memory for it, made when it is first needed.
    copy: ?*kvm.Xsave = null,

    pub const Error = error{ OutOfMemory, HostFailure };

    pub fn deinit(self: *Vectors, allocator: std.mem.Allocator) void {
        if (self.copy) |copy| allocator.destroy(copy);
        self.* = undefined;
    }

    fn ownCopy(self: *Vectors, allocator: std.mem.Allocator) Error!*kvm.Xsave {
        if (self.copy == null) self.copy = try allocator.create(kvm.Xsave);
        return self.copy.?;
    }

    /// A copy of the state, wherever it is.
    pub fn copyTo(self: *const Vectors, vm: *const Vm, to: *kvm.Xsave) host.Error!void {
        switch (self.current) {
            .memory => |area| to.* = area.*,
            .processor => _ = try host.ioctlPtr(vm.vcpu_fd, kvm.GET_XSAVE, to),
        }
    }

    /// The exceptions that the processor has raised and does not mask: of MXCSR, or of the x87 control and status words.
    pub fn raisedExceptions(self: *const Vectors, vm: *const Vm, simd: bool) host.Error!u32 {
        var area: kvm.Xsave = undefined;
        try self.copyTo(vm, &area);
        const mxcsr = std.mem.readInt(u32, area.region[24..28], .little);
        const control = std.mem.readInt(u16, area.region[0..2], .little);
        const status = std.mem.readInt(u16, area.region[2..4], .little);
        return if (simd) mxcsr & ~(mxcsr >> 7) & 0x3f else status & ~control & 0x3f;
    }

    /// Puts the state into the processor of the attached VM.
    pub fn load(self: *Vectors, vm: *Vm) Error!void {
        switch (self.current) {
            .processor => return,
            .memory => |area| if (area != &initial or !vm.vectors_initial) {
                if (planted.enabled) {
                    try loadWithFault(vm, area);
                } else try put(vm, area);
            },
        }
        self.current = .processor;
        vm.vectors_initial = false;
    }

    /// Whether a stub in the guest is to load the state, which is then as good as loaded: it must be that of the image, a
    /// copy of which is in the guest's memory, and ring 3 must have the instruction.
    pub fn leaveToStub(self: *Vectors, vm: *Vm, image: ?*const kvm.Xsave, has_xsave: bool) bool {
        if (planted.enabled or !has_xsave or image == null) return false;
        if (self.current != .memory or self.current.memory != image.?) return false;
        self.current = .processor;
        vm.vectors_initial = false;
        return true;
    }

    /// Takes the state out of the processor, before another thread's goes there or the machine loses its VM.
    pub noinline fn keep(self: *Vectors, vm: *const Vm, allocator: std.mem.Allocator) Error!void {
        if (self.current != .processor) return;
        const copy = try self.ownCopy(allocator);
        _ = try host.ioctlPtr(vm.vcpu_fd, kvm.GET_XSAVE, copy);
        self.current = .{ .memory = copy };
    }

    /// Takes over another thread's state, in memory of its own.
    pub fn inherit(self: *Vectors, other: *const Vectors, vm: *const Vm, allocator: std.mem.Allocator) Error!void {
        const copy = try self.ownCopy(allocator);
        try other.copyTo(vm, copy);
        self.current = .{ .memory = copy };
    }

    /// Another thread's state becomes this one's where it is; the other keeps a copy.
    pub fn takeOver(self: *Vectors, other: *Vectors, vm: *const Vm, allocator: std.mem.Allocator) Error!void {
        switch (other.current) {
            .processor => {
                try other.keep(vm, allocator);
                self.current = .processor;
            },
            .memory => |area| if (area == other.copy) {
                try self.inherit(other, vm, allocator);
            } else {
                self.current = .{ .memory = area };
            },
        }
    }
};
