//! Reading and writing open files: read, write and their vectored, positioned and file-to-file forms.
const std = @import("std");
const linux = std.os.linux;
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const private_open = @import("private/open.zig");
const table = @import("table.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const SIGPIPE = 13;

pub fn descriptorOf(value: u64) i32 {
    return @bitCast(@as(u32, @truncate(value)));
}

/// Where in the file a transfer happens: at the description's own position, or at a given one that leaves it alone.
const Position = ?u64;

fn negative(rc: usize) i64 {
    return @bitCast(rc);
}

/// Waits until the host descriptor is ready unless the file is non-blocking; 0 or a negative errno.
fn waitReady(k: *Kernel, description: *const Description, fd: i32, events: i16) i64 {
    if (description.isNonBlocking()) {
        var one = [_]linux.pollfd{.{ .fd = fd, .events = events, .revents = 0 }};
        k.hostCall();
        return if (negative(linux.poll(&one, 1, 0)) == 0) fail(.AGAIN) else 0;
    }
    return switch (k.waitForHost(fd, events, null)) {
        .ready => 0,
        .interrupted, .timed_out => fail(.INTR),
    };
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
            if (waited < 0) return waited;
            k.hostCall();
            return negative(linux.read(stream.fd, out.ptr, out.len));
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
            .terminal => return fail(.NXIO),
        },
        inline .text, .program => |*text| return readText(text.bytes, &text.at, out, position),
        .private_file => |*file| return private_open.read(k, file, out, position),
        .host_directory, .synthetic_directory, .private_directory => return fail(.ISDIR),
        .pipe_read => |pipe| {
            if (position != null) return fail(.SPIPE);
            while (pipe.fill == 0) {
                if (pipe.writers == 0) return 0;
                if (description.isNonBlocking()) return fail(.AGAIN);
                // The only thread that could write is the one that waits: only a signal or the time limit ends it.
                if (k.waitForHost(-1, 0, null) == .interrupted) return fail(.INTR);
            }
            return @intCast(pipe.read(out));
        },
        .pipe_write, .output => return fail(.BADF),
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
            if (waited < 0) return waited;
            k.hostCall();
            // A blocking pipe takes a write of PIPE_BUF once it polls as writable; more could block without end.
            const atomic_bytes = 4096;
            return negative(linux.write(stream.fd, bytes.ptr, @min(bytes.len, atomic_bytes)));
        },
        .output => |output| return if (position != null) fail(.SPIPE) else if (output.to) |to| to.write(bytes) else fail(.IO),
        .device => |device| return switch (device) {
            .full => fail(.NOSPC),
            .terminal => fail(.NXIO),
            else => @intCast(bytes.len),
        },
        .pipe_write => |pipe| {
            if (position != null) return fail(.SPIPE);
            while (true) {
                if (pipe.readers == 0) return fail(.PIPE);
                const count = pipe.write(bytes);
                if (count > 0) return @intCast(count);
                if (description.isNonBlocking()) return fail(.AGAIN);
                if (k.waitForHost(-1, 0, null) == .interrupted) return fail(.INTR);
            }
        },
        .private_file => |*file| return private_open.write(k, file, bytes, position, description.status_flags & table.O_APPEND != 0),
        .text, .program, .pipe_read, .host_directory, .synthetic_directory, .private_directory => return fail(.BADF),
    }
}

/// Writes at the file's own position, a given one, or its end (pwritev2(2), RWF_APPEND).
fn writeFile(k: *Kernel, fd: i32, own: *u64, bytes: []const u8, position: Position, append: bool) i64 {
    k.hostCall();
    if (!append) {
        const rc = negative(linux.pwrite(fd, bytes.ptr, bytes.len, @intCast(position orelse own.*)));
        if (position == null and rc > 0) own.* += @intCast(rc);
        return rc;
    }
    const rwf_append = 0x10;
    const piece = [_]std.posix.iovec_const{.{ .base = bytes.ptr, .len = bytes.len }};
    const rc = negative(linux.syscall6(.pwritev2, @intCast(fd), @intFromPtr(&piece), 1, 0, 0, rwf_append));
    if (position == null and rc > 0) own.* = @intCast(@max(0, negative(linux.lseek(fd, 0, linux.SEEK.END))));
    return rc;
}

