//! One row of the system-call table, as the families write it.
const linux = @import("std").os.linux;
const kernel_module = @import("kernel.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;

pub const Handler = *const fn (kernel: *Kernel, args: Args) i64;

/// What an argument is, for people and for the fuzzer.
pub const Shape = enum {
    integer,
    unsigned,
    hex,
    descriptor,
    directory_descriptor,
    address,
    size,
    offset,
    path,
    /// Bytes for the kernel; the length is the next argument.
    bytes_in,
    /// Bytes from the kernel; the result says how many.
    bytes_out,
    open_flags,
    mode,
    protection,
    map_flags,
    signal,
    clock,
    interval_timer,
    epoll_operation,
    /// struct sockaddr; the length is the next argument.
    socket_address,
    socket_family,
    /// SOCK_STREAM and the like, with SOCK_NONBLOCK and SOCK_CLOEXEC.
    socket_type,
    /// struct msghdr, or several of struct mmsghdr.
    message,
};

pub const Call = struct { number: u32, name: []const u8, handler: Handler, shapes: []const Shape };

/// What a family's rows make the host do beyond the VMM's own calls, by the right that a guest needs for it; docs/host-calls.md
/// tells which does what.
pub const HostCalls = struct {
    reads: []const linux.SYS = &.{},
    writes: []const linux.SYS = &.{},
    network: []const linux.SYS = &.{},
};

pub fn row(number: u32, name: []const u8, handler: Handler, shapes: []const Shape) Call {
    return .{ .number = number, .name = name, .handler = handler, .shapes = shapes };
}
