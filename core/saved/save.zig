//! Writes an image to a file: all of it or nothing, whatever happens meanwhile.
//!
//! The file is made without a name beside the one that it is to have, written, forced to the disk, and only then put in the
//! other's place. Sources: open(2) (O_TMPFILE), linkat(2), rename(2), fsync(2), lseek(2) (SEEK_DATA).
const std = @import("std");
const linux = std.os.linux;
const codec = @import("codec.zig");
const errors = @import("../errors.zig");
const format = @import("format.zig");
const host = @import("../host.zig");
const late_tables = @import("late_tables.zig");
const limits = @import("../limits.zig");
const processor = @import("processor.zig");
const records = @import("records.zig");
const capture = @import("capture.zig");
const copies_module = @import("copies.zig");
const Copies = copies_module.Copies;
const FilePiece = @import("../memory/file_pieces.zig").FilePiece;
const Image = @import("../image.zig").Image;

const page = format.page;
const group_bytes = format.group_pages * page;

/// `Failed`: the record says why.
pub const Error = error{Failed};

pub const Files = copies_module.Files;

pub const Request = struct {
    path: [:0]const u8,
    /// The embedder's own bytes.
    user: []const u8 = "",
    /// How the machine waits, for whoever opens the file: JSON of the embedder's.
    notes: []const u8 = "",
    files: Files = .refer,
    /// Somebody does not want it any more.
    cancelled: *const std.atomic.Value(bool),
};

pub fn save(allocator: std.mem.Allocator, image: *Image, request: *const Request, record: *errors.Record) Error!void {
    var arena: std.heap.ArenaAllocator = .init(allocator);
    defer arena.deinit();
    var target = try Target.create(request.path, record);
    defer target.close();
    var copies: Copies = .{ .arena = arena.allocator(), .files = request.files, .record = record };
    write(arena.allocator(), image, request, &copies, target.fd) catch |failure| switch (failure) {
        error.Refused => return error.Failed,
        error.CutOff => {
            record.* = image.frames.arrivals.?.failure;
            return error.Failed;
        },
        else => return explain(record, request.path, failure),
    };
    target.publish() catch return explain(record, request.path, error.HostFailure);
}

fn explain(record: *errors.Record, path: []const u8, failure: anyerror) Error {
    const name = path[0..@min(path.len, 1024)];
    _ = switch (failure) {
        error.Cancelled => record.set(.ABORTED, "the snapshot is not wanted any more", "", .{}),
        error.OutOfMemory => record.set(.INTERNAL, "the host has no memory left to save the snapshot", "free memory on the host", .{}),
        error.TooLarge => record.set(.BAD_OPTION, "the bytes given with the snapshot are too many", "give at most 64 MiB as `user` (--user)", .{ .option = "user" }),
        else => switch (host.last_errno) {
            .NOENT => record.format(.NOT_FOUND, "the folder of {s} is not there", .{name}, "make it, or choose another path", .{ .path = name }),
            .NOSPC, .DQUOT => record.format(.INTERNAL, "the disk has no room left for {s}", .{name}, "free room on it, or choose another path; a file that was there before is unchanged", .{}),
            else => record.format(.BAD_OPTION, "{s} cannot be written ({t})", .{ name, host.last_errno }, "choose a path in a folder that you may write to; a file that was there before is unchanged", .{ .option = "path" }),
        },
    };
    return error.Failed;
}

