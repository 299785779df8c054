//! Tests of the ELF reader: what is accepted, what is refused and why.
const std = @import("std");
const builder = @import("elf_builder.zig");
const elf = @import("elf.zig");
const layout = @import("layout.zig");
const allocator = std.testing.allocator;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

const dynamic = elf.FileType.dynamic;

fn refusalOf(plan: builder.Plan) !?elf.Reason {
    const file = try builder.build(allocator, plan);
    defer allocator.free(file);
    return switch (elf.parse(file, .{})) {
        .image => null,
        .refused => |refusal| refusal.reason,
    };
}

test "a static program" {
    const file = try builder.build(allocator, .{ .segments = &.{
        .{ .flags = 5 },
        .{ .flags = 6, .offset = 0x400, .vaddr = 0x40_1400, .filesz = 0x100, .memsz = 0x5000 },
        .{ .type = elf.SegmentType.tls, .vaddr = 0x40_1400, .filesz = 8, .memsz = 24, .alignment = 16 },
        .{ .type = elf.SegmentType.gnu_relro, .vaddr = 0x40_1000, .memsz = 0x1000 },
        .{ .type = elf.SegmentType.gnu_stack, .flags = 7 },
    } });
    defer allocator.free(file);
    const image = elf.parse(file, .{}).image;
    try expectEqual(.static, image.kind);
    try expectEqual(0x40_0100, image.entry);
    try expectEqual(0x40_0040, image.phdr_vaddr.?);
    try expectEqual(5, image.phnum);
    try expectEqual(2, image.segments().len);
    try expectEqual(0x40_0000, image.page_start);
    try expectEqual(0x40_7000, image.page_end);
    try expectEqual(0x40_6400, image.data_end);
    try expectEqual(24, image.tls.?.memsz);
    try expectEqual(0x40_1000, image.relro.?.vaddr);
    try expect(image.stack_executable);
    try expectEqual(0, image.biasFor(layout.pie_base).?);
    const window = image.segments()[1].fileWindow(file.len);
    try expectEqual(elf.FileWindow{ .vaddr = 0x40_1000, .offset = 0, .length = 0x500 }, window);
    // Without zeroed memory behind it, a segment shows the rest of its page of the file.
    try expectEqual(0x1000, image.segments()[0].fileWindow(file.len).length);
}

test "a position-independent program and its place" {
    const file = try builder.build(allocator, .{ .type = dynamic, .entry = 0x1100, .segments = &.{
        .{ .vaddr = 0x1000, .alignment = 0x20_0000 },
        .{ .vaddr = 0x8000, .filesz = 0, .memsz = 0x123, .alignment = 3 },
    } });
    defer allocator.free(file);
    const image = elf.parse(file, .{}).image;
    try expectEqual(.static_pie, image.kind);
    try expectEqual(0x20_0000, image.alignment);
    const bias = image.biasFor(layout.pie_base).?;
    try expectEqual(0, bias % 0x20_0000);
    try expect(image.page_start + bias >= layout.pie_base);
    try expectEqual(null, image.biasFor(layout.user_end - 0x1000));
    try expectEqual(null, image.biasFor(std.math.maxInt(u64)));
}

test "what Linux accepts" {
    const load = builder.Segment{};
    const accepted = [_]builder.Plan{
        // Two segments share a page; a later one may also cover an earlier one.
        .{ .segments = &.{ load, .{ .offset = 0x800, .vaddr = 0x40_0800, .filesz = 0x200, .memsz = 0x200, .flags = 6 } } },
        .{ .segments = &.{ load, load } },
        // Alignments that are 0, 1, no power of two, or that the address does not keep.
        .{ .segments = &.{.{ .alignment = 0 }} },
        .{ .segments = &.{.{ .alignment = 1 }} },
        .{ .segments = &.{.{ .alignment = 0x3333 }} },
        .{ .segments = &.{.{ .alignment = 1 << 63 }}, .type = dynamic },
        .{ .segments = &.{.{ .alignment = 0x20_0000, .vaddr = 0x40_1000 }} },
        // Segments without memory, wherever they are, and without anything of the file.
        .{ .segments = &.{ load, .{ .vaddr = 0, .filesz = 0, .memsz = 0 } } },
        .{ .segments = &.{ load, .{ .vaddr = 0x50_0123, .offset = 0x777, .filesz = 0, .memsz = 0x1000 } } },
        // In descending order, and far apart.
        .{ .segments = &.{ .{ .vaddr = 0x7000_0000_0000 }, load } },
        // An entry in no segment faults when the program starts.
        .{ .entry = 0x1234_5678 },
        .{ .segments = &.{.{ .vaddr = 0x1_0000 }} },
        .{ .segments = &.{.{ .vaddr = layout.user_end - 0x1000 }} },
    };
    for (accepted) |plan| try expectEqual(null, try refusalOf(plan));
}

