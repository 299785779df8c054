//! A position-independent static program without a C library, full of addresses that it must relocate itself: tables of
//! functions and strings, and pointers between variables. Functions can be called from outside by name. Nothing of Zig's
//! I/O layer is used, so that the program stays small.
const std = @import("std");

const Operation = struct { name: []const u8, apply: *const fn (i64, i64) callconv(.c) i64 };

const operations = [_]Operation{
    .{ .name = "add", .apply = &add },
    .{ .name = "subtract", .apply = &subtract },
    .{ .name = "multiply", .apply = &multiply },
};

const Node = struct { value: i64, next: ?*Node };
var third: Node = .{ .value = 3, .next = null };
var second: Node = .{ .value = 2, .next = &third };
var first: Node = .{ .value = 1, .next = &second };
/// Not a constant for the compiler, so that the pointers are really read.
var list: *Node = &first;

export fn add(left: i64, right: i64) i64 {
    return left +% right;
}

export fn subtract(left: i64, right: i64) i64 {
    return left -% right;
}

export fn multiply(left: i64, right: i64) i64 {
    return left *% right;
}

export fn sumList() i64 {
    var total: i64 = 0;
    var node: ?*Node = list;
    while (node) |some| : (node = some.next) total += some.value;
    return total;
}

threadlocal var calls: u64 = 40;

/// Counts in thread-local storage.
export fn countCalls() u64 {
    calls += 1;
    return calls;
}

fn print(comptime text: []const u8, arguments: anytype) void {
    var buffer: [256]u8 = undefined;
    const line = std.fmt.bufPrint(&buffer, text, arguments) catch unreachable;
    _ = std.os.linux.write(1, line.ptr, line.len);
}

pub fn main() void {
    var table: []const Operation = &operations;
    std.mem.doNotOptimizeAway(&table);
    for (table) |operation| print("{s}(6, 7) = {d}\n", .{ operation.name, operation.apply(6, 7) });
    print("the list's sum is {d}, the counter {d}\n", .{ sumList(), countCalls() });
}
