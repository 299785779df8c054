//! `pristine doctor`: what this machine offers, what is missing and how to mend it, as JSON.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const kvm = @import("../kvm.zig");
const platform_module = @import("../platform.zig");
const registry = @import("registry.zig");
const self_test = @import("self_test.zig");

const Status = enum { pass, warn, fail };

const Check = struct { id: []const u8, title: []const u8, status: Status, detail: []const u8, hint: []const u8 = "" };

const Report = struct {
    checks: std.ArrayList(Check) = .empty,
    texts: std.heap.ArenaAllocator,

    fn add(self: *Report, id: []const u8, title: []const u8, status: Status, hint: []const u8, comptime format: []const u8, arguments: anytype) void {
        const arena = self.texts.allocator();
        const detail = std.fmt.allocPrint(arena, format, arguments) catch return;
        self.checks.append(arena, .{ .id = id, .title = title, .status = status, .detail = detail, .hint = if (status == .pass) "" else hint }) catch {};
    }
};

/// Makes the report; the result text is JSON {kind, checks}. Never fails: what cannot be found out is a line of its own.
pub fn doctor(flags: u32) i32 {
    var report: Report = .{ .texts = .init(registry.allocator) };
    defer report.texts.deinit();
    const kind = kvmChecks(&report, flags & 1 != 0);
    kernelChecks(&report);
    const out = registry.newResult();
    std.json.Stringify.value(.{ .kind = kind, .checks = report.checks.items }, .{}, out) catch return -1;
    return 0;
}

fn kvmChecks(report: *Report, with_self_test: bool) []const u8 {
    const platform = registry.thePlatform() catch |failure| {
        const code = registry.kvmError(failure);
        const missing = failure == error.NoDevice;
        report.add("kvm.device", "/dev/kvm is present", if (missing) .fail else .pass, "load the KVM module, or run on a host that offers virtualization", "{s}", .{if (missing) "not there" else "present"});
        if (!missing) report.add("kvm.open", "/dev/kvm can be used", .fail, "add the user to the group `kvm`, or pass --device /dev/kvm to the container", "{t}: {t}", .{ code, failure });
        return "none";
    };
    report.add("kvm.device", "/dev/kvm is present", .pass, "", "present", .{});
    report.add("kvm.open", "/dev/kvm can be used", .pass, "", "API version {d}", .{kvm.api_version});
    report.add("kvm.kind", "kind of KVM", .pass, "", "{s}", .{platform.kind()});
    report.add("kvm.syscall", "system calls", .pass, "", "{s}", .{switch (platform.route) {
        .ring3_store => "stay in ring 3 (exit by a store)",
        .ring0_out => "enter ring 0 (exit by out)",
    }});
    report.add("kvm.tsc", "time-stamp counter of a guest", if (platform.time_stamp_counter == .own) .warn else .pass, "clock reads are measured for each machine", "{t}", .{platform.time_stamp_counter});
    report.add("kvm.cpuid", "CPUID as the VMM sets it", .pass, "", "{s}", .{if (platform.cpuid_honoured) "honoured" else "the host's, whatever is set"});
    if (platform_module.entriesGoStale(registry.allocator, platform)) |stale| {
        report.add("kvm.entries", "changed page-table entries", .pass, "", "{s}", .{if (stale) "need an event on the old page (handled)" else "are seen at once"});
    } else |failure| report.add("kvm.entries", "changed page-table entries", .fail, "virtual machines can be made but not run; see dmesg", "{t}", .{failure});
    report.add("kvm.vectors", "vector state of a guest", .pass, "", "XCR0 0x{x} ({s})", .{ platform.device.xcr0, if (platform.device.xcr0 & 0xe0 == 0xe0) "up to AVX-512" else if (platform.device.xcr0 & 4 != 0) "up to AVX" else "SSE" });
    const cost = self_test.exitCost(registry.allocator, platform) catch |failure| {
        report.add("kvm.exit", "cost of one exit", .fail, "virtual machines can be made but not run; see dmesg", "{t}", .{failure});
        return platform.kind();
    };
    report.add("kvm.exit", "cost of one exit", .pass, "", "{d:.1} us (least of {d})", .{ @as(f64, @floatFromInt(cost)) / 1000, self_test.exit_rounds });
    if (with_self_test) {
        for (self_test.cases) |case| {
            case.run_fn(registry.allocator, platform) catch |failure| {
                report.add(case.id, case.title, .fail, "report this with the output of `pristine doctor --json`", "{t}", .{failure});
                continue;
            };
            report.add(case.id, case.title, .pass, "", "ok", .{});
        }
    }
    return platform.kind();
}

