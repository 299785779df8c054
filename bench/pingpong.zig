//! Round trips between two processes, beside which calls between machines are measured: what it costs to ask another
//! program where the scheduler has to wake it, and then the one that asked.
//!
//!     pristine-pingpong trips COUNT MILLISECONDS    COUNT round trips of each case at most, in that time at most; JSON
//!     pristine-pingpong spin COUNT                  COUNT processes that compute until standard input ends
//!
//! In each case the caller writes the argument, the callee adds it up and answers with the sum, which has to be the caller's.
//! No process is pinned to a core, and none polls: each sleeps in the kernel until the other wakes it.
const std = @import("std");
const linux = std.os.linux;

const Way = enum { socket, pipe, futex };
const ways = [_]Way{ .socket, .pipe, .futex };
const sizes = [_]usize{ 8, 1 << 20 };
/// Cases take turns, block by block, so that what disturbs the machine for a while disturbs them all.
const blocks = 10;
/// Not measured, at the start of each block: another case has had the caches since.
const warm_trips = 3;
const spinners_max = 1024;
const F_SETPIPE_SZ = 1031;

pub fn main(init: std.process.Init.Minimal) u8 {
    var arguments = init.args.iterate();
    _ = arguments.skip();
    const mode = arguments.next() orelse return misused();
    const count = number(arguments.next()) orelse return misused();
    const done = if (std.mem.eql(u8, mode, "spin"))
        spin(count)
    else if (std.mem.eql(u8, mode, "trips"))
        trips(count, number(arguments.next()) orelse return misused())
    else
        return misused();
    done catch |failure| {
        say(2, "pristine-pingpong: ") catch {};
        say(2, @errorName(failure)) catch {};
        say(2, "\n") catch {};
        return 1;
    };
    return 0;
}

fn misused() u8 {
    say(2, "usage: pristine-pingpong trips COUNT MILLISECONDS | spin COUNT\n") catch {};
    return 2;
}

fn number(word: ?[]const u8) ?u32 {
    const value = std.fmt.parseInt(u32, word orelse return null, 10) catch return null;
    return if (value == 0) null else value;
}

/// Descriptors of one process: the two of a socket are the same.
const Stream = struct {
    in: i32,
    out: i32,

    fn pair(way: Way) ![2]Stream {
        var there: [2]i32 = undefined;
        if (way == .socket) {
            _ = try check(linux.socketpair(linux.AF.UNIX, linux.SOCK.STREAM, 0, &there));
            return .{ .{ .in = there[0], .out = there[0] }, .{ .in = there[1], .out = there[1] } };
        }
        var back: [2]i32 = undefined;
        _ = try check(linux.pipe2(&there, .{}));
        _ = try check(linux.pipe2(&back, .{}));
        // Else a large argument goes through in sixteen parts; where it is not allowed, in those.
        _ = linux.fcntl(there[1], F_SETPIPE_SZ, sizes[sizes.len - 1]);
        return .{ .{ .in = back[0], .out = there[1] }, .{ .in = there[0], .out = back[1] } };
    }

    fn ask(self: Stream, words: []const u64) !u64 {
        try say(self.out, std.mem.sliceAsBytes(words));
        var sum: u64 = 0;
        try receive(self.in, std.mem.asBytes(&sum));
        return sum;
    }

    fn serve(self: Stream, words: []u64) !noreturn {
        while (true) {
            try receive(self.in, std.mem.sliceAsBytes(words));
            const sum = add(words);
            try say(self.out, std.mem.asBytes(&sum));
        }
    }
};

