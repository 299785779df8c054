//! What of the host a guest may reach: grants by path, denials that win, and volumes that show a host path elsewhere.
//!
//! Paths here are absolute, without `.`, `..`, empty components or symbolic links; `paths.zig` makes them so. A grant is
//! for a path and all beneath it, by whole components: `/usr` grants `/usr/lib`, never `/usrx`.
const std = @import("std");
const canaries = @import("canaries.zig");

pub const Rule = struct {
    all: bool = false,
    paths: []const []const u8 = &.{},

    pub fn covers(self: Rule, path: []const u8) bool {
        if (self.all) return true;
        for (self.paths) |granted| if (isBeneath(path, granted)) return true;
        return false;
    }

    /// Whether something beneath `path` is granted, so that the guest may pass through it.
    pub fn leadsTo(self: Rule, path: []const u8) bool {
        if (self.all) return true;
        for (self.paths) |granted| if (isBeneath(granted, path)) return true;
        return false;
    }
};

/// Whether `path` is `ancestor` or lies beneath it.
pub fn isBeneath(path: []const u8, ancestor: []const u8) bool {
    if (ancestor.len == 1 and ancestor[0] == '/') return true;
    if (!std.mem.startsWith(u8, path, ancestor)) return false;
    return path.len == ancestor.len or path[ancestor.len] == '/' or canaries.is(.components_ignored);
}

pub const Access = enum { read, write };

pub const Permissions = struct {
    read: Rule = .{},
    write: Rule = .{},
    deny_read: Rule = .{},
    deny_write: Rule = .{},
    /// Files that the program needs to start: readable without a grant, unless they are denied.
    needed: []const []const u8 = &.{},
    /// AF_UNIX sockets that may be reached, and folders of them: they may be found, and no more.
    sockets: []const []const u8 = &.{},

    pub fn denies(self: *const Permissions, access: Access, host_path: []const u8) bool {
        if (canaries.is(.denial_ignored)) return false;
        return switch (access) {
            .read => self.deny_read.covers(host_path),
            .write => self.deny_write.covers(host_path),
        };
    }

    pub fn allows(self: *const Permissions, access: Access, host_path: []const u8) bool {
        return switch (access) {
            .read => (self.read.covers(host_path) or self.isNeeded(host_path)) and !self.denies(.read, host_path),
            .write => self.write.covers(host_path) and !self.denies(.write, host_path),
        };
    }

    fn isNeeded(self: *const Permissions, host_path: []const u8) bool {
        for (self.needed) |path| if (std.mem.eql(u8, path, host_path)) return true;
        return false;
    }

    /// Whether the guest may know that `host_path` exists: it is granted, or leads to something granted.
    pub fn reveals(self: *const Permissions, host_path: []const u8) bool {
        if (self.denies(.read, host_path)) return false;
        if (self.read.covers(host_path) or self.write.covers(host_path)) return true;
        const needed: Rule = .{ .paths = self.needed };
        const sockets: Rule = .{ .paths = self.sockets };
        if (sockets.covers(host_path) or sockets.leadsTo(host_path)) return true;
        return self.read.leadsTo(host_path) or self.write.leadsTo(host_path) or needed.leadsTo(host_path);
    }
};

/// Makes a path canonical in form: absolute, one slash between components, no `.`; null if it is relative or has `..`.
pub fn normalize(path: []const u8, out: []u8) ?[]u8 {
    if (path.len == 0 or path[0] != '/') return null;
    var length: usize = 0;
    var parts = std.mem.tokenizeScalar(u8, path, '/');
    while (parts.next()) |part| {
        if (std.mem.eql(u8, part, ".")) continue;
        if (std.mem.eql(u8, part, "..")) return null;
        if (length + 1 + part.len > out.len) return null;
        out[length] = '/';
        @memcpy(out[length + 1 ..][0..part.len], part);
        length += 1 + part.len;
    }
    if (length == 0) {
        out[0] = '/';
        length = 1;
    }
    return out[0..length];
}

test "grants go by whole components, denials win, ancestors are revealed" {
    const permissions: Permissions = .{ .read = .{ .paths = &.{ "/usr", "/home/me/x" } }, .deny_read = .{ .paths = &.{"/usr/secret"} } };
    try std.testing.expect(permissions.allows(.read, "/usr/lib/a"));
    try std.testing.expect(!permissions.allows(.read, "/usrx"));
    try std.testing.expect(!permissions.allows(.read, "/usr/secret/key"));
    try std.testing.expect(!permissions.allows(.write, "/usr/lib"));
    try std.testing.expect(permissions.reveals("/home"));
    try std.testing.expect(!permissions.reveals("/home/other"));
    try std.testing.expect(!permissions.reveals("/usr/secret"));
    var buffer: [64]u8 = undefined;
    try std.testing.expectEqualStrings("/a/b", normalize("//a/./b/", &buffer).?);
    try std.testing.expectEqual(null, normalize("/a/../b", &buffer));
}
