//! Hostile system calls on a real machine's kernel with a temporary host folder granted in part: single calls with bad
//! arguments, and sequences over few descriptors, addresses and paths. After each, what must hold is checked
//! (`invariants.zig`); mistakes planted into the kernel (`canaries.zig`) must be found.
//!
//! PRISTINE_FUZZ_ITERATIONS and PRISTINE_FUZZ_SEED make it longer or repeat a run; see docs/fuzzing.md.
const std = @import("std");
const linux = std.os.linux;
const arguments = @import("arguments.zig");
const call_module = @import("../call.zig");
const canaries = @import("../canaries.zig");
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const invariants = @import("invariants.zig");
const layers_setup = @import("../../abi/layers_setup.zig");
const limits = @import("../../limits.zig");
const machine_test = @import("../../machine_test.zig");
const sandbox_module = @import("sandbox.zig");
const settings = @import("settings.zig");
const table = @import("../table.zig");
const thread_calls = @import("../thread_calls.zig");
const trace = @import("../trace.zig");
const waiting = @import("../waiting.zig");
const Machine = @import("../../machine.zig").Machine;
const Sandbox = sandbox_module.Sandbox;
const testing = std.testing;
const violated = invariants.violated;

const iterations_default = 20_000;
const iterations_canary_max = 150_000;
/// Calls on one machine; the next one starts anew, so that a failure is repeated quickly.
const calls_per_machine = 2_500;
const calls_per_audit = 16;
const signals_max = 1_000;
const calls_per_layout = 64;
/// Files may not grow beyond this on the host, whatever is asked for.
const file_bytes_max = limits.MiB;

const Mode = enum { arguments, sequences };

/// What a sequence is made of: calls that act on the same few things.
const sequence_calls = [_]u32{ 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9, 10, 10, 11, 11, 12, 16, 17, 18, 19, 20, 21, 22, 23, 25, 25, 28, 28, 32, 33, 40, 72, 76, 77, 80, 81, 82, 82, 83, 84, 85, 86, 87, 88, 89, 90, 213, 217, 232, 232, 233, 233, 233, 257, 257, 262, 263, 264, 265, 266, 267, 280, 281, 283, 285, 286, 287, 289, 290, 291, 292, 293, 295, 316, 332, 436, 439 } ++ socket_calls;
const socket_calls = [_]u32{ 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 288, 299, 307 };

const protected = [_][]const u8{ "closed", "look", "open/denied", "open/deep/frozen" };

fn furnish(sandbox: *const Sandbox) !void {
    for ([_][]const u8{ "open", "open/sub", "open/deep", "open/deep/frozen", "open/denied", "look", "look/sub", "closed", "drop" }) |name| try sandbox.directory(name);
    for ([_][]const u8{ "open/file", "open/sub/inner", "look/file", "look/other", "look/sub/file" }) |name| try sandbox.file(name, "visible " ** 600);
    for ([_][]const u8{ "open/denied/secret", "closed/secret", "drop/secret" }) |name| try sandbox.file(name, sandbox_module.secret);
    try sandbox.file("open/deep/frozen/keep", "kept");
    try sandbox.fifo("open/fifo");
    const base = sandbox.base();
    var buffer: [256]u8 = undefined;
    try sandbox.link("open/up", "../closed/secret");
    try sandbox.link("open/absolute", try std.fmt.bufPrint(&buffer, "{s}/closed", .{base}));
    try sandbox.link("open/look", "../look");
    try sandbox.link("open/loop", "loop");
    try sandbox.link("open/dangling", "sub/created");
    try sandbox.link("look/link", "../open/file");
}

