//! What a snapshot's file holds, as JSON, without making a machine of it.
const std = @import("std");
const check = @import("check.zig");
const errors = @import("../errors.zig");
const file_module = @import("file.zig");
const format = @import("format.zig");
const limits = @import("../limits.zig");
const opening = @import("open.zig");
const processor = @import("processor.zig");
const records = @import("records.zig");
const File = file_module.File;

pub const Error = error{ Failed, OutOfMemory, WriteFailed };

const Thread = struct { id: i32, name: []const u8, state: []const u8 };
const Descriptor = struct { fd: usize, kind: []const u8, path: []const u8 };
const Listener = struct { address: []const u8, inside: bool };
const Section = struct { name: []const u8, offset: u64, bytes: u64 };
const Opened = struct { path: []const u8, bytes: u64, copied: bool };
const Private = struct { count: usize = 0, bytes: u64 = 0 };

pub fn write(allocator: std.mem.Allocator, path: [:0]const u8, out: *std.Io.Writer, record: *errors.Record) Error!void {
    var arena_state: std.heap.ArenaAllocator = .init(allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const never: std.atomic.Value(bool) = .init(false);
    var file = try File.open(path, .{ .verifies = true, .cancelled = &never }, record);
    defer file.close();
    const state = opening.readState(arena, try file.section(arena, .state, limits.snapshot_state_max_bytes)) catch |failure| switch (failure) {
        error.OutOfMemory => return error.OutOfMemory,
        error.Invalid => return file.invalid("state", "what it says makes no sense", .{}),
    };
    if (state.machine.len != 1 or state.kernel.len != 1 or state.program.len != 1) return file.invalid("state", "what it says makes no sense", .{});
    const fingerprint = try file.section(arena, .processor, @sizeOf(processor.Fingerprint));
    const saved = if (fingerprint.len == @sizeOf(processor.Fingerprint)) std.mem.bytesToValue(processor.Fingerprint, fingerprint) else processor.Fingerprint{};
    const header = &file.header;
    try std.json.Stringify.value(.{
        .format = .{ .major = header.major, .minor = header.minor },
        .savedAt = @divTrunc(header.saved_at, std.time.ns_per_ms),
        .fileBytes = header.file_bytes,
        .memory = .{
            .bytes = header.section(.pages).length,
            .pages = header.section(.pages).length / limits.page_size,
            .hotPages = header.hot_pages,
            .extent = header.memory_extent,
            .ceiling = header.memory_ceiling,
            .mappings = state.vmas.len,
        },
        .processor = std.mem.trimEnd(u8, std.mem.sliceTo(&saved.name, 0), " "),
        .state = @tagName(state.machine[0].state),
        .command = try commandOf(arena, state.program[0].command_line),
        .workingDirectory = state.kernel[0].working_directory,
        .threads = try threadsOf(arena, &state),
        .descriptors = try descriptorsOf(arena, &state),
        .listeners = try listenersOf(arena, &state),
        .files = try filesOf(arena, &state),
        .privateFiles = try privateOf(arena, &file, &state),
        .userBytes = header.section(.user).length,
        .sections = try sectionsOf(arena, header),
    }, .{}, out);
}

fn commandOf(arena: std.mem.Allocator, line: []const u8) error{OutOfMemory}![]const []const u8 {
    var list: std.ArrayList([]const u8) = .empty;
    var words = std.mem.splitScalar(u8, std.mem.trimEnd(u8, line, "\x00"), 0);
    while (words.next()) |word| try list.append(arena, try shown(arena, word));
    return list.items;
}

/// Texts of a guest need not be UTF-8, JSON must.
fn shown(arena: std.mem.Allocator, text: []const u8) error{OutOfMemory}![]const u8 {
    if (std.unicode.utf8ValidateSlice(text)) return text;
    const copy = try arena.dupe(u8, text);
    for (copy) |*byte| if (byte.* >= 0x80) {
        byte.* = '?';
    };
    return copy;
}

fn threadsOf(arena: std.mem.Allocator, state: *const records.State) error{OutOfMemory}![]const Thread {
    const from = if (state.threads.len > 0) state.threads[1..] else state.threads;
    const list = try arena.alloc(Thread, from.len);
    for (list, from) |*to, *thread| to.* = .{ .id = thread.id, .name = try shown(arena, std.mem.sliceTo(&thread.name, 0)), .state = @tagName(thread.state) };
    return list;
}

fn descriptorsOf(arena: std.mem.Allocator, state: *const records.State) error{OutOfMemory}![]const Descriptor {
    var list: std.ArrayList(Descriptor) = .empty;
    for (state.slots, 0..) |slot, fd| {
        const number = slot.description orelse continue;
        if (number >= state.descriptions.len) continue;
        const description = &state.descriptions[number];
        try list.append(arena, .{ .fd = fd, .kind = @tagName(description.kind), .path = try shown(arena, description.path) });
    }
    return list.items;
}

fn listenersOf(arena: std.mem.Allocator, state: *const records.State) error{OutOfMemory}![]const Listener {
    var list: std.ArrayList(Listener) = .empty;
    for (state.sockets) |socket| {
        if (socket.state != .listening) continue;
        const address = switch (socket.local) {
            .ip => |ip| try std.fmt.allocPrint(arena, "{f}", .{ip}),
            .unix => |name| try std.fmt.allocPrint(arena, "unix:{s}", .{try shown(arena, name.bytes[0..@min(name.length, name.bytes.len)])}),
            else => continue,
        };
        try list.append(arena, .{ .address = address, .inside = !socket.has_host });
    }
    return list.items;
}

fn filesOf(arena: std.mem.Allocator, state: *const records.State) error{OutOfMemory}![]const Opened {
    var list: std.ArrayList(Opened) = .empty;
    for (state.files) |*file| if (file.content == null or file.isCopy()) try list.append(arena, .{ .path = try shown(arena, file.path), .bytes = file.bytes, .copied = file.isCopy() });
    return list.items;
}

fn privateOf(arena: std.mem.Allocator, file: *const File, state: *const records.State) Error!Private {
    const copied = check.copiedContents(arena, state.files, state.contents.len) catch |failure| switch (failure) {
        error.OutOfMemory => return error.OutOfMemory,
        error.Invalid => return file.invalid("files", "what it says makes no sense", .{}),
    };
    var all: Private = .{};
    for (state.contents, copied) |content, is_copy| if (!is_copy) {
        all.count += 1;
        all.bytes +|= content.bytes;
    };
    return all;
}

fn sectionsOf(arena: std.mem.Allocator, header: *const format.Header) error{OutOfMemory}![]const Section {
    const list = try arena.alloc(Section, format.section_count);
    for (list, &header.sections, 0..) |*to, *section, index| {
        const kind: format.SectionKind = @enumFromInt(index + 1);
        to.* = .{ .name = @tagName(kind), .offset = section.offset, .bytes = section.length };
    }
    return list;
}
