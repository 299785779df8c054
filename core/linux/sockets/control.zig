//! Control messages of AF_UNIX inside the machine (unix(7), cmsg(3)): open files and credentials that go along.
const std = @import("std");
const descriptors = @import("../files/descriptors.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const queue_module = @import("queue.zig");
const receiving = @import("receiving.zig");
const sending = @import("sending.zig");
const values = @import("option_values.zig");
const Description = @import("../files/table.zig").Description;
const Kernel = kernel_module.Kernel;
const Socket = @import("socket.zig").Socket;
const fail = kernel_module.fail;

const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
pub const MSG_CTRUNC = 8;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/// struct cmsghdr
const Header = extern struct { length: u64, level: i32, type: i32 };
const control_max_bytes = 8192;

/// Reads what is to go along with a message; 0 or a negative errno. Rights are references of the message's own then.
pub fn read(k: *Kernel, at: u64, length: u64, out: *sending.Outgoing) i64 {
    if (length == 0) return 0;
    if (length > control_max_bytes) return fail(.NOBUFS);
    var buffer: [control_max_bytes]u8 align(8) = undefined;
    const control = buffer[0..@intCast(length)];
    k.memory.read(at, control) catch return fail(.FAULT);
    var offset: usize = 0;
    while (offset + @sizeOf(Header) <= control.len) {
        const header = std.mem.bytesToValue(Header, control[offset..][0..@sizeOf(Header)]);
        if (header.length < @sizeOf(Header) or header.length > control.len - offset) return fail(.INVAL);
        const data = control[offset + @sizeOf(Header) .. offset + @as(usize, @intCast(header.length))];
        if (header.level == values.SOL_SOCKET) {
            const rc = switch (header.type) {
                SCM_RIGHTS => readRights(k, data, out),
                SCM_CREDENTIALS => readCredentials(k, data, out),
                else => fail(.INVAL),
            };
            if (rc < 0) return rc;
        }
        offset += std.mem.alignForward(usize, @intCast(header.length), @alignOf(Header));
    }
    return 0;
}

fn readRights(k: *Kernel, data: []const u8, out: *sending.Outgoing) i64 {
    const count = data.len / @sizeOf(i32);
    if (count == 0) return 0;
    const before = out.rights;
    if (before.len + count > limits.rights_per_message_max) return fail(.INVAL);
    if (k.files.sockets.in_flight + before.len + count > limits.rights_in_flight_max) return fail(.TOOMANYREFS);
    const all = k.files.allocator.alloc(*Description, before.len + count) catch return fail(.NOMEM);
    @memcpy(all[0..before.len], before);
    for (all[before.len..], 0..) |*right, index| {
        const number = std.mem.readInt(i32, data[index * 4 ..][0..4], .little);
        right.* = k.files.get(number) orelse {
            k.files.allocator.free(all);
            return fail(.BADF);
        };
    }
    for (all[before.len..]) |right| right.references += 1;
    k.files.allocator.free(before);
    out.rights = all;
    return 0;
}

/// Only one's own may be told.
fn readCredentials(k: *Kernel, data: []const u8, out: *sending.Outgoing) i64 {
    if (data.len != @sizeOf(queue_module.Credentials)) return fail(.INVAL);
    const given = std.mem.bytesToValue(queue_module.Credentials, data[0..@sizeOf(queue_module.Credentials)]);
    const id = k.identity;
    if (id.uid != 0 and (given.pid != id.pid or given.uid != id.uid or given.gid != id.gid)) return fail(.PERM);
    out.sender = given;
    return 0;
}

/// Gives back what was not sent or could not be received.
pub fn release(k: *Kernel, rights: *[]*Description) void {
    for (rights.*) |right| k.files.release(right);
    k.files.allocator.free(rights.*);
    rights.* = &.{};
}

/// Where control messages are written in guest memory.
const Output = struct {
    k: *Kernel,
    at: u64,
    room: u64,
    used: u64 = 0,

    fn put(self: *Output, kind: i32, data: []const u8) error{Fault}!bool {
        const length = @sizeOf(Header) + data.len;
        if (self.room - self.used < length) return false;
        try self.k.memory.writeValue(self.at + self.used, Header{ .length = length, .level = values.SOL_SOCKET, .type = kind });
        try self.k.memory.write(self.at + self.used + @sizeOf(Header), data);
        self.used += @min(std.mem.alignForward(u64, length, @alignOf(Header)), self.room - self.used);
        return true;
    }
};

/// Writes what came along with a message, and opens its files; how many bytes of control that is, or a negative errno.
/// What finds no room is given back, and MSG_CTRUNC tells of it.
pub fn write(k: *Kernel, socket: *const Socket, in: *receiving.Incoming, at: u64, room: u64) i64 {
    var out: Output = .{ .k = k, .at = at, .room = if (at == 0) 0 else room };
    if (!socket.isInet() and socket.options.passesCredentials()) {
        const sender = in.sender orelse queue_module.Credentials{};
        const fits = out.put(SCM_CREDENTIALS, std.mem.asBytes(&sender)) catch return fail(.FAULT);
        if (!fits) in.out_flags |= MSG_CTRUNC;
    }
    if (in.rights.len > 0) {
        defer release(k, &in.rights);
        writeRights(k, in, &out) catch return fail(.FAULT);
    }
    return @intCast(out.used);
}

fn writeRights(k: *Kernel, in: *receiving.Incoming, out: *Output) error{Fault}!void {
    const room = (out.room - out.used) -| @sizeOf(Header);
    const wanted = @min(in.rights.len, room / @sizeOf(i32));
    var numbers: [limits.rights_per_message_max]i32 = undefined;
    var count: usize = 0;
    while (count < wanted) : (count += 1) {
        const right = in.rights[count];
        right.references += 1;
        numbers[count] = k.files.install(right, 0, in.flags & MSG_CMSG_CLOEXEC != 0, descriptors.bound(k)) catch {
            right.references -= 1;
            break;
        };
    }
    if (count < in.rights.len) in.out_flags |= MSG_CTRUNC;
    if (count == 0) return;
    errdefer for (numbers[0..count]) |number| {
        _ = k.files.close(number);
    };
    _ = try out.put(SCM_RIGHTS, std.mem.sliceAsBytes(numbers[0..count]));
}
