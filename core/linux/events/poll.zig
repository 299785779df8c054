//! poll, ppoll, select, pselect6.
//! Source: poll(2), select(2). What select's sets mean is in the kernel's POLLIN_SET, POLLOUT_SET and POLLEX_SET.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const readiness = @import("readiness.zig");
const time = @import("../time.zig");
const waits = @import("waits.zig");
const Args = kernel_module.Args;
const Inquiry = @import("inquiry.zig").Inquiry;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const PollEntry = extern struct { fd: i32, events: u16, revents: u16 };

/// Fills `revents`; answers how many entries have some.
fn judge(inquiry: *Inquiry, entries: []PollEntry) u32 {
    var ready: u32 = 0;
    for (entries) |*entry| {
        entry.revents = 0;
        if (entry.fd < 0) continue;
        const found = if (inquiry.k.files.opened(entry.fd)) |description| inquiry.eventsOf(description) & (entry.events | readiness.always) else readiness.NVAL;
        entry.revents = @intCast(found);
        ready += @intFromBool(found != 0);
    }
    return ready;
}

/// How many entries are ready, or 0 once the call's time is over; else its thread sleeps.
fn look(k: *Kernel, entries: []PollEntry) i64 {
    var inquiry: Inquiry = undefined;
    inquiry.begin(k);
    for (entries) |entry| if (entry.fd >= 0) if (k.files.opened(entry.fd)) |description| inquiry.want(description, entry.events | readiness.always);
    var ready = judge(&inquiry, entries);
    if (inquiry.count > 0) {
        inquiry.ask(if (ready > 0 or k.isTimeOver()) .now else .patient);
        ready = judge(&inquiry, entries);
    }
    return if (ready > 0 or k.isTimeOver()) ready else k.block();
}

fn pollArray(k: *Kernel, address: u64, count: u64) i64 {
    if (count > waits.descriptorBound(k)) return fail(.INVAL);
    var storage: [limits.descriptors_max]PollEntry = undefined;
    const entries = storage[0..@intCast(count)];
    k.memory.read(address, std.mem.sliceAsBytes(entries)) catch return fail(.FAULT);
    const rc = look(k, entries);
    if (rc < 0) return rc;
    for (entries, 0..) |entry, index| {
        const at = address +% index * @sizeOf(PollEntry) +% @offsetOf(PollEntry, "revents");
        k.memory.writeValue(at, entry.revents) catch return fail(.FAULT);
    }
    return rc;
}

pub fn poll(k: *Kernel, a: Args) i64 {
    waits.setTime(k, waits.ofMilliseconds(a[2]));
    return pollArray(k, a[0], @as(u32, @truncate(a[1])));
}

pub fn ppoll(k: *Kernel, a: Args) i64 {
    const timeout = switch (waits.ofTimespec(k, a[2])) {
        .ns => |ns| ns,
        .refused => |errno| return errno,
    };
    const refused = waits.useMask(k, a[3], a[4]);
    if (refused != 0) return refused;
    waits.setTime(k, timeout);
    const rc = waits.endMask(k, pollArray(k, a[0], @as(u32, @truncate(a[1]))));
    return waits.tellRest(k, rc, a[2], .timespec);
}

const Set = [limits.descriptors_max / 64]u64;

/// The three sets of a select, and the descriptors in any of them.
const Selection = struct {
    addresses: [3]u64,
    words: usize,
    sets: [3]Set = @splat(@splat(0)),
    storage: [limits.descriptors_max]PollEntry = undefined,
    used: usize = 0,

    /// What makes a descriptor count in each set.
    const meanings = [3]u32{
        readiness.RDNORM | readiness.RDBAND | readiness.IN | readiness.HUP | readiness.ERR,
        readiness.WRBAND | readiness.WRNORM | readiness.OUT | readiness.ERR,
        readiness.PRI,
    };

    fn has(self: *const Selection, set: usize, fd: usize) bool {
        return self.sets[set][fd / 64] >> @intCast(fd % 64) & 1 == 1;
    }

    /// 0 or a negative errno.
    fn load(self: *Selection, k: *Kernel, bits: usize) i64 {
        for (&self.sets, self.addresses) |*set, address| {
            if (address != 0) k.memory.read(address, std.mem.sliceAsBytes(set[0..self.words])) catch return fail(.FAULT);
        }
        for (0..bits) |fd| {
            var events: u32 = 0;
            for (meanings, 0..) |meaning, set| if (self.has(set, fd)) {
                events |= meaning;
            };
            if (events == 0) continue;
            if (k.files.opened(@intCast(fd)) == null) return fail(.BADF);
            self.storage[self.used] = .{ .fd = @intCast(fd), .events = @intCast(events), .revents = 0 };
            self.used += 1;
        }
        return 0;
    }

    /// Writes the sets of what is ready; answers how many bits are set in all, or a negative errno.
    fn store(self: *const Selection, k: *Kernel) i64 {
        var results: [3]Set = @splat(@splat(0));
        var total: i64 = 0;
        for (self.storage[0..self.used]) |entry| for (meanings, 0..) |meaning, set| {
            const fd: usize = @intCast(entry.fd);
            if (entry.revents & meaning == 0 or !self.has(set, fd)) continue;
            results[set][fd / 64] |= @as(u64, 1) << @intCast(fd % 64);
            total += 1;
        };
        for (&results, self.addresses) |*set, address| {
            if (address != 0) k.memory.write(address, std.mem.sliceAsBytes(set[0..self.words])) catch return fail(.FAULT);
        }
        return total;
    }
};

fn selectSets(k: *Kernel, a: Args) i64 {
    const count: i32 = @bitCast(@as(u32, @truncate(a[0])));
    if (count < 0) return fail(.INVAL);
    // Linux looks no further than its table of descriptors is long, which never shrinks below one word.
    const table_bits = @max(64, std.mem.alignForward(usize, k.files.slots.items.len, 64));
    const bits: usize = @min(@as(usize, @intCast(count)), table_bits, limits.descriptors_max);
    var selection: Selection = .{ .addresses = .{ a[1], a[2], a[3] }, .words = (bits + 63) / 64 };
    const refused = selection.load(k, bits);
    if (refused != 0) return refused;
    const rc = look(k, selection.storage[0..selection.used]);
    return if (rc < 0) rc else selection.store(k);
}

pub fn select(k: *Kernel, a: Args) i64 {
    var timeout: ?u64 = null;
    if (a[4] != 0) {
        const value = k.memory.readValue([2]i64, a[4]) catch return fail(.FAULT);
        if (value[0] < 0 or value[1] < 0) return fail(.INVAL);
        timeout = @as(u64, @intCast(value[0])) *| std.time.ns_per_s +| @as(u64, @intCast(value[1])) *| std.time.ns_per_us;
    }
    waits.setTime(k, timeout);
    return waits.tellRest(k, selectSets(k, a), a[4], .timeval);
}

pub fn pselect6(k: *Kernel, a: Args) i64 {
    const timeout = switch (waits.ofTimespec(k, a[4])) {
        .ns => |ns| ns,
        .refused => |errno| return errno,
    };
    if (a[5] != 0) {
        const Mask = extern struct { address: u64, bytes: u64 };
        const mask = k.memory.readValue(Mask, a[5]) catch return fail(.FAULT);
        const refused = waits.useMask(k, mask.address, mask.bytes);
        if (refused != 0) return refused;
    }
    waits.setTime(k, timeout);
    return waits.tellRest(k, waits.endMask(k, selectSets(k, a)), a[4], .timespec);
}
