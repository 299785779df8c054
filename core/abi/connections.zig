//! Connections from JavaScript to servers inside a machine that does not run just now (`linux/sockets/outside.zig`).
const outside = @import("../linux/sockets/outside.zig");
const registry = @import("registry.zig");
const Kernel = @import("../linux/kernel.zig").Kernel;
const Socket = @import("../linux/sockets/socket.zig").Socket;

/// Results that are no status: the other side's end, and its reset.
const ended = -1000;
const reset = -1001;

/// In place of a port: the stream of who has opened /dev/pristine.
const channel_port = 0x1_0000;

const Found = struct { kernel: *Kernel, socket: *Socket };

fn find(handle: u32, connection: u32, status: *i32) ?Found {
    const entry = registry.getIdle(handle, status) orelse return null;
    const kernel = &entry.machine.kernel;
    status.* = reset;
    return .{ .kernel = kernel, .socket = outside.byNumber(kernel, connection) orelse return null };
}

pub fn open(handle: u32, port: u32) i32 {
    var status: i32 = 0;
    const entry = registry.getIdle(handle, &status) orelse return status;
    if (port == channel_port) return channel(&entry.machine.kernel);
    const number = outside.open(&entry.machine.kernel, @truncate(port)) catch |failure| return switch (failure) {
        error.NoListener => registry.last_error.set(.NOT_FOUND, "the machine has no server at this port", "run it until it listens, and give the port at which it does", .{ .path = "" }),
        error.Full => registry.last_error.set(.BUSY, "the server takes no more connections", "let the machine run, or close connections that are done", .{}),
        error.OutOfMemory => registry.last_error.set(.INTERNAL, "the host has no memory left", "free memory on the host", .{}),
    }.status();
    return @intCast(number);
}

fn channel(k: *Kernel) i32 {
    if (outside.channel(k)) |socket| return @intCast(socket.number);
    return registry.last_error.set(.NOT_FOUND, "the program has not opened /dev/pristine", "run it until it has", .{ .path = "/dev/pristine" }).status();
}

pub fn send(handle: u32, connection: u32, bytes: []const u8) i32 {
    var status: i32 = 0;
    const found = find(handle, connection, &status) orelse return status;
    const taken = outside.send(found.kernel, found.socket, bytes) catch
        return registry.last_error.set(.INTERNAL, "the host has no memory left", "free memory on the host", .{}).status();
    return if (taken) |count| @intCast(count) else ended;
}

pub fn receive(handle: u32, connection: u32, out: []u8) i32 {
    var status: i32 = 0;
    const found = find(handle, connection, &status) orelse return status;
    return switch (outside.receive(found.kernel, found.socket, out)) {
        .bytes => |count| @intCast(count),
        .nothing => 0,
        .ended => told(found.socket, ended),
        .reset => told(found.socket, reset),
    };
}

fn told(socket: *Socket, how: i32) i32 {
    socket.told_end = true;
    return how;
}

pub fn end(handle: u32, connection: u32, how: u32) i32 {
    var status: i32 = 0;
    const found = find(handle, connection, &status) orelse return if (status == reset) 0 else status;
    if (how == 0) outside.finish(found.kernel, found.socket) else outside.close(found.kernel, found.socket);
    return 0;
}
