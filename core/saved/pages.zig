//! The pages of a snapshot, copied to where they are in the machine's memory: a group at a time.
//!
//! A group is read once: what is compared with its checksum is what was copied, whatever becomes of the file meanwhile. Nobody
//! sees what was copied before it was compared.
const std = @import("std");
const linux = std.os.linux;
const file_module = @import("file.zig");
const format = @import("format.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const File = file_module.File;
const Piece = @import("../memory/arrivals.zig").Piece;

const page = format.page;
/// What is copied at once stays in the processor's cache.
const piece_pages = 32;

pub const Error = file_module.Error || error{ OutOfMemory, HostFailure };

/// A page of the file: in which run, and how many of it come before.
const Place = struct { run: usize, done: u32 };

/// Pages of one checksum: the first, how many, and where they belong.
const Group = struct { first: u64, count: u32, start: Place };

const Failure = union(enum) { short, damaged: usize, unwanted, refused: linux.E };

pub const Pages = struct {
    allocator: std.mem.Allocator,
    runs: []const format.Run,
    sums: []const u64,
    groups: []const Group,
    /// How many of the groups are of hot pages.
    hot_groups: u32,

    /// Takes runs and sums over, on failure too.
    pub fn init(allocator: std.mem.Allocator, file: *const File, runs: []const format.Run, sums: []const u64) (file_module.Error || error{OutOfMemory})!Pages {
        errdefer {
            allocator.free(runs);
            allocator.free(sums);
        }
        const it = file.header.section(.pages);
        const count = it.length / page;
        const hot = file.header.hot_pages;
        if (it.length % page != 0 or hot > count) return file.invalid("header", "it has not as many pages as it says", .{});
        const hot_groups = groupsOf(hot);
        if (sums.len != hot_groups + groupsOf(count - hot)) return file.invalid("sums", "there are not as many as groups of pages", .{});
        var total: u64 = 0;
        for (runs) |run| {
            if (run.count == 0 or (@as(u64, run.frame) + run.count) * page > file.header.memory_extent) return file.invalid("runs", "one is outside of the memory", .{});
            total += run.count;
        }
        if (total != count) return file.invalid("runs", "there are not as many pages", .{});
        return .{ .allocator = allocator, .runs = runs, .sums = sums, .hot_groups = @intCast(hot_groups), .groups = try findGroups(allocator, runs, hot, count) };
    }

    fn groupsOf(count: u64) u64 {
        return std.math.divCeil(u64, count, format.group_pages) catch unreachable;
    }

    pub fn deinit(self: *Pages) void {
        self.allocator.free(self.runs);
        self.allocator.free(self.sums);
        self.allocator.free(self.groups);
        self.* = undefined;
    }

    /// Brings one group to a memfd.
    pub fn bring(self: *const Pages, file: *const File, memfd: i32, group: usize) ?Failure {
        if (file.isUnwanted()) return .unwanted;
        const it = &self.groups[group];
        const from = file.header.section(.pages).offset + it.first * page;
        var buffer: [piece_pages * page]u8 = undefined;
        var sum: format.Sum = .init(0);
        var place = it.start;
        var done: u32 = 0;
        while (done < it.count) {
            const bytes = buffer[0 .. @as(usize, @min(piece_pages, it.count - done)) * page];
            if (file.read(bytes, from + @as(u64, done) * page) < bytes.len) return .short;
            if (file.verifies) sum.update(bytes);
            place = self.scatter(memfd, place, bytes) catch return .{ .refused = host.last_errno };
            done += piece_pages;
        }
        if (!file.verifies or sum.final() == self.sums[group]) return null;
        self.takeBack(memfd, it);
        return .{ .damaged = group };
    }

    /// Nobody is to see what turned out damaged.
    fn takeBack(self: *const Pages, memfd: i32, group: *const Group) void {
        const mode = linux.FALLOC.FL_PUNCH_HOLE | linux.FALLOC.FL_KEEP_SIZE;
        var place = group.start;
        var left = group.count;
        while (left > 0) {
            const run = self.runs[place.run];
            const count = @min(left, run.count - place.done);
            _ = linux.fallocate(memfd, mode, @intCast((@as(u64, run.frame) + place.done) * page), @intCast(@as(u64, count) * page));
            left -= count;
            place = .{ .run = place.run + 1, .done = 0 };
        }
    }

    /// Where the next page belongs.
    fn scatter(self: *const Pages, memfd: i32, start: Place, bytes: []const u8) host.Error!Place {
        var place = start;
        var at: usize = 0;
        while (at < bytes.len) {
            const run = self.runs[place.run];
            const count: u32 = @intCast(@min(run.count - place.done, (bytes.len - at) / page));
            const length = count * page;
            const offset = (@as(u64, run.frame) + place.done) * page;
            var put: usize = 0;
            while (put < length) put += try host.check(linux.pwrite(memfd, bytes.ptr + at + put, length - put, @intCast(offset + put)));
            at += length;
            place.done += count;
            if (place.done == run.count) place = .{ .run = place.run + 1, .done = 0 };
        }
        return place;
    }

    /// The runs in the order of the frames; none of them may be there twice.
    pub fn pieces(self: *const Pages, file: *const File) (file_module.Error || error{OutOfMemory})![]Piece {
        const list = try self.allocator.alloc(Piece, self.runs.len);
        errdefer self.allocator.free(list);
        var position: u64 = 0;
        for (list, self.runs) |*piece, run| {
            piece.* = .{ .frame = run.frame, .count = run.count, .position = position };
            position += run.count;
        }
        std.mem.sort(Piece, list, {}, Piece.isBelow);
        var end: u64 = 0;
        for (list) |piece| {
            if (piece.frame < end) return file.invalid("runs", "a page is there twice", .{});
            end = @as(u64, piece.frame) + piece.count;
        }
        return list;
    }
};

pub fn explain(file: *const File, failure: Failure) Error {
    switch (failure) {
        .short => return file.invalid("pages", "it is cut short", .{}),
        .damaged => |group| return file.invalid("pages", "group {d} is damaged", .{group}),
        .unwanted => {
            try file.checkWanted();
            unreachable;
        },
        .refused => |errno| {
            host.last_errno = errno;
            return error.HostFailure;
        },
    }
}

fn findGroups(allocator: std.mem.Allocator, runs: []const format.Run, hot: u64, count: u64) error{OutOfMemory}![]Group {
    const list = try allocator.alloc(Group, @intCast(Pages.groupsOf(hot) + Pages.groupsOf(count - hot)));
    var place: Place = .{ .run = 0, .done = 0 };
    var first: u64 = 0;
    for (list) |*group| {
        const end = if (first < hot) hot else count;
        group.* = .{ .first = first, .count = @intCast(@min(format.group_pages, end - first)), .start = place };
        first += group.count;
        var left = group.count;
        while (left > 0) {
            const there = @min(left, runs[place.run].count - place.done);
            left -= there;
            place.done += there;
            if (place.done == runs[place.run].count) place = .{ .run = place.run + 1, .done = 0 };
        }
    }
    return list;
}

/// Brings the first groups on threads of its own, as many as there are processors to spare; `finish` helps them.
pub const Loading = struct {
    pages: *const Pages,
    file: *const File,
    memfd: i32,
    count: u32,
    threads: [limits.snapshot_threads_max]?std.Thread = @splat(null),
    next: std.atomic.Value(usize) = .init(0),
    lock: host.Mutex = .{},
    /// The first one.
    failure: ?Failure = null,

    /// It must stay where it is until `finish`.
    pub fn begin(self: *Loading) void {
        const processors = std.Thread.getCpuCount() catch 1;
        const helpers = @min(self.threads.len, processors -| 1, self.count);
        // One that cannot be started is not needed.
        for (self.threads[0..helpers]) |*thread| thread.* = std.Thread.spawn(.{ .stack_size = limits.runner_stack_bytes }, work, .{self}) catch null;
    }

    pub fn finish(self: *Loading) Error!void {
        self.work();
        self.join();
        return explain(self.file, self.failure orelse return);
    }

    /// What is not brought yet is not wanted.
    pub fn giveUp(self: *Loading) void {
        self.next.store(self.count, .monotonic);
        self.join();
    }

    fn join(self: *Loading) void {
        for (&self.threads) |*thread| if (thread.*) |some| {
            some.join();
            thread.* = null;
        };
    }

    fn work(self: *Loading) void {
        if (self.next.load(.monotonic) >= self.count) return;
        while (true) {
            const group = self.next.fetchAdd(1, .monotonic);
            if (group >= self.count) return;
            if (self.pages.bring(self.file, self.memfd, group)) |failure| return self.fail(failure);
        }
    }

    /// The others stop too.
    fn fail(self: *Loading, failure: Failure) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.failure == null) self.failure = failure;
        self.next.store(self.count, .monotonic);
    }
};