/// A file that has no name yet.
const Target = struct {
    fd: i32,
    folder: i32,
    name: [:0]const u8,
    /// Where it is on file systems that know no files without a name.
    temporary: [32:0]u8 = @splat(0),

    fn create(path: [:0]const u8, record: *errors.Record) Error!Target {
        const folder_path = std.fs.path.dirname(path) orelse ".";
        var buffer: [limits.path_max_bytes]u8 = undefined;
        const folder_name = std.fmt.bufPrintZ(&buffer, "{s}", .{folder_path}) catch return explain(record, path, error.HostFailure);
        const folder = host.check(linux.open(folder_name, .{ .DIRECTORY = true, .CLOEXEC = true }, 0)) catch |failure| return explain(record, path, failure);
        var self: Target = .{ .fd = -1, .folder = @intCast(folder), .name = path[path.len - std.fs.path.basename(path).len .. :0] };
        errdefer self.close();
        if (isFolder(self.folder, self.name)) {
            host.last_errno = .ISDIR;
            return explain(record, path, error.HostFailure);
        }
        const mode = 0o600;
        const without_name = linux.openat(self.folder, ".", .{ .ACCMODE = .RDWR, .TMPFILE = true, .DIRECTORY = true, .CLOEXEC = true }, mode);
        if (host.check(without_name)) |fd| {
            self.fd = @intCast(fd);
            return self;
        } else |failure| if (host.last_errno != .OPNOTSUPP and host.last_errno != .ISDIR) return explain(record, path, failure);
        self.nameTemporary();
        self.fd = @intCast(host.check(linux.openat(self.folder, &self.temporary, .{ .ACCMODE = .RDWR, .CREAT = true, .EXCL = true, .CLOEXEC = true }, mode)) catch |failure| return explain(record, path, failure));
        return self;
    }

    fn isFolder(folder: i32, name: [:0]const u8) bool {
        var facts: linux.Statx = undefined;
        const rc: isize = @bitCast(linux.statx(folder, name, linux.AT.SYMLINK_NOFOLLOW, .{ .TYPE = true }, &facts));
        return rc == 0 and facts.mode & linux.S.IFMT == linux.S.IFDIR;
    }

    fn nameTemporary(self: *Target) void {
        var random: u64 = undefined;
        _ = linux.getrandom(std.mem.asBytes(&random), 8, 0);
        _ = std.fmt.bufPrintZ(&self.temporary, ".pristine-{x}", .{random}) catch unreachable;
    }

    fn publish(self: *Target) host.Error!void {
        _ = try host.check(linux.fsync(self.fd));
        if (self.temporary[0] == 0) {
            self.nameTemporary();
            var link: [32]u8 = undefined;
            const from = std.fmt.bufPrintZ(&link, "/proc/self/fd/{d}", .{self.fd}) catch unreachable;
            _ = host.check(linux.linkat(linux.AT.FDCWD, from, self.folder, &self.temporary, linux.AT.SYMLINK_FOLLOW)) catch |failure| {
                self.temporary[0] = 0;
                return failure;
            };
        }
        _ = try host.check(linux.renameat(self.folder, &self.temporary, self.folder, self.name));
        self.temporary[0] = 0;
        _ = try host.check(linux.fsync(self.folder));
    }

    fn close(self: *Target) void {
        host.close(self.fd);
        if (self.temporary[0] != 0) _ = linux.unlinkat(self.folder, &self.temporary, 0);
        host.close(self.folder);
    }
};

const WriteError = copies_module.Error || error{ HostFailure, TooLarge, Cancelled, CutOff };

/// The frames that whoever opens the file needs first: page tables, which the processor itself reads, and then what requests
/// use, as far as that is known, in the order of their first use.
fn hotFrames(arena: std.mem.Allocator, image: *Image) late_tables.Error![]const u32 {
    const frames = &image.frames;
    var hot: std.ArrayList(u32) = .empty;
    const recorded = try late_tables.endRecording(arena, frames);
    const says_more = if (recorded) |used| used.len > 0 else false;
    if (!says_more) image.keepWrites();
    // As it was saved before.
    if (!says_more and frames.hot.len > 0) return frames.hot;
    for (frames.blocks, 0..) |*block, index| {
        if (block.use != .tables) continue;
        for (index * limits.window_pages..(index + 1) * limits.window_pages) |frame| if (frames.hasBytes(@intCast(frame))) try hot.append(arena, @intCast(frame));
    }
    if (recorded) |used| {
        try hot.appendSlice(arena, used);
        return hot.items;
    }
    image.write_set.lock.lock();
    defer image.write_set.lock.unlock();
    var written = image.write_set.frames.iterator(.{});
    while (written.next()) |frame| {
        const number: u32 = @intCast(frame);
        if (frames.hasBytes(number) and frames.blocks[number / limits.window_pages].use != .tables) try hot.append(arena, number);
    }
    return hot.items;
}

