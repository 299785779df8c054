//! The mappings of a guest's address space (VMAs): a sorted array of ranges with rights, no memory behind them here.
//!
//! Every operation costs time in the number of mappings, never in the pages of a reservation. Programs have 25 to 230.
const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../limits.zig");
const HostFile = @import("../host_file.zig").HostFile;
const TwoEnded = @import("two_ended.zig").TwoEnded;

pub const Rights = packed struct(u8) {
    read: bool = false,
    write: bool = false,
    execute: bool = false,
    padding: u5 = 0,

    pub fn none(self: Rights) bool {
        return !self.read and !self.write and !self.execute;
    }
};

pub const Kind = enum(u8) { anonymous, program, heap, stack, file, vdso, call_stack };

pub const Vma = struct {
    start: u64,
    end: u64,
    rights: Rights,
    kind: Kind,
    shared: bool = false,
    /// Forks and resets find these pages zero (MADV_WIPEONFORK).
    wipe_on_fork: bool = false,
    /// The file that is mapped, and where in it the mapping starts, in bytes.
    file: ?*HostFile = null,
    file_offset: u64 = 0,
    /// A shared mapping of a file that was opened for reading: it can never be made writable.
    write_refused: bool = false,
    /// Private pages of the file may differ from it: it was writable at some time, or the VMM wrote to it.
    written: bool = false,

    fn continues(self: Vma, next: Vma) bool {
        return self.end == next.start and self.rights == next.rights and self.kind == next.kind and
            self.shared == next.shared and self.wipe_on_fork == next.wipe_on_fork and self.kind != .stack and
            self.file == next.file and self.write_refused == next.write_refused and self.written == next.written and
            (self.file == null or self.fileOffset(self.end) == next.file_offset);
    }

    /// Where in the file the byte at `address` is.
    pub fn fileOffset(self: Vma, address: u64) u64 {
        return self.file_offset + (address - self.start);
    }

    fn retain(self: Vma) void {
        if (self.file) |file| _ = file.retain();
    }
};

pub const Error = error{OutOfMemory};

