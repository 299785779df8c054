//! Counts lines, words and bytes of standard input, and prints the ten most frequent words. Without a C library.
const std = @import("std");

const Count = struct { word: []const u8, times: u32 };

fn moreOften(_: void, left: Count, right: Count) bool {
    if (left.times != right.times) return left.times > right.times;
    return std.mem.lessThan(u8, left.word, right.word);
}

pub fn main(init: std.process.Init) !void {
    const arena = init.arena.allocator();
    var input_buffer: [65536]u8 = undefined;
    var reader = std.Io.File.stdin().readerStreaming(init.io, &input_buffer);
    const text = try reader.interface.allocRemaining(arena, .unlimited);
    var counts: std.StringArrayHashMapUnmanaged(u32) = .empty;
    var words: usize = 0;
    var iterator = std.mem.tokenizeAny(u8, text, " \t\r\n");
    while (iterator.next()) |token| : (words += 1) {
        const word = try std.ascii.allocLowerString(arena, std.mem.trim(u8, token, ".,;:!?\"'()[]{}<>"));
        if (word.len == 0) continue;
        const entry = try counts.getOrPutValue(arena, word, 0);
        entry.value_ptr.* += 1;
    }
    var sorted: std.ArrayList(Count) = .empty;
    for (counts.keys(), counts.values()) |word, times| try sorted.append(arena, .{ .word = word, .times = times });
    std.mem.sort(Count, sorted.items, {}, moreOften);

    var output_buffer: [4096]u8 = undefined;
    var writer = std.Io.File.stdout().writerStreaming(init.io, &output_buffer);
    const out = &writer.interface;
    try out.print("{d} lines, {d} words, {d} bytes, {d} different words\n", .{ std.mem.countScalar(u8, text, '\n'), words, text.len, counts.count() });
    for (sorted.items[0..@min(10, sorted.items.len)]) |count| try out.print("{d:>6} {s}\n", .{ count.times, count.word });
    try out.flush();
}
