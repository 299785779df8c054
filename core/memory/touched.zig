//! Which frames of a fork have private memory: the touched set, from the host's own page tables.
//!
//! Whoever writes a page of a fork, the guest, the VMM or a view, the host gives the fork a private copy of it first. So the
//! private pages are exactly the pages that may differ from the image, and asking the host for them (PAGEMAP_SCAN) misses
//! none. It is asked only when there may be new ones: when the thread that ran the guest had page faults meanwhile, or the
//! VMM or a view wrote a page that is not in the set yet. So the guest's first write to a page costs no more than the
//! host's copy, and a request that writes no new page costs no scan.
//! Sources: Documentation/admin-guide/mm/pagemap.rst, ioctl PAGEMAP_SCAN (Linux 6.7); /proc/self/pagemap before that.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const Frame = u32;
const page = limits.page_size;

pub const Error = error{ OutOfMemory, HostFailure };

pub const Page = struct {
    frame: Frame,
    /// Resets since the page last differed from the image.
    age: u8 = 0,
};

pub const Touched = struct {
    /// In the order of the frames.
    pages: std.ArrayList(Page) = .empty,
    members: std.DynamicBitSetUnmanaged = .{},
    /// There may be more than `pages` has.
    stale: bool = false,

    pub fn deinit(self: *Touched, allocator: std.mem.Allocator) void {
        self.pages.deinit(allocator);
        self.members.deinit(allocator);
    }

    pub fn clear(self: *Touched) void {
        self.members.unsetAll();
        self.pages.clearRetainingCapacity();
        self.stale = false;
    }

    pub fn has(self: *const Touched, frame: Frame) bool {
        return frame < self.members.capacity() and self.members.isSet(frame);
    }

    /// The frame is about to be written by the VMM or may be by a view.
    pub fn note(self: *Touched, frame: Frame) void {
        if (!self.has(frame)) self.stale = true;
    }

    /// The frame's private memory is gone; its place in `pages` is the caller's to take away.
    pub fn leave(self: *Touched, frame: Frame) void {
        if (self.has(frame)) self.members.unset(frame);
    }

    /// Asks the host for every private page of the frames below `end`.
    pub fn scan(self: *Touched, allocator: std.mem.Allocator, base: [*]const u8, end: Frame) Error!void {
        if (self.members.capacity() < end) self.members.resize(allocator, end, false) catch return error.OutOfMemory;
        var found: std.ArrayList(Page) = .empty;
        errdefer found.deinit(allocator);
        found.ensureTotalCapacity(allocator, self.pages.items.len + 16) catch return error.OutOfMemory;
        var reader: Reader = .{ .allocator = allocator, .base = @intFromPtr(base), .out = &found };
        try reader.readAll(end);
        self.merge(found.items);
        self.pages.deinit(allocator);
        self.pages = found;
        self.stale = false;
    }

    /// Both are in order; ages pass over to `found`.
    fn merge(self: *Touched, found: []Page) void {
        self.members.unsetAll();
        var at: usize = 0;
        for (found) |*item| {
            self.members.set(item.frame);
            while (at < self.pages.items.len and self.pages.items[at].frame < item.frame) at += 1;
            if (at < self.pages.items.len and self.pages.items[at].frame == item.frame) item.age = self.pages.items[at].age;
        }
    }
};

