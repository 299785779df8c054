//! Paths against a model: random trees of folders, links, grants, denials and volumes, random paths through them. Whatever
//! the guest reaches must be what the model says it may reach, the same file of the host; and what the model says can be
//! reached is. Then a thread of the host swaps folders and links while the guest resolves: nothing outside is ever read.
//!
//! The model knows nothing of the code: it walks a tree in memory, by lists of names. It has no private folders but a layer
//! that nothing is changed in: the tree is outside them, and no random path leads into one. Changes: `layers.zig`.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../canaries.zig");
const host = @import("../../host.zig");
const layers_setup = @import("../../abi/layers_setup.zig");
const limits = @import("../../limits.zig");
const machine_test = @import("../../machine_test.zig");
const sandbox_module = @import("sandbox.zig");
const settings = @import("settings.zig");
const table = @import("../table.zig");
const Machine = @import("../../machine.zig").Machine;
const Sandbox = sandbox_module.Sandbox;
const testing = std.testing;

const trees_default = 40;
const trees_canary_max = 200;
const paths_per_tree = 250;
const nodes_max = 24;
const links_max = 40;
const memory_base = 0x1000_0000;

/// Short, and some the beginning of others.
const words = [_][]const u8{ "a", "ab", "b", "c", "abc" };

const Kind = union(enum) { folder, file, link: []const u8 };

const Node = struct { parent: usize, name: []const u8, kind: Kind };

/// A list of names from the root.
const Names = std.ArrayList([]const u8);

const Volume = struct { guest: []const []const u8, host: []const []const u8 };

/// What the model says of a path.
const Answer = union(enum) {
    refused,
    /// A node that is there, or a place in the folders above the tree.
    reached: []const []const u8,
    /// Nothing is there, but might be made.
    missing,
};

