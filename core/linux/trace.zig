//! System calls as text in strace's format, from the same table that dispatches them.
//! `read(0, "abc", 4096) = 3`, `open("/x", O_RDONLY) = -1 ENOENT (No such file or directory)`.
const std = @import("std");
const linux = std.os.linux;
const access_module = @import("../memory/access.zig");
const faults = @import("../faults.zig");
const limits = @import("../limits.zig");
const sockets = @import("sockets/trace.zig");
const table = @import("table.zig");
const Args = @import("kernel.zig").Args;
const Writer = std.Io.Writer;

const string_max = limits.system_calls_traced_string_max_bytes;

/// Writes the call's name and arguments. To be called after the call, so that what it wrote can be shown.
pub fn write(out: *Writer, memory: access_module.GuestAccess, number: u64, args: Args, result: i64) Writer.Error!void {
    const call = table.find(number) orelse {
        try out.print("syscall_{d}(0x{x}, 0x{x}, 0x{x}, 0x{x}, 0x{x}, 0x{x})", .{ number, args[0], args[1], args[2], args[3], args[4], args[5] });
        return writeResult(out, result, false);
    };
    try out.print("{s}(", .{call.name});
    for (call.shapes, 0..) |shape, index| {
        if (index > 0) try out.writeAll(", ");
        try writeArgument(out, memory, shape, args, index, result);
    }
    try out.writeByte(')');
    const pointer_result = call.shapes.len > 0 and call.shapes[0] == .address and (number == 9 or number == 12 or number == 25);
    try writeResult(out, result, pointer_result);
}

/// Writes a call that does not return, such as exit_group.
pub fn writeUnfinished(out: *Writer, memory: access_module.GuestAccess, number: u64, args: Args) Writer.Error!void {
    const call = table.find(number) orelse return;
    try out.print("{s}(", .{call.name});
    for (call.shapes, 0..) |shape, index| {
        if (index > 0) try out.writeAll(", ");
        try writeArgument(out, memory, shape, args, index, 0);
    }
    try out.writeAll(") = ?\n");
}

fn writeResult(out: *Writer, result: i64, pointer: bool) Writer.Error!void {
    if (result < 0 and result > -4096) {
        const code: linux.E = @enumFromInt(-result);
        return out.print(" = -1 E{s} ({s})\n", .{ errnoName(code), errnoText(code) });
    }
    if (pointer) return out.print(" = 0x{x}\n", .{result});
    return out.print(" = {d}\n", .{result});
}

fn writeArgument(out: *Writer, memory: access_module.GuestAccess, shape: table.Shape, args: Args, index: usize, result: i64) Writer.Error!void {
    const value = args[index];
    const as_int: i32 = @bitCast(@as(u32, @truncate(value)));
    switch (shape) {
        .integer, .descriptor => try out.print("{d}", .{as_int}),
        .directory_descriptor => if (as_int == linux.AT.FDCWD) try out.writeAll("AT_FDCWD") else try out.print("{d}", .{as_int}),
        .unsigned, .size => try out.print("{d}", .{value}),
        .offset => try out.print("{d}", .{@as(i64, @bitCast(value))}),
        .hex => if (value == 0) try out.writeByte('0') else try out.print("0x{x}", .{value}),
        .address, .message => if (value == 0) try out.writeAll("NULL") else try out.print("0x{x}", .{value}),
        .path => try writePath(out, memory, value),
        .bytes_in => try writeBytes(out, memory, value, if (index + 1 < 6) args[index + 1] else 0),
        .bytes_out => if (result > 0) try writeBytes(out, memory, value, @intCast(result)) else try out.print("0x{x}", .{value}),
        .mode => try out.print("0{o}", .{value & 0o7777}),
        .signal => try out.writeAll(faults.signalName(@truncate(value))),
        .clock => try writeNamed(out, &clock_names, value),
        .interval_timer => try writeNamed(out, &interval_timer_names, value),
        .epoll_operation => try writeNamed(out, &epoll_operation_names, value),
        .protection => try writeFlags(out, &protection_names, value, "PROT_NONE"),
        .map_flags => try writeMapFlags(out, value),
        .open_flags => try writeOpenFlags(out, value),
        .socket_family => try sockets.writeFamily(out, value),
        .socket_type => try sockets.writeType(out, value),
        .socket_address => try sockets.writeAddress(out, memory, value, if (index + 1 < args.len) args[index + 1] else 0),
    }
}

fn writePath(out: *Writer, memory: access_module.GuestAccess, address: u64) Writer.Error!void {
    if (address == 0) return out.writeAll("NULL");
    var buffer: [limits.path_max_bytes]u8 = undefined;
    const path = memory.readCString(address, &buffer) catch return out.print("0x{x}", .{address});
    return writeQuoted(out, path);
}

fn writeBytes(out: *Writer, memory: access_module.GuestAccess, address: u64, length: u64) Writer.Error!void {
    var buffer: [string_max]u8 = undefined;
    const shown = buffer[0..@intCast(@min(length, string_max))];
    memory.read(address, shown) catch return out.print("0x{x}", .{address});
    try writeQuoted(out, shown);
    if (length > string_max) try out.writeAll("...");
}

fn writeQuoted(out: *Writer, bytes: []const u8) Writer.Error!void {
    try out.writeByte('"');
    for (bytes) |byte| switch (byte) {
        '\n' => try out.writeAll("\\n"),
        '\t' => try out.writeAll("\\t"),
        '\r' => try out.writeAll("\\r"),
        '"' => try out.writeAll("\\\""),
        '\\' => try out.writeAll("\\\\"),
        0x20...0x21, 0x23...0x5b, 0x5d...0x7e => try out.writeByte(byte),
        else => try out.print("\\{o}", .{byte}),
    };
    try out.writeByte('"');
}

