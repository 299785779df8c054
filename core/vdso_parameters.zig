//! The page of parameters from which the guest's vDSO computes time and the processor's number, as the VMM writes it.
//!
//! The guest's side is `guest/vdso/parameters.h`: the same structure, read-only there. Here: the layout, the conversion
//! from a counter's frequency to a multiplier, the arithmetic of the vDSO for the system calls that must agree with it,
//! and the writing protocol. Not here: what the clocks should show (`clock.zig`).
const std = @import("std");
const assert = std.debug.assert;

/// The clock fields hold. Without it every clock read of the guest is a system call.
pub const flag_clocks: u32 = 1;
/// `cpu` and `node` hold.
pub const flag_cpu: u32 = 2;

/// What `clock_getres` answers for the coarse clocks: the tick of a Linux built with 250 Hz.
pub const coarse_resolution_ns: u32 = 4_000_000;

pub const Parameters = extern struct {
    /// Odd while the rest is being written; changes with every writing.
    sequence: u32 = 0,
    flags: u32 = 0,
    tsc_base: u64 = 0,
    multiplier: u64 = 0,
    shift: u32 = 0,
    cpu: u32 = 0,
    node: u32 = 0,
    coarse_resolution_ns: u32 = coarse_resolution_ns,
    realtime_ns: i64 = 0,
    monotonic_ns: i64 = 0,
    monotonic_raw_ns: i64 = 0,
    boottime_ns: i64 = 0,
    tai_ns: i64 = 0,
    generation: u64 = 0,

    /// Nanoseconds since `tsc_base` when the counter shows `tsc`: exactly what the vDSO computes.
    pub fn elapsedNs(self: *const Parameters, tsc: u64) i64 {
        const elapsed = tsc -% self.tsc_base;
        if (@as(i64, @bitCast(elapsed)) < 0) return 0;
        const product = @as(u128, elapsed) * self.multiplier;
        return @bitCast(@as(u64, @truncate(product >> @as(u6, @truncate(self.shift)))));
    }

    pub fn setScale(self: *Parameters, scale: Scale) void {
        self.multiplier = scale.multiplier;
        self.shift = scale.shift;
    }

    /// Replaces the page's content so that a reader never mixes old and new: it sees an odd or a changed sequence.
    /// `new.sequence` is ignored.
    pub fn publish(self: *volatile Parameters, new: Parameters) void {
        const before = self.sequence;
        const odd = before | 1;
        self.sequence = odd;
        asm volatile ("" ::: .{ .memory = true });
        self.flags = new.flags;
        self.tsc_base = new.tsc_base;
        self.multiplier = new.multiplier;
        self.shift = new.shift;
        self.cpu = new.cpu;
        self.node = new.node;
        self.coarse_resolution_ns = new.coarse_resolution_ns;
        self.realtime_ns = new.realtime_ns;
        self.monotonic_ns = new.monotonic_ns;
        self.monotonic_raw_ns = new.monotonic_raw_ns;
        self.boottime_ns = new.boottime_ns;
        self.tai_ns = new.tai_ns;
        self.generation = new.generation;
        asm volatile ("" ::: .{ .memory = true });
        self.sequence = odd +% 1;
    }
};

comptime {
    const P = Parameters;
    assert(@sizeOf(P) == 88);
    assert(@offsetOf(P, "sequence") == 0 and @offsetOf(P, "flags") == 4);
    assert(@offsetOf(P, "tsc_base") == 8 and @offsetOf(P, "multiplier") == 16);
    assert(@offsetOf(P, "shift") == 24 and @offsetOf(P, "cpu") == 28);
    assert(@offsetOf(P, "node") == 32 and @offsetOf(P, "coarse_resolution_ns") == 36);
    assert(@offsetOf(P, "realtime_ns") == 40 and @offsetOf(P, "monotonic_ns") == 48);
    assert(@offsetOf(P, "monotonic_raw_ns") == 56 and @offsetOf(P, "boottime_ns") == 64);
    assert(@offsetOf(P, "tai_ns") == 72 and @offsetOf(P, "generation") == 80);
}

/// Nanoseconds per tick of a counter, as `multiplier / 2^shift`.
pub const Scale = struct {
    multiplier: u64,
    shift: u32,

    /// The most precise scale of a counter that ticks `hertz` times a second. An impossible frequency is taken for 1 GHz.
    pub fn fromHertz(hertz: f64) Scale {
        if (!(hertz >= 1000 and hertz <= 1e15)) return .{ .multiplier = 1, .shift = 0 };
        const ns_per_tick = @as(f64, std.time.ns_per_s) / hertz;
        // A double has 53 bits: more would add zeros only, and a smaller shift leaves room for slow counters.
        var shift: u32 = 62;
        while (shift > 0 and std.math.ldexp(ns_per_tick, @intCast(shift)) >= 0x1p62) shift -= 1;
        return .{ .multiplier = @intFromFloat(@round(std.math.ldexp(ns_per_tick, @intCast(shift)))), .shift = shift };
    }
};

test "a scale gives back its frequency" {
    for ([_]f64{ 1_000, 24e6, 1e9, 2_445_393_000, 5.2e9, 1e12 }) |hertz| {
        var parameters: Parameters = .{};
        parameters.setScale(.fromHertz(hertz));
        const hour: u64 = @intFromFloat(hertz * 3600);
        const elapsed: f64 = @floatFromInt(parameters.elapsedNs(hour));
        try std.testing.expectApproxEqAbs(3600e9, elapsed, 3600e9 * 1e-12 + 1e9 / hertz + 1);
    }
}

test "elapsed time never runs back and survives centuries" {
    var parameters: Parameters = .{ .tsc_base = 1 << 62 };
    parameters.setScale(.fromHertz(2.5e9));
    try std.testing.expectEqual(0, parameters.elapsedNs((1 << 62) - 1));
    try std.testing.expectEqual(0, parameters.elapsedNs(0));
    var random: std.Random.DefaultPrng = .init(1);
    var tsc: u64 = parameters.tsc_base;
    var last: i64 = 0;
    for (0..10_000) |_| {
        tsc += random.random().uintLessThan(u64, 1 << 48);
        const now = parameters.elapsedNs(tsc);
        try std.testing.expect(now >= last);
        last = now;
    }
}

test "publishing leaves an even sequence that has changed" {
    var page: Parameters = .{};
    page.publish(.{ .flags = flag_clocks, .realtime_ns = 5 });
    try std.testing.expectEqual(2, page.sequence);
    try std.testing.expectEqual(5, page.realtime_ns);
    // A writer that died in the middle is recovered from.
    page.sequence = 3;
    page.publish(.{});
    try std.testing.expectEqual(4, page.sequence);
}
