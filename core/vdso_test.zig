//! Tests of the guest's vDSO, run on the host: the image is copied behind a page of parameters made by hand and called.
const std = @import("std");
const linux = std.os.linux;
const elf = @import("elf.zig");
const limits = @import("limits.zig");
const parameters_module = @import("vdso_parameters.zig");
const Symbols = @import("symbols.zig").Symbols;
const Parameters = parameters_module.Parameters;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;

const image_file = @embedFile("vdso_image");
const image_pages_max = 2;
const ns_per_s = std.time.ns_per_s;

const Timespec = extern struct { sec: i64, nsec: i64 };
const Timeval = extern struct { sec: i64, usec: i64 };

/// The image in this process, with its parameters before it, as in a guest.
const Loaded = struct {
    memory: []align(std.heap.page_size_min) u8,
    symbols: Symbols,

    fn init() !Loaded {
        const bytes = (1 + image_pages_max) * limits.page_size;
        const memory = try std.posix.mmap(null, bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0);
        errdefer std.posix.munmap(memory);
        @memcpy(memory[limits.page_size..][0..image_file.len], image_file);
        const code = memory[limits.page_size..];
        const rc = linux.mprotect(code.ptr, code.len, .{ .READ = true, .EXEC = true });
        if (linux.errno(rc) != .SUCCESS) return error.ProtectFailed;
        return .{ .memory = memory, .symbols = try Symbols.init(std.testing.allocator, image_file) };
    }

    fn deinit(self: *Loaded) void {
        self.symbols.deinit();
        std.posix.munmap(self.memory);
    }

    fn page(self: *Loaded) *volatile Parameters {
        return @ptrCast(self.memory.ptr);
    }

    fn function(self: *Loaded, comptime name: []const u8, comptime Function: type) *const Function {
        const address = self.symbols.lookup(name).?.address(@intFromPtr(self.memory.ptr) + limits.page_size);
        return @ptrFromInt(address);
    }

    fn clockGettime(self: *Loaded, clock: i32) !u64 {
        var ts: Timespec = .{ .sec = -1, .nsec = -1 };
        try expectEqual(0, self.function("__vdso_clock_gettime", fn (i32, *Timespec) callconv(.c) i32)(clock, &ts));
        try expect(ts.nsec >= 0 and ts.nsec < ns_per_s);
        return @intCast(ts.sec * ns_per_s + ts.nsec);
    }
};

fn rdtsc() u64 {
    var low: u32 = undefined;
    var high: u32 = undefined;
    asm volatile ("lfence; rdtsc"
        : [low] "={eax}" (low),
          [high] "={edx}" (high),
    );
    return @as(u64, high) << 32 | low;
}

fn hostNs(clock: linux.clockid_t) u64 {
    var ts: linux.timespec = undefined;
    _ = linux.clock_gettime(clock, &ts);
    return @intCast(ts.sec * ns_per_s + ts.nsec);
}

/// Parameters that agree with the host's clocks, well enough for a test.
fn hostParameters() Parameters {
    const start_tsc = rdtsc();
    const start_ns = hostNs(.MONOTONIC);
    while (hostNs(.MONOTONIC) < start_ns + 20 * std.time.ns_per_ms) {}
    const end_tsc = rdtsc();
    const end_ns = hostNs(.MONOTONIC);
    const hertz = @as(f64, @floatFromInt(end_tsc - start_tsc)) * 1e9 / @as(f64, @floatFromInt(end_ns - start_ns));
    // On a busy machine the thread may lose the processor between the counter and a clock: then again.
    while (true) {
        const before = hostNs(.MONOTONIC);
        var parameters: Parameters = .{
            .flags = parameters_module.flag_clocks | parameters_module.flag_cpu,
            .cpu = 3,
            .node = 1,
            .tsc_base = rdtsc(),
            .realtime_ns = @intCast(hostNs(.REALTIME)),
            .monotonic_ns = @intCast(hostNs(.MONOTONIC)),
            .monotonic_raw_ns = @intCast(hostNs(.MONOTONIC_RAW)),
            .boottime_ns = @intCast(hostNs(.BOOTTIME)),
            .tai_ns = @intCast(hostNs(tai)),
        };
        parameters.setScale(.fromHertz(hertz));
        if (hostNs(.MONOTONIC) - before < std.time.ns_per_ms) return parameters;
    }
}

