//! The layout of a saved snapshot: one file, made of a header, sections, and pages. `docs/snapshot-format.md` is its
//! specification.
//!
//! The pages of the machine's memory lie in one stretch, without those that are zero; runs say which frames they are. What is
//! needed first lies first. Not here: writing (`save.zig`), reading (`open.zig`), the state's own records (`records.zig`).
const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../limits.zig");

pub const page = limits.page_size;
pub const magic = "PRISTINE SNAP\r\n\x1a".*;
/// Files of another major version are not readable; of the same one, those of all minor versions up to this are.
pub const major = 1;
pub const minor = 2;
/// Pages of one checksum.
pub const group_pages = 512;

/// In the order in which they lie in the file.
pub const SectionKind = enum(u32) {
    /// The processor as the guest has seen it (`Fingerprint`).
    processor = 1,
    /// How the machine waits, for whoever opens it: JSON.
    notes = 2,
    /// The machine but for its memory (`records.zig`).
    state = 3,
    /// Which frames the pages are: `Run`s, in the order of the pages.
    runs = 4,
    /// A checksum for each group of pages.
    sums = 5,
    /// The embedder's own bytes.
    user = 6,
    /// The bytes of private files and of copies of the host's, one after another.
    contents = 7,
    pages = 8,
};
pub const section_count = @typeInfo(SectionKind).@"enum".fields.len;

pub const Section = extern struct {
    kind: u32 = 0,
    reserved: u32 = 0,
    /// In bytes from the start of the file; a multiple of a page.
    offset: u64 = 0,
    length: u64 = 0,
    /// Of its bytes; of the pages it is that of their sums.
    checksum: u64 = 0,
};

pub const Header = extern struct {
    magic: [16]u8 = magic,
    major: u16 = major,
    minor: u16 = minor,
    header_bytes: u32 = @sizeOf(Header),
    /// Of the whole file.
    file_bytes: u64 = 0,
    /// What the guest-physical memory extends to, and the ceiling that the machine had.
    memory_extent: u64 = 0,
    memory_ceiling: u64 = 0,
    /// Of the pages in the file, how many are read before the machine goes on: page tables, and what requests use.
    hot_pages: u64 = 0,
    /// Nanoseconds since 1970.
    saved_at: i64 = 0,
    sections: [section_count]Section = @splat(.{}),
    reserved: [page - 72 - section_count * @sizeOf(Section)]u8 = @splat(0),
    /// Of all bytes of the header before it.
    checksum: u64 = 0,

    pub fn seal(self: *Header) void {
        self.checksum = sum(std.mem.asBytes(self)[0 .. @sizeOf(Header) - 8]);
    }

    pub fn isWhole(self: *const Header) bool {
        return self.checksum == sum(std.mem.asBytes(self)[0 .. @sizeOf(Header) - 8]);
    }

    pub fn section(self: *const Header, kind: SectionKind) *const Section {
        return &self.sections[@intFromEnum(kind) - 1];
    }
};

/// Pages that are in a row in the file and in the machine's memory.
pub const Run = extern struct { frame: u32, count: u32 };

comptime {
    assert(@sizeOf(Section) == 32);
    assert(@sizeOf(Header) == page);
    assert(@offsetOf(Header, "sections") == 64);
    assert(@sizeOf(Run) == 8);
}

pub const Sum = std.hash.XxHash3;

/// XXH3 with 64 bits and seed 0: https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md.
pub fn sum(bytes: []const u8) u64 {
    return Sum.hash(0, bytes);
}

test "the checksum is XXH3's, by the vectors of its authors" {
    try std.testing.expectEqual(0x2d06800538d394c2, sum(""));
    try std.testing.expectEqual(0x78af5f94892f3950, sum("abc"));
}
