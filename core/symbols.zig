//! Names of a program's functions and data: from a name to an address for calls, from an address to a name for reports.
//!
//! Made from .symtab and .dynsym of a file that may be hostile: every offset is checked, the work and the memory are
//! bounded, and what is malformed is left out. Addresses are as in the file: the caller adds the program's bias to
//! those that are not absolute. Nothing of the file is referred to afterwards.
const std = @import("std");
const Allocator = std.mem.Allocator;
const elf = @import("elf.zig");

/// Symbols, the length of one name and the length of all names beyond which the rest of a table is left out.
pub const symbols_max = 1 << 20;
pub const name_max_bytes = 4096;
pub const names_total_max_bytes = 256 * 1024 * 1024;
/// Section headers that are looked at.
pub const sections_max = 1 << 16;

pub const section_symtab = 2;
pub const section_dynsym = 11;
const section_undefined = 0;
const section_absolute = 0xfff1;
const section_common = 0xfff2;

pub const Entry = extern struct { name: u32, info: u8, other: u8, section: u16, value: u64, size: u64 };

comptime {
    std.debug.assert(@sizeOf(Entry) == 24);
}

pub const Binding = enum(u4) { local = 0, global = 1, weak = 2, unique = 10, _ };
pub const Type = enum(u4) { none = 0, object = 1, function = 2, section = 3, file = 4, common = 5, tls = 6, ifunc = 10, _ };

pub fn info(binding: Binding, kind: Type) u8 {
    return @as(u8, @intFromEnum(binding)) << 4 | @intFromEnum(kind);
}

pub const Symbol = struct {
    name: []const u8,
    value: u64,
    size: u64,
    type: Type,
    binding: Binding,
    /// The value is a number, not a place in the program: it gets no bias.
    absolute: bool,

    pub fn address(self: Symbol, bias: u64) u64 {
        return if (self.absolute) self.value else self.value +% bias;
    }
};

/// A place as "name+offset".
pub const Place = struct {
    name: []const u8,
    offset: u64,

    pub fn format(self: Place, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        for (self.name) |byte| try writer.writeByte(if (std.ascii.isPrint(byte)) byte else '?');
        try writer.print("+0x{x}", .{self.offset});
    }
};

pub const Kept = struct {
    name_offset: u32,
    name_length: u16,
    info: u8,
    absolute: bool,
    value: u64,
    size: u64,
};

pub const Symbols = struct {
    allocator: Allocator,
    names: []u8 = &.{},
    kept: []Kept = &.{},
    /// Open addressing: 0 is free, otherwise one more than an index of `kept`.
    slots: []u32 = &.{},
    seed: u64 = 0,
    /// Indexes of `kept` that are code, in order of address.
    functions: []u32 = &.{},

    /// Reads the tables of a file. A file without any, or with malformed ones, gives an empty result.
    pub fn init(allocator: Allocator, file: []const u8) Allocator.Error!Symbols {
        var builder: Builder = .{ .allocator = allocator, .file = file };
        errdefer builder.deinit();
        try builder.readAll();
        var self: Symbols = .{ .allocator = allocator };
        errdefer self.deinit();
        self.names = try builder.names.toOwnedSlice(allocator);
        self.kept = try builder.kept.toOwnedSlice(allocator);
        try self.index();
        return self;
    }

    /// From what `names` and `kept` of another have been; every place must lie within the names.
    pub fn of(allocator: Allocator, names: []const u8, kept: []const Kept) Allocator.Error!Symbols {
        var self: Symbols = .{ .allocator = allocator };
        errdefer self.deinit();
        self.names = try allocator.dupe(u8, names);
        self.kept = try allocator.dupe(Kept, kept);
        try self.index();
        return self;
    }

    pub fn deinit(self: *Symbols) void {
        self.allocator.free(self.names);
        self.allocator.free(self.kept);
        self.allocator.free(self.slots);
        self.allocator.free(self.functions);
        self.* = .{ .allocator = self.allocator };
    }

    pub fn count(self: *const Symbols) usize {
        return self.kept.len;
    }

    /// The best symbol of that name: global before weak before local, .symtab before .dynsym.
    pub fn lookup(self: *const Symbols, name: []const u8) ?Symbol {
        if (self.slots.len == 0) return null;
        const slot = self.slots[self.findSlot(name)];
        return if (slot == 0) null else self.symbol(slot - 1);
    }

    /// The function that holds a file address; a label without a size holds what follows it up to the next one.
    pub fn nearest(self: *const Symbols, address: u64) ?Place {
        const order = std.sort.upperBound(u32, self.functions, SearchContext{ .symbols = self, .address = address }, SearchContext.compare);
        if (order == 0) return null;
        const found = self.kept[self.functions[order - 1]];
        const offset = address - found.value;
        if (found.size != 0 and offset >= found.size) return null;
        // The last label of a program must not claim all of the address space above it.
        if (found.size == 0 and offset >= label_reach_bytes) return null;
        return .{ .name = self.nameOf(found), .offset = offset };
    }

    const label_reach_bytes = 0x1_0000;

    const SearchContext = struct {
        symbols: *const Symbols,
        address: u64,

        fn compare(self: SearchContext, item: u32) std.math.Order {
            return std.math.order(self.address, self.symbols.kept[item].value);
        }
    };

    fn symbol(self: *const Symbols, at: usize) Symbol {
        const kept = self.kept[at];
        return .{
            .name = self.nameOf(kept),
            .value = kept.value,
            .size = kept.size,
            .type = typeOf(kept.info),
            .binding = bindingOf(kept.info),
            .absolute = kept.absolute,
        };
    }

    fn nameOf(self: *const Symbols, kept: Kept) []const u8 {
        return self.names[kept.name_offset..][0..kept.name_length];
    }

    /// The slot that holds a name, or the free one where it belongs. There is always a free one.
    fn findSlot(self: *const Symbols, name: []const u8) usize {
        const mask = self.slots.len - 1;
        var at: usize = @truncate(std.hash.Wyhash.hash(self.seed, name));
        while (true) : (at += 1) {
            const slot = self.slots[at & mask];
            if (slot == 0 or std.mem.eql(u8, self.nameOf(self.kept[slot - 1]), name)) return at & mask;
        }
    }

    fn index(self: *Symbols) Allocator.Error!void {
        if (self.kept.len == 0) return;
        // A secret seed, so that no file can hold names that all fall into one chain.
        _ = std.os.linux.getrandom(std.mem.asBytes(&self.seed), @sizeOf(u64), 0);
        self.slots = try self.allocator.alloc(u32, std.math.ceilPowerOfTwoAssert(usize, self.kept.len * 2));
        @memset(self.slots, 0);
        var code: std.ArrayList(u32) = .empty;
        errdefer code.deinit(self.allocator);
        for (self.kept, 0..) |kept, at| {
            const slot = &self.slots[self.findSlot(self.nameOf(kept))];
            if (slot.* == 0 or rank(kept) > rank(self.kept[slot.* - 1])) slot.* = @intCast(at + 1);
            if (isCode(kept)) try code.append(self.allocator, @intCast(at));
        }
        self.functions = try code.toOwnedSlice(self.allocator);
        std.mem.sort(u32, self.functions, self, before);
    }

    /// By address; of several names of one address the best is last, where `nearest` finds it.
    fn before(self: *Symbols, left: u32, right: u32) bool {
        const a = self.kept[left];
        const b = self.kept[right];
        if (a.value != b.value) return a.value < b.value;
        if ((a.size != 0) != (b.size != 0)) return b.size != 0;
        if (rank(a) != rank(b)) return rank(a) < rank(b);
        return left > right;
    }
};