test "the image is one read-only segment that can be copied byte by byte" {
    try expect(image_file.len <= image_pages_max * limits.page_size);
    const image = elf.parse(image_file, .{}).image;
    try expectEqual(1, image.segments().len);
    const segment = image.segments()[0];
    try expectEqual(0, segment.vaddr);
    try expectEqual(0, segment.offset);
    try expectEqual(segment.filesz, segment.memsz);
    try expect(segment.flags.read and segment.flags.execute and !segment.flags.write);
}

const clocks = [_]linux.clockid_t{ .REALTIME, .MONOTONIC, .MONOTONIC_RAW, .REALTIME_COARSE, .MONOTONIC_COARSE, .BOOTTIME, tai };
/// The standard library's list of clocks lacks it.
const tai: linux.clockid_t = @enumFromInt(11);

test "every clock agrees with the host's" {
    var loaded = try Loaded.init();
    defer loaded.deinit();
    loaded.page().publish(hostParameters());
    // Far coarser than the error, far finer than a wrong clock; a coarse clock of the host lags a tick behind.
    const tolerance_ns = 50 * std.time.ns_per_ms;
    for (clocks) |clock| {
        const before = hostNs(clock) -| tolerance_ns;
        const shown = try loaded.clockGettime(@intCast(@intFromEnum(clock)));
        try expect(shown >= before and shown <= hostNs(clock) + tolerance_ns);
    }
    const gettimeofday = loaded.function("__vdso_gettimeofday", fn (?*Timeval, ?*[2]i32) callconv(.c) i32);
    var tv: Timeval = undefined;
    var zone: [2]i32 = .{ -1, -1 };
    try expectEqual(0, gettimeofday(&tv, &zone));
    try expectEqual([2]i32{ 0, 0 }, zone);
    try expectEqual(0, gettimeofday(null, null));
    const seconds = loaded.function("__vdso_time", fn (?*i64) callconv(.c) i64);
    var stored: i64 = 0;
    const returned = seconds(&stored);
    try expectEqual(returned, stored);
    try expect(returned - tv.sec <= 1 and seconds(null) - returned <= 1);
}

test "getcpu and clock_getres" {
    var loaded = try Loaded.init();
    defer loaded.deinit();
    loaded.page().publish(hostParameters());
    const getcpu = loaded.function("__vdso_getcpu", fn (?*u32, ?*u32, ?*anyopaque) callconv(.c) i64);
    var cpu: u32 = 99;
    var node: u32 = 99;
    try expectEqual(0, getcpu(&cpu, &node, null));
    try expectEqual(3, cpu);
    try expectEqual(1, node);
    try expectEqual(0, getcpu(null, null, null));
    const getres = loaded.function("__vdso_clock_getres", fn (i32, ?*Timespec) callconv(.c) i32);
    var resolution: Timespec = undefined;
    try expectEqual(0, getres(0, &resolution));
    try expectEqual(Timespec{ .sec = 0, .nsec = 1 }, resolution);
    try expectEqual(0, getres(6, &resolution));
    try expectEqual(Timespec{ .sec = 0, .nsec = parameters_module.coarse_resolution_ns }, resolution);
    try expectEqual(0, getres(1, null));
}

test "time never runs back, also for a counter behind its base and over centuries" {
    var loaded = try Loaded.init();
    defer loaded.deinit();
    const parameters = hostParameters();
    loaded.page().publish(parameters);
    var last: u64 = 0;
    for (0..200_000) |_| {
        const now = try loaded.clockGettime(1);
        try expect(now >= last);
        last = now;
    }
    // A base that the counter reaches only later: time stands still instead of jumping.
    var ahead = parameters;
    ahead.tsc_base = rdtsc() + (1 << 40);
    loaded.page().publish(ahead);
    try expectEqual(@as(u64, @intCast(ahead.monotonic_ns)), try loaded.clockGettime(1));
    // A base of long ago: the product needs more than 64 bits.
    var behind = parameters;
    behind.tsc_base = rdtsc() -% (1 << 62);
    behind.monotonic_ns = 0;
    loaded.page().publish(behind);
    const low = behind.elapsedNs(rdtsc());
    const shown: i64 = @intCast(try loaded.clockGettime(1));
    try expect(low > 1 << 59 and shown >= low and shown <= behind.elapsedNs(rdtsc()));
}

