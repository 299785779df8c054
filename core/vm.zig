//! One KVM virtual machine with its one vCPU: file descriptors, memory slots, and the state it starts with.
//!
//! Not here: what runs in it (`machine.zig`), what was probed about the platform (`platform.zig`).
const std = @import("std");
const linux = std.os.linux;
const cpu_baseline = @import("cpu_baseline.zig");
const host = @import("host.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const FrameSpace = @import("memory/frames.zig").FrameSpace;
const vectors = @import("vectors.zig");

const CR0 = struct {
    const PE = 1 << 0;
    const MP = 1 << 1;
    const ET = 1 << 4;
    const NE = 1 << 5;
    const WP = 1 << 16;
    const AM = 1 << 18;
    const PG = 1 << 31;
};
const CR4 = struct {
    const PAE = 1 << 5;
    const OSFXSR = 1 << 9;
    const OSXMMEXCPT = 1 << 10;
    const UMIP = 1 << 11;
    const FSGSBASE = 1 << 16;
    const OSXSAVE = 1 << 18;
    const SMEP = 1 << 20;
    const SMAP = 1 << 21;
};
const EFER = struct {
    const SCE = 1 << 0;
    const LME = 1 << 8;
    const LMA = 1 << 10;
    const NXE = 1 << 11;
};
/// State components a guest may use: x87, SSE, AVX, the three of AVX-512, and the rights of protection keys. On PVM ring 3
/// can write those whatever it is told it has, and KVM switches them only where XCR0 holds them.
const xcr0_wanted: u64 = 0x2e7;
const xcr0_pkru: u64 = 0x200;
const kvm_leaf_first = 0x4000_0000;

/// What all VMs of the process share: the device and what it supports.
pub const Device = struct {
    fd: i32,
    run_bytes: usize,
    cpuid: kvm.Cpuid,
    xcr0: u64,
    cr4: u64,

    pub const OpenError = error{ NoDevice, NoAccess, WrongVersion, MissingCapability, HostFailure };

    /// With a baseline nothing is shown to guests beyond it.
    pub fn open(baseline: ?cpu_baseline.Level) OpenError!Device {
        const rc = linux.open("/dev/kvm", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0);
        const fd: i32 = @intCast(host.check(rc) catch return switch (host.last_errno) {
            .NOENT, .NXIO, .NODEV => error.NoDevice,
            .ACCES, .PERM => error.NoAccess,
            else => error.HostFailure,
        });
        errdefer host.close(fd);
        const version = host.ioctl(fd, kvm.GET_API_VERSION, 0) catch return error.NoDevice;
        if (version != kvm.api_version) return error.WrongVersion;
        const sync = try host.ioctl(fd, kvm.CHECK_EXTENSION, kvm.CAP_SYNC_REGS);
        const immediate = try host.ioctl(fd, kvm.CHECK_EXTENSION, kvm.CAP_IMMEDIATE_EXIT);
        const both = kvm.SYNC_X86_REGS | kvm.SYNC_X86_SREGS;
        if (sync & both != both or immediate == 0) return error.MissingCapability;
        var device: Device = .{
            .fd = fd,
            .run_bytes = try host.ioctl(fd, kvm.GET_VCPU_MMAP_SIZE, 0),
            .cpuid = .{},
            .xcr0 = 0,
            .cr4 = CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT,
        };
        _ = try host.ioctlPtr(fd, kvm.GET_SUPPORTED_CPUID, &device.cpuid);
        if (baseline) |level| cpu_baseline.apply(&device.cpuid, level);
        device.readFeatures();
        return device;
    }

    pub fn hasFsgsbase(self: *const Device) bool {
        return self.cr4 & CR4.FSGSBASE != 0;
    }

    /// CPUID leaf 7, EBX, as a VM is told to show it.
    pub fn features(self: *const Device) u32 {
        for (self.cpuid.entries[0..self.cpuid.nent]) |entry| {
            if (entry.function == 7 and entry.index == 0) return entry.ebx;
        }
        return 0;
    }

    /// PVM leaves XSAVE out of what it supports although ring 3 has it. Where CPUID is emulated, a guest sees AVX only if
    /// it is set all the same; a KVM that minds refuses CR4.OSXSAVE, and then the guest goes without.
    pub fn claimXsave(self: *Device, claim: bool) void {
        if (self.xcr0 & 4 == 0) return;
        const xsave = 1 << 26;
        for (self.cpuid.entries[0..self.cpuid.nent]) |*entry| {
            if (entry.function != 1) continue;
            entry.ecx = if (claim) entry.ecx | xsave else entry.ecx & ~@as(u32, xsave);
        }
        self.cr4 = if (claim) self.cr4 | CR4.OSXSAVE else self.cr4 & ~@as(u64, CR4.OSXSAVE);
    }

    pub fn hasXsave(self: *const Device) bool {
        return self.cr4 & CR4.OSXSAVE != 0;
    }

    /// Takes what the guest may use from the supported CPUID, and hides what it has no use for.
    fn readFeatures(self: *Device) void {
        var kept: u32 = 0;
        for (self.cpuid.entries[0..self.cpuid.nent]) |entry| {
            var copy = entry;
            switch (entry.function) {
                1 => {
                    if (entry.ecx >> 26 & 1 == 1) self.cr4 |= CR4.OSXSAVE;
                    copy.ebx &= 0x00ff_ffff;
                },
                7 => if (entry.index == 0) {
                    if (entry.ebx >> 0 & 1 == 1) self.cr4 |= CR4.FSGSBASE;
                    if (entry.ebx >> 7 & 1 == 1) self.cr4 |= CR4.SMEP;
                    if (entry.ebx >> 20 & 1 == 1) self.cr4 |= CR4.SMAP;
                    if (entry.ecx >> 2 & 1 == 1) self.cr4 |= CR4.UMIP;
                },
                0xd => if (entry.index == 0) {
                    self.xcr0 = (@as(u64, entry.edx) << 32 | entry.eax) & xcr0_wanted;
                },
                // KVM's own leaves offer clocks and hypercalls that no guest of ours has.
                kvm_leaf_first...kvm_leaf_first + 0xff => continue,
                else => {},
            }
            self.cpuid.entries[kept] = copy;
            kept += 1;
        }
        self.cpuid.nent = kept;
    }
};

/// A machine's memory in a VM: how much of it there is, and in which slots.
pub const Backing = struct {
    bytes: u64 = 0,
    slots: [slots_of_machine_max]u16 = undefined,
    count: u8 = 0,

    /// Each doubles what there is.
    const slots_of_machine_max = 16;
};

pub const Vm = struct {
    fd: i32,
    vcpu_fd: i32,
    run: *kvm.Run,
    run_bytes: usize,
    /// Numbers of memory slots that are in use.
    slots: std.StaticBitSet(limits.vm_slots_max) = .initEmpty(),
    /// The memory of the machine that it is of.
    backing: Backing = .{},
    apic_base: u64 = 0,
    /// The guest's time-stamp counter minus the host's, once `prepare` has run.
    tsc_offset: i64 = 0,
    /// Everything a machine needs is set but registers and memory.
    prepared: bool = false,
    /// The processor's vector state is as after power-on.
    vectors_initial: bool = false,
    /// Where an XSAVE image has the rights of protection keys; 0 where there are none.
    pkru_offset: u32 = 0,

    pub fn create(device: *const Device) host.Error!Vm {
        const fd: i32 = @intCast(try createRetrying(device.fd));
        errdefer host.close(fd);
        const vcpu_fd: i32 = @intCast(try host.ioctl(fd, kvm.CREATE_VCPU, 0));
        errdefer host.close(vcpu_fd);
        const address = try host.check(linux.mmap(null, device.run_bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .SHARED }, vcpu_fd, 0));
        const run: *kvm.Run = @ptrFromInt(address);
        errdefer _ = linux.munmap(@ptrFromInt(address), device.run_bytes);
        _ = try host.ioctlPtr(vcpu_fd, kvm.SET_CPUID2, &device.cpuid);
        const pkru_offset = if (device.xcr0 & xcr0_pkru != 0) host.cpuid(0xd, @ctz(xcr0_pkru)).ebx else 0;
        if (pkru_offset + @sizeOf(u64) > @sizeOf(kvm.Xsave)) return error.HostFailure;
        return .{ .fd = fd, .vcpu_fd = vcpu_fd, .run = run, .run_bytes = device.run_bytes, .pkru_offset = pkru_offset };
    }

    /// Takes all memory from a VM whose machine is gone. Deleting a slot makes KVM forget every translation of the VM, so
    /// that nothing of the machine before can show in the next one. False if the VM cannot be used again.
    pub fn strip(self: *Vm) bool {
        while (self.slots.findFirstSet()) |slot| self.removeSlot(@intCast(slot)) catch return false;
        self.backing = .{};
        self.clearProcessorState() catch return false;
        return true;
    }

    /// Vector, debug and event state as after power-on; segments and registers are set at every attachment.
    fn clearProcessorState(self: *Vm) host.Error!void {
        try vectors.put(self, &vectors.initial);
        try self.clearEvents();
        self.run.dirty_regs = 0;
        self.run.immediate_exit = 0;
    }

    /// Forgets debug registers and exceptions on their way.
    pub fn clearEvents(self: *Vm) host.Error!void {
        const debug: kvm.DebugRegs = .{};
        _ = try host.ioctlPtr(self.vcpu_fd, kvm.SET_DEBUGREGS, &debug);
        const events: kvm.VcpuEvents = .{ .bytes = @splat(0) };
        _ = try host.ioctlPtr(self.vcpu_fd, kvm.SET_VCPU_EVENTS, &events);
    }

    /// Whether KVM was interrupted on the way of an exception into the guest: it comes at the next entry, whatever the
    /// registers are then.
    pub fn holdsException(self: *Vm) bool {
        var events: kvm.VcpuEvents = undefined;
        _ = host.ioctlPtr(self.vcpu_fd, kvm.GET_VCPU_EVENTS, &events) catch return false;
        return events.bytes[0] != 0;
    }

    /// KVM_CREATE_VM answers EINTR when a signal arrives in the middle of it.
    fn createRetrying(device_fd: i32) host.Error!usize {
        while (true) {
            return host.ioctl(device_fd, kvm.CREATE_VM, 0) catch |failure| {
                if (host.last_errno == .INTR) continue;
                return failure;
            };
        }
    }

    pub fn destroy(self: *Vm) void {
        const address: [*]align(limits.page_size) u8 = @ptrCast(@alignCast(self.run));
        _ = linux.munmap(address, self.run_bytes);
        host.close(self.vcpu_fd);
        host.close(self.fd);
        self.* = undefined;
    }

    /// Registers slots over a machine's frames until its guest-physical space up to `bytes` has memory: each slot is as large as all
    /// before it.
    pub fn back(self: *Vm, backing: *Backing, frames: *const FrameSpace, bytes: u64) host.Error!void {
        while (backing.bytes < bytes) {
            if (backing.count == backing.slots.len) return error.HostFailure;
            const size = @min(@max(backing.bytes, limits.slot_first_bytes), frames.bytes_max - backing.bytes);
            backing.slots[backing.count] = try self.addSlot(frames.physical_base + backing.bytes, frames.base[@intCast(backing.bytes)..][0..@intCast(size)]);
            backing.count += 1;
            backing.bytes += size;
        }
    }

    /// Takes the memory away again. What is left of it on failure is in the backing still.
    pub fn unback(self: *Vm, backing: *Backing) host.Error!void {
        while (backing.count > 0) : (backing.count -= 1) try self.removeSlot(backing.slots[backing.count - 1]);
        backing.bytes = 0;
    }

    /// Makes host memory guest-physical memory; the slot's number.
    pub fn addSlot(self: *Vm, physical: u64, bytes: []u8) host.Error!u16 {
        const slot = self.slots.complement().findFirstSet() orelse return error.HostFailure;
        const region: kvm.UserspaceMemoryRegion = .{
            .slot = @intCast(slot),
            .flags = 0,
            .guest_phys_addr = physical,
            .memory_size = bytes.len,
            .userspace_addr = @intFromPtr(bytes.ptr),
        };
        _ = try host.ioctlPtr(self.fd, kvm.SET_USER_MEMORY_REGION, &region);
        self.slots.set(slot);
        return @intCast(slot);
    }

    /// KVM forgets every translation of the VM with it.
    pub fn removeSlot(self: *Vm, slot: u16) host.Error!void {
        const region: kvm.UserspaceMemoryRegion = .{ .slot = slot, .flags = 0, .guest_phys_addr = 0, .memory_size = 0, .userspace_addr = 0 };
        _ = try host.ioctlPtr(self.fd, kvm.SET_USER_MEMORY_REGION, &region);
        self.slots.unset(slot);
    }

    /// 64-bit ring 3 with paging on, as every program starts.
    /// `flag_mask` are the flags that `syscall` clears.
    pub fn enterLongMode(self: *Vm, device: *const Device, root_physical: u64, syscall_entry: u64, flag_mask: u64) host.Error!void {
        var sregs: kvm.Sregs = undefined;
        _ = try host.ioctlPtr(self.vcpu_fd, kvm.GET_SREGS, &sregs);
        self.apic_base = sregs.apic_base;
        sregs = longMode(device, root_physical, self.apic_base);
        _ = try host.ioctlPtr(self.vcpu_fd, kvm.SET_SREGS, &sregs);
        self.run.sync.s.sregs = sregs;
        try self.setSystemCallEntry(syscall_entry, flag_mask);
        // PVM offers XCR0 without OSXSAVE in CR4; KVM keeps AVX state only for what XCR0 holds.
        if (device.xcr0 & 3 == 3) try self.setXcr0(device.xcr0);
    }

    /// Gives a prepared VM the address space and the segment bases of a machine; they are in effect at the next entry.
    pub fn loadSegments(self: *Vm, device: *const Device, root_physical: u64, fs_base: u64, gs_base: u64) void {
        const sregs = &self.run.sync.s.sregs;
        sregs.* = longMode(device, root_physical, self.apic_base);
        sregs.fs.base = fs_base;
        sregs.gs.base = gs_base;
        self.run.dirty_regs |= kvm.SYNC_X86_SREGS;
    }

    /// Whether what the last exit left is what `loadSegments` would load, but for the ring, which every entry sets.
    pub fn hasSegments(self: *const Vm, device: *const Device, root_physical: u64, fs_base: u64, gs_base: u64) bool {
        const now = &self.run.sync.s.sregs;
        const wanted = longMode(device, root_physical, self.apic_base);
        inline for (.{ "cr0", "cr3", "cr4", "efer" }) |name| if (@field(now, name) != @field(wanted, name)) return false;
        inline for (.{ "tr", "gdt", "idt" }) |name| if (@field(now, name).base != @field(wanted, name).base) return false;
        return now.fs.base == fs_base and now.gs.base == gs_base and self.run.dirty_regs == 0;
    }

    fn setSystemCallEntry(self: *Vm, entry: u64, flag_mask: u64) host.Error!void {
        // SYSRET takes user CS and SS from the upper half, SYSCALL kernel CS and SS from the lower.
        const star = @as(u64, layout.selector_user_data - 8) << 48 | @as(u64, layout.selector_kernel_code) << 32;
        var msrs: kvm.Msrs(3) = .{ .entries = .{
            .{ .index = kvm.MSR_STAR, .data = star },
            .{ .index = kvm.MSR_LSTAR, .data = entry },
            .{ .index = kvm.MSR_SFMASK, .data = flag_mask },
        } };
        if (try host.ioctlPtr(self.vcpu_fd, kvm.SET_MSRS, &msrs) != 3) return error.HostFailure;
    }

    fn setXcr0(self: *Vm, value: u64) host.Error!void {
        var xcrs: kvm.Xcrs = .{ .nr_xcrs = 1, .xcrs = @splat(.{ .xcr = 0, .value = 0 }) };
        xcrs.xcrs[0] = .{ .xcr = 0, .value = value };
        _ = try host.ioctlPtr(self.vcpu_fd, kvm.SET_XCRS, &xcrs);
    }

    /// Gives the guest the host's own time-stamp counter; false where the platform does not know the attribute.
    pub fn zeroTscOffset(self: *Vm) bool {
        const offset: u64 = @bitCast(@as(i64, 0));
        const attribute: kvm.DeviceAttr = .{ .group = kvm.VCPU_TSC_CTRL, .attr = kvm.VCPU_TSC_OFFSET, .addr = @intFromPtr(&offset) };
        _ = host.ioctlPtr(self.vcpu_fd, kvm.SET_DEVICE_ATTR, &attribute) catch return false;
        return true;
    }

    pub const RunError = error{ Interrupted, HostFailure };

    /// One KVM_RUN. Registers written to the sync area take part as `dirty_regs` says and are valid again afterwards.
    pub fn enter(self: *Vm) RunError!void {
        _ = host.ioctl(self.vcpu_fd, kvm.RUN, 0) catch return switch (host.last_errno) {
            .INTR, .AGAIN => error.Interrupted,
            else => error.HostFailure,
        };
    }
};

