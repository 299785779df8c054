//! What must be true of a machine's emulated kernel and of its host process, whatever the guest has asked for.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../host.zig");
const layout = @import("../../layout.zig");
const limits = @import("../../limits.zig");
const Content = @import("../files/private/content.zig").Content;
const Description = @import("../files/table.zig").Description;
const FileTable = @import("../files/table.zig").FileTable;
const HostFile = @import("../../host_file.zig").HostFile;
const Machine = @import("../../machine.zig").Machine;
const Pipe = @import("../files/pipe.zig").Pipe;

pub const Violation = error{Violation};

/// Says what is wrong and fails.
pub fn violated(quiet: bool, comptime text: []const u8, arguments: anytype) Violation {
    if (!quiet) std.debug.print("violated: " ++ text ++ "\n", arguments);
    return error.Violation;
}

pub fn mappings(machine: *const Machine, quiet: bool) Violation!void {
    const space = &machine.space;
    const list = space.vmas.items.items;
    if (list.len > limits.mappings_max) return violated(quiet, "{d} mappings", .{list.len});
    var below: u64 = limits.mmap_min_address;
    for (list) |vma| {
        if (vma.start < below or vma.end <= vma.start or vma.end > layout.user_end) return violated(quiet, "mapping {x}-{x} behind {x}", .{ vma.start, vma.end, below });
        if (vma.start % limits.page_size != 0 or vma.end % limits.page_size != 0) return violated(quiet, "mapping {x}-{x} is not of pages", .{ vma.start, vma.end });
        below = vma.end;
    }
    if (space.brk_end < space.brk_start or space.brk_end > layout.mmap_top) return violated(quiet, "the heap is {x}-{x}", .{ space.brk_start, space.brk_end });
}

/// What the allocator counts is what windows and tables hold.
pub fn frames(machine: *const Machine, quiet: bool) Violation!void {
    const all = &machine.frames;
    if (all.frames_used > all.frames_max) return violated(quiet, "{d} of {d} frames are used", .{ all.frames_used, all.frames_max });
    var held: u64 = 0;
    var scattered: u64 = 0;
    var windows = machine.space.windows.iterator();
    while (windows.next()) |entry| {
        const window = entry.value_ptr.* orelse continue;
        held += 1 + window.mapped;
        var mapped: u64 = 0;
        for (window.frames, 0..) |frame, index| {
            if (frame == 0) continue;
            mapped += 1;
            if (machine.space.vmas.find(entry.key_ptr.* * limits.window_size + index * limits.page_size) == null) return violated(quiet, "a frame of window {x} has no mapping", .{entry.key_ptr.*});
            const own = if (window.block) |block| frame / limits.window_pages == block / limits.window_pages else false;
            if (!own) scattered += 1;
        }
        if (mapped != window.mapped) return violated(quiet, "window {x} counts {d} pages and has {d}", .{ entry.key_ptr.*, window.mapped, mapped });
    }
    var small: u64 = 0;
    var free: u64 = 0;
    for (all.blocks.items) |block| {
        var used: u64 = 0;
        used += block.used.count();
        switch (block.use) {
            .tables => held += used,
            .small => small += used,
            .free => free += 1,
            .whole => {},
        }
    }
    // The system area is in the first block of tables but not counted against the ceiling.
    held -= layout.system_physical / limits.page_size + layout.system_pages;
    if (held != all.frames_used) return violated(quiet, "{d} frames are counted, {d} are held", .{ all.frames_used, held });
    if (small != scattered) return violated(quiet, "{d} frames are taken from shared blocks, {d} are held", .{ small, scattered });
    if (free != all.free_blocks) return violated(quiet, "{d} blocks are counted as free, {d} are", .{ all.free_blocks, free });
}

/// Every open file, as often as a descriptor or a message on its way between sockets refers to it.
const Open = struct {
    list: std.ArrayList(*const Description) = .empty,

    fn of(files: *const FileTable) error{OutOfMemory}!Open {
        var self: Open = .{};
        errdefer self.deinit();
        for (files.slots.items) |slot| if (slot.description) |description| try self.list.append(std.testing.allocator, description);
        var flights = files.sockets.flights();
        while (flights.next()) |description| try self.list.append(std.testing.allocator, description);
        return self;
    }

    fn deinit(self: *Open) void {
        self.list.deinit(std.testing.allocator);
    }

    fn isFirst(self: *const Open, index: usize) bool {
        return std.mem.indexOfScalar(*const Description, self.list.items, self.list.items[index]).? == index;
    }

    fn hostFileOf(self: *const Open, index: usize) ?*HostFile {
        return switch (self.list.items[index].kind) {
            .host_file => |file| file.file,
            .host_stream => |file| file,
            else => null,
        };
    }

    /// Whether none before `index` is of this file.
    fn isNew(self: *const Open, file: *const HostFile, index: usize) bool {
        for (0..index) |at| if (self.hostFileOf(at) == file) return false;
        return true;
    }
};

