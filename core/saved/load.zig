//! The memory of a saved machine as an image's: which of its pages are brought before the machine goes on, and which behind.
//!
//! What is brought first is so from the start, on threads of its own, while the rest of the file is read and checked.
const std = @import("std");
const file_module = @import("file.zig");
const format = @import("format.zig");
const host = @import("../host.zig");
const late_tables = @import("late_tables.zig");
const limits = @import("../limits.zig");
const pages_module = @import("pages.zig");
const records = @import("records.zig");
const Arrivals = @import("../memory/arrivals.zig").Arrivals;
const Block = records.Block;
const File = file_module.File;
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const Loading = pages_module.Loading;
const Pages = pages_module.Pages;
const Piece = @import("../memory/arrivals.zig").Piece;
const Rest = @import("rest.zig").Rest;
const SpaceImage = @import("../memory/space_image.zig").SpaceImage;

pub const Error = pages_module.Error;

/// How much of a file is compared with its checksums, and when.
pub const Verify = enum(u32) {
    /// All, before it is opened.
    full,
    /// What the machine needs at once before it is opened, all else before its first use.
    lazy,
    /// Nothing but the header: the file is believed.
    trusted,
    /// As `full`; and which pages forks use is recorded.
    recording,
};

pub const Load = struct {
    allocator: std.mem.Allocator,
    file: *const File,
    verify: Verify,
    pages: Pages,
    pages_taken: bool = false,
    memfd: i32,
    memfd_taken: bool = false,
    loading: Loading,

    /// Starts bringing what is needed first. It must stay where it is until `end`.
    pub fn begin(self: *Load, allocator: std.mem.Allocator, arena: std.mem.Allocator, file: *const File, verify: Verify) Error!void {
        var pages = try readPages(allocator, arena, file);
        errdefer pages.deinit();
        const memfd = try FrameImage.emptyMemfd(file.header.memory_extent);
        const waits = pages.hot_groups > 0 and canWait(file, verify);
        self.* = .{ .allocator = allocator, .file = file, .verify = verify, .pages = pages, .memfd = memfd, .loading = undefined };
        self.bringUpTo(if (waits) pages.hot_groups else @intCast(pages.groups.len));
    }

    /// Whether the rest may be read later: nobody may change the file by then.
    fn canWait(file: *const File, verify: Verify) bool {
        return switch (verify) {
            .full, .recording => false,
            // What is fetched goes to a file that nobody else knows.
            .lazy => file.source != null or file.holdStill() or file.isReadOnly(),
            .trusted => true,
        };
    }

    fn bringUpTo(self: *Load, count: u32) void {
        self.loading = .{ .pages = &self.pages, .file = self.file, .memfd = self.memfd, .count = count };
        self.loading.begin();
    }

    pub fn end(self: *Load) void {
        self.loading.giveUp();
        if (!self.pages_taken) self.pages.deinit();
        if (!self.memfd_taken) host.close(self.memfd);
    }

    /// Returns when what is needed first is there. Whose frames are whose, and files, are the caller's to fill in.
    pub fn finish(self: *Load, blocks: []const Block) Error!FrameImage {
        try self.loading.finish();
        const allocator = self.allocator;
        const pieces = try self.pages.pieces(self.file);
        var pieces_taken = false;
        defer if (!pieces_taken) allocator.free(pieces);
        if (self.loading.count < self.pages.groups.len and !self.hasTables(pieces, blocks)) {
            // An older or another writer: it can be opened, but not before all is there.
            self.bringUpTo(@intCast(self.pages.groups.len));
            try self.loading.finish();
        }
        self.memfd_taken = true;
        var frames: FrameImage = try .ofPieces(allocator, self.memfd, self.file.header.memory_extent, pieces);
        errdefer frames.deinit();
        frames.hot = try self.hotFrames();
        const rest = self.pages.groups.len - self.loading.count;
        if (self.verify == .recording) {
            frames.arrivals = try self.arrivalsOf(pieces, blocks, null);
        } else if (rest > 0) {
            frames.arrivals = try self.arrivalsOf(pieces, blocks, rest);
            pieces_taken = true;
        } else try FrameImage.seal(frames.memfd);
        return frames;
    }

    /// Whether all that the processor itself reads is hot: it cannot wait.
    fn hasTables(self: *const Load, pieces: []const Piece, blocks: []const Block) bool {
        for (pieces) |piece| for (piece.frame..piece.frame + piece.count, piece.position..) |frame, position| {
            if (position >= self.file.header.hot_pages and isOfTables(blocks, frame)) return false;
        };
        return true;
    }

    fn isOfTables(blocks: []const Block, frame: usize) bool {
        return blocks[frame / limits.window_pages].use == .tables;
    }

    /// With `rest` groups on their way, all that are not hot are late; without, all whose first use is to be recorded.
    fn arrivalsOf(self: *const Load, pieces: []const Piece, blocks: []const Block, rest: ?u64) error{OutOfMemory}!*Arrivals {
        const hot = if (rest != null) self.file.header.hot_pages else 0;
        var late: std.DynamicBitSetUnmanaged = try .initEmpty(self.allocator, @intCast(self.file.header.memory_extent / limits.page_size));
        errdefer late.deinit(self.allocator);
        for (pieces) |piece| for (piece.frame..piece.frame + piece.count, piece.position..) |frame, position| {
            if (position >= hot and !isOfTables(blocks, frame)) late.set(frame);
        };
        return if (rest) |groups| .ofGroups(self.allocator, late, pieces, format.group_pages, hot, groups) else .ofRecording(self.allocator, late);
    }

    fn hotFrames(self: *const Load) error{OutOfMemory}![]u32 {
        const hot = try self.allocator.alloc(u32, @intCast(self.file.header.hot_pages));
        var at: usize = 0;
        for (self.pages.runs) |run| for (run.frame..run.frame + run.count) |frame| {
            if (at == hot.len) return hot;
            hot[at] = @intCast(frame);
            at += 1;
        };
        return hot;
    }

    /// Takes what forks cannot see yet out of the tables, and starts bringing it.
    pub fn bringRest(self: *Load, frames: *const FrameImage, space: *const SpaceImage) Error!void {
        if (frames.arrivals == null) return;
        try late_tables.hide(self.allocator, frames, space);
        if (self.verify == .recording) return;
        self.pages_taken = true;
        try Rest.start(self.allocator, self.pages, self.file, frames);
    }
};

fn readPages(allocator: std.mem.Allocator, arena: std.mem.Allocator, file: *const File) Error!Pages {
    const run_bytes = try file.section(arena, .runs, limits.snapshot_state_max_bytes);
    const sum_bytes = try file.section(arena, .sums, limits.snapshot_state_max_bytes);
    if (run_bytes.len % @sizeOf(format.Run) != 0 or sum_bytes.len % 8 != 0) return file.invalid("runs", "they have another size", .{});
    if (file.verifies and format.sum(sum_bytes) != file.header.section(.pages).checksum) return file.invalid("sums", "it is damaged", .{});
    const runs = try allocator.dupe(format.Run, std.mem.bytesAsSlice(format.Run, run_bytes));
    const sums = allocator.dupe(u64, std.mem.bytesAsSlice(u64, sum_bytes)) catch |failure| {
        allocator.free(runs);
        return failure;
    };
    return Pages.init(allocator, file, runs, sums);
}
