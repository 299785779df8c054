//! Frozen guest-physical memory: a sealed memfd that any number of forks map copy-on-write.
//!
//! A page without bytes in the memfd is zero. It is never read through the memfd: that would give it memory for good.
//! Sources: memfd_create(2), fcntl(2) (F_ADD_SEALS), lseek(2) (SEEK_DATA).
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const arrivals_module = @import("arrivals.zig");
const Arrivals = arrivals_module.Arrivals;
const file_pieces = @import("file_pieces.zig");
const FilePiece = file_pieces.FilePiece;
const FilePieces = file_pieces.FilePieces;
const frames_module = @import("frames.zig");
const FrameSpace = frames_module.FrameSpace;
const Ranges = @import("ranges.zig").Ranges;

const page = limits.page_size;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const F_SEAL_WRITE = 8;

pub const FrameImage = struct {
    allocator: std.mem.Allocator,
    memfd: i32,
    /// The whole image, read-only.
    bytes: []align(page) const u8,
    /// Pages that have bytes.
    data: std.DynamicBitSetUnmanaged,
    /// Zero areas large enough to get anonymous memory in a fork.
    anonymous: Ranges,
    blocks: []frames_module.Block,
    frames_used: u64,
    free_blocks: u32,
    bytes_max: u64,
    /// Guest-physical address of frame 0.
    physical_base: u64 = 0,
    /// Frames that share a file with whoever else has it: in every fork, too.
    files: []FilePiece = &.{},
    /// Frames that requests use, in the order of their first use, as far as that is known: a saved image has them first.
    hot: []const u32 = &.{},
    /// Pages that forks cannot see yet.
    arrivals: ?*Arrivals = null,

    pub const Error = frames_module.Error;

    /// Freezes what is behind `space`, which goes on copy-on-write. Memory of its own becomes the image without a copy;
    /// memory that has an image already is copied into a new one, and `space` keeps the old.
    pub fn freeze(self: *FrameImage, space: *FrameSpace) Error!void {
        if (space.lost or !space.waitForAll()) return error.HostFailure;
        const extent = @max(space.blocks.items.len, 1) * limits.window_size;
        const blocks = space.allocator.dupe(frames_module.Block, space.blocks.items) catch return error.OutOfMemory;
        errdefer space.allocator.free(blocks);
        const memfd = switch (space.memory) {
            .own => |memfd| own: {
                try copyFiles(space, memfd);
                break :own memfd;
            },
            .image => try copyToMemfd(space, extent),
        };
        errdefer if (space.memory == .image) host.close(memfd);
        self.* = try mapped(space.allocator, memfd, extent);
        errdefer self.unmap();
        self.blocks = blocks;
        self.frames_used = space.frames_used;
        self.free_blocks = space.free_blocks;
        self.bytes_max = space.bytes_max;
        self.physical_base = space.physical_base;
        self.files = try sharedFiles(space);
        errdefer self.releaseFiles();
        if (space.memory == .own) try self.takeOver(space);
    }

    /// Memory for an image's pages, to be written to by descriptor.
    pub fn emptyMemfd(extent: u64) Error!i32 {
        const memfd: i32 = @intCast(try host.check(linux.memfd_create("pristine-image", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING)));
        errdefer host.close(memfd);
        _ = try host.check(linux.ftruncate(memfd, @intCast(extent)));
        return memfd;
    }

    /// An image of pages that are written to a memfd, which is taken over, on failure too: in the order of the frames. What
    /// else it has (blocks, shared files) is the caller's to fill in, and the memfd to seal.
    pub fn ofPieces(allocator: std.mem.Allocator, memfd: i32, extent: u64, pieces: []const arrivals_module.Piece) Error!FrameImage {
        errdefer host.close(memfd);
        var self = try view(allocator, memfd, extent);
        errdefer _ = linux.munmap(self.bytes.ptr, extent);
        self.data = std.DynamicBitSetUnmanaged.initEmpty(allocator, extent / page) catch return error.OutOfMemory;
        var end: u64 = 0;
        for (pieces) |piece| {
            self.noteHole(end, piece.frame);
            end = @as(u64, piece.frame) + piece.count;
            self.data.setRangeValue(.{ .start = piece.frame, .end = @intCast(end) }, true);
        }
        self.noteHole(end, extent / page);
        return self;
    }

    /// What lies in a memfd; blocks and the counts of frames are the caller's to fill in.
    fn mapped(allocator: std.mem.Allocator, memfd: i32, extent: u64) Error!FrameImage {
        var self = try view(allocator, memfd, extent);
        errdefer _ = linux.munmap(self.bytes.ptr, extent);
        try self.findData();
        return self;
    }

    fn view(allocator: std.mem.Allocator, memfd: i32, extent: u64) Error!FrameImage {
        // Private: a shared mapping, even one for reading, would keep the memfd from being sealed.
        const address = try host.check(linux.mmap(null, extent, .{ .READ = true }, .{ .TYPE = .PRIVATE, .NORESERVE = true }, memfd, 0));
        return .{
            .allocator = allocator,
            .memfd = memfd,
            .bytes = @as([*]align(page) const u8, @ptrFromInt(address))[0..extent],
            .data = .{},
            .anonymous = .{},
            .blocks = &.{},
            .frames_used = 0,
            .free_blocks = 0,
            .bytes_max = 0,
        };
    }

    fn unmap(self: *FrameImage) void {
        self.data.deinit(self.allocator);
        _ = linux.munmap(self.bytes.ptr, self.bytes.len);
    }

    pub fn deinit(self: *FrameImage) void {
        if (self.arrivals) |arrivals| arrivals.destroy();
        self.allocator.free(self.hot);
        self.unmap();
        host.close(self.memfd);
        self.releaseFiles();
        self.allocator.free(self.blocks);
        self.* = undefined;
    }

    /// The bytes of a page, null if it is all zero.
    pub fn pageBytes(self: *const FrameImage, frame: u32) ?*align(page) const [page]u8 {
        if (!self.hasBytes(frame)) return null;
        if (self.arrivals) |arrivals| _ = arrivals.waitForBytes(frame);
        return @alignCast(self.bytes[@as(u64, frame) * page ..][0..page]);
    }

    pub fn hasBytes(self: *const FrameImage, frame: u32) bool {
        return frame < self.data.capacity() and self.data.isSet(frame);
    }

    /// False if some of its pages never come.
    pub fn waitForAll(self: *const FrameImage) bool {
        const arrivals = self.arrivals orelse return true;
        return arrivals.waitForAll();
    }

    /// What frames show of a file becomes the image's own, so that it stays as it is whatever becomes of the file. The
    /// host's kernel copies, and leaves out what is behind the end of a file that was cut short.
    fn copyFiles(space: *FrameSpace, memfd: i32) Error!void {
        for (space.files.items.items) |piece| {
            if (piece.shared and !isPrivate(piece)) continue;
            const whole = space.bytes(piece.first, piece.last - piece.first);
            if (linux.pwrite(memfd, whole.ptr, whole.len, @intCast(@as(u64, piece.first) * page)) == whole.len) continue;
            for (piece.first..piece.last) |index| {
                const bytes = space.bytes(@intCast(index), 1);
                const rc: isize = @bitCast(linux.pwrite(memfd, bytes.ptr, page, @intCast(index * page)));
                if (rc < 0 and rc != -@as(isize, @intFromEnum(linux.E.FAULT))) return error.HostFailure;
            }
        }
    }

    /// Forks are not to meet in a machine's own file: what is mapped of it is copied for them.
    fn isPrivate(piece: FilePiece) bool {
        return piece.file.content != null;
    }

    fn sharedFiles(space: *const FrameSpace) Error![]FilePiece {
        var list: std.ArrayList(FilePiece) = .empty;
        errdefer list.deinit(space.allocator);
        for (space.files.items.items) |piece| if (piece.shared and !isPrivate(piece)) list.append(space.allocator, piece) catch return error.OutOfMemory;
        const files = list.toOwnedSlice(space.allocator) catch return error.OutOfMemory;
        for (files) |piece| _ = piece.file.retain();
        return files;
    }

    fn releaseFiles(self: *FrameImage) void {
        for (self.files) |piece| piece.file.release(self.allocator);
        self.allocator.free(self.files);
    }

    /// The machine's shared mapping becomes a private one; then nothing can write to the memfd any more.
    fn takeOver(self: *FrameImage, space: *FrameSpace) Error!void {
        const beyond: u64 = self.bytes.len;
        if (beyond < space.bytes_max) {
            const fixed: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true, .FIXED = true };
            _ = try host.check(linux.mmap(space.base + beyond, space.bytes_max - beyond, .{ .READ = true, .WRITE = true }, fixed, -1, 0));
        }
        space.memory = .{ .image = self };
        // Half of it may be mapped anew by then, so that nothing can be made of the machine any more.
        errdefer {
            space.memory = .{ .own = self.memfd };
            space.lost = true;
        }
        // The machine goes on sharing what it has of its own files.
        var kept: FilePieces = .{ .allocator = space.allocator };
        defer kept.deinit();
        for (space.files.items.items) |piece| if (piece.shared and isPrivate(piece)) kept.add(piece) catch return error.OutOfMemory;
        try space.mapImage();
        for (kept.items.items) |piece| try space.showFile(piece);
        _ = try host.check(linux.ftruncate(self.memfd, @intCast(beyond)));
        try seal(self.memfd);
    }

    /// A new memfd with the pages of `space` that are not zero.
    fn copyToMemfd(space: *FrameSpace, extent: u64) Error!i32 {
        const memfd = try emptyMemfd(extent);
        errdefer host.close(memfd);
        try space.touched.scan(space.allocator, space.base, space.end());
        const old = space.memory.image;
        for (0..@intCast(extent / page)) |index| {
            const frame: u32 = @intCast(index);
            if (space.showsFile(frame)) continue;
            const replaced = space.touched.has(frame);
            if (!replaced and (space.anonymous.contains(frame) or !old.hasBytes(frame))) continue;
            const bytes = space.place(frame, 1);
            if (std.mem.allEqual(u8, bytes, 0)) continue;
            _ = try host.check(linux.pwrite(memfd, bytes.ptr, page, @intCast(@as(u64, frame) * page)));
        }
        try copyFiles(space, memfd);
        try seal(memfd);
        return memfd;
    }

    /// From now on nothing can write to the memfd. A page that the host's kernel has in its hands at that moment, for purposes of its
    /// own, keeps it from that for a while, which the kernel itself waits for only so long.
    pub fn seal(memfd: i32) Error!void {
        const pause: linux.timespec = .{ .sec = 0, .nsec = 2 * std.time.ns_per_ms };
        for (0..limits.seal_attempts) |_| {
            if (host.check(linux.fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))) |_| return else |failure| {
                if (host.last_errno != .BUSY) return failure;
            }
            _ = linux.nanosleep(&pause, null);
        }
        host.last_errno = .BUSY;
        return error.HostFailure;
    }

    /// Finds what has bytes, and the large areas that have none.
    fn findData(self: *FrameImage) Error!void {
        const pages = self.bytes.len / page;
        self.data = std.DynamicBitSetUnmanaged.initEmpty(self.allocator, pages) catch return error.OutOfMemory;
        errdefer self.data.deinit(self.allocator);
        var at: u64 = 0;
        while (at < self.bytes.len) {
            const start = seek(self.memfd, at, SEEK_DATA) orelse self.bytes.len;
            const from = @min(start, self.bytes.len);
            self.noteHole(at / page, from / page);
            if (from == self.bytes.len) return;
            const stop = @min(seek(self.memfd, from, SEEK_HOLE) orelse self.bytes.len, self.bytes.len);
            self.data.setRangeValue(.{ .start = from / page, .end = std.math.divCeil(u64, stop, page) catch unreachable }, true);
            at = std.mem.alignForward(u64, stop, page);
        }
    }

    fn noteHole(self: *FrameImage, first: u64, last: u64) void {
        if (last - first < limits.anonymous_hole_min_pages) return;
        // Half of the room is left for what forks give back.
        if (self.anonymous.len >= limits.anonymous_ranges_max / 4) return;
        _ = self.anonymous.add(@intCast(first), @intCast(last));
    }

    fn seek(memfd: i32, at: u64, whence: usize) ?u64 {
        const rc: isize = @bitCast(linux.lseek(memfd, @intCast(at), whence));
        return if (rc < 0) null else @intCast(rc);
    }
};
