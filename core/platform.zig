//! What kind of KVM this is, found out by behaviour at start-up, never by name.
//!
//! A throw-away VM runs a few instructions and shows: does `syscall` reach ring 0, is CPUID what the VMM sets, which
//! time-stamp counter does the guest read, does a changed page-table entry show without help. Everything that differs
//! between platforms is decided from the answers, here.
const std = @import("std");
const host = @import("host.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const page_tables = @import("memory/page_tables.zig");
const system_area = @import("system_area.zig");
const FrameSpace = @import("memory/frames.zig").FrameSpace;
const Vm = @import("vm.zig").Vm;
const vm_pool = @import("vm_pool.zig");
const Calibration = @import("clock.zig").Calibration;
pub const Device = @import("vm.zig").Device;
const Level = @import("cpu_baseline.zig").Level;

pub const TimeStampCounter = enum {
    /// The guest reads the host's counter.
    host,
    /// It does once the VMM has set the offset to zero.
    host_after_offset,
    /// It reads one of its own; the VMM measures the distance for each machine.
    own,
};

pub const Platform = struct {
    device: Device,
    route: system_area.SyscallRoute,
    time_stamp_counter: TimeStampCounter,
    cpuid_honoured: bool,
    calibration: Calibration,

    /// A name for people; nothing is decided by it.
    pub fn kind(self: *const Platform) []const u8 {
        return switch (self.route) {
            .ring3_store => "software (PVM: ring 0 is emulated, system calls stay in ring 3)",
            .ring0_out => "hardware (AMD-V, VT-x or nested)",
        };
    }

    /// Whether ring 3 may use the FSGSBASE instructions. Where CPUID is the host's, so is the answer.
    pub fn fsgsbase(self: *const Platform) bool {
        return if (self.cpuid_honoured) self.device.hasFsgsbase() else host.cpuid(7, 0).ebx & 1 == 1;
    }

    /// Flags that `syscall` clears: Linux's own set in ring 0; none where it stays in ring 3, since a stub there that answers
    /// by itself could not put them back.
    pub fn syscallFlagMask(self: *const Platform) u64 {
        return switch (self.route) {
            .ring3_store => 0,
            .ring0_out => 0x47700,
        };
    }

    pub fn syscallEntry(self: *const Platform) u64 {
        return switch (self.route) {
            .ring3_store => layout.stub_syscall,
            .ring0_out => layout.stub_ring0_syscall,
        };
    }

    /// The guest's time-stamp counter minus the host's, for a VM of this platform.
    pub fn prepareTsc(self: *const Platform, vm: *Vm) i64 {
        switch (self.time_stamp_counter) {
            .host => return 0,
            .host_after_offset => if (vm.zeroTscOffset()) return 0,
            .own => {},
        }
        var msrs: kvm.Msrs(1) = .{ .entries = .{.{ .index = kvm.MSR_TSC, .data = 0 }} };
        const before = host.rdtsc();
        _ = host.ioctlPtr(vm.vcpu_fd, kvm.GET_MSRS, &msrs) catch return 0;
        const after = host.rdtsc();
        return @bitCast(msrs.entries[0].data -% (before + (after - before) / 2));
    }
};

/// `movabs %rax, data; report`
const snippet_write = [_]u8{ 0x48, 0xa3 } ++ std.mem.toBytes(@as(u64, data_address)) ++ report_rax;

pub const ProbeError = Device.OpenError || error{ OutOfMemory, ProbeFailed };

const code_address = 0x40_0000;
const data_address = 0x50_0000;
const probe_port = 0x10;
const features_leaf = 7;

const snippet_syscall = [_]u8{ 0x0f, 0x05 };
const report_rax = [_]u8{ 0x48, 0xa3 } ++ std.mem.toBytes(layout.Page.exit.address());
/// `mov $leaf, %eax; xor %ecx, %ecx; cpuid; mov %ebx, %eax; report`
const snippet_cpuid = [_]u8{0xb8} ++ std.mem.toBytes(@as(u32, features_leaf)) ++ [_]u8{ 0x31, 0xc9, 0x0f, 0xa2, 0x89, 0xd8 } ++ report_rax;
/// `rdtsc; shl $32, %rdx; or %rdx, %rax; report`
const snippet_tsc = [_]u8{ 0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0 } ++ report_rax;
/// `movabs data, %rax; report`
const snippet_read = [_]u8{ 0x48, 0xa1 } ++ std.mem.toBytes(@as(u64, data_address)) ++ report_rax;

pub fn probe(allocator: std.mem.Allocator, baseline: ?Level) ProbeError!Platform {
    var device = try Device.open(baseline);
    errdefer host.close(device.fd);
    var bench: Bench = undefined;
    const offered = device.hasXsave();
    if (!offered) device.claimXsave(true);
    bench.init(allocator, &device) catch |failure| {
        if (offered or failure != error.HostFailure) return failure;
        device.claimXsave(false);
        try bench.init(allocator, &device);
    };
    defer bench.deinit();

    const route: system_area.SyscallRoute = switch (try bench.runSnippet(&snippet_syscall)) {
        .port => |port| if (port == probe_port) .ring0_out else .ring3_store,
        .store => return error.ProbeFailed,
    };
    const features: u32 = @truncate(try bench.reported(&snippet_cpuid));
    const before = host.rdtsc();
    const guest_tsc = try bench.reported(&snippet_tsc);
    const after = host.rdtsc();
    var counter: TimeStampCounter = if (guest_tsc >= before and guest_tsc <= after) .host else .own;
    if (counter == .own and bench.vm.zeroTscOffset()) {
        const low = host.rdtsc();
        const again = try bench.reported(&snippet_tsc);
        if (again >= low and again <= host.rdtsc()) counter = .host_after_offset;
    }
    return .{
        .device = device,
        .route = route,
        .time_stamp_counter = counter,
        .cpuid_honoured = features == device.features(),
        .calibration = .start(host.ioctl(bench.vm.vcpu_fd, kvm.GET_TSC_KHZ, 0) catch 0),
    };
}

/// Whether a changed present page-table entry stays in effect until an event on the old target's host page. The VMM makes
/// that event everywhere; this is for the curious.
pub fn entriesGoStale(allocator: std.mem.Allocator, platform: *const Platform) ProbeError!bool {
    var bench: Bench = undefined;
    try bench.init(allocator, &platform.device);
    defer bench.deinit();
    return bench.entriesGoStale();
}

/// The least time of one exit of ring 3 to the VMM and back, in nanoseconds, of `rounds`.
pub fn exitCost(allocator: std.mem.Allocator, platform: *const Platform, rounds: u32) ProbeError!u64 {
    var bench: Bench = undefined;
    try bench.init(allocator, &platform.device);
    defer bench.deinit();
    var least: u64 = std.math.maxInt(u64);
    for (0..rounds) |_| {
        const before = host.monotonicNs();
        _ = try bench.runSnippet(&report_rax);
        least = @min(least, host.monotonicNs() - before);
    }
    return least;
}

/// The least time a guest's first write to a page takes beyond its exit, in nanoseconds.
pub fn firstWriteCost(allocator: std.mem.Allocator, platform: *const Platform) ProbeError!u64 {
    var bench: Bench = undefined;
    try bench.init(allocator, &platform.device);
    defer bench.deinit();
    var cold: u64 = std.math.maxInt(u64);
    var warm: u64 = std.math.maxInt(u64);
    for (0..8) |_| {
        bench.frames.punch(bench.data[0], 1);
        const start = host.monotonicNs();
        _ = try bench.runSnippet(&snippet_write);
        const middle = host.monotonicNs();
        _ = try bench.runSnippet(&snippet_write);
        const end = host.monotonicNs();
        cold = @min(cold, middle - start);
        warm = @min(warm, end - middle);
    }
    return cold -| warm;
}

/// A VM for probing: one code page, one data page, an `out` where `syscall` leads.
const Bench = struct {
    vm: Vm,
    frames: FrameSpace,
    tables: page_tables.PageTables,
    code: u32,
    data: [2]u32,

    const Answer = union(enum) { port: u16, store: u64 };

    fn init(self: *Bench, allocator: std.mem.Allocator, device: *const Device) ProbeError!void {
        var probing = device.*;
        // The page at LSTAR is ring 3's and ring 0 may have to run it, which SMEP would forbid.
        const smep_and_smap: u64 = 1 << 20 | 1 << 21;
        probing.cr4 &= ~smep_and_smap;
        self.vm = try vm_pool.take(device);
        // What is set here is not what machines need.
        self.vm.prepared = false;
        errdefer vm_pool.give(&self.vm, false);
        self.frames = try FrameSpace.init(allocator, limits.MiB, .{}, .{ .context = self, .grow_fn = backSlots });
        errdefer self.frames.deinit();
        const system_frame = layout.system_physical / limits.page_size;
        try self.frames.reserveSystem(system_frame, layout.system_pages);
        self.tables = try page_tables.PageTables.init(&self.frames);
        errdefer self.tables.deinit();
        self.code = try self.frames.takeSmall(1);
        self.data = .{ try self.frames.takeSmall(1), try self.frames.takeSmall(1) };
        try self.map(&probing);
    }

    fn map(self: *Bench, device: *const Device) ProbeError!void {
        const first = layout.system_physical / limits.page_size;
        system_area.writeDescriptors(self.frames.bytes(first, 1)[0..limits.page_size]);
        system_area.writeRing0Stubs(self.frames.bytes(first + 1, 1)[0..limits.page_size], .none);
        self.frames.bytes(first + 2, 1)[0..2].* = .{ 0xe6, probe_port };
        const P = layout.Page;
        inline for (.{
            .{ P.descriptors, page_tables.leaf(P.descriptors.physical(), .{ .user = false }) },
            .{ P.ring0_stubs, page_tables.leaf(P.ring0_stubs.physical(), .{ .user = false, .execute = true }) },
            .{ P.user_stubs, page_tables.leaf(P.user_stubs.physical(), .{ .execute = true }) },
            .{ P.exception_stack, page_tables.leaf(P.exception_stack.physical(), .{ .user = false, .write = true }) },
            .{ P.exit, page_tables.leaf(layout.exit_physical, .{ .write = true }) },
        }) |pair| self.set(pair[0].address(), pair[1]) catch return error.OutOfMemory;
        self.set(code_address, page_tables.leaf(@as(u64, self.code) * limits.page_size, .{ .execute = true })) catch return error.OutOfMemory;
        self.set(data_address, page_tables.leaf(@as(u64, self.data[0]) * limits.page_size, .{ .write = true })) catch return error.OutOfMemory;
        try self.vm.enterLongMode(device, self.tables.rootPhysical(), layout.Page.user_stubs.address(), 0);
    }

    fn backSlots(context: *anyopaque, bytes: u64) host.Error!void {
        const self: *Bench = @ptrCast(@alignCast(context));
        return self.vm.back(&self.vm.backing, &self.frames, bytes);
    }

    /// The VM has run well so far, so the first machine may have it.
    fn deinit(self: *Bench) void {
        vm_pool.give(&self.vm, true);
        self.tables.deinit();
        self.frames.deinit();
    }

    fn set(self: *Bench, address: u64, entry: u64) !void {
        self.tables.set(try self.tables.windowTable(address), address, entry);
    }

    fn runSnippet(self: *Bench, code: []const u8) ProbeError!Answer {
        @memcpy(self.frames.bytes(self.code, 1)[0..code.len], code);
        const run = self.vm.run;
        run.sync.s.regs = .{ .rip = code_address, .rflags = 2 };
        run.sync.s.sregs.cs = @import("vm.zig").user_code;
        run.sync.s.sregs.ss = @import("vm.zig").user_data;
        run.valid_regs = kvm.SYNC_X86_REGS | kvm.SYNC_X86_SREGS;
        run.dirty_regs = kvm.SYNC_X86_REGS | kvm.SYNC_X86_SREGS;
        while (true) {
            self.vm.enter() catch |failure| switch (failure) {
                error.Interrupted => continue,
                error.HostFailure => return error.HostFailure,
            };
            break;
        }
        return switch (run.exit_reason) {
            .io => .{ .port = run.exit.io.port },
            .mmio => .{ .store = std.mem.readInt(u64, &run.exit.mmio.data, .little) },
            else => error.ProbeFailed,
        };
    }

    fn reported(self: *Bench, code: []const u8) ProbeError!u64 {
        return switch (try self.runSnippet(code)) {
            .store => |value| value,
            .port => error.ProbeFailed,
        };
    }

    fn entriesGoStale(self: *Bench) ProbeError!bool {
        for (self.data, 1..) |frame, value| self.frames.bytes(frame, 1)[0] = @intCast(value);
        if (try self.reported(&snippet_read) != 1) return error.ProbeFailed;
        self.set(data_address, page_tables.leaf(@as(u64, self.data[1]) * limits.page_size, .{})) catch return error.OutOfMemory;
        return try self.reported(&snippet_read) == 1;
    }
};

test "the platform can be probed where KVM can be used" {
    const platform = probe(std.testing.allocator, null) catch |failure| switch (failure) {
        error.NoDevice, error.NoAccess => return error.SkipZigTest,
        else => return failure,
    };
    defer host.close(platform.device.fd);
    const stale = try entriesGoStale(std.testing.allocator, &platform);
    std.debug.print("\nplatform: {s}; tsc {t}; cpuid honoured {}; entries go stale {}; cr4 {x} xcr0 {x}\n", .{
        platform.kind(), platform.time_stamp_counter, platform.cpuid_honoured, stale, platform.device.cr4, platform.device.xcr0,
    });
}
