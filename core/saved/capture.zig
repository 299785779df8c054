//! An image as records: what `save.zig` writes beside the pages.
//!
//! Nothing of the host is in them but what the guest itself has seen: no descriptor, no address of the VMM's memory, no part
//! of the environment. Not here: the way back (`revive.zig`).
const std = @import("std");
const linux = std.os.linux;
const limits = @import("../limits.zig");
const records = @import("records.zig");
const Content = @import("../linux/files/private/content.zig").Content;
const Copies = @import("copies.zig").Copies;
const Description = @import("../linux/files/table.zig").Description;
const Epoll = @import("../linux/events/epoll.zig").Epoll;
const FilePiece = @import("../memory/file_pieces.zig").FilePiece;
const FileTable = @import("../linux/files/table.zig").FileTable;
const HostFile = @import("../host_file.zig").HostFile;
const Image = @import("../image.zig").Image;
const kernel_module = @import("../linux/kernel.zig");
const Kernel = kernel_module.Kernel;
const Machine = @import("../machine.zig").Machine;
const Number = records.Number;
const Pipe = @import("../linux/files/pipe.zig").Pipe;
const private = @import("../linux/files/private/tree.zig");
const signals_module = @import("../linux/signals.zig");
const Socket = @import("../linux/sockets/socket.zig").Socket;
const Thread = @import("../linux/threads.zig").Thread;
const Threads = @import("../linux/threads.zig").Threads;
const Vma = @import("../memory/vma.zig").Vma;
const waiting = @import("../linux/waiting.zig");

pub const Error = @import("copies.zig").Error;

/// Where the bytes of a content are: a private file's, or those of a file of the host's that is copied.
pub const Origin = union(enum) { private: *const Content, copied: *const HostFile };

/// What is written beside the pages of the image's own memory.
pub const Taken = struct {
    state: records.State,
    contents: []const Origin,
    /// Frames that show files which are copied: their bytes are pages like others.
    shown: []const FilePiece,
};

