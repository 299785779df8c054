//! Landlock: what of the file system, the network and other processes this process may reach from now on.
//!
//! Source: landlock(7), linux/landlock.h; rights by ABI version, so that an older kernel gets as much as it has.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const permissions_module = @import("../linux/permissions.zig");
const Scope = @import("../linux/files/table.zig").Scope;

const write_file = 1 << 1;
const read_file = 1 << 2;
const read_dir = 1 << 3;
const remove_and_make = 0x1ff0 & ~@as(u64, make_char | make_block);
const make_char = 1 << 6;
const make_block = 1 << 11;
const refer = 1 << 13;
const truncate = 1 << 14;

const reading = read_file | read_dir;
const writing = write_file | remove_and_make | refer | truncate;
/// Rights that mean something for a file that is no folder.
const of_files = 1 | write_file | read_file | truncate;

/// The first ABI version with each group of rights, and the rights there are with it.
const versions = [_]struct { from: usize, files: u64 }{
    .{ .from = 1, .files = 0x1fff },
    .{ .from = 2, .files = 0x3fff },
    .{ .from = 3, .files = 0x7fff },
    .{ .from = 5, .files = 0xffff },
};
const network_from = 4;
const bind_and_connect = 3;
const scopes_from = 6;
const scope_abstract_sockets = 1;
const scope_signals = 2;

const Attributes = extern struct { files: u64, network: u64 = 0, scoped: u64 = 0 };
const PathBeneath = extern struct { rights: u64 align(4), parent: i32 align(4) };
const create_version = 1;
const rule_path_beneath = 1;

/// The version there is; an error when there is none.
pub fn version() host.Error!usize {
    return host.check(linux.syscall3(.landlock_create_ruleset, 0, 0, create_version));
}

/// Lets this thread, and those that it makes, reach what a machine may, and nothing else. What is open stays open.
pub fn enter(scope: *const Scope, has_network: bool) host.Error!void {
    const has = try version();
    var attributes: Attributes = .{ .files = 0 };
    for (versions) |known| if (has >= known.from) {
        attributes.files = known.files;
    };
    if (has >= network_from and !has_network) attributes.network = bind_and_connect;
    if (has >= scopes_from) attributes.scoped = if (has_network) scope_signals else scope_signals | scope_abstract_sockets;
    const size: usize = if (has >= scopes_from) 24 else if (has >= network_from) 16 else 8;
    const rules: i32 = @intCast(try host.check(linux.syscall3(.landlock_create_ruleset, @intFromPtr(&attributes), size, 0)));
    defer host.close(rules);
    const permitted: Permitted = .{ .rules = rules, .handled = attributes.files };
    const permissions = &scope.permissions;
    try permitted.grant(permissions.read, reading);
    try permitted.grant(permissions.write, writing);
    for (permissions.needed) |path| try permitted.path(path, read_file);
    for (scope.mounts) |mount| if (mount.volume) {
        try permitted.opened(mount.fd, if (mount.write) reading | writing else reading);
    };
    _ = try host.check(linux.syscall2(.landlock_restrict_self, @intCast(rules), 0));
}

const Permitted = struct {
    rules: i32,
    handled: u64,

    fn grant(self: Permitted, rule: permissions_module.Rule, rights: u64) host.Error!void {
        if (rule.all) try self.path("/", rights);
        for (rule.paths) |granted| try self.path(granted, rights);
    }

    /// Of a path that is not there yet, its nearest folder that is: there it will be made.
    fn path(self: Permitted, granted: []const u8, rights: u64) host.Error!void {
        var there = granted;
        while (true) : (there = std.fs.path.dirname(there) orelse return) {
            var buffer: [4096]u8 = undefined;
            const name = std.fmt.bufPrintZ(&buffer, "{s}", .{there}) catch return;
            const fd: isize = @bitCast(linux.open(name, .{ .PATH = true, .CLOEXEC = true }, 0));
            if (fd < 0) {
                // Nothing can be read or made beneath a file's name or one that cannot be seen.
                if (rights & write_file == 0) return;
                continue;
            }
            defer host.close(@intCast(fd));
            return self.opened(@intCast(fd), rights);
        }
    }

    fn opened(self: Permitted, fd: i32, rights: u64) host.Error!void {
        var stat: linux.Statx = undefined;
        _ = try host.check(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true }, &stat));
        const is_folder = stat.mode & linux.S.IFMT == linux.S.IFDIR;
        const wanted = self.handled & rights & (if (is_folder) ~@as(u64, 0) else of_files);
        if (wanted == 0) return;
        const rule: PathBeneath = .{ .rights = wanted, .parent = fd };
        // Files without a file system, as those in memory, need no rule and can have none.
        _ = host.check(linux.syscall4(.landlock_add_rule, @intCast(self.rules), rule_path_beneath, @intFromPtr(&rule), 0)) catch |failure| {
            if (host.last_errno != .BADFD) return failure;
        };
    }
};

comptime {
    std.debug.assert(@sizeOf(PathBeneath) == 12);
}
