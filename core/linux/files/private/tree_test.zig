//! Private trees that share what they show, until one of them changes it.
const std = @import("std");
const linux = std.os.linux;
const limits = @import("../../../limits.zig");
const tree_module = @import("tree.zig");
const Tree = tree_module.Tree;
const mount_points = tree_module.mount_points;
const page = limits.page_size;

test "a clone shares contents until one writes, and names and sizes are its own" {
    const testing = std.testing;
    const tree = try Tree.create(testing.allocator);
    defer tree.release();
    const file = try tree.make(.file, 0o644, .{ .uid = 1, .gid = 1 }, .{});
    try tree.link(0, "a", file, .{});
    try tree.resize(file, 5000);
    try testing.expectEqual(5, linux.pwrite(tree.at(file).content.?.fd, "hello", 5, 0));
    const other = try tree.clone();
    defer other.release();
    try testing.expect(tree.equals(other));
    try testing.expectEqual(tree.at(file).content, other.at(file).content);
    const own = try other.ownContent(file, 5000);
    try testing.expect(own != tree.at(file).content.? and tree.equals(other));
    try testing.expectEqual(5, linux.pwrite(own.fd, "HELLO", 5, 0));
    try testing.expect(!tree.equals(other));
    other.unlink(0, "a", .nothing, .{});
    other.drop(file);
    try testing.expectEqual(0, other.bytes);
    try testing.expectEqual(mount_points.len, other.used);
    try testing.expectEqual(file, tree.lookup(0, "a").?);
    try testing.expectEqual(2 * page, tree.bytes);
}

test "an image has what a shared mapping shows at that instant, and goes on without it" {
    const testing = std.testing;
    const tree = try Tree.create(testing.allocator);
    defer tree.release();
    const file = try tree.make(.file, 0o644, .{ .uid = 1, .gid = 1 }, .{});
    try tree.link(2, "shared", file, .{});
    try tree.resize(file, 3);
    const content = try tree.mapShared(file);
    try testing.expectEqual(3, linux.pwrite(content.fd, "abc", 3, 0));
    const image = try tree.freeze();
    defer image.release();
    try testing.expect(image != tree and image.equals(tree) and !image.at(file).isMapped());
    // As the guest would, without a call.
    try testing.expectEqual(3, linux.pwrite(content.fd, "xyz", 3, 0));
    try testing.expect(!image.equals(tree));
    const fork = try image.freeze();
    defer fork.release();
    try testing.expect(fork == image);
}
