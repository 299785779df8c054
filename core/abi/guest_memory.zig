//! Guest memory as JavaScript reaches it: views by offset into the host mapping, copies, strings, allocations.
const std = @import("std");
const errors = @import("../errors.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const registry = @import("registry.zig");
const symbols = @import("../symbols.zig");
const AddressSpace = @import("../memory/address_space.zig").AddressSpace;

const Range = struct { address: u64, length: u64 };

/// A range as JavaScript gives it; null when it cannot lie in a guest's address space.
fn rangeOf(address: f64, length: f64) ?Range {
    const end: f64 = @floatFromInt(layout.address_end);
    if (!(address >= 0) or !(length >= 0) or address > end or length > end - address) return null;
    return .{ .address = @intFromFloat(address), .length = @intFromFloat(length) };
}

fn badAddress(address: f64, length: f64, message: []const u8) errors.Code {
    return registry.last_error.set(.BAD_ADDRESS, message, "check that the whole range is mapped in the guest", .{ .address = address, .length = length });
}

pub fn base(handle: u32) ?[*]u8 {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return null;
    return entry.machine.frames.base;
}

/// A worker's memory is not in this process.
pub fn isElsewhere() ?[*]u8 {
    _ = registry.last_error.set(.UNSUPPORTED, "views of memory need the machine in this process", "use memory.read() and memory.write(), or leave `jail` out", .{ .feature = "view" });
    return null;
}

/// The offset of a range in the host mapping when it is contiguous there. Whoever gets a view may write through it.
pub fn translate(handle: u32, address: f64, length: f64) f64 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return @floatFromInt(status);
    const range = rangeOf(address, length) orelse return @floatFromInt(badAddress(address, length, "the range is outside the guest's address space").status());
    const space = &entry.machine.space;
    if (range.length == 0) return 0;
    const first = space.pieceForView(range.address, @intCast(range.length)) orelse return @floatFromInt(unreachableRange(space, address, length).status());
    const offset = @intFromPtr(first.ptr) - @intFromPtr(entry.machine.frames.base);
    var done: u64 = first.len;
    while (done < range.length) {
        const next = space.pieceForView(range.address + done, @intCast(range.length - done)) orelse return @floatFromInt(unreachableRange(space, address, length).status());
        if (@intFromPtr(next.ptr) != @intFromPtr(first.ptr) + done) {
            return @floatFromInt(registry.last_error.set(.BAD_ADDRESS, "the range is not contiguous in memory", "use views() for its pieces, or read() for a copy", .{ .address = address, .length = length }).status());
        }
        done += next.len;
    }
    return @floatFromInt(offset);
}

fn unreachableRange(space: *AddressSpace, address: f64, length: f64) errors.Code {
    if (space.frames.cutOff()) |why| {
        registry.last_error = why.*;
        return why.code;
    }
    if (space.out_of_memory) {
        space.out_of_memory = false;
        return registry.last_error.set(.OUT_OF_MEMORY, "the range needs more memory than the machine may have", "raise `memory`", .{ .limit = space.frames.frames_max * limits.page_size });
    }
    return badAddress(address, length, "the range is not mapped in the guest");
}

/// The contiguous pieces of a range as JSON: [[offset, length], …].
pub fn pieces(handle: u32, address: f64, length: f64) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const range = rangeOf(address, length) orelse return badAddress(address, length, "the range is outside the guest's address space").status();
    const space = &entry.machine.space;
    const out = registry.newResult();
    out.writeByte('[') catch return outOfHostMemory();
    var done: u64 = 0;
    while (done < range.length) {
        const piece = space.pieceForView(range.address + done, @intCast(range.length - done)) orelse return unreachableRange(space, address, length).status();
        const offset = @intFromPtr(piece.ptr) - @intFromPtr(entry.machine.frames.base);
        out.print("{s}[{d},{d}]", .{ if (done > 0) "," else "", offset, piece.len }) catch return outOfHostMemory();
        done += piece.len;
    }
    out.writeByte(']') catch return outOfHostMemory();
    return 0;
}

fn outOfHostMemory() i32 {
    return registry.last_error.set(.INTERNAL, "the host has no memory left", "free memory on the host", .{}).status();
}

pub fn read(handle: u32, address: f64, out: []u8) i32 {
    return copy(handle, address, out.len, .{ .out = out });
}

pub fn write(handle: u32, address: f64, bytes: []const u8) i32 {
    return copy(handle, address, bytes.len, .{ .in = bytes });
}

fn copy(handle: u32, address: f64, length: usize, way: union(enum) { out: []u8, in: []const u8 }) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const as_float: f64 = @floatFromInt(length);
    const range = rangeOf(address, as_float) orelse return badAddress(address, as_float, "the range is outside the guest's address space").status();
    const space = &entry.machine.space;
    var done: usize = 0;
    while (done < length) {
        const piece = space.pieceAnyRights(range.address + done, length - done, if (way == .in) .write else .read) orelse return unreachableRange(space, address, as_float).status();
        (switch (way) {
            .out => |out| piece.copyTo(out[done..][0..piece.bytes.len]),
            .in => |bytes| piece.copyFrom(bytes[done..][0..piece.bytes.len]),
        }) catch return unreachableRange(space, address, as_float).status();
        done += piece.bytes.len;
    }
    return 0;
}

/// Copies a NUL-terminated string; its length.
pub fn cstring(handle: u32, address: f64, out: []u8) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    const range = rangeOf(address, 0) orelse return badAddress(address, 0, "the address is outside the guest's address space").status();
    const text = entry.machine.kernel.memory.readCString(range.address, out) catch |failure| return switch (failure) {
        error.Fault => badAddress(address, 0, "the string runs into memory that is not mapped").status(),
        error.NameTooLong => badAddress(address, @floatFromInt(out.len), "no NUL was found within the maximal length").status(),
    };
    return @intCast(text.len);
}

/// Memory in the guest that lives as long as the machine: small pieces from shared pages, large ones with pages of their own.
pub fn allocate(handle: u32, length: f64, alignment: f64) f64 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return @floatFromInt(status);
    const range = rangeOf(0, length) orelse return @floatFromInt(badLength(length).status());
    if (range.length == 0) return @floatFromInt(badLength(length).status());
    if (!(alignment >= 1 and alignment <= limits.window_size) or !std.math.isPowerOfTwo(@as(u64, @intFromFloat(alignment)))) {
        return @floatFromInt(registry.last_error.set(.BAD_OPTION, "the alignment is not a power of two from 1 to 2 MiB", "use 16, 64 or 4096", .{ .option = "align" }).status());
    }
    const machine = entry.machine;
    const address = machine.allocate(range.length, @intFromFloat(alignment)) orelse return @floatFromInt(badLength(length).status());
    return @floatFromInt(address);
}

fn badLength(length: f64) errors.Code {
    return registry.last_error.set(.BAD_ADDRESS, "no range of that length can be given", "use a length from 1 byte to the machine's memory", .{ .address = 0, .length = length });
}

/// The address of a symbol of the program.
pub fn symbol(handle: u32, name: []const u8) f64 {
    var status: i32 = 0;
    const entry = registry.get(handle, &status) orelse return @floatFromInt(status);
    const program = entry.machine.program;
    if (program.symbolAddress(registry.allocator, name)) |address| return @floatFromInt(address);
    return @floatFromInt(registry.last_error.format(.NO_SYMBOL, "the program has no symbol \"{s}\"", .{name[0..@min(name.len, 256)]}, "build it without stripping (no -s), and without hiding or inlining the function", .{ .name = name[0..@min(name.len, 256)] }).status());
}
