//! A host descriptor that open files, mappings and programs share, and the bytes behind it read safely.
//!
//! Whoever holds a reference keeps the descriptor open: a guest may close a file that it has mapped. Nothing here maps.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const Content = @import("linux/files/private/content.zig").Content;

/// Where each open file stands is in its own description, never in the host's.
pub const HostFile = struct {
    fd: i32,
    references: std.atomic.Value(u32) = .init(1),
    /// The guest's name of it, for /proc/self/maps.
    path: []const u8 = "",
    /// What the descriptor is of, if it is a private file's; then it is the content's own.
    content: ?*Content = null,
    /// Which of the machine's standard streams it is, if it is one.
    standard: u8 = 0,
    /// It is a snapshot's copy of the file, which nobody can write to; what the host has by its path may be another one.
    copied: bool = false,

    /// Takes the descriptor over, on failure too.
    pub fn create(allocator: std.mem.Allocator, fd: i32, path: []const u8) error{OutOfMemory}!*HostFile {
        errdefer host.close(fd);
        const self = try allocator.create(HostFile);
        errdefer allocator.destroy(self);
        self.* = .{ .fd = fd, .path = try allocator.dupe(u8, path) };
        return self;
    }

    /// A private file's, which is held as long as this is.
    pub fn ofContent(allocator: std.mem.Allocator, content: *Content, path: []const u8) error{OutOfMemory}!*HostFile {
        const self = try allocator.create(HostFile);
        errdefer allocator.destroy(self);
        self.* = .{ .fd = content.fd, .path = try allocator.dupe(u8, path), .content = content.retain() };
        return self;
    }

    pub fn retain(self: *HostFile) *HostFile {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *HostFile, allocator: std.mem.Allocator) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        if (self.content) |content| content.release(allocator) else host.close(self.fd);
        allocator.free(self.path);
        allocator.destroy(self);
    }

    pub fn size(self: *const HostFile) u64 {
        return self.facts().bytes;
    }

    pub const Facts = struct { bytes: u64 = 0, modified_ns: i64 = 0 };

    /// By which a saved snapshot recognizes the file.
    pub fn facts(self: *const HostFile) Facts {
        var found: linux.Statx = undefined;
        const rc: isize = @bitCast(linux.statx(self.fd, "", linux.AT.EMPTY_PATH, .{ .SIZE = true, .MTIME = true }, &found));
        if (rc < 0) return .{};
        return .{ .bytes = found.size, .modified_ns = found.mtime.sec *% std.time.ns_per_s +% found.mtime.nsec };
    }

    pub const Identity = struct { major: u32 = 0, minor: u32 = 0, inode: u64 = 0 };

    /// What tells the file from others on the host.
    pub fn identity(self: *const HostFile) Identity {
        var found: linux.Statx = undefined;
        const rc: isize = @bitCast(linux.statx(self.fd, "", linux.AT.EMPTY_PATH, .{ .INO = true }, &found));
        return if (rc < 0) .{} else .{ .major = found.dev_major, .minor = found.dev_minor, .inode = found.ino };
    }

    /// Reads until `out` is full or the file ends; how much there was. The host reads into guest memory as well as into
    /// its own: what cannot be written ends the reading.
    pub fn readAt(self: *const HostFile, out: []u8, offset: u64) usize {
        var done: usize = 0;
        while (done < out.len) {
            const rc: isize = @bitCast(linux.pread(self.fd, out.ptr + done, out.len - done, @intCast(offset + done)));
            if (rc == -@as(isize, @intFromEnum(linux.E.INTR))) continue;
            if (rc <= 0) break;
            done += @intCast(rc);
        }
        return done;
    }
};
