//! A snapshot's file as it is read: nothing in it is believed before it was checked.
//!
//! Each section's checksum is compared before its bytes are used, and no size in the file asks for more memory than the file
//! itself has bytes. Not here: what the state means (`check.zig`).
const std = @import("std");
const linux = std.os.linux;
const errors = @import("../errors.zig");
const format = @import("format.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const Source = @import("source.zig").Source;

const page = format.page;

pub const Error = error{Failed};

/// fcntl(2), F_SETLEASE.
const set_lease = 1024;

pub const File = struct {
    fd: i32,
    header: format.Header,
    record: *errors.Record,
    /// Checksums are compared.
    verifies: bool,
    /// Somebody does not want it any more.
    cancelled: *const std.atomic.Value(bool),
    /// Who fetches it, if it is not all there.
    source: ?*Source = null,

    pub const Options = struct { verifies: bool, cancelled: *const std.atomic.Value(bool), source: ?*Source = null };

    pub fn open(path: [:0]const u8, options: Options, record: *errors.Record) Error!File {
        const fd = host.check(linux.open(path, .{ .CLOEXEC = true }, 0)) catch {
            const name = path[0..@min(path.len, 1024)];
            _ = switch (host.last_errno) {
                .NOENT, .NOTDIR => record.format(.NOT_FOUND, "there is no snapshot {s}", .{name}, "check the path, or make one with `pristine snapshot`", .{ .path = name }),
                else => record.format(.BAD_OPTION, "{s} cannot be read ({t})", .{ name, host.last_errno }, "give a file that you may read", .{ .option = "path" }),
            };
            return error.Failed;
        };
        var self: File = .{ .fd = @intCast(fd), .header = undefined, .record = record, .verifies = options.verifies, .cancelled = options.cancelled, .source = options.source };
        errdefer self.close();
        try self.readHeader();
        return self;
    }

    pub fn close(self: *File) void {
        host.close(self.fd);
    }

    pub fn invalid(self: *const File, where: []const u8, comptime why: []const u8, arguments: anytype) Error {
        // What was not read to its end says nothing of the file.
        self.checkWanted() catch |unwanted| return unwanted;
        var buffer: [256]u8 = undefined;
        const text = std.fmt.bufPrint(&buffer, why, arguments) catch "";
        _ = self.record.format(.SNAPSHOT_INVALID, "the snapshot cannot be used: {s} ({s})", .{ text, where }, "take the snapshot again, or get the file once more from where it comes from", .{ .section = where });
        return error.Failed;
    }

    pub fn isUnwanted(self: *const File) bool {
        return self.cancelled.load(.monotonic);
    }

    pub fn checkWanted(self: *const File) Error!void {
        if (!self.isUnwanted()) return;
        _ = self.record.set(.ABORTED, "the snapshot is not wanted any more", "", .{});
        return error.Failed;
    }

    /// From now on nobody shortens the file or writes to it without waiting until `letGo`; false where that cannot be had: on
    /// some file systems, of a file that is somebody else's, or that somebody has open for writing.
    /// Source: fcntl(2), leases.
    pub fn holdStill(self: *const File) bool {
        // The kernel tells of it by a signal, which is to be one that nobody minds.
        const set_signal = 10;
        const read_lease = 0;
        if (linux.errno(linux.fcntl(self.fd, set_signal, @intFromEnum(linux.SIG.URG))) != .SUCCESS) return false;
        return linux.errno(linux.fcntl(self.fd, set_lease, read_lease)) == .SUCCESS;
    }

    pub fn letGo(self: *const File) void {
        const no_lease = 2;
        _ = linux.fcntl(self.fd, set_lease, no_lease);
    }

    /// Whether the file is where nobody can write to it.
    pub fn isReadOnly(self: *const File) bool {
        const is_valid = 0x20;
        const is_read_only = 0x1;
        // struct statfs, of which the flags are the eleventh word: statfs(2).
        var facts: [15]u64 = @splat(0);
        if (linux.errno(linux.syscall2(.fstatfs, @intCast(self.fd), @intFromPtr(&facts))) != .SUCCESS) return false;
        return facts[10] & (is_valid | is_read_only) == is_valid | is_read_only;
    }

    /// What was there before the end of the file; nothing if what is fetched never comes.
    pub fn read(self: *const File, out: []u8, offset: u64) usize {
        if (self.source) |source| if (!source.waitFor(offset + out.len, self.cancelled)) return 0;
        var done: usize = 0;
        while (done < out.len) {
            const got = host.check(linux.pread(self.fd, out.ptr + done, out.len - done, @intCast(offset + done))) catch {
                if (host.last_errno == .INTR) continue;
                break;
            };
            if (got == 0) break;
            done += got;
        }
        return done;
    }

    fn readHeader(self: *File) Error!void {
        const bytes = std.mem.asBytes(&self.header);
        const got = self.read(bytes, 0);
        if (got < format.magic.len or !std.mem.eql(u8, &self.header.magic, &format.magic)) return self.invalid("header", "it is not a snapshot", .{});
        if (got < bytes.len) return self.invalid("header", "it is cut short", .{});
        if (self.header.major != format.major) return self.invalid("header", "its format is version {d}, this is version {d}", .{ self.header.major, format.major });
        // The header is always verified: all else hangs on it.
        if (!self.header.isWhole()) return self.invalid("header", "it is damaged", .{});
        if (self.header.minor > format.minor) return self.invalid("header", "a later version of Pristine has written it", .{});
        var facts: linux.Statx = undefined;
        const rc: isize = @bitCast(linux.statx(self.fd, "", linux.AT.EMPTY_PATH, .{ .SIZE = true, .TYPE = true }, &facts));
        if (rc < 0 or facts.mode & linux.S.IFMT != linux.S.IFREG) return self.invalid("header", "it is no regular file", .{});
        if (facts.size < self.header.file_bytes) return self.invalid("header", "it is cut short", .{});
        for (self.header.sections, 1..) |it, kind| {
            const end = std.math.add(u64, it.offset, it.length) catch std.math.maxInt(u64);
            if (it.kind != kind or it.offset % page != 0 or it.offset < page or end > self.header.file_bytes) return self.invalid("header", "a section is not where it can be", .{});
        }
        const extent = self.header.memory_extent;
        const ceiling = self.header.memory_ceiling;
        if (extent == 0 or extent % limits.window_size != 0 or extent > limits.physical_space_max_bytes) return self.invalid("header", "its memory has no size that there is", .{});
        if (ceiling < limits.memory_min_bytes or ceiling > limits.memory_max_bytes) return self.invalid("header", "its memory has no size that there is", .{});
    }

    /// The bytes of a section, whole and verified.
    pub fn section(self: *const File, arena: std.mem.Allocator, comptime kind: format.SectionKind, most: u64) (Error || error{OutOfMemory})![]align(8) u8 {
        const it = self.header.section(kind);
        if (it.length > most) return self.invalid(@tagName(kind), "it is larger than it can be", .{});
        const bytes = try arena.alignedAlloc(u8, .@"8", @intCast(it.length));
        if (self.read(bytes, it.offset) < bytes.len) return self.invalid(@tagName(kind), "it is cut short", .{});
        if (self.verifies and format.sum(bytes) != it.checksum) return self.invalid(@tagName(kind), "it is damaged", .{});
        return bytes;
    }
};
