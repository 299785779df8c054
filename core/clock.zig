//! The guest's clocks: one time-stamp counter, one set of parameters, read by the vDSO in the guest and by the VMM for
//! the system calls, so that both always agree.
//!
//! The parameters are anchored to the host's clocks when a run starts; between anchors time is extrapolated from the
//! counter. An anchor never sets monotonic time back.
//!
//! While a machine is frozen its monotonic clocks stand still, as they do on Linux while a system is suspended: a fork, and
//! a fork that was put back, goes on from the instant of its image. CLOCK_BOOTTIME and the date go on.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const parameters_module = @import("vdso_parameters.zig");
const Parameters = parameters_module.Parameters;

/// Anchors older than this are renewed when a run starts.
const anchor_age_max_ns = 50 * std.time.ns_per_ms;

/// What the process knows about the host's counter: a pair taken at start-up, to measure its frequency over a long time.
pub const Calibration = struct {
    start_tsc: u64,
    start_ns: u64,
    khz_reported: u64,

    pub fn start(khz_reported: u64) Calibration {
        const pair = sample();
        return .{ .start_tsc = pair.tsc, .start_ns = pair.monotonic_raw_ns, .khz_reported = khz_reported };
    }

    /// Counter frequency in Hz: as reported, or as measured once enough time has passed to do better.
    fn hertz(self: *const Calibration, now: Sample) f64 {
        const elapsed = now.monotonic_raw_ns -| self.start_ns;
        const reported = @as(f64, @floatFromInt(self.khz_reported)) * 1000;
        if (elapsed < std.time.ns_per_s and self.khz_reported != 0) return reported;
        if (elapsed < std.time.ns_per_ms) return measureNow();
        return @as(f64, @floatFromInt(now.tsc - self.start_tsc)) * 1e9 / @as(f64, @floatFromInt(elapsed));
    }

    fn measureNow() f64 {
        const first = sample();
        while (host.nowNs(.MONOTONIC_RAW) < first.monotonic_raw_ns + 2 * std.time.ns_per_ms) {}
        const second = sample();
        return @as(f64, @floatFromInt(second.tsc - first.tsc)) * 1e9 /
            @as(f64, @floatFromInt(second.monotonic_raw_ns - first.monotonic_raw_ns));
    }
};

/// Numbers of machines, forks and resets in this process: each gets its own.
var generations: std.atomic.Value(u64) = .init(1);