/// References, pipe ends, sockets and numbers agree; answers how many host descriptors the open files hold.
pub fn descriptors(files: *const FileTable, program: ?*const HostFile, quiet: bool) !usize {
    if (files.slots.items.len > limits.descriptors_max) return violated(quiet, "{d} descriptors", .{files.slots.items.len});
    var open: Open = try .of(files);
    defer open.deinit();
    var pipes: u32 = 0;
    var held: usize = 0;
    for (open.list.items, 0..) |description, index| {
        if (!open.isFirst(index)) continue;
        const references = std.mem.count(*const Description, open.list.items, &.{description});
        if (references != description.references) return violated(quiet, "an open file counts {d} references of {d}", .{ description.references, references });
        switch (description.kind) {
            // The program's own file is open in any case.
            .host_file => |file| held += @intFromBool(file.file != program and open.isNew(file.file, index)),
            .host_stream => |file| held += @intFromBool(open.isNew(file, index)),
            .host_directory => held += 1,
            .pipe_read, .pipe_write => |pipe| pipes += @intFromBool(try countPipe(&open, pipe, index, quiet)),
            else => {},
        }
    }
    try watches(files, &open, quiet);
    if (pipes != files.pipes) return violated(quiet, "{d} pipes are counted, {d} are", .{ files.pipes, pipes });
    return held + try sockets(files, &open, quiet);
}

/// What epoll sets watch is open, and knows that it is watched.
fn watches(files: *const FileTable, open: *const Open, quiet: bool) Violation!void {
    var total: u32 = 0;
    for (files.sets.items) |set| {
        total += @intCast(set.watches.items.len);
        for (set.watches.items) |watch| {
            if (std.mem.indexOfScalar(*const Description, open.list.items, watch.description) == null) return violated(quiet, "a set watches what is not open, as {d}", .{watch.fd});
            var found: u32 = 0;
            for (files.sets.items) |other| for (other.watches.items) |same| {
                found += @intFromBool(same.description == watch.description);
            };
            if (found != watch.description.watches) return violated(quiet, "descriptor {d} counts {d} watches of {d}", .{ watch.fd, watch.description.watches, found });
        }
    }
    if (total != files.watches or total > limits.epoll_watches_max) return violated(quiet, "{d} watches are counted, {d} are", .{ files.watches, total });
}

/// True if this is the first open file of the pipe.
fn countPipe(open: *const Open, pipe: *const Pipe, index: usize, quiet: bool) Violation!bool {
    var readers: u32 = 0;
    var writers: u32 = 0;
    for (open.list.items, 0..) |description, at| {
        const reads = description.kind == .pipe_read and description.kind.pipe_read == pipe;
        const writes = description.kind == .pipe_write and description.kind.pipe_write == pipe;
        if (!reads and !writes) continue;
        if (at < index) return false;
        // Several descriptors of one open file are one end.
        if (!open.isFirst(at)) continue;
        readers += @intFromBool(reads);
        writers += @intFromBool(writes);
    }
    if (readers != pipe.readers or writers != pipe.writers) return violated(quiet, "a pipe counts {d} readers of {d} and {d} writers of {d}", .{ pipe.readers, readers, pipe.writers, writers });
    return true;
}