fn write(arena: std.mem.Allocator, image: *Image, request: *const Request, copies: *Copies, fd: i32) WriteError!void {
    if (request.user.len > limits.snapshot_user_max_bytes) return error.TooLarge;
    if (!image.frames.waitForAll()) return error.CutOff;
    const hot = try hotFrames(arena, image);
    const taken = try capture.Capture.take(arena, image, copies);
    var encoded: codec.Writer = .{ .allocator = arena };
    inline for (@typeInfo(records.State).@"struct".fields) |field| try encoded.table(@typeInfo(field.type).pointer.child, @field(taken.state, field.name));

    var out: Out = .{ .fd = fd, .cancelled = request.cancelled };
    out.header.memory_extent = image.frames.bytes.len;
    out.header.memory_ceiling = image.machine.frames.frames_max * page;
    out.header.saved_at = @intCast(host.nowNs(.REALTIME));
    out.at = page;
    try out.section(.processor, std.mem.asBytes(&processor.here(image.machine.platform)));
    try out.section(.notes, request.notes);
    try out.section(.state, encoded.bytes.items);
    // How many runs there will be is known when the pages have been looked at: room for the most there can be, which costs no
    // place on the disk.
    const runs_at = out.at;
    var data_pages: u64 = image.frames.data.count();
    for (taken.shown) |piece| data_pages += piece.last - piece.first;
    out.at = std.mem.alignForward(u64, out.at + data_pages * @sizeOf(format.Run), page);
    const sums_at = out.at;
    out.at = std.mem.alignForward(u64, out.at + (data_pages / format.group_pages + 2) * 8, page);
    try out.section(.user, request.user);
    try out.contents(taken.contents, taken.state.contents, copies);
    var pages: Pages = .{ .arena = arena, .out = &out, .shown = taken.shown, .buffer = try arena.alignedAlloc(u8, .fromByteUnits(page), group_bytes) };
    try pages.writeAll(image, hot);
    try copies.checkUnchanged();
    const end = out.at;
    out.at = runs_at;
    try out.section(.runs, std.mem.sliceAsBytes(pages.runs.items));
    out.at = sums_at;
    try out.section(.sums, std.mem.sliceAsBytes(pages.sums.items));
    _ = try host.check(linux.ftruncate(fd, @intCast(end)));
    out.header.file_bytes = end;
    out.header.seal();
    try out.put(std.mem.asBytes(&out.header), 0);
}

const Out = struct {
    fd: i32,
    cancelled: *const std.atomic.Value(bool),
    header: format.Header = .{},
    at: u64 = 0,

    fn put(self: *const Out, bytes: []const u8, offset: u64) host.Error!void {
        var done: usize = 0;
        while (done < bytes.len) done += try host.check(linux.pwrite(self.fd, bytes.ptr + done, bytes.len - done, @intCast(offset + done)));
    }

    /// Writes a section whose bytes are there.
    fn section(self: *Out, kind: format.SectionKind, bytes: []const u8) host.Error!void {
        try self.put(bytes, self.at);
        self.describe(kind, self.at, bytes.len, format.sum(bytes));
        self.at = std.mem.alignForward(u64, self.at + bytes.len, page);
    }

    fn describe(self: *Out, kind: format.SectionKind, offset: u64, length: u64, checksum: u64) void {
        self.header.sections[@intFromEnum(kind) - 1] = .{ .kind = @intFromEnum(kind), .offset = offset, .length = length, .checksum = checksum };
    }

    fn checkWanted(self: *const Out) error{Cancelled}!void {
        if (self.cancelled.load(.monotonic)) return error.Cancelled;
    }

    fn contents(self: *Out, list: []const capture.Origin, saved: []const records.Content, copies: *Copies) WriteError!void {
        const start = self.at;
        var sum: format.Sum = .init(0);
        var buffer: [64 * limits.KiB]u8 = undefined;
        for (list, saved) |origin, record| {
            var at: u64 = 0;
            while (at < record.bytes) {
                try self.checkWanted();
                const piece = buffer[0..@intCast(@min(buffer.len, record.bytes - at))];
                switch (origin) {
                    .private => |content| try readPrivate(content.fd, piece, at),
                    .copied => |file| try copies.read(file, piece, at),
                }
                sum.update(piece);
                // Nothing was written there before: a hole is zero.
                if (!std.mem.allEqual(u8, piece, 0)) try self.put(piece, self.at);
                self.at += piece.len;
                at += piece.len;
            }
        }
        self.describe(.contents, start, self.at - start, sum.final());
        self.at = std.mem.alignForward(u64, self.at, page);
    }

    /// A private file is as long as its node says.
    fn readPrivate(fd: i32, out: []u8, offset: u64) host.Error!void {
        var done: usize = 0;
        while (done < out.len) {
            const got = try host.check(linux.pread(fd, out.ptr + done, out.len - done, @intCast(offset + done)));
            if (got == 0) return @memset(out[done..], 0);
            done += got;
        }
    }
};

