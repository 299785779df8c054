//! What the two resets cost on this machine, measured once when the first fork needs to choose.
//!
//! Copying back costs a comparison for every private page; a full reset costs a remap, and then a guest fault and a copy
//! for every page that the next request writes. The ratio of the two differs by a factor of ten between platforms.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const limits = @import("limits.zig");
const platform_module = @import("platform.zig");

pub const Costs = struct {
    /// Comparing a page with the image's.
    compare_ns: u64,
    /// A guest's first write to a page: fault, copy, translation.
    first_write_ns: u64,
    /// A full reset without the faults that follow.
    full_ns: u64,
};

var lock: host.Mutex = .{};
var measured: ?Costs = null;

pub fn get(platform: *const platform_module.Platform) Costs {
    lock.lock();
    defer lock.unlock();
    if (measured == null) measured = measure(platform);
    return measured.?;
}

/// In case a measurement is impossible: the figures of software KVM on a server of 2023.
const fallback: Costs = .{ .compare_ns = 130, .first_write_ns = 5_000, .full_ns = 30_000 };

fn measure(platform: *const platform_module.Platform) Costs {
    const first_write = platform_module.firstWriteCost(std.heap.c_allocator, platform) catch return fallback;
    const compare = compareCost() catch return fallback;
    return .{
        .compare_ns = @max(compare, 1),
        .first_write_ns = @max(first_write, 100),
        // A remap drops all translations of the VM: about as much as a handful of faults.
        .full_ns = @max(first_write * 8, 10_000),
    };
}

/// Nanoseconds a page, over more pages than the nearest caches hold.
fn compareCost() host.Error!u64 {
    const pages = 512;
    const bytes = 2 * pages * limits.page_size;
    const address = try host.check(linux.mmap(null, bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .POPULATE = true }, -1, 0));
    defer _ = linux.munmap(@ptrFromInt(address), bytes);
    const memory = @as([*]u8, @ptrFromInt(address))[0..bytes];
    @memset(memory, 1);
    var least: u64 = std.math.maxInt(u64);
    for (0..4) |_| {
        const before = host.monotonicNs();
        std.mem.doNotOptimizeAway(std.mem.eql(u8, memory[0 .. bytes / 2], memory[bytes / 2 ..]));
        least = @min(least, host.monotonicNs() - before);
    }
    return least / pages;
}
