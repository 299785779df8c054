//! Records as an image again: of what `check.zig` has found to make sense.
//!
//! What counts, refers and summarizes is made anew here, so that no file can say it wrongly. Files of the host come from
//! `reopen.zig`. Not here: the bytes of the memory (`pages.zig`).
const std = @import("std");
const address_space = @import("../memory/address_space.zig");
const block_module = @import("../memory/block.zig");
const kvm = @import("../kvm.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const records = @import("records.zig");
const reopen = @import("reopen.zig");
const signals_module = @import("../linux/signals.zig");
const symbols_module = @import("../symbols.zig");
const table_module = @import("../linux/files/table.zig");
const threads_module = @import("../linux/threads.zig");
const tree_module = @import("../linux/files/private/tree.zig");
const vma_module = @import("../memory/vma.zig");
const Clock = @import("../clock.zig").Clock;
const Content = @import("../linux/files/private/content.zig").Content;
const Description = table_module.Description;
const Epoll = @import("../linux/events/epoll.zig").Epoll;
const FilePiece = @import("../memory/file_pieces.zig").FilePiece;
const FileTable = table_module.FileTable;
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const HostFile = @import("../host_file.zig").HostFile;
const Kernel = @import("../linux/kernel.zig").Kernel;
const Piece = @import("../linux/sockets/queue.zig").Piece;
const Pipe = @import("../linux/files/pipe.zig").Pipe;
const Program = @import("../program.zig").Program;
const Socket = @import("../linux/sockets/socket.zig").Socket;
const SpaceImage = @import("../memory/space_image.zig").SpaceImage;
const Thread = threads_module.Thread;
const Threads = threads_module.Threads;

const block_frames = limits.window_pages;

pub const Error = error{ OutOfMemory, HostFailure };

pub const Given = struct {
    allocator: std.mem.Allocator,
    state: *const records.State,
    files: []const *HostFile,
    contents: []const *Content,
};

/// The open files, in a table that has its scope and its standard streams at the first descriptors, and nothing else.
pub fn openFiles(given: *const Given, files: *FileTable, streams: *const [3]?*HostFile) reopen.Error!void {
    const all = given.state;
    const kernel = &all.kernel[0];
    try layers(given, files);
    const path = try files.allocator.dupe(u8, kernel.working_directory);
    files.allocator.free(files.working_directory);
    files.working_directory = path;
    try sockets(given, files);
    const pipes = try given.allocator.alloc(?*Pipe, all.pipes.len);
    defer given.allocator.free(pipes);
    @memset(pipes, null);
    const made = try given.allocator.alloc(*Description, all.descriptions.len);
    defer given.allocator.free(made);
    try files.slots.ensureTotalCapacity(files.allocator, all.slots.len);
    for (made, all.descriptions, 0..) |*description, *record, index| {
        description.* = description: {
            errdefer for (made[0..index]) |other| drop(files, other);
            break :description try open(given, files, streams, record, pipes);
        };
        // Each reference is counted where it is made.
        description.*.references = 0;
    }
    for (all.slots) |slot| {
        const description = if (slot.description) |number| made[number] else null;
        if (description) |some| some.references += 1;
        files.slots.appendAssumeCapacity(.{ .description = description, .close_on_exec = slot.close_on_exec });
    }
    errdefer for (made) |description| if (description.references == 0) drop(files, description);
    try flights(given, files, made);
    for (made, all.descriptions) |description, *record| if (record.kind == .epoll) try watch(files, description.kind.epoll, record, made);
}

fn drop(files: *FileTable, description: *Description) void {
    description.references = 1;
    files.release(description);
}

fn open(given: *const Given, files: *FileTable, streams: *const [3]?*HostFile, record: *const records.Description, pipes: []?*Pipe) reopen.Error!*Description {
    const allocator = files.allocator;
    const kind: table_module.Kind = switch (record.kind) {
        .host_stream => |number| if (streams[number]) |stream| .{ .host_stream = stream.retain() } else .{ .device = .null },
        .output => |number| .{ .output = .{ .stream = number, .to = null } },
        .host_file => |file| .{ .host_file = .{ .file = given.files[file.file].retain(), .at = file.at } },
        .host_directory => |directory| .{ .host_directory = .{ .fd = try reopen.directory(files, directory.path, directory.place), .path = try allocator.dupe(u8, directory.path), .at = directory.at } },
        .text => |text| .{ .text = .{ .bytes = try allocator.dupe(u8, text.bytes), .at = text.at } },
        .synthetic_directory => |directory| .{ .synthetic_directory = .{ .path = try allocator.dupe(u8, directory.path), .at = directory.at } },
        .pipe_read => |number| .{ .pipe_read = try endOf(given, files, number, pipes, .reader) },
        .pipe_write => |number| .{ .pipe_write = try endOf(given, files, number, pipes, .writer) },
        .socket => |number| .{ .socket = files.sockets.list.items[number] },
        .epoll => .{ .epoll = try .create(files) },
        inline .device, .private_file, .private_directory, .event, .timer, .signals => |value, tag| @unionInit(table_module.Kind, @tagName(tag), value),
    };
    const made = try files.create(kind, record.status_flags, record.path);
    made.changes = record.changes;
    return made;
}

fn endOf(given: *const Given, files: *FileTable, number: records.Number, pipes: []?*Pipe, end: enum { reader, writer }) Error!*Pipe {
    const pipe = pipes[number] orelse blk: {
        const record = &given.state.pipes[number];
        const made = try Pipe.create(files.allocator);
        made.limit = record.limit;
        _ = made.write(record.bytes);
        made.changes_in = record.changes_in;
        made.changes_out = record.changes_out;
        made.readers = 0;
        made.writers = 0;
        files.pipes += 1;
        pipes[number] = made;
        break :blk made;
    };
    if (end == .reader) pipe.readers += 1 else pipe.writers += 1;
    return pipe;
}

fn watch(files: *FileTable, set: *Epoll, record: *const records.Description, made: []const *Description) Error!void {
    const from = record.kind.epoll;
    try set.watches.ensureTotalCapacity(files.allocator, from.watches.len);
    for (from.watches) |saved| {
        var one: @TypeOf(set.watches.items[0]) = undefined;
        records.copyShared(&one, &saved);
        set.addCopy(files, one, made[saved.description]);
    }
    set.next = from.next;
    set.changes = from.changes;
}

fn sockets(given: *const Given, files: *FileTable) Error!void {
    const to = &files.sockets;
    const saved = given.state.sockets;
    for (saved) |*record| {
        const socket = to.add(record.family, record.type, record.protocol) catch |failure| return switch (failure) {
            error.OutOfMemory => error.OutOfMemory,
            error.TooMany => unreachable,
        };
        records.copyShared(socket, record);
        socket.failure = @enumFromInt(record.failure);
        for (record.received) |piece| {
            const copy = try Piece.create(to.allocator, piece.capacity);
            copy.end = piece.bytes.len;
            copy.source = piece.source;
            copy.sender = piece.sender;
            @memcpy(copy.bytes(), piece.bytes);
            socket.received.append(copy);
        }
    }
    for (saved, to.list.items) |*record, socket| {
        if (record.peer) |peer| socket.peer = to.list.items[peer];
        if (record.wants) |wanted| socket.wants = to.list.items[wanted];
        try socket.waiting.ensureTotalCapacity(to.allocator, record.waiting.len);
        for (record.waiting) |embryo| socket.waiting.appendAssumeCapacity(to.list.items[embryo]);
    }
    const kernel = &given.state.kernel[0];
    to.next_number = kernel.next_number;
    to.next_port = kernel.next_port;
    to.next_name = kernel.next_name;
}

/// Open files on their way between sockets.
fn flights(given: *const Given, files: *FileTable, made: []const *Description) Error!void {
    for (given.state.sockets, files.sockets.list.items) |*record, socket| {
        var piece = socket.received.first;
        for (record.received) |*saved| {
            defer piece = piece.?.next;
            if (saved.rights.len == 0) continue;
            const rights = try files.allocator.alloc(*Description, saved.rights.len);
            for (rights, saved.rights) |*right, number| {
                right.* = made[number];
                right.*.references += 1;
            }
            piece.?.rights = rights;
            files.sockets.in_flight += @intCast(rights.len);
        }
    }
}

/// The private files, with the folders that were layers.
fn layers(given: *const Given, files: *FileTable) Error!void {
    const kernel = &given.state.kernel[0];
    const arena = files.scope.arena.allocator();
    const tree: *tree_module.Tree = try .create(files.allocator);
    errdefer tree.release();
    const roots = try arena.alloc([]const u8, tree_module.mount_points.len + kernel.layers.len);
    @memcpy(roots[0..tree_module.mount_points.len], &tree_module.mount_points);
    for (roots[tree_module.mount_points.len..], kernel.layers) |*root, layer| root.* = try arena.dupe(u8, layer);
    const ways = try arena.alloc([]const u8, kernel.ways.len);
    for (ways, kernel.ways) |*way, saved| way.* = try arena.dupe(u8, saved);
    try tree.adopt(roots, given.state.nodes, given.contents, kernel.next_inode);
    files.scope.ways = ways;
    files.private.release();
    files.private = tree;
}

pub fn threads(given: *const Given) Error!Threads {
    const all = given.state;
    const kernel = &all.kernel[0];
    var self = try Threads.init(given.allocator, kernel.identity.pid);
    errdefer self.deinit();
    while (self.list.items.len + 1 < all.threads.len) {
        const thread = try given.allocator.create(Thread);
        thread.* = .{ .id = 0 };
        self.list.append(given.allocator, thread) catch |failure| {
            given.allocator.destroy(thread);
            return failure;
        };
    }
    for (all.threads, 0..) |*record, index| {
        const thread = if (index == 0) self.caller else self.list.items[index - 1];
        records.copyShared(thread, record);
        records.copyShared(&thread.call, &record.call);
        records.copyShared(&thread.signals, &record.signals);
        fillQueue(&thread.signals.queue, record.signals.queue);
        const area = try given.allocator.create(kvm.Xsave);
        area.region = record.vectors;
        thread.vectors.copy = area;
        thread.vectors.current = .{ .memory = area };
    }
    records.copyShared(&self, kernel);
    self.current = self.list.items[kernel.current];
    self.caller_fresh = false;
    self.replan = true;
    return self;
}

fn fillQueue(queue: *signals_module.Queue, entries: []const signals_module.Entry) void {
    queue.* = .{};
    for (entries, 0..) |entry, index| {
        queue.entries[index] = entry;
        queue.set |= signals_module.bit(entry.signal);
    }
    queue.count = @intCast(entries.len);
}

/// What of the kernel is neither threads nor files, nor a machine's own.
pub fn kernelState(to: *Kernel, state: *const records.State) void {
    const record = &state.kernel[0];
    records.copyShared(to, record);
    to.signals = .{ .actions = record.signals.actions, .pending = .init(record.signals.pending), .arrivals = .init(record.signals.arrivals) };
    fillQueue(&to.signals.queue, record.signals.queue);
    to.timers.armed = 0;
    for (&to.timers.interval) |*timer| to.timers.armed += @intFromBool(timer.expires_ns != 0);
    for (&to.timers.posix) |*timer| to.timers.armed += @intFromBool(timer.expires_ns != 0);
    // Spans stand still until a fork runs.
    to.timers.asleep = true;
}

/// What a remote offers, and what of remotes was asked for.
pub fn remoteNames(to: *Kernel, state: *const records.State) error{OutOfMemory}!void {
    const record = &state.kernel[0];
    errdefer {
        to.exports.deinit(to.allocator);
        to.imports.deinit(to.allocator);
    }
    for (record.exports) |entry| try to.exports.add(to.allocator, entry.name, entry.address);
    for (record.imports) |name| try to.imports.add(to.allocator, name, 0);
}

/// CPU time is told in cycles, which may be shorter or longer here.
pub fn scaleCycles(to: *Kernel, state: *const records.State, shown: *const Clock) void {
    const then: u128 = state.clock[0].cycle;
    const now: u128 = @max(1, shown.current.multiplier);
    // How long a cycle is was measured both times: so little apart, it is the same.
    if (@max(then, now) - @min(then, now) < now / 1000) {
        to.cycles_before = state.kernel[0].cpu_cycles;
        return;
    }
    const scale = struct {
        fn of(cycles: u64, before: u128, after: u128) u64 {
            return @truncate(@min(std.math.maxInt(u64) / 2, @as(u128, cycles) * before / after));
        }
    }.of;
    to.cycles_before = scale(state.kernel[0].cpu_cycles, then, now);
    to.threads.switched_at = scale(to.threads.switched_at, then, now);
    for (to.threads.list.items) |thread| thread.cycles = scale(thread.cycles, then, now);
}

pub fn program(given: *const Given) Error!*Program {
    const record = &given.state.program[0];
    const allocator = given.allocator;
    const self = try allocator.create(Program);
    errdefer allocator.destroy(self);
    self.* = .{ .file = given.files[record.file], .size = given.state.files[record.file].bytes, .image = .ofRange(record.page_start, record.page_end), .bias = record.bias, .entry = record.entry };
    self.command_line = try allocator.dupe(u8, record.command_line);
    errdefer allocator.free(self.command_line);
    if (record.symbols.len > 0) {
        const kept = try allocator.alloc(symbols_module.Kept, record.symbols.len);
        defer allocator.free(kept);
        for (kept, record.symbols) |*to, *from| records.copyShared(to, from);
        self.names = try symbols_module.Symbols.of(allocator, record.names, kept);
    }
    _ = self.file.retain();
    return self;
}

fn areaOf(all: *const records.State) layout.UserArea {
    return if (all.kernel[0].window) |window| .ofRemote(@intCast(window)) else .ordinary;
}

pub fn space(given: *const Given) Error!SpaceImage {
    const all = given.state;
    const allocator = given.allocator;
    var to: SpaceImage = .{ .area = areaOf(all), .root = all.kernel[0].root, .tables = .empty, .windows = .empty, .vmas = &.{}, .brk_start = all.kernel[0].brk_start, .brk_end = all.kernel[0].brk_end };
    errdefer to.deinit(allocator);
    try to.tables.ensureTotalCapacity(allocator, @intCast(all.tables.len));
    for (all.tables) |made| to.tables.putAssumeCapacity(made.key, .{ .frame = made.frame });
    try to.windows.ensureTotalCapacity(allocator, @intCast(all.windows.len));
    for (all.windows) |*record| {
        const window = try allocator.create(address_space.Window);
        window.* = .{ .table = record.table, .block = record.block };
        for (record.frames) |run| {
            for (0..run.count) |index| window.frames[run.page + index] = @intCast(run.frame + index);
            window.mapped += run.count;
        }
        to.windows.putAssumeCapacity(record.number, window);
    }
    const vmas = try allocator.alloc(vma_module.Vma, all.vmas.len);
    for (vmas, all.vmas) |*vma, *record| {
        records.copyShared(vma, record);
        vma.file = if (record.file) |number| given.files[number].retain() else null;
    }
    to.vmas = vmas;
    return to;
}

/// The records of the guest-physical space; what is in use is what the address space uses.
pub fn frames(given: *const Given, to: *FrameImage) Error!void {
    const all = given.state;
    const allocator = given.allocator;
    // Given up with the image, whatever fails from here on.
    const blocks = try allocator.alloc(block_module.Block, all.blocks.len);
    to.blocks = blocks;
    to.free_blocks = 0;
    // A window's record counts as one.
    to.frames_used = all.windows.len;
    for (blocks, all.blocks) |*block, *record| {
        block.* = .{ .use = record.use };
        if (record.use == .free) to.free_blocks += 1;
        if (record.use != .tables and record.use != .small) continue;
        block.used.masks = @bitCast(record.used);
        const count: u16 = @intCast(block.used.count());
        block.free_count -= count;
        to.frames_used += count;
    }
    for (all.windows) |*window| if (window.block) |first| {
        for (window.frames) |run| if (run.frame / block_frames == first / block_frames) {
            to.frames_used += run.count;
        };
    };
    to.bytes_max = all.kernel[0].bytes_max;
    to.physical_base = areaOf(all).physicalBase();
    const pieces = try allocator.alloc(FilePiece, all.pieces.len);
    for (pieces, all.pieces) |*piece, *record| {
        records.copyShared(piece, record);
        piece.shared = true;
        piece.file = given.files[record.file].retain();
    }
    to.files = pieces;
}

/// The clocks go on from where they stood; the date, and how long ago the boot is, from what it is now.
pub fn clock(state: *const records.State, to: *Clock) void {
    const saved = &state.clock[0];
    to.stands_at = .{ .monotonic_ns = saved.monotonic_ns, .monotonic_raw_ns = saved.monotonic_raw_ns };
    to.standBoottime(saved.boottime_ns, saved.realtime_ns);
}