/// The clocks of one machine.
pub const Clock = struct {
    /// The guest's counter minus the host's.
    tsc_offset: i64,
    calibration: *const Calibration,
    page: *Parameters,
    /// The VMM's own copy of what it wrote: the page is guest memory and never read back.
    current: Parameters,
    /// How far the monotonic clocks are behind the host's.
    behind_ns: i64 = 0,
    /// How far CLOCK_BOOTTIME is ahead of the host's: a machine that was saved has been booted before.
    boottime_ahead_ns: i64 = 0,
    /// In an image, and in a fork until it runs: what the monotonic clocks stand at.
    stands_at: ?Standing = null,

    pub const Standing = struct { monotonic_ns: i64, monotonic_raw_ns: i64 };

    pub fn init(tsc_offset: i64, calibration: *const Calibration, page: *align(4096) [4096]u8) Clock {
        var self: Clock = .{ .tsc_offset = tsc_offset, .calibration = calibration, .page = @ptrCast(page), .current = .{} };
        self.current.flags = parameters_module.flag_clocks | parameters_module.flag_cpu;
        self.current.generation = nextGeneration();
        self.renew();
        return self;
    }

    /// The clocks of a fork, of a new generation.
    pub fn initFork(image: *const Clock, page: *align(4096) [4096]u8) Clock {
        var self = image.*;
        self.page = @ptrCast(page);
        self.current.generation = nextGeneration();
        self.publish();
        return self;
    }

    /// For an image: the monotonic clocks stand still from now on.
    pub fn freeze(self: *Clock) void {
        if (self.stands_at != null) return;
        const since = self.elapsedNs(host.rdtsc());
        self.stands_at = .{ .monotonic_ns = self.current.monotonic_ns + since, .monotonic_raw_ns = self.current.monotonic_raw_ns + since };
    }

    /// For a machine that was saved when both clocks stood so: as long ago as the date says its boot is.
    pub fn standBoottime(self: *Clock, boottime_ns: i64, realtime_ns: i64) void {
        const away = @max(0, self.current.realtime_ns -| realtime_ns);
        const ahead = boottime_ns +| away -| self.current.boottime_ns;
        self.boottime_ahead_ns = ahead;
        self.current.boottime_ns += ahead;
    }

    /// After a reset the monotonic clocks stand where the image's do, and the guest can see that it is another.
    pub fn goBack(self: *Clock, image: *const Clock) void {
        self.stands_at = image.stands_at;
    }

    pub fn renewGeneration(self: *Clock) void {
        self.current.generation = nextGeneration();
        self.publish();
    }

    /// The machine runs for the first time since it was frozen: the monotonic clocks go on.
    fn goOn(self: *Clock) void {
        const stood = self.stands_at orelse return;
        self.stands_at = null;
        const tsc = host.rdtsc();
        const since = self.elapsedNs(tsc);
        self.behind_ns += self.current.monotonic_ns + since - stood.monotonic_ns;
        self.current.tsc_base = self.guestTsc(tsc);
        self.current.realtime_ns += since;
        self.current.tai_ns += since;
        self.current.boottime_ns += since;
        self.current.monotonic_ns = stood.monotonic_ns;
        self.current.monotonic_raw_ns = stood.monotonic_raw_ns;
        self.publish();
    }

    /// The page as the image has it, so that a reset finds no difference where only time has passed.
    pub fn showImage(self: *Clock, image: *const Clock) void {
        self.page.* = image.current;
    }

    /// The machine has another VM, whose counter may differ.
    pub fn useCounter(self: *Clock, tsc_offset: i64) void {
        if (self.tsc_offset == tsc_offset) return;
        // Time goes on from what the old counter would show now.
        const now_ns = self.elapsedNs(host.rdtsc());
        self.current.monotonic_ns += now_ns;
        self.current.monotonic_raw_ns += now_ns;
        self.current.boottime_ns += now_ns;
        self.tsc_offset = tsc_offset;
        self.current.tsc_base = self.guestTsc(host.rdtsc());
        self.renew();
    }

    fn nextGeneration() u64 {
        return generations.fetchAdd(1, .monotonic);
    }

    fn guestTsc(self: *const Clock, host_tsc: u64) u64 {
        return host_tsc +% @as(u64, @bitCast(self.tsc_offset));
    }

    /// Before a run: renews the anchor if it is old.
    pub fn anchor(self: *Clock) void {
        self.goOn();
        if (self.elapsedNs(host.rdtsc()) > anchor_age_max_ns) self.renew();
    }

    fn renew(self: *Clock) void {
        const now = sample();
        const old = self.current;
        const first = old.tsc_base == 0;
        const since = if (first) 0 else self.elapsedNs(now.tsc);
        const hertz = self.calibration.hertz(now);
        self.current.tsc_base = self.guestTsc(now.tsc);
        self.current.shift = 32;
        self.current.multiplier = @intFromFloat(1e9 / hertz * (1 << 32));
        self.current.realtime_ns = @intCast(now.realtime_ns);
        // What was extrapolated may be a little ahead of the host; monotonic clocks wait for it, they do not go back.
        self.current.monotonic_ns = @max(@as(i64, @intCast(now.monotonic_ns)) - self.behind_ns, old.monotonic_ns + since);
        self.current.monotonic_raw_ns = @max(@as(i64, @intCast(now.monotonic_raw_ns)) - self.behind_ns, old.monotonic_raw_ns + since);
        self.current.boottime_ns = @max(@as(i64, @intCast(now.boottime_ns)) + self.boottime_ahead_ns, old.boottime_ns + since);
        self.current.tai_ns = self.current.realtime_ns + tai_offset_ns;
        self.publish();
    }

    /// Nothing runs in the guest meanwhile, but an interrupted read in the guest must notice: the sequence changes.
    fn publish(self: *Clock) void {
        self.current.sequence +%= 2;
        self.page.* = self.current;
    }

    fn elapsedNs(self: *const Clock, host_tsc: u64) i64 {
        return self.current.elapsedNs(self.guestTsc(host_tsc));
    }

    pub fn monotonicNs(self: *const Clock) u64 {
        if (self.stands_at) |stood| return @intCast(stood.monotonic_ns);
        return @intCast(self.current.monotonic_ns + self.elapsedNs(host.rdtsc()));
    }

    pub fn realtimeNs(self: *const Clock) u64 {
        return @intCast(self.current.realtime_ns + self.elapsedNs(host.rdtsc()));
    }

    pub fn boottimeNs(self: *const Clock) u64 {
        return @intCast(self.current.boottime_ns + self.elapsedNs(host.rdtsc()));
    }

    pub fn cyclesToNs(self: *const Clock, cycles: u64) u64 {
        return @intCast(@as(u128, cycles) * self.current.multiplier >> @intCast(self.current.shift));
    }
};

/// TAI has been 37 seconds ahead of UTC since 2017.
const tai_offset_ns = 37 * std.time.ns_per_s;

const Sample = struct { tsc: u64, realtime_ns: u64, monotonic_ns: u64, monotonic_raw_ns: u64, boottime_ns: u64 };

/// Reads the counter and the clocks close together; the tightest of a few tries.
fn sample() Sample {
    var best: Sample = undefined;
    var best_width: u64 = std.math.maxInt(u64);
    for (0..4) |_| {
        const before = host.rdtsc();
        const monotonic = host.monotonicNs();
        const after = host.rdtsc();
        const realtime = host.nowNs(.REALTIME);
        if (after - before >= best_width) continue;
        best_width = after - before;
        best = .{
            .tsc = before + (after - before) / 2,
            .realtime_ns = realtime,
            .monotonic_ns = monotonic,
            .monotonic_raw_ns = host.nowNs(.MONOTONIC_RAW),
            .boottime_ns = host.nowNs(.BOOTTIME),
        };
    }
    return best;
}
