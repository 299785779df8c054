//! Who the guest is, what machine it sees, its limits: small answers that need no state but the kernel's own.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

pub fn getpid(k: *Kernel, _: Args) i64 {
    return k.identity.pid;
}
pub fn getppid(k: *Kernel, _: Args) i64 {
    return k.identity.parent;
}

pub fn getuid(k: *Kernel, _: Args) i64 {
    return k.identity.uid;
}
pub fn getgid(k: *Kernel, _: Args) i64 {
    return k.identity.gid;
}

fn isOwn(value: u64, own: u32) bool {
    const wanted: u32 = @truncate(value);
    return wanted == own or wanted == std.math.maxInt(u32);
}

/// Becoming who one is already is allowed, anything else is not (setuid, setreuid, setresuid).
pub fn setUids(k: *Kernel, a: Args) i64 {
    return if (isOwn(a[0], k.identity.uid)) 0 else fail(.PERM);
}
pub fn setGids(k: *Kernel, a: Args) i64 {
    return if (isOwn(a[0], k.identity.gid)) 0 else fail(.PERM);
}

fn allOwn(values: []const u64, own: u32) i64 {
    for (values) |value| if (!isOwn(value, own)) return fail(.PERM);
    return 0;
}
pub fn setTwoUids(k: *Kernel, a: Args) i64 {
    return allOwn(a[0..2], k.identity.uid);
}
pub fn setTwoGids(k: *Kernel, a: Args) i64 {
    return allOwn(a[0..2], k.identity.gid);
}
pub fn setThreeUids(k: *Kernel, a: Args) i64 {
    return allOwn(a[0..3], k.identity.uid);
}
pub fn setThreeGids(k: *Kernel, a: Args) i64 {
    return allOwn(a[0..3], k.identity.gid);
}

/// The identity for files is the guest's own and stays so; the answer is what it was.
pub fn setFileUid(k: *Kernel, _: Args) i64 {
    return k.identity.uid;
}
pub fn setFileGid(k: *Kernel, _: Args) i64 {
    return k.identity.gid;
}

const CapabilityHeader = extern struct { version: u32, pid: i32 };
const CapabilitySet = extern struct { effective: u32 = 0, permitted: u32 = 0, inheritable: u32 = 0 };
const capability_version = 0x2008_0522;

/// Checks a header; the answer to give if the call ends here.
fn checkCapabilities(k: *Kernel, address: u64, data: u64) ?i64 {
    const header = k.memory.readValue(CapabilityHeader, address) catch return fail(.FAULT);
    if (header.version != capability_version) {
        k.memory.writeValue(address, @as(u32, capability_version)) catch return fail(.FAULT);
        return if (data == 0) 0 else fail(.INVAL);
    }
    if (header.pid < 0) return fail(.INVAL);
    return if (header.pid == 0 or header.pid == k.identity.pid) null else fail(.SRCH);
}

/// A guest has no capability, whoever it is.
pub fn capget(k: *Kernel, a: Args) i64 {
    if (checkCapabilities(k, a[0], a[1])) |answer| return answer;
    if (a[1] == 0) return 0;
    k.memory.writeValue(a[1], [2]CapabilitySet{ .{}, .{} }) catch return fail(.FAULT);
    return 0;
}

pub fn capset(k: *Kernel, a: Args) i64 {
    if (checkCapabilities(k, a[0], a[1])) |answer| return answer;
    const wanted = k.memory.readValue([2]CapabilitySet, a[1]) catch return fail(.FAULT);
    for (wanted) |set| if (set.effective | set.permitted | set.inheritable != 0) return fail(.PERM);
    return 0;
}

fn getThree(k: *Kernel, a: Args, value: u32) i64 {
    for (a[0..3]) |address| k.memory.writeValue(address, value) catch return fail(.FAULT);
    return 0;
}
pub fn getresuid(k: *Kernel, a: Args) i64 {
    return getThree(k, a, k.identity.uid);
}
pub fn getresgid(k: *Kernel, a: Args) i64 {
    return getThree(k, a, k.identity.gid);
}

