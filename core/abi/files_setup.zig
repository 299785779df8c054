//! A new machine's files: standard streams, permissions, volumes and working directory, from the configuration.
const std = @import("std");
const linux = std.os.linux;
const config_module = @import("config.zig");
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const HostFile = @import("../host_file.zig").HostFile;
const layers_setup = @import("layers_setup.zig");
const kernel_module = @import("../linux/kernel.zig");
const permissions_module = @import("../linux/permissions.zig");
const paths = @import("../linux/paths.zig");
const patterns = @import("../linux/sockets/patterns.zig");
const registry = @import("registry.zig");
const shared_libraries = @import("../shared_libraries.zig");
const streams = @import("standard_streams.zig");
const table = @import("../linux/files/table.zig");
const Config = config_module.Config;
const Machine = @import("../machine.zig").Machine;

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_RDWR = 2;

pub fn make(machine: *Machine, config: *const Config, record: *errors.Record) error{Failed}!void {
    const kernel = &machine.kernel;
    kernel.files = table.FileTable.initEmpty(registry.allocator) catch return streams.outOfMemory(record);
    errdefer kernel.files.deinit();
    try grant(&kernel.files, config, record);
    try connect(machine, 0, config.stdin, record);
    try connect(machine, 1, config.stdout, record);
    try connect(machine, 2, config.stderr, record);
    kernel.threads.first().setName(std.fs.path.basename(config.program));
    if (config.read.all and config.write.all) {
        kernel.identity.uid = linux.geteuid();
        kernel.identity.gid = linux.getegid();
    }
    layers_setup.add(kernel, config.layers) catch return streams.outOfMemory(record);
    try enter(kernel, config.cwd, record);
}

fn rule(files: *table.FileTable, given: config_module.Grant, record: *errors.Record) error{Failed}!permissions_module.Rule {
    const arena = files.scope.arena.allocator();
    var list: std.ArrayList([]const u8) = .empty;
    for (given.paths) |path| {
        list.append(arena, try canonical(files, path, record)) catch return streams.outOfMemory(record);
    }
    return .{ .all = given.all, .paths = list.items };
}

/// A permission's host path with links resolved, so that it is compared with what paths really lead to. One that does not
/// exist yet is kept as it is written.
fn canonical(files: *table.FileTable, path: []const u8, record: *errors.Record) error{Failed}![]const u8 {
    const arena = files.scope.arena.allocator();
    var buffer: [paths.path_max]u8 = undefined;
    const normal = permissions_module.normalize(path, &buffer) orelse {
        _ = record.format(.BAD_OPTION, "the permission path {s} is not an absolute path", .{path[0..@min(path.len, 256)]}, "give host paths that start with / and have no .. in them", .{ .option = "permissions" });
        return error.Failed;
    };
    const name = arena.dupeZ(u8, normal) catch return streams.outOfMemory(record);
    const fd: isize = @bitCast(linux.open(name, .{ .PATH = true, .CLOEXEC = true }, 0));
    if (fd < 0) return name;
    defer host.close(@intCast(fd));
    var real: [paths.path_max]u8 = undefined;
    const path_found = shared_libraries.realPath(@intCast(fd), &real) orelse return name;
    return arena.dupe(u8, path_found) catch return streams.outOfMemory(record);
}

pub fn grant(files: *table.FileTable, config: *const Config, record: *errors.Record) error{Failed}!void {
    files.scope.permissions = .{
        .read = try rule(files, config.read, record),
        .write = try rule(files, config.write, record),
        .deny_read = try rule(files, config.deny.read, record),
        .deny_write = try rule(files, config.deny.write, record),
    };
    files.scope.network = .{
        .connect = try networkRule(files, config.connect, "connect", record),
        .listen = try networkRule(files, config.listen, "listen", record),
        .deny_connect = try networkRule(files, config.deny.connect, "deny.connect", record),
        .deny_listen = try networkRule(files, config.deny.listen, "deny.listen", record),
        .inside = config.inside,
    };
    files.scope.permissions.sockets = socketPaths(files) catch return streams.outOfMemory(record);
    files.scope.hosts = hostsFile(files, config.hosts) catch return streams.outOfMemory(record);
    if (config.verbose) {
        files.scope.hook = .{ .denied_fn = tellRefusal };
        files.scope.network_refused = tellNetworkRefusal;
    }
    for (config.volumes) |volume| {
        var buffer: [paths.path_max]u8 = undefined;
        const guest = permissions_module.normalize(volume.guest, &buffer) orelse return badVolume(volume, record);
        if (volume.fd >= 0) {
            try mountOpened(files, guest, volume, record);
            continue;
        }
        const host_path = try canonical(files, volume.host, record);
        files.addMount(guest, host_path, true, volume.write) catch return badVolume(volume, record);
    }
}