/// The words that two processes wait on, each in a cache line of its own as one who wants it fast has them.
const Bell = extern struct {
    asked: u32 align(64) = 0,
    answered: u32 align(64) = 0,
    sum: u64 = 0,

    fn ask(self: *Bell) u64 {
        const before = @atomicLoad(u32, &self.answered, .acquire);
        ring(&self.asked);
        wait(&self.answered, before);
        return self.sum;
    }

    fn serve(self: *Bell, words: []const u64) noreturn {
        var seen: u32 = 0;
        while (true) : (seen +%= 1) {
            wait(&self.asked, seen);
            self.sum = add(words);
            ring(&self.answered);
        }
    }

    fn ring(word: *u32) void {
        _ = @atomicRmw(u32, word, .Add, 1, .release);
        _ = linux.futex_3arg(word, .{ .cmd = .WAKE, .private = false }, 1);
    }

    /// Until the word is another. The kernel looks at it too, so that no wake is missed.
    fn wait(word: *const u32, old: u32) void {
        while (@atomicLoad(u32, word, .acquire) == old)
            _ = linux.futex_4arg(word, .{ .cmd = .WAIT, .private = false }, old, null);
    }
};

const Case = struct {
    way: Way,
    /// The argument: common memory of a futex pair, the process's own otherwise.
    words: []u64,
    bell: *Bell,
    stream: Stream,
    callee: linux.pid_t,
    samples: []u64,
    taken: usize = 0,
    seed: u64 = 0,

    fn open(way: Way, bytes: usize, count: usize) !Case {
        const words = try map(u64, bytes / 8, way == .futex);
        const bell = &(try map(Bell, 1, true))[0];
        const ends: [2]Stream = if (way == .futex) @splat(.{ .in = -1, .out = -1 }) else try Stream.pair(way);
        const callee = try forkEndingWithParent() orelse switch (way) {
            .futex => bell.serve(words),
            // The caller's end says what has become of this one.
            .socket, .pipe => ends[1].serve(words) catch linux.exit_group(1),
        };
        return .{ .way = way, .words = words, .bell = bell, .stream = ends[0], .callee = callee, .samples = try map(u64, count, false) };
    }

    /// Nanoseconds from before the first byte is written until the answer is there.
    fn trip(self: *Case) !u64 {
        self.seed +%= 1;
        const began = now();
        const expected = fill(self.words, self.seed);
        const sum = if (self.way == .futex) self.bell.ask() else try self.stream.ask(self.words);
        const took = now() - began;
        return if (sum == expected) took else error.WrongSum;
    }

    /// At least one trip, whatever time there is.
    fn block(self: *Case, index: usize, nanoseconds: u64) !void {
        const until = self.samples.len * (index + 1) / blocks;
        const began = now();
        for (0..warm_trips) |_| _ = try self.trip();
        while (self.taken < @max(until, 1)) {
            self.samples[self.taken] = try self.trip();
            self.taken += 1;
            if (now() - began >= nanoseconds) break;
        }
    }

    fn report(self: *Case, text: []u8) ![]u8 {
        const sorted = self.samples[0..self.taken];
        std.sort.pdq(u64, sorted, {}, std.sort.asc(u64));
        return std.fmt.bufPrint(text,
            \\{{"way":"{s}","bytes":{d},"n":{d},"p50":{d},"p99":{d},"p999":{d},"min":{d}}}
        , .{ @tagName(self.way), self.words.len * 8, sorted.len, part(sorted, 500), part(sorted, 990), part(sorted, 999), sorted[0] });
    }
};

fn part(sorted: []const u64, thousandths: usize) u64 {
    return sorted[@min(sorted.len - 1, sorted.len * thousandths / 1000)];
}

fn trips(count: u32, milliseconds: u32) !void {
    // A callee that is gone would be waited for without end.
    handleChildren(.{ .handler = calleeEnded });
    var cases: [ways.len * sizes.len]Case = undefined;
    for (&cases, 0..) |*case, index| case.* = try .open(ways[index / sizes.len], sizes[index % sizes.len], count);
    const nanoseconds = @as(u64, milliseconds) * std.time.ns_per_ms / blocks;
    for (0..blocks) |index| {
        for (&cases) |*case| try case.block(index, nanoseconds);
    }
    handleChildren(.{ .handler = linux.SIG.DFL });
    for (cases) |case| end(case.callee);
    var text: [512]u8 = undefined;
    for (&cases, 0..) |*case, index| {
        try say(1, if (index == 0) "[" else ",\n ");
        try say(1, try case.report(&text));
    }
    try say(1, "]\n");
}

