//! The layers of a new machine: which of the folders that programs keep caches in get one (`linux/files/private/layers.zig`).
//!
//! Where writing is permitted the host's folder is all there is; where writing is denied, or a volume or a private directory
//! is, nothing changes. A folder need not be there.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const kernel_module = @import("../linux/kernel.zig");
const layers = @import("../linux/files/private/layers.zig");
const limits = @import("../limits.zig");
const open = @import("../linux/files/private/open.zig");
const paths = @import("../linux/paths.zig");
const permissions_module = @import("../linux/permissions.zig");
const shared_libraries = @import("../shared_libraries.zig");
const isBeneath = permissions_module.isBeneath;

const Kernel = kernel_module.Kernel;

/// Where files are made up, whatever the host has there.
const made_up = [_][]const u8{ "/proc", "/sys", "/dev" };
const default_mode = 0o755;
const permission_bits = 0o7777;

/// A path as the guest spells it, and where that leads on the host.
const Candidate = struct { way: []const u8, path: []const u8 };

/// Adds layers over those of the folders that are to have one.
pub fn add(kernel: *Kernel, folders: []const []const u8) error{OutOfMemory}!void {
    const arena = kernel.files.scope.arena.allocator();
    var candidates: std.ArrayList(Candidate) = .empty;
    for (folders) |given| {
        var buffer: [paths.path_max]u8 = undefined;
        const way = try arena.dupe(u8, permissions_module.normalize(given, &buffer) orelse continue);
        try candidates.append(arena, .{ .way = way, .path = try realPath(arena, way) });
    }
    // A folder before those beneath it, which it makes needless.
    std.mem.sort(Candidate, candidates.items, {}, isShorter);
    var ways: std.ArrayList([]const u8) = .empty;
    for (candidates.items) |candidate| {
        if (ways.items.len == limits.layers_max) break;
        if (!isWanted(kernel, candidate.path)) continue;
        if (!try addOne(kernel, candidate.path)) continue;
        try ways.append(arena, candidate.way);
    }
    kernel.files.scope.ways = ways.items;
}

fn isShorter(_: void, one: Candidate, other: Candidate) bool {
    return one.path.len < other.path.len;
}

/// A path with the links resolved in as much of it as there is.
fn realPath(arena: std.mem.Allocator, path: []const u8) error{OutOfMemory}![]const u8 {
    var there = path;
    while (there.len > 1) : (there = std.fs.path.dirname(there).?) {
        const rc: isize = @bitCast(linux.open(try arena.dupeZ(u8, there), .{ .PATH = true, .CLOEXEC = true }, 0));
        if (rc < 0) continue;
        defer host.close(@intCast(rc));
        var buffer: [limits.path_max_bytes]u8 = undefined;
        const real = shared_libraries.realPath(@intCast(rc), &buffer) orelse break;
        return std.mem.concat(arena, u8, &.{ if (real.len == 1) "" else real, path[there.len..] });
    }
    return path;
}

fn isWanted(kernel: *const Kernel, path: []const u8) bool {
    if (path.len <= 1) return false;
    for (made_up) |folder| if (isBeneath(path, folder)) return false;
    for (kernel.files.private.roots) |root| if (isBeneath(path, root) or isBeneath(root, path)) return false;
    const space = kernel.files.namespace();
    var at: paths.HostPlace = undefined;
    space.hostPlace(path, &at) catch return false;
    return !at.mount.volume and !space.allows(.write, &at) and !space.permissions.denies(.write, at.hostPath());
}

/// False if what is there is no folder, and the guest may know that.
fn addOne(kernel: *Kernel, path: []const u8) error{OutOfMemory}!bool {
    const scope = kernel.files.scope;
    const arena = scope.arena.allocator();
    const user = open.userOf(kernel);
    var facts: ?linux.Statx = null;
    if (scope.permissions.reveals(path)) {
        var found: linux.Statx = undefined;
        const rc = layers.look(kernel, path, &found);
        if (rc == 0 and !layers.isDirectory(&found)) return false;
        if (rc == 0) facts = found;
    }
    const tree = kernel.files.private;
    const roots = try std.mem.concat(arena, []const u8, &.{ tree.roots, &.{path} });
    const mode = if (facts) |found| found.mode & permission_bits else default_mode;
    const owner = if (facts) |found| layers.ownerOf(kernel, &found) else user;
    const index = tree.addLayer(roots, mode, owner, open.now(kernel)) catch return error.OutOfMemory;
    if (facts) |*found| layers.describe(tree.at(index), found);
    return true;
}
