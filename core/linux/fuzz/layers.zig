//! Changes in a layer against a model (`layer_model.zig`): a random folder of the host, granted and denied in part, and random
//! calls in it. Each must come to what the model says; what is then seen must be what the model has; an image of the tree
//! must stay as it was; and the host's folder must never change.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../canaries.zig");
const layers_setup = @import("../../abi/layers_setup.zig");
const limits = @import("../../limits.zig");
const machine_test = @import("../../machine_test.zig");
const model_module = @import("layer_model.zig");
const invariants = @import("invariants.zig");
const permissions_module = @import("../permissions.zig");
const sandbox_module = @import("sandbox.zig");
const settings = @import("settings.zig");
const table = @import("../table.zig");
const tree_module = @import("../files/private/tree.zig");
const Machine = @import("../../machine.zig").Machine;
const Model = model_module.Model;
const Sandbox = sandbox_module.Sandbox;
const testing = std.testing;

const trees_default = 60;
const trees_canary_max = 200;
const calls_per_tree = 150;
const calls_per_look = 15;
const host_names_max = 14;
const memory_base = 0x1000_0000;
const buffer_address = memory_base + 4 * limits.page_size;
const buffer_bytes = 8 * limits.page_size;

const words = [_][]const u8{ "a", "ab", "b", "c" };

const Violation = error{Violation};

