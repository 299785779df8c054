//! The floors that benchmarks are compared with, measured in the same process and the same run: what KVM itself costs.
//!
//! One raw exit: ring-3 code that stores to memory that is not there, in a loop; KVM_RUN returns and is called again, with
//! no registers read or written. The bare ioctl sequence: what any program must ask of KVM to make, run once and end a
//! machine of 64 MiB. Nothing here uses the core but its KVM structures, so that the floor is not the product.
const std = @import("std");
const linux = std.os.linux;
const kvm = @import("core").kvm;

const slot_bytes = 64 << 20;
const page = 4096;
const code_at = 0x20_0000;
const exit_at = 0x40_0000;
/// `1: movabs %rax, exit_at; jmp 1b`
const code = [_]u8{ 0x48, 0xa3, 0, 0, 0x40, 0, 0, 0, 0, 0, 0xeb, 0xf4 };

const Machine = struct {
    vm: i32,
    vcpu: i32,
    run: usize,
    run_bytes: usize,
    memory: usize,

    fn open() !Machine {
        const vm = try ioctl(device, kvm.CREATE_VM, 0);
        const memory = try check(linux.mmap(null, slot_bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true }, -1, 0));
        const region: kvm.UserspaceMemoryRegion = .{ .slot = 0, .flags = 0, .guest_phys_addr = 0, .memory_size = slot_bytes, .userspace_addr = memory };
        _ = try ioctl(@intCast(vm), kvm.SET_USER_MEMORY_REGION, @intFromPtr(&region));
        const vcpu = try ioctl(@intCast(vm), kvm.CREATE_VCPU, 0);
        const run_bytes = try ioctl(device, kvm.GET_VCPU_MMAP_SIZE, 0);
        const run = try check(linux.mmap(null, run_bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .SHARED }, @intCast(vcpu), 0));
        _ = try ioctl(@intCast(vcpu), kvm.SET_CPUID2, @intFromPtr(&cpuid));
        writeTables(memory);
        try setRegisters(@intCast(vcpu));
        return .{ .vm = @intCast(vm), .vcpu = @intCast(vcpu), .run = run, .run_bytes = run_bytes, .memory = memory };
    }

    /// Tables at 0x1000: 2 MiB pages, the code readable and executable, the exit page behind the end of the slot.
    fn writeTables(memory: usize) void {
        const table = struct {
            fn at(base: usize, offset: usize) *[512]u64 {
                return @ptrFromInt(base + offset);
            }
        }.at;
        const flags = 0x67;
        const large = 0xe7;
        table(memory, 0x1000)[0] = 0x2000 | flags;
        table(memory, 0x2000)[0] = 0x3000 | flags;
        table(memory, 0x3000)[code_at >> 21] = code_at | large;
        table(memory, 0x3000)[exit_at >> 21] = slot_bytes | large;
        const bytes: [*]u8 = @ptrFromInt(memory + code_at);
        @memcpy(bytes[0..code.len], &code);
    }

    fn setRegisters(vcpu: i32) !void {
        var sregs: kvm.Sregs = undefined;
        _ = try ioctl(vcpu, kvm.GET_SREGS, @intFromPtr(&sregs));
        sregs.cr3 = 0x1000;
        sregs.cr4 = 0x220;
        sregs.cr0 = 0x8005_0033;
        sregs.efer = 0x500;
        sregs.cs = .{ .limit = 0xffff_ffff, .selector = 0x33, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1 };
        sregs.ss = .{ .limit = 0xffff_ffff, .selector = 0x2b, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1 };
        _ = try ioctl(vcpu, kvm.SET_SREGS, @intFromPtr(&sregs));
        var regs: kvm.Regs = .{ .rip = code_at, .rflags = 2 };
        _ = try ioctl(vcpu, kvm.SET_REGS, @intFromPtr(&regs));
    }

    fn enter(self: *const Machine) !void {
        _ = try ioctl(self.vcpu, kvm.RUN, 0);
        const run: *kvm.Run = @ptrFromInt(self.run);
        if (run.exit_reason != .mmio) return error.WrongExit;
    }

    fn close(self: *const Machine) void {
        _ = linux.munmap(@ptrFromInt(self.run), self.run_bytes);
        _ = linux.close(self.vcpu);
        _ = linux.close(self.vm);
        _ = linux.munmap(@ptrFromInt(self.memory), slot_bytes);
    }
};

fn check(rc: usize) !usize {
    return if (@as(isize, @bitCast(rc)) < 0) error.HostFailure else rc;
}

fn ioctl(fd: i32, request: u32, argument: usize) !usize {
    return check(linux.ioctl(fd, request, argument));
}

fn now() u64 {
    var ts: linux.timespec = undefined;
    _ = linux.clock_gettime(.MONOTONIC, &ts);
    return @as(u64, @intCast(ts.sec)) * std.time.ns_per_s + @as(u64, @intCast(ts.nsec));
}

var device: i32 = -1;
var cpuid: kvm.Cpuid = .{};
var machine: ?Machine = null;

/// Opens the device; 0, or -1 where KVM cannot be used.
export fn floor_open() i32 {
    const fd = check(linux.open("/dev/kvm", .{ .ACCMODE = .RDWR, .CLOEXEC = true }, 0)) catch return -1;
    device = @intCast(fd);
    _ = ioctl(device, kvm.GET_SUPPORTED_CPUID, @intFromPtr(&cpuid)) catch return -1;
    machine = Machine.open() catch return -1;
    machine.?.enter() catch return -1;
    return 0;
}

/// Least nanoseconds of one raw exit in `rounds`.
export fn floor_raw_exit(rounds: u32) f64 {
    var least: u64 = std.math.maxInt(u64);
    for (0..rounds) |_| {
        const before = now();
        // A signal of the process's may end an entry early: that sample does not count.
        machine.?.enter() catch continue;
        least = @min(least, now() - before);
    }
    return @floatFromInt(least);
}

/// Least nanoseconds of the bare ioctl sequence in `rounds`: make a VM with 64 MiB and a vCPU, one exit, end it.
export fn floor_ioctl_sequence(rounds: u32) f64 {
    var least: u64 = std.math.maxInt(u64);
    for (0..rounds) |_| {
        const before = now();
        const one = Machine.open() catch continue;
        const entered = one.enter();
        one.close();
        entered catch continue;
        least = @min(least, now() - before);
    }
    return @floatFromInt(least);
}

/// Least nanoseconds of copying `count` pages, every `step`-th of two areas, in `rounds`: what a reset has to copy at least.
export fn floor_copy_pages(count: u32, step: u32, rounds: u32) f64 {
    const bytes = @as(usize, count) * step * page;
    const address = check(linux.mmap(null, 2 * bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .POPULATE = true }, -1, 0)) catch return -1;
    defer _ = linux.munmap(@ptrFromInt(address), 2 * bytes);
    const to: [*]u8 = @ptrFromInt(address);
    const from = to + bytes;
    @memset(from[0..bytes], 1);
    var least: u64 = std.math.maxInt(u64);
    for (0..rounds) |_| {
        const before = now();
        for (0..count) |index| @memcpy((to + index * step * page)[0..page], from + index * step * page);
        least = @min(least, now() - before);
    }
    return @floatFromInt(least);
}

/// The same the first time that the pages are used, in new memory each round.
export fn floor_copy_new_pages(count: u32, rounds: u32) f64 {
    var least: f64 = std.math.inf(f64);
    for (0..rounds) |_| least = @min(least, floor_copy_pages(count, 1, 1));
    return least;
}