const Reader = struct {
    allocator: std.mem.Allocator,
    base: usize,
    out: *std.ArrayList(Page),

    fn readAll(self: *Reader, end: Frame) Error!void {
        const fd = try pagemapDescriptor();
        if (!scan_missing.load(.monotonic)) {
            if (self.scanRange(fd, end)) |_| return else |failure| {
                if (host.last_errno != .NOTTY and host.last_errno != .INVAL) return failure;
                scan_missing.store(true, .monotonic);
                self.out.clearRetainingCapacity();
            }
        }
        try self.readEntries(fd, end);
    }

    fn addRun(self: *Reader, first: u64, count: u64) Error!void {
        self.out.ensureUnusedCapacity(self.allocator, @intCast(count)) catch return error.OutOfMemory;
        for (0..@intCast(count)) |offset| self.out.appendAssumeCapacity(.{ .frame = @intCast(first + offset) });
    }

    const ScanArguments = extern struct {
        size: u64 = @sizeOf(ScanArguments),
        flags: u64 = 0,
        start: u64,
        end: u64,
        walk_end: u64 = 0,
        vec: u64,
        vec_len: u64,
        max_pages: u64 = 0,
        category_inverted: u64 = is_file | is_zero_page,
        category_mask: u64 = is_file | is_zero_page,
        category_anyof_mask: u64 = is_present | is_swapped,
        return_mask: u64 = is_present | is_swapped,
    };
    const Region = extern struct { start: u64, end: u64, categories: u64 };
    const is_file = 1 << 2;
    const is_present = 1 << 3;
    const is_swapped = 1 << 4;
    const is_zero_page = 1 << 5;
    const pagemap_scan = 0xc060_6610;

    fn scanRange(self: *Reader, fd: i32, end: Frame) Error!void {
        var regions: [256]Region = undefined;
        var start: u64 = self.base;
        const stop = self.base + @as(u64, end) * page;
        while (start < stop) {
            var arguments: ScanArguments = .{ .start = start, .end = stop, .vec = @intFromPtr(&regions), .vec_len = regions.len };
            const count = try host.ioctlPtr(fd, pagemap_scan, &arguments);
            for (regions[0..count]) |region| try self.addRun((region.start - self.base) / page, (region.end - region.start) / page);
            // A full vector may have cut the walk short at its last region; `walk_end` is not to be relied on then.
            if (count < regions.len) return;
            start = regions[count - 1].end;
        }
    }

    /// Bits of /proc/self/pagemap: 63 present, 62 swapped, 61 a page of a file or shared.
    fn readEntries(self: *Reader, fd: i32, end: Frame) Error!void {
        var entries: [4096]u64 = undefined;
        var at: u64 = 0;
        while (at < end) {
            const wanted: u64 = @min(entries.len, end - at);
            const got = try host.check(linux.pread(fd, std.mem.asBytes(&entries), wanted * 8, @intCast((self.base / page + at) * 8)));
            if (got < 8) return error.HostFailure;
            for (entries[0 .. got / 8], 0..) |entry, index| {
                const present = entry >> 63 == 1 and entry >> 61 & 1 == 0;
                if (present or entry >> 62 & 1 == 1) try self.addRun(at + index, 1);
            }
            at += got / 8;
        }
    }
};

var scan_missing: std.atomic.Value(bool) = .init(false);
var pagemap: std.atomic.Value(i32) = .init(-1);

/// The process's own page map, opened once.
fn pagemapDescriptor() host.Error!i32 {
    const known = pagemap.load(.acquire);
    if (known >= 0) return known;
    const fd: i32 = @intCast(try host.check(linux.open("/proc/self/pagemap", .{ .CLOEXEC = true }, 0)));
    if (pagemap.cmpxchgStrong(-1, fd, .acq_rel, .acquire)) |other| {
        host.close(fd);
        return other;
    }
    return fd;
}

/// Opens it now; later this process may not be able to.
pub fn openPageMap() void {
    _ = pagemapDescriptor() catch {};
}

/// In a double of the process, whose page map is another.
pub fn usePageMap(fd: i32) void {
    host.close(pagemap.swap(fd, .acq_rel));
}

/// Page faults of the calling thread so far; the kernel counts a guest's faults for the thread that runs it.
pub fn threadFaults() u64 {
    var usage: linux.rusage = undefined;
    const this_thread = 1;
    _ = linux.getrusage(this_thread, &usage);
    return @intCast(usage.minflt + usage.majflt);
}

test "the touched set is what was written, whoever wrote it, and ages survive a scan" {
    const allocator = std.testing.allocator;
    const frames = 64;
    const address = try host.check(linux.mmap(null, frames * page, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0));
    defer _ = linux.munmap(@ptrFromInt(address), frames * page);
    const memory = @as([*]u8, @ptrFromInt(address))[0 .. frames * page];
    // Read pages show the zero page, which is nobody's.
    std.mem.doNotOptimizeAway(memory[40 * page]);
    memory[3 * page] = 1;
    memory[4 * page] = 1;
    memory[63 * page] = 1;
    for ([_]bool{ false, true }) |fallback| {
        scan_missing.store(fallback, .monotonic);
        defer scan_missing.store(false, .monotonic);
        var touched: Touched = .{};
        defer touched.deinit(allocator);
        try touched.scan(allocator, memory.ptr, frames);
        for ([_]Frame{ 3, 4, 63 }) |frame| try std.testing.expect(touched.has(frame));
        try std.testing.expect(touched.pages.items.len == 3 or scan_missing.load(.monotonic));
        touched.pages.items[1].age = 7;
        memory[0] = 1;
        touched.note(0);
        try std.testing.expect(touched.stale);
        try touched.scan(allocator, memory.ptr, frames);
        try std.testing.expect(touched.has(0) and !touched.stale);
        for (touched.pages.items) |item| {
            if (item.frame == 4) try std.testing.expectEqual(7, item.age);
        }
        _ = linux.madvise(memory.ptr, page, linux.MADV.DONTNEED);
    }
}