/// Each socket has one open file or waits in one listener's queue; both ends of a connection know each other. Answers how
/// many host sockets there are.
fn sockets(files: *const FileTable, open: *const Open, quiet: bool) !usize {
    const all = files.sockets.list.items;
    if (all.len > limits.sockets_max) return violated(quiet, "{d} sockets", .{all.len});
    const owners = try std.testing.allocator.alloc(u32, all.len);
    defer std.testing.allocator.free(owners);
    @memset(owners, 0);
    for (open.list.items, 0..) |description, index| {
        if (description.kind == .socket and open.isFirst(index)) owners[description.kind.socket.index] += 1;
    }
    for (all) |listener| for (listener.waiting.items) |embryo| {
        owners[embryo.index] += 1;
    };
    var held: usize = 0;
    var buffered: usize = 0;
    for (all, owners, 0..) |socket, count, index| {
        if (socket.index != index) return violated(quiet, "socket {d} says that it is {d}", .{ index, socket.index });
        if (count != 1) return violated(quiet, "socket {d} has {d} owners", .{ index, count });
        held += @intFromBool(socket.host != null);
        buffered += socket.received.cost;
        const peer = socket.peer orelse continue;
        if (peer.index >= all.len or all[peer.index] != peer) return violated(quiet, "the peer of socket {d} is gone", .{index});
        if (socket.isConnectionOriented() and peer.peer != socket) return violated(quiet, "the peer of socket {d} is another's", .{index});
    }
    if (files.sockets.lost != null) return violated(quiet, "lost messages are kept", .{});
    if (buffered > 2 * limits.socket_buffers_max_bytes) return violated(quiet, "sockets hold {d} bytes", .{buffered});
    return held;
}

/// How many files are open because they are mapped, and for no other reason.
pub fn mappedFiles(machine: *const Machine) !usize {
    const list = machine.space.vmas.items.items;
    var open: Open = try .of(&machine.kernel.files);
    defer open.deinit();
    var held: usize = 0;
    for (list, 0..) |vma, index| {
        const file = vma.file orelse continue;
        if (file.content != null or file == machine.kernel.program_file or !open.isNew(file, open.list.items.len)) continue;
        const before = for (list[0..index]) |other| {
            if (other.file == file) break true;
        } else false;
        held += @intFromBool(!before);
    }
    return held;
}

/// Sums of the private tree agree; answers how many contents, each a host descriptor, its files and mappings hold.
pub fn privateContents(machine: *const Machine, quiet: bool) !usize {
    const tree = machine.kernel.files.private;
    var contents: std.AutoHashMapUnmanaged(*const Content, void) = .empty;
    defer contents.deinit(std.testing.allocator);
    var bytes: u64 = 0;
    var used: u32 = 0;
    var names: usize = 0;
    for (tree.nodes.items, 0..) |*node, index| {
        if (node.kind == .free) continue;
        used += 1;
        names += node.entries.items.len;
        bytes += std.mem.alignForward(u64, node.size, limits.page_size);
        if (node.links == 0 and !machine.kernel.files.hasOpen(@intCast(index))) return violated(quiet, "private node {d} has neither a name nor an open file", .{index});
        const content = node.content orelse {
            if (node.size > 0 and node.kind == .file) return violated(quiet, "private node {d} has {d} bytes of nothing", .{ index, node.size });
            continue;
        };
        const size = sizeOf(content);
        if (size != node.size) return violated(quiet, "private node {d} has {d} bytes and says {d}", .{ index, size, node.size });
        try contents.put(std.testing.allocator, content, {});
    }
    if (used != tree.used or contents.count() != tree.contents or bytes != tree.bytes) return violated(quiet, "private files count {d} nodes, {d} contents, {d} bytes and have {d}, {d}, {d}", .{ tree.used, tree.contents, tree.bytes, used, contents.count(), bytes });
    if (names != tree.names or names > limits.private_names_max + limits.private_nodes_max) return violated(quiet, "private files count {d} names and have {d}", .{ tree.names, names });
    if (bytes > limits.private_bytes_max) return violated(quiet, "{d} private bytes", .{bytes});
    for (machine.space.vmas.items.items) |vma| {
        const file = vma.file orelse continue;
        if (file.content) |content| try contents.put(std.testing.allocator, content, {});
    }
    return contents.count();
}

fn sizeOf(content: *const Content) u64 {
    var facts: linux.Statx = undefined;
    const rc: isize = @bitCast(linux.statx(content.fd, "", linux.AT.EMPTY_PATH, .{ .SIZE = true }, &facts));
    return if (rc < 0) 0 else facts.size;
}

/// Descriptors that this process has.
pub fn hostDescriptors() usize {
    const fd: isize = @bitCast(linux.open("/proc/self/fd", .{ .DIRECTORY = true, .CLOEXEC = true }, 0));
    if (fd < 0) return 0;
    defer host.close(@intCast(fd));
    var bytes: [8192]u8 align(8) = undefined;
    var count: usize = 0;
    while (true) {
        const got: isize = @bitCast(linux.getdents64(@intCast(fd), &bytes, bytes.len));
        if (got <= 0) return count;
        var at: usize = 0;
        while (at < got) : (count += 1) at += std.mem.readInt(u16, bytes[at + 16 ..][0..2], .little);
    }
}
