//! From a file to an image: what `save.zig` has written, checked and put together again.
const std = @import("std");
const linux = std.os.linux;
const check = @import("check.zig");
const codec = @import("codec.zig");
const errors = @import("../errors.zig");
const format = @import("format.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const load = @import("load.zig");
const processor = @import("processor.zig");
const records = @import("records.zig");
const reopen = @import("reopen.zig");
const revive = @import("revive.zig");
const system_check = @import("system_check.zig");
const table_check = @import("table_check.zig");
const Content = @import("../linux/files/private/content.zig").Content;
const File = @import("file.zig").File;
const FileTable = @import("../linux/files/table.zig").FileTable;
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const HostFile = @import("../host_file.zig").HostFile;
const Image = @import("../image.zig").Image;
const loader = @import("../loader.zig");
const Platform = @import("../platform.zig").Platform;
const Source = @import("source.zig").Source;

/// `Failed`: the record says why.
pub const Error = error{Failed};

pub const Verify = load.Verify;

pub const Request = struct {
    path: [:0]const u8,
    verify: Verify = .lazy,
    /// Who fetches it, if it is not all there yet; taken over.
    source: ?*Source = null,
    platform: *const Platform,
    /// With the scope that whoever opens the snapshot grants, and nothing open; taken over.
    files: FileTable,
    /// What the guest's standard streams are from now on.
    streams: [3]?*HostFile,
    /// Somebody does not want it any more.
    cancelled: *const std.atomic.Value(bool),
};

pub const Opened = struct {
    image: *Image,
    /// The embedder's own bytes, and how the machine waits.
    user: []u8,
    notes: []u8,

    pub fn deinit(self: *Opened, allocator: std.mem.Allocator) void {
        self.image.release();
        allocator.free(self.user);
        allocator.free(self.notes);
    }
};

pub fn open(allocator: std.mem.Allocator, request: *Request, record: *errors.Record) Error!Opened {
    var files_taken = false;
    defer if (!files_taken) request.files.deinit();
    defer if (request.source) |source| source.release();
    // Whoever is shown them holds them by then.
    defer for (request.streams) |stream| if (stream) |some| some.release(allocator);
    var arena_state: std.heap.ArenaAllocator = .init(allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var file = try File.open(request.path, .{ .verifies = request.verify != .trusted, .cancelled = request.cancelled, .source = request.source }, record);
    defer file.close();
    reopen.record = record;
    var opening: Opening = .{ .allocator = allocator, .arena = arena, .file = &file, .request = request };
    return opening.run(&files_taken) catch |failure| {
        if (failure == error.Invalid) return file.invalid(check.failed, "what it says makes no sense", .{});
        if (failure == error.OutOfMemory) _ = record.set(.INTERNAL, "the host has no memory left to open the snapshot", "free memory on the host", .{});
        if (failure == error.HostFailure) _ = record.format(.INTERNAL, "the host refused to open the snapshot ({t})", .{host.last_errno}, "close machines, or raise the limits on open files, memory and mappings (ulimit -n, ulimit -v, vm.max_map_count)", .{});
        return error.Failed;
    };
}

/// Reads the state's tables.
pub fn readState(arena: std.mem.Allocator, bytes: []const u8) codec.ReadError!records.State {
    var reader: codec.Reader = .{ .arena = arena, .bytes = bytes };
    var state: records.State = .{};
    check.failed = "state";
    inline for (@typeInfo(records.State).@"struct".fields) |field| {
        // A later table that an older minor version did not have is empty.
        if (!reader.isAtEnd()) @field(state, field.name) = try reader.table(@typeInfo(field.type).pointer.child);
    }
    if (!reader.isAtEnd()) return error.Invalid;
    return state;
}

const Opening = struct {
    allocator: std.mem.Allocator,
    arena: std.mem.Allocator,
    file: *File,
    request: *Request,
    state: records.State = .{},
    contents: std.ArrayList(*Content) = .empty,
    host_files: std.ArrayList(*HostFile) = .empty,

    const Failure = check.Error || reopen.Error || @import("file.zig").Error;

    fn run(self: *Opening, files_taken: *bool) Failure!Opened {
        defer self.release();
        const arena = self.arena;
        try self.checkProcessor();
        const file = self.file;
        var memory: load.Load = undefined;
        try memory.begin(self.allocator, arena, file, self.request.verify);
        defer memory.end();
        const user = try self.allocator.dupe(u8, try file.section(arena, .user, limits.snapshot_user_max_bytes));
        errdefer self.allocator.free(user);
        const notes = try self.allocator.dupe(u8, try file.section(arena, .notes, limits.snapshot_user_max_bytes));
        errdefer self.allocator.free(notes);
        self.state = try readState(arena, try file.section(arena, .state, limits.snapshot_state_max_bytes));
        try check.state(arena, &self.state);
        if (self.state.blocks.len * limits.window_size != file.header.memory_extent) return file.invalid("state", "its memory has another size", .{});
        try self.readContents();
        try self.reopenFiles();
        const image = try self.allocator.create(Image);
        errdefer self.allocator.destroy(image);
        const given_state = self.given();
        var space = try revive.space(&given_state);
        errdefer space.deinit(self.allocator);
        var frames = try memory.finish(self.state.blocks);
        errdefer frames.deinit();
        try revive.frames(&given_state, &frames);
        try table_check.tables(&frames, &space);
        try system_check.pages(&frames, &space, &self.state, self.request.platform.route);
        try memory.bringRest(&frames, &space);
        image.* = .{ .allocator = self.allocator, .frames = frames, .space = space, .machine = undefined, .piped = self.state.machine[0].outputs };
        try self.makeMachine(&given_state, image);
        files_taken.* = true;
        return .{ .image = image, .user = user, .notes = notes };
    }

    fn release(self: *Opening) void {
        for (self.host_files.items) |file| file.release(self.allocator);
        for (self.contents.items) |content| content.release(self.allocator);
    }

    fn given(self: *const Opening) revive.Given {
        return .{
            .allocator = self.allocator,
            .state = &self.state,
            .files = self.host_files.items,
            .contents = self.contents.items,
        };
    }

    fn checkProcessor(self: *Opening) Failure!void {
        const bytes = try self.file.section(self.arena, .processor, @sizeOf(processor.Fingerprint));
        if (bytes.len != @sizeOf(processor.Fingerprint)) return self.file.invalid("processor", "it has another size", .{});
        const saved = std.mem.bytesToValue(processor.Fingerprint, bytes);
        const now = processor.here(self.request.platform);
        var buffer: [64]u8 = undefined;
        const feature = processor.missing(&saved, &now, &buffer) orelse return;
        _ = self.file.record.format(.SNAPSHOT_MISMATCH, "the snapshot was taken where there was {s}, which this machine does not have", .{feature}, "take the snapshot on a machine like this one", .{ .feature = feature });
        return error.Failed;
    }

    /// The bytes of private files, each in a file of its own again.
    fn readContents(self: *Opening) Failure!void {
        const it = self.file.header.section(.contents);
        var total: u64 = 0;
        for (self.state.contents) |content| total += content.bytes;
        if (total != it.length) return self.file.invalid("contents", "there are more or fewer bytes than files have", .{});
        var sum: format.Sum = .init(0);
        var buffer: [64 * limits.KiB]u8 = undefined;
        var at = it.offset;
        for (self.state.contents) |saved| {
            const content = Content.create(self.allocator) catch |failure| return if (failure == error.OutOfMemory) error.OutOfMemory else error.HostFailure;
            self.contents.append(self.arena, content) catch |failure| {
                content.release(self.allocator);
                return failure;
            };
            _ = try host.check(linux.ftruncate(content.fd, @intCast(saved.bytes)));
            var done: u64 = 0;
            while (done < saved.bytes) {
                try self.file.checkWanted();
                const piece = buffer[0..@intCast(@min(buffer.len, saved.bytes - done))];
                if (self.file.read(piece, at) < piece.len) return self.file.invalid("contents", "it is cut short", .{});
                sum.update(piece);
                if (!std.mem.allEqual(u8, piece, 0)) _ = try host.check(linux.pwrite(content.fd, piece.ptr, piece.len, @intCast(done)));
                done += piece.len;
                at += piece.len;
            }
        }
        if (self.file.verifies and sum.final() != it.checksum) return self.file.invalid("contents", "it is damaged", .{});
    }

    fn reopenFiles(self: *Opening) Failure!void {
        for (self.state.files, 0..) |*saved, index| {
            const file = try reopen.file(self.allocator, &self.request.files, saved, self.contents.items, self.isOpen(index));
            self.host_files.append(self.arena, file) catch |failure| {
                file.release(self.allocator);
                return failure;
            };
        }
    }

    /// Whether a descriptor of the guest's is open on a file, or a shared mapping shows it.
    fn isOpen(self: *const Opening, index: usize) bool {
        for (self.state.descriptions) |description| if (description.kind == .host_file and description.kind.host_file.file == index) return true;
        for (self.state.pieces) |piece| if (piece.file == index) return true;
        return false;
    }

    /// The frozen machine's other state; what belongs to a machine alone is not in it.
    fn makeMachine(self: *Opening, given_state: *const revive.Given, image: *Image) Failure!void {
        const allocator = self.allocator;
        const saved = &self.state.machine[0];
        const machine = &image.machine;
        machine.* = .{
            .allocator = allocator,
            .platform = self.request.platform,
            .vcpu = undefined,
            .frames = undefined,
            .space = undefined,
            .clock = undefined,
            .kernel = undefined,
            .kernel_made = true,
            .report = .init(allocator),
        };
        records.copyShared(machine, saved);
        machine.frames.frames_max = self.file.header.memory_ceiling / limits.page_size;
        machine.arena = .{ .at = saved.arena_at, .end = saved.arena_end };
        // Forks have pages of their own.
        var shown: [limits.page_size]u8 align(limits.page_size) = undefined;
        machine.clock = .init(0, &self.request.platform.calibration, &shown);
        revive.clock(&self.state, &machine.clock);
        machine.clock.page = undefined;
        machine.program = try revive.program(given_state);
        errdefer machine.program.release(allocator);
        const files = &self.request.files;
        files.scope.network.inside = saved.inside;
        machine.kernel = .{ .allocator = allocator, .memory = undefined, .space = undefined, .threads = undefined, .files = undefined, .clock = &machine.clock, .interrupt = undefined };
        revive.kernelState(&machine.kernel, &self.state);
        try revive.remoteNames(&machine.kernel, &self.state);
        errdefer {
            machine.kernel.exports.deinit(allocator);
            machine.kernel.imports.deinit(allocator);
        }
        loader.adoptProgram(machine);
        machine.kernel.threads = try revive.threads(given_state);
        errdefer machine.kernel.threads.deinit();
        revive.scaleCycles(&machine.kernel, &self.state, &machine.clock);
        try revive.openFiles(given_state, files, &self.request.streams);
        machine.kernel.files = files.*;
        for (self.state.sockets, files.sockets.list.items) |*socket, made| if (socket.has_host) try reopen.listener(&machine.kernel, made);
        // What is recorded says itself what is written.
        const write_set = if (self.request.verify == .recording) &image.unrecorded_writes else &image.write_set;
        for (self.state.written) |range| for (range.first..range.first + range.count) |frame| write_set.add(allocator, @intCast(frame), image.frames.data.capacity());
    }
};