/// Shows a file that only has a descriptor, such as one in memory.
fn mountOpened(files: *table.FileTable, guest: []const u8, volume: config_module.Volume, record: *errors.Record) error{Failed}!void {
    var buffer: [32]u8 = undefined;
    const link = std.fmt.bufPrintZ(&buffer, "/proc/self/fd/{d}", .{volume.fd}) catch unreachable;
    const fd: i32 = @intCast(host.check(linux.open(link, .{ .PATH = true, .CLOEXEC = true }, 0)) catch return badVolume(volume, record));
    const name = files.scope.arena.allocator().dupeZ(u8, volume.host) catch {
        host.close(fd);
        return streams.outOfMemory(record);
    };
    files.addOpenedMount(guest, name, fd, true, volume.write) catch {
        host.close(fd);
        return streams.outOfMemory(record);
    };
}

fn networkRule(files: *table.FileTable, given: config_module.Grant, option: []const u8, record: *errors.Record) error{Failed}!patterns.Rule {
    const arena = files.scope.arena.allocator();
    const list = arena.alloc(patterns.Pattern, given.paths.len) catch return streams.outOfMemory(record);
    for (list, given.paths) |*pattern, text| {
        pattern.* = patterns.Pattern.parse(arena.dupe(u8, text) catch return streams.outOfMemory(record)) catch {
            var path: [64]u8 = undefined;
            const name = std.fmt.bufPrint(&path, "permissions.{s}", .{option}) catch unreachable;
            _ = record.format(.BAD_OPTION, "{s} is not a pattern of addresses", .{text[0..@min(text.len, 256)]}, "give HOST:PORT, HOST, :PORT, NETWORK/BITS, [::1]:80 or unix:/path", .{ .option = name });
            return error.Failed;
        };
        // Compared with what paths really lead to, as files are.
        if (pattern.* == .unix) pattern.* = .{ .unix = try canonical(files, pattern.unix, record) };
    }
    return .{ .all = given.all, .patterns = list };
}

/// The paths among the network's patterns.
fn socketPaths(files: *table.FileTable) error{OutOfMemory}![]const []const u8 {
    var list: std.ArrayList([]const u8) = .empty;
    for ([_]patterns.Rule{ files.scope.network.connect, files.scope.network.listen }) |granted| {
        for (granted.patterns) |pattern| if (pattern == .unix) try list.append(files.scope.arena.allocator(), pattern.unix);
    }
    return list.items;
}

/// What /etc/hosts says beside the machine's own names.
fn hostsFile(files: *table.FileTable, hosts: []const config_module.Host) error{OutOfMemory}![]const u8 {
    var text: std.Io.Writer.Allocating = .init(files.scope.arena.allocator());
    for (hosts) |entry| text.writer.print("{s}\t{s}\n", .{ entry.address, entry.name }) catch return error.OutOfMemory;
    return text.toOwnedSlice();
}

/// Names the flag that would allow what was refused.
fn tellRefusal(_: ?*anyopaque, access: permissions_module.Access, path: []const u8) void {
    var buffer: [2 * paths.path_max + 128]u8 = undefined;
    const line = std.fmt.bufPrint(&buffer, "pristine: the guest may not {t} {s} (--allow-{t}={s})\n", .{ access, path, access, path }) catch return;
    writeSafely(line);
}