const Name = struct { value: u64, name: []const u8 };

const clock_names = [_]Name{
    .{ .value = 0, .name = "CLOCK_REALTIME" },           .{ .value = 1, .name = "CLOCK_MONOTONIC" },
    .{ .value = 2, .name = "CLOCK_PROCESS_CPUTIME_ID" }, .{ .value = 3, .name = "CLOCK_THREAD_CPUTIME_ID" },
    .{ .value = 4, .name = "CLOCK_MONOTONIC_RAW" },      .{ .value = 5, .name = "CLOCK_REALTIME_COARSE" },
    .{ .value = 6, .name = "CLOCK_MONOTONIC_COARSE" },   .{ .value = 7, .name = "CLOCK_BOOTTIME" },
};
const interval_timer_names = [_]Name{ .{ .value = 0, .name = "ITIMER_REAL" }, .{ .value = 1, .name = "ITIMER_VIRTUAL" }, .{ .value = 2, .name = "ITIMER_PROF" } };
const epoll_operation_names = [_]Name{ .{ .value = 1, .name = "EPOLL_CTL_ADD" }, .{ .value = 2, .name = "EPOLL_CTL_DEL" }, .{ .value = 3, .name = "EPOLL_CTL_MOD" } };
const protection_names = [_]Name{ .{ .value = 1, .name = "PROT_READ" }, .{ .value = 2, .name = "PROT_WRITE" }, .{ .value = 4, .name = "PROT_EXEC" } };
const map_names = [_]Name{
    .{ .value = 0x10, .name = "MAP_FIXED" },       .{ .value = 0x20, .name = "MAP_ANONYMOUS" },
    .{ .value = 0x100, .name = "MAP_GROWSDOWN" },  .{ .value = 0x800, .name = "MAP_DENYWRITE" },
    .{ .value = 0x4000, .name = "MAP_NORESERVE" }, .{ .value = 0x8000, .name = "MAP_POPULATE" },
    .{ .value = 0x20000, .name = "MAP_STACK" },    .{ .value = 0x100000, .name = "MAP_FIXED_NOREPLACE" },
};
const open_names = [_]Name{
    .{ .value = 0o100, .name = "O_CREAT" },        .{ .value = 0o200, .name = "O_EXCL" },
    .{ .value = 0o400, .name = "O_NOCTTY" },       .{ .value = 0o1000, .name = "O_TRUNC" },
    .{ .value = 0o2000, .name = "O_APPEND" },      .{ .value = 0o4000, .name = "O_NONBLOCK" },
    .{ .value = 0o200000, .name = "O_DIRECTORY" }, .{ .value = 0o400000, .name = "O_NOFOLLOW" },
    .{ .value = 0o2000000, .name = "O_CLOEXEC" },  .{ .value = 0o10000000, .name = "O_PATH" },
};

fn writeNamed(out: *Writer, names: []const Name, value: u64) Writer.Error!void {
    for (names) |entry| if (entry.value == value) return out.writeAll(entry.name);
    return out.print("0x{x}", .{value});
}

fn writeFlags(out: *Writer, names: []const Name, value: u64, none: []const u8) Writer.Error!void {
    var rest = value;
    var first = true;
    for (names) |entry| {
        if (rest & entry.value != entry.value) continue;
        if (!first) try out.writeByte('|');
        try out.writeAll(entry.name);
        rest &= ~entry.value;
        first = false;
    }
    if (rest != 0) {
        if (!first) try out.writeByte('|');
        try out.print("0x{x}", .{rest});
    } else if (first) try out.writeAll(none);
}

fn writeMapFlags(out: *Writer, value: u64) Writer.Error!void {
    try out.writeAll(switch (value & 0xf) {
        1 => "MAP_SHARED",
        2 => "MAP_PRIVATE",
        3 => "MAP_SHARED_VALIDATE",
        else => "0",
    });
    const rest = value & ~@as(u64, 0xf);
    if (rest == 0) return;
    try out.writeByte('|');
    try writeFlags(out, &map_names, rest, "0");
}

fn writeOpenFlags(out: *Writer, value: u64) Writer.Error!void {
    try out.writeAll(switch (value & 3) {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        else => "O_ACCMODE",
    });
    // O_LARGEFILE means nothing on a 64-bit system.
    const rest = value & ~@as(u64, 3) & ~@as(u64, 0o100000);
    if (rest == 0) return;
    try out.writeByte('|');
    try writeFlags(out, &open_names, rest, "0");
}

fn errnoName(code: linux.E) []const u8 {
    return std.enums.tagName(linux.E, code) orelse "?";
}

fn errnoText(code: linux.E) []const u8 {
    return switch (code) {
        .PERM => "Operation not permitted",
        .NOENT => "No such file or directory",
        .INTR => "Interrupted system call",
        .BADF => "Bad file descriptor",
        .AGAIN => "Resource temporarily unavailable",
        .NOMEM => "Cannot allocate memory",
        .ACCES => "Permission denied",
        .FAULT => "Bad address",
        .EXIST => "File exists",
        .NOTDIR => "Not a directory",
        .ISDIR => "Is a directory",
        .INVAL => "Invalid argument",
        .MFILE => "Too many open files",
        .NOTTY => "Inappropriate ioctl for device",
        .SPIPE => "Illegal seek",
        .ROFS => "Read-only file system",
        .PIPE => "Broken pipe",
        .RANGE => "Numerical result out of range",
        .NAMETOOLONG => "File name too long",
        .NOSYS => "Function not implemented",
        .NOTEMPTY => "Directory not empty",
        .LOOP => "Too many levels of symbolic links",
        .SRCH => "No such process",
        else => "error",
    };
}
