//! The part of docs/snapshot-format.md that lists the state's tables, from the records themselves: the page cannot tell
//! anything else.
const std = @import("std");
const codec = @import("codec.zig");
const document = @embedFile("snapshot_format_document");
const records = @import("records.zig");

const begin = "<!-- tables -->\n";
const end = "<!-- /tables -->";

/// How a value is written, in words.
fn form(comptime T: type) []const u8 {
    @setEvalBranchQuota(100_000);
    return switch (@typeInfo(T)) {
        .void => "nothing",
        .bool => "bool",
        .int => @typeName(codec.Stored(T)),
        .@"enum" => |info| "enum " ++ @typeName(codec.Stored(info.tag_type)) ++ members(info),
        .optional => |optional| "optional " ++ form(optional.child),
        .array => |array| std.fmt.comptimePrint("{d} × ", .{array.len}) ++ (if (array.child == u8) "byte" else form(array.child)),
        .pointer => |pointer| if (pointer.child == u8) "bytes" else "list of " ++ form(pointer.child),
        .@"struct" => |info| if (info.layout == .@"packed") "bits " ++ @typeName(info.backing_integer.?) else structure(T),
        .@"union" => |info| blk: {
            comptime var text: []const u8 = "one of";
            inline for (info.fields, 0..) |field, index| text = text ++ std.fmt.comptimePrint("{s} {d} {s}: {s}", .{ if (index > 0) ";" else "", index, field.name, form(field.type) });
            break :blk "(" ++ text ++ ")";
        },
        else => @compileError("no form: " ++ @typeName(T)),
    };
}

fn members(comptime info: std.builtin.Type.Enum) []const u8 {
    if (!info.is_exhaustive or info.fields.len > 40) return "";
    comptime var text: []const u8 = "";
    inline for (info.fields, 0..) |field, index| text = text ++ std.fmt.comptimePrint("{s}{s} {d}", .{ if (index > 0) ", " else "", field.name, field.value });
    return " (" ++ text ++ ")";
}

fn structure(comptime T: type) []const u8 {
    comptime var text: []const u8 = "{ ";
    inline for (@typeInfo(T).@"struct".fields, 0..) |field, index| text = text ++ (if (index > 0) ", " else "") ++ field.name ++ ": " ++ form(field.type);
    return text ++ " }";
}

const expected = blk: {
    @setEvalBranchQuota(400_000);
    var text: []const u8 = "";
    for (@typeInfo(records.State).@"struct".fields, 1..) |table, number| {
        const Row = @typeInfo(table.type).pointer.child;
        text = text ++ std.fmt.comptimePrint("\n### {d}. {s}\n\n| field | form |\n|---|---|\n", .{ number, table.name });
        for (@typeInfo(Row).@"struct".fields) |field| text = text ++ "| " ++ field.name ++ " | " ++ form(field.type) ++ " |\n";
    }
    break :blk text ++ "\n";
};

test "docs/snapshot-format.md lists the tables as they are" {
    const text: []const u8 = document;
    const start = (std.mem.indexOf(u8, text, begin) orelse return error.NoBegin) + begin.len;
    const stop = std.mem.indexOfPos(u8, text, start, end) orelse return error.NoEnd;
    if (std.mem.eql(u8, text[start..stop], expected)) return;
    std.debug.print("to be between the marks in docs/snapshot-format.md:\n{s}{s}{s}\n", .{ begin, expected, end });
    return error.OutOfDate;
}