const relative_paths = [_][]const u8{ "open", "open/file", "open/sub", "open/sub/inner", "open/sub/created", "open/new", "open/other", "open/deep", "open/deep/frozen", "open/deep/frozen/keep", "open/denied", "open/denied/secret", "open/fifo", "open/up", "open/absolute", "open/absolute/secret", "open/look", "open/look/file", "open/loop", "open/dangling", "look", "look/file", "look/link", "look/new", "look/sub", "look/sub/new", "nowhere/cache", "nowhere/cache/new", "closed", "closed/secret", "drop", "drop/secret", "drop/new", "open/../closed/secret", "open/deep2", "open/deep2/frozen/keep", "open/sub/../../look/file", "open/file/", "open/sub/" };
const fixed_paths = [_][]const u8{ "/", ".", "..", "", "file", "sub", "../closed/secret", "/dev/null", "/dev/zero", "/dev/full", "/dev/stdin", "/dev/fd/3", "/pristine/guest", "/pristine/remote/x:y", "/proc/self/maps", "/proc/self/exe", "/proc/self/fd", "/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/5/inner", "/proc/self/root/etc/passwd", "/proc/self/cwd", "/proc/self/environ", "/proc/1/root", "/etc/passwd", "/nowhere/at/all", "///", "/tmp", "/tmp/a", "/tmp/a/b", "/tmp/b", "/tmp/a/b/..", "/dev/shm/c", "/var/tmp/d/", "a" ** 300, "x/" ** 2047, "\xff\xfe/\x01" };

