//! The pages of a snapshot, copied to where they are in the machine's memory: a group at a time, by as many threads as there
//! are processors to spare for it.
//!
//! A group is read once, compared with its checksum where it lies, and then copied: what was compared is what the machine gets,
//! whatever becomes of the file meanwhile.
const std = @import("std");
const linux = std.os.linux;
const file_module = @import("file.zig");
const format = @import("format.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const File = file_module.File;

const page = format.page;
const group_bytes = format.group_pages * page;

pub const Error = file_module.Error || error{ OutOfMemory, HostFailure };

/// Whether runs are what the pages can be: as many, in the memory, none twice.
pub fn check(file: *const File, runs: []const format.Run, sum_count: usize) file_module.Error!void {
    const it = file.header.section(.pages);
    if (it.length % page != 0 or sum_count != std.math.divCeil(u64, it.length, group_bytes) catch unreachable) return file.invalid("sums", "there are not as many as groups of pages", .{});
    var total: u64 = 0;
    var end: u64 = 0;
    for (runs) |run| {
        if (run.frame < end) return file.invalid("runs", "they are not in order", .{});
        end = @as(u64, run.frame) + run.count;
        if (run.count == 0 or end * page > file.header.memory_extent) return file.invalid("runs", "one is outside of the memory", .{});
        total += run.count;
    }
    if (total * page != it.length) return file.invalid("runs", "there are not as many pages", .{});
}

/// Copies all pages to a memfd; runs and their number have been checked.
pub fn load(allocator: std.mem.Allocator, file: *const File, memfd: i32, runs: []const format.Run, sums: []const u64) Error!void {
    if (file.verifies and format.sum(std.mem.sliceAsBytes(sums)) != file.header.section(.pages).checksum) return file.invalid("sums", "it is damaged", .{});
    const starts = try allocator.alloc(Place, sums.len);
    defer allocator.free(starts);
    findStarts(starts, runs);
    var loading: Loading = .{ .allocator = allocator, .file = file, .memfd = memfd, .runs = runs, .sums = sums, .starts = starts };
    var threads: [limits.snapshot_threads_max]?std.Thread = @splat(null);
    const helpers = @min(threads.len, helpersFor(sums.len));
    // One that cannot be started is not needed.
    for (threads[0..helpers]) |*thread| thread.* = std.Thread.spawn(.{ .stack_size = limits.runner_stack_bytes }, Loading.work, .{&loading}) catch null;
    loading.work();
    for (threads) |thread| if (thread) |some| some.join();
    return loading.result();
}

/// Beside the thread that asks.
fn helpersFor(groups: usize) usize {
    const processors = std.Thread.getCpuCount() catch 1;
    return @min(processors, groups) -| 1;
}

/// A page of the file: in which run, and how many of it come before.
const Place = struct { run: usize, done: u32 };

/// Where each group begins.
fn findStarts(starts: []Place, runs: []const format.Run) void {
    var at: Place = .{ .run = 0, .done = 0 };
    for (starts) |*start| {
        start.* = at;
        var left: u64 = format.group_pages;
        while (left > 0 and at.run < runs.len) {
            const count: u32 = @intCast(@min(left, runs[at.run].count - at.done));
            left -= count;
            at.done += count;
            if (at.done == runs[at.run].count) at = .{ .run = at.run + 1, .done = 0 };
        }
    }
}

const Failure = union(enum) { short, damaged: usize, unwanted, memory, refused: linux.E };

const Loading = struct {
    allocator: std.mem.Allocator,
    file: *const File,
    memfd: i32,
    runs: []const format.Run,
    sums: []const u64,
    starts: []const Place,
    next: std.atomic.Value(usize) = .init(0),
    lock: host.Mutex = .{},
    /// The first one.
    failure: ?Failure = null,

    fn work(self: *Loading) void {
        const buffer = self.allocator.alignedAlloc(u8, .fromByteUnits(page), group_bytes) catch return self.fail(.memory);
        defer self.allocator.free(buffer);
        while (true) {
            const group = self.next.fetchAdd(1, .monotonic);
            if (group >= self.sums.len) return;
            if (self.file.isUnwanted()) return self.fail(.unwanted);
            const start = group * group_bytes;
            const it = self.file.header.section(.pages);
            const bytes = buffer[0..@intCast(@min(group_bytes, it.length - start))];
            if (self.file.read(bytes, it.offset + start) < bytes.len) return self.fail(.short);
            if (self.file.verifies and format.sum(bytes) != self.sums[group]) return self.fail(.{ .damaged = group });
            self.scatter(self.starts[group], bytes) catch return self.fail(.{ .refused = host.last_errno });
        }
    }

    /// The others stop too.
    fn fail(self: *Loading, failure: Failure) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.failure == null) self.failure = failure;
        self.next.store(self.sums.len, .monotonic);
    }

    fn result(self: *const Loading) Error!void {
        switch (self.failure orelse return) {
            .short => return self.file.invalid("pages", "it is cut short", .{}),
            .damaged => |group| return self.file.invalid("pages", "group {d} is damaged", .{group}),
            .unwanted => return self.file.checkWanted(),
            .memory => return error.OutOfMemory,
            .refused => |errno| {
                host.last_errno = errno;
                return error.HostFailure;
            },
        }
    }

    fn scatter(self: *const Loading, start: Place, bytes: []const u8) host.Error!void {
        var place = start;
        var at: usize = 0;
        while (at < bytes.len) {
            const run = self.runs[place.run];
            const count = @min(run.count - place.done, (bytes.len - at) / page);
            const length = count * page;
            const offset = (@as(u64, run.frame) + place.done) * page;
            var put: usize = 0;
            while (put < length) put += try host.check(linux.pwrite(self.memfd, bytes.ptr + at + put, length - put, @intCast(offset + put)));
            at += length;
            place = .{ .run = place.run + 1, .done = 0 };
        }
    }
};