/// All that it makes is in `arena`, but for what it refers to, which is the image's.
pub const Capture = struct {
    arena: std.mem.Allocator,
    image: *Image,
    copies: *Copies,
    contents: std.ArrayList(Origin) = .empty,
    content_records: std.ArrayList(records.Content) = .empty,
    files: std.ArrayList(*const HostFile) = .empty,
    file_records: std.ArrayList(records.File) = .empty,
    pipes: std.ArrayList(*const Pipe) = .empty,
    descriptions: std.ArrayList(*const Description) = .empty,
    shown: std.ArrayList(FilePiece) = .empty,

    pub fn take(arena: std.mem.Allocator, image: *Image, copies: *Copies) Error!Taken {
        var self: Capture = .{ .arena = arena, .image = image, .copies = copies };
        const kernel = &image.machine.kernel;
        try self.collect(&kernel.files);
        try copies.noteWritten(image, self.descriptions.items);
        var state: records.State = .{
            .machine = try self.one(records.Machine, self.machine()),
            .clock = try self.one(records.Clock, self.clock()),
            .program = try self.one(records.Program, try self.program()),
            .kernel = try self.one(records.Kernel, try self.kernelRecord()),
            .threads = try self.threads(),
            .nodes = try self.nodes(),
            .vmas = try self.vmas(),
            .pieces = try self.pieces(),
            .descriptions = try self.descriptionRecords(),
            .sockets = try self.sockets(),
        };
        state.slots = try self.slots();
        state.pipes = try self.pipeRecords();
        try self.memory(&state);
        state.contents = self.content_records.items;
        state.files = self.file_records.items;
        return .{ .state = state, .contents = self.contents.items, .shown = self.shown.items };
    }

    fn one(self: *Capture, comptime T: type, record: T) Error![]const T {
        return self.arena.dupe(T, &.{record});
    }

    fn numberOf(self: *Capture, list: anytype, item: anytype) Error!Number {
        for (list.items, 0..) |other, index| if (std.meta.eql(other, item)) return @intCast(index);
        try list.append(self.arena, item);
        return @intCast(list.items.len - 1);
    }

    /// Finds all open files, those on their way between sockets included.
    fn collect(self: *Capture, files: *const FileTable) Error!void {
        for (files.slots.items) |slot| if (slot.description) |description| {
            _ = try self.numberOf(&self.descriptions, description);
        };
        var flights = files.sockets.flights();
        while (flights.next()) |description| _ = try self.numberOf(&self.descriptions, description);
    }

    fn machine(self: *const Capture) records.Machine {
        const from = &self.image.machine;
        comptime records.covers(Machine, records.Machine, &.{
            // Made anew for each fork or its own.
            "allocator",      "platform",  "vm",     "attachment", "vcpu",         "interrupt",   "tracer",      "report", "image",
            "is_fork",        "populated", "resets", "broken",     "runs_briefly",
            // What is connected is the embedder's to connect again.
            "remote",      "connections", "shown",  "gates",
            "remote_failure",
            // Tables of their own.
            "frames",    "space",  "clock",      "kernel",       "kernel_made", "program",     "arena",
        });
        var record: records.Machine = undefined;
        records.copyShared(&record, from);
        record.arena_at = from.arena.at;
        record.arena_end = from.arena.end;
        record.outputs = self.image.piped;
        record.inside = from.kernel.files.scope.network.inside;
        record.has_tracer = from.tracer != null;
        return record;
    }

    fn clock(self: *const Capture) records.Clock {
        const from = &self.image.machine.clock;
        const stood = from.stands_at.?;
        return .{
            .realtime_ns = @intCast(from.realtimeNs()),
            .boottime_ns = @intCast(from.boottimeNs()),
            .monotonic_ns = stood.monotonic_ns,
            .monotonic_raw_ns = stood.monotonic_raw_ns,
            .cycle = from.current.multiplier,
        };
    }

    fn program(self: *Capture) Error!records.Program {
        const from = self.image.machine.program;
        var names: []const u8 = "";
        var list: []records.Symbol = &.{};
        // Of large programs the names are as long as all of their state.
        const table = if (from.size <= limits.snapshot_names_max_bytes) from.symbolTable(self.image.allocator) else null;
        if (table) |some| if (some.names.len <= limits.snapshot_names_max_bytes) {
            names = some.names;
            list = try self.arena.alloc(records.Symbol, some.kept.len);
            for (list, some.kept) |*symbol, *kept| records.copyShared(symbol, kept);
        };
        return .{
            .file = try self.file(from.file),
            .bias = from.bias,
            .entry = from.entry,
            .page_start = from.image.page_start,
            .page_end = from.image.page_end,
            .command_line = from.command_line,
            .names = names,
            .symbols = list,
        };
    }

    fn kernelRecord(self: *Capture) Error!records.Kernel {
        const from = &self.image.machine.kernel;
        comptime records.covers(Kernel, records.Kernel, &.{
            "allocator",    "memory",       "space", "clock",         "interrupt",   "counters",         "answers",       "made",
            // Null in a machine that does not run.
            "lent",         "machine",      "stop",  "stack_pointer", "entered_tsc", "cycles_forgotten", "cycles_before",
            // The program's.
            "program_path",
            "program_file", "command_line",
            // Tables of their own.
            "files", "threads",
        });
        comptime records.covers(Threads, records.Kernel, &.{ "allocator", "list", "caller", "calling", "acting", "caller_fresh", "slice_began_ns", "replan" });
        comptime records.covers(FileTable, records.Kernel, &.{
            "allocator", "slots", "pipes", "sets", "watches", "stamp", "sockets", "releasing", "giving_up", "held", "scope", "private",
        });
        var record: records.Kernel = undefined;
        records.copyShared(&record, from);
        records.copyShared(&record, &from.threads);
        const sockets_from = &from.files.sockets;
        record.next_number = sockets_from.next_number;
        record.next_port = sockets_from.next_port;
        record.next_name = sockets_from.next_name;
        record.signals = .{
            .actions = from.signals.actions,
            .pending = from.signals.pending.raw,
            .arrivals = from.signals.arrivals.raw,
            .queue = queueOf(&from.signals.queue),
        };
        record.cpu_cycles = from.cpuCycles();
        record.working_directory = from.files.working_directory;
        record.current = for (from.threads.list.items, 0..) |thread, index| {
            if (thread == from.threads.current) break @intCast(index);
        } else 0;
        const tree = from.files.private;
        record.layers = tree.roots[private.mount_points.len..];
        record.ways = from.files.scope.ways;
        record.next_inode = tree.next_inode;
        const space = &self.image.space;
        record.brk_start = space.brk_start;
        record.brk_end = space.brk_end;
        record.root = space.root;
        record.bytes_max = self.image.frames.bytes_max;
        record.window = if (space.area.window) |window| window else null;
        const exports = try self.arena.alloc(records.Export, from.exports.list.items.len);
        for (exports, from.exports.list.items) |*to, entry| to.* = .{ .name = entry.name, .address = entry.address };
        record.exports = exports;
        const imports = try self.arena.alloc([]const u8, from.imports.list.items.len);
        for (imports, from.imports.list.items) |*to, entry| to.* = entry.name;
        record.imports = imports;
        return record;
    }

    fn queueOf(queue: *const signals_module.Queue) []const signals_module.Entry {
        return queue.entries[0..queue.count];
    }

    fn threads(self: *Capture) Error![]const records.Thread {
        const from = &self.image.machine.kernel.threads;
        comptime records.covers(Thread, records.Thread, &.{ "asks", "bound", "away" });
        comptime records.covers(waiting.Call, records.Call, &.{"held"});
        const list = try self.arena.alloc(records.Thread, from.list.items.len + 1);
        for (list, 0..) |*record, index| {
            const thread = if (index == 0) from.caller else from.list.items[index - 1];
            records.copyShared(record, thread);
            records.copyShared(&record.call, &thread.call);
            records.copyShared(&record.signals, &thread.signals);
            record.signals.queue = queueOf(&thread.signals.queue);
            record.vectors = thread.vectors.current.memory.region;
        }
        return list;
    }

    fn content(self: *Capture, item: Origin, bytes: u64) Error!Number {
        const number = try self.numberOf(&self.contents, item);
        if (number == self.content_records.items.len) try self.content_records.append(self.arena, .{ .bytes = bytes });
        return number;
    }

    fn file(self: *Capture, item: *const HostFile) Error!Number {
        const number = try self.numberOf(&self.files, item);
        if (number < self.file_records.items.len) return number;
        const get_flags = 3;
        const access: isize = @bitCast(linux.fcntl(item.fd, get_flags, 0));
        if (try self.copies.find(item)) |copy| {
            const bytes = try self.content(.{ .copied = copy.file }, copy.facts.bytes);
            try self.file_records.append(self.arena, .{ .path = item.path, .content = bytes, .bytes = copy.facts.bytes, .modified_ns = copy.facts.modified_ns, .access = 0 });
            return number;
        }
        const facts = item.facts();
        try self.file_records.append(self.arena, .{
            .path = item.path,
            .content = if (item.content) |some| try self.content(.{ .private = some }, facts.bytes) else null,
            .bytes = facts.bytes,
            // Of a private file that is when its copy was made.
            .modified_ns = if (item.content == null) facts.modified_ns else 0,
            .access = if (access < 0) 0 else @intCast(access & 3),
        });
        return number;
    }

    fn nodes(self: *Capture) Error![]const records.Node {
        const tree = self.image.machine.kernel.files.private;
        comptime records.covers(private.Node, records.Node, &.{"hashes"});
        const list = try self.arena.alloc(records.Node, tree.nodes.items.len);
        for (list, tree.nodes.items) |*record, *node| {
            records.copyShared(record, node);
            // The list of free ones is made anew.
            if (node.kind == .free) record.parent = private.none;
            record.target = node.target;
            record.content = if (node.content) |some| try self.content(.{ .private = some }, node.size) else null;
            const entries = try self.arena.alloc(records.Entry, node.entries.items.len);
            for (entries, node.entries.items) |*entry, from| entry.* = .{ .name = from.name, .node = from.node, .cookie = from.cookie };
            record.entries = entries;
        }
        return list;
    }

    fn vmas(self: *Capture) Error![]const records.Vma {
        comptime records.covers(Vma, records.Vma, &.{});
        const list = try self.arena.alloc(records.Vma, self.image.space.vmas.len);
        for (list, self.image.space.vmas) |*record, *vma| {
            records.copyShared(record, vma);
            record.file = if (vma.file) |some| try self.file(some) else null;
            // Nobody changes a copy: whether it is shared makes no difference any more.
            if (record.file) |number| if (self.file_records.items[number].isCopy()) {
                record.shared = false;
            };
        }
        return list;
    }

    fn pieces(self: *Capture) Error![]const records.FilePiece {
        var list: std.ArrayList(records.FilePiece) = .empty;
        for (self.image.frames.files) |piece| {
            const number = try self.file(piece.file);
            if (self.file_records.items[number].isCopy()) {
                try self.shown.append(self.arena, piece);
                continue;
            }
            const record = try list.addOne(self.arena);
            records.copyShared(record, &piece);
            record.file = number;
        }
        return list.items;
    }

    fn descriptionRecords(self: *Capture) Error![]const records.Description {
        comptime records.covers(Description, records.Description, &.{ "references", "watches", "asked", "inquiry" });
        const list = try self.arena.alloc(records.Description, self.descriptions.items.len);
        for (list, self.descriptions.items) |*record, from| record.* = .{ .kind = try self.kind(from), .status_flags = from.status_flags, .path = from.path, .changes = from.changes };
        return list;
    }

    fn kind(self: *Capture, description: *const Description) Error!records.Kind {
        return switch (description.kind) {
            .host_stream => |stream| .{ .host_stream = stream.standard },
            .output => |output| .{ .output = @intCast(output.stream) },
            .host_file => |open| .{ .host_file = .{ .file = try self.file(open.file), .at = open.at } },
            .host_directory => |directory| .{ .host_directory = .{ .path = directory.path, .place = place(directory.fd), .at = directory.at } },
            .text => |text| .{ .text = .{ .bytes = text.bytes, .at = text.at } },
            .synthetic_directory => |directory| .{ .synthetic_directory = .{ .path = directory.path, .at = directory.at } },
            .pipe_read => |pipe| .{ .pipe_read = try self.numberOf(&self.pipes, pipe) },
            .pipe_write => |pipe| .{ .pipe_write = try self.numberOf(&self.pipes, pipe) },
            .socket => |socket| .{ .socket = @intCast(socket.index) },
            .epoll => |set| .{ .epoll = .{ .watches = try self.watches(set), .next = @intCast(set.next), .changes = set.changes } },
            inline .device, .private_file, .private_directory, .event, .timer, .signals => |value, tag| @unionInit(records.Kind, @tagName(tag), value),
        };
    }

    fn place(fd: i32) u64 {
        const at: isize = @bitCast(linux.lseek(fd, 0, linux.SEEK.CUR));
        return if (at < 0) 0 else @intCast(at);
    }

    fn watches(self: *Capture, set: *const Epoll) Error![]const records.Watch {
        var list: std.ArrayList(records.Watch) = .empty;
        for (set.watches.items) |*watch| {
            const number = std.mem.indexOfScalar(*const Description, self.descriptions.items, watch.description) orelse continue;
            var record: records.Watch = undefined;
            records.copyShared(&record, watch);
            record.description = @intCast(number);
            try list.append(self.arena, record);
        }
        return list.items;
    }

    fn slots(self: *Capture) Error![]const records.Slot {
        const from = self.image.machine.kernel.files.slots.items;
        const list = try self.arena.alloc(records.Slot, from.len);
        for (list, from) |*record, slot| record.* = .{
            .description = if (slot.description) |description| try self.numberOf(&self.descriptions, description) else null,
            .close_on_exec = slot.close_on_exec,
        };
        return list;
    }

    fn pipeRecords(self: *Capture) Error![]const records.Pipe {
        comptime records.covers(Pipe, records.Pipe, &.{ "start", "fill", "readers", "writers" });
        const list = try self.arena.alloc(records.Pipe, self.pipes.items.len);
        for (list, self.pipes.items) |*record, pipe| {
            const bytes = try self.arena.alloc(u8, pipe.fill);
            pipe.peek(bytes);
            record.* = .{ .bytes = bytes, .limit = @intCast(pipe.limit), .changes_in = pipe.changes_in, .changes_out = pipe.changes_out };
        }
        return list;
    }

    fn sockets(self: *Capture) Error![]const records.Socket {
        const from = self.image.machine.kernel.files.sockets.list.items;
        comptime records.covers(Socket, records.Socket, &.{ "index", "host" });
        const list = try self.arena.alloc(records.Socket, from.len);
        for (list, from) |*record, socket| {
            records.copyShared(record, socket);
            record.has_host = socket.host != null;
            record.failure = @intCast(@intFromEnum(socket.failure));
            record.peer = numberOfSocket(socket.peer);
            record.wants = numberOfSocket(socket.wants);
            const embryos = try self.arena.alloc(Number, socket.waiting.items.len);
            for (embryos, socket.waiting.items) |*number, embryo| number.* = @intCast(embryo.index);
            record.waiting = embryos;
            record.received = try self.received(socket);
        }
        return list;
    }

    fn numberOfSocket(socket: ?*const Socket) ?Number {
        return if (socket) |some| @intCast(some.index) else null;
    }

    fn received(self: *Capture, socket: *const Socket) Error![]const records.Piece {
        var list: std.ArrayList(records.Piece) = .empty;
        var next = socket.received.first;
        while (next) |piece| : (next = piece.next) {
            const rights = try self.arena.alloc(Number, piece.rights.len);
            for (rights, piece.rights) |*right, description| right.* = try self.numberOf(&self.descriptions, description);
            try list.append(self.arena, .{ .bytes = piece.bytes(), .capacity = @intCast(piece.storage.len), .source = piece.source, .sender = piece.sender, .rights = rights });
        }
        return list.items;
    }

    fn memory(self: *Capture, state: *records.State) Error!void {
        const space = &self.image.space;
        var windows: std.ArrayList(records.Window) = .empty;
        var all = space.windows.iterator();
        while (all.next()) |entry| {
            const window = entry.value_ptr.* orelse continue;
            try windows.append(self.arena, .{
                .number = entry.key_ptr.*,
                .table = window.table,
                .block = window.block,
                .frames = try self.framesOf(&window.frames),
            });
        }
        // One machine is one file, whatever order a table has them in.
        std.mem.sort(records.Window, windows.items, {}, windowBefore);
        state.windows = windows.items;
        var tables: std.ArrayList(records.Table) = .empty;
        var made = space.tables.iterator();
        while (made.next()) |entry| if (entry.value_ptr.live) try tables.append(self.arena, .{ .key = entry.key_ptr.*, .frame = entry.value_ptr.frame });
        std.mem.sort(records.Table, tables.items, {}, tableBefore);
        state.tables = tables.items;
        const blocks = try self.arena.alloc(records.Block, self.image.frames.blocks.len);
        for (blocks, self.image.frames.blocks) |*record, *block| record.* = .{ .use = block.use, .used = @bitCast(block.used.masks) };
        state.blocks = blocks;
        state.written = try self.written();
    }

    fn windowBefore(_: void, left: records.Window, right: records.Window) bool {
        return left.number < right.number;
    }

    fn tableBefore(_: void, left: records.Table, right: records.Table) bool {
        return left.key < right.key;
    }

    fn framesOf(self: *Capture, frames: []const u32) Error![]const records.Frames {
        var list: std.ArrayList(records.Frames) = .empty;
        for (frames, 0..) |frame, index| {
            if (frame == 0) continue;
            if (list.items.len > 0) {
                const last = &list.items[list.items.len - 1];
                if (last.page + last.count == index and last.frame + last.count == frame) {
                    last.count += 1;
                    continue;
                }
            }
            try list.append(self.arena, .{ .page = @intCast(index), .count = 1, .frame = frame });
        }
        return list.items;
    }

    fn written(self: *Capture) Error![]const records.Written {
        var list: std.ArrayList(records.Written) = .empty;
        // Resets of its forks may learn more meanwhile.
        self.image.write_set.lock.lock();
        defer self.image.write_set.lock.unlock();
        var frames = self.image.write_set.frames.iterator(.{});
        while (frames.next()) |frame| {
            if (list.items.len > 0) {
                const last = &list.items[list.items.len - 1];
                if (last.first + last.count == frame) {
                    last.count += 1;
                    continue;
                }
            }
            try list.append(self.arena, .{ .first = @intCast(frame), .count = 1 });
        }
        return list.items;
    }
};
