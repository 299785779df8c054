//! Reading ELF64 x86-64 programs: what a file holds, checked, before anything of it is mapped.
//!
//! The file is hostile: every offset, size, count and alignment is checked, each field is read once, and nothing here
//! allocates. What Linux can run is accepted, with these differences: a segment that runs past the end of the file is
//! refused at once (Linux maps it, and the program dies of SIGBUS later), and so is a library without an entry point.
//! Not here: mapping and relocating (`loader.zig`), names (`symbols.zig`). If the bytes are a mapping of a file that may
//! be truncated meanwhile, the caller must be ready for SIGBUS; a copy or `pread` is safe.
const std = @import("std");
const assert = std.debug.assert;
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const refusal_module = @import("elf_refusal.zig");

pub const Refusal = refusal_module.Refusal;
pub const Reason = refusal_module.Reason;

/// Linux's limit: the program header table has at most 64 KiB.
pub const program_headers_max = 65536 / @sizeOf(ProgramHeader);
/// Load segments of one program; the largest seen in practice is about 30.
pub const segments_max = 128;
/// Segments may ask for whole huge pages of the largest size, and no more.
pub const alignment_max = limits.GiB;
const interpreter_max_bytes = limits.path_max_bytes;

pub const Header = extern struct {
    magic: [4]u8,
    class: u8,
    data: u8,
    ident_version: u8,
    os_abi: u8,
    abi_version: u8,
    padding: [7]u8,
    type: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
    shentsize: u16,
    shnum: u16,
    shstrndx: u16,
};

pub const ProgramHeader = extern struct {
    type: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    alignment: u64,
};

pub const SectionHeader = extern struct {
    name: u32,
    type: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    alignment: u64,
    entsize: u64,
};

comptime {
    assert(@sizeOf(Header) == 64);
    assert(@sizeOf(ProgramHeader) == 56);
    assert(@sizeOf(SectionHeader) == 64);
    assert(layout.user_end % limits.page_size == 0);
}

pub const magic = "\x7fELF";
pub const class_64 = 2;
pub const data_little_endian = 1;
pub const machine_x86_64 = 62;

pub const FileType = struct {
    pub const relocatable = 1;
    pub const executable = 2;
    pub const dynamic = 3;
    pub const core = 4;
};

pub const SegmentType = struct {
    pub const load = 1;
    pub const dynamic = 2;
    pub const interpreter = 3;
    pub const note = 4;
    pub const tls = 7;
    pub const gnu_stack = 0x6474_e551;
    pub const gnu_relro = 0x6474_e552;
};

pub const Flags = packed struct(u32) {
    execute: bool = false,
    write: bool = false,
    read: bool = false,
    rest: u29 = 0,
};

pub const Kind = enum {
    /// Linked to fixed addresses, no interpreter.
    static,
    /// Position-independent, relocates itself, no interpreter.
    static_pie,
    /// Names an interpreter; its segments may be fixed or position-independent (`Image.movable`).
    dynamic,
};

/// One PT_LOAD with memory. Addresses are as in the file: add the bias of the place where it goes.
pub const Segment = struct {
    vaddr: u64,
    memsz: u64,
    offset: u64,
    filesz: u64,
    flags: Flags,
    alignment: u64,

    pub fn pageStart(self: Segment) u64 {
        return std.mem.alignBackward(u64, self.vaddr, limits.page_size);
    }

    pub fn pageEnd(self: Segment) u64 {
        return std.mem.alignForward(u64, self.vaddr + self.memsz, limits.page_size);
    }

    /// What Linux would map of the file for this segment: whole pages, and so also the bytes of the file around the
    /// segment in its first page, and in its last one unless zeroed memory begins there.
    pub fn fileWindow(self: Segment, file_bytes: u64) FileWindow {
        if (self.filesz == 0) return .{ .vaddr = self.pageStart(), .offset = 0, .length = 0 };
        const lead = self.vaddr - self.pageStart();
        const end = self.offset + self.filesz;
        const rounded = if (self.memsz > self.filesz) end else @min(std.mem.alignForward(u64, end, limits.page_size), file_bytes);
        return .{ .vaddr = self.pageStart(), .offset = self.offset - lead, .length = rounded - (self.offset - lead) };
    }
};

