//! From a guest's path to a place: resolved in the guest's own path space, one component at a time.
//!
//! The host resolves nothing by itself: each step is an openat2 beneath the root of a mount that refuses symbolic and
//! magic links, and the VMM reads and follows links, checking permission at each. A component that is swapped for a link
//! meanwhile makes the step fail, never escape. What the guest may not know of is EACCES, whether it is there or not; a
//! link outside the grants is followed, since the place it leads to decides (`/lib` may lead into a granted `/usr/lib`), and
//! may lead through folders outside them (`/usr/bin/awk` through `/etc/alternatives`).
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("canaries.zig");
const host = @import("../host.zig");
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const permissions_module = @import("permissions.zig");
const private_mounts = @import("files/private/mounts.zig");
const private_tree = @import("files/private/tree.zig");
const synthetic = @import("synthetic.zig");
const FileTable = @import("files/table.zig").FileTable;
const Permissions = permissions_module.Permissions;

pub const path_max = limits.path_max_bytes;
const links_max = 40;
const name_max = 255;

pub const Error = error{ NotFound, NotDirectory, Denied, Loop, NameTooLong, Invalid, HostFull, HostFailure };

pub fn errnoOf(failure: Error) i64 {
    return kernel_module.fail(switch (failure) {
        error.NotFound => .NOENT,
        error.NotDirectory => .NOTDIR,
        error.Denied => .ACCES,
        error.Loop => .LOOP,
        error.NameTooLong => .NAMETOOLONG,
        error.Invalid => .INVAL,
        error.HostFull => .NFILE,
        error.HostFailure => .IO,
    });
}

/// A host folder shown in the guest's path space. The first mount is the host's root.
pub const Mount = struct {
    guest: []const u8,
    host: []const u8,
    /// O_PATH descriptor of the host folder.
    fd: i32,
    /// A volume grants reading by itself, and writing if it says so.
    volume: bool,
    write: bool,
};

const RESOLVE_NO_MAGICLINKS = 2;
const RESOLVE_NO_SYMLINKS = 4;
const RESOLVE_BENEATH = 8;

