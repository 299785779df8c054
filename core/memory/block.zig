//! The record of 2 MiB of guest-physical space: what it is for, and which of its frames are in use.
//! Not here: which block is taken (`frames.zig`).
const std = @import("std");
const limits = @import("../limits.zig");

pub const frames = limits.window_pages;
pub const Use = enum(u8) { free, tables, small, whole };
pub const Set = std.StaticBitSet(frames);

pub const Block = struct {
    use: Use = .free,
    free_count: u16 = frames,
    used: Set = .initEmpty(),
    /// Frames whose bytes somebody outside may be looking at (a view), whatever has become of them since.
    viewed: Set = .initEmpty(),

    /// The first run of so many free frames; for a file, of frames that nobody views.
    pub fn findRun(self: *const Block, count: u16, for_file: bool) ?u16 {
        var run: u16 = 0;
        for (0..frames) |frame| {
            const taken = self.used.isSet(frame) or (for_file and self.viewed.isSet(frame));
            run = if (taken) 0 else run + 1;
            if (run == count) return @intCast(frame + 1 - count);
        }
        return null;
    }
};
