//! System calls that make sockets: socket, socketpair; and what every call on one begins with.
const std = @import("std");
const linux = std.os.linux;
const address = @import("address.zig");
const descriptors = @import("../files/descriptors.zig");
const kernel_module = @import("../kernel.zig");
const names = @import("names.zig");
const socket_module = @import("socket.zig");
const table = @import("../files/table.zig");
const transfer = @import("../files/transfer.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const Socket = socket_module.Socket;
const fail = kernel_module.fail;

pub const SOCK_NONBLOCK = 0o4000;
pub const SOCK_CLOEXEC = 0o2000000;
const O_RDWR = 2;

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_TYPE_MASK = 0xf;
const type_max = 10;

/// An open socket of a call's first argument.
pub const Opened = struct { description: *Description, socket: *Socket };

/// null and a negative errno if it is none.
pub fn opened(k: *Kernel, descriptor: u64, errno: *i64) ?Opened {
    const description = k.files.opened(transfer.descriptorOf(descriptor)) orelse {
        errno.* = fail(.BADF);
        return null;
    };
    if (description.kind == .socket) return .{ .description = description, .socket = description.kind.socket };
    errno.* = fail(.NOTSOCK);
    return null;
}

/// What a type, its flags and a protocol ask for; 0 or a negative errno.
fn choose(family: u32, given: u32, protocol: u32, out: *struct { socket_module.Family, socket_module.Type, u16 }) i64 {
    const flags = given & ~@as(u32, SOCK_TYPE_MASK);
    if (flags & ~@as(u32, SOCK_NONBLOCK | SOCK_CLOEXEC) != 0) return fail(.INVAL);
    const kind = given & SOCK_TYPE_MASK;
    if (kind > type_max) return fail(.INVAL);
    // What sees the traffic of others nobody may have.
    if (family == AF_PACKET) return fail(.PERM);
    const of = std.enums.fromInt(socket_module.Family, @as(u16, @truncate(family))) orelse return fail(.AFNOSUPPORT);
    if (family > std.math.maxInt(u16)) return fail(.AFNOSUPPORT);
    if (of == .unix) {
        if (protocol != 0 and protocol != @intFromEnum(address.Family.unix)) return fail(.PROTONOSUPPORT);
        // As Linux does.
        const meant = if (kind == SOCK_RAW) @intFromEnum(socket_module.Type.datagram) else kind;
        out.* = .{ of, std.enums.fromInt(socket_module.Type, meant) orelse return fail(.SOCKTNOSUPPORT), 0 };
        return 0;
    }
    const chosen = std.enums.fromInt(socket_module.Type, kind);
    if (kind == SOCK_RAW) return fail(.PERM);
    if (chosen == null or chosen == .packet) return fail(.SOCKTNOSUPPORT);
    const own: u16 = if (chosen == .stream) linux.IPPROTO.TCP else linux.IPPROTO.UDP;
    if (protocol != 0 and protocol != own) return fail(.PROTONOSUPPORT);
    out.* = .{ of, chosen.?, own };
    return 0;
}

/// A new socket of the machine; null and a negative errno if there can be no more.
pub fn make(k: *Kernel, family: socket_module.Family, kind: socket_module.Type, protocol: u16, errno: *i64) ?*Socket {
    return k.files.sockets.add(family, kind, protocol) catch |failure| {
        errno.* = if (failure == error.TooMany) fail(.NFILE) else fail(.NOMEM);
        return null;
    };
}

/// Opens a socket for the guest; its descriptor or a negative errno, and then the socket is closed.
pub fn open(k: *Kernel, made: *Socket, flags: u32) i64 {
    const files = &k.files;
    const description = files.create(.{ .socket = made }, O_RDWR | (flags & SOCK_NONBLOCK), "") catch {
        files.closeSocket(made);
        return fail(.NOMEM);
    };
    return files.install(description, 0, flags & SOCK_CLOEXEC != 0, descriptors.bound(k)) catch |failure| {
        files.release(description);
        return if (failure == error.TooMany) fail(.MFILE) else fail(.NOMEM);
    };
}

pub fn socket(k: *Kernel, a: Args) i64 {
    var chosen: struct { socket_module.Family, socket_module.Type, u16 } = undefined;
    const flags: u32 = @truncate(a[1]);
    const refused = choose(@truncate(a[0]), flags, @truncate(a[2]), &chosen);
    if (refused < 0) return refused;
    var errno: i64 = 0;
    const made = make(k, chosen[0], chosen[1], chosen[2], &errno) orelse return errno;
    return open(k, made, flags);
}

pub fn socketpair(k: *Kernel, a: Args) i64 {
    var chosen: struct { socket_module.Family, socket_module.Type, u16 } = undefined;
    const flags: u32 = @truncate(a[1]);
    const refused = choose(@truncate(a[0]), flags, @truncate(a[2]), &chosen);
    if (refused < 0) return refused;
    if (chosen[0] != .unix) return fail(.OPNOTSUPP);
    var errno: i64 = 0;
    const files = &k.files;
    const one = make(k, .unix, chosen[1], 0, &errno) orelse return errno;
    const other = make(k, .unix, chosen[1], 0, &errno) orelse {
        files.closeSocket(one);
        return errno;
    };
    for ([_]*Socket{ one, other }) |end| {
        end.told_connected = true;
        end.peer_credentials = names.credentialsOf(k);
    }
    one.join(other);
    const first = open(k, one, flags);
    if (first < 0) {
        files.closeSocket(other);
        return first;
    }
    const second = open(k, other, flags);
    if (second < 0) {
        _ = files.close(@intCast(first));
        return second;
    }
    k.memory.writeValue(a[3], [2]i32{ @intCast(first), @intCast(second) }) catch {
        _ = files.close(@intCast(first));
        _ = files.close(@intCast(second));
        return fail(.FAULT);
    };
    return 0;
}