const OpenHow = extern struct { flags: u64, mode: u64 = 0, resolve: u64 = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_DIRECTORY = 0o200000;
pub const O_PATH = 0o10000000;
pub const O_NOFOLLOW = 0o400000;
pub const O_CLOEXEC = 0o2000000;

/// openat2 beneath a folder, links refused; the descriptor or a negative errno.
pub fn openBeneath(folder: i32, path: [:0]const u8, flags: u64, mode: u64) i64 {
    const how: OpenHow = .{ .flags = flags | O_CLOEXEC, .mode = mode };
    const name: [*:0]const u8 = if (path.len == 0) "." else path.ptr;
    while (true) {
        const rc: i64 = @bitCast(linux.syscall4(.openat2, @bitCast(@as(i64, folder)), @intFromPtr(name), @intFromPtr(&how), @sizeOf(OpenHow)));
        // EAGAIN: something was renamed meanwhile, and the kernel asks for another try.
        if (rc == -@as(i64, @intFromEnum(linux.E.AGAIN)) or rc == -@as(i64, @intFromEnum(linux.E.INTR))) continue;
        return rc;
    }
}

/// A place in the guest's path space, free of links but for perhaps its last component.
pub const Place = struct {
    bytes: [path_max]u8 = undefined,
    length: usize = 0,
    /// The path ended with a slash or a dot: it must be a folder.
    must_be_directory: bool = false,
    /// The last component is a link outside the grants that leads to something the guest may know of: it may be read as
    /// a link, and no more.
    link_shown: bool = false,

    /// Canonical guest path; the root is "/".
    pub fn path(self: *const Place) []const u8 {
        return if (self.length == 0) "/" else self.bytes[0..self.length];
    }

    fn push(self: *Place, part: []const u8) Error!void {
        if (part.len > name_max or self.length + 1 + part.len >= path_max) return error.NameTooLong;
        self.bytes[self.length] = '/';
        @memcpy(self.bytes[self.length + 1 ..][0..part.len], part);
        self.length += 1 + part.len;
    }

    fn pop(self: *Place) void {
        self.length = std.mem.lastIndexOfScalar(u8, self.bytes[0..self.length], '/') orelse 0;
    }

    /// The folder that holds the place.
    pub fn parent(self: *const Place) Place {
        var copy = self.*;
        copy.pop();
        return copy;
    }

    pub fn name(self: *const Place) []const u8 {
        const slash = std.mem.lastIndexOfScalar(u8, self.bytes[0..self.length], '/') orelse return "";
        return self.bytes[slash + 1 .. self.length];
    }
};

/// Where a place is on the host.
pub const HostPlace = struct {
    mount: *const Mount,
    relative_bytes: [path_max:0]u8 = undefined,
    relative_length: usize = 0,
    host_bytes: [path_max]u8 = undefined,
    host_length: usize = 0,

    /// Path beneath the mount's folder.
    pub fn relative(self: *const HostPlace) [:0]const u8 {
        return self.relative_bytes[0..self.relative_length :0];
    }

    pub fn hostPath(self: *const HostPlace) []const u8 {
        return self.host_bytes[0..self.host_length];
    }

    pub fn open(self: *const HostPlace, flags: u64, mode: u64) i64 {
        const rc = openBeneath(self.mount.fd, self.relative(), flags, mode);
        const is_file = rc == -@as(i64, @intFromEnum(linux.E.NOTDIR)) and self.relative_length == 0 and flags & O_DIRECTORY == 0;
        return if (is_file) reopen(self.mount.fd, flags) else rc;
    }
};

/// Opens anew what a descriptor is open on: a file that is a mount has nothing beneath it.
fn reopen(fd: i32, flags: u64) i64 {
    var buffer: [32]u8 = undefined;
    const link = std.fmt.bufPrintZ(&buffer, "/proc/self/fd/{d}", .{fd}) catch unreachable;
    const made = (flags & ~@as(u64, O_NOFOLLOW | O_CREAT | O_EXCL)) | O_CLOEXEC;
    return @bitCast(linux.syscall3(.open, @intFromPtr(link.ptr), made, 0));
}

/// Told of every refusal, so that `--verbose` can name the flag.
pub const DeniedHook = struct {
    context: ?*anyopaque = null,
    denied_fn: ?*const fn (context: ?*anyopaque, access: permissions_module.Access, host_path: []const u8) void = null,
};

pub const Namespace = struct {
    mounts: []const Mount,
    permissions: *const Permissions,
    hook: DeniedHook = .{},
    /// The machine's own files, and who asks for them.
    private: ?*const private_tree.Tree = null,
    /// Paths with links in them that lead to its layers.
    ways: []const []const u8 = &.{},
    user: private_tree.User = .{ .uid = 0, .gid = 0 },

    /// The last component is a name to make or take away: not followed even with a slash behind it.
    changes_name: bool = false,
    /// Open files, for /proc/self/fd.
    files: ?*const FileTable = null,

    /// The mount of a guest path: the one with the longest prefix.
    fn mountOf(self: *const Namespace, path: []const u8) *const Mount {
        var best = &self.mounts[0];
        for (self.mounts[1..]) |*mount| {
            if (permissions_module.isBeneath(path, mount.guest) and mount.guest.len >= best.guest.len) best = mount;
        }
        return best;
    }

    pub fn hostPlace(self: *const Namespace, path: []const u8, out: *HostPlace) Error!void {
        const mount = self.mountOf(path);
        const rest = if (mount.guest.len == 1) path[1..] else std.mem.trimStart(u8, path[mount.guest.len..], "/");
        const separator: usize = if (mount.host.len == 1 or rest.len == 0) 0 else 1;
        if (mount.host.len + separator + rest.len >= path_max) return error.NameTooLong;
        out.mount = mount;
        @memcpy(out.relative_bytes[0..rest.len], rest);
        out.relative_bytes[rest.len] = 0;
        out.relative_length = rest.len;
        @memcpy(out.host_bytes[0..mount.host.len], mount.host);
        if (separator == 1) out.host_bytes[mount.host.len] = '/';
        @memcpy(out.host_bytes[mount.host.len + separator ..][0..rest.len], rest);
        out.host_length = mount.host.len + separator + rest.len;
    }

    pub fn allows(self: *const Namespace, access: permissions_module.Access, place: *const HostPlace) bool {
        if (isHostProcess(place.hostPath())) return false;
        const denied = self.permissions.denies(access, place.hostPath());
        if (place.mount.volume and !denied and (access == .read or place.mount.write)) return true;
        return self.permissions.allows(access, place.hostPath());
    }

    /// Whether the guest may know of everything in a folder, so that its entries need no look each.
    pub fn showsAllOf(self: *const Namespace, folder: []const u8) bool {
        if (self.permissions.deny_read.all or self.permissions.deny_read.paths.len > 0) return false;
        var at: HostPlace = undefined;
        self.hostPlace(folder, &at) catch return false;
        return self.permissions.read.covers(at.hostPath());
    }

    /// Tells the hook and answers the error.
    pub fn refuse(self: *const Namespace, access: permissions_module.Access, place: *const HostPlace) Error {
        if (self.hook.denied_fn) |denied| denied(self.hook.context, access, place.hostPath());
        return error.Denied;
    }

    pub fn reveals(self: *const Namespace, place: *const HostPlace) bool {
        if (place.mount.volume) return !self.permissions.denies(.read, place.hostPath());
        if (self.permissions.reveals(place.hostPath()) or self.leadsToVolume(place.hostPath())) return true;
        return place.mount == &self.mounts[0] and self.leadsToPrivate(place.hostPath());
    }

    /// Whether what lies at `from` may be moved or linked to `to`: nothing may become readable or writable by its new
    /// name, and nothing that is denied may come out of the place for which it is.
    pub fn demandMove(self: *const Namespace, from: *const HostPlace, to: *const HostPlace) Error!void {
        if (canaries.is(.move_unchecked)) return;
        const rules = self.permissions;
        for ([_]permissions_module.Access{ .read, .write }) |access| {
            const granted = if (access == .read) &rules.read else &rules.write;
            const denied = if (access == .read) &rules.deny_read else &rules.deny_write;
            const gains = self.allows(access, to) or !granted.all and granted.leadsTo(to.hostPath());
            if (gains and !self.allows(access, from)) return self.refuse(access, from);
            if (!denied.all and denied.leadsTo(from.hostPath())) return self.refuse(access, from);
        }
    }

    fn leadsToVolume(self: *const Namespace, path: []const u8) bool {
        for (self.mounts[1..]) |mount| if (permissions_module.isBeneath(mount.guest, path)) return true;
        return false;
    }

    /// Whether a private mount point is there or beneath, which is to be found whatever is granted.
    pub fn leadsToPrivate(self: *const Namespace, path: []const u8) bool {
        return private_mounts.leadsToMountPoint(self, path);
    }

    /// Whether a volume or a private mount point is there or beneath: a folder for the guest, even if the host has none.
    pub fn leadsToMount(self: *const Namespace, path: []const u8) bool {
        return self.leadsToVolume(path) or self.leadsToPrivate(path);
    }

    pub fn isPrivateDirectory(self: *const Namespace, path: []const u8) bool {
        const where = private_mounts.find(self, path) catch return false;
        return where == .node and self.private.?.at(where.node).kind == .directory;
    }

    /// Whether a guest path is answered by the synthetic tree.
    pub fn syntheticNode(self: *const Namespace, path: []const u8) ?*const synthetic.Node {
        if (self.descriptorAt(path) != null) return &synthetic.descriptor_node;
        if (synthetic.remoteName(path) != null) return &synthetic.remote_node;
        const node = synthetic.find(path) orelse return null;
        if (node.always) return node;
        const mount = self.mountOf(path);
        if (mount.volume or self.permissions.read.covers(path)) return null;
        return node;
    }

    /// The open descriptor that /proc/self/fd/N names.
    pub fn descriptorAt(self: *const Namespace, path: []const u8) ?i32 {
        const number = synthetic.descriptorNumber(path) orelse return null;
        const files = self.files orelse return null;
        return if (files.get(number) == null) null else number;
    }

    /// Whether following the link at `path` to its end comes to something that the guest may know of.
    fn leadsToRevealed(self: *const Namespace, path: []const u8) bool {
        var quiet = self.*;
        quiet.hook = .{};
        var end: Place = .{};
        quiet.resolve("/", path, true, &end) catch return false;
        return true;
    }

    /// Resolves `path` from the guest folder `from`. Links are followed, the last one only if `follow_last`. The last
    /// component need not exist; everything before it must be a folder.
    pub fn resolve(self: *const Namespace, from: []const u8, path: []const u8, follow_last: bool, out: *Place) Error!void {
        if (path.len == 0) return error.NotFound;
        if (path.len >= path_max) return error.NameTooLong;
        out.* = .{};
        if (path[0] != '/') {
            @memcpy(out.bytes[0..from.len], from);
            out.length = if (from.len == 1) 0 else from.len;
        }
        if (std.mem.indexOfScalar(u8, path, 0) != null) return error.NotFound;
        var walk: Walk = .{ .namespace = self, .place = out };
        walk.setRest(path);
        try walk.run(follow_last);
    }
};

const Walk = struct {
    namespace: *const Namespace,
    place: *Place,
    rest_bytes: [2 * path_max]u8 = undefined,
    /// Where the component looked at is on the host; kept here, since making one anew for each would cost more than the look.
    at: HostPlace = undefined,
    rest_start: usize = 0,
    rest_end: usize = 0,
    links: u32 = 0,
    /// A link has led into a folder that the guest may not know of: there is no way out of it but by another link.
    hidden: bool = false,

    fn setRest(self: *Walk, path: []const u8) void {
        @memcpy(self.rest_bytes[0..path.len], path);
        self.rest_start = 0;
        self.rest_end = path.len;
    }

    fn rest(self: *const Walk) []const u8 {
        return self.rest_bytes[self.rest_start..self.rest_end];
    }

    fn run(self: *Walk, follow_last: bool) Error!void {
        while (true) {
            const left = std.mem.trimStart(u8, self.rest(), "/");
            if (left.len == 0) {
                if (self.hidden) return error.Denied;
                self.place.must_be_directory = true;
                return;
            }
            const end = std.mem.indexOfScalar(u8, left, '/') orelse left.len;
            const name = left[0..end];
            self.rest_start = self.rest_end - (left.len - end);
            const last = std.mem.trimStart(u8, self.rest(), "/").len == 0;
            const slash_behind = self.rest().len > 0;
            if (std.mem.eql(u8, name, ".")) continue;
            if (std.mem.eql(u8, name, "..")) {
                if (self.hidden and !canaries.is(.climbing_allowed)) return error.Denied;
                self.place.pop();
                continue;
            }
            try self.place.push(name);
            const followed = try self.step(last, follow_last or slash_behind and !self.namespace.changes_name);
            if (last and !followed) {
                self.place.must_be_directory = slash_behind;
                return;
            }
        }
    }

    /// Looks at the component just pushed; true when it was a link that now takes its place.
    fn step(self: *Walk, last: bool, follow: bool) Error!bool {
        const path = self.place.path();
        if (self.namespace.syntheticNode(path)) |node| {
            if (!last or follow) switch (node.content) {
                .link => |target| return self.followLink(target),
                .working_directory => return self.followLink((self.namespace.files orelse return error.NotFound).working_directory),
                .descriptor => if (!last) return self.followDescriptor(path),
                else => {},
            };
            if (node.content != .directory and !last) return error.NotDirectory;
            return false;
        }
        switch (try private_mounts.find(self.namespace, path)) {
            .host, .shown => {},
            .absent => {
                if (!last and self.namespace.leadsToVolume(path)) return false;
                private_mounts.tellHidden(self.namespace, path);
                return if (last) false else error.NotFound;
            },
            .node => |index| return self.privateStep(index, last, follow),
        }
        const at = &self.at;
        try self.namespace.hostPlace(path, at);
        // The guest's own processes are in the synthetic tree; the host's would show the VMM itself.
        if (isHostProcess(at.hostPath())) return error.NotFound;
        const revealed = self.namespace.reveals(at);
        const rc = at.open(O_PATH | O_NOFOLLOW, 0);
        // A volume may be shown beneath folders that the host does not have.
        if (rc < 0 and !last and self.namespace.leadsToVolume(path)) return false;
        if (rc < 0) return self.missing(rc, last, revealed, at);
        const fd: i32 = @intCast(rc);
        defer host.close(fd);
        const mode = modeOf(fd) orelse return error.HostFailure;
        switch (mode & linux.S.IFMT) {
            linux.S.IFLNK => if (!last or follow) {
                if (self.isDenied(at)) return self.refuse(at);
                var target: [path_max]u8 = undefined;
                const length: i64 = @bitCast(linux.readlinkat(fd, "", &target, target.len));
                if (length <= 0) return error.NotFound;
                return self.followLink(target[0..@intCast(length)]);
            } else if (!revealed and !self.isDenied(at) and self.namespace.leadsToRevealed(path)) {
                self.place.link_shown = true;
                return false;
            },
            linux.S.IFDIR => if (!revealed and !last and self.links > 0 and !self.isDenied(at)) {
                self.hidden = true;
                return false;
            },
            else => if (!last) return if (revealed) error.NotDirectory else self.refuse(at),
        }
        if (!revealed) return self.refuse(at);
        return false;
    }

    fn privateStep(self: *Walk, index: u32, last: bool, follow: bool) Error!bool {
        const node = self.namespace.private.?.at(index);
        if (node.kind == .link and (!last or follow)) return self.followLink(node.target);
        if (node.kind != .directory and !last) return error.NotDirectory;
        return false;
    }

    /// Refuses the whole path that was asked for, although one of its folders is enough to do so.
    fn refuse(self: *Walk, at: *const HostPlace) Error {
        var whole = at.*;
        var parts = std.mem.tokenizeScalar(u8, self.rest(), '/');
        while (parts.next()) |part| {
            if (std.mem.eql(u8, part, ".")) continue;
            if (std.mem.eql(u8, part, "..") or whole.host_length + 1 + part.len > whole.host_bytes.len) return self.namespace.refuse(.read, at);
            whole.host_bytes[whole.host_length] = '/';
            @memcpy(whole.host_bytes[whole.host_length + 1 ..][0..part.len], part);
            whole.host_length += 1 + part.len;
        }
        return self.namespace.refuse(.read, &whole);
    }

    fn isDenied(self: *const Walk, at: *const HostPlace) bool {
        return self.namespace.permissions.denies(.read, at.hostPath());
    }

    /// Goes on from a folder the guest has open, by the path it was opened by: never through the host's descriptor.
    fn followDescriptor(self: *Walk, path: []const u8) Error!bool {
        const number = self.namespace.descriptorAt(path) orelse return error.NotFound;
        return switch (self.namespace.files.?.get(number).?.kind) {
            .host_directory => |directory| self.followLink(directory.path),
            .synthetic_directory => |directory| self.followLink(directory.path),
            .private_directory => |directory| {
                var buffer: [path_max]u8 = undefined;
                return self.followLink(self.namespace.private.?.pathOf(directory.node, &buffer) orelse return error.NotFound);
            },
            else => error.NotDirectory,
        };
    }

    fn missing(self: *Walk, rc: i64, last: bool, revealed: bool, at: *const HostPlace) Error!bool {
        if (!revealed) return self.refuse(at);
        const code: linux.E = @enumFromInt(-rc);
        return switch (code) {
            .NOENT => if (last or self.namespace.leadsToPrivate(self.place.path())) false else error.NotFound,
            .NOTDIR => error.NotDirectory,
            .LOOP => error.Loop,
            .NAMETOOLONG => error.NameTooLong,
            .ACCES, .PERM => error.Denied,
            .MFILE, .NFILE => error.HostFull,
            else => error.HostFailure,
        };
    }

    fn followLink(self: *Walk, target: []const u8) Error!bool {
        self.links += 1;
        if (self.links > links_max) return error.Loop;
        const left = self.rest();
        if (target.len == 0) return error.NotFound;
        if (target.len + left.len >= path_max) return error.NameTooLong;
        @memmove(self.rest_bytes[path_max..][0..left.len], left);
        @memcpy(self.rest_bytes[path_max - target.len ..][0..target.len], target);
        self.rest_start = path_max - target.len;
        self.rest_end = path_max + left.len;
        if (target[0] == '/') {
            self.place.length = 0;
            self.hidden = false;
        } else self.place.pop();
        return true;
    }
};

/// Whether a host path lies in the host's own /proc.
fn isHostProcess(host_path: []const u8) bool {
    return host_path.len > proc.len and permissions_module.isBeneath(host_path, proc);
}
const proc = "/proc";

/// Mode of an open descriptor.
pub fn modeOf(fd: i32) ?u32 {
    var stat: linux.Statx = undefined;
    const rc: i64 = @bitCast(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true, .MODE = true }, &stat));
    return if (rc < 0) null else stat.mode;
}
