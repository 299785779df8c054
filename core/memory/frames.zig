//! Guest-physical space: one host mapping, given out in 2 MiB blocks and, for small mappings, in frames.
//!
//! Behind it is a memfd of the machine's own, or, once it was frozen and in every fork, an image copy-on-write with
//! anonymous memory beyond it (`frame_image.zig`). A frame that is given back was revoked and zeroed before, in one event
//! that also makes KVM forget its translation, so that it may be used again at once.
//! Frames may also show a file of the host: its own page cache, copy-on-write or shared (`file_pieces.zig`).
//! Not here: who maps a frame (`address_space.zig`), which frames were written (`touched.zig`).
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const awaited = @import("awaited.zig");
const block_module = @import("block.zig");
const file_pieces = @import("file_pieces.zig");
const FilePiece = file_pieces.FilePiece;
const FilePieces = file_pieces.FilePieces;
const FrameImage = @import("frame_image.zig").FrameImage;
const planted = @import("../planted.zig");
const pages = @import("host_pages.zig");
const worker = @import("../worker/self.zig");
const Ranges = @import("ranges.zig").Ranges;
const Touched = @import("touched.zig").Touched;

pub const Error = error{ OutOfMemory, HostFailure };
pub const Frame = u32;
const block_frames = block_module.frames;
const BlockUse = block_module.Use;
pub const Block = block_module.Block;

/// Called when guest-physical space up to `bytes` must be backed by memory slots.
pub const Grow = struct {
    context: *anyopaque,
    grow_fn: *const fn (context: *anyopaque, bytes: u64) host.Error!void,
};

/// The guest-physical range that a machine's frames may lie in.
pub const Physical = struct { base: u64 = 0, bytes_max: u64 = limits.physical_space_max_bytes };

const Memory = union(enum) {
    /// The machine's own memfd, mapped shared.
    own: i32,
    /// An image, mapped privately; its owner keeps it alive.
    image: *const FrameImage,
};

