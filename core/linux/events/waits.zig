//! What the calls that wait for descriptors have in common: their time, and the mask of signals while they wait.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const time = @import("../time.zig");
const waiting = @import("../waiting.zig");
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

/// How many descriptors one call may name.
pub fn descriptorBound(k: *const Kernel) u64 {
    return @min(k.resource_limits[@intFromEnum(linux.rlimit_resource.NOFILE)].current, limits.descriptors_max);
}

/// A time in milliseconds, as poll and epoll_wait take it; null waits without end.
pub fn ofMilliseconds(value: u64) ?u64 {
    const milliseconds: i32 = @bitCast(@as(u32, @truncate(value)));
    return if (milliseconds < 0) null else @as(u64, @intCast(milliseconds)) * std.time.ns_per_ms;
}

/// A struct timespec; without an address null.
pub fn ofTimespec(k: *Kernel, address: u64) union(enum) { ns: ?u64, refused: i64 } {
    if (address == 0) return .{ .ns = null };
    const value = k.memory.readValue(time.Timespec, address) catch return .{ .refused = fail(.FAULT) };
    return .{ .ns = time.fromTimespec(value) orelse return .{ .refused = fail(.INVAL) } };
}

/// From when the call was made.
pub fn setTime(k: *Kernel, ns: ?u64) void {
    k.waitDeadline(.monotonic, .span, ns);
}

/// Writes what is left of a call's time where the time was given, as Linux does unless it cannot.
pub fn tellRest(k: *Kernel, rc: i64, address: u64, comptime form: enum { timespec, timeval }) i64 {
    if (address == 0 or rc == waiting.blocked) return rc;
    const left = k.timeLeftNs() orelse return rc;
    const value = time.toTimespec(left);
    const told: [2]i64 = .{ value.sec, if (form == .timeval) @divTrunc(value.nsec, std.time.ns_per_us) else value.nsec };
    k.memory.writeValue(address, told) catch {};
    return rc;
}

/// Lets the mask at `address` be in force while the call waits; 0 or a negative errno.
pub fn useMask(k: *Kernel, address: u64, bytes: u64) i64 {
    if (address == 0) return 0;
    if (bytes != @sizeOf(u64)) return fail(.INVAL);
    k.threads.current.signals.setTemporaryMask(k.memory.readValue(u64, address) catch return fail(.FAULT));
    return 0;
}

/// A signal that ends the call is delivered with the mask still in force.
pub fn endMask(k: *Kernel, rc: i64) i64 {
    if (rc != fail(.INTR) and rc != waiting.blocked) k.threads.current.signals.endTemporaryMask();
    return rc;
}
