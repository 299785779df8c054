//! The socket family's rows of the system-call table.
const call_module = @import("../call.zig");
const connecting = @import("connecting.zig");
const creating = @import("creating.zig");
const messages = @import("messages.zig");
const naming = @import("naming.zig");
const options = @import("options.zig");
const row = call_module.row;

/// `socket` is permitted by its family.
pub const host_calls: call_module.HostCalls = .{
    .network = &.{ .accept4, .bind, .connect, .getpeername, .getsockname, .getsockopt, .listen, .recvfrom, .sendmsg, .sendto, .setsockopt, .shutdown },
};

pub const rows = [_]call_module.Call{
    row(41, "socket", creating.socket, &.{ .socket_family, .socket_type, .integer }),
    row(42, "connect", connecting.connect, &.{ .descriptor, .socket_address, .size }),
    row(43, "accept", connecting.accept, &.{ .descriptor, .address, .address }),
    row(44, "sendto", messages.sendto, &.{ .descriptor, .bytes_in, .size, .hex, .socket_address, .size }),
    row(45, "recvfrom", messages.recvfrom, &.{ .descriptor, .bytes_out, .size, .hex, .address, .address }),
    row(46, "sendmsg", messages.sendmsg, &.{ .descriptor, .message, .hex }),
    row(47, "recvmsg", messages.recvmsg, &.{ .descriptor, .message, .hex }),
    row(48, "shutdown", connecting.shutdown, &.{ .descriptor, .integer }),
    row(49, "bind", naming.bind, &.{ .descriptor, .socket_address, .size }),
    row(50, "listen", connecting.listen, &.{ .descriptor, .integer }),
    row(51, "getsockname", naming.getsockname, &.{ .descriptor, .address, .address }),
    row(52, "getpeername", naming.getpeername, &.{ .descriptor, .address, .address }),
    row(53, "socketpair", creating.socketpair, &.{ .socket_family, .socket_type, .integer, .address }),
    row(54, "setsockopt", options.setsockopt, &.{ .descriptor, .integer, .integer, .address, .size }),
    row(55, "getsockopt", options.getsockopt, &.{ .descriptor, .integer, .integer, .address, .address }),
    row(288, "accept4", connecting.accept4, &.{ .descriptor, .address, .address, .hex }),
    row(299, "recvmmsg", messages.recvmmsg, &.{ .descriptor, .message, .size, .hex, .address }),
    row(307, "sendmmsg", messages.sendmmsg, &.{ .descriptor, .message, .size, .hex }),
};
