//! The open files of an image: a copy of a table, for forks to start from and to go back to.
//!
//! Host descriptors are shared, since where a guest stands in a file is its own affair (`table.zig`); folders are opened
//! anew, since the host keeps the place in a listing; pipes and made-up texts are copied. Private files are one tree that
//! all share until one changes it (`private/tree.zig`).
const std = @import("std");
const linux = std.os.linux;
const frozen_sockets = @import("../sockets/frozen.zig");
const host = @import("../../host.zig");
const planted = @import("../../planted.zig");
const table = @import("table.zig");
const Description = table.Description;
const FileTable = table.FileTable;
const Output = @import("../../output.zig").Output;
const Pipe = @import("pipe.zig").Pipe;

pub const Error = error{ OutOfMemory, HostFailure };

/// The outputs of the machine that gets a copy; the image's own table has none.
pub const Outputs = [2]?*Output;

/// A table with the same open files. `dup`ed descriptors stay one open file, both ends of a pipe stay one pipe.
pub fn copy(from: *const FileTable, outputs: Outputs) Error!FileTable {
    var to = try emptyCopy(from);
    errdefer to.deinit();
    try copyOpen(from, &to, outputs);
    return to;
}

fn emptyCopy(from: *const FileTable) Error!FileTable {
    const allocator = from.allocator;
    const path = try allocator.dupe(u8, from.working_directory);
    errdefer allocator.free(path);
    const private = from.private.freeze() catch |failure| return switch (failure) {
        error.OutOfMemory => error.OutOfMemory,
        error.NoSpace => error.HostFailure,
    };
    return .{ .allocator = allocator, .stamp = from.stamp, .working_directory = path, .sockets = .{ .allocator = allocator }, .scope = from.scope.retain(), .private = private };
}

/// Puts a table back to the state of the one it was copied from.
pub fn restore(to: *FileTable, from: *const FileTable, outputs: Outputs) Error!void {
    if (!std.mem.eql(u8, to.working_directory, from.working_directory) and !planted.is(.directory_kept)) {
        const path = try to.allocator.dupe(u8, from.working_directory);
        to.allocator.free(to.working_directory);
        to.working_directory = path;
    }
    try restorePrivate(to, from);
    if (sameOpen(to, from, .restoring)) return;
    to.closeAll();
    try copyOpen(from, to, outputs);
}

/// A tree that nobody has changed is the image's own.
fn restorePrivate(to: *FileTable, from: *const FileTable) Error!void {
    if (to.private == from.private or planted.is(.private_file_kept)) return;
    const old = to.private;
    defer old.release();
    to.private = from.private.retain();
    if (planted.is(.layer_whiteout_kept)) try (try to.ownPrivate()).takeWhiteouts(old);
    if (planted.is(.private_content_kept)) (try to.ownPrivate()).takeContents(old);
}

const Copies = struct {
    descriptions: std.AutoHashMapUnmanaged(*const Description, *Description) = .empty,
    pipes: std.AutoHashMapUnmanaged(*const Pipe, *Pipe) = .empty,

    fn deinit(self: *Copies, allocator: std.mem.Allocator) void {
        self.descriptions.deinit(allocator);
        self.pipes.deinit(allocator);
    }
};

fn copyOpen(from: *const FileTable, to: *FileTable, outputs: Outputs) Error!void {
    var copies: Copies = .{};
    defer copies.deinit(to.allocator);
    try frozen_sockets.copy(&from.sockets, &to.sockets);
    try to.slots.ensureTotalCapacity(to.allocator, from.slots.items.len);
    for (from.slots.items) |slot| {
        const description = slot.description orelse {
            to.slots.appendAssumeCapacity(.{});
            continue;
        };
        const made = copies.descriptions.get(description) orelse try copyDescription(description, to, &copies, outputs);
        if (copies.descriptions.contains(description)) made.references += 1 else try copies.descriptions.put(to.allocator, description, made);
        to.slots.appendAssumeCapacity(.{ .description = made, .close_on_exec = slot.close_on_exec });
    }
    try copyFlights(from, to, &copies, outputs);
    var all = copies.descriptions.keyIterator();
    while (all.next()) |description| {
        countEnds(description.*, &copies);
        if (description.*.kind == .epoll) try copyWatches(description.*, to, &copies);
    }
}