const Direction = enum { read, write };

/// Moves `length` bytes between guest memory and a file, piece by piece, until done or short.
fn move(k: *Kernel, description: *Description, comptime direction: Direction, address: u64, length: u64, position: Position) i64 {
    var done: u64 = 0;
    const wanted = @min(length, limits.transfer_max_bytes);
    while (done < wanted) {
        const intent = if (direction == .read) .write else .read;
        const piece = k.memory.piece(address +% done, @intCast(wanted - done), intent) catch return if (done > 0) @intCast(done) else fail(.FAULT);
        const at: Position = if (position) |start| start + done else null;
        const rc = if (direction == .read) readPiece(k, description, piece, at) else writePiece(k, description, piece, at);
        if (rc < 0) {
            if (done > 0) return @intCast(done);
            if (direction == .write and rc == fail(.PIPE)) k.raiseSignal(SIGPIPE);
            return rc;
        }
        done += @intCast(rc);
        // A short read is what there was; a short write of a stream goes on, as a blocking write does.
        if (rc < piece.len and (direction == .read or rc == 0)) break;
        if (direction == .read and isStream(description)) break;
    }
    return @intCast(done);
}

/// Reads of streams end with what one read gave: waiting for more would hold back what is there.
fn isStream(description: *const Description) bool {
    return switch (description.kind) {
        .host_stream, .pipe_read => true,
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
    return move(k, description, .read, a[1], a[2], null);
}

pub fn write(k: *Kernel, a: Args) i64 {
    const description = writable(k, a[0]) orelse return fail(.BADF);
    return move(k, description, .write, a[1], a[2], null);
}

fn positionOf(value: u64) ?u64 {
    return if (value > std.math.maxInt(i64) - limits.transfer_max_bytes) null else value;
}

pub fn pread64(k: *Kernel, a: Args) i64 {
    const description = readable(k, a[0]) orelse return fail(.BADF);
    const position = positionOf(a[3]) orelse return fail(.INVAL);
    return move(k, description, .read, a[1], a[2], position);
}

pub fn pwrite64(k: *Kernel, a: Args) i64 {
    const description = writable(k, a[0]) orelse return fail(.BADF);
    const position = positionOf(a[3]) orelse return fail(.INVAL);
    return move(k, description, .write, a[1], a[2], position);
}

const Vector = extern struct { base: u64, length: u64 };

fn moveVector(k: *Kernel, description: *Description, comptime direction: Direction, address: u64, count: u64, position: Position) i64 {
    if (count > limits.vector_max_pieces) return fail(.INVAL);
    var vectors: [limits.vector_max_pieces]Vector = undefined;
    k.memory.read(address, std.mem.sliceAsBytes(vectors[0..@intCast(count)])) catch return fail(.FAULT);
    var total: u64 = 0;
    for (vectors[0..@intCast(count)]) |vector| {
        if (vector.length > std.math.maxInt(i64) or total + vector.length > std.math.maxInt(i64)) return fail(.INVAL);
        total += vector.length;
    }
    var done: u64 = 0;
    for (vectors[0..@intCast(count)]) |vector| {
        if (vector.length == 0) continue;
        const part = @min(vector.length, limits.transfer_max_bytes - done);
        const rc = move(k, description, direction, vector.base, part, if (position) |start| start + done else null);
        if (rc < 0) return if (done > 0) @intCast(done) else rc;
        done += @intCast(rc);
        if (rc < part or done >= limits.transfer_max_bytes) break;
        if (direction == .read and isStream(description)) break;
    }
    return @intCast(done);
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

/// Copies between two files through a buffer of the VMM; the positions move by what was really written.
fn copyBetween(k: *Kernel, from: *Description, to: *Description, offset_address: u64, length: u64) i64 {
    var buffer: [copy_chunk_bytes]u8 = undefined;
    var offset: Position = null;
    if (offset_address != 0) offset = positionOf(k.memory.readValue(u64, offset_address) catch return fail(.FAULT)) orelse return fail(.INVAL);
    var done: u64 = 0;
    const wanted = @min(length, limits.transfer_max_bytes);
    while (done < wanted) {
        const part = buffer[0..@intCast(@min(wanted - done, buffer.len))];
        const got = readPiece(k, from, part, if (offset) |start| start + done else null);
        if (got < 0) return if (done > 0) @intCast(done) else got;
        if (got == 0) break;
        var written: usize = 0;
        while (written < got) {
            const rc = writePiece(k, to, part[written..@intCast(got)], null);
            if (rc <= 0) {
                if (rc == fail(.PIPE)) k.raiseSignal(SIGPIPE);
                unread(from, @as(u64, @intCast(got)) - written, offset == null);
                done += written;
                return if (done > 0) @intCast(done) else rc;
            }
            written += @intCast(rc);
        }
        done += written;
    }
    if (offset) |start| k.memory.writeValue(offset_address, start + done) catch return fail(.FAULT);
    return @intCast(done);
}

/// Moves a file's own position back over bytes that could not be passed on.
fn unread(from: *Description, count: u64, own_position: bool) void {
    if (!own_position) return;
    switch (from.kind) {
        inline .host_file, .private_file, .text, .program => |*file| file.at -= count,
        else => {},
    }
}

pub fn sendfile(k: *Kernel, a: Args) i64 {
    const to = writable(k, a[0]) orelse return fail(.BADF);
    const from = readable(k, a[1]) orelse return fail(.BADF);
    switch (from.kind) {
        .host_file, .private_file, .text, .program => {},
        else => return fail(.INVAL),
    }
    if (to.status_flags & table.O_APPEND != 0) return fail(.INVAL);
    return copyBetween(k, from, to, a[2], a[3]);
}

pub fn lseek(k: *Kernel, a: Args) i64 {
    const description = k.files.get(descriptorOf(a[0])) orelse return fail(.BADF);
    const offset: i64 = @bitCast(a[1]);
    switch (description.kind) {
        .host_file => |*file| {
            if (a[2] == linux.SEEK.SET or a[2] == linux.SEEK.CUR) return seekIn(&file.at, 0, offset, a[2]);
            k.hostCall();
            const rc = negative(linux.lseek(file.file.fd, offset, @intCast(a[2] & 0xff)));
            if (rc >= 0) file.at = @intCast(rc);
            return rc;
        },
        .host_directory => |directory| {
            k.hostCall();
            return negative(linux.lseek(directory.fd, offset, @intCast(a[2] & 0xff)));
        },
        inline .text, .program => |*text| return seekIn(&text.at, text.bytes.len, offset, a[2]),
        .synthetic_directory => |*directory| return seekIn(&directory.at, 0, offset, a[2]),
        .private_directory => |*directory| return seekIn(&directory.at, 0, offset, a[2]),
        .private_file => |*file| {
            if (a[2] > linux.SEEK.END) return private_open.seekContent(k, file, offset, a[2]);
            return seekIn(&file.at, k.files.private.at(file.node).size, offset, a[2]);
        },
        .device => return 0,
        .host_stream => |stream| {
            k.hostCall();
            return negative(linux.lseek(stream.fd, offset, @intCast(a[2] & 0xff)));
        },
        .output, .pipe_read, .pipe_write => return fail(.SPIPE),
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

/// Reads a file for a private mapping of it.
pub fn readForMapping(k: *Kernel, fd: i32, offset: u64, out: []u8) i64 {
    const description = k.files.get(fd) orelse return fail(.BADF);
    const position = positionOf(offset) orelse return fail(.OVERFLOW);
    return switch (description.kind) {
        .host_file, .private_file, .text, .program => readPiece(k, description, out, position),
        .device => |device| if (device == .zero) 0 else fail(.NODEV),
        else => fail(.NODEV),
    };
}

/// Whether a file may be mapped so: 0 or a negative errno. A shared writable mapping would have to write back.
pub fn checkMapping(k: *Kernel, fd: i32, protection: u64, flags: u64) i64 {
    const description = k.files.get(fd) orelse return fail(.BADF);
    if (!description.mayRead()) return fail(.ACCES);
    const shared = flags & 3 == 1;
    const writes = protection & 2 != 0;
    if (shared and writes) return if (description.mayWrite()) fail(.NODEV) else fail(.ACCES);
    return switch (description.kind) {
        .host_file, .private_file, .text, .program => 0,
        .device => |device| if (device == .zero) 0 else fail(.NODEV),
        else => fail(.NODEV),
    };
}
