//! A temporary host folder for fuzzers: part of it is granted, part must never change or be read.
//!
//! It is beneath the folder the tests run in unless that lies in /tmp, since a guest's /tmp is not the host's.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../host.zig");
const permissions = @import("../permissions.zig");
const private_tree = @import("../files/private/tree.zig");

/// What the guest must never see.
pub const secret = "\x01SECRET\x02" ** 8;

const path_max = 4096;

pub const Sandbox = struct {
    base_bytes: [path_max]u8 = undefined,
    base_length: usize = 0,

    var made: u32 = 0;

    pub fn create() !Sandbox {
        var self: Sandbox = .{};
        made += 1;
        var buffer: [path_max]u8 = undefined;
        const path = try std.fmt.bufPrint(&self.base_bytes, "{s}/fuzz-{d}-{d}", .{ try parent(&buffer), linux.getpid(), made });
        self.base_length = path.len;
        try self.directory("");
        return self;
    }

    /// The cache of the folder that the tests run in or, where a guest has files of its own in that place, another folder
    /// that may be written.
    fn parent(buffer: *[path_max]u8) ![]const u8 {
        // The length counts the NUL.
        const length = try host.check(linux.getcwd(buffer, buffer.len)) - 1;
        if (!isPrivate(buffer[0..length])) {
            const path = try std.fmt.bufPrintZ(buffer[length..], "/.zig-cache", .{});
            const whole = buffer[0 .. length + path.len :0];
            const rc: isize = @bitCast(linux.mkdir(whole, 0o755));
            return if (rc < 0 and rc != -@as(isize, @intFromEnum(linux.E.EXIST))) error.HostFailure else whole;
        }
        const home = if (std.c.getenv("HOME")) |text| std.mem.span(text) else "";
        for ([_][]const u8{ home, "/run", "/var/lib", "/opt" }) |folder| {
            const path = std.fmt.bufPrintZ(buffer, "{s}", .{folder}) catch continue;
            const writable = 2;
            if (path.len > 1 and path[0] == '/' and !isPrivate(path) and linux.access(path, writable) == 0) return path;
        }
        return error.NoFolderForTests;
    }

    fn isPrivate(path: []const u8) bool {
        for (private_tree.mount_points) |point| if (permissions.isBeneath(path, point)) return true;
        return false;
    }

    pub fn base(self: *const Sandbox) []const u8 {
        return self.base_bytes[0..self.base_length];
    }

    pub fn pathZ(self: *const Sandbox, relative: []const u8, out: *[path_max]u8) ![:0]const u8 {
        return std.fmt.bufPrintZ(out, "{s}{s}{s}", .{ self.base(), if (relative.len == 0) "" else "/", relative });
    }

    pub fn directory(self: *const Sandbox, relative: []const u8) !void {
        var buffer: [path_max]u8 = undefined;
        _ = try host.check(linux.mkdir(try self.pathZ(relative, &buffer), 0o755));
    }

    pub fn file(self: *const Sandbox, relative: []const u8, text: []const u8) !void {
        var buffer: [path_max]u8 = undefined;
        const fd: i32 = @intCast(try host.check(linux.open(try self.pathZ(relative, &buffer), .{ .ACCMODE = .WRONLY, .CREAT = true, .TRUNC = true, .CLOEXEC = true }, 0o644)));
        defer host.close(fd);
        _ = try host.check(linux.write(fd, text.ptr, text.len));
    }

    pub fn link(self: *const Sandbox, relative: []const u8, target: []const u8) !void {
        var buffer: [path_max]u8 = undefined;
        var target_z: [path_max]u8 = undefined;
        _ = try host.check(linux.symlink(try std.fmt.bufPrintZ(&target_z, "{s}", .{target}), try self.pathZ(relative, &buffer)));
    }

    pub fn fifo(self: *const Sandbox, relative: []const u8) !void {
        var buffer: [path_max]u8 = undefined;
        _ = try host.check(linux.mknod(try self.pathZ(relative, &buffer), linux.S.IFIFO | 0o644, 0));
    }

    pub fn exchange(self: *const Sandbox, one: []const u8, other: []const u8) void {
        var first: [path_max]u8 = undefined;
        var second: [path_max]u8 = undefined;
        const exchange_flag = 2;
        _ = linux.syscall5(.renameat2, @bitCast(@as(i64, linux.AT.FDCWD)), @intFromPtr((self.pathZ(one, &first) catch return).ptr), @bitCast(@as(i64, linux.AT.FDCWD)), @intFromPtr((self.pathZ(other, &second) catch return).ptr), exchange_flag);
    }

    pub fn remove(self: *const Sandbox) void {
        var buffer: [path_max]u8 = undefined;
        removeTree(linux.AT.FDCWD, self.pathZ("", &buffer) catch return);
    }

    /// A number that changes with anything beneath a folder: names, kinds, modes, sizes, links, times, contents.
    pub fn fingerprint(self: *const Sandbox, relative: []const u8) u64 {
        var buffer: [path_max]u8 = undefined;
        var hash: std.hash.Wyhash = .init(0);
        fingerprintOf(linux.AT.FDCWD, self.pathZ(relative, &buffer) catch return 0, &hash);
        return hash.final();
    }
};