/// `length` bytes of the file at `offset` go to `vaddr`; what follows up to the segment's `pageEnd()` is zero.
pub const FileWindow = struct { vaddr: u64, offset: u64, length: u64 };

pub const Tls = struct { vaddr: u64, filesz: u64, memsz: u64, alignment: u64 };
pub const Range = struct { vaddr: u64, memsz: u64 };

/// A program that can be mapped.
pub const Image = struct {
    kind: Kind,
    /// Segments may be placed anywhere: addresses need a bias.
    movable: bool,
    entry: u64,
    /// The program header table as the program sees it (AT_PHDR); null if no segment holds it.
    phdr_vaddr: ?u64,
    phnum: u16,
    /// Lowest page and end (rounded up to a page) of all segments.
    page_start: u64,
    page_end: u64,
    /// End of the highest segment, unrounded: the program break starts at the next page.
    data_end: u64,
    /// Largest power of two that a segment asks its address to be a multiple of; at least a page.
    alignment: u64,
    tls: ?Tls,
    /// PT_GNU_STACK asks for an executable stack. Without one the stack is not executable, as on Linux since 5.8.
    stack_executable: bool,
    relro: ?Range,
    interpreter: ?[]const u8,
    segment_count: usize,
    segment_storage: [segments_max]Segment,

    /// What is known of a program of which there is no file: where it is.
    pub fn ofRange(page_start: u64, page_end: u64) Image {
        return .{
            .kind = .static,
            .movable = false,
            .entry = 0,
            .phdr_vaddr = null,
            .phnum = 0,
            .page_start = page_start,
            .page_end = page_end,
            .data_end = page_end,
            .alignment = limits.page_size,
            .tls = null,
            .stack_executable = false,
            .relro = null,
            .interpreter = null,
            .segment_count = 0,
            .segment_storage = undefined,
        };
    }

    pub fn segments(self: *const Image) []const Segment {
        return self.segment_storage[0..self.segment_count];
    }

    pub fn span(self: *const Image) u64 {
        return self.page_end - self.page_start;
    }

    /// What to add (wrapping) to the file's addresses so that the image lies at or above `base`, aligned as it asks.
    /// Null if that is out of the address space. A program that cannot be moved has a bias of 0 wherever it should go.
    pub fn biasFor(self: *const Image, base: u64) ?u64 {
        if (!self.movable) return 0;
        if (base > layout.user_end) return null;
        // Linux keeps each address congruent to its p_align, so the lowest page need not be a multiple of it.
        const misaligned = self.page_start & (self.alignment - 1);
        const start = std.mem.alignForward(u64, base, self.alignment) + misaligned;
        if (start < limits.mmap_min_address or start > layout.user_end) return null;
        if (self.span() > layout.user_end - start) return null;
        return start -% self.page_start;
    }
};

pub const Result = union(enum) {
    image: Image,
    refused: Refusal,
};

pub const Options = struct {
    /// The length of the whole file, of which only the beginning is given.
    file_bytes: ?u64 = null,
};

/// Reads and checks a program. The image's interpreter path lies in `file`.
pub fn parse(file: []const u8, options: Options) Result {
    return Parser(.none).parse(file, options);
}

/// Checks that a test may leave out, to prove that the fuzzer would notice.
pub const Canary = enum {
    none,
    /// The end of a segment in the file is computed with wrap-around.
    segment_end_wraps,
    /// A segment may hold more of the file than it has memory.
    file_larger_than_memory,
    /// Start and size of a segment in memory are checked, their sum is not.
    address_end_unchecked,
    /// The interpreter's path need not end with a NUL inside its segment.
    interpreter_unterminated,
    /// The number of load segments is not bounded by the space for them.
    segments_unbounded,
};

