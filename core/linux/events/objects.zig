//! What eventfds, timerfds, signalfds and epoll sets have in common: they are opened without a path, and read and written
//! in whole records of the kernel's.
const std = @import("std");
const linux = std.os.linux;
const eventfd = @import("eventfd.zig");
const kernel_module = @import("../kernel.zig");
const signalfd = @import("signalfd.zig");
const table = @import("../files/table.zig");
const timerfd = @import("timerfd.zig");
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

pub const O_CLOEXEC = 0o2000000;
/// The flags that all of them are made with.
pub const creation_flags = O_CLOEXEC | table.O_NONBLOCK;

/// A part of guest memory to read into or write from (struct iovec).
pub const Vector = @import("../sockets/buffer.zig").Vector;

/// How much is read or written at once: 32 signals.
const record_bytes_max = 4096;

/// A new descriptor, or a negative errno. Takes a set over, on failure too.
pub fn open(k: *Kernel, kind: table.Kind, flags: u32) i64 {
    const read_write = 2;
    const files = &k.files;
    const bound = k.resource_limits[@intFromEnum(linux.rlimit_resource.NOFILE)].current;
    const description = files.create(kind, read_write | (flags & table.O_NONBLOCK), "") catch {
        if (kind == .epoll) kind.epoll.destroy(files);
        return fail(.NOMEM);
    };
    return files.install(description, 0, flags & O_CLOEXEC != 0, bound) catch |failure| {
        files.release(description);
        return switch (failure) {
            error.OutOfMemory => fail(.NOMEM),
            error.TooMany => fail(.MFILE),
        };
    };
}

pub fn isObject(description: *const Description) bool {
    return switch (description.kind) {
        .event, .timer, .signals, .epoll => true,
        else => false,
    };
}

/// The name that /proc/self/fd shows.
pub fn nameOf(description: *const Description) []const u8 {
    return switch (description.kind) {
        .event => "anon_inode:[eventfd]",
        .timer => "anon_inode:[timerfd]",
        .signals => "anon_inode:[signalfd]",
        .epoll => "anon_inode:[eventpoll]",
        else => unreachable,
    };
}

fn totalOf(vectors: []const Vector) usize {
    var total: u64 = 0;
    for (vectors) |vector| total +|= vector.length;
    return @intCast(@min(total, record_bytes_max));
}

/// Into several parts as if they were one.
pub fn read(k: *Kernel, description: *Description, vectors: []const Vector) i64 {
    var buffer: [record_bytes_max]u8 = undefined;
    const out = buffer[0..totalOf(vectors)];
    const rc = switch (description.kind) {
        .event => eventfd.read(k, description, out),
        .timer => timerfd.read(k, description, out),
        .signals => signalfd.read(k, description, out),
        else => fail(.INVAL),
    };
    if (rc <= 0) return rc;
    var done: usize = 0;
    for (vectors) |vector| {
        const part = out[done..@intCast(rc)];
        const count: usize = @intCast(@min(vector.length, part.len));
        if (count > 0) k.memory.write(vector.base, part[0..count]) catch return fail(.FAULT);
        done += count;
    }
    return rc;
}

pub fn write(k: *Kernel, description: *Description, vector: Vector) i64 {
    // Linux refuses what is longer since version 6.9, what is shorter always.
    if (description.kind != .event or vector.length != @sizeOf(u64)) return fail(.INVAL);
    const value = k.memory.readValue(u64, vector.base) catch return fail(.FAULT);
    return eventfd.write(k, description, value);
}