pub fn getgroups(k: *Kernel, a: Args) i64 {
    const size: i32 = @bitCast(@as(u32, @truncate(a[0])));
    if (size < 0) return fail(.INVAL);
    if (size == 0) return 1;
    k.memory.writeValue(a[1], k.identity.gid) catch return fail(.FAULT);
    return 1;
}

pub fn getProcessGroup(k: *Kernel, a: Args) i64 {
    const pid: i32 = @bitCast(@as(u32, @truncate(a[0])));
    return if (pid == 0 or pid == k.identity.pid) k.identity.pid else fail(.SRCH);
}
pub fn getpgrp(k: *Kernel, _: Args) i64 {
    return k.identity.pid;
}

/// A guest leads its session and its group, and there is no other to move to.
pub fn setpgid(k: *Kernel, a: Args) i64 {
    const pid: i32 = @bitCast(@as(u32, @truncate(a[0])));
    const group: i32 = @bitCast(@as(u32, @truncate(a[1])));
    if (group < 0) return fail(.INVAL);
    if (pid != 0 and pid != k.identity.pid) return fail(.SRCH);
    return if (group == 0 or group == k.identity.pid) 0 else fail(.PERM);
}
pub fn setsid(_: *Kernel, _: Args) i64 {
    return fail(.PERM);
}

const utsname_field_bytes = 65;

pub fn uname(k: *Kernel, a: Args) i64 {
    var out: [6 * utsname_field_bytes]u8 = @splat(0);
    for ([_][]const u8{ "Linux", "pristine", "6.1.0-pristine", "#1 SMP", "x86_64", "(none)" }, 0..) |text, index| {
        @memcpy(out[index * utsname_field_bytes ..][0..text.len], text);
    }
    k.memory.write(a[0], &out) catch return fail(.FAULT);
    return 0;
}

pub fn prlimit64(k: *Kernel, a: Args) i64 {
    const pid: i32 = @bitCast(@as(u32, @truncate(a[0])));
    if (pid != 0 and k.threads.find(pid) == null) return fail(.SRCH);
    if (a[1] >= k.resource_limits.len) return fail(.INVAL);
    const slot = &k.resource_limits[@intCast(a[1])];
    const old = slot.*;
    if (a[2] != 0) {
        const new = k.memory.readValue(kernel_module.ResourceLimit, a[2]) catch return fail(.FAULT);
        if (new.current > new.maximum) return fail(.INVAL);
        if (new.maximum > slot.maximum) return fail(.PERM);
        const of_cpu_time = a[1] == @intFromEnum(linux.rlimit_resource.CPU);
        if (of_cpu_time) k.prepareTimers() catch return fail(.NOMEM);
        slot.* = new;
        if (of_cpu_time) k.tick();
    }
    if (a[3] != 0) k.memory.writeValue(a[3], old) catch return fail(.FAULT);
    return 0;
}
pub fn getrlimit(k: *Kernel, a: Args) i64 {
    return prlimit64(k, .{ 0, a[0], 0, a[1], 0, 0 });
}
pub fn setrlimit(k: *Kernel, a: Args) i64 {
    if (a[1] == 0) return fail(.FAULT);
    return prlimit64(k, .{ 0, a[0], a[1], 0, 0, 0 });
}

const Sysinfo = extern struct {
    uptime: i64,
    loads: [3]u64 = @splat(0),
    totalram: u64,
    freeram: u64,
    sharedram: u64 = 0,
    bufferram: u64 = 0,
    totalswap: u64 = 0,
    freeswap: u64 = 0,
    procs: u16 = 1,
    pad: u16 = 0,
    totalhigh: u64 align(8) = 0,
    freehigh: u64 = 0,
    mem_unit: u32 = 1,
    tail: u32 = 0,
};
comptime {
    std.debug.assert(@sizeOf(Sysinfo) == 112);
}

pub fn sysinfo(k: *Kernel, a: Args) i64 {
    const frames = k.space.frames;
    const info: Sysinfo = .{
        .uptime = @intCast(k.clock.monotonicNs() / std.time.ns_per_s),
        .totalram = frames.frames_max * limits.page_size,
        .freeram = frames.framesLeft() * limits.page_size,
    };
    k.memory.writeValue(a[0], info) catch return fail(.FAULT);
    return 0;
}

