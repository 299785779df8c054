//! Tests of the symbol tables' reader on images made for them.
const std = @import("std");
const builder = @import("elf_builder.zig");
const elf = @import("elf.zig");
const symbols = @import("symbols.zig");
const allocator = std.testing.allocator;
const Symbols = symbols.Symbols;
const info = symbols.info;

const names = [_]builder.Name{
    .{ .name = "main", .value = 0x40_0100, .size = 0x40 },
    .{ .name = "helper", .value = 0x40_0140, .size = 0x10, .info = info(.local, .function) },
    .{ .name = "twice", .value = 0x40_0300, .size = 8, .info = info(.local, .function) },
    .{ .name = "twice", .value = 0x40_0200, .size = 8, .info = info(.global, .function) },
    .{ .name = "weak_name", .value = 0x40_0200, .size = 8, .info = info(.weak, .function) },
    .{ .name = "label", .value = 0x40_0400, .info = info(.local, .none) },
    .{ .name = "table", .value = 0x40_0500, .size = 64, .info = info(.global, .object) },
    .{ .name = "number", .value = 42, .info = info(.global, .none), .section = 0xfff1 },
    .{ .name = "missing", .value = 0, .section = 0 },
    .{ .name = "a_file.c", .value = 0, .info = info(.local, .file) },
};

fn sample() ![]u8 {
    return builder.build(allocator, .{ .names = &names });
}

test "names are found, the global one first" {
    const file = try sample();
    defer allocator.free(file);
    var table = try Symbols.init(allocator, file);
    defer table.deinit();
    try std.testing.expectEqual(8, table.count());
    try std.testing.expectEqual(0x40_0100, table.lookup("main").?.address(0));
    try std.testing.expectEqual(0x40_0200, table.lookup("twice").?.value);
    try std.testing.expectEqual(0x1040_0500, table.lookup("table").?.address(0x1000_0000));
    try std.testing.expectEqual(42, table.lookup("number").?.address(0x1000_0000));
    for ([_][]const u8{ "missing", "a_file.c", "", "mai", "main\x00", "mainly" }) |name| try std.testing.expectEqual(null, table.lookup(name));
}

test "addresses are named" {
    const file = try sample();
    defer allocator.free(file);
    var table = try Symbols.init(allocator, file);
    defer table.deinit();
    const cases = [_]struct { address: u64, text: ?[]const u8 }{
        .{ .address = 0x40_0100, .text = "main+0x0" },
        .{ .address = 0x40_013f, .text = "main+0x3f" },
        .{ .address = 0x40_0140, .text = "helper+0x0" },
        .{ .address = 0x40_0150, .text = null },
        .{ .address = 0x40_0204, .text = "twice+0x4" },
        .{ .address = 0x40_0412, .text = "label+0x12" },
        .{ .address = 0x40_00ff, .text = null },
        .{ .address = 0, .text = null },
        .{ .address = std.math.maxInt(u64), .text = null },
    };
    for (cases) |case| {
        const place = table.nearest(case.address);
        if (case.text) |text| {
            var buffer: [64]u8 = undefined;
            try std.testing.expectEqualStrings(text, try std.fmt.bufPrint(&buffer, "{f}", .{place.?}));
        } else try std.testing.expectEqual(null, place);
    }
}

test "files without symbols, truncated anywhere, or without memory for them" {
    for ([_][]const u8{ "", "\x7fELF", "#!/bin/sh\n" }) |file| {
        var table = try Symbols.init(allocator, file);
        defer table.deinit();
        try std.testing.expectEqual(0, table.count());
        try std.testing.expectEqual(null, table.lookup("main"));
        try std.testing.expectEqual(null, table.nearest(0x40_0100));
    }
    const file = try sample();
    defer allocator.free(file);
    for (0..file.len) |length| {
        var table = try Symbols.init(allocator, file[0..length]);
        table.deinit();
    }
    const attempt = struct {
        fn run(failing: std.mem.Allocator, bytes: []const u8) !void {
            var table = try Symbols.init(failing, bytes);
            table.deinit();
        }
    };
    try std.testing.checkAllAllocationFailures(allocator, attempt.run, .{file});
}

test "the table of this very test program" {
    const file = try readSelf();
    defer std.posix.munmap(file);
    var table = try Symbols.init(allocator, file);
    defer table.deinit();
    // A stripped test program has no names; then there is nothing to compare.
    if (table.count() == 0) return;
    const image = elf.parse(file, .{}).image;
    const start = table.lookup("_start").?;
    try std.testing.expectEqual(image.entry, start.value);
    // Another global name may be for the same place.
    try std.testing.expect(std.mem.endsWith(u8, table.nearest(start.value).?.name, "_start"));
}

fn readSelf() ![]align(std.heap.page_size_min) u8 {
    const linux = std.os.linux;
    const rc = linux.open("/proc/self/exe", .{ .ACCMODE = .RDONLY, .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return error.NoSelf;
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    const length: usize = @intCast(linux.lseek(fd, 0, linux.SEEK.END));
    return std.posix.mmap(null, length, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE }, fd, 0);
}
