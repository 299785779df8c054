//! timerfd_create(2): timers that are read and polled. They have no host timer: whoever waits asks for the nearest of them
//! (`nextNs`), and what is due is found when somebody looks.
//!
//! As on Linux, one that has expired counts on only when it is read or asked for: until then it changes nothing any more.
const std = @import("std");
const kernel_module = @import("../kernel.zig");
const objects = @import("objects.zig");
const readiness_module = @import("readiness.zig");
const table = @import("../files/table.zig");
const time = @import("../time.zig");
const timers = @import("../timers.zig");
const transfer = @import("../files/transfer.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const TFD_TIMER_ABSTIME = 1;
const TFD_TIMER_CANCEL_ON_SET = 2;

pub const Timer = struct {
    clock: timers.Clock,
    /// Set to a date of its clock, not to a span.
    dated: bool = false,
    /// By its clock; 0 while it is not armed. In a machine that is frozen, what is left of a span.
    expires_ns: u64 = 0,
    interval_ns: u64 = 0,
    /// The expiration at `expires_ns` is counted.
    expired: bool = false,
    /// Expirations that nobody has read.
    count: u64 = 0,

    /// Counts what has expired meanwhile and sets a periodic timer on.
    fn goOn(self: *Timer, now: u64) void {
        if (!self.expired) return;
        self.expired = false;
        if (self.interval_ns == 0) {
            self.expires_ns = 0;
            return;
        }
        const times = (now -| self.expires_ns) / self.interval_ns;
        self.count +|= times;
        self.expires_ns +|= (times + 1) *| self.interval_ns;
    }

    fn spec(self: *const Timer, now: u64) Spec {
        const left = if (self.expires_ns == 0 or self.expired) 0 else @max(1, self.expires_ns -| now);
        return .{ .interval = time.toTimespec(self.interval_ns), .value = time.toTimespec(left) };
    }
};

const Spec = extern struct { interval: time.Timespec, value: time.Timespec };

/// Notes an expiration. The time by the timer's clock.
fn look(k: *Kernel, description: *Description) u64 {
    const timer = &description.kind.timer;
    const now = k.clockNs(timer.clock);
    if (timer.expires_ns != 0 and !timer.expired and now >= timer.expires_ns) {
        timer.expired = true;
        timer.count +|= 1;
        description.changes.in +%= 1;
    }
    return now;
}

pub fn readiness(k: *Kernel, description: *Description) u32 {
    _ = look(k, description);
    return if (description.kind.timer.count > 0) readiness_module.IN else 0;
}

pub fn read(k: *Kernel, description: *Description, out: []u8) i64 {
    if (out.len < @sizeOf(u64)) return fail(.INVAL);
    const now = look(k, description);
    const timer = &description.kind.timer;
    if (timer.count == 0) return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
    timer.goOn(now);
    std.mem.writeInt(u64, out[0..8], timer.count, .little);
    timer.count = 0;
    return @sizeOf(u64);
}

pub fn timerfdCreate(k: *Kernel, a: Args) i64 {
    const flags: u32 = @truncate(a[1]);
    if (flags & ~@as(u32, objects.creation_flags) != 0) return fail(.INVAL);
    const alarm_clocks = [_]u32{ 8, 9 };
    const number: u32 = @truncate(a[0]);
    // Only who may wake a machine from its sleep has these (CAP_WAKE_ALARM).
    if (std.mem.indexOfScalar(u32, &alarm_clocks, number) != null) return fail(.PERM);
    const clock: timers.Clock = switch (time.clockOf(number) orelse return fail(.INVAL)) {
        .realtime => .realtime,
        .monotonic => .monotonic,
        .boottime => .boottime,
        else => return fail(.INVAL),
    };
    return objects.open(k, .{ .timer = .{ .clock = clock } }, flags);
}

const Found = union(enum) { description: *Description, refused: i64 };

fn find(k: *Kernel, fd: u64) Found {
    const description = k.files.opened(transfer.descriptorOf(fd)) orelse return .{ .refused = fail(.BADF) };
    return if (description.kind == .timer) .{ .description = description } else .{ .refused = fail(.INVAL) };
}

pub fn timerfdSettime(k: *Kernel, a: Args) i64 {
    const new = k.memory.readValue(Spec, a[2]) catch return fail(.FAULT);
    const flags: u32 = @truncate(a[1]);
    if (flags & ~@as(u32, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0) return fail(.INVAL);
    const value = time.fromTimespec(new.value) orelse return fail(.INVAL);
    const interval = time.fromTimespec(new.interval) orelse return fail(.INVAL);
    const description = switch (find(k, a[0])) {
        .description => |found| found,
        .refused => |errno| return errno,
    };
    const now = look(k, description);
    const timer = &description.kind.timer;
    timer.goOn(now);
    const old = timer.spec(now);
    const dated = flags & TFD_TIMER_ABSTIME != 0;
    timer.* = .{ .clock = timer.clock, .dated = dated, .interval_ns = interval, .expires_ns = if (value == 0 or dated) value else now +| value };
    k.changed();
    if (a[3] != 0) k.memory.writeValue(a[3], old) catch return fail(.FAULT);
    return 0;
}

pub fn timerfdGettime(k: *Kernel, a: Args) i64 {
    const description = switch (find(k, a[0])) {
        .description => |found| found,
        .refused => |errno| return errno,
    };
    const now = look(k, description);
    const timer = &description.kind.timer;
    if (timer.interval_ns > 0) timer.goOn(now);
    k.memory.writeValue(a[1], timer.spec(now)) catch return fail(.FAULT);
    return 0;
}

/// How long until the next of the machine's timerfds expires, in ns; null if none will.
pub fn nextNs(k: *const Kernel) ?u64 {
    var least: ?u64 = null;
    for (k.files.timers.items) |description| {
        const timer = &description.kind.timer;
        if (timer.expires_ns == 0 or timer.expired) continue;
        least = @min(least orelse std.math.maxInt(u64), timer.expires_ns -| k.clockNs(timer.clock));
    }
    return least;
}

/// Notes what has expired, so that those who wait look again.
pub fn expire(k: *Kernel) void {
    for (k.files.timers.items) |description| {
        const before = description.changes.in;
        _ = look(k, description);
        if (description.changes.in != before) k.changed();
    }
}

pub const Direction = enum { to_rest, from_rest };

/// Spans stand still while a machine is frozen: they become what is left of them, and go on from now.
pub fn shift(files: *table.FileTable, k: *const Kernel, direction: Direction) void {
    for (files.timers.items) |description| {
        const timer = &description.kind.timer;
        if (timer.expires_ns == 0 or timer.dated) continue;
        const now = k.clockNs(timer.clock);
        // One that has expired holds how long ago that was, since its next expirations are counted from then.
        if (timer.expired) {
            timer.expires_ns = @max(1, now -| timer.expires_ns);
        } else timer.expires_ns = if (direction == .to_rest) @max(1, timer.expires_ns -| now) else timer.expires_ns +| now;
    }
}
