//! A sorted array's storage with room at both ends, so that inserting or removing moves the shorter side: a program that
//! maps top down inserts near the front every time.
const std = @import("std");
const assert = std.debug.assert;

pub fn TwoEnded(comptime T: type) type {
    return struct {
        /// What is in the array: a part of `buffer`.
        items: []T = &.{},
        buffer: []T = &.{},

        const Self = @This();
        pub const empty: Self = .{};

        pub fn deinit(self: *Self, allocator: std.mem.Allocator) void {
            allocator.free(self.buffer);
            self.* = .empty;
        }

        fn front(self: *const Self) usize {
            return if (self.buffer.len == 0) 0 else @intFromPtr(self.items.ptr) - @intFromPtr(self.buffer.ptr);
        }

        fn roomBefore(self: *const Self) usize {
            return self.front() / @sizeOf(T);
        }

        fn roomBehind(self: *const Self) usize {
            return self.buffer.len - self.roomBefore() - self.items.len;
        }

        /// Moves what there is into the middle of a larger buffer.
        fn grow(self: *Self, allocator: std.mem.Allocator, least: usize) error{OutOfMemory}!void {
            const bigger = try allocator.alloc(T, @max(64, least + least / 2));
            const start = (bigger.len - self.items.len) / 2;
            @memcpy(bigger[start..][0..self.items.len], self.items);
            allocator.free(self.buffer);
            self.buffer = bigger;
            self.items = bigger[start..][0..self.items.len];
        }

        pub fn insert(self: *Self, allocator: std.mem.Allocator, index: usize, item: T) error{OutOfMemory}!void {
            assert(index <= self.items.len);
            const low = index < self.items.len - index;
            if ((if (low) self.roomBefore() else self.roomBehind()) == 0) try self.grow(allocator, self.items.len + 2);
            if (low) {
                const start = self.roomBefore() - 1;
                self.items = self.buffer[start..][0 .. self.items.len + 1];
                @memmove(self.items[0..index], self.items[1 .. index + 1]);
            } else {
                const start = self.roomBefore();
                self.items = self.buffer[start..][0 .. self.items.len + 1];
                @memmove(self.items[index + 1 ..], self.items[index .. self.items.len - 1]);
            }
            self.items[index] = item;
        }

        pub fn removeRange(self: *Self, index: usize, count: usize) void {
            const behind = self.items.len - index - count;
            if (index < behind) {
                @memmove(self.items[count .. count + index], self.items[0..index]);
                self.items = self.items[count..];
            } else {
                @memmove(self.items[index .. index + behind], self.items[index + count ..]);
                self.items = self.items[0 .. self.items.len - count];
            }
        }

        pub fn orderedRemove(self: *Self, index: usize) void {
            self.removeRange(index, 1);
        }

        /// Makes room for `count` items in all.
        pub fn ensureCapacity(self: *Self, allocator: std.mem.Allocator, count: usize) error{OutOfMemory}!void {
            if (self.buffer.len < count) try self.grow(allocator, count);
        }

        /// Makes it `count` long, for which there is room, with whatever in it.
        pub fn setLength(self: *Self, count: usize) void {
            const start = @min(self.roomBefore(), self.buffer.len - count);
            self.items = self.buffer[start..][0..count];
        }
    };
}

test "an array with room at both ends agrees with an ordinary one" {
    var array: TwoEnded(u32) = .empty;
    defer array.deinit(std.testing.allocator);
    var model: std.ArrayList(u32) = .empty;
    defer model.deinit(std.testing.allocator);
    var random = std.Random.DefaultPrng.init(1);
    for (0..20_000) |round| {
        const length = model.items.len;
        const index = random.random().uintLessThan(usize, length + 1);
        switch (random.random().uintLessThan(u8, 8)) {
            0...4 => {
                try array.insert(std.testing.allocator, index, @intCast(round));
                try model.insert(std.testing.allocator, index, @intCast(round));
            },
            5 => {
                const count = @min(length - index, random.random().uintLessThan(usize, 8));
                array.removeRange(index, count);
                try model.replaceRange(std.testing.allocator, index, count, &.{});
            },
            6 => if (index < length) {
                array.orderedRemove(index);
                _ = model.orderedRemove(index);
            },
            else => if (round % 97 == 0) {
                try array.ensureCapacity(std.testing.allocator, index);
                array.setLength(index);
                try model.resize(std.testing.allocator, index);
                @memcpy(array.items, model.items);
            },
        }
        try std.testing.expectEqualSlices(u32, model.items, array.items);
    }
}
