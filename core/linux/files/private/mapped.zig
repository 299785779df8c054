//! Private files behind mappings and programs: a reference to the content, which outlives the file's last name.
//!
//! A private mapping keeps what the file had, since whoever writes to a content that somebody holds copies it first. A
//! shared one is of the content the file goes on with; an image gets a copy of it (`core/memory/space_image.zig`).
const std = @import("std");
const content_module = @import("content.zig");
const kernel_module = @import("../../kernel.zig");
const limits = @import("../../../limits.zig");
const tree_module = @import("tree.zig");
const Content = content_module.Content;
const HostFile = @import("../../../host_file.zig").HostFile;
const Kernel = kernel_module.Kernel;
const Tree = tree_module.Tree;

/// The file of a mapping. An empty one gets a content for it too, so that pages are there once it has grown.
pub fn fileToMap(k: *Kernel, index: u32, path: []const u8, shared: bool) tree_module.Error!*HostFile {
    const tree = k.files.private;
    const held = try heldBy(k);
    if (tree.bytes + held.bytes > limits.private_bytes_max or tree.contents + held.count >= limits.private_descriptors_max) return error.NoSpace;
    const content = if (!shared and tree.at(index).content != null) tree.at(index).content.? else try (try k.files.ownPrivate()).mapShared(index);
    return HostFile.ofContent(k.files.allocator, content, path);
}

/// The file of a program: its bytes stay as they are.
pub fn fileToRun(k: *Kernel, index: u32, path: []const u8) tree_module.Error!?*HostFile {
    const node = k.files.private.at(index);
    const content = node.content orelse return null;
    if (!content.mapped) return try HostFile.ofContent(k.files.allocator, content, path);
    const kept = try content.copy(k.files.allocator, node.size);
    defer kept.release(k.files.allocator);
    return try HostFile.ofContent(k.files.allocator, kept, path);
}

/// How long a file may become; what mappings hold of files that are gone counts. Looked for only if the file grows.
pub fn sizeMax(k: *Kernel, index: u32, wanted: u64) u64 {
    const tree = k.files.private;
    const there = std.mem.alignForward(u64, tree.at(index).size, limits.page_size);
    if (wanted <= there) return there;
    const held = heldBy(k) catch return there;
    return @max(there, tree.sizeMax(index) -| held.bytes);
}

const Held = struct { bytes: u64 = 0, count: u32 = 0 };

/// What mappings alone keep: contents that no file has any more.
fn heldBy(k: *Kernel) error{OutOfMemory}!Held {
    var held: Held = .{};
    var contents: std.AutoHashMapUnmanaged(*Content, *HostFile) = .empty;
    defer contents.deinit(k.allocator);
    for (k.space.vmas.items.items) |vma| {
        const file = vma.file orelse continue;
        try contents.put(k.allocator, file.content orelse continue, file);
    }
    if (contents.count() == 0) return held;
    for (k.files.private.nodes.items) |node| if (node.content) |content| {
        _ = contents.remove(content);
    };
    var files = contents.valueIterator();
    while (files.next()) |file| {
        held.bytes += std.mem.alignForward(u64, file.*.size(), limits.page_size);
        held.count += 1;
    }
    return held;
}