const Fuzzer = struct {
    machine: *Machine,
    sandbox: *const Sandbox,
    source: arguments.Source,
    mode: Mode,
    quiet: bool,
    host_descriptors: usize,
    protected: u64,
    before: [arguments.data_bytes]u8 = undefined,
    opened_before: usize = 0,
    call: *const call_module.Call = undefined,
    args: [6]u64 = undefined,

    fn outside(sandbox: *const Sandbox) u64 {
        var sum: u64 = 0;
        for (protected) |name| sum = sum *% 31 +% sandbox.fingerprint(name);
        return sum;
    }

    fn choose(self: *Fuzzer) void {
        const random = self.source.random;
        while (true) {
            const number = if (self.mode == .arguments) random.uintLessThan(u32, limits.system_call_numbers) else sequence_calls[random.uintLessThan(usize, sequence_calls.len)];
            // These end the program or take registers from a frame that is not there.
            if (number == 60 or number == 231 or number == 15) continue;
            self.call = table.find(number) orelse continue;
            break;
        }
        for (&self.args, 0..) |*value, index| value.* = self.source.argument(if (index < self.call.shapes.len) self.call.shapes[index] else null);
        if (self.changesMappings() and random.uintLessThan(u8, 8) > 0) {
            const range = self.source.mapping();
            self.args[0] = range.start;
            self.args[1] = range.length;
            if (self.call.number == 25) {
                const other = self.source.mapping();
                self.args[2] = other.length;
                self.args[3] = random.uintLessThan(u64, 4);
                self.args[4] = other.start;
            }
            if (self.call.number == 28) self.args[2] = ([_]u64{ 4, 18, 19, 8, 0 })[random.uintLessThan(usize, 5)];
        }
        if (self.call.number == 12 and random.boolean()) self.args[0] = self.machine.space.brk_start +% random.uintLessThan(u64, 0x40000) -% 0x1000;
    }

    fn changesMappings(self: *const Fuzzer) bool {
        return switch (self.call.number) {
            9, 10, 11, 25, 28 => true,
            else => false,
        };
    }

    /// The data region as it is; null unless it is wholly there.
    fn data(self: *Fuzzer) ?[]u8 {
        const space = &self.machine.space;
        const vma = space.vmas.find(arguments.data_base) orelse return null;
        if (!vma.rights.write or vma.end < arguments.data_base + arguments.data_bytes) return null;
        const piece = space.pieceAnyRights(arguments.data_base, arguments.data_bytes, .read) orelse return null;
        return if (piece.steady and piece.bytes.len == arguments.data_bytes) piece.bytes else null;
    }

    fn step(self: *Fuzzer) !void {
        const k = &self.machine.kernel;
        self.choose();
        const snapshot = self.data();
        if (snapshot) |bytes| @memcpy(&self.before, bytes);
        self.opened_before = opened(self.machine);
        self.chooseThread();
        const result = self.dispatch();
        if (self.source.random.uintLessThan(u8, 8) == 0) try self.describe(result);
        k.forgetStop();
        k.segments = null;
        k.registers_replaced = false;
        self.machine.space.out_of_memory = false;
        // A timer with a short period sends them without end.
        for (0..signals_max) |_| if (k.nextSignal() == null) break;
        try self.checkResult(result);
        if (snapshot != null and !self.changesMappings() and self.call.number != 12) try self.checkWritten(result);
        try self.checkReadonly();
    }

    /// Any thread may be the one that calls.
    fn chooseThread(self: *Fuzzer) void {
        const threads = &self.machine.kernel.threads;
        const chosen = threads.list.items[self.source.random.uintLessThan(usize, threads.list.items.len)];
        if (chosen.isAlive()) threads.current = chosen;
    }

    /// What waits is tried again, and then given up as if for a signal; what ends a thread ends it unless it is the last.
    fn dispatch(self: *Fuzzer) i64 {
        const k = &self.machine.kernel;
        var result = table.dispatch(k, self.call.number, self.args);
        k.made = null;
        if (result == waiting.blocked) {
            const thread = k.threads.current;
            result = table.again(k) orelse kernel_module.fail(.INTR);
            k.letGo(thread);
            thread.call = .{};
            thread.asks.clear();
            thread.signals.endTemporaryMask();
            k.threads.wake(thread);
        }
        if (k.ends_thread) {
            k.ends_thread = false;
            if (k.threads.countAlive() > 1) thread_calls.endCurrent(k);
        }
        k.gives_way = false;
        return result;
    }

    fn describe(self: *Fuzzer, result: i64) !void {
        var out: std.Io.Writer.Allocating = .init(testing.allocator);
        defer out.deinit();
        try trace.write(&out.writer, self.machine.kernel.memory, self.call.number, self.args, result);
    }

    fn opened(machine: *const Machine) usize {
        var count: usize = 0;
        for (machine.kernel.files.slots.items) |slot| count += @intFromBool(slot.description != null);
        return count;
    }

    fn checkResult(self: *Fuzzer, result: i64) !void {
        const errno_max = 133;
        if (result < -errno_max) return violated(self.quiet, "{s} answered {d}", .{ self.call.name, result });
        const now = opened(self.machine);
        if (result < 0 and now > self.opened_before) return violated(self.quiet, "{s} failed with {d} and opened a descriptor", .{ self.call.name, result });
        if (result < 0) return;
        const files = &self.machine.kernel.files;
        switch (self.call.number) {
            2, 32, 33, 85, 213, 257, 282, 283, 284, 289, 290, 291, 292 => if (files.get(@intCast(result)) == null) return violated(self.quiet, "{s} answered {d}, which is not open", .{ self.call.name, result }),
            3 => if (now + 1 != self.opened_before) return violated(self.quiet, "close closed nothing", .{}),
            9, 25 => if (self.machine.space.vmas.find(@intCast(result)) == null) return violated(self.quiet, "{s} answered {x}, where nothing is", .{ self.call.name, result }),
            else => for (self.call.shapes, 0..) |shape, index| {
                if (shape != .bytes_out or index + 1 >= self.call.shapes.len) continue;
                if (self.call.shapes[index + 1] == .size and result > self.args[index + 1]) return violated(self.quiet, "{s} answered {d} of {d} bytes", .{ self.call.name, result, self.args[index + 1] });
            },
        }
    }

    /// Nothing was written outside what the call was given.
    fn checkWritten(self: *Fuzzer, result: i64) !void {
        const after = self.data() orelse return;
        var at: usize = 0;
        while (std.mem.indexOfDiff(u8, after[at..], self.before[at..])) |offset| {
            at += offset;
            if (!self.mayBeWritten(arguments.data_base + at, result)) return violated(self.quiet, "{s} wrote {x}, answer {d}, arguments {any}", .{ self.call.name, arguments.data_base + at, result, self.args });
            at += 1;
        }
    }

    fn mayBeWritten(self: *const Fuzzer, address: u64, result: i64) bool {
        const structure_max = 512;
        const shapes = self.call.shapes;
        if (self.call.number == 19 or self.call.number == 295) return self.isInVector(address);
        // Where a message goes is in memory that it may have changed itself.
        if (self.call.number == 47 or self.call.number == 299) return true;
        for (shapes, 0..) |shape, index| {
            // Some commands of fcntl take an address.
            const commanded = self.call.number == 72 and index == 2;
            if (shape != .address and shape != .bytes_out and shape != .message and !commanded) continue;
            const events = index == 1 and (self.call.number == 232 or self.call.number == 281 or self.call.number == 441);
            const sized = shape == .bytes_out or switch (self.call.number) {
                79, 127, 217, 267 => true,
                else => false,
            };
            const polls = self.call.number == 7 or self.call.number == 271 and index == 0;
            const size = if (polls) self.args[1] *| 8 else if (events) self.args[2] *| 12 else if (self.call.number == 307) (self.args[2] & 0xffff_ffff) * 64 else if (sized) self.args[index + 1] else structure_max;
            const most = if (shape == .bytes_out and result >= 0) @min(size, @as(u64, @intCast(result))) else size;
            if (address >= self.args[index] and address - self.args[index] < most) return true;
        }
        return false;
    }

    fn isInVector(self: *const Fuzzer, address: u64) bool {
        // The list itself may have been written over by the transfer, so it is read from the bytes before.
        var at = self.args[1];
        for (0..@min(self.args[2], limits.vector_max_pieces)) |_| {
            if (at < arguments.data_base or at + 16 > arguments.data_base + arguments.data_bytes) return true;
            const base = std.mem.readInt(u64, self.before[at - arguments.data_base ..][0..8], .little);
            const length = std.mem.readInt(u64, self.before[at - arguments.data_base + 8 ..][0..8], .little);
            if (address >= base and address - base < length) return true;
            at += 16;
        }
        return false;
    }

    fn checkReadonly(self: *Fuzzer) !void {
        const space = &self.machine.space;
        const vma = space.vmas.find(arguments.readonly_page) orelse return;
        if (vma.rights.write or !vma.rights.read or self.mode == .sequences and self.changesMappings()) return;
        const piece = space.pieceAnyRights(arguments.readonly_page, limits.page_size, .read) orelse return;
        if (!piece.steady) return;
        const bytes = piece.bytes;
        if (!std.mem.allEqual(u8, bytes, arguments.readonly_byte)) return violated(self.quiet, "{s} wrote to a read-only page", .{self.call.name});
    }

    fn audit(self: *Fuzzer) !void {
        try invariants.mappings(self.machine, self.quiet);
        try invariants.frames(self.machine, self.quiet);
        const kernel = &self.machine.kernel;
        const held = try invariants.descriptors(&kernel.files, kernel.program_file, self.quiet) + try invariants.mappedFiles(self.machine) + try invariants.privateContents(self.machine, self.quiet);
        const now = invariants.hostDescriptors();
        if (now != self.host_descriptors + held) return violated(self.quiet, "{d} host descriptors, {d} of them for {d} files", .{ now, now -% self.host_descriptors, held });
        if (self.data()) |bytes| if (std.mem.indexOf(u8, bytes, sandbox_module.secret[0..9]) != null) return violated(self.quiet, "a secret was read", .{});
        if (outside(self.sandbox) != self.protected) return violated(self.quiet, "something that is not granted was changed", .{});
    }

    /// Whatever the calls before have done to the regions, they are there again.
    fn layOut(self: *Fuzzer) !void {
        const space = &self.machine.space;
        const rw: @import("../../memory/vma.zig").Rights = .{ .read = true, .write = true };
        try space.unmap(arguments.data_base, arguments.closed_page + limits.page_size);
        try space.map(.{ .start = arguments.data_base, .end = arguments.data_base + arguments.data_bytes, .rights = rw, .kind = .anonymous });
        try space.map(.{ .start = arguments.writable_page, .end = arguments.readonly_page, .rights = rw, .kind = .anonymous });
        try space.map(.{ .start = arguments.readonly_page, .end = arguments.readonly_page + limits.page_size, .rights = .{ .read = true }, .kind = .anonymous });
        try space.map(.{ .start = arguments.closed_page, .end = arguments.closed_page + limits.page_size, .rights = .{}, .kind = .anonymous });
        try space.writeAnyRights(arguments.readonly_page, &@as([limits.page_size]u8, @splat(arguments.readonly_byte)));
    }

    fn openStreams(self: *Fuzzer) !void {
        const files = &self.machine.kernel.files;
        for (0..files.slots.items.len) |index| _ = files.close(@intCast(index));
        for (0..3) |index| try files.put(index, try files.create(.{ .device = if (index == 0) .zero else .null }, 2, "/dev/null"), false);
    }
};