pub const FrameSpace = struct {
    allocator: std.mem.Allocator,
    memory: Memory,
    base: [*]align(limits.page_size) u8,
    bytes_max: u64,
    /// Guest-physical address of frame 0.
    physical_base: u64,
    blocks: std.ArrayList(Block) = .empty,
    grow: Grow,
    /// Frames that the guest can touch or that hold its page tables; bounded by `frames_max`.
    frames_used: u64 = 0,
    frames_max: u64,
    free_blocks: u32 = 0,
    /// Blocks that may have private memory: as many as there ever were since the image was mapped.
    blocks_touched: usize = 0,
    /// Frames inside the image's extent that have anonymous memory instead.
    anonymous: Ranges = .{},
    /// Frames that show a file.
    files: FilePieces,
    /// A fork's `files` are no longer the image's.
    files_changed: bool = false,
    /// The host refused a mapping without which the guest would see what it must not: it may not run on, nor be frozen.
    lost: bool = false,
    touched: Touched = .{},

    pub fn init(allocator: std.mem.Allocator, memory_bytes: u64, physical: Physical, grow: Grow) Error!FrameSpace {
        const wanted = std.mem.alignForward(u64, memory_bytes, limits.window_size) *| limits.physical_space_factor;
        const bytes_max = std.math.clamp(wanted, limits.physical_space_min_bytes, physical.bytes_max);
        const memfd: i32 = @intCast(try host.check(linux.memfd_create("pristine-guest", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING)));
        errdefer host.close(memfd);
        _ = try host.check(linux.ftruncate(memfd, @intCast(bytes_max)));
        const address = try host.check(linux.mmap(null, bytes_max, .{ .READ = true, .WRITE = true }, .{ .TYPE = .SHARED, .NORESERVE = true }, memfd, 0));
        return .{
            .allocator = allocator,
            .memory = .{ .own = memfd },
            .base = @ptrFromInt(address),
            .files = .{ .allocator = allocator },
            .bytes_max = bytes_max,
            .physical_base = physical.base,
            .grow = grow,
            .frames_max = memory_bytes / limits.page_size,
        };
    }

    /// Memory that shares the image's until it is written.
    pub fn initFork(allocator: std.mem.Allocator, image: *const FrameImage, memory_bytes: u64, grow: Grow) Error!FrameSpace {
        const address = try host.check(linux.mmap(null, image.bytes_max, .{ .READ = true, .WRITE = true }, pages.anonymous, -1, 0));
        var self: FrameSpace = .{
            .allocator = allocator,
            .memory = .{ .image = image },
            .base = @ptrFromInt(address),
            .files = .{ .allocator = allocator },
            .bytes_max = image.bytes_max,
            .physical_base = image.physical_base,
            .grow = grow,
            .frames_max = memory_bytes / limits.page_size,
        };
        errdefer self.deinit();
        pages.avoidHuge(address, image.bytes_max);
        try self.mapImage();
        try self.adoptImage();
        return self;
    }

    pub fn deinit(self: *FrameSpace) void {
        _ = linux.munmap(self.base, self.bytes_max);
        if (self.memory == .own) host.close(self.memory.own);
        self.files.deinit();
        self.blocks.deinit(self.allocator);
        self.touched.deinit(self.allocator);
        self.* = undefined;
    }

    /// Maps the image anew: whatever was private is gone, and KVM has dropped every translation.
    pub fn mapImage(self: *FrameSpace) Error!void {
        const image = self.memory.image;
        const fixed: linux.MAP = .{ .TYPE = .PRIVATE, .FIXED = true, .NORESERVE = true };
        _ = try host.check(linux.mmap(self.base, image.bytes.len, .{ .READ = true, .WRITE = true }, fixed, image.memfd, 0));
        self.anonymous = image.anonymous;
        for (image.anonymous.slice()) |range| try self.mapAnonymous(range.first, range.count());
        if (planted.is(.full_reset_keeps_growth)) return;
        const used = self.blocks_touched * limits.window_size;
        self.blocks_touched = image.blocks.len;
        if (used > image.bytes.len) try self.mapAnonymous(@intCast(image.bytes.len / limits.page_size), (used - image.bytes.len) / limits.page_size);
        try self.files.adopt(image.files);
        for (image.files) |piece| try self.mapPiece(piece);
        self.files_changed = false;
        self.lost = false;
    }

    // Frames that show a file

    pub fn hasFiles(self: *const FrameSpace) bool {
        return self.files.items.items.len > 0;
    }

    /// Whether the frame shows a file: then only the host's kernel may touch its bytes.
    pub fn showsFile(self: *const FrameSpace, frame: Frame) bool {
        return self.hasFiles() and self.files.find(frame) != null;
    }

    /// Somebody outside gets a view of the frames. From now on they show no file, until a reset takes all views away: the
    /// file could be cut short, or refuse to be written, under a view that has outlived what it was taken of.
    pub fn noteView(self: *FrameSpace, frame: Frame, count: u64) void {
        for (frame..frame + count) |index| self.blocks.items[index / block_frames].viewed.set(index % block_frames);
    }

    pub fn isViewed(self: *const FrameSpace, frame: Frame, count: u64) bool {
        for (frame..frame + count) |index| if (self.blocks.items[index / block_frames].viewed.isSet(index % block_frames)) return true;
        return false;
    }

    /// Whether private file mappings show the file itself, as long as there is room; otherwise they get copies. An image's
    /// memory is not to depend on files that somebody may change.
    pub fn canShowFiles(self: *const FrameSpace) bool {
        return self.memory == .own and !self.files.isFull();
    }

    /// Makes frames that have no memory yet show a part of a file.
    pub fn showFile(self: *FrameSpace, piece: FilePiece) Error!void {
        assert(piece.shared or self.memory == .own);
        assert(!self.isViewed(piece.first, piece.last - piece.first));
        try self.mapPiece(piece);
        self.files.add(piece) catch |failure| {
            self.mapOwn(piece.first, piece.last - piece.first) catch {};
            return failure;
        };
        self.files_changed = true;
    }

    fn mapPiece(self: *FrameSpace, piece: FilePiece) Error!void {
        const range = self.place(piece.first, piece.last - piece.first);
        const flags: linux.MAP = .{ .TYPE = if (piece.shared) .SHARED else .PRIVATE, .FIXED = true, .NORESERVE = true };
        _ = try host.check(linux.mmap(range.ptr, range.len, .{ .READ = true, .WRITE = piece.writable }, flags, piece.file.fd, @intCast(piece.offset)));
    }

    /// Gives frames that show a file the memory that frames have otherwise; the file's bytes are gone from them.
    fn hideFiles(self: *FrameSpace, first: Frame, last: Frame) void {
        while (self.files.overlap(first, last)) |part| {
            self.hidePart(part) catch {
                self.lost = true;
                return;
            };
            self.files.remove(part);
            self.files_changed = true;
        }
    }

    /// Pieces may become more by being split; were that without end, the process would have no mapping left.
    fn hidePart(self: *FrameSpace, part: FilePiece) Error!void {
        const whole = self.files.find(part.first).?;
        const splits = whole.first < part.first and part.last < whole.last;
        if (splits and self.files.items.items.len >= limits.file_pieces_split_max) return error.OutOfMemory;
        try self.files.reserve();
        try self.mapOwn(part.first, part.last - part.first);
    }

    /// Maps a machine's own memory, or a fork's growth, where a file was shown. Inside an image's extent the caller has
    /// seen to it that the range counts as anonymous.
    fn mapOwn(self: *FrameSpace, frame: Frame, count: u64) Error!void {
        switch (self.memory) {
            .own => |memfd| {
                const range = self.place(frame, count);
                const flags: linux.MAP = .{ .TYPE = .SHARED, .FIXED = true, .NORESERVE = true };
                _ = try host.check(linux.mmap(range.ptr, range.len, .{ .READ = true, .WRITE = true }, flags, memfd, @intCast(@as(u64, frame) * limits.page_size)));
            },
            .image => try self.mapAnonymous(frame, count),
        }
    }

    /// Copies what frames show of a file into memory of the machine's own, so that anybody may touch it. False if they
    /// share the file, or if the host has no memory.
    pub fn settle(self: *FrameSpace, frame: Frame, count: u64) bool {
        const last: Frame = @intCast(frame + count);
        while (self.files.overlap(frame, last)) |part| {
            if (part.shared) return false;
            const range = self.bytes(part.first, part.last - part.first);
            const copy = self.allocator.alloc(u8, range.len) catch return false;
            defer self.allocator.free(copy);
            // Pages behind the end of a file that was cut short are gone: they are zero from here on.
            for (0..range.len / limits.page_size) |index| {
                const page = copy[index * limits.page_size ..][0..limits.page_size];
                if (!host.copyOut(page, range[index * limits.page_size ..][0..limits.page_size])) @memset(page, 0);
            }
            self.hideFiles(part.first, part.last);
            if (self.lost) return false;
            @memcpy(range, copy);
        }
        return true;
    }

    /// Gives the image's memory back to the ranges that were taken out of it since.
    pub fn mapImageAgain(self: *FrameSpace) Error!void {
        const original = &self.memory.image.anonymous;
        if (planted.is(.image_range_not_mapped_again)) return;
        for (self.anonymous.slice()) |range| {
            var at = range.first;
            while (at < range.last) {
                const piece = original.pieceAt(at, range.last);
                if (!piece.inside) {
                    try self.mapImageRange(at, piece.last - at);
                    for (at..piece.last) |frame| self.touched.leave(@intCast(frame));
                }
                at = piece.last;
            }
        }
        self.anonymous = original.*;
    }

    /// How many ranges were taken out of the image.
    pub fn anonymousBeyondImage(self: *const FrameSpace) u32 {
        return self.anonymous.len -| self.memory.image.anonymous.len;
    }

    pub fn holdsTable(self: *const FrameSpace, frame: Frame) bool {
        const index = frame / block_frames;
        return index < self.blocks.items.len and self.blocks.items[index].use == .tables;
    }

    /// Maps one range of the image anew.
    fn mapImageRange(self: *FrameSpace, frame: Frame, count: u64) Error!void {
        const image = self.memory.image;
        const fixed: linux.MAP = .{ .TYPE = .PRIVATE, .FIXED = true, .NORESERVE = true };
        const range = self.place(frame, count);
        _ = try host.check(linux.mmap(range.ptr, range.len, .{ .READ = true, .WRITE = true }, fixed, image.memfd, @intCast(@as(u64, frame) * limits.page_size)));
    }

    fn mapAnonymous(self: *FrameSpace, frame: Frame, count: u64) Error!void {
        var fixed = pages.anonymous;
        fixed.FIXED = true;
        const range = self.place(frame, count);
        pages.avoidHuge(try host.check(linux.mmap(range.ptr, range.len, .{ .READ = true, .WRITE = true }, fixed, -1, 0)), range.len);
    }

    /// The state of the allocator as the image has it.
    pub fn adoptImage(self: *FrameSpace) Error!void {
        const image = self.memory.image;
        self.blocks.resize(self.allocator, image.blocks.len) catch return error.OutOfMemory;
        if (planted.is(.allocator_kept) and self.frames_used > 0) return;
        @memcpy(self.blocks.items, image.blocks);
        self.frames_used = image.frames_used;
        self.free_blocks = image.free_blocks;
    }

    /// Keeps a page table's frame out of the allocator after `adoptImage`: what KVM remembers of a table makes its frame
    /// unfit for any other.
    pub fn keepTable(self: *FrameSpace, frame: Frame) Error!void {
        const index = frame / block_frames;
        while (self.blocks.items.len <= index) {
            self.blocks.append(self.allocator, .{}) catch return error.OutOfMemory;
            self.free_blocks += 1;
        }
        const block = &self.blocks.items[index];
        if (block.use == .free) {
            self.free_blocks -= 1;
            block.* = .{ .use = .tables };
        }
        assert(block.use == .tables);
        _ = self.mark(index, @intCast(frame % block_frames), 1);
        self.blocks_touched = @max(self.blocks_touched, index + 1);
    }

    /// Frames from here on have no memory.
    pub fn end(self: *const FrameSpace) Frame {
        return @intCast(@max(self.blocks.items.len, self.blocks_touched) * block_frames);
    }

    /// Pages that the host has given the machine alone.
    pub fn touchedPages(self: *FrameSpace, at_rest: bool) u64 {
        switch (self.memory) {
            .own => |memfd| {
                var stat: linux.Statx = undefined;
                const rc: isize = @bitCast(linux.statx(memfd, "", linux.AT.EMPTY_PATH, .{ .BLOCKS = true }, &stat));
                return if (rc == 0) stat.blocks / (limits.page_size / 512) else 0;
            },
            .image => {
                // While it runs the set is its own thread's: it is told as it was known last.
                if (at_rest) self.touched.scan(self.allocator, self.base, self.end()) catch {};
                return self.touched.pages.items.len;
            },
        }
    }

    /// To be called when the VMM is about to write a frame.
    pub fn noteWrite(self: *FrameSpace, frame: Frame) void {
        if (self.memory == .image) self.touched.note(frame);
    }

    /// The host bytes of `count` frames, when they have all come. What never comes is of no use to anybody: who hands bytes
    /// on asks `waitFor` first.
    pub fn bytes(self: *const FrameSpace, frame: Frame, count: usize) []align(limits.page_size) u8 {
        _ = self.waitFor(frame, count);
        return self.place(frame, count);
    }

    /// Where frames are on the host: for what does not look at their bytes.
    pub fn place(self: *const FrameSpace, frame: Frame, count: u64) []align(limits.page_size) u8 {
        const offset = @as(u64, frame) * limits.page_size;
        const length = count * limits.page_size;
        assert(offset + length <= self.bytes_max);
        return @alignCast(self.base[offset..][0..@intCast(length)]);
    }

    pub const waitFor = awaited.waitFor;
    pub const waitBriefly = awaited.waitBriefly;
    pub const waitForAll = awaited.waitForAll;
    pub const awaits = awaited.awaits;
    pub const cutOff = awaited.cutOff;

    fn account(self: *FrameSpace, count: u64) Error!void {
        if (self.frames_used + count > self.frames_max) return error.OutOfMemory;
        self.frames_used += count;
    }

    pub fn framesLeft(self: *const FrameSpace) u64 {
        return self.frames_max - self.frames_used;
    }

    pub fn newBlock(self: *FrameSpace, use: BlockUse, for_file: bool) Error!u32 {
        if (self.free_blocks > 0) {
            for (self.blocks.items, 0..) |*block, index| {
                if (block.use != .free or (for_file and block.viewed.findFirstSet() != null)) continue;
                self.free_blocks -= 1;
                block.* = .{ .use = use, .viewed = block.viewed };
                // A block below a table that a reset kept may not have been touched since.
                self.blocks_touched = @max(self.blocks_touched, index + 1);
                return @intCast(index);
            }
            assert(for_file);
        }
        const needed = (@as(u64, self.blocks.items.len) + 1) * limits.window_size;
        if (needed > self.bytes_max) return error.OutOfMemory;
        try self.grow.grow_fn(self.grow.context, needed);
        self.blocks.append(self.allocator, .{ .use = use }) catch return error.OutOfMemory;
        self.blocks_touched = @max(self.blocks_touched, self.blocks.items.len);
        return @intCast(self.blocks.items.len - 1);
    }

    /// A whole block for one window of guest-virtual space; its frames are accounted when they are mapped.
    pub fn takeBlock(self: *FrameSpace) Error!Frame {
        return try self.newBlock(.whole, false) * block_frames;
    }

    pub fn releaseBlock(self: *FrameSpace, first: Frame) void {
        const block = &self.blocks.items[first / block_frames];
        assert(block.use == .whole and first % block_frames == 0);
        block.use = .free;
        self.free_blocks += 1;
    }

    /// Frames of a whole block are mapped one range at a time; this accounts for them.
    pub fn useOfBlock(self: *FrameSpace, count: u64) Error!void {
        try self.account(count);
    }

    pub fn unuseOfBlock(self: *FrameSpace, count: u64) void {
        assert(self.frames_used >= count);
        self.frames_used -= count;
    }

    /// `count` contiguous frames from a shared block.
    pub fn takeSmall(self: *FrameSpace, count: u16) Error!Frame {
        return self.take(.small, count, false);
    }

    /// The same, of which nobody has a view, so that they may show a file.
    pub fn takeForFile(self: *FrameSpace, count: u16) Error!Frame {
        return self.take(.small, count, true);
    }

    /// A zeroed frame for a page table; page tables have blocks of their own.
    pub fn takeTable(self: *FrameSpace) Error!Frame {
        return self.take(.tables, 1, false);
    }

    fn take(self: *FrameSpace, use: BlockUse, count: u16, for_file: bool) Error!Frame {
        assert(count > 0 and count <= block_frames);
        try self.account(count);
        errdefer self.frames_used -= count;
        for (self.blocks.items, 0..) |*block, index| {
            if (block.use != use or block.free_count < count) continue;
            if (block.findRun(count, for_file)) |first| return self.mark(@intCast(index), first, count);
        }
        const index = try self.newBlock(use, for_file);
        return self.mark(index, 0, count);
    }

    fn mark(self: *FrameSpace, index: u32, first: u16, count: u16) Frame {
        const block = &self.blocks.items[index];
        block.used.setRangeValue(.{ .start = first, .end = first + count }, true);
        block.free_count -= count;
        return index * block_frames + first;
    }

    /// Gives back frames of a shared block. The caller has revoked their translations and punched their memory out.
    pub fn releaseSmall(self: *FrameSpace, frame: Frame, count: u16) void {
        const block = &self.blocks.items[frame / block_frames];
        assert(block.use == .small);
        const first = frame % block_frames;
        for (first..first + count) |bit| {
            assert(block.used.isSet(bit));
            block.used.unset(bit);
        }
        block.free_count += count;
        self.frames_used -= count;
        if (block.free_count == block_frames) {
            block.use = .free;
            self.free_blocks += 1;
        }
    }

    /// Takes the frames of the system area out of the first block, before anything else is given out.
    pub fn reserveSystem(self: *FrameSpace, first: Frame, count: u16) Error!void {
        assert(self.blocks.items.len == 0);
        const index = try self.newBlock(.tables, false);
        _ = self.mark(index, 0, @intCast(first + count));
    }

    /// Frees the memory behind frames: they read as zero afterwards and KVM has dropped its translations of them.
    pub fn punch(self: *FrameSpace, frame: Frame, count: u64) void {
        switch (self.memory) {
            .own => |memfd| {
                self.hideFiles(frame, @intCast(frame + count));
                if (self.lost) return;
                const mode = linux.FALLOC.FL_PUNCH_HOLE | linux.FALLOC.FL_KEEP_SIZE;
                const rc = linux.fallocate(memfd, mode, @intCast(@as(u64, frame) * limits.page_size), @intCast(count * limits.page_size));
                // A hole in a memfd needs no memory; were it refused all the same, the bytes must still not survive.
                if (@as(isize, @bitCast(rc)) < 0) @memset(self.bytes(frame, count), 0);
            },
            .image => |image| self.punchPrivate(image, frame, @intCast(frame + count)),
        }
    }

    /// The image's pages cannot be punched, so anonymous memory takes their place until a reset.
    fn punchPrivate(self: *FrameSpace, image: *const FrameImage, first: Frame, last: Frame) void {
        const extent: Frame = @intCast(image.bytes.len / limits.page_size);
        var at = first;
        while (at < last) {
            const piece = self.anonymous.pieceAt(at, last);
            if (piece.inside or at >= extent) {
                self.hideFiles(at, piece.last);
                if (self.lost) return;
                if (!self.drop(at, piece.last - at)) self.zeroAndRevoke(at, piece.last);
                at = piece.last;
                continue;
            }
            const stop = @min(piece.last, extent);
            const added = self.anonymous.add(at, stop);
            // Anonymous memory comes first: what shows a file must not be touched.
            self.hideFiles(at, stop);
            if (self.lost) return;
            self.mapAnonymousOr(added, at, stop);
            at = stop;
        }
    }

    fn mapAnonymousOr(self: *FrameSpace, added: bool, first: Frame, last: Frame) void {
        if (added) {
            if (self.mapAnonymous(first, last - first)) |_| return else |_| self.anonymous.remove(first, last);
        }
        // Too many pieces already: the bytes go, the mapping stays.
        self.zeroAndRevoke(first, last);
    }

    fn zeroAndRevoke(self: *FrameSpace, first: Frame, last: Frame) void {
        @memset(self.place(first, last - first), 0);
        self.revoke(first, last - first);
    }

    /// Gives frames their memory before the guest touches them. Only a hint: what does not get it now gets it then.
    pub fn populate(self: *FrameSpace, frame: Frame, count: u64) void {
        const populate_write = 23;
        var first: u64 = frame;
        const last = frame + count;
        while (first < last) {
            // A copy of what has not come yet would be one of nothing.
            var behind = first;
            while (behind < last and !self.awaits(@intCast(behind))) behind += 1;
            const range = self.place(@intCast(first), behind - first);
            if (range.len > 0) _ = linux.madvise(range.ptr, range.len, populate_write);
            first = behind + 1;
        }
    }

    /// Gives up private memory: what is behind the frames is the image's, or zero, and KVM's translations are gone.
    pub fn drop(self: *FrameSpace, frame: Frame, count: u64) bool {
        const range = self.place(frame, count);
        return linux.madvise(range.ptr, range.len, linux.MADV.DONTNEED) == 0;
    }

    /// Makes KVM drop its translations of frames whose entries were restricted; their contents stay.
    pub fn revoke(self: *FrameSpace, frame: Frame, count: u64) void {
        var at = frame;
        const last: Frame = @intCast(frame + count);
        while (at < last) {
            const part = self.files.overlap(at, last) orelse return self.revokeOwn(at, last);
            if (part.first > at) self.revokeOwn(at, part.first);
            // A shared mapping keeps its contents in the file, and may refuse to be made writable.
            if (part.shared) self.mapPiece(part) catch {
                self.lost = true;
            } else self.toggle(part.first, part.last);
            at = part.last;
        }
    }

    fn revokeOwn(self: *FrameSpace, first: Frame, last: Frame) void {
        // Private memory would lose its contents.
        if (self.memory == .image) return self.toggle(first, last);
        const range = self.place(first, last - first);
        _ = linux.madvise(range.ptr, range.len, linux.MADV.DONTNEED);
    }

    /// A change of rights is an event too. Execution is added and taken away again, so that no thread of the host that uses
    /// a view loses its access meanwhile; a worker process has no views, and its jail no executable memory.
    fn toggle(self: *FrameSpace, first: Frame, last: Frame) void {
        const range = self.place(first, last - first);
        const more: linux.PROT = .{ .READ = true, .WRITE = true, .EXEC = true };
        const less: linux.PROT = .{ .READ = true };
        const usual: linux.PROT = .{ .READ = true, .WRITE = true };
        const has_views = worker.self == null;
        if (!(has_views and pages.protect(range, more)) and !pages.protect(range, less)) self.lost = true;
        if (!pages.protect(range, usual)) self.lost = true;
    }
};

pub fn noGrowth(context: *anyopaque, wanted: u64) host.Error!void {
    _ = context;
    _ = wanted;
}

/// A frame space without a VM, for unit tests.
pub fn testSpace(memory_bytes: u64) Error!FrameSpace {
    var nothing: u8 = 0;
    return FrameSpace.init(std.testing.allocator, memory_bytes, .{}, .{ .context = &nothing, .grow_fn = noGrowth });
}