/// Open files on their way between sockets, whose messages have been copied without them.
fn copyFlights(from: *const FileTable, to: *FileTable, copies: *Copies, outputs: Outputs) Error!void {
    if (from.sockets.in_flight == 0) return;
    for (from.sockets.list.items, to.sockets.list.items) |socket, made| {
        var piece = socket.received.first;
        var copied = made.received.first;
        while (piece) |original| : ({
            piece = original.next;
            copied = copied.?.next;
        }) {
            if (original.rights.len == 0) continue;
            const rights = try to.allocator.alloc(*Description, original.rights.len);
            errdefer to.allocator.free(rights);
            for (rights, original.rights) |*right, description| {
                right.* = copies.descriptions.get(description) orelse try copyDescription(description, to, copies, outputs);
                if (copies.descriptions.contains(description)) right.*.references += 1 else try copies.descriptions.put(to.allocator, description, right.*);
            }
            copied.?.rights = rights;
            to.sockets.in_flight += @intCast(rights.len);
        }
    }
}

fn copyDescription(from: *const Description, to: *FileTable, copies: *Copies, outputs: Outputs) Error!*Description {
    const kind: table.Kind = switch (from.kind) {
        .host_stream => |stream| .{ .host_stream = stream.retain() },
        .host_file => |file| .{ .host_file = .{ .file = file.file.retain(), .at = file.at } },
        .host_directory => |directory| try copyDirectory(to.allocator, directory, from.isPathOnly()),
        .text => |text| .{ .text = .{ .bytes = try to.allocator.dupe(u8, text.bytes), .at = text.at } },
        .synthetic_directory => |directory| .{ .synthetic_directory = .{ .path = try to.allocator.dupe(u8, directory.path), .at = directory.at } },
        .pipe_read => |pipe| .{ .pipe_read = try copyPipe(pipe, to, copies) },
        .pipe_write => |pipe| .{ .pipe_write = try copyPipe(pipe, to, copies) },
        // All have been copied, each to its place in the list.
        .socket => |socket| .{ .socket = to.sockets.list.items[socket.index] },
        .output => |output| .{ .output = .{ .stream = output.stream, .to = outputs[output.stream - 1] } },
        .epoll => .{ .epoll = try .create(to) },
        .device, .private_file, .private_directory, .event, .timer, .signals => from.kind,
    };
    const made = try to.create(kind, from.status_flags, from.path);
    made.changes = from.changes;
    return made;
}

/// A copied set watches the copies of what its original watches.
fn copyWatches(description: *const Description, to: *FileTable, copies: *const Copies) Error!void {
    const made = copies.descriptions.get(description).?.kind.epoll;
    const from = description.kind.epoll;
    // Another descriptor of it was there before.
    if (made.watches.items.len > 0) return;
    try made.watches.ensureTotalCapacity(to.allocator, from.watches.items.len);
    for (from.watches.items) |watch| {
        const target = copies.descriptions.get(watch.description) orelse continue;
        made.addCopy(to, watch, target);
    }
    made.next = from.next;
    made.changes = from.changes;
}

/// The same folder with a place in its listing of its own.
fn copyDirectory(allocator: std.mem.Allocator, from: @FieldType(table.Kind, "host_directory"), path_only: bool) Error!table.Kind {
    const name = try allocator.dupe(u8, from.path);
    errdefer allocator.free(name);
    const opened: i32 = @intCast(try host.check(linux.openat(from.fd, ".", .{ .DIRECTORY = true, .CLOEXEC = true, .PATH = path_only }, 0)));
    const at: isize = @bitCast(linux.lseek(from.fd, 0, linux.SEEK.CUR));
    if (at > 0) _ = linux.lseek(opened, at, linux.SEEK.SET);
    return .{ .host_directory = .{ .fd = opened, .path = name, .at = from.at } };
}

fn copyPipe(from: *const Pipe, to: *FileTable, copies: *Copies) Error!*Pipe {
    if (copies.pipes.get(from)) |made| return made;
    const made = try Pipe.create(to.allocator);
    errdefer to.allocator.destroy(made);
    try copies.pipes.put(to.allocator, from, made);
    to.pipes += 1;
    made.copyFrom(from);
    return made;
}

/// A copied pipe has the ends that its original has.
fn countEnds(description: *const Description, copies: *const Copies) void {
    switch (description.kind) {
        .pipe_read, .pipe_write => |pipe| {
            const made = copies.pipes.get(pipe).?;
            made.readers = pipe.readers;
            made.writers = pipe.writers;
        },
        else => {},
    }
}

