//! How values are written into the state of a saved snapshot, and read back from bytes that may be anything.
//!
//! Little-endian and without padding: an integer in as many bytes as it needs, a bool and the mark of an optional in one,
//! an enum and a union's tag as their number, lists with their count in front (four bytes). A table is a list of structs of
//! which later versions may have more fields: how many there are stands in front, and those that are missing have their
//! default. `docs/snapshot-format.md` has all of it. Not here: what a value means (`records.zig`).
const std = @import("std");
const limits = @import("../limits.zig");

pub const Error = error{Invalid};
pub const ReadError = Error || error{OutOfMemory};

/// An integer's bytes: a whole number of them.
pub fn Stored(comptime T: type) type {
    return std.meta.Int(@typeInfo(T).int.signedness, std.mem.alignForward(u16, @typeInfo(T).int.bits, 8));
}

/// Whether a struct is written as it lies in memory: its layout is fixed and it has no padding.
fn isRaw(comptime T: type) bool {
    const info = @typeInfo(T).@"struct";
    if (info.layout != .@"extern") return false;
    var bytes: usize = 0;
    for (info.fields) |field| {
        switch (@typeInfo(field.type)) {
            .int => {},
            .array => |array| if (@typeInfo(array.child) != .int) return false,
            else => return false,
        }
        bytes += @sizeOf(field.type);
    }
    return bytes == @sizeOf(T);
}

pub const Writer = struct {
    allocator: std.mem.Allocator,
    bytes: std.ArrayList(u8) = .empty,

    pub fn deinit(self: *Writer) void {
        self.bytes.deinit(self.allocator);
    }

    fn raw(self: *Writer, bytes: []const u8) error{OutOfMemory}!void {
        try self.bytes.appendSlice(self.allocator, bytes);
    }

    fn integer(self: *Writer, it: anytype) error{OutOfMemory}!void {
        const T = Stored(@TypeOf(it));
        try self.raw(std.mem.asBytes(&std.mem.nativeToLittle(T, it)));
    }

    /// A list of structs that may get more fields.
    pub fn table(self: *Writer, comptime T: type, rows: []const T) error{OutOfMemory}!void {
        try self.integer(@as(u16, @typeInfo(T).@"struct".fields.len));
        try self.value([]const T, rows);
    }

    pub fn value(self: *Writer, comptime T: type, it: T) error{OutOfMemory}!void {
        switch (@typeInfo(T)) {
            .void => {},
            .int => try self.integer(it),
            .bool => try self.integer(@as(u8, @intFromBool(it))),
            .@"enum" => try self.integer(@intFromEnum(it)),
            .optional => |optional| {
                try self.integer(@as(u8, @intFromBool(it != null)));
                if (it) |some| try self.value(optional.child, some);
            },
            .array => |array| if (array.child == u8) try self.raw(&it) else for (it) |element| try self.value(array.child, element),
            .pointer => |pointer| {
                comptime std.debug.assert(pointer.size == .slice);
                try self.integer(@as(u32, @intCast(it.len)));
                if (pointer.child == u8) return self.raw(it);
                for (it) |element| try self.value(pointer.child, element);
            },
            .@"struct" => |info| {
                if (info.layout == .@"packed") return self.integer(@as(info.backing_integer.?, @bitCast(it)));
                if (comptime isRaw(T)) return self.raw(std.mem.asBytes(&it));
                inline for (info.fields) |field| try self.value(field.type, @field(it, field.name));
            },
            .@"union" => |info| {
                try self.integer(@as(u8, @intFromEnum(std.meta.activeTag(it))));
                inline for (info.fields) |field| {
                    if (std.mem.eql(u8, field.name, @tagName(it))) try self.value(field.type, @field(it, field.name));
                }
            },
            else => @compileError("no form in a snapshot: " ++ @typeName(T)),
        }
    }
};