/// The guest chose the name: it must not write lines or control a terminal.
fn writeSafely(line: []u8) void {
    for (line[0 .. line.len - 1]) |*byte| if (std.ascii.isControl(byte.*)) {
        byte.* = '?';
    };
    _ = linux.write(2, line.ptr, line.len);
}

fn tellNetworkRefusal(access: patterns.Access, place: []const u8) void {
    var buffer: [2 * paths.path_max + 128]u8 = undefined;
    const does = if (access == .connect) "connect to" else "listen at";
    const line = std.fmt.bufPrint(&buffer, "pristine: the guest may not {s} {s} (--allow-{t}={s})\n", .{ does, place, access, place }) catch return;
    writeSafely(line);
}

fn badVolume(volume: config_module.Volume, record: *errors.Record) error{Failed} {
    _ = record.format(.BAD_OPTION, "the volume {s}:{s} cannot be mounted", .{ volume.host[0..@min(volume.host.len, 256)], volume.guest[0..@min(volume.guest.len, 256)] }, "the host path must exist, and both must be absolute paths", .{ .option = "volumes" });
    return error.Failed;
}

/// Opens standard stream `number` on what the embedder gave.
fn connect(machine: *Machine, number: u32, stream: i32, record: *errors.Record) error{Failed}!void {
    const files = &machine.kernel.files;
    const option = ([_][]const u8{ "stdin", "stdout", "stderr" })[number];
    const access: u32 = if (number == 0) O_RDONLY else O_WRONLY;
    const description = switch (stream) {
        config_module.stream_ignored => files.create(.{ .device = .null }, O_RDWR, "/dev/null"),
        config_module.stream_piped => files.create(.{ .output = .{ .stream = number, .to = machine.outputs[number - 1].? } }, access, ""),
        else => blk: {
            const fd = streams.duplicate(stream) catch return streams.badDescriptor(record, option);
            const get_flags = 3;
            const flags: u32 = @intCast(host.check(linux.fcntl(fd, get_flags, 0)) catch access);
            const shared = HostFile.create(registry.allocator, fd, "") catch return streams.outOfMemory(record);
            shared.standard = @intCast(number);
            const description = files.create(.{ .host_stream = shared }, flags & 3, "");
            if (description == error.OutOfMemory) shared.release(registry.allocator);
            break :blk description;
        },
    } catch return streams.outOfMemory(record);
    files.put(number, description, false) catch {
        files.release(description);
        return streams.outOfMemory(record);
    };
}

/// The working directory must be a folder the guest can see; "/" always is.
fn enter(kernel: *kernel_module.Kernel, cwd: []const u8, record: *errors.Record) error{Failed}!void {
    var buffer: [paths.path_max]u8 = undefined;
    const path = permissions_module.normalize(cwd, &buffer) orelse return badDirectory(cwd, record);
    if (path.len == 1) return;
    const space = kernel.files.namespace();
    var place: paths.Place = .{};
    space.resolve("/", path, true, &place) catch return badDirectory(cwd, record);
    if (space.syntheticNode(place.path())) |node| {
        if (node.content != .directory) return badDirectory(cwd, record);
    } else if (!space.isPrivateDirectory(place.path())) {
        var at: paths.HostPlace = undefined;
        space.hostPlace(place.path(), &at) catch return badDirectory(cwd, record);
        const fd = at.open(paths.O_PATH, 0);
        if (fd < 0) return badDirectory(cwd, record);
        defer host.close(@intCast(fd));
        const mode = paths.modeOf(@intCast(fd)) orelse return badDirectory(cwd, record);
        if (mode & linux.S.IFMT != linux.S.IFDIR) return badDirectory(cwd, record);
    }
    const copy = registry.allocator.dupe(u8, place.path()) catch return streams.outOfMemory(record);
    registry.allocator.free(kernel.files.working_directory);
    kernel.files.working_directory = copy;
}

fn badDirectory(cwd: []const u8, record: *errors.Record) error{Failed} {
    _ = record.format(.BAD_OPTION, "the guest cannot be in {s}", .{cwd[0..@min(cwd.len, 256)]}, "give `cwd` an absolute path of a folder that `permissions.read` (--allow-read) covers", .{ .option = "cwd" });
    return error.Failed;
}