fn longMode(device: *const Device, root_physical: u64, apic_base: u64) kvm.Sregs {
    var sregs = std.mem.zeroes(kvm.Sregs);
    sregs.apic_base = apic_base;
    sregs.cr0 = CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG;
    sregs.cr3 = root_physical;
    sregs.cr4 = device.cr4;
    sregs.efer = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
    sregs.cs = user_code;
    sregs.ss = user_data;
    sregs.ds = user_data;
    sregs.es = user_data;
    sregs.fs = user_data;
    sregs.gs = user_data;
    sregs.tr = .{ .base = layout.Page.descriptors.address() + layout.tss_offset, .limit = 103, .selector = layout.selector_tss, .type = 11, .present = 1 };
    sregs.ldt = .{ .unusable = 1 };
    sregs.gdt = .{ .base = layout.Page.descriptors.address() + layout.gdt_offset, .limit = 0x4f };
    sregs.idt = .{ .base = layout.Page.descriptors.address() + layout.idt_offset, .limit = layout.vectors * 16 - 1 };
    return sregs;
}

pub const user_code: kvm.Segment = .{ .limit = 0xffff_ffff, .selector = layout.selector_user_code, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1 };
pub const user_data: kvm.Segment = .{ .limit = 0xffff_ffff, .selector = layout.selector_user_data, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1 };