const World = struct {
    arena: std.mem.Allocator,
    random: std.Random,
    /// Names of the folder that holds the tree; node 0 is that folder.
    base: []const []const u8,
    nodes: std.ArrayList(Node) = .empty,
    grants: std.ArrayList([]const []const u8) = .empty,
    denials: std.ArrayList([]const []const u8) = .empty,
    volumes: std.ArrayList(Volume) = .empty,
    /// A folder over which the guest has a layer, whether it may read it or not.
    layer: ?[]const []const u8 = null,

    fn pick(self: *World, comptime T: type, list: []const T) T {
        return list[self.random.uintLessThan(usize, list.len)];
    }

    fn split(arena: std.mem.Allocator, path: []const u8) ![]const []const u8 {
        var names: Names = .empty;
        var parts = std.mem.tokenizeScalar(u8, path, '/');
        while (parts.next()) |part| try names.append(arena, part);
        return names.items;
    }

    fn namesOf(self: *World, index: usize) ![]const []const u8 {
        if (index == 0) return self.base;
        const node = self.nodes.items[index];
        return std.mem.concat(self.arena, []const u8, &.{ try self.namesOf(node.parent), &.{node.name} });
    }

    fn text(self: *World, names: []const []const u8) ![]const u8 {
        return std.fmt.allocPrint(self.arena, "/{s}", .{try std.mem.join(self.arena, "/", names)});
    }

    fn child(self: *const World, parent: usize, name: []const u8) ?usize {
        for (self.nodes.items[1..], 1..) |node, index| if (node.parent == parent and std.mem.eql(u8, node.name, name)) return index;
        return null;
    }

    /// A path of random names, of `.` and `..`, of nodes that are there, beneath the tree or a volume.
    fn randomPath(self: *World, absolute: bool) ![]const u8 {
        var out: std.ArrayList(u8) = .empty;
        if (absolute) {
            const volume: ?Volume = if (self.volumes.items.len > 0 and self.random.uintLessThan(u8, 3) == 0) self.pick(Volume, self.volumes.items) else null;
            try out.appendSlice(self.arena, try self.text(if (volume) |some| some.guest else try self.namesOf(self.random.uintLessThan(usize, self.nodes.items.len))));
        }
        for (0..self.random.uintLessThan(usize, 5)) |index| {
            if (absolute or index > 0) try out.appendSlice(self.arena, self.pick([]const u8, &.{ "/", "/", "//" }));
            try out.appendSlice(self.arena, switch (self.random.uintLessThan(u8, 8)) {
                0, 1 => "..",
                2 => ".",
                else => self.pick([]const u8, &words),
            });
        }
        if (self.random.uintLessThan(u8, 8) == 0) try out.append(self.arena, '/');
        if (out.items.len == 0) try out.append(self.arena, '.');
        return out.items;
    }

    fn grow(self: *World, sandbox: *const Sandbox) !void {
        try self.nodes.append(self.arena, .{ .parent = 0, .name = "", .kind = .folder });
        // Volumes are thought of before there are links, which may lead into them.
        for ([_][]const u8{ "vol", "usr" }) |name| if (self.random.boolean()) try self.volumes.append(self.arena, .{ .guest = try self.arena.dupe([]const u8, if (self.random.boolean()) &.{name} else &.{ name, "in" }), .host = &.{} });
        // A tree may be full, its folders all taken.
        for (0..8 * nodes_max) |_| {
            if (self.nodes.items.len == nodes_max) break;
            const parent = self.random.uintLessThan(usize, self.nodes.items.len);
            const name = self.pick([]const u8, &words);
            if (self.nodes.items[parent].kind != .folder or self.child(parent, name) != null) continue;
            const kind: Kind = switch (self.random.uintLessThan(u8, 6)) {
                0...2 => .folder,
                3 => .file,
                else => .{ .link = try self.randomPath(self.random.boolean()) },
            };
            try self.nodes.append(self.arena, .{ .parent = parent, .name = name, .kind = kind });
            const made = try self.namesOf(self.nodes.items.len - 1);
            const relative = try std.mem.join(self.arena, "/", made[self.base.len..]);
            switch (kind) {
                .folder => try sandbox.directory(relative),
                .file => try sandbox.file(relative, "text"),
                .link => |target| try sandbox.link(relative, target),
            }
        }
        for (self.volumes.items) |*volume| volume.host = try self.namesOf(self.folder());
        for (0..self.random.uintLessThan(usize, 4)) |_| try self.grants.append(self.arena, try self.namesOf(self.notLink()));
        for (0..self.random.uintLessThan(usize, 3)) |_| try self.denials.append(self.arena, try self.namesOf(self.notLink()));
        if (self.random.boolean()) self.layer = try self.namesOf(self.folder());
    }

    fn folder(self: *World) usize {
        while (true) {
            const index = self.random.uintLessThan(usize, self.nodes.items.len);
            if (self.nodes.items[index].kind == .folder) return index;
        }
    }

    /// Rules name places without links in them, as a machine's configuration makes them.
    fn notLink(self: *World) usize {
        while (true) {
            const index = self.random.uintLessThan(usize, self.nodes.items.len);
            if (self.nodes.items[index].kind != .link) return index;
        }
    }

    // The model

    fn begins(path: []const []const u8, with: []const []const u8) bool {
        if (path.len < with.len) return false;
        for (path[0..with.len], with) |one, other| if (!std.mem.eql(u8, one, other)) return false;
        return true;
    }

    fn volumeOf(self: *const World, guest: []const []const u8) ?Volume {
        var best: ?Volume = null;
        for (self.volumes.items) |volume| if (begins(guest, volume.guest) and (best == null or volume.guest.len > best.?.guest.len)) {
            best = volume;
        };
        return best;
    }

    fn hostOf(self: *World, guest: []const []const u8) ![]const []const u8 {
        const volume = self.volumeOf(guest) orelse return guest;
        return std.mem.concat(self.arena, []const u8, &.{ volume.host, guest[volume.guest.len..] });
    }

    fn isDenied(self: *const World, at: []const []const u8) bool {
        for (self.denials.items) |denial| if (begins(at, denial)) return true;
        return false;
    }

    fn mayRead(self: *World, guest: []const []const u8) !bool {
        const at = try self.hostOf(guest);
        if (self.isDenied(at)) return false;
        if (self.volumeOf(guest) != null) return true;
        for (self.grants.items) |grant| if (begins(at, grant)) return true;
        return false;
    }

    /// Whether the guest may know that a place is there.
    fn mayKnow(self: *World, guest: []const []const u8) !bool {
        if (try self.mayRead(guest)) return true;
        const at = try self.hostOf(guest);
        if (self.volumeOf(guest) == null) for (self.volumes.items) |volume| if (begins(volume.guest, guest)) return true;
        if (self.isLayer(guest) or self.leadsToLayer(guest)) return true;
        if (self.isDenied(at)) return false;
        for (self.grants.items) |grant| if (begins(grant, at)) return true;
        return false;
    }

    fn isLayer(self: *const World, guest: []const []const u8) bool {
        const layer = self.layer orelse return false;
        return layer.len == guest.len and begins(guest, layer);
    }

    fn leadsToLayer(self: *const World, guest: []const []const u8) bool {
        const layer = self.layer orelse return false;
        return self.volumeOf(guest) == null and layer.len > guest.len and begins(layer, guest);
    }

    fn isInLayer(self: *const World, guest: []const []const u8) bool {
        const layer = self.layer orelse return false;
        return guest.len > layer.len and begins(guest, layer);
    }

    fn leadsToVolume(self: *const World, guest: []const []const u8) bool {
        for (self.volumes.items) |volume| if (volume.guest.len > guest.len and begins(volume.guest, guest)) return true;
        return false;
    }

    const Found = union(enum) { nothing, above, node: usize };

    /// What is at a place of the host, links not followed.
    fn lookUp(self: *const World, at: []const []const u8) Found {
        // Every host has a /usr; nothing in it has one of the words for a name.
        if (begins(self.base, at) or at.len == 1 and std.mem.eql(u8, at[0], "usr")) return .above;
        if (!begins(at, self.base)) return .nothing;
        var index: usize = 0;
        for (at[self.base.len..]) |name| {
            if (self.nodes.items[index].kind != .folder) return .nothing;
            index = self.child(index, name) orelse return .nothing;
        }
        return .{ .node = index };
    }

    fn follow(self: *World, path: []const u8) !Answer {
        var rest: Names = .empty;
        try rest.appendSlice(self.arena, try split(self.arena, path));
        std.mem.reverse([]const u8, rest.items);
        var here: Names = .empty;
        if (path[0] != '/') try here.appendSlice(self.arena, self.base);
        var links: u32 = 0;
        var hidden = false;
        var trailing = endsAsFolder(path);
        while (rest.pop()) |name| {
            if (std.mem.eql(u8, name, ".")) continue;
            if (std.mem.eql(u8, name, "..")) {
                if (hidden) return .refused;
                _ = here.pop();
                continue;
            }
            try here.append(self.arena, name);
            const last = rest.items.len == 0;
            const at = try self.hostOf(here.items);
            const known = try self.mayKnow(here.items);
            const found = self.lookUp(at);
            const kind: Kind = switch (found) {
                .nothing => if (!last and self.leadsToVolume(here.items)) .folder else return if (known and last and !trailing) .missing else .refused,
                .above => .folder,
                .node => |index| self.nodes.items[index].kind,
            };
            // A layer shows nothing that the guest may not know of.
            if (!known and self.isInLayer(here.items)) return .refused;
            switch (kind) {
                .link => |target| {
                    if (self.isDenied(at)) return .refused;
                    links += 1;
                    if (links > links_max) return .refused;
                    _ = here.pop();
                    if (target[0] == '/') {
                        here.clearRetainingCapacity();
                        hidden = false;
                    }
                    const parts = try split(self.arena, target);
                    if (last) trailing = trailing or endsAsFolder(target);
                    for (0..parts.len) |index| try rest.append(self.arena, parts[parts.len - 1 - index]);
                },
                .file => if (!known or !last or trailing) return .refused,
                .folder => if (!known) {
                    if (last or links == 0 or self.isDenied(at)) return .refused;
                    hidden = true;
                },
            }
        }
        if (hidden) return .refused;
        const end = try self.hostOf(here.items);
        return if (self.lookUp(end) == .nothing) .refused else .{ .reached = end };
    }

    fn endsAsFolder(path: []const u8) bool {
        return std.mem.endsWith(u8, path, "/") or std.mem.endsWith(u8, path, "/.") or std.mem.endsWith(u8, path, "..") or std.mem.eql(u8, path, ".");
    }
};

