//! Descriptors themselves: closing, duplicating, flags, pipes, ioctl.
const std = @import("std");
const linux = std.os.linux;
const canaries = @import("../canaries.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const layers = @import("private/layers.zig");
const names = @import("names.zig");
const private_names = @import("private/names.zig");
const private_open = @import("private/open.zig");
const socket_readiness = @import("../sockets/readiness.zig");
const socket_status = @import("../sockets/status.zig");
const table = @import("table.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const Pipe = @import("pipe.zig").Pipe;
const fail = kernel_module.fail;
const descriptorOf = transfer.descriptorOf;

const O_CLOEXEC = 0o2000000;

pub fn bound(k: *const Kernel) u64 {
    return k.resource_limits[@intFromEnum(linux.rlimit_resource.NOFILE)].current;
}

pub fn close(k: *Kernel, a: Args) i64 {
    return if (closeOne(k, descriptorOf(a[0]))) 0 else fail(.BADF);
}

/// False if it is not open. An end of something may go with it, for which others wait.
fn closeOne(k: *Kernel, fd: i32) bool {
    k.changed();
    return k.files.close(fd);
}

const CLOSE_RANGE_CLOEXEC = 4;

pub fn closeRange(k: *Kernel, a: Args) i64 {
    const first: u32 = @truncate(a[0]);
    const last: u32 = @truncate(a[1]);
    if (first > last or a[2] & ~@as(u64, 2 | CLOSE_RANGE_CLOEXEC) != 0) return fail(.INVAL);
    var index: usize = first;
    while (index <= last and index < k.files.slots.items.len) : (index += 1) {
        if (k.files.slots.items[index].description == null) continue;
        if (a[2] & CLOSE_RANGE_CLOEXEC != 0) k.files.slots.items[index].close_on_exec = true else _ = closeOne(k, @intCast(index));
    }
    return 0;
}

fn duplicate(k: *Kernel, description: *Description, least: u64, close_on_exec: bool) i64 {
    if (least >= bound(k)) return fail(.INVAL);
    description.references += 1;
    return k.files.install(description, @intCast(least), close_on_exec, bound(k)) catch |failure| {
        description.references -= 1;
        return switch (failure) {
            error.OutOfMemory => fail(.NOMEM),
            error.TooMany => fail(.MFILE),
        };
    };
}

pub fn dup(k: *Kernel, a: Args) i64 {
    const description = k.files.get(descriptorOf(a[0])) orelse return fail(.BADF);
    return duplicate(k, description, 0, false);
}

fn dupTo(k: *Kernel, old: i32, new: i32, close_on_exec: bool) i64 {
    const description = k.files.get(old) orelse return fail(.BADF);
    const most: u64 = if (canaries.is(.descriptor_unbounded)) 8 * limits.descriptors_max else @min(bound(k), limits.descriptors_max);
    if (new < 0 or new >= most) return fail(.BADF);
    description.references += 1;
    _ = closeOne(k, new);
    k.files.put(@intCast(new), description, close_on_exec) catch {
        k.files.release(description);
        return fail(.NOMEM);
    };
    return new;
}

pub fn dup2(k: *Kernel, a: Args) i64 {
    const old = descriptorOf(a[0]);
    if (old == descriptorOf(a[1])) return if (k.files.get(old) == null) fail(.BADF) else old;
    return dupTo(k, old, descriptorOf(a[1]), false);
}

pub fn dup3(k: *Kernel, a: Args) i64 {
    if (descriptorOf(a[0]) == descriptorOf(a[1]) or a[2] & ~@as(u64, O_CLOEXEC) != 0) return fail(.INVAL);
    return dupTo(k, descriptorOf(a[0]), descriptorOf(a[1]), a[2] & O_CLOEXEC != 0);
}

const F = struct {
    const DUPFD = 0;
    const GETFD = 1;
    const SETFD = 2;
    const GETFL = 3;
    const SETFL = 4;
    const GETLK = 5;
    const SETLK = 6;
    const SETLKW = 7;
    const OFD_GETLK = 36;
    const OFD_SETLKW = 38;
    const DUPFD_CLOEXEC = 1030;
    const SETPIPE_SZ = 1031;
    const GETPIPE_SZ = 1032;
};
const changeable_flags: u32 = table.O_APPEND | table.O_NONBLOCK | 0o40000 | 0o1000000;
const lock_type_unlocked: i16 = 2;

pub fn fcntl(k: *Kernel, a: Args) i64 {
    const fd = descriptorOf(a[0]);
    const description = k.files.get(fd) orelse return fail(.BADF);
    switch (a[1]) {
        F.DUPFD, F.DUPFD_CLOEXEC, F.GETFD, F.SETFD, F.GETFL => {},
        else => if (description.isPathOnly()) return fail(.BADF),
    }
    switch (a[1]) {
        F.DUPFD => return duplicate(k, description, a[2], false),
        F.DUPFD_CLOEXEC => return duplicate(k, description, a[2], true),
        F.GETFD => return @intFromBool(k.files.closeOnExec(fd).*),
        F.SETFD => {
            k.files.closeOnExec(fd).* = a[2] & 1 != 0;
            return 0;
        },
        F.GETFL => return description.status_flags,
        F.SETFL => {
            description.status_flags = (description.status_flags & ~changeable_flags) | (@as(u32, @truncate(a[2])) & changeable_flags);
            return 0;
        },
        // One process holds all locks there are, so none is ever in its way.
        F.SETLK, F.SETLKW, F.OFD_GETLK + 1...F.OFD_SETLKW => return 0,
        F.GETLK, F.OFD_GETLK => {
            k.memory.writeValue(a[2], lock_type_unlocked) catch return fail(.FAULT);
            return 0;
        },
        F.GETPIPE_SZ, F.SETPIPE_SZ => return switch (description.kind) {
            .pipe_read, .pipe_write => |it| pipeSize(k, it, if (a[1] == F.SETPIPE_SZ) a[2] else null),
            else => fail(.BADF),
        },
        else => return fail(.INVAL),
    }
}

/// A pipe's size, after setting it; larger than it is at first only root may make one.
fn pipeSize(k: *Kernel, it: *Pipe, wanted: ?u64) i64 {
    if (wanted) |bytes| {
        it.resize(@intCast(@min(bytes & 0xffff_ffff, limits.GiB))) catch |failure| return switch (failure) {
            error.Busy => fail(.BUSY),
            error.TooLarge => fail(.PERM),
        };
        k.changed();
    }
    return @intCast(it.limit);
}

pub fn flock(k: *Kernel, a: Args) i64 {
    return if (k.files.opened(descriptorOf(a[0])) == null) fail(.BADF) else 0;
}

pub fn pipe(k: *Kernel, a: Args) i64 {
    return pipe2(k, .{ a[0], 0, 0, 0, 0, 0 });
}

pub fn pipe2(k: *Kernel, a: Args) i64 {
    if (a[1] & ~@as(u64, O_CLOEXEC | table.O_NONBLOCK | 0o40000) != 0) return fail(.INVAL);
    const files = &k.files;
    if (files.pipes >= limits.pipes_max) return fail(.NFILE);
    const made = Pipe.create(files.allocator) catch return fail(.NOMEM);
    files.pipes += 1;
    const flags: u32 = @truncate(a[1] & table.O_NONBLOCK);
    const reader = files.create(.{ .pipe_read = made }, flags, "") catch {
        files.allocator.destroy(made);
        files.pipes -= 1;
        return fail(.NOMEM);
    };
    const writer = files.create(.{ .pipe_write = made }, flags | 1, "") catch {
        made.writers = 0;
        files.release(reader);
        return fail(.NOMEM);
    };
    const first = files.install(reader, 0, a[1] & O_CLOEXEC != 0, bound(k)) catch {
        files.release(reader);
        files.release(writer);
        return fail(.MFILE);
    };
    const second = files.install(writer, 0, a[1] & O_CLOEXEC != 0, bound(k)) catch {
        _ = files.close(first);
        files.release(writer);
        return fail(.MFILE);
    };
    k.memory.writeValue(a[0], [2]i32{ first, second }) catch {
        _ = files.close(first);
        if (!canaries.is(.pipe_left_open)) _ = files.close(second);
        return fail(.FAULT);
    };
    return 0;
}

const TCGETS = 0x5401;
const TIOCGWINSZ = 0x5413;
const FIONREAD = 0x541b;
const FIONBIO = 0x5421;
const FIONCLEX = 0x5450;
const FIOCLEX = 0x5451;
const termios_bytes = 36;

pub fn ioctl(k: *Kernel, a: Args) i64 {
    const fd = descriptorOf(a[0]);
    const description = k.files.opened(fd) orelse return fail(.BADF);
    switch (a[1] & 0xffff_ffff) {
        FIONBIO => {
            const on = k.memory.readValue(u32, a[2]) catch return fail(.FAULT);
            if (on != 0) description.status_flags |= table.O_NONBLOCK else description.status_flags &= ~@as(u32, table.O_NONBLOCK);
            return 0;
        },
        FIOCLEX, FIONCLEX => {
            k.files.closeOnExec(fd).* = a[1] & 0xffff_ffff == FIOCLEX;
            return 0;
        },
        FIONREAD => return bytesWaiting(k, description, a[2]),
        TCGETS => return fromTerminal(k, description, TCGETS, termios_bytes, a[2]),
        TIOCGWINSZ => return fromTerminal(k, description, TIOCGWINSZ, 8, a[2]),
        else => return fail(.NOTTY),
    }
}

fn bytesWaiting(k: *Kernel, description: *const Description, address: u64) i64 {
    var count: i32 = 0;
    switch (description.kind) {
        .pipe_read => |made| count = @intCast(made.fill),
        .socket => |socket| {
            const rc = socket_status.bytesWaiting(k, socket, &count);
            if (rc < 0) return rc;
        },
        .host_stream => |stream| {
            k.hostCall();
            const rc: i64 = @bitCast(linux.ioctl(stream.fd, FIONREAD, @intFromPtr(&count)));
            if (rc < 0) return rc;
        },
        .host_file => |file| {
            k.hostCall();
            const size: i64 = @bitCast(linux.lseek(file.file.fd, 0, linux.SEEK.END));
            count = @intCast(std.math.clamp(size - @as(i64, @intCast(file.at)), 0, std.math.maxInt(i32)));
        },
        .private_file => |file| count = @intCast(@min(k.files.private.at(file.node).size -| file.at, std.math.maxInt(i32))),
        else => return fail(.NOTTY),
    }
    k.memory.writeValue(address, count) catch return fail(.FAULT);
    return 0;
}

/// What a program may know of the embedder's terminal: that it is one, and its size.
fn fromTerminal(k: *Kernel, description: *const Description, request: u32, comptime bytes: usize, address: u64) i64 {
    if (description.kind != .host_stream) return fail(.NOTTY);
    var buffer: [bytes]u8 = @splat(0);
    k.hostCall();
    const rc: i64 = @bitCast(linux.ioctl(description.kind.host_stream.fd, request, @intFromPtr(&buffer)));
    if (rc < 0) return rc;
    k.memory.write(address, &buffer) catch return fail(.FAULT);
    return 0;
}

pub fn fsync(k: *Kernel, a: Args) i64 {
    const description = k.files.opened(descriptorOf(a[0])) orelse return fail(.BADF);
    switch (description.kind) {
        .host_file => |file| {
            k.hostCall();
            return @bitCast(linux.fsync(file.file.fd));
        },
        .host_directory, .text, .synthetic_directory, .private_file, .private_directory => return 0,
        else => return fail(.INVAL),
    }
}

pub fn sync(_: *Kernel, _: Args) i64 {
    return 0;
}

pub fn ftruncate(k: *Kernel, a: Args) i64 {
    const description = k.files.opened(descriptorOf(a[0])) orelse return fail(.BADF);
    if (description.kind == .private_file and description.mayWrite()) {
        const refused = transfer.checkSize(k, a[1]);
        return if (refused != 0) refused else private_open.resize(k, description.kind.private_file.node, a[1]);
    }
    if (description.kind != .host_file or !description.mayWrite()) return fail(.INVAL);
    const refused = transfer.checkSize(k, a[1]);
    if (refused != 0) return refused;
    k.hostCall();
    return @bitCast(linux.ftruncate(description.kind.host_file.file.fd, @bitCast(a[1])));
}

pub fn fallocate(k: *Kernel, a: Args) i64 {
    const description = k.files.opened(descriptorOf(a[0])) orelse return fail(.BADF);
    if (description.kind == .private_file and description.mayWrite()) {
        const refused = transfer.checkSize(k, a[2] +| a[3]);
        return if (refused != 0) refused else private_open.allocate(k, &description.kind.private_file, a[1] & 0xffff_ffff, a[2], a[3]);
    }
    if (description.kind != .host_file or !description.mayWrite()) return fail(.BADF);
    const refused = transfer.checkSize(k, a[2] +| a[3]);
    if (refused != 0) return refused;
    k.hostCall();
    return @bitCast(linux.fallocate(description.kind.host_file.file.fd, @bitCast(@as(u32, @truncate(a[1]))), @bitCast(a[2]), @bitCast(a[3])));
}

/// Advice changes nothing a program can see; only its arguments are looked at.
pub fn fadvise64(k: *Kernel, a: Args) i64 {
    const advice_max = 5;
    const description = k.files.get(descriptorOf(a[0])) orelse return fail(.BADF);
    switch (description.kind) {
        .pipe_read, .pipe_write, .output, .host_stream, .socket => return fail(.SPIPE),
        else => {},
    }
    return if (a[3] > advice_max) fail(.INVAL) else 0;
}

pub fn fchmod(k: *Kernel, a: Args) i64 {
    const description = k.files.opened(descriptorOf(a[0])) orelse return fail(.BADF);
    switch (description.kind) {
        .private_file, .private_directory => |open| return private_names.chmod(k, open.node, a[1]),
        else => {},
    }
    var target: names.Target = .{};
    if (layers.findOpened(k, description, &target)) return private_names.chmodTarget(k, &target, a[1]);
    if (description.kind != .host_file or !description.mayWrite()) return fail(.PERM);
    k.hostCall();
    return @bitCast(linux.fchmod(description.kind.host_file.file.fd, @intCast(a[1] & table.mode_mask)));
}

pub fn fchown(k: *Kernel, a: Args) i64 {
    if (k.files.opened(descriptorOf(a[0])) == null) return fail(.BADF);
    return names.chown(k, a);
}

pub fn umask(k: *Kernel, a: Args) i64 {
    const old = k.umask;
    k.umask = @intCast(a[0] & 0o777);
    return old;
}
