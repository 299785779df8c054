//! What a folder is after changes, by an independent model: a table of names and of what is behind them, as POSIX has it, with
//! the one thing that overlayfs does otherwise: a folder that shows the host's is not renamed.
//!
//! It knows nothing of trees, copies and whiteouts. Names are relative to the folder; the folder itself is the empty name.
const std = @import("std");
const linux = std.os.linux;
const E = linux.E;

const links_max = 40;

pub const Kind = enum { folder, file, link };

/// What is behind one or more names.
pub const Inode = struct {
    kind: Kind,
    bytes: std.ArrayList(u8) = .empty,
    /// Where a link leads: names from its own folder on.
    target: []const u8 = "",
    mode: u32 = 0,
    /// A folder of the host's.
    of_host: bool = false,
};

/// What a path leads to: the name of a place, and what is there.
pub const Place = struct { name: []const u8, inode: ?*Inode };

pub const Answer = union(enum) { refused: E, place: Place };

pub const Model = struct {
    arena: std.mem.Allocator,
    names: std.StringArrayHashMapUnmanaged(*Inode) = .empty,

    pub fn add(self: *Model, name: []const u8, inode: Inode) !void {
        const made = try self.arena.create(Inode);
        made.* = inode;
        try self.names.put(self.arena, try self.arena.dupe(u8, name), made);
    }

    pub fn parentOf(name: []const u8) []const u8 {
        return name[0 .. std.mem.lastIndexOfScalar(u8, name, '/') orelse 0];
    }

    fn join(self: *Model, folder: []const u8, name: []const u8) ![]const u8 {
        return if (folder.len == 0) name else std.fmt.allocPrint(self.arena, "{s}/{s}", .{ folder, name });
    }

    fn isWithin(inner: []const u8, outer: []const u8) bool {
        return inner.len > outer.len and std.mem.startsWith(u8, inner, outer) and (outer.len == 0 or inner[outer.len] == '/');
    }

    pub fn isEmpty(self: *const Model, folder: []const u8) bool {
        for (self.names.keys()) |name| if (isWithin(name, folder)) return false;
        return true;
    }

    /// Follows a path, its last link only if `follow`. Everything before the last name must be a folder.
    pub fn resolve(self: *Model, path: []const u8, follow: bool) !Answer {
        var rest: std.ArrayList([]const u8) = .empty;
        try self.pushNames(&rest, path);
        var here: []const u8 = "";
        var links: u32 = 0;
        while (rest.pop()) |name| {
            const last = rest.items.len == 0;
            const next = try self.join(here, name);
            const inode = self.names.get(next) orelse return if (last) .{ .place = .{ .name = next, .inode = null } } else .{ .refused = .NOENT };
            switch (inode.kind) {
                .link => if (!last or follow) {
                    links += 1;
                    if (links > links_max) return .{ .refused = .LOOP };
                    try self.pushNames(&rest, inode.target);
                    continue;
                },
                .file => if (!last) return .{ .refused = .NOTDIR },
                .folder => {},
            }
            if (last) return .{ .place = .{ .name = next, .inode = inode } };
            here = next;
        }
        return .{ .place = .{ .name = "", .inode = self.names.get("").? } };
    }

    fn pushNames(self: *Model, rest: *std.ArrayList([]const u8), path: []const u8) !void {
        var parts = std.mem.splitBackwardsScalar(u8, path, '/');
        while (parts.next()) |part| try rest.append(self.arena, part);
    }

    fn failIf(condition: bool, code: E) error{Refused}!void {
        if (condition) {
            refused_with = code;
            return error.Refused;
        }
    }

    /// Why the last change was refused.
    pub threadlocal var refused_with: E = .SUCCESS;

    fn find(self: *Model, path: []const u8, follow: bool) !Place {
        switch (try self.resolve(path, follow)) {
            .place => |place| return place,
            .refused => |code| {
                refused_with = code;
                return error.Refused;
            },
        }
    }

    fn existing(self: *Model, path: []const u8, follow: bool) !Place {
        const place = try self.find(path, follow);
        try failIf(place.inode == null, .NOENT);
        return place;
    }

    // Changes; each is refused with an errno or done.

    pub const OpenFlags = struct { writes: bool = false, creates: bool = false, exclusive: bool = false, truncates: bool = false };

    pub fn open(self: *Model, path: []const u8, flags: OpenFlags, mode: u32) !*Inode {
        const new = flags.creates and flags.exclusive;
        const place = try self.find(path, !new);
        const inode = place.inode orelse {
            try failIf(!flags.creates, .NOENT);
            try self.add(place.name, .{ .kind = .file, .mode = mode });
            return self.names.get(place.name).?;
        };
        try failIf(new, .EXIST);
        try failIf(inode.kind == .folder and (flags.writes or flags.creates or flags.truncates), .ISDIR);
        if (flags.truncates) inode.bytes.clearRetainingCapacity();
        return inode;
    }

    pub fn make(self: *Model, path: []const u8, inode: Inode) !void {
        const place = try self.find(path, false);
        try failIf(place.inode != null, .EXIST);
        try self.add(place.name, inode);
    }

    pub fn unlink(self: *Model, path: []const u8) !void {
        const place = try self.existing(path, false);
        try failIf(place.inode.?.kind == .folder, .ISDIR);
        _ = self.names.swapRemove(place.name);
    }

    pub fn removeFolder(self: *Model, path: []const u8) !void {
        const place = try self.existing(path, false);
        try failIf(place.inode.?.kind != .folder, .NOTDIR);
        try failIf(!self.isEmpty(place.name), .NOTEMPTY);
        _ = self.names.swapRemove(place.name);
    }

    pub fn link(self: *Model, old: []const u8, new: []const u8) !void {
        const from = try self.existing(old, false);
        const to = try self.find(new, false);
        try failIf(to.inode != null, .EXIST);
        try failIf(from.inode.?.kind == .folder, .PERM);
        try self.names.put(self.arena, try self.arena.dupe(u8, to.name), from.inode.?);
    }

    pub const How = enum { plain, no_replace, exchange };

    pub fn rename(self: *Model, old: []const u8, new: []const u8, how: How) !void {
        const from = try self.find(old, false);
        const to = try self.find(new, false);
        const moved = from.inode orelse return failIf(true, .NOENT);
        try failIf(how == .no_replace and to.inode != null, .EXIST);
        try failIf(how == .exchange and to.inode == null, .NOENT);
        try failIf(isWithin(to.name, from.name), .INVAL);
        try failIf(isWithin(from.name, to.name), if (how == .exchange) .INVAL else .NOTEMPTY);
        if (to.inode == moved) return;
        if (how != .exchange) if (to.inode) |replaced| {
            try failIf(moved.kind == .folder and replaced.kind != .folder, .NOTDIR);
            try failIf(moved.kind != .folder and replaced.kind == .folder, .ISDIR);
        };
        try failIf(moved.of_host or how == .exchange and to.inode.?.of_host, .XDEV);
        if (how != .exchange and to.inode != null) {
            try failIf(!self.isEmpty(to.name), .NOTEMPTY);
            _ = self.names.swapRemove(to.name);
        }
        try self.move(from.name, to.name, how == .exchange);
    }

    /// Gives all names at and within one place another beginning; the other way round too in an exchange.
    fn move(self: *Model, from: []const u8, to: []const u8, exchange: bool) !void {
        var moved: std.StringArrayHashMapUnmanaged(*Inode) = .empty;
        for (self.names.keys(), self.names.values()) |name, inode| {
            const is_first = std.mem.eql(u8, name, from) or isWithin(name, from);
            const is_second = exchange and (std.mem.eql(u8, name, to) or isWithin(name, to));
            const renamed = if (is_first)
                try std.mem.concat(self.arena, u8, &.{ to, name[from.len..] })
            else if (is_second)
                try std.mem.concat(self.arena, u8, &.{ from, name[to.len..] })
            else
                name;
            try moved.put(self.arena, renamed, inode);
        }
        self.names = moved;
    }

    pub fn truncate(self: *Model, path: []const u8, size: usize) !void {
        const place = try self.existing(path, true);
        try failIf(place.inode.?.kind == .folder, .ISDIR);
        const bytes = &place.inode.?.bytes;
        if (size > bytes.items.len) try bytes.appendNTimes(self.arena, 0, size - bytes.items.len) else bytes.shrinkRetainingCapacity(size);
    }

    pub fn chmod(self: *Model, path: []const u8, mode: u32) !void {
        (try self.existing(path, true)).inode.?.mode = mode;
    }
};
