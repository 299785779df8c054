//! The pages that requests to the forks of an image really write, learned at resets: a new fork gets its own copies of
//! them at once, which costs a third of what the first writes would.
const std = @import("std");
const host = @import("host.zig");
const limits = @import("limits.zig");
const FrameSpace = @import("memory/frames.zig").FrameSpace;

pub const WriteSet = struct {
    lock: host.Mutex = .{},
    frames: std.DynamicBitSetUnmanaged = .{},
    count: u32 = 0,

    pub fn deinit(self: *WriteSet, allocator: std.mem.Allocator) void {
        self.frames.deinit(allocator);
    }

    /// A request has written this frame of the image.
    pub fn add(self: *WriteSet, allocator: std.mem.Allocator, frame: u32, image_frames: usize) void {
        if (frame >= image_frames) return;
        self.lock.lock();
        defer self.lock.unlock();
        if (self.count >= limits.write_set_max_pages) return;
        // Only a hint, so nothing is lost when there is no memory for it.
        if (self.frames.capacity() < image_frames) self.frames.resize(allocator, image_frames, false) catch return;
        if (self.frames.isSet(frame)) return;
        self.frames.set(frame);
        self.count += 1;
    }

    pub fn populate(self: *WriteSet, space: *FrameSpace) void {
        self.lock.lock();
        defer self.lock.unlock();
        var iterator = self.frames.iterator(.{});
        var first: usize = 0;
        var last: usize = 0;
        while (iterator.next()) |frame| {
            if (frame != last) {
                if (last > first) space.populate(@intCast(first), last - first);
                first = frame;
            }
            last = frame + 1;
        }
        if (last > first) space.populate(@intCast(first), last - first);
    }
};