test "what is refused, and why" {
    const interpreter = builder.Segment{ .type = elf.SegmentType.interpreter, .offset = builder.interpreter_offset, .filesz = 6 };
    const cases = [_]struct { plan: builder.Plan, reason: elf.Reason }{
        .{ .reason = .relocatable, .plan = .{ .type = 1 } },
        .{ .reason = .core_dump, .plan = .{ .type = 4 } },
        .{ .reason = .unknown_type, .plan = .{ .type = 0xfe00 } },
        .{ .reason = .library, .plan = .{ .type = dynamic, .entry = 0 } },
        .{ .reason = .no_segments, .plan = .{ .segments = &.{} } },
        .{ .reason = .no_segments, .plan = .{ .segments = &.{.{ .memsz = 0, .filesz = 0 }} } },
        .{ .reason = .truncated_segment, .plan = .{ .segments = &.{.{ .filesz = 0x1001, .memsz = 0x1001 }} } },
        .{ .reason = .truncated_segment, .plan = .{ .segments = &.{.{ .offset = 0xffff_ffff_ffff_f000, .filesz = 0x2000, .memsz = 0x2000 }} } },
        .{ .reason = .file_larger_than_memory, .plan = .{ .segments = &.{.{ .filesz = 0x10, .memsz = 0xf }} } },
        .{ .reason = .misaligned_segment, .plan = .{ .segments = &.{.{ .offset = 0x10, .filesz = 0x10 }} } },
        .{ .reason = .address_too_low, .plan = .{ .segments = &.{.{ .vaddr = 0xf000 }} } },
        .{ .reason = .address_too_high, .plan = .{ .segments = &.{.{ .vaddr = layout.user_end }} } },
        .{ .reason = .address_too_high, .plan = .{ .segments = &.{.{ .vaddr = 0xffff_ffff_ffff_f000 }} } },
        .{ .reason = .address_too_high, .plan = .{ .segments = &.{.{ .memsz = 0xffff_ffff_ffff_ffff }} } },
        .{ .reason = .address_too_high, .plan = .{ .type = dynamic, .segments = &.{ .{ .vaddr = 0 }, .{ .vaddr = layout.user_end - 0x1000 } }, .entry = 0x100 } },
        .{ .reason = .entry_out_of_range, .plan = .{ .entry = 0xffff_8000_0000_0000 } },
        .{ .reason = .entry_out_of_range, .plan = .{ .type = dynamic, .entry = 0x7000_0000_0000 } },
        .{ .reason = .bad_interpreter, .plan = .{ .segments = &.{ .{}, interpreter }, .interpreter = "/ld.so.1" } },
        .{ .reason = .bad_interpreter, .plan = .{ .segments = &.{ .{}, .{ .type = 3, .filesz = 1 << 40 } } } },
    };
    for (cases, 0..) |case, index| {
        errdefer std.debug.print("case {d}\n", .{index});
        try expectEqual(case.reason, (try refusalOf(case.plan)) orelse return error.Accepted);
    }
}

test "too many segments and program headers" {
    var many: [elf.segments_max + 1]builder.Segment = @splat(.{});
    try expectEqual(null, try refusalOf(.{ .segments = many[0..elf.segments_max], .file_bytes = 0x2000 }));
    try expectEqual(.too_many_segments, (try refusalOf(.{ .segments = &many, .file_bytes = 0x2000 })).?);
    const file = try builder.build(allocator, .{});
    defer allocator.free(file);
    std.mem.writeInt(u16, file[56..58], elf.program_headers_max + 1, .little);
    try expectEqual(.too_many_program_headers, elf.parse(file, .{}).refused.reason);
    std.mem.writeInt(u16, file[56..58], elf.program_headers_max, .little);
    try expectEqual(.truncated_program_headers, elf.parse(file, .{}).refused.reason);
}

test "files that are something else" {
    const cases = [_]struct { file: []const u8, reason: elf.Reason }{
        .{ .file = "", .reason = .empty },
        .{ .file = "\x7f", .reason = .not_elf },
        .{ .file = "hello\n", .reason = .not_elf },
        .{ .file = "#!/bin/sh\n", .reason = .script },
        .{ .file = "MZ\x90\x00", .reason = .windows },
        .{ .file = "\x00asm\x01\x00\x00\x00", .reason = .web_assembly },
        .{ .file = "\xcf\xfa\xed\xfe", .reason = .mach_o },
        .{ .file = "\x7fELF", .reason = .truncated_header },
        .{ .file = "\x7fELF\x02\x01\x01", .reason = .truncated_header },
        .{ .file = "\x7fELF\x01\x01\x01", .reason = .elf32 },
        .{ .file = "\x7fELF\x02\x02\x01", .reason = .big_endian },
    };
    for (cases) |case| try expectEqual(case.reason, elf.parse(case.file, .{}).refused.reason);
}

test "another architecture, and every truncation" {
    const file = try builder.build(allocator, .{});
    defer allocator.free(file);
    for (0..file.len) |length| try expect(elf.parse(file[0..length], .{}) == .refused);
    std.mem.writeInt(u16, file[18..20], 183, .little);
    const refusal = elf.parse(file, .{}).refused;
    try expectEqual(elf.Reason.wrong_machine, refusal.reason);
    try expectEqual(183, refusal.number);
}

test "a program with an interpreter" {
    const file = try builder.build(allocator, .{ .type = dynamic, .entry = 0x40_0100, .interpreter = "/ld", .segments = &.{
        .{ .type = elf.SegmentType.interpreter, .offset = builder.interpreter_offset, .filesz = 4 },
        .{},
    } });
    defer allocator.free(file);
    const image = elf.parse(file, .{}).image;
    try expectEqual(.dynamic, image.kind);
    try expect(image.movable);
    try std.testing.expectEqualStrings("/ld", image.interpreter.?);
}