const Guest = struct {
    machine: *Machine,

    fn call(self: *Guest, number: u64, args: [6]u64) i64 {
        return table.dispatch(&self.machine.kernel, number, args);
    }

    /// Device and inode of what a path leads to, or a negative errno.
    fn identify(self: *Guest, path: []const u8) !union(enum) { failed: i64, found: [2]u64 } {
        const space = &self.machine.space;
        try space.writeAnyRights(memory_base, path);
        try space.writeAnyRights(memory_base + path.len, &.{0});
        const path_only = 0o10000000;
        const fd = self.call(2, .{ memory_base, path_only, 0, 0, 0, 0 });
        if (fd < 0) return .{ .failed = fd };
        defer _ = self.call(3, .{ @intCast(fd), 0, 0, 0, 0, 0 });
        const facts = memory_base + 8192;
        if (self.call(5, .{ @intCast(fd), facts, 0, 0, 0, 0 }) != 0) return error.TestUnexpectedResult;
        const memory = self.machine.kernel.memory;
        return .{ .found = .{ try memory.readValue(u64, facts), try memory.readValue(u64, facts + 8) } };
    }
};

fn hostIdentity(path: []const u8) ![2]u64 {
    var buffer: [limits.path_max_bytes]u8 = undefined;
    const name = try std.fmt.bufPrintZ(&buffer, "{s}", .{path});
    const Stat = extern struct { dev: u64, ino: u64, rest: [16]u64 };
    var stat: Stat = undefined;
    _ = try host.check(linux.syscall2(.lstat, @intFromPtr(name.ptr), @intFromPtr(&stat)));
    return .{ stat.dev, stat.ino };
}