fn kernelChecks(report: *Report) void {
    const memfd: isize = @bitCast(linux.memfd_create("pristine-doctor", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING));
    if (memfd >= 0) {
        const add_seals = 1033;
        const seal_write = 8;
        const sealed: isize = @bitCast(linux.fcntl(@intCast(memfd), add_seals, seal_write));
        report.add("kernel.memfd", "sealed memory files", if (sealed == 0) .pass else .fail, "use Linux 3.17 or later", "{s}", .{if (sealed == 0) "yes" else "no F_SEAL_WRITE"});
        host.close(@intCast(memfd));
    } else report.add("kernel.memfd", "sealed memory files", .fail, "use Linux 3.17 or later", "no memfd_create", .{});

    const how: extern struct { flags: u64, mode: u64, resolve: u64 } = .{ .flags = 0o10000000, .mode = 0, .resolve = 8 };
    const opened: isize = @bitCast(linux.syscall4(.openat2, @bitCast(@as(isize, linux.AT.FDCWD)), @intFromPtr("."), @intFromPtr(&how), @sizeOf(@TypeOf(how))));
    report.add("kernel.openat2", "safe path resolution (openat2)", if (opened >= 0) .pass else .fail, "use Linux 5.6 or later", "{s}", .{if (opened >= 0) "yes" else "no"});
    if (opened >= 0) host.close(@intCast(opened));

    pagemapCheck(report);
    const landlock: isize = @bitCast(linux.syscall3(.landlock_create_ruleset, 0, 0, 1));
    report.add("kernel.landlock", "Landlock (for --jail)", if (landlock > 0) .pass else .warn, "enable landlock in the kernel's lsm= parameter", "{s}{d}", .{ if (landlock > 0) "ABI version " else "not available, errno ", if (landlock > 0) landlock else -landlock });
    const cgroup: isize = @bitCast(linux.access("/sys/fs/cgroup/cgroup.controllers", 0));
    report.add("kernel.cgroup2", "cgroup v2 (for limits of worker processes)", if (cgroup == 0) .pass else .warn, "mount cgroup2 on /sys/fs/cgroup", "{s}", .{if (cgroup == 0) "mounted" else "not mounted"});
}

/// PAGEMAP_SCAN (Linux 6.7) makes the audit of a reset quick; older kernels read the whole page map.
fn pagemapCheck(report: *Report) void {
    const pagemap_scan = 0xC0606610;
    const Argument = extern struct { size: u64 = 96, flags: u64 = 0, start: u64 = 0, end: u64 = 0, walk_end: u64 = 0, vec: u64 = 0, vec_len: u64 = 0, max_pages: u64 = 0, inverted: u64 = 0, mask: u64 = 0, any_of: u64 = 0, returned: u64 = 0 };
    comptime std.debug.assert(@sizeOf(Argument) == 96);
    const fd: isize = @bitCast(linux.open("/proc/self/pagemap", .{ .CLOEXEC = true }, 0));
    if (fd < 0) return report.add("kernel.pagemap", "page map of the process", .warn, "mount /proc", "not readable", .{});
    defer host.close(@intCast(fd));
    const argument: Argument = .{};
    const scanned: isize = @bitCast(linux.ioctl(@intCast(fd), pagemap_scan, @intFromPtr(&argument)));
    const there = scanned >= 0 or scanned == -@as(isize, @intFromEnum(linux.E.INVAL)) or scanned == -@as(isize, @intFromEnum(linux.E.FAULT));
    report.add("kernel.pagemap", "PAGEMAP_SCAN (audits of resets)", if (there) .pass else .warn, "use Linux 6.7 or later for quicker audits", "{s}", .{if (there) "yes" else "no, the page map is read instead"});
}
