//! Writes the TypeScript side of the C boundary (src/ffi/table.ts) from the declarations of the Zig side.
const std = @import("std");
const describe = @import("describe.zig");
const exports = @import("exports.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const abi_version = @import("version.zig").abi_version;

pub fn main(init: std.process.Init) !void {
    var buffer: [4096]u8 = undefined;
    var writer: std.Io.File.Writer = .init(.stdout(), init.io, &buffer);
    try write(&writer.interface);
    try writer.interface.flush();
}

fn write(out: *std.Io.Writer) !void {
    try out.writeAll("// Written by `npm run generate` from core/abi; do not edit.\n\n");
    try out.print("export const ABI_VERSION = {d};\n\n", .{abi_version});
    try out.writeAll("export const symbols = {\n");
    inline for (@typeInfo(exports).@"struct".decls) |declaration| {
        const info = @typeInfo(@TypeOf(@field(exports, declaration.name))).@"fn";
        try out.print("  {s}: {{ args: [", .{declaration.name});
        inline for (info.params, 0..) |parameter, index| {
            try out.print("{s}\"{s}\"", .{ if (index > 0) ", " else "", describe.ffiType(parameter.type.?) });
        }
        try out.print("], returns: \"{s}\" }},\n", .{describe.ffiType(info.return_type.?)});
    }
    try out.writeAll("} as const;\n");
    inline for (describe.structures) |structure| try writeStructure(out, structure[0], structure[1]);
    inline for (describe.enumerations) |enumeration| {
        try out.print("\nexport const {s} = {{\n", .{enumeration[0]});
        inline for (@typeInfo(enumeration[1]).@"enum".fields) |field| try out.print("  {s}: {d},\n", .{ field.name, field.value });
        try out.writeAll("} as const;\n");
    }
    try out.writeAll("\n/** Index n is status -(n + 1). */\nexport const errorCodes = [\n");
    for (describe.error_codes) |name| try out.print("  \"{s}\",\n", .{name});
    try out.writeAll("] as const;\n");
    try out.print("\n/** Places in every guest. */\nexport const addresses = {{\n  call_return: {d},\n}} as const;\n", .{layout.stub_call_return});
    try out.writeAll("\nexport const limits = {\n");
    inline for (.{
        "call_integer_args_max", "call_float_args_max", "call_stack_args_max", "call_staged_max_bytes",
        "memory_default_bytes",  "memory_min_bytes",    "memory_max_bytes",    "system_call_numbers",
    }) |name| try out.print("  {s}: {d},\n", .{ name, @field(limits, name) });
    try out.writeAll("} as const;\n");
}

fn writeStructure(out: *std.Io.Writer, name: []const u8, comptime T: type) !void {
    try out.print("\n/** Byte offsets. */\nexport const {s} = {{\n  size: {d},\n", .{ name, @sizeOf(T) });
    inline for (@typeInfo(T).@"struct".fields) |field| try out.print("  {s}: {d},\n", .{ field.name, @offsetOf(T, field.name) });
    try out.writeAll("} as const;\n");
}