/// One machine's worth of calls.
fn runOne(mode: Mode, seed: u64, calls: u64, quiet: bool) !void {
    var generator = std.Random.DefaultPrng.init(seed);
    const sandbox = try Sandbox.create();
    defer sandbox.remove();
    try furnish(&sandbox);
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const machine = try machine_test.bootCode(&.{0x90}, 16 * limits.MiB);
    defer machine.destroy();
    const files = &machine.kernel.files;
    const name = struct {
        fn of(allocator: std.mem.Allocator, box: *const Sandbox, relative: []const u8) ![]const u8 {
            return std.fmt.allocPrint(allocator, "{s}/{s}", .{ box.base(), relative });
        }
    }.of;
    const a = arena.allocator();
    files.scope.permissions = .{
        .read = .{ .paths = try a.dupe([]const u8, &.{ try name(a, &sandbox, "open"), try name(a, &sandbox, "look") }) },
        .write = .{ .paths = try a.dupe([]const u8, &.{ try name(a, &sandbox, "open"), try name(a, &sandbox, "drop") }) },
        .deny_read = .{ .paths = try a.dupe([]const u8, &.{try name(a, &sandbox, "open/denied")}) },
        .deny_write = .{ .paths = try a.dupe([]const u8, &.{ try name(a, &sandbox, "open/denied"), try name(a, &sandbox, "open/deep/frozen") }) },
    };
    // What may be read there is changed as well, and stays as it is on the host.
    if (seed % 2 == 0) try layers_setup.add(&machine.kernel, &.{ try name(a, &sandbox, "look"), try name(a, &sandbox, "nowhere/cache") });
    var all: std.ArrayList([]const u8) = .empty;
    try all.appendSlice(a, &fixed_paths);
    for (relative_paths) |relative| try all.append(a, try name(a, &sandbox, relative));
    var fuzzer: Fuzzer = .{
        .machine = machine,
        .sandbox = &sandbox,
        .source = .{ .random = generator.random(), .machine = machine, .paths = all.items, .plausible = mode == .sequences },
        .mode = mode,
        .quiet = quiet,
        .host_descriptors = invariants.hostDescriptors(),
        .protected = Fuzzer.outside(&sandbox),
    };
    const old = limitFiles();
    defer _ = linux.setrlimit(.FSIZE, &old);
    for (0..calls) |index| {
        if (index % calls_per_layout == 0) try fuzzer.layOut();
        if (index % (8 * calls_per_layout) == 0) try fuzzer.openStreams();
        try fuzzer.step();
        if (index % calls_per_audit == 0) try fuzzer.audit();
    }
    try fuzzer.audit();
}

