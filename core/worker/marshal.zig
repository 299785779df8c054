//! The functions of the C boundary as messages: which arguments are numbers and which are bytes, from their declarations.
//!
//! Bytes are a pointer whose length is the next argument, and a function has at most one such pair; a pointer to a structure is
//! a result.
const std = @import("std");
const exports = @import("../abi/exports.zig");
const Message = @import("channel.zig").Message;

pub const declarations = @typeInfo(exports).@"struct".decls;

pub fn indexOf(comptime name: []const u8) u32 {
    @setEvalBranchQuota(20_000);
    inline for (declarations, 0..) |declaration, index| if (comptime std.mem.eql(u8, declaration.name, name)) return index;
    @compileError("the boundary has no function " ++ name);
}

pub fn Function(comptime name: []const u8) type {
    return @TypeOf(@field(exports, name));
}

pub fn Arguments(comptime name: []const u8) type {
    return std.meta.ArgsTuple(Function(name));
}

pub fn Result(comptime name: []const u8) type {
    return @typeInfo(Function(name)).@"fn".return_type.?;
}

pub const Kind = enum { number, bytes_in, bytes_out, structure_out };

pub fn kindOf(comptime T: type) Kind {
    const info = switch (@typeInfo(T)) {
        .pointer => |pointer| pointer,
        else => return .number,
    };
    if (info.size == .one) return .structure_out;
    return if (info.is_const) .bytes_in else .bytes_out;
}

/// Whether a function can be asked of another process: its first argument says which, and what it answers is a number.
pub fn travels(comptime name: []const u8) bool {
    const info = @typeInfo(Function(name)).@"fn";
    if (info.params.len == 0 or kindOf(info.return_type.?) != .number or @typeInfo(info.return_type.?) == .optional) return false;
    // Jobs are this process's own.
    if (std.mem.startsWith(u8, name, "pristine_job_") or std.mem.eql(u8, name, "pristine_image_save") or std.mem.endsWith(u8, name, "connect")) return false;
    return info.params[0].type.? == u32 or std.mem.eql(u8, name, "pristine_machine_create");
}

pub fn toBits(value: anytype) u64 {
    return switch (@TypeOf(value)) {
        f64 => @bitCast(value),
        i32 => @as(u32, @bitCast(value)),
        u32 => value,
        else => @compileError("no number of the boundary: " ++ @typeName(@TypeOf(value))),
    };
}

pub fn fromBits(comptime T: type, bits: u64) T {
    return switch (T) {
        f64 => @bitCast(bits),
        i32 => @bitCast(@as(u32, @truncate(bits))),
        u32 => @truncate(bits),
        else => @compileError("no number of the boundary: " ++ @typeName(T)),
    };
}

/// How many bytes a function has written to the bytes it was given, by its result.
pub fn bytesOf(comptime name: []const u8, result: anytype, capacity: usize) usize {
    // All or nothing.
    if (comptime std.mem.eql(u8, name, "pristine_memory_read")) return if (result < 0) 0 else capacity;
    const count: i64 = switch (@TypeOf(result)) {
        f64 => 0,
        else => result,
    };
    return @intCast(std.math.clamp(count, 0, @as(i64, @intCast(capacity))));
}

comptime {
    @setEvalBranchQuota(20_000);
    for (declarations) |declaration| std.debug.assert(!travels(declaration.name) or @typeInfo(Function(declaration.name)).@"fn".params.len <= @typeInfo(@FieldType(Message, "arguments")).array.len);
}
