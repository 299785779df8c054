//! `pristine doctor --selftest`: the properties everything rests on, tried on this machine.
const std = @import("std");
const platform_module = @import("../platform.zig");

pub const exit_rounds = 32;

pub fn exitCost(allocator: std.mem.Allocator, platform: *const platform_module.Platform) !u64 {
    return platform_module.exitCost(allocator, platform, exit_rounds);
}

const Case = struct { id: []const u8, title: []const u8, run_fn: *const fn (std.mem.Allocator, *const platform_module.Platform) anyerror!void };

pub const cases = [_]Case{};
