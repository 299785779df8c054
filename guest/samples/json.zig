//! Parses JSON from standard input, prints it again without white space, then a summary. Ends with status 1 if it is not JSON.
//! With musl for memory and files, as a Zig program that uses C libraries would have it.
const std = @import("std");

const Summary = struct {
    objects: usize = 0,
    arrays: usize = 0,
    strings: usize = 0,
    numbers: usize = 0,
    others: usize = 0,
    depth_max: usize = 0,
    total: f64 = 0,

    fn add(self: *Summary, value: std.json.Value, depth: usize) void {
        self.depth_max = @max(self.depth_max, depth);
        switch (value) {
            .object => |object| {
                self.objects += 1;
                for (object.values()) |inner| self.add(inner, depth + 1);
            },
            .array => |array| {
                self.arrays += 1;
                for (array.items) |inner| self.add(inner, depth + 1);
            },
            .string => self.strings += 1,
            .integer => |number| {
                self.numbers += 1;
                self.total += @floatFromInt(number);
            },
            .float => |number| {
                self.numbers += 1;
                self.total += number;
            },
            else => self.others += 1,
        }
    }
};

fn readAll(allocator: std.mem.Allocator) ![]u8 {
    var text: std.ArrayList(u8) = .empty;
    while (true) {
        try text.ensureUnusedCapacity(allocator, 65536);
        const room = text.unusedCapacitySlice();
        const got = std.c.read(0, room.ptr, room.len);
        if (got < 0) return error.ReadFailed;
        if (got == 0) return text.items;
        text.items.len += @intCast(got);
    }
}

fn writeAll(text: []const u8) !void {
    var rest = text;
    while (rest.len > 0) {
        const put = std.c.write(1, rest.ptr, rest.len);
        if (put <= 0) return error.WriteFailed;
        rest = rest[@intCast(put)..];
    }
}

/// Errors end here, not in Zig's start-up code: that would print a trace, and bring in all that can make one.
pub fn main() u8 {
    return run() catch 2;
}

fn run() !u8 {
    var arena_state: std.heap.ArenaAllocator = .init(std.heap.c_allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const text = try readAll(arena);
    var output: std.Io.Writer.Allocating = .init(arena);
    const out = &output.writer;
    const value = std.json.parseFromSliceLeaky(std.json.Value, arena, text, .{}) catch |failure| {
        try out.print("not JSON: {t}\n", .{failure});
        try writeAll(output.written());
        return 1;
    };
    var summary: Summary = .{};
    summary.add(value, 1);
    try std.json.Stringify.value(value, .{}, out);
    try out.print("\n{d} objects, {d} arrays, {d} strings, {d} numbers (total {d:.3}), {d} others, depth {d}\n", .{
        summary.objects, summary.arrays, summary.strings, summary.numbers, summary.total, summary.others, summary.depth_max,
    });
    try writeAll(output.written());
    return 0;
}