/// Gathers the pages that are not zero, in groups.
const Pages = struct {
    arena: std.mem.Allocator,
    out: *Out,
    /// Frames whose bytes are a file's.
    shown: []const FilePiece,
    buffer: []align(page) u8,
    used: usize = 0,
    count: u64 = 0,
    runs: std.ArrayList(format.Run) = .empty,
    sums: std.ArrayList(u64) = .empty,

    fn writeAll(self: *Pages, image: *const Image, hot: []const u32) WriteError!void {
        const start = self.out.at;
        const frames = &image.frames;
        var left = frames.data.clone(self.arena) catch return error.OutOfMemory;
        for (self.shown) |piece| left.setRangeValue(.{ .start = piece.first, .end = piece.last }, true);
        for (hot) |frame| {
            left.unset(frame);
            try self.add(frames.memfd, frame, frame + 1);
        }
        // What is hot is in groups of its own.
        try self.flush();
        self.out.header.hot_pages = self.count;
        var first: usize = 0;
        while (first < left.bit_length) {
            if (!left.isSet(first)) {
                first += 1;
                continue;
            }
            var last = first + 1;
            while (last < left.bit_length and left.isSet(last)) last += 1;
            try self.add(frames.memfd, first, last);
            first = last;
        }
        try self.flush();
        self.out.describe(.pages, start, self.out.at - start, format.sum(std.mem.sliceAsBytes(self.sums.items)));
    }

    /// Pages in a row are read into the rest of the group at once; what of them is zero is dropped there.
    fn add(self: *Pages, memfd: i32, first: usize, last: usize) WriteError!void {
        var at = first;
        while (at < last) {
            const room = (self.buffer.len - self.used) / page;
            const count = @min(room, last - at);
            const into = self.buffer[self.used..][0 .. count * page];
            var done: usize = 0;
            while (done < into.len) {
                const got = try host.check(linux.pread(memfd, into.ptr + done, into.len - done, @intCast(at * page + done)));
                if (got == 0) return error.HostFailure;
                done += got;
            }
            self.readShown(into, at, at + count);
            for (0..count) |index| {
                const bytes = into[index * page ..][0..page];
                if (isZero(bytes)) continue;
                const to = self.buffer[self.used..][0..page];
                if (to.ptr != bytes.ptr) @memcpy(to, bytes);
                self.used += page;
                try self.note(@intCast(at + index));
            }
            at += count;
            if (self.used == self.buffer.len) try self.flush();
        }
    }

    /// Puts the bytes of files over the frames that show them; behind a file's end is nothing.
    fn readShown(self: *const Pages, into: []u8, first: usize, last: usize) void {
        for (self.shown) |piece| {
            const from = @max(first, piece.first);
            const to = @min(last, piece.last);
            if (from >= to) continue;
            const bytes = into[(from - first) * page .. (to - first) * page];
            @memset(bytes, 0);
            _ = piece.file.readAt(bytes, piece.offsetOf(@intCast(from)));
        }
    }

    fn isZero(bytes: *align(1) const [page]u8) bool {
        // Most pages say so in their first bytes.
        const head = std.mem.bytesAsSlice(u64, bytes[0..64]);
        for (head) |word| if (word != 0) return false;
        return std.mem.allEqual(u8, bytes, 0);
    }

    fn note(self: *Pages, frame: u32) error{OutOfMemory}!void {
        self.count += 1;
        if (self.runs.items.len > 0) {
            const run = &self.runs.items[self.runs.items.len - 1];
            if (run.frame + run.count == frame) {
                run.count += 1;
                return;
            }
        }
        try self.runs.append(self.arena, .{ .frame = frame, .count = 1 });
    }

    fn flush(self: *Pages) WriteError!void {
        try self.out.checkWanted();
        if (self.used == 0) return;
        const bytes = self.buffer[0..self.used];
        try self.sums.append(self.arena, format.sum(bytes));
        try self.out.put(bytes, self.out.at);
        // What is on its way to the disk already is not waited for at the end.
        const start_writing = 2;
        _ = linux.syscall4(.sync_file_range, @intCast(self.out.fd), @intCast(self.out.at), bytes.len, start_writing);
        self.out.at += bytes.len;
        self.used = 0;
    }
};
