//! Reading and writing open files: read, write and their vectored, positioned and file-to-file forms.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../canaries.zig");
const guest_device = @import("guest_device.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const objects = @import("../events/objects.zig");
const private_open = @import("private/open.zig");
const pipe_module = @import("pipe.zig");
const outside = @import("../sockets/outside.zig");
const sockets = @import("../sockets/messages.zig");
const table = @import("table.zig");
const waiting = @import("../waiting.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const Piece = @import("../../memory/access.zig").Piece;
const Pipe = pipe_module.Pipe;
const fail = kernel_module.fail;

const signals = @import("../signals.zig");

pub fn descriptorOf(value: u64) i32 {
    return @bitCast(@as(u32, @truncate(value)));
}

/// Where in the file a transfer happens: at the description's own position, or at a given one that leaves it alone.
const Position = ?u64;

fn negative(rc: usize) i64 {
    return @bitCast(rc);
}

/// Sleeps until the host descriptor is ready unless the file is non-blocking; 0 or a negative errno.
fn waitReady(k: *Kernel, description: *const Description, fd: i32, events: i16) i64 {
    if (description.isNonBlocking()) {
        var one = [_]linux.pollfd{.{ .fd = fd, .events = events, .revents = 0 }};
        k.hostCall();
        return if (negative(linux.poll(&one, 1, 0)) == 0) fail(.AGAIN) else 0;
    }
    var one = [_]linux.pollfd{.{ .fd = fd, .events = events, .revents = 0 }};
    k.askHost(&one, .patient);
    return if (one[0].revents != 0) 0 else k.block();
}

/// Reads into one host-contiguous piece; a short count ends the whole transfer.
fn readPiece(k: *Kernel, description: *Description, out: []u8, position: Position) i64 {
    switch (description.kind) {
        .host_file => |*file| {
            k.hostCall();
            const rc = negative(linux.pread(file.file.fd, out.ptr, out.len, @intCast(position orelse file.at)));
            if (position == null and rc > 0) file.at += @intCast(rc);
            return rc;
        },
        .host_stream => |stream| {
            if (position != null) return fail(.SPIPE);
            const waited = waitReady(k, description, stream.fd, linux.POLL.IN);
            if (waited == 0) k.hostCall();
            const rc = if (waited < 0) waited else negative(linux.read(stream.fd, out.ptr, out.len));
            // What is there next is news to who polls for edges.
            if (rc > 0 or rc == fail(.AGAIN)) description.changes.in +%= 1;
            return rc;
        },
        .device => |device| switch (device) {
            .null => return 0,
            .zero, .full => {
                @memset(out, 0);
                return @intCast(out.len);
            },
            .random => {
                k.hostCall();
                return negative(linux.getrandom(out.ptr, @min(out.len, limits.MiB), 0));
            },
            .terminal, .channel, .guest, .remote => return fail(.NXIO),
        },
        .text => |*text| return readText(text.bytes, &text.at, out, position),
        .private_file => |*file| return private_open.read(k, file, out, position),
        .host_directory, .synthetic_directory, .private_directory => return fail(.ISDIR),
        .pipe_read => |pipe| {
            if (position != null) return fail(.SPIPE);
            if (pipe.fill == 0) {
                if (pipe.writers == 0) return 0;
                return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
            }
            k.changed();
            return @intCast(pipe.read(out));
        },
        .socket, .pipe_write, .output => return fail(.BADF),
        .epoll, .event, .timer, .signals => return fail(.INVAL),
    }
}

/// Reads from bytes in memory, at their own position or a given one.
fn readText(bytes: []const u8, own: *u64, out: []u8, position: Position) i64 {
    const at = position orelse own.*;
    if (at >= bytes.len) return 0;
    const from = bytes[@intCast(at)..];
    const count = @min(from.len, out.len);
    @memcpy(out[0..count], from[0..count]);
    if (position == null) own.* += count;
    return @intCast(count);
}

fn writePiece(k: *Kernel, description: *Description, bytes: []const u8, position: Position) i64 {
    switch (description.kind) {
        .host_file => |*file| return writeFile(k, file.file.fd, &file.at, bytes, position, description.status_flags & table.O_APPEND != 0),
        .host_stream => |stream| {
            if (position != null) return fail(.SPIPE);
            const waited = waitReady(k, description, stream.fd, linux.POLL.OUT);
            if (waited == 0) k.hostCall();
            // A blocking pipe takes a write of PIPE_BUF once it polls as writable; more could block without end.
            const part = bytes[0..@min(bytes.len, pipe_module.atomic_bytes)];
            const rc = if (waited < 0) waited else negative(linux.write(stream.fd, part.ptr, part.len));
            if (rc == fail(.AGAIN) or rc >= 0 and rc < part.len) description.changes.out +%= 1;
            return rc;
        },
        .output => |output| {
            if (position != null) return fail(.SPIPE);
            const to = output.to orelse return fail(.IO);
            while (true) {
                const rc = to.write(bytes);
                if (rc != fail(.INTR) or k.endsHostWait()) return rc;
            }
        },
        .device => |device| return switch (device) {
            .full => fail(.NOSPC),
            .terminal, .channel, .guest, .remote => fail(.NXIO),
            else => @intCast(bytes.len),
        },
        .pipe_write => |pipe| {
            if (position != null) return fail(.SPIPE);
            if (pipe.readers == 0) return fail(.PIPE);
            const count = pipe.write(bytes);
            if (count == 0) return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
            k.changed();
            return @intCast(count);
        },
        .private_file => |*file| return private_open.write(k, file, bytes, position, description.status_flags & table.O_APPEND != 0),
        .socket => return sockets.writeNow(k, description, bytes),
        .text, .pipe_read, .host_directory, .synthetic_directory, .private_directory => return fail(.BADF),
        .epoll, .event, .timer, .signals => return fail(.INVAL),
    }
}

/// Writes at the file's own position, a given one, or its end (pwritev2(2), RWF_APPEND).
fn writeFile(k: *Kernel, fd: i32, own: *u64, bytes: []const u8, position: Position, append: bool) i64 {
    k.hostCall();
    const allowed = if (k.fileSizeLimit() == std.math.maxInt(u64)) bytes.len else blk: {
        const at = if (append) @as(u64, @intCast(@max(0, negative(linux.lseek(fd, 0, linux.SEEK.END))))) else position orelse own.*;
        break :blk @min(bytes.len, k.fileSizeLimit() -| at);
    };
    if (allowed == 0 and bytes.len > 0) return fail(.FBIG);
    if (!append) {
        const rc = negative(linux.pwrite(fd, bytes.ptr, allowed, @intCast(position orelse own.*)));
        if (position == null and rc > 0) own.* += @intCast(rc);
        return rc;
    }
    const rwf_append = 0x10;
    const piece = [_]std.posix.iovec_const{.{ .base = bytes.ptr, .len = allowed }};
    const rc = negative(linux.syscall6(.pwritev2, @intCast(fd), @intFromPtr(&piece), 1, 0, 0, rwf_append));
    if (position == null and rc > 0) own.* = @intCast(@max(0, negative(linux.lseek(fd, 0, linux.SEEK.END))));
    return rc;
}

/// A write that failed with nothing written: some errors come with a signal. The host's own limit on file sizes is not the
/// guest's, and only an errno for it.
fn failed(k: *Kernel, rc: i64) i64 {
    if (rc == fail(.PIPE)) k.raiseSignal(signals.SIGPIPE);
    if (rc == fail(.FBIG) and k.fileSizeLimit() != std.math.maxInt(u64)) k.raiseSignal(signals.SIGXFSZ);
    return rc;
}

/// Whether a file may become so long, by RLIMIT_FSIZE: 0 or a negative errno. Negative sizes are the host's to refuse.
pub fn checkSize(k: *Kernel, size: u64) i64 {
    return if (size <= k.fileSizeLimit() or size > std.math.maxInt(i64)) 0 else failed(k, fail(.FBIG));
}

const Direction = enum { read, write };

/// How much of guest memory that is not steady goes through a buffer of the VMM at once.
const bounce_bytes = 4096;

/// The host's kernel moves these files' bytes itself, so that the guest's memory need not be steady.
fn isMovedByHost(description: *const Description) bool {
    return switch (description.kind) {
        .host_file, .host_stream, .private_file => true,
        else => false,
    };
}

fn readInto(k: *Kernel, description: *Description, piece: Piece, position: Position) i64 {
    if (piece.steady or isMovedByHost(description)) return readPiece(k, description, piece.bytes, position);
    var buffer: [bounce_bytes]u8 = undefined;
    const rc = readPiece(k, description, buffer[0..piece.bytes.len], position);
    if (rc > 0) piece.copyFrom(buffer[0..@intCast(rc)]) catch return fail(.FAULT);
    return rc;
}

fn writeFrom(k: *Kernel, description: *Description, piece: Piece, position: Position) i64 {
    if (piece.steady or isMovedByHost(description)) return writePiece(k, description, piece.bytes, position);
    var buffer: [bounce_bytes]u8 = undefined;
    const bytes = buffer[0..piece.bytes.len];
    piece.copyTo(bytes) catch return fail(.FAULT);
    return writePiece(k, description, bytes, position);
}

/// What came of moving bytes: how many, and why not all, if that was an error or a wait.
const Moved = struct {
    done: u64 = 0,
    rc: i64 = 0,

    /// The result of the call: what earlier tries have done counts.
    fn result(self: Moved, k: *Kernel) i64 {
        const progress = k.callProgress();
        progress.* += self.done;
        if (self.rc == waiting.blocked) return self.rc;
        return if (progress.* > 0) @intCast(progress.*) else if (self.rc < 0) failed(k, self.rc) else 0;
    }
};

/// Moves `length` bytes between guest memory and a file, piece by piece, until done or short.
fn move(k: *Kernel, description: *Description, comptime direction: Direction, address: u64, length: u64, position: Position) Moved {
    if (objects.isObject(description)) return moveObject(k, description, direction, &.{.{ .base = address, .length = length }}, position);
    var done: u64 = 0;
    const wanted = @min(if (canaries.is(.transfer_unbounded)) length +| 1 else length, limits.transfer_max_bytes);
    while (done < wanted) {
        const intent = if (direction == .read) .write else .read;
        var piece = k.memory.piece(address +% done, @intCast(wanted - done), intent) catch return .{ .done = done, .rc = fail(.FAULT) };
        if (!piece.steady and !isMovedByHost(description)) piece.bytes = piece.bytes[0..@min(piece.bytes.len, bounce_bytes)];
        const at: Position = if (position) |start| start + done else null;
        const rc = if (direction == .read) readInto(k, description, piece, at) else writeFrom(k, description, piece, at);
        if (rc < 0) {
            // A read ends with what there is.
            const ends = direction == .read and rc == waiting.blocked and done > 0;
            return .{ .done = done, .rc = if (ends) 0 else rc };
        }
        done += @intCast(rc);
        // A short read is what there was; a short write of a stream goes on, as a blocking write does.
        if (rc < piece.bytes.len and (direction == .read or rc == 0)) break;
        if (direction == .read and isStream(description)) break;
    }
    return .{ .done = done };
}

/// Records of the kernel's, which are read and written whole.
fn moveObject(k: *Kernel, description: *Description, comptime direction: Direction, vectors: []const Vector, position: Position) Moved {
    if (position != null) return .{ .rc = fail(.SPIPE) };
    const rc = if (direction == .read) objects.read(k, description, vectors) else objects.write(k, description, vectors[0]);
    return if (rc < 0) .{ .rc = rc } else .{ .done = @intCast(rc) };
}

/// What is at most PIPE_BUF long goes into a pipe whole or not at all (pipe(7)).
fn writeWhole(k: *Kernel, pipe: *Pipe, description: *const Description, vectors: []const Vector) i64 {
    var buffer: [pipe_module.atomic_bytes]u8 = undefined;
    var length: usize = 0;
    for (vectors) |vector| {
        const part = buffer[length..][0..@intCast(vector.length)];
        k.memory.read(vector.base, part) catch return fail(.FAULT);
        length += part.len;
    }
    if (pipe.readers == 0) return failed(k, fail(.PIPE));
    if (pipe.room() < length) return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
    k.changed();
    return @intCast(pipe.write(buffer[0..length]));
}

fn isWrittenWhole(description: *const Description, comptime direction: Direction, length: u64) bool {
    return direction == .write and description.kind == .pipe_write and length > 0 and length <= pipe_module.atomic_bytes;
}

/// Moves the bytes of one buffer, beginning behind what earlier tries have done.
fn moveOne(k: *Kernel, description: *Description, comptime direction: Direction, address: u64, length: u64, position: Position) i64 {
    if (position == null and isWrittenWhole(description, direction, length)) return writeWhole(k, description.kind.pipe_write, description, &.{.{ .base = address, .length = length }});
    const before = k.callProgress().*;
    const at: Position = if (position) |start| start + before else null;
    return move(k, description, direction, address +% before, length -| before, at).result(k);
}

/// Reads of streams end with what one read gave: waiting for more would hold back what is there.
fn isStream(description: *const Description) bool {
    return switch (description.kind) {
        .host_stream => true,
        else => false,
    };
}

fn readable(k: *Kernel, fd: u64) ?*Description {
    const description = k.files.get(descriptorOf(fd)) orelse return null;
    return if (description.mayRead()) description else null;
}

fn writable(k: *Kernel, fd: u64) ?*Description {
    const description = k.files.get(descriptorOf(fd)) orelse return null;
    return if (description.mayWrite()) description else null;
}

pub fn read(k: *Kernel, a: Args) i64 {
    const description = readable(k, a[0]) orelse return fail(.BADF);
    if (description.kind == .socket) {
        const length = @min(a[2], limits.transfer_max_bytes);
        const taken = outside.takeAnswer(k, description.kind.socket, a[1], length);
        return if (taken < 0) taken else sockets.read(k, description, &.{.{ .base = a[1], .length = length }});
    }
    if (guest_device.isOne(description)) return guest_device.read(k, description, a[1], a[2]);
    return moveOne(k, description, .read, a[1], a[2], null);
}

pub fn write(k: *Kernel, a: Args) i64 {
    const description = writable(k, a[0]) orelse return fail(.BADF);
    if (description.kind == .socket) return sockets.write(k, description, &.{.{ .base = a[1], .length = @min(a[2], limits.transfer_max_bytes) }});
    if (guest_device.isOne(description)) return guest_device.write(k, description, a[1], a[2]);
    return moveOne(k, description, .write, a[1], a[2], null);
}

fn positionOf(value: u64) ?u64 {
    return if (value > std.math.maxInt(i64) - limits.transfer_max_bytes) null else value;
}

pub fn pread64(k: *Kernel, a: Args) i64 {
    const description = readable(k, a[0]) orelse return fail(.BADF);
    const position = positionOf(a[3]) orelse return fail(.INVAL);
    if (description.kind == .socket) return fail(.SPIPE);
    return moveOne(k, description, .read, a[1], a[2], position);
}

pub fn pwrite64(k: *Kernel, a: Args) i64 {
    const description = writable(k, a[0]) orelse return fail(.BADF);
    const position = positionOf(a[3]) orelse return fail(.INVAL);
    if (description.kind == .socket) return fail(.SPIPE);
    return moveOne(k, description, .write, a[1], a[2], position);
}

const Vector = @import("../sockets/buffer.zig").Vector;

fn moveVector(k: *Kernel, description: *Description, comptime direction: Direction, address: u64, count: u64, position: Position) i64 {
    if (count > limits.vector_max_pieces) return fail(.INVAL);
    var vectors: [limits.vector_max_pieces]Vector = undefined;
    k.memory.read(address, std.mem.sliceAsBytes(vectors[0..@intCast(count)])) catch return fail(.FAULT);
    var total: u64 = 0;
    for (vectors[0..@intCast(count)]) |vector| {
        if (vector.length > std.math.maxInt(i64) or total + vector.length > std.math.maxInt(i64)) return fail(.INVAL);
        total += vector.length;
    }
    const given = vectors[0..@intCast(count)];
    if (description.kind == .socket) {
        if (position != null) return fail(.SPIPE);
        return if (direction == .read) sockets.read(k, description, given) else sockets.write(k, description, given);
    }
    if (position == null and isWrittenWhole(description, direction, total)) return writeWhole(k, description.kind.pipe_write, description, given);
    if (direction == .read and total > 0 and objects.isObject(description)) return moveObject(k, description, direction, given, position).result(k);
    var skipped = k.callProgress().*;
    var moved: Moved = .{};
    for (given) |vector| {
        const skips = @min(skipped, vector.length);
        skipped -= skips;
        if (vector.length == skips) continue;
        const part = @min(vector.length - skips, limits.transfer_max_bytes - moved.done);
        const one = move(k, description, direction, vector.base +% skips, part, if (position) |start| start + moved.done else null);
        moved.done += one.done;
        // A read ends with what there is.
        moved.rc = if (direction == .read and one.rc == waiting.blocked and moved.done > 0) 0 else one.rc;
        if (one.done < part or moved.done >= limits.transfer_max_bytes) break;
        if (direction == .read and isStream(description)) break;
    }
    return moved.result(k);
}

pub fn readv(k: *Kernel, a: Args) i64 {
    const description = readable(k, a[0]) orelse return fail(.BADF);
    return moveVector(k, description, .read, a[1], a[2], null);
}

pub fn writev(k: *Kernel, a: Args) i64 {
    const description = writable(k, a[0]) orelse return fail(.BADF);
    return moveVector(k, description, .write, a[1], a[2], null);
}

pub fn preadv(k: *Kernel, a: Args) i64 {
    const description = readable(k, a[0]) orelse return fail(.BADF);
    return moveVector(k, description, .read, a[1], a[2], positionOf(a[3]) orelse return fail(.INVAL));
}

pub fn pwritev(k: *Kernel, a: Args) i64 {
    const description = writable(k, a[0]) orelse return fail(.BADF);
    return moveVector(k, description, .write, a[1], a[2], positionOf(a[3]) orelse return fail(.INVAL));
}

const copy_chunk_bytes = 64 * 1024;

/// Where a copy reads or writes: at the file's own position, or at one in guest memory, which moves instead.
const End = struct {
    description: *Description,
    offset_address: u64 = 0,
    offset: Position = null,

    /// Reads the position from guest memory, if there is one; 0 or a negative errno.
    fn load(self: *End, k: *Kernel) i64 {
        if (self.offset_address == 0) return 0;
        const offset = k.memory.readValue(u64, self.offset_address) catch return fail(.FAULT);
        self.offset = positionOf(offset) orelse return fail(.INVAL);
        return 0;
    }

    fn at(self: *const End, done: u64) Position {
        return if (self.offset) |start| start + done else null;
    }

    fn store(self: *const End, k: *Kernel, done: u64) i64 {
        if (self.offset) |start| k.memory.writeValue(self.offset_address, start + done) catch return fail(.FAULT);
        return 0;
    }
};

/// Copies between two files through a buffer of the VMM; positions move by what was really written. What earlier tries
/// have copied counts.
fn copyBetween(k: *Kernel, from: *End, to: *End, length: u64) i64 {
    const before = k.callProgress().*;
    for ([_]*End{ from, to }) |end| {
        const rc = end.load(k);
        if (rc < 0) return rc;
        if (end.offset) |*offset| offset.* += before;
    }
    var done: u64 = 0;
    var rc = copyAll(k, from, to, @min(length, limits.transfer_max_bytes) -| before, &done);
    if (rc == fail(.AGAIN) and to.description.kind == .socket) rc = sockets.waitForRoom(k, to.description);
    k.callProgress().* += done;
    if (rc == waiting.blocked or before + done == 0) return rc;
    for ([_]*End{ from, to }) |end| {
        const stored = end.store(k, done);
        if (stored < 0) return stored;
    }
    return @intCast(before + done);
}

/// Copies until `wanted` bytes are done or one side gives or takes no more; 0 or the negative errno that ended it.
fn copyAll(k: *Kernel, from: *const End, to: *const End, wanted: u64, done: *u64) i64 {
    var buffer: [copy_chunk_bytes]u8 = undefined;
    while (done.* < wanted) {
        const part = buffer[0..@intCast(@min(wanted - done.*, buffer.len))];
        const got = readPiece(k, from.description, part, from.at(done.*));
        if (got <= 0) return got;
        var written: usize = 0;
        while (written < got) {
            const rc = writePiece(k, to.description, part[written..@intCast(got)], to.at(done.*));
            if (rc <= 0) {
                if (done.* == 0) _ = failed(k, rc);
                unread(from.description, @as(u64, @intCast(got)) - written, from.offset == null);
                return rc;
            }
            written += @intCast(rc);
            done.* += @intCast(rc);
        }
    }
    return 0;
}

/// Moves a file's own position back over bytes that could not be passed on.
fn unread(from: *Description, count: u64, own_position: bool) void {
    if (!own_position) return;
    switch (from.kind) {
        inline .host_file, .private_file, .text => |*file| file.at -= count,
        else => {},
    }
}

pub fn sendfile(k: *Kernel, a: Args) i64 {
    const to = writable(k, a[0]) orelse return fail(.BADF);
    const from = readable(k, a[1]) orelse return fail(.BADF);
    switch (from.kind) {
        .host_file, .private_file, .text => {},
        else => return fail(.INVAL),
    }
    if (to.status_flags & table.O_APPEND != 0) return fail(.INVAL);
    var source: End = .{ .description = from, .offset_address = a[2] };
    var target: End = .{ .description = to };
    return copyBetween(k, &source, &target, a[3]);
}

fn isSameFile(one: *const Description, other: *const Description) bool {
    return switch (one.kind) {
        .host_file => |file| other.kind == .host_file and other.kind.host_file.file == file.file,
        .private_file => |file| other.kind == .private_file and other.kind.private_file.node == file.node,
        else => false,
    };
}

pub fn copyFileRange(k: *Kernel, a: Args) i64 {
    const from = readable(k, a[0]) orelse return fail(.BADF);
    const to = writable(k, a[2]) orelse return fail(.BADF);
    if (a[5] != 0) return fail(.INVAL);
    switch (from.kind) {
        .host_file, .private_file => {},
        .host_directory, .synthetic_directory, .private_directory => return fail(.ISDIR),
        else => return fail(.INVAL),
    }
    if (to.kind != .host_file and to.kind != .private_file) return fail(.INVAL);
    if (to.status_flags & table.O_APPEND != 0) return fail(.BADF);
    // Ranges of one file may overlap, which a program then copies by itself.
    if (isSameFile(from, to)) return fail(.INVAL);
    var source: End = .{ .description = from, .offset_address = a[1] };
    var target: End = .{ .description = to, .offset_address = a[3] };
    return copyBetween(k, &source, &target, a[4]);
}

/// SEEK_HOLE, the last that there is.
const whence_max = 4;

pub fn lseek(k: *Kernel, a: Args) i64 {
    const description = k.files.opened(descriptorOf(a[0])) orelse return fail(.BADF);
    const offset: i64 = @bitCast(a[1]);
    if (a[2] > whence_max) return fail(.INVAL);
    switch (description.kind) {
        .host_file => |*file| {
            if (a[2] == linux.SEEK.SET or a[2] == linux.SEEK.CUR) return seekIn(&file.at, 0, offset, a[2]);
            k.hostCall();
            const rc = negative(linux.lseek(file.file.fd, offset, @intCast(a[2])));
            if (rc >= 0) file.at = @intCast(rc);
            return rc;
        },
        .host_directory => |*directory| {
            if (directory.at) |*at| return seekIn(at, 0, offset, a[2]);
            k.hostCall();
            return negative(linux.lseek(directory.fd, offset, @intCast(a[2])));
        },
        .text => |*text| return seekIn(&text.at, text.bytes.len, offset, a[2]),
        .synthetic_directory => |*directory| return seekIn(&directory.at, 0, offset, a[2]),
        .private_directory => |*directory| return seekIn(&directory.at, 0, offset, a[2]),
        .private_file => |*file| {
            if (a[2] > linux.SEEK.END) return private_open.seekContent(k, file, offset, a[2]);
            return seekIn(&file.at, k.files.private.at(file.node).size, offset, a[2]);
        },
        .host_stream => |stream| {
            k.hostCall();
            return negative(linux.lseek(stream.fd, offset, @intCast(a[2])));
        },
        // Linux lets these be sought, to no effect.
        .device, .epoll, .event, .timer, .signals => return 0,
        .output, .pipe_read, .pipe_write, .socket => return fail(.SPIPE),
    }
}

fn seekIn(at: *u64, size: u64, offset: i64, whence: u64) i64 {
    const base: i64 = switch (whence) {
        linux.SEEK.SET => 0,
        linux.SEEK.CUR => @intCast(at.*),
        linux.SEEK.END => @intCast(size),
        else => return fail(.INVAL),
    };
    const target = std.math.add(i64, base, offset) catch return fail(.OVERFLOW);
    if (target < 0) return fail(.INVAL);
    at.* = @intCast(target);
    return target;
}