fn typeOf(byte: u8) Type {
    return @enumFromInt(@as(u4, @truncate(byte)));
}

fn bindingOf(byte: u8) Binding {
    return @enumFromInt(@as(u4, @truncate(byte >> 4)));
}

fn rank(kept: Kept) u8 {
    return switch (bindingOf(kept.info)) {
        .global, .unique => 3,
        .weak => 2,
        else => 1,
    };
}

fn isCode(kept: Kept) bool {
    return switch (typeOf(kept.info)) {
        .function, .ifunc, .none => !kept.absolute,
        else => false,
    };
}

const Builder = struct {
    allocator: Allocator,
    file: []const u8,
    names: std.ArrayList(u8) = .empty,
    kept: std.ArrayList(Kept) = .empty,

    fn deinit(self: *Builder) void {
        self.names.deinit(self.allocator);
        self.kept.deinit(self.allocator);
    }

    fn readAll(self: *Builder) Allocator.Error!void {
        const header = elf.readStruct(elf.Header, self.file, 0) orelse return;
        if (!std.mem.eql(u8, &header.magic, elf.magic) or header.class == 1 or header.data == 2) return;
        if (header.shoff == 0 or header.shentsize != @sizeOf(elf.SectionHeader)) return;
        var section_count: u64 = header.shnum;
        if (section_count == 0) {
            // More sections than the header can count: the number is in the first one's size.
            const first = self.section(header.shoff, 0) orelse return;
            section_count = @min(first.size, sections_max);
        }
        for ([_]u32{ section_symtab, section_dynsym }) |wanted| {
            for (0..@intCast(section_count)) |at| {
                const table = self.section(header.shoff, at) orelse break;
                if (table.type != wanted or table.link >= section_count) continue;
                const strings = self.section(header.shoff, table.link) orelse continue;
                try self.readTable(table, strings);
                // A file has one table of each type; repeated ones would only repeat the work.
                break;
            }
        }
    }

    fn section(self: *Builder, table_offset: u64, at: u64) ?elf.SectionHeader {
        const offset = std.math.add(u64, table_offset, at * @sizeOf(elf.SectionHeader)) catch return null;
        return elf.readStruct(elf.SectionHeader, self.file, offset);
    }

    fn readTable(self: *Builder, table: elf.SectionHeader, strings: elf.SectionHeader) Allocator.Error!void {
        if (table.entsize != @sizeOf(Entry)) return;
        const entries = elf.slice(self.file, table.offset, table.size) orelse return;
        const text = elf.slice(self.file, strings.offset, strings.size) orelse return;
        var offset: u64 = 0;
        while (elf.readStruct(Entry, entries, offset)) |entry| : (offset += @sizeOf(Entry)) {
            if (self.kept.items.len == symbols_max) return;
            if (entry.section == section_undefined or entry.section == section_common) continue;
            switch (typeOf(entry.info)) {
                .none, .object, .function, .ifunc => {},
                else => continue,
            }
            const name = nameIn(text, entry.name) orelse continue;
            if (self.names.items.len + name.len > names_total_max_bytes) return;
            const name_offset: u32 = @intCast(self.names.items.len);
            try self.names.appendSlice(self.allocator, name);
            try self.kept.append(self.allocator, .{
                .name_offset = name_offset,
                .name_length = @intCast(name.len),
                .info = entry.info,
                .absolute = entry.section == section_absolute,
                .value = entry.value,
                .size = entry.size,
            });
        }
    }
};

fn nameIn(text: []const u8, offset: u32) ?[]const u8 {
    if (offset >= text.len) return null;
    const rest = text[offset..];
    const window = rest[0..@min(rest.len, name_max_bytes + 1)];
    const end = std.mem.indexOfScalar(u8, window, 0) orelse return null;
    return if (end == 0) null else window[0..end];
}

test {
    _ = @import("symbols_test.zig");
}