/// The host must not fill its disk for a fuzzer.
fn limitFiles() linux.rlimit {
    host.ignoreFileSizeSignal();
    var old: linux.rlimit = undefined;
    _ = linux.getrlimit(.FSIZE, &old);
    _ = linux.setrlimit(.FSIZE, &.{ .cur = file_bytes_max, .max = old.max });
    return old;
}

fn fuzz(mode: Mode) !void {
    const first_seed = settings.seed();
    const machines = settings.rounds(iterations_default / calls_per_machine, calls_per_machine);
    for (0..machines) |index| runOne(mode, first_seed + index, calls_per_machine, false) catch |failure| {
        if (failure != error.SkipZigTest) std.debug.print("failed with PRISTINE_FUZZ_SEED={d} PRISTINE_FUZZ_ITERATIONS=1\n", .{first_seed + index});
        return failure;
    };
}

test "hostile arguments are answered, and nothing is touched that was not given" {
    try fuzz(.arguments);
}

test "random sequences of calls leave the kernel and the host as they must be" {
    try fuzz(.sequences);
}

test "a planted mistake is found, whichever it is" {
    defer canaries.active = .none;
    for (std.enums.values(canaries.Canary)) |canary| {
        switch (canary) {
            .none, .components_ignored, .denial_ignored, .climbing_allowed => continue,
            .whiteout_forgotten, .folder_covered, .layer_unchecked => continue,
            else => {},
        }
        canaries.active = canary;
        const found = for (0..iterations_canary_max / calls_per_machine) |index| {
            const mode: Mode = if (index % 2 == 0) .sequences else .arguments;
            runOne(mode, 1 + index, calls_per_machine, true) catch |failure| if (failure == error.Violation) break index else return failure;
        } else null;
        canaries.active = .none;
        if (found == null) {
            std.debug.print("not found: {t}\n", .{canary});
            return error.CanaryMissed;
        }
        if (settings.number("PRISTINE_FUZZ_VERBOSE", 0) != 0) std.debug.print("{t} found on machine {d}\n", .{ canary, found.? });
    }
}