fn handleChildren(handler: @FieldType(linux.Sigaction, "handler")) void {
    const action: linux.Sigaction = .{ .handler = handler, .mask = std.mem.zeroes(linux.sigset_t), .flags = linux.SA.RESTART };
    _ = linux.sigaction(.CHLD, &action, null);
}

fn calleeEnded(_: linux.SIG) callconv(.c) void {
    say(2, "pristine-pingpong: a callee has ended\n") catch {};
    linux.exit_group(1);
}

fn spin(count: u32) !void {
    if (count > spinners_max) return error.TooMany;
    var spinners: [spinners_max]linux.pid_t = undefined;
    for (spinners[0..count]) |*spinner| spinner.* = try forkEndingWithParent() orelse while (true) {
        // Not `pause`: hypervisors take it as an offer to give the core to another.
        asm volatile ("");
    };
    // Who starts this measures from here on.
    try say(1, "spinning\n");
    var byte: [1]u8 = undefined;
    while (true) {
        const got = linux.read(0, &byte, 1);
        if (got != 1 and linux.errno(got) != .INTR) break;
    }
    for (spinners[0..count]) |spinner| end(spinner);
}

/// The child's pid, or null in the child, which the kernel ends with this process, however that ends.
fn forkEndingWithParent() !?linux.pid_t {
    const parent = linux.getpid();
    const pid = try check(linux.fork());
    if (pid != 0) return @intCast(pid);
    _ = linux.prctl(@intFromEnum(linux.PR.SET_PDEATHSIG), @intFromEnum(linux.SIG.KILL), 0, 0, 0);
    if (linux.getppid() != parent) linux.exit_group(1);
    return null;
}

fn end(pid: linux.pid_t) void {
    _ = linux.kill(pid, .KILL);
    var status: u32 = 0;
    while (linux.errno(linux.waitpid(pid, &status, 0)) == .INTR) {}
}

/// Other words each time, so that what was read too early or twice has another sum.
fn fill(words: []u64, seed: u64) u64 {
    var sum: u64 = 0;
    for (words, 0..) |*word, index| {
        const value = seed *% 0x9e37_79b9_7f4a_7c15 +% index;
        word.* = value;
        sum +%= value;
    }
    return sum;
}

fn add(words: []const u64) u64 {
    var sum: u64 = 0;
    for (words) |word| sum +%= word;
    return sum;
}

fn map(comptime T: type, count: usize, is_common: bool) ![]T {
    const flags: linux.MAP = .{ .TYPE = if (is_common) .SHARED else .PRIVATE, .ANONYMOUS = true };
    const address = try check(linux.mmap(null, count * @sizeOf(T), .{ .READ = true, .WRITE = true }, flags, -1, 0));
    return @as([*]T, @ptrFromInt(address))[0..count];
}

fn say(fd: i32, bytes: []const u8) !void {
    var rest = bytes;
    while (rest.len > 0) rest = rest[try check(linux.write(fd, rest.ptr, rest.len))..];
}

fn receive(fd: i32, bytes: []u8) !void {
    var rest = bytes;
    while (rest.len > 0) {
        const got = try check(linux.read(fd, rest.ptr, rest.len));
        if (got == 0) return error.EndOfStream;
        rest = rest[got..];
    }
}

fn check(rc: usize) !usize {
    return if (linux.errno(rc) == .SUCCESS) rc else error.HostFailure;
}

fn now() u64 {
    var ts: linux.timespec = undefined;
    _ = linux.clock_gettime(.MONOTONIC, &ts);
    return @as(u64, @intCast(ts.sec)) * std.time.ns_per_s + @as(u64, @intCast(ts.nsec));
}