pub const VmaList = struct {
    allocator: std.mem.Allocator,
    /// No mapping lies below.
    floor: u64 = limits.mmap_min_address,
    items: TwoEnded(Vma) = .empty,
    /// Something was changed since the owner last set this to false.
    changed: bool = true,
    /// Every page from here to `packed_to`, the ceiling of the last search, is mapped: the next search below it need not
    /// look there again. Mappings come top down, so that without it a program with many would wait longer for each.
    packed_from: u64 = unknown,
    packed_to: u64 = unknown,

    const unknown = std.math.maxInt(u64);

    pub fn deinit(self: *VmaList) void {
        for (self.items.items) |vma| self.release(vma);
        self.items.deinit(self.allocator);
    }

    fn release(self: *const VmaList, vma: Vma) void {
        if (vma.file) |file| file.release(self.allocator);
    }

    fn removeAt(self: *VmaList, index: usize) void {
        self.release(self.items.items[index]);
        self.items.orderedRemove(index);
    }

    /// Becomes a copy of other mappings.
    pub fn adopt(self: *VmaList, vmas: []const Vma) Error!void {
        try self.items.ensureCapacity(self.allocator, vmas.len);
        for (vmas) |vma| vma.retain();
        for (self.items.items) |vma| self.release(vma);
        self.items.setLength(vmas.len);
        @memcpy(self.items.items, vmas);
        self.packed_from = unknown;
    }

    /// A copy of the mappings, with references of its own.
    pub fn copy(self: *const VmaList) Error![]Vma {
        const vmas = self.allocator.dupe(Vma, self.items.items) catch return error.OutOfMemory;
        for (vmas) |vma| vma.retain();
        return vmas;
    }

    /// Gives up what `copy` made.
    pub fn freeCopy(allocator: std.mem.Allocator, vmas: []Vma) void {
        for (vmas) |vma| if (vma.file) |file| file.release(allocator);
        allocator.free(vmas);
    }

    /// Index of the first mapping that ends above `address`.
    pub fn indexAfter(self: *const VmaList, address: u64) usize {
        var low: usize = 0;
        var high = self.items.items.len;
        while (low < high) {
            const middle = (low + high) / 2;
            if (self.items.items[middle].end <= address) low = middle + 1 else high = middle;
        }
        return low;
    }

    pub fn find(self: *const VmaList, address: u64) ?*Vma {
        const index = self.indexAfter(address);
        if (index == self.items.items.len) return null;
        const vma = &self.items.items[index];
        return if (vma.start <= address) vma else null;
    }

    /// Whether the pages of a mapping can be had from its file again.
    pub fn isClean(vma: Vma) bool {
        return vma.file != null and (vma.shared or !vma.written);
    }

    /// Whether every byte of the range lies in some mapping.
    pub fn covers(self: *const VmaList, start: u64, end: u64) bool {
        return self.coveredEnd(start, end) == end;
    }

    /// The end of the part of the range that is mapped from its start without a hole.
    pub fn coveredEnd(self: *const VmaList, start: u64, end: u64) u64 {
        var at = start;
        var index = self.indexAfter(start);
        while (at < end) : (index += 1) {
            if (index == self.items.items.len or self.items.items[index].start > at) return at;
            at = self.items.items[index].end;
        }
        return end;
    }

    /// Where the first mapping of the range begins that may never be made writable.
    pub fn writeRefusedFrom(self: *const VmaList, start: u64, end: u64) ?u64 {
        var index = self.indexAfter(start);
        while (index < self.items.items.len and self.items.items[index].start < end) : (index += 1) {
            if (self.items.items[index].write_refused) return @max(start, self.items.items[index].start);
        }
        return null;
    }

    pub fn isFree(self: *const VmaList, start: u64, end: u64) bool {
        const index = self.indexAfter(start);
        return index == self.items.items.len or self.items.items[index].start >= end;
    }

    /// Adds a mapping to a free range and joins it with its equal neighbours. The list holds its own reference to the file.
    pub fn insert(self: *VmaList, vma: Vma) Error!void {
        assert(vma.start < vma.end and vma.start % limits.page_size == 0 and vma.end % limits.page_size == 0);
        assert(self.isFree(vma.start, vma.end));
        self.changed = true;
        if (self.items.items.len >= limits.mappings_max) return error.OutOfMemory;
        const index = self.indexAfter(vma.start);
        self.items.insert(self.allocator, index, vma) catch return error.OutOfMemory;
        vma.retain();
        if (vma.file != null and vma.rights.write) self.items.items[index].written = true;
        self.joinAround(index);
    }

    fn joinAround(self: *VmaList, index: usize) void {
        const list = self.items.items;
        if (index + 1 < list.len and list[index].continues(list[index + 1])) {
            list[index].end = list[index + 1].end;
            self.removeAt(index + 1);
        }
        if (index > 0 and self.items.items[index - 1].continues(self.items.items[index])) {
            self.items.items[index - 1].end = self.items.items[index].end;
            self.removeAt(index);
        }
    }

    /// Makes `address` a boundary between mappings.
    fn splitAt(self: *VmaList, address: u64) Error!void {
        const vma = self.find(address) orelse return;
        if (vma.start == address) return;
        self.changed = true;
        if (self.items.items.len >= limits.mappings_max) return error.OutOfMemory;
        var upper = vma.*;
        upper.start = address;
        if (vma.file != null) upper.file_offset = vma.fileOffset(address);
        const index = self.indexAfter(address);
        self.items.insert(self.allocator, index + 1, upper) catch return error.OutOfMemory;
        upper.retain();
        self.items.items[index].end = address;
    }

    /// Removes whatever is mapped in the range; nothing changes on failure but a harmless split.
    pub fn remove(self: *VmaList, start: u64, end: u64) Error!void {
        assert(start < end);
        self.changed = true;
        if (end > self.packed_from) self.packed_from = unknown;
        try self.splitAt(start);
        try self.splitAt(end);
        const first = self.indexAfter(start);
        var last = first;
        while (last < self.items.items.len and self.items.items[last].start < end) last += 1;
        for (self.items.items[first..last]) |vma| self.release(vma);
        self.items.removeRange(first, last - first);
    }

    /// Changes the rights of every mapping in the range, which must be covered.
    pub fn protect(self: *VmaList, start: u64, end: u64, rights: Rights) Error!void {
        return self.change(start, end, .{ .rights = rights });
    }

    pub const Change = union(enum) { rights: Rights, wipe_on_fork: bool };

    /// Changes every mapping in the range, which must be covered, and joins what has become equal.
    pub fn change(self: *VmaList, start: u64, end: u64, what: Change) Error!void {
        assert(self.covers(start, end));
        self.changed = true;
        try self.splitAt(start);
        try self.splitAt(end);
        var index = self.indexAfter(start);
        while (index < self.items.items.len and self.items.items[index].start < end) : (index += 1) {
            switch (what) {
                .rights => |rights| {
                    const vma = &self.items.items[index];
                    vma.rights = rights;
                    if (vma.file != null and rights.write) vma.written = true;
                },
                .wipe_on_fork => |wipe| self.items.items[index].wipe_on_fork = wipe,
            }
        }
        index = @min(index, self.items.items.len - 1);
        const first = self.indexAfter(start);
        while (index + 1 > first) : (index -= 1) {
            if (index < self.items.items.len) self.joinAround(index);
            if (index == 0) break;
        }
    }

    /// The highest free range of `length` bytes that ends at or below `ceiling`, top down as Linux does; null if none.
    pub fn findFree(self: *VmaList, length: u64, alignment: u64, ceiling: u64) ?u64 {
        const top = if (ceiling == self.packed_to) @min(ceiling, self.packed_from) else ceiling;
        var end = top;
        var index = self.indexAfter(top - 1);
        // A mapping that goes on above the top leaves nothing there either.
        if (index < self.items.items.len and self.items.items[index].start < top) end = self.items.items[index].start;
        while (index > 0 and self.items.items[index - 1].end == end) : (index -= 1) end = self.items.items[index - 1].start;
        self.packed_from = end;
        self.packed_to = ceiling;
        while (true) {
            const below = if (index == 0) self.floor else self.items.items[index - 1].end;
            if (end > below and end - below >= length) {
                const start = std.mem.alignBackward(u64, end - length, alignment);
                if (start >= below) return start;
            }
            if (index == 0) return null;
            index -= 1;
            end = self.items.items[index].start;
        }
    }
};