fn boot() !*Machine {
    const machine = try machine_test.bootCode(&.{0x90}, 4 * limits.MiB);
    errdefer machine.destroy();
    try machine.space.map(.{ .start = memory_base, .end = memory_base + 4 * limits.page_size, .rights = .{ .read = true, .write = true }, .kind = .anonymous });
    return machine;
}

const Violation = error{Violation};

/// One tree and paths through it; answers how many led somewhere.
fn runTree(seed: u64, quiet: bool) !usize {
    var generator = std.Random.DefaultPrng.init(seed);
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const a = arena.allocator();
    const sandbox = try Sandbox.create();
    defer sandbox.remove();
    var world: World = .{ .arena = a, .random = generator.random(), .base = try World.split(a, sandbox.base()) };
    try world.grow(&sandbox);
    const machine = try boot();
    defer machine.destroy();
    const files = &machine.kernel.files;
    var grants: Names = .empty;
    for (world.grants.items) |grant| try grants.append(a, try world.text(grant));
    var denials: Names = .empty;
    for (world.denials.items) |denial| try denials.append(a, try world.text(denial));
    files.scope.permissions = .{ .read = .{ .paths = grants.items }, .deny_read = .{ .paths = denials.items } };
    for (world.volumes.items) |volume| try files.addMount(try world.text(volume.guest), try world.text(volume.host), true, false);
    testing.allocator.free(files.working_directory);
    files.working_directory = try testing.allocator.dupe(u8, sandbox.base());
    if (world.layer) |layer| try layers_setup.add(&machine.kernel, &.{try world.text(layer)});
    var guest: Guest = .{ .machine = machine };
    var reached: usize = 0;
    for (0..paths_per_tree) |_| {
        const path = try world.randomPath(world.random.uintLessThan(u8, 4) > 0);
        const expected = try world.follow(path);
        reached += @intFromBool(expected == .reached);
        compare(&world, try guest.identify(path), expected) catch |failure| {
            if (!quiet) tell(&world, path, expected, seed) catch {};
            return failure;
        };
    }
    return reached;
}

fn compare(world: *World, got: anytype, expected: Answer) !void {
    switch (expected) {
        .reached => |names| {
            const same = try hostIdentity(try world.text(names));
            // Of a layer's own folder the guest need not see the host's.
            if (world.isLayer(names) and got == .found) return;
            if (got != .found or !std.meta.eql(got.found, same)) return error.Violation;
        },
        .refused, .missing => if (got != .failed) return error.Violation,
    }
}

fn tell(world: *World, path: []const u8, expected: Answer, seed: u64) !void {
    std.debug.print("PRISTINE_FUZZ_SEED={d}: {s} is {t} in the model and not in the kernel\n", .{ seed, path, expected });
    if (expected == .reached) std.debug.print("  at {s}\n", .{try world.text(expected.reached)});
    for (world.nodes.items[1..], 1..) |node, index| std.debug.print("  {s} {t} {s}\n", .{ try world.text(try world.namesOf(index)), node.kind, if (node.kind == .link) node.kind.link else "" });
    for (world.grants.items) |grant| std.debug.print("  grant {s}\n", .{try world.text(grant)});
    for (world.denials.items) |denial| std.debug.print("  deny {s}\n", .{try world.text(denial)});
    if (world.layer) |layer| std.debug.print("  layer {s}\n", .{try world.text(layer)});
    for (world.volumes.items) |volume| std.debug.print("  volume {s} is {s}\n", .{ try world.text(volume.guest), try world.text(volume.host) });
}

test "paths lead where a model says, and nowhere else" {
    const first = settings.seed();
    const trees = settings.rounds(trees_default, paths_per_tree);
    var reached: usize = 0;
    for (0..trees) |index| reached += try runTree(first + index, false);
    // A search that reaches nothing searches nothing.
    if (trees >= trees_default) try testing.expect(reached > trees * paths_per_tree / 10);
}

