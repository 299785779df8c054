//! A mutation fuzzer for the ELF and symbol readers, as an ordinary test.
//!
//! Each iteration damages a valid image in a few places (bits, fields, lengths, whole headers), reads it, and holds the
//! answer against what must be true of every accepted image, computed anew and with more bits. A crash of a reader is
//! caught by the safety checks of the build. Iterations are independent: seed and number repeat one.
//!
//! The environment variables PRISTINE_FUZZ_ITERATIONS and PRISTINE_FUZZ_SEED make a longer or another search.
const std = @import("std");
const linux = std.os.linux;
const builder = @import("elf_builder.zig");
const elf = @import("elf.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const Symbols = @import("symbols.zig").Symbols;

const iterations_default = 30_000;
/// A planted bug must be found within this many; the hardest takes about a tenth of it.
const iterations_canary_max = 40_000;
const mutations_max = 6;

const Violation = error{Violation};

/// What must be true of an accepted image, whatever the file holds.
fn checkImage(image: *const elf.Image, file: []const u8) Violation!void {
    try require(image.segment_count > 0 and image.segment_count <= elf.segments_max);
    var lowest: u128 = std.math.maxInt(u64);
    var highest: u128 = 0;
    var data_end: u128 = 0;
    for (image.segments()) |segment| {
        const end = @as(u128, segment.vaddr) + segment.memsz;
        try require(segment.memsz > 0 and segment.filesz <= segment.memsz);
        try require(@as(u128, segment.offset) + segment.filesz <= file.len or segment.filesz == 0);
        try require(segment.filesz == 0 or segment.offset % 4096 == segment.vaddr % 4096);
        try require(std.mem.alignForward(u128, end, 4096) <= layout.user_end);
        try require(segment.pageEnd() == std.mem.alignForward(u128, end, 4096));
        const window = segment.fileWindow(file.len);
        try require(@as(u128, window.offset) + window.length <= file.len);
        try require(window.vaddr == segment.pageStart() and window.length <= segment.pageEnd() - segment.pageStart());
        lowest = @min(lowest, segment.pageStart());
        highest = @max(highest, segment.pageEnd());
        data_end = @max(data_end, end);
    }
    try require(lowest == image.page_start and highest == image.page_end and data_end == image.data_end);
    try require(image.movable or image.page_start >= limits.mmap_min_address);
    try require(image.entry < layout.user_end);
    try require(@popCount(image.alignment) == 1 and image.alignment >= 4096);
    try checkPlaces(image);
    if (image.interpreter) |path| try checkInterpreter(path, file);
    try require((image.kind == .dynamic) == (image.interpreter != null));
    if (image.phdr_vaddr) |address| try checkProgramHeaders(image, address, file);
}

fn checkPlaces(image: *const elf.Image) Violation!void {
    try require(image.biasFor(limits.mmap_min_address) != null);
    for ([_]u64{ 0, limits.mmap_min_address, layout.pie_base, layout.mmap_top, layout.user_end - 4096, layout.user_end, std.math.maxInt(u64) }) |base| {
        const bias = image.biasFor(base) orelse continue;
        try require(image.movable or bias == 0);
        if (!image.movable) continue;
        const start = image.page_start +% bias;
        try require(start >= base and start >= limits.mmap_min_address and start % 4096 == 0);
        try require(@as(u128, start) + image.span() <= layout.user_end);
        try require(image.entry +% bias < layout.user_end);
        try require(@as(i64, @bitCast(bias)) & @as(i64, @intCast(image.alignment - 1)) == 0);
    }
}

fn checkInterpreter(path: []const u8, file: []const u8) Violation!void {
    const start = @intFromPtr(path.ptr) -% @intFromPtr(file.ptr);
    try require(path.len > 0 and start < file.len and path.len < file.len - start);
    try require(file[start + path.len] == 0);
}

fn checkProgramHeaders(image: *const elf.Image, address: u64, file: []const u8) Violation!void {
    const header = elf.readStruct(elf.Header, file, 0) orelse return error.Violation;
    for (image.segments()) |segment| {
        const held = header.phoff >= segment.offset and header.phoff - segment.offset < segment.filesz;
        if (held and address == segment.vaddr + (header.phoff - segment.offset)) return;
    }
    return error.Violation;
}

fn require(condition: bool) Violation!void {
    if (!condition) return error.Violation;
}

/// A valid image that is damaged in place and mended afterwards.
const Seed = struct {
    bytes: []u8,
    /// Reading the names of a large file takes long, so that is done in few iterations.
    symbols_every: usize = 1,
};

const Mutator = struct {
    file: []u8,
    length: usize,
    random: std.Random,
    undo: [mutations_max * 64]struct { offset: usize, byte: u8 } = undefined,
    undo_count: usize = 0,

    fn set(self: *Mutator, offset: usize, byte: u8) void {
        if (offset >= self.file.len or self.undo_count == self.undo.len) return;
        self.undo[self.undo_count] = .{ .offset = offset, .byte = self.file[offset] };
        self.undo_count += 1;
        self.file[offset] = byte;
    }

    fn mend(self: *Mutator) void {
        while (self.undo_count > 0) {
            self.undo_count -= 1;
            self.file[self.undo[self.undo_count].offset] = self.undo[self.undo_count].byte;
        }
    }

    fn setNumber(self: *Mutator, offset: u64, size: usize, value: u64) void {
        for (0..size) |index| self.set(@intCast(offset + index), @truncate(value >> @intCast(index * 8)));
    }

    fn number(self: *Mutator, offset: u64, size: usize) u64 {
        var value: u64 = 0;
        for (0..size) |index| {
            const at = offset + index;
            if (at < self.file.len) value |= @as(u64, self.file[@intCast(at)]) << @intCast(index * 8);
        }
        return value;
    }

    fn mutate(self: *Mutator) void {
        const header = elf.readStruct(elf.Header, self.file, 0).?;
        switch (self.random.uintLessThan(u8, 10)) {
            0 => self.flipBits(64 + @as(usize, header.phnum) * 56),
            1 => self.flipBits(self.file.len),
            2 => self.length = self.random.uintLessThan(usize, self.file.len + 1),
            3 => self.mutateHeader(),
            4 => self.copyProgramHeader(header),
            5 => self.mutateSection(header),
            else => self.mutateProgramHeader(header),
        }
    }

    fn flipBits(self: *Mutator, end: usize) void {
        const offset = self.random.uintLessThan(usize, @min(end, self.file.len));
        self.set(offset, self.file[offset] ^ @as(u8, 1) << self.random.int(u3));
    }

    fn mutateHeader(self: *Mutator) void {
        const fields = [_][2]u8{ .{ 4, 1 }, .{ 5, 1 }, .{ 16, 2 }, .{ 18, 2 }, .{ 24, 8 }, .{ 32, 8 }, .{ 40, 8 }, .{ 54, 2 }, .{ 56, 2 }, .{ 58, 2 }, .{ 60, 2 } };
        const field = fields[self.random.uintLessThan(usize, fields.len)];
        self.setNumber(field[0], field[1], self.interesting(self.number(field[0], field[1])));
    }

    fn mutateProgramHeader(self: *Mutator, header: elf.Header) void {
        if (header.phnum == 0) return;
        const entry = header.phoff +% self.random.uintLessThan(u64, header.phnum) * 56;
        if (entry > self.file.len) return;
        if (self.random.uintLessThan(u8, 4) == 0) {
            const types = [_]u32{ 0, 1, 1, 1, 2, 3, 3, 4, 6, 7, 0x6474_e551, 0x6474_e552 };
            return self.setNumber(entry, 4, types[self.random.uintLessThan(usize, types.len)]);
        }
        const fields = [_]u64{ 8, 16, 32, 40, 48 };
        const field = entry + fields[self.random.uintLessThan(usize, fields.len)];
        self.setNumber(field, 8, self.interesting(self.number(field, 8)));
    }

    fn copyProgramHeader(self: *Mutator, header: elf.Header) void {
        if (header.phnum == 0) return;
        const from = header.phoff +% self.random.uintLessThan(u64, header.phnum) * 56;
        const to = header.phoff +% self.random.uintLessThan(u64, header.phnum) * 56;
        if (from > self.file.len or to > self.file.len) return;
        for (0..56) |index| self.set(@intCast(to + index), @truncate(self.number(from + index, 1)));
    }

    fn mutateSection(self: *Mutator, header: elf.Header) void {
        if (header.shnum == 0) return;
        const entry = header.shoff +% self.random.uintLessThan(u64, header.shnum) * 64;
        if (entry > self.file.len) return;
        const fields = [_][2]u8{ .{ 4, 4 }, .{ 24, 8 }, .{ 32, 8 }, .{ 40, 4 }, .{ 56, 8 } };
        const field = fields[self.random.uintLessThan(usize, fields.len)];
        self.setNumber(entry + field[0], field[1], self.interesting(self.number(entry + field[0], field[1])));
    }

    /// A number that lies at a border of something, or near the present one.
    fn interesting(self: *Mutator, present: u64) u64 {
        const borders = [_]u64{
            0,                  1,                 2,                               11,      55,              56,      64,                      127,             128,
            129,                1170,              1171,                            4095,    4096,            65535,   limits.mmap_min_address, 1 << 31,         1 << 32,
            layout.system_base, layout.user_end,   layout.user_end - 1,             1 << 47, layout.pie_base, 1 << 63, std.math.maxInt(i64),    ~@as(u64, 4095), std.math.maxInt(u64),
            self.file.len,      self.file.len - 1, self.file.len & ~@as(u64, 4095),
        };
        const near = [_]u64{ 0, 1, 8, 16, 4095, 4096, 0x1_0000, 1 << 21 };
        const offset = near[self.random.uintLessThan(usize, near.len)];
        const border = borders[self.random.uintLessThan(usize, borders.len)];
        return switch (self.random.uintLessThan(u8, 6)) {
            0 => border,
            1 => border +% offset,
            2 => border -% offset,
            3 => present +% offset,
            4 => present -% offset,
            else => self.random.int(u64) >> self.random.int(u6),
        };
    }
};

const Fuzzer = struct {
    allocator: std.mem.Allocator,
    seeds: []const Seed,
    accepted: usize = 0,
    refused: std.EnumSet(elf.Reason) = .empty,

    /// One iteration with a parser that has `canary` planted.
    fn once(self: *Fuzzer, comptime canary: elf.Canary, seed: u64, iteration: usize) !void {
        var prng: std.Random.DefaultPrng = .init(seed ^ std.hash.int(@as(u64, iteration)));
        const random = prng.random();
        const start = self.seeds[random.uintLessThan(usize, self.seeds.len)];
        var mutator: Mutator = .{ .file = start.bytes, .length = start.bytes.len, .random = random };
        defer mutator.mend();
        for (0..1 + random.uintLessThan(usize, mutations_max)) |_| mutator.mutate();
        const file = start.bytes[0..mutator.length];
        switch (elf.Parser(canary).parse(file, .{})) {
            .image => |*image| {
                self.accepted += 1;
                try checkImage(image, file);
            },
            .refused => |refusal| {
                self.refused.insert(refusal.reason);
                var buffer: [8192]u8 = undefined;
                const text = std.fmt.bufPrint(&buffer, "{f}", .{refusal}) catch return error.Violation;
                for (text) |byte| try require(std.ascii.isPrint(byte));
            },
        }
        if (canary == .none and iteration % start.symbols_every == 0) try self.readSymbols(file, random);
    }

    fn readSymbols(self: *Fuzzer, file: []const u8, random: std.Random) !void {
        var table = try Symbols.init(self.allocator, file);
        defer table.deinit();
        for (0..@min(table.count(), 16)) |_| {
            const kept = table.kept[random.uintLessThan(usize, table.count())];
            const name = table.names[kept.name_offset..][0..kept.name_length];
            const found = table.lookup(name) orelse return error.Violation;
            try require(std.mem.eql(u8, found.name, name));
            const place = table.nearest(kept.value +% random.uintLessThan(u64, 64)) orelse continue;
            try require(place.name.len > 0);
        }
    }
};

const interpreter_path = "/lib64/ld-linux-x86-64.so.2";

/// The images that mutations start from; `self_file` is a large real program.
fn makeSeeds(arena: std.mem.Allocator, self_file: ?[]u8) ![]const Seed {
    const S = elf.SegmentType;
    const data: builder.Segment = .{ .flags = 6, .offset = 0x400, .vaddr = 0x40_1400, .filesz = 0x100, .memsz = 0x5000 };
    const names = [_]builder.Name{
        .{ .name = "main", .value = 0x40_0100, .size = 0x40 },
        .{ .name = "other", .value = 0x40_0140, .size = 0x10 },
        .{ .name = "label", .value = 0x40_0200 },
    };
    const plans = [_]builder.Plan{
        .{ .segments = &.{ .{}, data, .{ .type = S.tls, .vaddr = 0x40_1400 }, .{ .type = S.gnu_stack } }, .names = &names },
        .{ .type = elf.FileType.dynamic, .entry = 0x1100, .segments = &.{ .{ .vaddr = 0x1000 }, .{ .vaddr = 0x5000, .flags = 6, .memsz = 0x8000 } } },
        .{ .type = elf.FileType.dynamic, .entry = 0x100, .interpreter = interpreter_path, .segments = &.{
            .{ .type = S.interpreter, .offset = builder.interpreter_offset, .filesz = interpreter_path.len + 1 },
            .{ .vaddr = 0 },
            .{ .vaddr = 0x2000, .flags = 6, .memsz = 0x3000, .alignment = 0x20_0000 },
        } },
        // As many load segments as there may be, and others that one change makes into one more.
        .{ .segments = &(@as([elf.segments_max]builder.Segment, @splat(.{})) ++ @as([64]builder.Segment, @splat(.{ .type = S.note }))), .file_bytes = 0x3000 },
    };
    const seeds = try arena.alloc(Seed, plans.len + @intFromBool(self_file != null));
    for (plans, seeds[0..plans.len]) |plan, *seed| seed.* = .{ .bytes = try builder.build(arena, plan) };
    if (self_file) |bytes| seeds[plans.len] = .{ .bytes = bytes, .symbols_every = 64 };
    return seeds;
}

fn mapSelf() ?[]align(std.heap.page_size_min) u8 {
    const rc = linux.open("/proc/self/exe", .{ .ACCMODE = .RDONLY, .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return null;
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    const length: usize = @intCast(linux.lseek(fd, 0, linux.SEEK.END));
    return std.posix.mmap(null, length, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE }, fd, 0) catch null;
}

/// A number from the environment; tests have no other way to be told anything.
fn environmentNumber(comptime name: []const u8) ?u64 {
    const rc = linux.open("/proc/self/environ", .{ .ACCMODE = .RDONLY, .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return null;
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    var buffer: [65536]u8 = undefined;
    const length = linux.read(fd, &buffer, buffer.len);
    if (linux.errno(length) != .SUCCESS) return null;
    var entries = std.mem.splitScalar(u8, buffer[0..length], 0);
    while (entries.next()) |entry| {
        if (std.mem.startsWith(u8, entry, name ++ "=")) return std.fmt.parseInt(u64, entry[name.len + 1 ..], 0) catch null;
    }
    return null;
}

test "no damaged image is accepted wrongly or crashes a reader" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const self_file = mapSelf();
    defer if (self_file) |bytes| std.posix.munmap(bytes);
    var fuzzer: Fuzzer = .{ .allocator = std.testing.allocator, .seeds = try makeSeeds(arena.allocator(), self_file) };
    const seed = environmentNumber("PRISTINE_FUZZ_SEED") orelse 1;
    const iterations = environmentNumber("PRISTINE_FUZZ_ITERATIONS") orelse iterations_default;
    for (0..iterations) |iteration| fuzzer.once(.none, seed, iteration) catch |failure| {
        std.debug.print("iteration {d} with PRISTINE_FUZZ_SEED={d} failed\n", .{ iteration, seed });
        return failure;
    };
    // A search that accepts nothing, or meets few of the checks, searches nothing.
    try std.testing.expect(fuzzer.accepted > iterations / 20);
    if (iterations >= iterations_default) try std.testing.expect(fuzzer.refused.count() >= 20);
}

test "a planted bug is found, whichever it is" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var fuzzer: Fuzzer = .{ .allocator = std.testing.allocator, .seeds = try makeSeeds(arena.allocator(), null) };
    inline for (comptime std.enums.values(elf.Canary)) |canary| {
        if (canary == .none) continue;
        const found = for (0..iterations_canary_max) |iteration| {
            fuzzer.once(canary, 1, iteration) catch break iteration;
        } else {
            std.debug.print("not found: {s}\n", .{@tagName(canary)});
            return error.CanaryMissed;
        };
        if (environmentNumber("PRISTINE_FUZZ_VERBOSE") != null) std.debug.print("{s} found in iteration {d}\n", .{ @tagName(canary), found });
    }
}