test "a list of mappings agrees with a table of pages under random changes" {
    const pages = 64;
    var list: VmaList = .{ .allocator = std.testing.allocator };
    defer list.deinit();
    var model: [pages]?Rights = @splat(null);
    var random = std.Random.DefaultPrng.init(1);
    const page = limits.page_size;
    const base = 0x10_0000;
    for (0..20_000) |_| {
        const first = random.random().uintLessThan(u64, pages);
        const count = 1 + random.random().uintLessThan(u64, pages - first);
        const start = base + first * page;
        const end = start + count * page;
        const rights: Rights = @bitCast(random.random().uintLessThan(u8, 8));
        const part = model[first .. first + count];
        switch (random.random().uintLessThan(u8, 3)) {
            0 => {
                try list.remove(start, end);
                @memset(part, null);
            },
            1 => if (list.isFree(start, end)) {
                try list.insert(.{ .start = start, .end = end, .rights = rights, .kind = .anonymous });
                @memset(part, rights);
            },
            else => if (list.covers(start, end)) {
                try list.protect(start, end, rights);
                @memset(part, rights);
            },
        }
        const wanted = 1 + random.random().uintLessThan(u64, 8);
        // The highest run of so many free pages; below the table all are.
        var run: u64 = 0;
        var at: u64 = pages;
        while (run < wanted) {
            at -%= 1;
            run = if (at < pages and model[at] != null) 0 else run + 1;
        }
        try std.testing.expectEqual(base +% at *% page, list.findFree(wanted * page, page, base + pages * page).?);
        // A search with another ceiling changes nothing for this one.
        if (random.random().boolean()) _ = list.findFree(page, page, base + random.random().uintLessThan(u64, pages) * page + page);
        for (model, 0..) |expected, index| {
            const found = list.find(base + index * page);
            if (expected) |want| {
                try std.testing.expectEqual(want, found.?.rights);
            } else try std.testing.expectEqual(null, found);
        }
        for (list.items.items[0..list.items.items.len -| 1], 0..) |vma, index| {
            try std.testing.expect(!vma.continues(list.items.items[index + 1]));
        }
    }
}
