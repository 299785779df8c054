//! Frames of a fork whose image's bytes have not come yet, as whoever needs them sees it. Who brings them: `arrivals.zig`.
const errors = @import("../errors.zig");
const limits = @import("../limits.zig");
const Arrivals = @import("arrivals.zig").Arrivals;
const frames = @import("frames.zig");
const Frame = frames.Frame;
const FrameSpace = frames.FrameSpace;

fn arrivalsOf(self: *const FrameSpace) ?*Arrivals {
    const late = switch (self.memory) {
        .own => return null,
        .image => |image| image.arrivals orelse return null,
    };
    return if (late.over.load(.acquire)) null else late;
}

/// Whether the guest cannot be shown a frame yet.
pub fn awaits(self: *const FrameSpace, frame: Frame) bool {
    const late = arrivalsOf(self) orelse return false;
    return late.awaits(frame) and !self.anonymous.contains(frame);
}

/// False if some of the image never come.
pub fn waitForAll(self: *const FrameSpace) bool {
    return self.memory == .own or self.memory.image.waitForAll();
}

/// Why the machine cannot go on, if some of the image never come.
pub fn cutOff(self: *const FrameSpace) ?*const errors.Record {
    const late = arrivalsOf(self) orelse return null;
    return if (late.failed.load(.acquire)) &late.failure else null;
}

/// Returns when the image's bytes of frames are there, or false when some never will be.
pub fn waitFor(self: *const FrameSpace, frame: Frame, count: usize) bool {
    const late = arrivalsOf(self) orelse return true;
    for (0..count) |offset| {
        const number: Frame = @intCast(frame + offset);
        if (!self.anonymous.contains(number) and !late.wait(number)) return false;
    }
    return true;
}

/// The same for one frame, and no longer than anybody may want to wait who can be interrupted: false if it is not there.
pub fn waitBriefly(self: *const FrameSpace, frame: Frame) bool {
    const late = arrivalsOf(self) orelse return true;
    return self.anonymous.contains(frame) or late.waitNoLonger(frame, limits.arrival_slice_ns);
}
