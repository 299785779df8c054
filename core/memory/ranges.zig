//! A small sorted set of frame ranges, bounded so that it can be copied with its owner.
const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../limits.zig");
const Frame = u32;

pub const Range = struct {
    first: Frame,
    last: Frame,

    pub fn count(self: Range) u64 {
        return self.last - self.first;
    }
};

pub const Ranges = struct {
    items: [limits.anonymous_ranges_max]Range = undefined,
    len: u32 = 0,

    pub fn slice(self: *const Ranges) []const Range {
        return self.items[0..self.len];
    }

    /// Index of the first range that ends above `frame`.
    fn indexAfter(self: *const Ranges, frame: Frame) u32 {
        var index: u32 = 0;
        while (index < self.len and self.items[index].last <= frame) index += 1;
        return index;
    }

    pub fn contains(self: *const Ranges, frame: Frame) bool {
        const index = self.indexAfter(frame);
        return index < self.len and self.items[index].first <= frame;
    }

    /// How far it is the same from `frame` on, at most to `last`.
    pub fn pieceAt(self: *const Ranges, frame: Frame, last: Frame) struct { inside: bool, last: Frame } {
        const index = self.indexAfter(frame);
        if (index == self.len) return .{ .inside = false, .last = last };
        const range = self.items[index];
        if (range.first > frame) return .{ .inside = false, .last = @min(last, range.first) };
        return .{ .inside = true, .last = @min(last, range.last) };
    }

    /// Adds frames that no range has yet and joins neighbours; false if there is no room for another range.
    pub fn add(self: *Ranges, first: Frame, last: Frame) bool {
        assert(first < last);
        const index = self.indexAfter(first);
        assert(index == self.len or self.items[index].first >= last);
        const joins_below = index > 0 and self.items[index - 1].last == first;
        const joins_above = index < self.len and self.items[index].first == last;
        if (joins_below and joins_above) {
            self.items[index - 1].last = self.items[index].last;
            self.removeAt(index);
        } else if (joins_below) {
            self.items[index - 1].last = last;
        } else if (joins_above) {
            self.items[index].first = first;
        } else {
            if (self.len == self.items.len) return false;
            std.mem.copyBackwards(Range, self.items[index + 1 .. self.len + 1], self.items[index..self.len]);
            self.items[index] = .{ .first = first, .last = last };
            self.len += 1;
        }
        return true;
    }

    /// Takes back the newest addition of exactly these frames.
    pub fn remove(self: *Ranges, first: Frame, last: Frame) void {
        const index = self.indexAfter(first);
        const range = &self.items[index];
        assert(range.first <= first and last <= range.last);
        if (range.first == first and range.last == last) return self.removeAt(index);
        if (range.first == first) range.first = last else range.last = first;
    }

    fn removeAt(self: *Ranges, index: u32) void {
        std.mem.copyForwards(Range, self.items[index .. self.len - 1], self.items[index + 1 .. self.len]);
        self.len -= 1;
    }
};

test "ranges agree with a table of frames" {
    var ranges: Ranges = .{};
    var model: [200]bool = @splat(false);
    var random = std.Random.DefaultPrng.init(1);
    for (0..2000) |_| {
        const first = random.random().uintLessThan(u32, 199);
        var last = first;
        while (last < model.len and !model[last] and last - first < 8) last += 1;
        if (last > first and ranges.add(first, last)) @memset(model[first..last], true);
        for (model, 0..) |expected, frame| try std.testing.expectEqual(expected, ranges.contains(@intCast(frame)));
        if (ranges.len > 0 and random.random().boolean()) {
            const range = ranges.items[random.random().uintLessThan(u32, ranges.len)];
            ranges.remove(range.first, range.last);
            @memset(model[range.first..range.last], false);
        }
    }
}