/// Whether two copies of one table are the same.
pub fn same(a: *const FileTable, b: *const FileTable) bool {
    return std.mem.eql(u8, a.working_directory, b.working_directory) and sameOpen(a, b, .comparing);
}

const Purpose = enum { restoring, comparing };

/// Whether the open files are as in the table they were copied from.
fn sameOpen(now: *const FileTable, then: *const FileTable, comptime purpose: Purpose) bool {
    const restoring = purpose == .restoring;
    if (now.pipes != then.pipes or !frozen_sockets.same(&now.sockets, &then.sockets, restoring)) return false;
    const count = @max(now.slots.items.len, then.slots.items.len);
    for (0..count) |index| {
        const a: table.Slot = if (index < now.slots.items.len) now.slots.items[index] else .{};
        const b: table.Slot = if (index < then.slots.items.len) then.slots.items[index] else .{};
        if (restoring and planted.is(.descriptor_kept) and b.description == null) continue;
        if ((a.description == null) != (b.description == null)) return false;
        const mine = a.description orelse continue;
        const other = b.description.?;
        if (a.close_on_exec != b.close_on_exec and !(restoring and planted.is(.descriptor_flag_kept))) return false;
        if (!sameDescription(mine, other, restoring)) return false;
        // The same descriptors must share an open file: the first of those that do stands for all.
        if (now.firstWith(mine) != then.firstWith(other)) return false;
        if (mine.kind == .epoll and !(restoring and planted.is(.epoll_watch_kept)) and !mine.kind.epoll.sameAs(other.kind.epoll, now, then)) return false;
    }
    var flights = now.sockets.flights();
    var others = then.sockets.flights();
    while (flights.next()) |mine| {
        const other = others.next() orelse return false;
        if (!sameDescription(mine, other, restoring) or now.firstWith(mine) != then.firstWith(other)) return false;
        if (mine.kind == .epoll and !mine.kind.epoll.sameAs(other.kind.epoll, now, then)) return false;
    }
    return true;
}

fn sameDescription(now: *const Description, then: *const Description, restoring: bool) bool {
    const skips_offset = restoring and planted.is(.offset_kept);
    if (now.status_flags != then.status_flags or now.references != then.references) return false;
    if (!std.mem.eql(u8, now.path, then.path)) return false;
    if (std.meta.activeTag(now.kind) != std.meta.activeTag(then.kind)) return false;
    return switch (now.kind) {
        .host_stream => |stream| stream == then.kind.host_stream and std.meta.eql(now.changes, then.changes),
        .host_file => |file| file.file == then.kind.host_file.file and file.at == then.kind.host_file.at,
        .output => |output| output.stream == then.kind.output.stream,
        .device => |device| device == then.kind.device,
        .text => |text| (skips_offset or text.at == then.kind.text.at) and std.mem.eql(u8, text.bytes, then.kind.text.bytes),
        .synthetic_directory => |directory| directory.at == then.kind.synthetic_directory.at and std.mem.eql(u8, directory.path, then.kind.synthetic_directory.path),
        .private_file => |file| file.node == then.kind.private_file.node and (skips_offset or file.at == then.kind.private_file.at),
        .private_directory => |directory| std.meta.eql(directory, then.kind.private_directory),
        .event => |event| restoring and planted.is(.event_count_kept) or std.meta.eql(event, then.kind.event) and std.meta.eql(now.changes, then.changes),
        .timer => |timer| restoring and planted.is(.timerfd_kept) or std.meta.eql(timer, then.kind.timer) and std.meta.eql(now.changes, then.changes),
        .signals => |mask| mask == then.kind.signals,
        // What it watches is compared once all open files are known to be the same.
        .epoll => true,
        .socket => |socket| socket.index == then.kind.socket.index,
        .pipe_read => |pipe| pipe.sameAs(then.kind.pipe_read) or restoring and planted.is(.pipe_bytes_kept),
        .pipe_write => |pipe| pipe.sameAs(then.kind.pipe_write) or restoring and planted.is(.pipe_bytes_kept),
        .host_directory => |directory| place(directory.fd) == place(then.kind.host_directory.fd) and directory.at == then.kind.host_directory.at and std.mem.eql(u8, directory.path, then.kind.host_directory.path),
    };
}

/// Where the host stands in a folder's listing.
fn place(fd: i32) usize {
    return linux.lseek(fd, 0, linux.SEEK.CUR);
}
