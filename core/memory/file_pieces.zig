//! Which frames show a host file instead of memory of the machine's own: a sorted list of runs.
//!
//! Such memory is not steady: the file may be cut short by anybody at any time, and an access of the VMM's would then be
//! SIGBUS. Whoever reads or writes it copies with `host.copyOut` and `host.copyIn`, or lets the host's kernel do it.
const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../limits.zig");
const HostFile = @import("../host_file.zig").HostFile;
const Frame = u32;

pub const FilePiece = struct {
    first: Frame,
    last: Frame,
    file: *HostFile,
    /// Where in the file the first frame's bytes are.
    offset: u64,
    shared: bool,
    writable: bool,

    pub fn offsetOf(self: FilePiece, frame: Frame) u64 {
        return self.offset + @as(u64, frame - self.first) * limits.page_size;
    }

    fn part(self: FilePiece, first: Frame, last: Frame) FilePiece {
        var piece = self;
        piece.first = first;
        piece.last = last;
        piece.offset = self.offsetOf(first);
        return piece;
    }
};

pub const FilePieces = struct {
    allocator: std.mem.Allocator,
    items: std.ArrayList(FilePiece) = .empty,

    pub fn deinit(self: *FilePieces) void {
        self.clear();
        self.items.deinit(self.allocator);
    }

    pub fn clear(self: *FilePieces) void {
        for (self.items.items) |piece| piece.file.release(self.allocator);
        self.items.clearRetainingCapacity();
    }

    /// Index of the first piece that ends above `frame`.
    pub fn indexAfter(self: *const FilePieces, frame: Frame) usize {
        var low: usize = 0;
        var high = self.items.items.len;
        while (low < high) {
            const middle = (low + high) / 2;
            if (self.items.items[middle].last <= frame) low = middle + 1 else high = middle;
        }
        return low;
    }

    pub fn find(self: *const FilePieces, frame: Frame) ?FilePiece {
        const index = self.indexAfter(frame);
        if (index == self.items.items.len or self.items.items[index].first > frame) return null;
        return self.items.items[index];
    }

    /// The part of the first piece that overlaps the frames.
    pub fn overlap(self: *const FilePieces, first: Frame, last: Frame) ?FilePiece {
        const index = self.indexAfter(first);
        if (index == self.items.items.len) return null;
        const piece = self.items.items[index];
        if (piece.first >= last) return null;
        return piece.part(@max(piece.first, first), @min(piece.last, last));
    }

    pub fn isFull(self: *const FilePieces) bool {
        return self.items.items.len >= limits.file_pieces_max;
    }

    /// Adds a piece where none is. The list holds a reference of its own.
    pub fn add(self: *FilePieces, piece: FilePiece) error{OutOfMemory}!void {
        assert(piece.first < piece.last);
        assert(self.overlap(piece.first, piece.last) == null);
        try self.items.insert(self.allocator, self.indexAfter(piece.first), piece);
        _ = piece.file.retain();
    }

    /// Makes room for what `remove` may need.
    pub fn reserve(self: *FilePieces) error{OutOfMemory}!void {
        try self.items.ensureUnusedCapacity(self.allocator, 2);
    }

    /// Takes out one part as `overlap` gave it; what is around it stays. `reserve` must have been called before.
    pub fn remove(self: *FilePieces, taken: FilePiece) void {
        const index = self.indexAfter(taken.first);
        const whole = self.items.items[index];
        assert(whole.first <= taken.first and taken.last <= whole.last);
        _ = self.items.orderedRemove(index);
        defer whole.file.release(self.allocator);
        if (taken.last < whole.last) self.insertPart(index, whole.part(taken.last, whole.last));
        if (whole.first < taken.first) self.insertPart(index, whole.part(whole.first, taken.first));
    }

    fn insertPart(self: *FilePieces, index: usize, piece: FilePiece) void {
        self.items.insertAssumeCapacity(index, piece);
        _ = piece.file.retain();
    }

    pub fn adopt(self: *FilePieces, pieces: []const FilePiece) error{OutOfMemory}!void {
        try self.items.ensureTotalCapacity(self.allocator, pieces.len);
        for (pieces) |piece| _ = piece.file.retain();
        self.clear();
        self.items.appendSliceAssumeCapacity(pieces);
    }
};

test "pieces are split and found as a table of frames says" {
    const allocator = std.testing.allocator;
    const file = try HostFile.create(allocator, -1, "");
    defer file.release(allocator);
    var pieces: FilePieces = .{ .allocator = allocator };
    defer pieces.deinit();
    var model: [64]?u64 = @splat(null);
    var random = std.Random.DefaultPrng.init(1);
    for (0..5000) |_| {
        const first = random.random().uintLessThan(Frame, 64);
        const last = first + 1 + random.random().uintLessThan(Frame, 64 - first);
        if (pieces.overlap(first, last) == null) {
            try pieces.add(.{ .first = first, .last = last, .file = file, .offset = @as(u64, first) * 3 * limits.page_size, .shared = false, .writable = true });
            for (first..last) |frame| model[frame] = (@as(u64, first) * 3 + frame - first) * limits.page_size;
        } else while (pieces.overlap(first, last)) |part| {
            try pieces.reserve();
            pieces.remove(part);
            for (part.first..part.last) |frame| model[frame] = null;
        }
        for (model, 0..) |expected, frame| {
            const found = pieces.find(@intCast(frame));
            try std.testing.expectEqual(expected, if (found) |piece| piece.offsetOf(@intCast(frame)) else null);
        }
    }
}
