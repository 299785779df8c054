//! Arguments of socket calls as strace shows them.
const std = @import("std");
const access = @import("../../memory/access.zig");
const address = @import("address.zig");
const Writer = std.Io.Writer;

pub fn writeFamily(out: *Writer, value: u64) Writer.Error!void {
    return switch (value) {
        1 => out.writeAll("AF_UNIX"),
        2 => out.writeAll("AF_INET"),
        10 => out.writeAll("AF_INET6"),
        16 => out.writeAll("AF_NETLINK"),
        17 => out.writeAll("AF_PACKET"),
        else => out.print("0x{x}", .{value}),
    };
}

pub fn writeType(out: *Writer, value: u64) Writer.Error!void {
    switch (value & 0xf) {
        1 => try out.writeAll("SOCK_STREAM"),
        2 => try out.writeAll("SOCK_DGRAM"),
        3 => try out.writeAll("SOCK_RAW"),
        5 => try out.writeAll("SOCK_SEQPACKET"),
        else => |kind| try out.print("0x{x}", .{kind}),
    }
    if (value & 0o2000000 != 0) try out.writeAll("|SOCK_CLOEXEC");
    if (value & 0o4000 != 0) try out.writeAll("|SOCK_NONBLOCK");
}

/// `{AF_INET, 127.0.0.1:80}`, `{AF_UNIX, "/tmp/a"}`, `{AF_UNIX, @"abstract"}`
pub fn writeAddress(out: *Writer, memory: access.GuestAccess, at: u64, length: u64) Writer.Error!void {
    var buffer: [address.bytes_max]u8 = undefined;
    const bytes = buffer[0..@intCast(@min(length, buffer.len))];
    if (at == 0) return out.writeAll("NULL");
    memory.read(at, bytes) catch return out.print("0x{x}", .{at});
    const family = if (bytes.len < 2) 0 else std.mem.readInt(u16, bytes[0..2], .little);
    const known = std.enums.fromInt(address.Family, family) orelse return out.print("0x{x}", .{at});
    const name = address.parse(bytes, known) catch return out.print("0x{x}", .{at});
    try out.writeByte('{');
    try writeFamily(out, family);
    switch (name) {
        .none, .unspecified => {},
        .ip => |ip| try out.print(", {f}", .{ip}),
        .unix => |*unix| {
            try out.writeAll(if (unix.isAbstract()) ", @\"" else ", \"");
            const shown = if (unix.isAbstract()) unix.text()[1..] else unix.text();
            for (shown) |byte| if (std.ascii.isPrint(byte)) try out.writeByte(byte) else try out.print("\\{o}", .{byte});
            try out.writeByte('"');
        },
    }
    try out.writeByte('}');
}
