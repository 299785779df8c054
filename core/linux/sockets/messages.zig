//! System calls that send and receive: sendto, recvfrom, sendmsg, recvmsg, sendmmsg, recvmmsg; and reads and writes of
//! sockets as files.
const std = @import("std");
const address = @import("address.zig");
const buffer_module = @import("buffer.zig");
const control = @import("control.zig");
const creating = @import("creating.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const naming = @import("naming.zig");
const receiving = @import("receiving.zig");
const sending = @import("sending.zig");
const time = @import("../time.zig");
const waiting = @import("waiting.zig");
const Args = kernel_module.Args;
const Buffer = buffer_module.Buffer;
const Description = @import("../files/table.zig").Description;
const Kernel = kernel_module.Kernel;
const Opened = creating.Opened;
const Progress = waiting.Progress;
const Vector = buffer_module.Vector;
const fail = kernel_module.fail;

const MSG_WAITFORONE = 0x10000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/// struct msghdr
const Header = extern struct {
    name: u64,
    name_length: u32,
    padding: u32 = 0,
    vectors: u64,
    vector_count: u64,
    control: u64,
    control_length: u64,
    flags: u32,
    padding_end: u32 = 0,
};

/// struct mmsghdr
const Many = extern struct { header: Header, length: u32, padding: u32 = 0 };

comptime {
    std.debug.assert(@sizeOf(Header) == 56 and @sizeOf(Many) == 64);
}

const Vectors = [limits.vector_max_pieces]Vector;

/// Reads a list of buffers; 0 or a negative errno.
fn readVectors(k: *Kernel, at: u64, count: u64, storage: *Vectors, out: *[]const Vector) i64 {
    if (count > storage.len) return fail(.MSGSIZE);
    const list = storage[0..@intCast(count)];
    k.memory.read(at, std.mem.sliceAsBytes(list)) catch return fail(.FAULT);
    var total: u64 = 0;
    for (list) |*vector| {
        if (vector.length > std.math.maxInt(i64)) return fail(.INVAL);
        vector.length = @min(vector.length, limits.transfer_max_bytes - total);
        total += vector.length;
    }
    out.* = list;
    return 0;
}

// Files

/// read(2) and readv(2)
pub fn read(k: *Kernel, description: *const Description, vectors: []const Vector) i64 {
    var in: receiving.Incoming = .{ .data = .ofGuest(k.memory, vectors) };
    if (in.data.total == 0) return 0;
    return receiveOnce(k, description, &in);
}

fn receiveOnce(k: *Kernel, description: *const Description, in: *receiving.Incoming) i64 {
    var progress: Progress = .of(k);
    const rc = receiving.receive(k, description, description.kind.socket, in, &progress.bytes);
    progress.keep(k);
    return rc;
}

/// write(2) and writev(2)
pub fn write(k: *Kernel, description: *const Description, vectors: []const Vector) i64 {
    var out: sending.Outgoing = .{ .data = .ofGuest(k.memory, vectors) };
    return sendOnce(k, description, &out);
}

fn sendOnce(k: *Kernel, description: *const Description, out: *sending.Outgoing) i64 {
    var progress: Progress = .of(k);
    const rc = sending.send(k, description, description.kind.socket, out, &progress.bytes);
    progress.keep(k);
    return rc;
}

/// Writes what finds room now, for sendfile(2); no signal comes of it.
pub fn writeNow(k: *Kernel, description: *const Description, bytes: []const u8) i64 {
    var out: sending.Outgoing = .{ .data = .ofBytes(@constCast(bytes)), .flags = waiting.MSG_DONTWAIT | sending.MSG_NOSIGNAL };
    var done: u32 = 0;
    return sending.send(k, description, description.kind.socket, &out, &done);
}

/// The answer of a call for which there was no room.
pub fn waitForRoom(k: *Kernel, description: *const Description) i64 {
    return waiting.wait(k, description, description.kind.socket, 0, .send);
}

// One message

pub fn sendto(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const vector = [_]Vector{.{ .base = a[1], .length = @min(a[2], limits.transfer_max_bytes) }};
    var out: sending.Outgoing = .{ .data = .ofGuest(k.memory, &vector), .flags = @truncate(a[3]) };
    if (a[4] != 0) {
        const bad = naming.read(k, a[4], a[5], opened.socket.family, &out.to);
        if (bad < 0) return bad;
    }
    return sendOnce(k, opened.description, &out);
}

pub fn recvfrom(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const vector = [_]Vector{.{ .base = a[1], .length = @min(a[2], limits.transfer_max_bytes) }};
    var in: receiving.Incoming = .{ .data = .ofGuest(k.memory, &vector), .flags = @truncate(a[3]) };
    const rc = receiveOnce(k, opened.description, &in);
    // Nobody can take them here.
    control.release(k, &in.rights);
    if (rc < 0 or a[4] == 0) return rc;
    const failed = naming.writeSource(k, &in.source, opened.socket.family, a[4], a[5]);
    return if (failed < 0) failed else rc;
}

pub fn sendmsg(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    var progress: Progress = .of(k);
    const rc = sendHeader(k, opened, a[1], @truncate(a[2]), &progress.bytes);
    progress.keep(k);
    return rc;
}

fn sendHeader(k: *Kernel, opened: Opened, at: u64, flags: u32, done: *u32) i64 {
    const header = k.memory.readValue(Header, at) catch return fail(.FAULT);
    var storage: Vectors = undefined;
    var vectors: []const Vector = &.{};
    var out: sending.Outgoing = .{ .data = undefined, .flags = flags };
    if (header.name != 0 and header.name_length != 0) {
        const bad = naming.read(k, header.name, @min(header.name_length, address.bytes_max), opened.socket.family, &out.to);
        if (bad < 0) return bad;
    }
    const bad = readVectors(k, header.vectors, header.vector_count, &storage, &vectors);
    if (bad < 0) return bad;
    out.data = .ofGuest(k.memory, vectors);
    defer control.release(k, &out.rights);
    if (header.control != 0 and !opened.socket.isInet() and opened.socket.host == null and done.* == 0) {
        const refused = control.read(k, header.control, header.control_length, &out);
        if (refused < 0) return refused;
    }
    return sending.send(k, opened.description, opened.socket, &out, done);
}

pub fn recvmsg(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    var progress: Progress = .of(k);
    const rc = receiveHeader(k, opened, a[1], @truncate(a[2]), &progress.bytes);
    progress.keep(k);
    return rc;
}

fn receiveHeader(k: *Kernel, opened: Opened, at: u64, flags: u32, done: *u32) i64 {
    const header = k.memory.readValue(Header, at) catch return fail(.FAULT);
    var storage: Vectors = undefined;
    var vectors: []const Vector = &.{};
    const bad = readVectors(k, header.vectors, header.vector_count, &storage, &vectors);
    if (bad < 0) return bad;
    var in: receiving.Incoming = .{ .data = .ofGuest(k.memory, vectors), .flags = flags };
    const rc = receiving.receive(k, opened.description, opened.socket, &in, done);
    defer control.release(k, &in.rights);
    if (rc < 0) return rc;
    if (header.name != 0) {
        const failed = naming.writeSource(k, &in.source, opened.socket.family, header.name, at + @offsetOf(Header, "name_length"));
        if (failed < 0) return failed;
    }
    const used = control.write(k, opened.socket, &in, header.control, header.control_length);
    if (used < 0) return used;
    k.memory.writeValue(at + @offsetOf(Header, "control_length"), @as(u64, @intCast(used))) catch return fail(.FAULT);
    k.memory.writeValue(at + @offsetOf(Header, "flags"), in.out_flags | (flags & MSG_CMSG_CLOEXEC)) catch return fail(.FAULT);
    return rc;
}

// Many messages

pub fn sendmmsg(k: *Kernel, a: Args) i64 {
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const count = @min(@as(u32, @truncate(a[2])), limits.vector_max_pieces);
    var progress: Progress = .of(k);
    defer progress.keep(k);
    while (progress.messages < count) {
        const at = a[1] +% progress.messages * @sizeOf(Many);
        const rc = sendHeader(k, opened, at, @truncate(a[3]), &progress.bytes);
        if (rc < 0) return ended(rc, progress);
        k.memory.writeValue(at +% @offsetOf(Many, "length"), @as(u32, @intCast(rc))) catch return ended(fail(.FAULT), progress);
        progress = .{ .messages = progress.messages + 1 };
    }
    return progress.messages;
}

/// An error that ends the call counts only if no message was done before.
fn ended(rc: i64, progress: Progress) i64 {
    const errno_max = 4095;
    return if (progress.messages > 0 and rc >= -errno_max) progress.messages else rc;
}

pub fn recvmmsg(k: *Kernel, a: Args) i64 {
    var until: ?u64 = null;
    if (a[4] != 0) {
        const span = time.fromTimespec(k.memory.readValue(time.Timespec, a[4]) catch return fail(.FAULT)) orelse return fail(.INVAL);
        until = k.clock.monotonicNs() +| span;
    }
    var errno: i64 = 0;
    const opened = creating.opened(k, a[0], &errno) orelse return errno;
    const count = @min(@as(u32, @truncate(a[2])), limits.vector_max_pieces);
    var flags: u32 = @as(u32, @truncate(a[3])) & ~@as(u32, MSG_WAITFORONE);
    var progress: Progress = .of(k);
    defer progress.keep(k);
    while (progress.messages < count) {
        if (progress.messages > 0 and a[3] & MSG_WAITFORONE != 0) flags |= waiting.MSG_DONTWAIT;
        const at = a[1] +% progress.messages * @sizeOf(Many);
        const rc = receiveHeader(k, opened, at, flags, &progress.bytes);
        if (rc < 0) return ended(rc, progress);
        k.memory.writeValue(at +% @offsetOf(Many, "length"), @as(u32, @intCast(rc))) catch return ended(fail(.FAULT), progress);
        progress = .{ .messages = progress.messages + 1 };
        // As Linux does, the time is looked at when a message has come.
        if (until) |end| if (k.clock.monotonicNs() >= end) break;
    }
    return progress.messages;
}
