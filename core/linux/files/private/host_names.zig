//! The host's names in a folder, as far as the guest may know of them and no name of its own covers them.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../../host.zig");
const kernel_module = @import("../../kernel.zig");
const names = @import("../names.zig");
const paths = @import("../../paths.zig");
const status = @import("../status.zig");
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const O_DIRECTORY = 0o200000;

pub const HostNames = struct {
    k: *Kernel,
    space: paths.Namespace,
    path: []const u8,
    /// The private directory whose names cover the host's.
    covering: ?u32,
    fd: i32,
    everything: bool,
    buffer: [32 * 1024]u8 align(8) = undefined,
    length: usize = 0,
    offset: usize = 0,
    /// How many the host has given.
    number: u64 = 0,

    /// Opens the folder anew, since a listing's place is the guest's alone. A negative errno if it cannot be; ENOENT also
    /// where the guest may know of nothing.
    pub fn open(self: *HostNames, k: *Kernel, path: []const u8, covering: ?u32) i64 {
        const space = names.namespaceOf(k);
        var at: paths.HostPlace = undefined;
        space.hostPlace(path, &at) catch |failure| return paths.errnoOf(failure);
        if (!space.reveals(&at)) return fail(.NOENT);
        k.hostCall();
        const fd = at.open(O_DIRECTORY | paths.O_NOFOLLOW, 0);
        if (fd < 0) return fd;
        self.* = .{ .k = k, .space = space, .path = path, .covering = covering, .fd = @intCast(fd), .everything = space.showsAllOf(path) };
        return 0;
    }

    pub fn close(self: *HostNames) void {
        host.close(self.fd);
    }

    /// The next entry; it is valid until the one after it. Dots only where no directory of the guest's has its own.
    pub fn next(self: *HostNames) ?status.HostEntry {
        while (true) {
            if (self.offset == self.length and !self.fetch()) return null;
            const entry = status.HostEntry.read(self.buffer[self.offset..]);
            self.offset += entry.length;
            self.number += 1;
            if (self.covering) |directory| {
                if (isDots(entry.name) or self.k.files.private.covers(directory, entry.name)) continue;
            }
            if (self.everything or status.visible(&self.space, self.path, entry.name)) return entry;
        }
    }

    fn fetch(self: *HostNames) bool {
        self.k.hostCall();
        const count: i64 = @bitCast(linux.getdents64(self.fd, &self.buffer, self.buffer.len));
        self.length = if (count > 0) @intCast(count) else 0;
        self.offset = 0;
        return count > 0;
    }
};

pub fn isDots(name: []const u8) bool {
    return std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..");
}

/// Whether the host shows nothing in a folder beside what a private directory covers: 0, ENOTEMPTY, or why it cannot be known.
pub fn demandNone(k: *Kernel, path: []const u8, covering: ?u32) i64 {
    var host_names: HostNames = undefined;
    const rc = host_names.open(k, path, covering);
    if (rc == fail(.NOENT)) return 0;
    if (rc < 0) return rc;
    defer host_names.close();
    while (host_names.next()) |entry| if (!isDots(entry.name)) return fail(.NOTEMPTY);
    return 0;
}