test "what the page does not hold is a system call" {
    var loaded = try Loaded.init();
    defer loaded.deinit();
    // Another time than the host's, so that it shows who answered.
    var strange = hostParameters();
    strange.monotonic_ns = 1 << 60;
    loaded.page().publish(strange);
    try expect(try loaded.clockGettime(1) >= 1 << 60);
    try expect(try loaded.clockGettime(2) < 1 << 50); // CLOCK_PROCESS_CPUTIME_ID
    const clock_gettime = loaded.function("__vdso_clock_gettime", fn (i32, *Timespec) callconv(.c) i32);
    const getres = loaded.function("__vdso_clock_getres", fn (i32, ?*Timespec) callconv(.c) i32);
    var ts: Timespec = undefined;
    const invalid = -@as(i32, @intFromEnum(linux.E.INVAL));
    for ([_]i32{ 12, 4711, std.math.maxInt(i32) }) |clock| {
        try expectEqual(invalid, clock_gettime(clock, &ts));
        try expectEqual(invalid, getres(clock, &ts));
    }
    // A writer that never finishes must not hang a reader.
    loaded.page().sequence |= 1;
    try expect(try loaded.clockGettime(1) < 1 << 60);
    strange.flags = 0;
    loaded.page().publish(strange);
    try expect(try loaded.clockGettime(1) < 1 << 60);
    var cpu: u32 = 99999;
    try expectEqual(0, loaded.function("getcpu", fn (?*u32, ?*u32, ?*anyopaque) callconv(.c) i64)(&cpu, null, null));
    try expect(cpu != 99999);
}

test "C libraries find the functions: musl by hash table and version, others by the GNU hash" {
    // musl's __vdsosym: chain count of DT_HASH, DT_VERSYM against DT_VERDEF, all as offsets from the image's start.
    const wanted = [_][]const u8{ "__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu", "__vdso_clock_getres" };
    const tags = try Tags.read();
    for (wanted) |name| try expect(try tags.find(name, "LINUX_2.6"));
    try expect(!try tags.find("__vdso_clock_gettime", "LINUX_2.5"));
    try expect(!try tags.find("__vdso_nothing", "LINUX_2.6"));
    const soname = std.mem.sliceTo(image_file[tags.strings() + tags.value(14).? ..], 0);
    try std.testing.expectEqualStrings("linux-vdso.so.1", soname);
    try expect(tags.value(0x6fff_fef5) != null);
    // Nothing to relocate: no DT_RELA, DT_REL, DT_JMPREL, DT_TEXTREL.
    for ([_]u64{ 7, 17, 23, 22 }) |tag| try expectEqual(null, tags.value(tag));
}

const Tags = struct {
    entries: []const u8,

    fn read() !Tags {
        const header = elf.readStruct(elf.Header, image_file, 0).?;
        for (0..header.phnum) |index| {
            const ph = elf.readStruct(elf.ProgramHeader, image_file, header.phoff + index * @sizeOf(elf.ProgramHeader)).?;
            if (ph.type == elf.SegmentType.dynamic) return .{ .entries = image_file[ph.offset..][0..ph.filesz] };
        }
        return error.NoDynamicSegment;
    }

    fn value(self: Tags, tag: u64) ?u64 {
        for (0..self.entries.len / 16) |index| {
            const entry = elf.readStruct([2]u64, self.entries, index * 16).?;
            if (entry[0] == 0) return null;
            if (entry[0] == tag) return entry[1];
        }
        return null;
    }

    fn strings(self: Tags) u64 {
        return self.value(5).?;
    }

    fn find(self: Tags, name: []const u8, version: []const u8) !bool {
        const chains = elf.readStruct(u32, image_file, self.value(4).? + 4).?;
        for (0..chains) |index| {
            const entry = elf.readStruct(@import("symbols.zig").Entry, image_file, self.value(6).? + index * 24).?;
            if (entry.section == 0 or !std.mem.eql(u8, name, self.string(entry.name))) continue;
            const wanted = elf.readStruct(u16, image_file, self.value(0x6fff_fff0).? + index * 2).? & 0x7fff;
            if (std.mem.eql(u8, try self.versionName(wanted), version)) return true;
        }
        return false;
    }

    fn string(self: Tags, offset: u64) []const u8 {
        return std.mem.sliceTo(image_file[self.strings() + offset ..], 0);
    }

    fn versionName(self: Tags, wanted: u16) ![]const u8 {
        const Definition = extern struct { version: u16, flags: u16, index: u16, count: u16, hash: u32, auxiliary: u32, next: u32 };
        var at = self.value(0x6fff_fffc).?;
        while (true) {
            const definition = elf.readStruct(Definition, image_file, at).?;
            // Flag 1 is the entry of the file itself.
            if (definition.flags & 1 == 0 and definition.index & 0x7fff == wanted) {
                return self.string(elf.readStruct(u32, image_file, at + definition.auxiliary).?);
            }
            if (definition.next == 0) return error.NoSuchVersion;
            at += definition.next;
        }
    }
};