pub fn getrandom(k: *Kernel, a: Args) i64 {
    const known_flags = 0x7;
    if (a[2] & ~@as(u64, known_flags) != 0) return fail(.INVAL);
    const length: u64 = @min(a[1], 32 * limits.MiB);
    var done: u64 = 0;
    while (done < length) {
        const to = k.memory.piece(a[0] +% done, @intCast(length - done), .write) catch return if (done > 0) @intCast(done) else fail(.FAULT);
        k.hostCall();
        const got: isize = @bitCast(linux.getrandom(to.bytes.ptr, to.bytes.len, 0));
        if (got <= 0) return if (done > 0) @intCast(done) else fail(.AGAIN);
        done += @intCast(got);
    }
    return @intCast(done);
}

/// One CPU is reported.
pub fn schedGetaffinity(k: *Kernel, a: Args) i64 {
    const pid: i32 = @bitCast(@as(u32, @truncate(a[0])));
    if (pid != 0 and k.threads.find(pid) == null) return fail(.SRCH);
    const mask_bytes = 8;
    if (a[1] < mask_bytes or a[1] % 8 != 0) return fail(.INVAL);
    k.memory.writeValue(a[2], @as(u64, 1)) catch return fail(.FAULT);
    return mask_bytes;
}

pub fn getcpu(k: *Kernel, a: Args) i64 {
    for (a[0..2]) |address| {
        if (address != 0) k.memory.writeValue(address, @as(u32, 0)) catch return fail(.FAULT);
    }
    return 0;
}

const PR_SET_NAME = 15;
const PR_GET_NAME = 16;
const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAPBSET_READ = 23;

pub fn prctl(k: *Kernel, a: Args) i64 {
    switch (a[0]) {
        PR_SET_NAME => {
            var name: [16]u8 = @splat(0);
            _ = k.memory.readCString(a[1], name[0..15]) catch |failure| switch (failure) {
                error.Fault => return fail(.FAULT),
                error.NameTooLong => {},
            };
            k.threads.current.name = name;
            return 0;
        },
        PR_GET_NAME => {
            k.memory.write(a[1], &k.threads.current.name) catch return fail(.FAULT);
            return 0;
        },
        PR_GET_DUMPABLE => return 1,
        PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS => return 0,
        PR_CAPBSET_READ => return if (a[1] > 40) fail(.INVAL) else 0,
        else => return fail(.INVAL),
    }
}

const ARCH_SET_GS = 0x1001;
const ARCH_SET_FS = 0x1002;
const ARCH_GET_FS = 0x1003;
const ARCH_GET_GS = 0x1004;

pub fn archPrctl(k: *Kernel, a: Args) i64 {
    const user_address_end = 1 << 47;
    switch (a[0]) {
        ARCH_SET_FS, ARCH_SET_GS => {
            if (a[1] >= user_address_end) return fail(.PERM);
            var segments = k.current_segments;
            if (a[0] == ARCH_SET_FS) segments.fs = a[1] else segments.gs = a[1];
            k.current_segments = segments;
            k.segments = segments;
            return 0;
        },
        ARCH_GET_FS, ARCH_GET_GS => {
            const value = if (a[0] == ARCH_GET_FS) k.current_segments.fs else k.current_segments.gs;
            k.memory.writeValue(a[1], value) catch return fail(.FAULT);
            return 0;
        },
        else => return fail(.INVAL),
    }
}

pub fn exitGroup(k: *Kernel, a: Args) i64 {
    k.stop = .{ .exit = @truncate(a[0]) };
    return 0;
}

/// The point to freeze. Natively an unknown call, so that programs run outside a machine as well.
pub fn ready(k: *Kernel, _: Args) i64 {
    k.stop = .ready;
    return 0;
}

/// A number that changes with every fork, reset and resume.
pub fn generation(k: *Kernel, _: Args) i64 {
    return @bitCast(k.clock.current.generation);
}
