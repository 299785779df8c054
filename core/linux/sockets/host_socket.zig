//! A socket of the host behind a guest's: always non-blocking and close-on-exec, shared by reference between an image and
//! its forks. Each function is one host call or says otherwise; callers count them (`Kernel.hostCall`).
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const host = @import("../../host.zig");
const option_values = @import("option_values.zig");
const Address = address.Address;
const Kernel = @import("../kernel.zig").Kernel;
const Socket = @import("socket.zig").Socket;

const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SO_ERROR = 4;
pub const SO_LINGER = 13;

pub const HostSocket = struct {
    fd: i32,
    references: std.atomic.Value(u32) = .init(1),

    /// Takes the descriptor over, on failure too.
    pub fn of(allocator: std.mem.Allocator, fd: i32) error{OutOfMemory}!*HostSocket {
        errdefer host.close(fd);
        const self = try allocator.create(HostSocket);
        self.* = .{ .fd = fd };
        return self;
    }

    pub fn retain(self: *HostSocket) *HostSocket {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *HostSocket, allocator: std.mem.Allocator) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        host.close(self.fd);
        allocator.destroy(self);
    }

    /// An image or a fork has it too: what changes it for all is not to be done.
    pub fn isShared(self: *const HostSocket) bool {
        return self.references.load(.acquire) > 1;
    }

    pub fn bind(self: *const HostSocket, family: address.Family, to: *const Address) i64 {
        var bytes: [address.bytes_max]u8 align(8) = undefined;
        const length = address.write(to, family, &bytes);
        return @bitCast(linux.bind(self.fd, @ptrCast(&bytes), @intCast(length)));
    }

    pub fn connect(self: *const HostSocket, family: address.Family, to: *const Address) i64 {
        var bytes: [address.bytes_max]u8 = undefined;
        const length = address.write(to, family, &bytes);
        return @bitCast(linux.connect(self.fd, &bytes, @intCast(length)));
    }

    /// What the host calls it now; `.none` if it has no address.
    pub fn name(self: *const HostSocket) Address {
        var bytes: [address.bytes_max]u8 align(8) = undefined;
        var length: u32 = bytes.len;
        const rc: i64 = @bitCast(linux.getsockname(self.fd, @ptrCast(&bytes), &length));
        return if (rc < 0) .none else address.fromHost(bytes[0..@min(length, bytes.len)]);
    }

    /// The error that waits, which is gone with it.
    pub fn takeFailure(self: *const HostSocket) linux.E {
        var code: i32 = 0;
        var length: u32 = @sizeOf(i32);
        const rc: isize = @bitCast(linux.getsockopt(self.fd, option_values.SOL_SOCKET, SO_ERROR, @ptrCast(&code), &length));
        return if (rc < 0) @enumFromInt(-rc) else @enumFromInt(code);
    }

    pub fn setOption(self: *const HostSocket, level: u32, option: u32, bytes: []const u8) i64 {
        return @bitCast(linux.setsockopt(self.fd, @intCast(level), option, bytes.ptr, @intCast(bytes.len)));
    }
};

/// Gives a socket one of the host, with the options that it has been given; 0 or a negative errno.
pub fn ensure(k: *Kernel, socket: *Socket) i64 {
    if (socket.host != null) return 0;
    const kind: u32 = @intFromEnum(socket.type);
    k.hostCall();
    const rc: i64 = @bitCast(linux.socket(@intFromEnum(socket.family), kind | SOCK_NONBLOCK | SOCK_CLOEXEC, socket.protocol));
    if (rc < 0) return rc;
    const made = HostSocket.of(k.files.allocator, @intCast(rc)) catch return -@as(i64, @intFromEnum(linux.E.NOMEM));
    var set = socket.options.set.iterator(.{});
    while (set.next()) |index| {
        const row = option_values.rows[index];
        if (!row.host) continue;
        // The host doubles a buffer's size once more.
        const value = if (row.kind == .buffer) @divTrunc(socket.options.get(index), 2) else socket.options.get(index);
        k.hostCall();
        _ = made.setOption(row.level, row.name, std.mem.asBytes(&value));
    }
    // With a time to linger the host would wait at a close, and with it all of the machine.
    if (socket.options.resetsOnClose()) {
        k.hostCall();
        _ = made.setOption(option_values.SOL_SOCKET, SO_LINGER, std.mem.asBytes(&socket.options.linger));
    }
    socket.host = made;
    // A port of the machine's own means nothing to the host, but the address does.
    if (socket.port_is_own and !socket.local.ip.isAny()) {
        k.hostCall();
        const bound = made.bind(socket.family, &.{ .ip = socket.local.ip.withPort(0) });
        if (bound < 0) return bound;
    }
    // A datagram socket whose first one was another machine's sends to the same place.
    if (socket.type != .datagram or socket.remote != .ip) return 0;
    k.hostCall();
    return made.connect(socket.family, &socket.remote);
}