test "a mistake planted into paths is found, whichever it is" {
    defer canaries.active = .none;
    for ([_]canaries.Canary{ .components_ignored, .denial_ignored, .climbing_allowed }) |canary| {
        canaries.active = canary;
        const found = for (0..trees_canary_max) |index| {
            _ = runTree(1 + index, true) catch |failure| if (failure == error.Violation) break index else return failure;
        } else null;
        canaries.active = .none;
        if (found == null) {
            std.debug.print("not found: {t}\n", .{canary});
            return error.CanaryMissed;
        }
    }
}

const Swapper = struct {
    sandbox: *const Sandbox,
    stop: std.atomic.Value(bool) = .init(false),
    swaps: std.atomic.Value(u64) = .init(0),

    fn run(self: *Swapper) void {
        while (!self.stop.load(.monotonic)) {
            for ([_][2][]const u8{ .{ "open/swap", "open/evil" }, .{ "open/swap/deeper", "open/evil" }, .{ "open/swap/file", "open/bad" } }) |pair| {
                self.sandbox.exchange(pair[0], pair[1]);
                self.sandbox.exchange(pair[0], pair[1]);
            }
            _ = self.swaps.fetchAdd(1, .monotonic);
        }
    }
};

test "links swapped in while the guest resolves never lead out" {
    try race(.permitted);
}

test "links swapped in while a layer's files are copied never lead out" {
    try race(.layer);
}

/// Whether the guest may write to the folder, or changes it in a layer.
const Writing = enum { permitted, layer };

fn race(writing: Writing) !void {
    const sandbox = try Sandbox.create();
    defer sandbox.remove();
    for ([_][]const u8{ "open", "open/swap", "open/swap/deeper", "closed", "closed/deeper" }) |name| try sandbox.directory(name);
    for ([_][]const u8{ "open/swap/file", "open/swap/deeper/file" }) |name| try sandbox.file(name, "inside");
    for ([_][]const u8{ "closed/file", "closed/deeper/file" }) |name| try sandbox.file(name, sandbox_module.secret);
    try sandbox.link("open/evil", "../closed");
    try sandbox.link("open/bad", "../closed/file");
    const machine = try boot();
    defer machine.destroy();
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const a = arena.allocator();
    const open_folder = try std.fmt.allocPrint(a, "{s}/open", .{sandbox.base()});
    const files = &machine.kernel.files;
    files.scope.permissions = .{ .read = .{ .paths = &.{open_folder} }, .write = if (writing == .permitted) .{ .paths = &.{open_folder} } else .{} };
    if (writing == .layer) try layers_setup.add(&machine.kernel, &.{open_folder});
    const image = try files.private.freeze();
    defer image.release();
    const before = sandbox.fingerprint("closed");
    var swapper: Swapper = .{ .sandbox = &sandbox };
    const thread = try std.Thread.spawn(.{}, Swapper.run, .{&swapper});
    defer thread.join();
    defer swapper.stop.store(true, .monotonic);
    var guest: Guest = .{ .machine = machine };
    const rounds = settings.number("PRISTINE_FUZZ_ITERATIONS", 6_000);
    var inside: u64 = 0;
    for (0..rounds) |round| {
        // Nothing is copied yet when it is opened.
        files.private.release();
        files.private = image.retain();
        const path = try std.fmt.allocPrint(a, "{s}/swap/{s}", .{ open_folder, if (round % 2 == 0) "file" else "deeper/file" });
        try machine.space.writeAnyRights(memory_base, path);
        try machine.space.writeAnyRights(memory_base + path.len, &.{0});
        const fd = guest.call(2, .{ memory_base, if (round % 3 == 0) 2 else 0, 0, 0, 0, 0 });
        if (fd < 0) continue;
        defer _ = guest.call(3, .{ @intCast(fd), 0, 0, 0, 0, 0 });
        const buffer = memory_base + 8192;
        const got = guest.call(0, .{ @intCast(fd), buffer, 64, 0, 0, 0 });
        try testing.expect(got >= 0);
        var bytes: [64]u8 = undefined;
        try machine.kernel.memory.read(buffer, bytes[0..@intCast(got)]);
        try testing.expectEqualStrings("inside", bytes[0..@intCast(got)]);
        inside += 1;
    }
    try testing.expectEqual(before, sandbox.fingerprint("closed"));
    // The search is one only if both sides had their turn.
    try testing.expect(inside > 0 and swapper.swaps.load(.monotonic) > 10);
}