const Entries = struct {
    bytes: [4096]u8 align(8) = undefined,
    length: usize = 0,
    at: usize = 0,
    fd: i32,

    fn next(self: *Entries) ?[:0]const u8 {
        while (true) {
            if (self.at >= self.length) {
                const got: isize = @bitCast(linux.getdents64(self.fd, &self.bytes, self.bytes.len));
                if (got <= 0) return null;
                self.length = @intCast(got);
                self.at = 0;
            }
            const length = std.mem.readInt(u16, self.bytes[self.at + 16 ..][0..2], .little);
            const name = std.mem.span(@as([*:0]const u8, @ptrCast(&self.bytes[self.at + 19])));
            self.at += length;
            if (!std.mem.eql(u8, name, ".") and !std.mem.eql(u8, name, "..")) return name;
        }
    }
};

fn openFolder(at: i32, name: [:0]const u8) ?i32 {
    const rc: isize = @bitCast(linux.openat(at, name, .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true }, 0));
    return if (rc < 0) null else @intCast(rc);
}

fn removeTree(at: i32, name: [:0]const u8) void {
    if (openFolder(at, name)) |fd| {
        defer host.close(fd);
        _ = linux.fchmod(fd, 0o700);
        // Removing while listing may skip names, so it goes on until nothing is left.
        for (0..64) |_| {
            _ = linux.lseek(fd, 0, linux.SEEK.SET);
            var entries: Entries = .{ .fd = fd };
            var any = false;
            while (entries.next()) |entry| {
                any = true;
                removeTree(fd, entry);
            }
            if (!any) break;
        }
        _ = linux.unlinkat(at, name, linux.AT.REMOVEDIR);
        return;
    }
    _ = linux.unlinkat(at, name, 0);
}

fn fingerprintOf(at: i32, name: [:0]const u8, hash: *std.hash.Wyhash) void {
    var facts: linux.Statx = undefined;
    const rc: isize = @bitCast(linux.statx(at, name, linux.AT.SYMLINK_NOFOLLOW, .{ .TYPE = true, .MODE = true, .NLINK = true, .UID = true, .MTIME = true, .INO = true, .SIZE = true }, &facts));
    hash.update(name);
    if (rc < 0) return hash.update("missing");
    const is_directory = facts.mode & linux.S.IFMT == linux.S.IFDIR;
    hash.update(std.mem.asBytes(&[_]u64{ facts.ino, facts.mode, facts.uid, facts.nlink, @bitCast(facts.mtime.sec), facts.mtime.nsec, if (is_directory) 0 else facts.size }));
    if (!is_directory) return;
    const fd = openFolder(at, name) orelse return hash.update("closed");
    defer host.close(fd);
    var entries: Entries = .{ .fd = fd };
    while (entries.next()) |entry| fingerprintOf(fd, entry, hash);
}
