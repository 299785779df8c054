//! Makes small valid ELF images for the tests of the readers: a starting point for cases and for mutations.
const std = @import("std");
const elf = @import("elf.zig");
const symbols = @import("symbols.zig");

pub const Segment = struct {
    type: u32 = elf.SegmentType.load,
    flags: u32 = 5,
    offset: u64 = 0,
    vaddr: u64 = 0x40_0000,
    filesz: u64 = 0x1000,
    memsz: u64 = 0x1000,
    alignment: u64 = 0x1000,
};

pub const Name = struct {
    name: []const u8,
    value: u64,
    size: u64 = 0,
    info: u8 = symbols.info(.global, .function),
    section: u16 = 1,
};

pub const Plan = struct {
    type: u16 = elf.FileType.executable,
    entry: u64 = 0x40_0100,
    segments: []const Segment = &.{.{}},
    names: []const Name = &.{},
    /// Copied into the file at 0x800, where an interpreter segment may point.
    interpreter: []const u8 = "",
    file_bytes: usize = 0x1000,
};

pub const interpreter_offset = 0x800;

/// The image of a plan; the caller frees it. Names, if any, are put behind the first `file_bytes`.
pub fn build(allocator: std.mem.Allocator, plan: Plan) ![]u8 {
    var file: std.ArrayList(u8) = .empty;
    errdefer file.deinit(allocator);
    try file.appendNTimes(allocator, 0xcc, plan.file_bytes);
    var header: elf.Header = std.mem.zeroes(elf.Header);
    header.magic = elf.magic.*;
    header.class = elf.class_64;
    header.data = elf.data_little_endian;
    header.ident_version = 1;
    header.type = plan.type;
    header.machine = elf.machine_x86_64;
    header.version = 1;
    header.entry = plan.entry;
    header.phoff = @sizeOf(elf.Header);
    header.ehsize = @sizeOf(elf.Header);
    header.phentsize = @sizeOf(elf.ProgramHeader);
    header.phnum = @intCast(plan.segments.len);
    header.shentsize = @sizeOf(elf.SectionHeader);
    for (plan.segments, 0..) |segment, index| {
        const ph: elf.ProgramHeader = .{
            .type = segment.type,
            .flags = segment.flags,
            .offset = segment.offset,
            .vaddr = segment.vaddr,
            .paddr = segment.vaddr,
            .filesz = segment.filesz,
            .memsz = segment.memsz,
            .alignment = segment.alignment,
        };
        put(file.items, @sizeOf(elf.Header) + index * @sizeOf(elf.ProgramHeader), ph);
    }
    if (plan.interpreter.len > 0) {
        @memcpy(file.items[interpreter_offset..][0..plan.interpreter.len], plan.interpreter);
        file.items[interpreter_offset + plan.interpreter.len] = 0;
    }
    if (plan.names.len > 0) try appendNames(allocator, &file, &header, plan.names);
    put(file.items, 0, header);
    return file.toOwnedSlice(allocator);
}

fn appendNames(allocator: std.mem.Allocator, file: *std.ArrayList(u8), header: *elf.Header, names: []const Name) !void {
    const strings_offset = file.items.len;
    try file.append(allocator, 0);
    for (names) |name| {
        try file.appendSlice(allocator, name.name);
        try file.append(allocator, 0);
    }
    const strings_size = file.items.len - strings_offset;
    const symbols_offset = file.items.len;
    try file.appendNTimes(allocator, 0, @sizeOf(symbols.Entry));
    var name_offset: u32 = 1;
    for (names) |name| {
        const entry: symbols.Entry = .{ .name = name_offset, .info = name.info, .other = 0, .section = name.section, .value = name.value, .size = name.size };
        try file.appendSlice(allocator, std.mem.asBytes(&entry));
        name_offset += @intCast(name.name.len + 1);
    }
    const symbols_size = file.items.len - symbols_offset;
    header.shoff = file.items.len;
    header.shnum = 3;
    const empty = std.mem.zeroes(elf.SectionHeader);
    var table = empty;
    table.type = symbols.section_symtab;
    table.offset = symbols_offset;
    table.size = symbols_size;
    table.link = 2;
    table.entsize = @sizeOf(symbols.Entry);
    var strings = empty;
    strings.type = 3;
    strings.offset = strings_offset;
    strings.size = strings_size;
    for ([_]elf.SectionHeader{ empty, table, strings }) |section| try file.appendSlice(allocator, std.mem.asBytes(&section));
}

fn put(bytes: []u8, offset: usize, value: anytype) void {
    @memcpy(bytes[offset..][0..@sizeOf(@TypeOf(value))], std.mem.asBytes(&value));
}
