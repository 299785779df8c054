//! Hostile system calls: random numbers from the table with random and pointed arguments, thousands of times, on one
//! machine. Whatever comes, the VMM answers and goes on; its own checks (ReleaseSafe, assertions) find what is wrong.
//! PRISTINE_FUZZ_ITERATIONS and PRISTINE_FUZZ_SEED make it longer or repeat a run.
const std = @import("std");
const call_module = @import("call.zig");
const interrupt_module = @import("../interrupt.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const machine_test = @import("../machine_test.zig");
const table = @import("table.zig");
const Machine = @import("../machine.zig").Machine;
const testing = std.testing;

const default_iterations = 20_000;
const data_base = 0x1000_0000;
const data_bytes = 64 * limits.KiB;

const texts = [_][]const u8{
    "/", ".", "..", "/dev/null", "/dev/zero", "/proc/self/maps", "/proc/self/exe", "/etc/passwd", "/usr", "/usr/../etc/shadow", "/nowhere/at/all", "", "/proc/self/fd/0", "///", "a" ** 300, "/usr/bin/..//./lib", "\xff\xfe/\x01", "/tmp", "/tmp/a", "/tmp/a/b", "/tmp/a/b/..", "/dev/shm/c", "/var/tmp/d/",
};

const Fuzzer = struct {
    random: std.Random,
    machine: *Machine,

    fn address(self: *Fuzzer) u64 {
        const r = self.random;
        return switch (r.uintLessThan(u8, 12)) {
            0...4 => data_base + r.uintLessThan(u64, data_bytes),
            5 => data_base + r.uintLessThan(u64, 16) * 4096,
            6 => data_base + data_bytes - r.uintLessThan(u64, 64),
            7 => 0x40_0000 + r.uintLessThan(u64, 0x3000),
            8 => layout.system_base + r.uintLessThan(u64, 0x10000),
            9 => layout.stack_top - r.uintLessThan(u64, 0x4000),
            10 => r.uintLessThan(u64, 0x1000),
            else => r.int(u64),
        };
    }

    fn number(self: *Fuzzer) u64 {
        const r = self.random;
        return switch (r.uintLessThan(u8, 9)) {
            0...2 => r.uintLessThan(u64, 12),
            3 => r.uintLessThan(u64, 5000),
            4 => @as(u64, 1) << r.int(u6),
            5 => (@as(u64, 1) << r.int(u6)) -% 1,
            6 => @bitCast(-@as(i64, r.uintLessThan(u32, 200))),
            7 => r.int(u32),
            else => r.int(u64),
        };
    }

    fn pathAddress(self: *Fuzzer) u64 {
        const text = texts[self.random.uintLessThan(usize, texts.len)];
        const at = data_base + self.random.uintLessThan(u64, data_bytes - 512);
        self.machine.space.writeAnyRights(at, text) catch return at;
        self.machine.space.writeAnyRights(at + text.len, &.{0}) catch return at;
        return at;
    }

    fn argument(self: *Fuzzer, shape: ?table.Shape) u64 {
        // One in eight arguments is of the wrong kind.
        if (self.random.uintLessThan(u8, 8) == 0) return if (self.random.boolean()) self.address() else self.number();
        return switch (shape orelse return self.number()) {
            .path => self.pathAddress(),
            .address, .bytes_in, .bytes_out => self.address(),
            .descriptor => self.random.uintLessThan(u64, 10),
            .directory_descriptor => if (self.random.boolean()) @bitCast(@as(i64, -100)) else self.random.uintLessThan(u64, 10),
            .size => if (self.random.boolean()) self.random.uintLessThan(u64, 9000) else self.number(),
            .signal => self.random.uintLessThan(u64, 70),
            .mode, .protection => self.random.uintLessThan(u64, 16),
            else => self.number(),
        };
    }
};

/// Would end the test: they stop the program or take registers from a frame that is not there.
fn isLeftOut(number: u32) bool {
    return number == 60 or number == 231 or number == 15;
}

fn setting(name: [*:0]const u8, default: u64) u64 {
    const text = std.c.getenv(name) orelse return default;
    return std.fmt.parseInt(u64, std.mem.span(text), 10) catch default;
}

test "hostile system calls are answered, every one" {
    const seed = setting("PRISTINE_FUZZ_SEED", 0x50524953);
    var generator = std.Random.DefaultPrng.init(seed);
    const machine = try machine_test.bootCode(&.{0x90}, 16 * limits.MiB);
    defer machine.destroy();
    var fuzzer: Fuzzer = .{ .random = generator.random(), .machine = machine };
    const k = &machine.kernel;
    k.files.scope.permissions = .{ .read = .{ .paths = &.{"/usr"} } };
    var calls: u64 = 0;
    const iterations = setting("PRISTINE_FUZZ_ITERATIONS", default_iterations);
    while (calls < iterations) : (calls += 1) {
        if (calls % 256 == 0) try resetMappings(machine);
        // Whatever would wait finds a reason to stop waiting.
        machine.interrupt.raise(interrupt_module.Reason.signal);
        var number: u32 = undefined;
        var entry: ?*const call_module.Call = null;
        while (entry == null) {
            number = fuzzer.random.uintLessThan(u32, limits.system_call_numbers);
            if (isLeftOut(number)) continue;
            entry = table.find(number);
        }
        var args: [6]u64 = undefined;
        for (&args, 0..) |*value, index| value.* = fuzzer.argument(if (index < entry.?.shapes.len) entry.?.shapes[index] else null);
        const result = table.dispatch(k, number, args);
        if (result < 0 and result < -4095) {
            std.debug.print("seed {d}, call {d}: {s} answered {d}\n", .{ seed, calls, entry.?.name, result });
            return error.TestUnexpectedResult;
        }
        k.stop = null;
        k.segments = null;
        k.registers_replaced = false;
        machine.space.out_of_memory = false;
        while (k.signals.next()) |_| {}
        try testing.expect(machine.frames.frames_used <= machine.frames.frames_max);
    }
}

/// Whatever the calls before have done to the data region, it is there again.
fn resetMappings(machine: *Machine) !void {
    try machine.space.unmap(data_base, data_base + data_bytes);
    try machine.space.map(.{ .start = data_base, .end = data_base + data_bytes, .rights = .{ .read = true, .write = true }, .kind = .anonymous });
    const k = &machine.kernel;
    for (0..k.files.slots.items.len) |index| _ = k.files.close(@intCast(index));
    for (0..3) |index| {
        const description = try k.files.create(.{ .device = if (index == 0) .zero else .null }, 2, "/dev/null");
        try k.files.put(index, description, false);
    }
}
