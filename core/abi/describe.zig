//! The C boundary as data, made from its declarations at compile time: functions, structures, enumerations.
const std = @import("std");
const call = @import("../call.zig");
const errors = @import("../errors.zig");
const events = @import("../events.zig");
const machine = @import("../machine.zig");
const reset = @import("../reset.zig");
const types = @import("types.zig");

pub const structures = .{
    .{ "MachineBlock", types.MachineBlock },
    .{ "CallFrame", call.Frame },
    .{ "Counters", types.Counters },
    .{ "Event", events.Event },
};

pub const enumerations = .{
    .{ "EventKind", events.Kind },
    .{ "MachineState", machine.State },
    .{ "StopReason", machine.StopReason },
    .{ "ResetMode", reset.Mode },
    .{ "CpuBaseline", @import("../cpu_baseline.zig").Level },
    .{ "RemoteMode", @import("../remote/connections.zig").Mode },
    .{ "Verify", @import("../saved/open.zig").Verify },
    .{ "SavedFiles", @import("../saved/save.zig").Files },
    .{ "PlantedFault", @import("../planted.zig").Fault },
};

pub const error_codes = std.meta.fieldNames(errors.Code);

/// The FFI type of a parameter or result, as bun:ffi names it.
pub fn ffiType(comptime T: type) []const u8 {
    return switch (@typeInfo(T)) {
        .int => |int| switch (int.bits) {
            32 => if (int.signedness == .signed) "i32" else "u32",
            else => @compileError("only 32-bit integers cross the boundary"),
        },
        .float => "f64",
        .pointer, .optional => "ptr",
        else => @compileError("this type does not cross the boundary: " ++ @typeName(T)),
    };
}

/// Everything a change of which breaks the other side, as one text.
pub const text = blk: {
    @setEvalBranchQuota(200_000);
    var out: []const u8 = "";
    const exports = @import("exports.zig");
    for (@typeInfo(exports).@"struct".decls) |declaration| {
        const info = @typeInfo(@TypeOf(@field(exports, declaration.name))).@"fn";
        out = out ++ declaration.name ++ "(";
        for (info.params) |parameter| out = out ++ ffiType(parameter.type.?) ++ ",";
        out = out ++ ")" ++ ffiType(info.return_type.?) ++ ";";
    }
    for (structures) |structure| {
        for (@typeInfo(structure[1]).@"struct".fields) |field| {
            out = out ++ std.fmt.comptimePrint("{s}.{s}@{d}:{d};", .{ structure[0], field.name, @offsetOf(structure[1], field.name), @sizeOf(field.type) });
        }
    }
    for (enumerations) |enumeration| {
        for (@typeInfo(enumeration[1]).@"enum".fields) |field| out = out ++ std.fmt.comptimePrint("{s}.{s}={d};", .{ enumeration[0], field.name, field.value });
    }
    for (error_codes) |name| out = out ++ name ++ ";";
    break :blk out;
};