/// Lists and texts go into `arena`.
pub const Reader = struct {
    arena: std.mem.Allocator,
    bytes: []const u8,
    at: usize = 0,

    pub fn isAtEnd(self: *const Reader) bool {
        return self.at == self.bytes.len;
    }

    fn raw(self: *Reader, length: usize) Error![]const u8 {
        if (self.bytes.len - self.at < length) return error.Invalid;
        defer self.at += length;
        return self.bytes[self.at..][0..length];
    }

    fn integer(self: *Reader, comptime T: type) Error!T {
        const S = Stored(T);
        const bytes = try self.raw(@sizeOf(S));
        const stored = std.mem.readInt(S, bytes[0..@sizeOf(S)], .little);
        return std.math.cast(T, stored) orelse error.Invalid;
    }

    fn count(self: *Reader, comptime Element: type) Error!usize {
        const wanted = try self.integer(u32);
        // Each takes a byte at least, so that no number here can ask for more memory than the file's size allows for.
        if (wanted > self.bytes.len - self.at or wanted > limits.snapshot_list_max or @sizeOf(Element) == 0) return error.Invalid;
        return wanted;
    }

    pub fn table(self: *Reader, comptime T: type) ReadError![]T {
        const fields = @typeInfo(T).@"struct".fields;
        const there = try self.integer(u16);
        // More than this version knows: whoever wrote them expects them to be obeyed.
        if (there > fields.len) return error.Invalid;
        const rows = try self.arena.alloc(T, try self.count(T));
        for (rows) |*row| {
            inline for (fields, 0..) |field, index| {
                if (index < there) {
                    @field(row, field.name) = try self.value(field.type);
                } else if (comptime field.defaultValue()) |default| {
                    @field(row, field.name) = default;
                } else return error.Invalid;
            }
        }
        return rows;
    }

    pub fn value(self: *Reader, comptime T: type) ReadError!T {
        switch (@typeInfo(T)) {
            .void => return {},
            .int => return self.integer(T),
            .bool => return switch (try self.integer(u8)) {
                0 => false,
                1 => true,
                else => error.Invalid,
            },
            .@"enum" => |info| {
                const number = try self.integer(info.tag_type);
                if (!info.is_exhaustive) return @enumFromInt(number);
                return std.enums.fromInt(T, number) orelse error.Invalid;
            },
            .optional => |optional| return if (try self.value(bool)) try self.value(optional.child) else null,
            .array => |array| {
                var it: T = undefined;
                if (array.child == u8) {
                    @memcpy(&it, try self.raw(array.len));
                } else for (&it) |*element| {
                    element.* = try self.value(array.child);
                }
                return it;
            },
            .pointer => |pointer| {
                const length = try self.count(pointer.child);
                if (pointer.child == u8) return self.arena.dupe(u8, try self.raw(length));
                const list = try self.arena.alloc(pointer.child, length);
                for (list) |*element| element.* = try self.value(pointer.child);
                return list;
            },
            .@"struct" => |info| return self.structure(T, info),
            .@"union" => |info| {
                const number = try self.integer(u8);
                inline for (info.fields, 0..) |field, index| {
                    if (number == index) return @unionInit(T, field.name, try self.value(field.type));
                }
                return error.Invalid;
            },
            else => @compileError("no form in a snapshot: " ++ @typeName(T)),
        }
    }

    fn structure(self: *Reader, comptime T: type, comptime info: std.builtin.Type.Struct) ReadError!T {
        if (info.layout == .@"packed") return @bitCast(try self.integer(info.backing_integer.?));
        var it: T = undefined;
        if (comptime isRaw(T)) {
            @memcpy(std.mem.asBytes(&it), try self.raw(@sizeOf(T)));
            return it;
        }
        inline for (info.fields) |field| @field(it, field.name) = try self.value(field.type);
        return it;
    }
};

const Sample = struct {
    number: u32,
    flag: bool,
    kind: enum(u8) { one = 1, three = 3 },
    choice: union(enum) { nothing, text: []const u8, pair: [2]i16 },
    maybe: ?u64,
    small: u3,
    later: u16 = 7,
};

fn sampleOf(random: std.Random, text: []const u8) Sample {
    return .{
        .number = random.int(u32),
        .flag = random.boolean(),
        .kind = if (random.boolean()) .one else .three,
        .choice = switch (random.uintLessThan(u8, 3)) {
            0 => .nothing,
            1 => .{ .text = text },
            else => .{ .pair = .{ random.int(i16), random.int(i16) } },
        },
        .maybe = if (random.boolean()) random.int(u64) else null,
        .small = random.int(u3),
        .later = random.int(u16),
    };
}

test "tables come back as they were written, and damaged ones are refused or are other tables" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var prng = std.Random.DefaultPrng.init(1);
    const random = prng.random();
    var rows: [20]Sample = undefined;
    for (&rows) |*row| row.* = sampleOf(random, "some text");
    var writer: Writer = .{ .allocator = std.testing.allocator };
    defer writer.deinit();
    try writer.table(Sample, &rows);
    var reader: Reader = .{ .arena = arena, .bytes = writer.bytes.items };
    try std.testing.expectEqualDeep(@as([]const Sample, &rows), @as([]const Sample, try reader.table(Sample)));
    try std.testing.expect(reader.isAtEnd());
    for (0..writer.bytes.items.len) |length| {
        var cut: Reader = .{ .arena = arena, .bytes = writer.bytes.items[0..length] };
        try std.testing.expectError(error.Invalid, cut.table(Sample));
    }
    for (0..3000) |_| {
        const at = random.uintLessThan(usize, writer.bytes.items.len);
        const before = writer.bytes.items[at];
        writer.bytes.items[at] = random.int(u8);
        defer writer.bytes.items[at] = before;
        var damaged: Reader = .{ .arena = arena, .bytes = writer.bytes.items };
        _ = damaged.table(Sample) catch |failure| try std.testing.expectEqual(error.Invalid, failure);
    }
}

test "a table of an older version has defaults in its last fields, and a newer one is refused" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const Old = struct { a: u8 };
    const New = struct { a: u8, b: u16 = 9 };
    var writer: Writer = .{ .allocator = std.testing.allocator };
    defer writer.deinit();
    try writer.table(Old, &.{ .{ .a = 1 }, .{ .a = 2 } });
    var reader: Reader = .{ .arena = arena_state.allocator(), .bytes = writer.bytes.items };
    try std.testing.expectEqualSlices(New, &.{ .{ .a = 1, .b = 9 }, .{ .a = 2, .b = 9 } }, try reader.table(New));
    writer.bytes.clearRetainingCapacity();
    try writer.table(New, &.{.{ .a = 1, .b = 2 }});
    reader = .{ .arena = arena_state.allocator(), .bytes = writer.bytes.items };
    try std.testing.expectError(error.Invalid, reader.table(Old));
}
