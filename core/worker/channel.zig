//! What an embedder and a worker process share: one mapping with a call at a time, a ring of events, and the machines' control
//! blocks; and a socket on which descriptors travel and whose end tells that the other side has gone.
//!
//! Neither side trusts what the other has written: what is read is read once and checked.
const std = @import("std");
const linux = std.os.linux;
const events = @import("../events.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const types = @import("../abi/types.zig");

/// The worker's descriptors at its start.
pub const socket_fd = 3;
pub const memory_fd = 4;
pub const events_fd = 5;

const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;

const ring_length = 1024;
const arguments_max = 6;

/// One call of the C boundary on its way, and its answer.
pub const Message = extern struct {
    /// The index of the function in the boundary's description.
    function: u32,
    /// What `payload` begins with, as an argument or as a result.
    bytes: u32,
    /// The error's record behind that, and the text for `pristine_result` behind it.
    error_bytes: u32,
    text_bytes: u32,
    arguments: [arguments_max]u64,
    result: u64,
};

/// Events on their way to the embedder: the worker's threads write, the embedder reads.
const Ring = extern struct {
    written: std.atomic.Value(u32),
    read: std.atomic.Value(u32),
    events: [ring_length]events.Event,
};

pub const Shared = extern struct {
    abi_version: u32,
    /// Counts requests; the embedder's side wakes it.
    requests: std.atomic.Value(u32),
    /// The last request that is answered; the worker's side wakes it.
    answers: std.atomic.Value(u32),
    message: Message,
    ring: Ring,
    payload: [limits.worker_payload_bytes]u8 align(limits.page_size),
    blocks: [limits.worker_machines_max]Block align(limits.page_size),
};

pub const Block = extern struct { block: types.MachineBlock, padding: [limits.page_size - @sizeOf(types.MachineBlock)]u8 };

/// A new file in memory for it.
pub fn create() host.Error!i32 {
    const fd: i32 = @intCast(try host.check(linux.memfd_create("pristine-worker", linux.MFD.CLOEXEC | linux.MFD.ALLOW_SEALING)));
    errdefer host.close(fd);
    _ = try host.check(linux.ftruncate(fd, @sizeOf(Shared)));
    // Who cut it short would end the other side with SIGBUS.
    _ = try host.check(linux.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW));
    return fd;
}

pub fn map(fd: i32) host.Error!*align(limits.page_size) Shared {
    const address = try host.check(linux.mmap(null, @sizeOf(Shared), .{ .READ = true, .WRITE = true }, .{ .TYPE = .SHARED }, fd, 0));
    return @ptrFromInt(address);
}

pub fn unmap(shared: *align(limits.page_size) Shared) void {
    _ = linux.munmap(@ptrCast(shared), @sizeOf(Shared));
}

/// Waits until `word` is not `seen`, between processes.
pub fn await(word: *std.atomic.Value(u32), seen: u32, timeout_ns: u64) void {
    const ts: linux.timespec = .{ .sec = @intCast(timeout_ns / std.time.ns_per_s), .nsec = @intCast(timeout_ns % std.time.ns_per_s) };
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = false }, seen, &ts);
}

pub fn wake(word: *std.atomic.Value(u32)) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = false }, 1);
}

/// From the worker's threads, one at a time. There is room: no more events are on their way than machines have runs and outputs.
pub fn put(shared: *Shared, event: events.Event) void {
    const ring = &shared.ring;
    const at = ring.written.load(.monotonic);
    if (at -% ring.read.load(.acquire) >= ring_length) @panic("the ring of events is full");
    ring.events[at % ring_length] = event;
    ring.written.store(at +% 1, .release);
}

/// In the embedder: the next event.
pub fn take(shared: *Shared) ?events.Event {
    const ring = &shared.ring;
    const at = ring.read.load(.monotonic);
    const waiting = ring.written.load(.acquire) -% at;
    // More than there is room for is no count.
    if (waiting == 0 or waiting > ring_length) return null;
    const event: events.Event = @as(*volatile events.Event, &ring.events[at % ring_length]).*;
    ring.read.store(at +% 1, .release);
    return event;
}

/// Whether the other side has gone.
pub fn isOver(socket: i32) bool {
    var descriptors = [_]linux.pollfd{.{ .fd = socket, .events = 0, .revents = 0 }};
    const rc: isize = @bitCast(linux.poll(&descriptors, 1, 0));
    return rc > 0 and descriptors[0].revents & (linux.POLL.HUP | linux.POLL.ERR | linux.POLL.NVAL) != 0;
}

const Control = extern struct {
    length: usize,
    level: i32,
    type: i32,
    descriptors: [limits.worker_descriptors_max]i32,
    const head = @offsetOf(Control, "descriptors");
};
const SCM_RIGHTS = 1;

/// Sends descriptors, of which there is at least one.
pub fn sendDescriptors(socket: i32, descriptors: []const i32) host.Error!void {
    std.debug.assert(descriptors.len > 0 and descriptors.len <= limits.worker_descriptors_max);
    var control: Control = .{ .length = Control.head + descriptors.len * @sizeOf(i32), .level = linux.SOL.SOCKET, .type = SCM_RIGHTS, .descriptors = undefined };
    @memcpy(control.descriptors[0..descriptors.len], descriptors);
    var byte = [_]u8{0};
    var piece = [_]std.posix.iovec_const{.{ .base = &byte, .len = 1 }};
    const message: linux.msghdr_const = .{
        .name = null,
        .namelen = 0,
        .iov = &piece,
        .iovlen = 1,
        .control = &control,
        .controllen = @intCast(std.mem.alignForward(usize, control.length, 8)),
        .flags = 0,
    };
    _ = try host.check(linux.sendmsg(socket, &message, linux.MSG.NOSIGNAL));
}

/// Takes the descriptors of one message; they close at exec.
pub fn receiveDescriptors(socket: i32, out: *[limits.worker_descriptors_max]i32) host.Error![]i32 {
    var control: Control = undefined;
    var byte: [1]u8 = undefined;
    var piece = [_]std.posix.iovec{.{ .base = &byte, .len = 1 }};
    var message: linux.msghdr = .{ .name = null, .namelen = 0, .iov = &piece, .iovlen = 1, .control = &control, .controllen = @sizeOf(Control), .flags = 0 };
    _ = try host.check(linux.recvmsg(socket, &message, linux.MSG.CMSG_CLOEXEC));
    if (message.controllen < Control.head or control.type != SCM_RIGHTS) return out[0..0];
    const count = @min((control.length - Control.head) / @sizeOf(i32), limits.worker_descriptors_max);
    @memcpy(out[0..count], control.descriptors[0..count]);
    return out[0..count];
}

comptime {
    std.debug.assert(@sizeOf(Block) == limits.page_size);
}
