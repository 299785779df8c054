//! Frames that come and go, of a machine's own memory and of a fork's.
const std = @import("std");
const frames = @import("frames.zig");
const limits = @import("../limits.zig");
const FrameImage = @import("frame_image.zig").FrameImage;
const FrameSpace = frames.FrameSpace;
const block_frames = @import("block.zig").frames;
const noGrowth = frames.noGrowth;
const testSpace = frames.testSpace;

test "frames come back, blocks are used again, the ceiling holds" {
    var space = try testSpace(4 * limits.MiB);
    defer space.deinit();
    const first = try space.takeSmall(512);
    @memset(space.bytes(first, 512), 0xaa);
    const second = try space.takeSmall(511);
    try std.testing.expectError(error.OutOfMemory, space.takeSmall(2));
    space.punch(first, 512);
    space.releaseSmall(first, 512);
    const third = try space.takeSmall(256);
    try std.testing.expectEqual(first, third);
    try std.testing.expect(std.mem.allEqual(u8, space.bytes(third, 256), 0));
    space.releaseSmall(third, 256);
    space.releaseSmall(second, 511);
    try std.testing.expectEqual(@as(u64, 0), space.frames_used);
}

test "frames that somebody views show no file, in blocks of any use" {
    var space = try testSpace(8 * limits.MiB);
    defer space.deinit();
    const first = try space.takeSmall(4);
    space.noteView(first + 1, 1);
    space.punch(first, 4);
    space.releaseSmall(first, 4);
    try std.testing.expectEqual(first, try space.takeSmall(4));
    space.releaseSmall(first, 4);
    const apart = try space.takeForFile(4);
    try std.testing.expect(!space.isViewed(apart, 4));
    // A block given back and taken again remembers.
    const block = try space.takeBlock();
    space.noteView(block + 7, 1);
    space.releaseBlock(block);
    try std.testing.expectEqual(block, try space.takeBlock());
    try std.testing.expect(space.isViewed(block + 7, 1) and !space.isViewed(block + 8, block_frames - 8));
    space.releaseBlock(block);
    const large = try space.takeForFile(block_frames);
    try std.testing.expect(!space.isViewed(large, block_frames));
}

test "what a fork had behind a table that it keeps is gone after a full reset, each time" {
    var own = try testSpace(4 * limits.MiB);
    defer own.deinit();
    try own.reserveSystem(1, 11);
    var image: FrameImage = undefined;
    try image.freeze(&own);
    defer image.deinit();
    var nothing: u8 = 0;
    var fork = try FrameSpace.initFork(std.testing.allocator, &image, 16 * limits.MiB, .{ .context = &nothing, .grow_fn = noGrowth });
    defer fork.deinit();
    const data = try fork.takeBlock();
    const tables = try fork.newBlock(.tables, false) * block_frames;
    for (0..2) |_| {
        try fork.mapImage();
        try fork.adoptImage();
        try fork.keepTable(tables);
        try std.testing.expectEqual(data, try fork.takeBlock());
        try std.testing.expectEqual(0, fork.bytes(data, 1)[0]);
        fork.bytes(data, 1)[0] = 1;
    }
}