const Fuzzer = struct {
    arena: std.mem.Allocator,
    random: std.Random,
    machine: *Machine,
    layer: []const u8,
    model: Model,
    quiet: bool,
    /// A descriptor that stays open over many calls, and what it is of.
    kept: ?struct { fd: u64, inode: *model_module.Inode } = null,
    last: []const u8 = "",

    fn violated(self: *Fuzzer, comptime what: []const u8, arguments: anytype) Violation {
        if (!self.quiet) std.debug.print("{s}: " ++ what ++ "\n", .{self.last} ++ arguments);
        return error.Violation;
    }

    fn call(self: *Fuzzer, number: linux.SYS, args: [6]u64) i64 {
        return table.dispatch(&self.machine.kernel, @intFromEnum(number), args);
    }

    /// Puts a path of the layer into guest memory.
    fn path(self: *Fuzzer, place: u64, name: []const u8) !u64 {
        const whole = try std.fmt.allocPrint(self.arena, "{s}{s}{s}\x00", .{ self.layer, if (name.len == 0) "" else "/", name });
        return self.text(place, whole);
    }

    fn text(self: *Fuzzer, place: u64, bytes: []const u8) !u64 {
        const address = memory_base + place * limits.page_size;
        try self.machine.space.writeAnyRights(address, bytes);
        return address;
    }

    fn randomName(self: *Fuzzer) ![]const u8 {
        // Most calls are to meet something.
        const names = self.model.names.keys();
        if (self.random.uintLessThan(u8, 3) > 0) {
            const known = names[self.random.uintLessThan(usize, names.len)];
            if (known.len > 0) return known;
        }
        var out: std.ArrayList(u8) = .empty;
        for (0..1 + self.random.uintLessThan(usize, 3)) |index| {
            if (index > 0) try out.append(self.arena, '/');
            try out.appendSlice(self.arena, words[self.random.uintLessThan(usize, words.len)]);
        }
        return out.items;
    }

    /// Compares what a call came to with what the model says.
    fn expect(self: *Fuzzer, got: i64, said: anyerror!void) !void {
        const expected: i64 = if (said) |_| 0 else |failure| switch (failure) {
            error.Refused => -@as(i64, @intFromEnum(Model.refused_with)),
            else => return failure,
        };
        const same = if (expected == 0) got >= 0 else got == expected;
        if (!same) return self.violated("came to {d}, not to {d}", .{ got, expected });
    }

    fn step(self: *Fuzzer) !void {
        const name = try self.randomName();
        const other = try self.randomName();
        const action = self.random.uintLessThan(u8, 16);
        self.last = try std.fmt.allocPrint(self.arena, "{d} {s} {s}", .{ action, name, other });
        switch (action) {
            0...4 => try self.openFile(name),
            5 => try self.expect(self.call(.mkdir, .{ try self.path(0, name), 0o755, 0, 0, 0, 0 }), self.model.make(name, .{ .kind = .folder, .mode = 0o755 })),
            6, 7 => try self.expect(self.call(.unlink, .{ try self.path(0, name), 0, 0, 0, 0, 0 }), self.model.unlink(name)),
            8, 9 => try self.expect(self.call(.rmdir, .{ try self.path(0, name), 0, 0, 0, 0, 0 }), self.model.removeFolder(name)),
            10, 11 => {
                const how: Model.How = @enumFromInt(self.random.uintLessThan(u8, 3));
                try self.expect(self.call(.renameat2, .{ at_cwd, try self.path(0, name), at_cwd, try self.path(1, other), @intFromEnum(how), 0 }), self.model.rename(name, other, how));
            },
            12 => try self.expect(self.call(.link, .{ try self.path(0, name), try self.path(1, other), 0, 0, 0, 0 }), self.model.link(name, other)),
            13 => {
                const target = words[self.random.uintLessThan(usize, words.len)];
                const address = try self.text(1, try std.fmt.allocPrint(self.arena, "{s}\x00", .{target}));
                try self.expect(self.call(.symlink, .{ address, try self.path(0, name), 0, 0, 0, 0 }), self.model.make(name, .{ .kind = .link, .target = target, .mode = 0o777 }));
            },
            14 => {
                const size = self.random.uintLessThan(usize, 9000);
                try self.expect(self.call(.truncate, .{ try self.path(0, name), size, 0, 0, 0, 0 }), self.model.truncate(name, size));
            },
            else => {
                // All that its owner has to have.
                const mode: u32 = 0o700 + self.random.uintLessThan(u32, 0o100);
                try self.expect(self.call(.chmod, .{ try self.path(0, name), mode, 0, 0, 0, 0 }), self.model.chmod(name, mode));
            },
        }
    }

    const at_cwd: u64 = @bitCast(@as(i64, -100));

    fn openFile(self: *Fuzzer, name: []const u8) !void {
        const random = self.random;
        const flags: Model.OpenFlags = .{ .writes = random.boolean(), .creates = random.boolean(), .exclusive = random.uintLessThan(u8, 4) == 0, .truncates = random.uintLessThan(u8, 4) == 0 };
        const appends = random.boolean();
        const O = struct {
            fn bit(condition: bool, value: u64) u64 {
                return if (condition) value else 0;
            }
        };
        const bits = O.bit(flags.writes, 2) | O.bit(flags.creates, 0o100) | O.bit(flags.exclusive and flags.creates, 0o200) | O.bit(flags.truncates, 0o1000) | O.bit(appends, 0o2000);
        const opened = self.call(.open, .{ try self.path(0, name), bits, 0o644, 0, 0, 0 });
        const said = self.model.open(name, flags, 0o644);
        try self.expect(opened, if (said) |_| {} else |failure| failure);
        if (opened < 0) return;
        const inode = try said;
        const fd: u64 = @intCast(opened);
        if (flags.writes and inode.kind == .file) try self.writeSome(fd, inode, appends);
        const keeps = inode.kind == .file and random.uintLessThan(u8, 4) == 0;
        if (!keeps) {
            _ = self.call(.close, .{ fd, 0, 0, 0, 0, 0 });
            return;
        }
        if (self.kept) |kept| _ = self.call(.close, .{ kept.fd, 0, 0, 0, 0, 0 });
        self.kept = .{ .fd = fd, .inode = inode };
    }

    fn writeSome(self: *Fuzzer, fd: u64, inode: *model_module.Inode, appends: bool) !void {
        var bytes: [64]u8 = undefined;
        const some = bytes[0 .. 1 + self.random.uintLessThan(usize, bytes.len)];
        self.random.bytes(some);
        const at = if (appends) inode.bytes.items.len else 0;
        if (self.call(.write, .{ fd, try self.text(1, some), some.len, 0, 0, 0 }) != some.len) return self.violated("a write was short", .{});
        if (inode.bytes.items.len < at + some.len) try inode.bytes.appendNTimes(self.arena, 0, at + some.len - inode.bytes.items.len);
        @memcpy(inode.bytes.items[at..][0..some.len], some);
    }

    // Looking

    fn lookAtAll(self: *Fuzzer) !void {
        for (self.model.names.keys(), self.model.names.values()) |name, inode| try self.lookAt(name, inode);
        for (self.model.names.keys(), self.model.names.values()) |name, inode| if (inode.kind == .folder) try self.lookInto(name);
        if (self.kept) |kept| try self.compareBytes(kept.fd, kept.inode);
    }

    fn lookAt(self: *Fuzzer, name: []const u8, inode: *model_module.Inode) !void {
        self.last = name;
        const rc = self.call(.lstat, .{ try self.path(0, name), buffer_address, 0, 0, 0, 0 });
        if (rc != 0) return self.violated("lstat is {d}", .{rc});
        const memory = self.machine.kernel.memory;
        const mode = try memory.readValue(u32, buffer_address + 24);
        const kind: model_module.Kind = switch (mode & linux.S.IFMT) {
            linux.S.IFDIR => .folder,
            linux.S.IFREG => .file,
            else => .link,
        };
        if (kind != inode.kind) return self.violated("is a {t}, not a {t}", .{ kind, inode.kind });
        if (kind != .link and mode & 0o777 != inode.mode and name.len > 0) return self.violated("has mode {o}, not {o}", .{ mode & 0o777, inode.mode });
        if (kind == .link) {
            const length = self.call(.readlink, .{ try self.path(0, name), buffer_address, buffer_bytes, 0, 0, 0 });
            if (length != inode.target.len or !std.mem.eql(u8, try self.seen(inode.target.len), inode.target)) return self.violated("leads elsewhere", .{});
        }
        if (kind != .file) return;
        const size = try memory.readValue(u64, buffer_address + 48);
        if (size != inode.bytes.items.len) return self.violated("has {d} bytes, not {d}", .{ size, inode.bytes.items.len });
        const fd = self.call(.open, .{ try self.path(0, name), 0, 0, 0, 0, 0 });
        if (fd < 0) return self.violated("open is {d}", .{fd});
        defer _ = self.call(.close, .{ @intCast(fd), 0, 0, 0, 0, 0 });
        try self.compareBytes(@intCast(fd), inode);
    }

    fn seen(self: *Fuzzer, length: usize) ![]const u8 {
        const bytes = try self.arena.alloc(u8, length);
        try self.machine.kernel.memory.read(buffer_address, bytes);
        return bytes;
    }

    fn compareBytes(self: *Fuzzer, fd: u64, inode: *model_module.Inode) !void {
        const got = self.call(.pread64, .{ fd, buffer_address, buffer_bytes, 0, 0, 0 });
        if (got != inode.bytes.items.len) return self.violated("{d} bytes are read, not {d}", .{ got, inode.bytes.items.len });
        if (!std.mem.eql(u8, try self.seen(inode.bytes.items.len), inode.bytes.items)) return self.violated("has other bytes", .{});
    }

    /// A listing has each name of the model once, and no other.
    fn lookInto(self: *Fuzzer, folder: []const u8) !void {
        self.last = folder;
        const fd = self.call(.open, .{ try self.path(0, folder), 0o200000, 0, 0, 0, 0 });
        if (fd < 0) return self.violated("opening to list is {d}", .{fd});
        defer _ = self.call(.close, .{ @intCast(fd), 0, 0, 0, 0, 0 });
        var count: usize = 0;
        while (true) {
            // Little room, so that a listing is of several pieces.
            const got = self.call(.getdents64, .{ @intCast(fd), buffer_address, 100, 0, 0, 0 });
            if (got < 0) return self.violated("listing is {d}", .{got});
            if (got == 0) break;
            const bytes = try self.seen(@intCast(got));
            var at: usize = 0;
            while (at < bytes.len) : (at += std.mem.readInt(u16, bytes[at + 16 ..][0..2], .little)) {
                const name = std.mem.sliceTo(bytes[at + 19 ..], 0);
                if (std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..")) continue;
                count += 1;
                const whole = if (folder.len == 0) name else try std.fmt.allocPrint(self.arena, "{s}/{s}", .{ folder, name });
                if (!self.model.names.contains(whole)) return self.violated("a listing has {s}", .{name});
            }
        }
        var expected: usize = 0;
        for (self.model.names.keys()) |name| expected += @intFromBool(name.len > 0 and std.mem.eql(u8, Model.parentOf(name), folder));
        if (count != expected) return self.violated("a listing has {d} names, not {d}", .{ count, expected });
    }
};

/// Furnishes the host's folder, and the model with what of it is to be seen.
fn furnish(fuzzer: *Fuzzer, sandbox: *const Sandbox, rules: *const permissions_module.Permissions) !void {
    const a = fuzzer.arena;
    const random = fuzzer.random;
    try sandbox.directory("layer");
    try fuzzer.model.add("", .{ .kind = .folder, .mode = 0o755, .of_host = true });
    var all: std.StringArrayHashMapUnmanaged(model_module.Kind) = .empty;
    try all.put(a, "", .folder);
    for (0..4 * host_names_max) |_| {
        if (all.count() == host_names_max) break;
        const parent = all.keys()[random.uintLessThan(usize, all.count())];
        if (all.get(parent).? != .folder) continue;
        const word = words[random.uintLessThan(usize, words.len)];
        const name = if (parent.len == 0) word else try std.fmt.allocPrint(a, "{s}/{s}", .{ parent, word });
        if (all.contains(name)) continue;
        const relative = try std.fmt.allocPrint(a, "layer/{s}", .{name});
        const path = try std.fmt.allocPrint(a, "{s}/{s}", .{ sandbox.base(), relative });
        var inode: model_module.Inode = .{ .kind = switch (random.uintLessThan(u8, 5)) {
            0, 1 => .folder,
            2, 3 => .file,
            else => .link,
        } };
        switch (inode.kind) {
            .folder => {
                try sandbox.directory(relative);
                inode.of_host = true;
                inode.mode = 0o755;
            },
            .file => {
                const bytes = try a.alloc(u8, 1 + random.uintLessThan(usize, 6000));
                random.bytes(bytes);
                try sandbox.file(relative, bytes);
                try inode.bytes.appendSlice(a, bytes);
                inode.mode = 0o644;
            },
            .link => {
                inode.target = words[random.uintLessThan(usize, words.len)];
                try sandbox.link(relative, inode.target);
            },
        }
        try all.put(a, name, inode.kind);
        if (isShown(rules, path, inode.kind)) try fuzzer.model.add(name, inode);
    }
}

/// What may be read is shown, and the folders that lead there.
fn isShown(rules: *const permissions_module.Permissions, path: []const u8, kind: model_module.Kind) bool {
    for (rules.deny_read.paths) |denied| if (permissions_module.isBeneath(path, denied)) return false;
    for (rules.read.paths) |granted| {
        if (permissions_module.isBeneath(path, granted)) return true;
        if (kind == .folder and permissions_module.isBeneath(granted, path)) return true;
    }
    return false;
}

/// Grants and denials in the layer, which may name what is not there; a name that leads to something granted is a folder.
fn makeRules(a: std.mem.Allocator, random: std.Random, layer: []const u8) !permissions_module.Permissions {
    var granted: std.ArrayList([]const u8) = .empty;
    var denied: std.ArrayList([]const u8) = .empty;
    if (random.uintLessThan(u8, 4) > 0) try granted.append(a, layer);
    for (0..random.uintLessThan(usize, 3)) |_| try granted.append(a, try std.fmt.allocPrint(a, "{s}/{s}", .{ layer, words[random.uintLessThan(usize, words.len)] }));
    for (0..random.uintLessThan(usize, 3)) |_| try denied.append(a, try std.fmt.allocPrint(a, "{s}/{s}", .{ layer, words[random.uintLessThan(usize, words.len)] }));
    return .{ .read = .{ .paths = granted.items }, .deny_read = .{ .paths = denied.items } };
}

/// An image of the private tree, and the same once more, to tell whether the image changes.
const Image = struct {
    shared: *tree_module.Tree,
    copy: *tree_module.Tree,

    fn take(tree: *tree_module.Tree) !Image {
        return .{ .shared = try tree.freeze(), .copy = try tree.clone() };
    }

    fn release(self: Image) bool {
        defer self.shared.release();
        defer self.copy.release();
        return self.shared.equals(self.copy);
    }
};

fn runTree(seed: u64, quiet: bool) !usize {
    var generator = std.Random.DefaultPrng.init(seed);
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const a = arena.allocator();
    const sandbox = try Sandbox.create();
    defer sandbox.remove();
    const machine = try machine_test.bootCode(&.{0x90}, 4 * limits.MiB);
    defer machine.destroy();
    try machine.space.map(.{ .start = memory_base, .end = buffer_address + buffer_bytes, .rights = .{ .read = true, .write = true }, .kind = .anonymous });
    const layer = try std.fmt.allocPrint(a, "{s}/layer", .{sandbox.base()});
    var fuzzer: Fuzzer = .{ .arena = a, .random = generator.random(), .machine = machine, .layer = layer, .model = .{ .arena = a }, .quiet = quiet };
    const rules = try makeRules(a, fuzzer.random, layer);
    try furnish(&fuzzer, &sandbox, &rules);
    machine.kernel.files.scope.permissions = rules;
    try layers_setup.add(&machine.kernel, &.{layer});
    const before = sandbox.fingerprint("layer");
    var image: ?Image = null;
    defer if (image) |some| {
        _ = some.release();
    };
    try fuzzer.lookAtAll();
    for (0..calls_per_tree) |index| {
        try fuzzer.step();
        if (index % calls_per_look != 0) continue;
        try fuzzer.lookAtAll();
        // What was closed while the image shared the tree goes with the first change.
        _ = try machine.kernel.files.ownPrivate();
        _ = try invariants.privateContents(machine, quiet);
        if (image) |some| if (!some.release()) {
            image = null;
            return fuzzer.violated("an image has changed", .{});
        };
        image = try Image.take(machine.kernel.files.private);
    }
    try fuzzer.lookAtAll();
    if (sandbox.fingerprint("layer") != before) return fuzzer.violated("the host's folder has changed", .{});
    return fuzzer.model.names.count();
}

test "a layer is what a model says after any changes, and the host's folder stays as it is" {
    const first = settings.seed();
    const trees = settings.rounds(trees_default, calls_per_tree);
    for (0..trees) |index| _ = runTree(first + index, false) catch |failure| {
        std.debug.print("failed with PRISTINE_FUZZ_SEED={d} PRISTINE_FUZZ_ITERATIONS=1\n", .{first + index});
        return failure;
    };
}

test "a mistake planted into layers is found, whichever it is" {
    defer canaries.active = .none;
    for ([_]canaries.Canary{ .whiteout_forgotten, .folder_covered, .layer_unchecked }) |canary| {
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
