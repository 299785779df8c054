//! The bytes of a private file: a memfd of the host's, shared by the trees of a machine, its images and their forks until
//! one of them writes to it.
//!
//! A memfd rather than memory of the VMM's, so that a mapping of the file is a mapping of the descriptor. Its size is the
//! file's. Not here: whose turn it is to copy (`tree.zig`).
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../../host.zig");
const limits = @import("../../../limits.zig");

pub const Error = error{ OutOfMemory, NoSpace };

/// lseek(2).
pub const SEEK_DATA = 3;
pub const SEEK_HOLE = 4;

/// What lseek(2) answers where only a hole is left.
const nothing_behind = -@as(i64, @intFromEnum(linux.E.NXIO));

const chunk_bytes = 64 * limits.KiB;

pub const Content = struct {
    fd: i32,
    references: std.atomic.Value(u32) = .init(1),
    /// A shared mapping may change the bytes at any time and without a call.
    mapped: bool = false,

    pub fn create(allocator: std.mem.Allocator) Error!*Content {
        const self = try allocator.create(Content);
        errdefer allocator.destroy(self);
        // A snapshot's copies of the host's files are sealed.
        const fd = host.check(linux.memfd_create("pristine-private", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING)) catch return error.NoSpace;
        self.* = .{ .fd = @intCast(fd) };
        return self;
    }

    pub fn retain(self: *Content) *Content {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Content, allocator: std.mem.Allocator) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        host.close(self.fd);
        allocator.destroy(self);
    }

    pub fn isShared(self: *const Content) bool {
        return self.references.load(.acquire) > 1;
    }

    /// A content of its own with the first `bytes` of this one; holes stay holes.
    pub fn copy(self: *const Content, allocator: std.mem.Allocator, bytes: u64) Error!*Content {
        const made = try create(allocator);
        errdefer made.release(allocator);
        _ = host.check(linux.ftruncate(made.fd, @intCast(bytes))) catch return error.NoSpace;
        made.fill(self.fd, bytes) catch return error.NoSpace;
        return made;
    }

    /// Takes over the first `bytes` of a file, as far as it has them; holes stay holes.
    pub fn fill(self: *const Content, from: i32, bytes: u64) error{ NoSpace, ReadFailed }!void {
        var buffer: [chunk_bytes]u8 = undefined;
        var at: u64 = 0;
        while (at < bytes) {
            const data: i64 = @bitCast(linux.lseek(from, @intCast(at), SEEK_DATA));
            if (data == nothing_behind) break;
            // A file system that knows no holes has none.
            if (data > 0) at = @max(at, @as(u64, @intCast(data)));
            if (at >= bytes) break;
            const got = host.check(linux.pread(from, &buffer, @min(buffer.len, bytes - at), @intCast(at))) catch return error.ReadFailed;
            if (got == 0) break;
            const put = host.check(linux.pwrite(self.fd, &buffer, got, @intCast(at))) catch return error.NoSpace;
            if (put == 0) return error.NoSpace;
            at += put;
        }
    }

    /// Whether the first `bytes` of both are the same.
    pub fn equals(self: *const Content, other: *const Content, bytes: u64) bool {
        if (self == other) return true;
        var mine: [chunk_bytes]u8 = undefined;
        var others: [chunk_bytes]u8 = undefined;
        var at: u64 = 0;
        while (at < bytes) {
            const wanted: usize = @intCast(@min(chunk_bytes, bytes - at));
            if (linux.pread(self.fd, &mine, wanted, @intCast(at)) != wanted) return false;
            if (linux.pread(other.fd, &others, wanted, @intCast(at)) != wanted) return false;
            if (!std.mem.eql(u8, mine[0..wanted], others[0..wanted])) return false;
            at += wanted;
        }
        return true;
    }
};