pub fn Parser(comptime canary: Canary) type {
    return struct {
        file: []const u8,
        options: Options,
        refusal: Refusal = .{},

        const Self = @This();
        const Error = error{Refused};

        pub fn parse(file: []const u8, options: Options) Result {
            var self: Self = .{ .file = file, .options = options };
            var image: Image = undefined;
            self.read(&image) catch return .{ .refused = self.refusal };
            return .{ .image = image };
        }

        fn refuse(self: *Self, reason: Reason, number: u64) Error {
            self.refusal = .{ .reason = reason, .number = number };
            return error.Refused;
        }

        fn read(self: *Self, image: *Image) Error!void {
            const header = try self.readHeader();
            image.* = .{
                .kind = if (header.type == FileType.executable) .static else .static_pie,
                .movable = header.type == FileType.dynamic,
                .entry = header.entry,
                .phdr_vaddr = null,
                .phnum = header.phnum,
                .page_start = std.math.maxInt(u64),
                .page_end = 0,
                .data_end = 0,
                .alignment = limits.page_size,
                .tls = null,
                .stack_executable = false,
                .relro = null,
                .interpreter = null,
                .segment_count = 0,
                .segment_storage = undefined,
            };
            for (0..header.phnum) |index| {
                const entry_offset = header.phoff + index * @sizeOf(ProgramHeader);
                const ph = readStruct(ProgramHeader, self.file, entry_offset) orelse return self.refuse(.truncated_program_headers, 0);
                try self.readSegment(image, header, ph, index);
            }
            if (image.segment_count == 0) return self.refuse(.no_segments, 0);
            try self.checkWhole(image);
        }

        fn readHeader(self: *Self) Error!Header {
            if (self.file.len == 0) return self.refuse(.empty, 0);
            if (!std.mem.startsWith(u8, self.file, magic)) return self.refuse(refusal_module.recognize(self.file), 0);
            // Class and byte order come first: an ELF32 header is shorter.
            if (self.file.len > 5 and self.file[4] == 1) return self.refuse(.elf32, 0);
            if (self.file.len > 5 and self.file[5] == 2) return self.refuse(.big_endian, 0);
            const header = readStruct(Header, self.file, 0) orelse return self.refuse(.truncated_header, self.file.len);
            if (header.machine != machine_x86_64) return self.refuse(.wrong_machine, header.machine);
            switch (header.type) {
                FileType.executable, FileType.dynamic => {},
                FileType.relocatable => return self.refuse(.relocatable, 0),
                FileType.core => return self.refuse(.core_dump, 0),
                else => return self.refuse(.unknown_type, header.type),
            }
            if (header.phnum == 0) return self.refuse(.no_segments, 0);
            if (header.phentsize != @sizeOf(ProgramHeader)) return self.refuse(.bad_program_header_size, header.phentsize);
            if (header.phnum > program_headers_max) return self.refuse(.too_many_program_headers, header.phnum);
            if (slice(self.file, header.phoff, @as(u64, header.phnum) * @sizeOf(ProgramHeader)) == null) {
                return self.refuse(.truncated_program_headers, 0);
            }
            if (header.type == FileType.dynamic and header.entry == 0) return self.refuse(.library, 0);
            return header;
        }

        fn readSegment(self: *Self, image: *Image, header: Header, ph: ProgramHeader, index: usize) Error!void {
            switch (ph.type) {
                SegmentType.load => try self.readLoad(image, header, ph, index),
                SegmentType.interpreter => if (image.interpreter == null) {
                    image.interpreter = try self.readInterpreter(ph);
                    image.kind = .dynamic;
                },
                SegmentType.tls => image.tls = .{ .vaddr = ph.vaddr, .filesz = ph.filesz, .memsz = ph.memsz, .alignment = ph.alignment },
                SegmentType.gnu_stack => image.stack_executable = @as(Flags, @bitCast(ph.flags)).execute,
                SegmentType.gnu_relro => image.relro = .{ .vaddr = ph.vaddr, .memsz = ph.memsz },
                else => {},
            }
        }

        fn readInterpreter(self: *Self, ph: ProgramHeader) Error![]const u8 {
            if (ph.filesz < 2 or ph.filesz > interpreter_max_bytes) return self.refuse(.bad_interpreter, 0);
            const bytes = slice(self.file, ph.offset, ph.filesz) orelse return self.refuse(.bad_interpreter, 0);
            if (canary != .interpreter_unterminated) {
                if (bytes[bytes.len - 1] != 0) return self.refuse(.bad_interpreter, 0);
            }
            const path = std.mem.sliceTo(bytes, 0);
            if (path.len == 0) return self.refuse(.bad_interpreter, 0);
            return path;
        }

        fn readLoad(self: *Self, image: *Image, header: Header, ph: ProgramHeader, index: usize) Error!void {
            if (canary != .file_larger_than_memory) {
                if (ph.filesz > ph.memsz) return self.refuse(.file_larger_than_memory, index);
            }
            // The end of the address space is a multiple of a page, so rounding up to one stays below it.
            if (ph.vaddr > layout.user_end or ph.memsz > layout.user_end) return self.refuse(.address_too_high, index);
            if (canary != .address_end_unchecked) {
                if (ph.memsz > layout.user_end - ph.vaddr) return self.refuse(.address_too_high, index);
            }
            if (ph.filesz > 0) {
                const end = if (canary == .segment_end_wraps) ph.offset +% ph.filesz else std.math.add(u64, ph.offset, ph.filesz) catch
                    return self.refuse(.truncated_segment, index);
                if (end > self.options.file_bytes orelse self.file.len) return self.refuse(.truncated_segment, index);
                if (ph.offset % limits.page_size != ph.vaddr % limits.page_size) return self.refuse(.misaligned_segment, index);
            }
            // Linux takes the first segment that holds the table, and ignores PT_PHDR.
            if (image.phdr_vaddr == null and header.phoff >= ph.offset and header.phoff - ph.offset < ph.filesz) {
                image.phdr_vaddr = header.phoff - ph.offset + ph.vaddr;
            }
            // Linux maps nothing for a segment without memory, wherever it says to be.
            if (ph.memsz == 0) return;
            const segment: Segment = .{
                .vaddr = ph.vaddr,
                .memsz = ph.memsz,
                .offset = ph.offset,
                .filesz = ph.filesz,
                .flags = @bitCast(ph.flags),
                .alignment = ph.alignment,
            };
            if (!image.movable and segment.pageStart() < limits.mmap_min_address) return self.refuse(.address_too_low, index);
            if (canary == .segments_unbounded) {
                image.segment_count += 1;
                if (image.segment_count <= segments_max) image.segment_storage[image.segment_count - 1] = segment;
            } else {
                if (image.segment_count == segments_max) return self.refuse(.too_many_segments, segments_max);
                image.segment_storage[image.segment_count] = segment;
                image.segment_count += 1;
            }
            image.page_start = @min(image.page_start, segment.pageStart());
            image.page_end = @max(image.page_end, segment.pageEnd());
            image.data_end = @max(image.data_end, segment.vaddr + segment.memsz);
            // An alignment that is no power of two, or that no place could satisfy, is ignored, as Linux does.
            if (@popCount(ph.alignment) == 1 and ph.alignment <= alignment_max) image.alignment = @max(image.alignment, ph.alignment);
        }

        fn checkWhole(self: *Self, image: *Image) Error!void {
            // A program whose entry is in none of its segments faults when it starts, as on Linux; but it must be an address.
            if (image.entry >= layout.user_end) return self.refuse(.entry_out_of_range, 0);
            if (image.movable) {
                if (image.entry < image.page_start or image.entry >= image.page_end) return self.refuse(.entry_out_of_range, 0);
                if (image.biasFor(limits.mmap_min_address) == null) return self.refuse(.address_too_high, 0);
            }
        }
    };
}

/// `length` bytes of the file at `offset`, or null if they are not all there.
pub fn slice(file: []const u8, offset: u64, length: u64) ?[]const u8 {
    if (offset > file.len or length > file.len - offset) return null;
    return file[@intCast(offset)..][0..@intCast(length)];
}

/// One copy of a structure in the file, at any alignment: what was checked is what is used.
pub fn readStruct(comptime T: type, file: []const u8, offset: u64) ?T {
    const bytes = slice(file, offset, @sizeOf(T)) orelse return null;
    return std.mem.bytesToValue(T, bytes[0..@sizeOf(T)]);
}

test {
    _ = @import("elf_test.zig");
}
