//! Which open files can be mapped, and what is mapped of them.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const private_mapped = @import("private/mapped.zig");
const HostFile = @import("../../host_file.zig").HostFile;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

/// The file of a mapping to be made, with a reference for the caller; null and a negative errno when it may not be mapped
/// so. Texts that the VMM makes up get a file of their own.
pub fn fileForMapping(k: *Kernel, fd: i32, protection: u64, shared: bool, errno: *i64) ?*HostFile {
    const found = mappable(k, fd, protection, shared) catch |failure| {
        errno.* = fail(switch (failure) {
            error.NotOpen => .BADF,
            error.Denied => .ACCES,
            error.NotMappable => .NODEV,
            error.OutOfMemory, error.HostFailure => .NOMEM,
        });
        return null;
    };
    return found;
}

const MappingError = error{ NotOpen, Denied, NotMappable, OutOfMemory, HostFailure };

fn mappable(k: *Kernel, fd: i32, protection: u64, shared: bool) MappingError!*HostFile {
    const description = k.files.opened(fd) orelse return error.NotOpen;
    if (!description.mayRead()) return error.Denied;
    const writes = protection & 2 != 0;
    if (shared and writes and !description.mayWrite()) return error.Denied;
    return switch (description.kind) {
        .host_file => |file| file.file.retain(),
        .private_file => |file| private_mapped.fileToMap(k, file.node, description.path, shared) catch |failure| return switch (failure) {
            error.OutOfMemory => error.OutOfMemory,
            error.NoSpace => error.HostFailure,
        },
        .text => |text| blk: {
            k.hostCall();
            const memfd: i32 = @intCast(try host.check(linux.memfd_create("pristine-text", linux.MFD.CLOEXEC)));
            const file = try HostFile.create(k.files.allocator, memfd, description.path);
            errdefer file.release(k.files.allocator);
            if (linux.pwrite(memfd, text.bytes.ptr, text.bytes.len, 0) != text.bytes.len) return error.HostFailure;
            break :blk file;
        },
        else => error.NotMappable,
    };
}

/// Whether a descriptor is /dev/zero, a mapping of which is anonymous memory.
pub fn isZeroDevice(k: *Kernel, fd: i32) bool {
    const description = k.files.opened(fd) orelse return false;
    return description.kind == .device and description.kind.device == .zero;
}

/// Whether a shared mapping of the descriptor's file may be written.
pub fn mayWriteThrough(k: *Kernel, fd: i32) bool {
    const description = k.files.opened(fd) orelse return false;
    return description.mayWrite();
}
