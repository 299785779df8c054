//! Why a file is not a program that can run here, as a reason to test for and as a sentence for people.
const std = @import("std");
const limits = @import("limits.zig");

pub const Reason = enum {
    empty,
    not_elf,
    script,
    windows,
    mach_o,
    web_assembly,
    elf32,
    big_endian,
    truncated_header,
    wrong_machine,
    relocatable,
    core_dump,
    library,
    unknown_type,
    bad_program_header_size,
    too_many_program_headers,
    truncated_program_headers,
    no_segments,
    too_many_segments,
    truncated_segment,
    file_larger_than_memory,
    misaligned_segment,
    address_too_low,
    address_too_high,
    entry_out_of_range,
    bad_interpreter,
};

/// What a file without the ELF magic is, as far as that helps the person who tried to run it.
pub fn recognize(file: []const u8) Reason {
    if (std.mem.startsWith(u8, file, "#!")) return .script;
    if (std.mem.startsWith(u8, file, "MZ")) return .windows;
    if (std.mem.startsWith(u8, file, "\x00asm")) return .web_assembly;
    for ([_][]const u8{ "\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe", "\xca\xfe\xba\xbe" }) |magic| {
        if (std.mem.startsWith(u8, file, magic)) return .mach_o;
    }
    return .not_elf;
}

pub const Refusal = struct {
    reason: Reason = .not_elf,
    /// The segment's index, the machine's number or whatever else the reason has a number for.
    number: u64 = 0,

    /// The reason in words, to be put behind "cannot run FILE: ".
    pub fn format(self: Refusal, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        const n = self.number;
        switch (self.reason) {
            .empty => try writer.writeAll("it is empty"),
            .not_elf => try writer.writeAll("not an ELF file"),
            .script => try writer.writeAll("a script (#!), not an ELF file"),
            .windows => try writer.writeAll("a Windows program (MZ), not an ELF file"),
            .mach_o => try writer.writeAll("a macOS program (Mach-O), not an ELF file"),
            .web_assembly => try writer.writeAll("a WebAssembly module, not an ELF file"),
            .elf32 => try writer.writeAll("a 32-bit ELF file; only 64-bit x86-64 runs here"),
            .big_endian => try writer.writeAll("a big-endian ELF file; only x86-64 runs here"),
            .truncated_header => try writer.print("truncated: an ELF header has 64 bytes, the file {d}", .{n}),
            .wrong_machine => if (machineName(n)) |name|
                try writer.print("for {s}, not x86-64", .{name})
            else
                try writer.print("for machine type {d}, not x86-64", .{n}),
            .relocatable => try writer.writeAll("an object file (relocatable), not a linked program"),
            .core_dump => try writer.writeAll("a core dump, not a program"),
            .library => try writer.writeAll("a shared library without an entry point, not a program"),
            .unknown_type => try writer.print("unknown ELF type {d}", .{n}),
            .bad_program_header_size => try writer.print("malformed: program headers of {d} bytes instead of 56", .{n}),
            .too_many_program_headers => try writer.print("malformed: {d} program headers", .{n}),
            .truncated_program_headers => try writer.writeAll("truncated: the program headers run past the end of the file"),
            .no_segments => try writer.writeAll("malformed: it has no segment to load"),
            .too_many_segments => try writer.print("more than {d} load segments", .{n}),
            .truncated_segment => try writer.print("truncated: segment {d} runs past the end of the file", .{n}),
            .file_larger_than_memory => try writer.print("malformed: segment {d} has more bytes in the file than in memory", .{n}),
            .misaligned_segment => try writer.print("malformed: segment {d} is at different offsets in its page in the file and in memory", .{n}),
            .address_too_low => try writer.print("segment {d} lies below 0x{x}, the lowest address that may be mapped", .{ n, limits.mmap_min_address }),
            .address_too_high => try writer.print("segment {d} lies outside the address space", .{n}),
            .entry_out_of_range => try writer.writeAll("malformed: the entry point lies outside the address space"),
            .bad_interpreter => try writer.writeAll("malformed: the path of its interpreter is not a string in the file"),
        }
    }
};

fn machineName(number: u64) ?[]const u8 {
    return switch (number) {
        2, 18, 43 => "SPARC",
        3 => "32-bit x86",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "64-bit PowerPC",
        22 => "S/390",
        40 => "32-bit Arm",
        50 => "Itanium",
        183 => "AArch64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        else => null,
    };
}

test "reasons read as sentences" {
    var buffer: [256]u8 = undefined;
    const cases = [_]struct { refusal: Refusal, text: []const u8 }{
        .{ .refusal = .{ .reason = .wrong_machine, .number = 183 }, .text = "for AArch64, not x86-64" },
        .{ .refusal = .{ .reason = .wrong_machine, .number = 4711 }, .text = "for machine type 4711, not x86-64" },
        .{ .refusal = .{ .reason = .truncated_segment, .number = 2 }, .text = "truncated: segment 2 runs past the end of the file" },
    };
    for (cases) |case| {
        try std.testing.expectEqualStrings(case.text, try std.fmt.bufPrint(&buffer, "{f}", .{case.refusal}));
    }
}
