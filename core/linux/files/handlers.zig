//! The file family's rows of the system-call table.
const call_module = @import("../call.zig");
const attributes = @import("attributes.zig");
const descriptors = @import("descriptors.zig");
const mappable = @import("mappable.zig");
const names = @import("names.zig");
const opening = @import("opening.zig");
const special = @import("special.zig");
const status = @import("status.zig");
const transfer = @import("transfer.zig");
const row = call_module.row;

pub const fileForMapping = mappable.fileForMapping;
pub const isZeroDevice = mappable.isZeroDevice;
pub const mayWriteThrough = mappable.mayWriteThrough;

pub const host_calls: call_module.HostCalls = .{
    .reads = &.{ .access, .faccessat, .faccessat2, .getdents64, .open, .openat, .openat2, .readlink, .readlinkat },
    .writes = &.{ .chmod, .fchmod, .fsync, .linkat, .mkdirat, .mknodat, .pwritev2, .renameat2, .symlinkat, .unlinkat, .utimensat },
};

pub const rows = [_]call_module.Call{
    row(0, "read", transfer.read, &.{ .descriptor, .bytes_out, .size }),
    row(1, "write", transfer.write, &.{ .descriptor, .bytes_in, .size }),
    row(2, "open", opening.open, &.{ .path, .open_flags, .mode }),
    row(3, "close", descriptors.close, &.{.descriptor}),
    row(4, "stat", status.stat, &.{ .path, .address }),
    row(5, "fstat", status.fstat, &.{ .descriptor, .address }),
    row(6, "lstat", status.lstat, &.{ .path, .address }),
    row(8, "lseek", transfer.lseek, &.{ .descriptor, .offset, .integer }),
    row(16, "ioctl", descriptors.ioctl, &.{ .descriptor, .hex, .address }),
    row(17, "pread64", transfer.pread64, &.{ .descriptor, .bytes_out, .size, .offset }),
    row(18, "pwrite64", transfer.pwrite64, &.{ .descriptor, .bytes_in, .size, .offset }),
    row(19, "readv", transfer.readv, &.{ .descriptor, .address, .size }),
    row(20, "writev", transfer.writev, &.{ .descriptor, .address, .size }),
    row(21, "access", status.access, &.{ .path, .mode }),
    row(22, "pipe", descriptors.pipe, &.{.address}),
    row(32, "dup", descriptors.dup, &.{.descriptor}),
    row(33, "dup2", descriptors.dup2, &.{ .descriptor, .descriptor }),
    row(40, "sendfile", transfer.sendfile, &.{ .descriptor, .descriptor, .address, .size }),
    row(72, "fcntl", descriptors.fcntl, &.{ .descriptor, .integer, .hex }),
    row(73, "flock", descriptors.flock, &.{ .descriptor, .hex }),
    row(74, "fsync", descriptors.fsync, &.{.descriptor}),
    row(75, "fdatasync", descriptors.fsync, &.{.descriptor}),
    row(76, "truncate", names.truncate, &.{ .path, .offset }),
    row(77, "ftruncate", descriptors.ftruncate, &.{ .descriptor, .offset }),
    row(79, "getcwd", names.getcwd, &.{ .address, .size }),
    row(80, "chdir", names.chdir, &.{.path}),
    row(81, "fchdir", names.fchdir, &.{.descriptor}),
    row(82, "rename", names.rename, &.{ .path, .path }),
    row(83, "mkdir", names.mkdir, &.{ .path, .mode }),
    row(84, "rmdir", names.rmdir, &.{.path}),
    row(85, "creat", opening.creat, &.{ .path, .mode }),
    row(86, "link", names.link, &.{ .path, .path }),
    row(87, "unlink", names.unlink, &.{.path}),
    row(88, "symlink", names.symlink, &.{ .path, .path }),
    row(89, "readlink", names.readlink, &.{ .path, .bytes_out, .size }),
    row(90, "chmod", names.chmod, &.{ .path, .mode }),
    row(91, "fchmod", descriptors.fchmod, &.{ .descriptor, .mode }),
    row(92, "chown", names.chown, &.{ .path, .integer, .integer }),
    row(93, "fchown", descriptors.fchown, &.{ .descriptor, .integer, .integer }),
    row(94, "lchown", names.chown, &.{ .path, .integer, .integer }),
    row(95, "umask", descriptors.umask, &.{.mode}),
    row(133, "mknod", special.mknod, &.{ .path, .mode, .hex }),
    row(137, "statfs", status.statfs, &.{ .path, .address }),
    row(138, "fstatfs", status.fstatfs, &.{ .descriptor, .address }),
    row(162, "sync", descriptors.sync, &.{}),
    row(188, "setxattr", attributes.refuse(.path), &.{ .path, .path, .address, .size, .hex }),
    row(189, "lsetxattr", attributes.refuse(.link), &.{ .path, .path, .address, .size, .hex }),
    row(190, "fsetxattr", attributes.refuse(.descriptor), &.{ .descriptor, .path, .address, .size, .hex }),
    row(191, "getxattr", attributes.refuse(.path), &.{ .path, .path, .address, .size }),
    row(192, "lgetxattr", attributes.refuse(.link), &.{ .path, .path, .address, .size }),
    row(193, "fgetxattr", attributes.refuse(.descriptor), &.{ .descriptor, .path, .address, .size }),
    row(194, "listxattr", attributes.list(.path), &.{ .path, .address, .size }),
    row(195, "llistxattr", attributes.list(.link), &.{ .path, .address, .size }),
    row(196, "flistxattr", attributes.list(.descriptor), &.{ .descriptor, .address, .size }),
    row(197, "removexattr", attributes.refuse(.path), &.{ .path, .path }),
    row(198, "lremovexattr", attributes.refuse(.link), &.{ .path, .path }),
    row(199, "fremovexattr", attributes.refuse(.descriptor), &.{ .descriptor, .path }),
    row(217, "getdents64", status.getdents64, &.{ .descriptor, .address, .size }),
    row(221, "fadvise64", descriptors.fadvise64, &.{ .descriptor, .offset, .size, .integer }),
    row(257, "openat", opening.openat, &.{ .directory_descriptor, .path, .open_flags, .mode }),
    row(258, "mkdirat", names.mkdirat, &.{ .directory_descriptor, .path, .mode }),
    row(259, "mknodat", special.mknodat, &.{ .directory_descriptor, .path, .mode, .hex }),
    row(260, "fchownat", names.chownat, &.{ .directory_descriptor, .path, .integer, .integer, .hex }),
    row(262, "newfstatat", status.newfstatat, &.{ .directory_descriptor, .path, .address, .hex }),
    row(263, "unlinkat", names.unlinkat, &.{ .directory_descriptor, .path, .hex }),
    row(264, "renameat", names.renameat, &.{ .directory_descriptor, .path, .directory_descriptor, .path }),
    row(265, "linkat", names.linkat, &.{ .directory_descriptor, .path, .directory_descriptor, .path, .hex }),
    row(266, "symlinkat", names.symlinkat, &.{ .path, .directory_descriptor, .path }),
    row(267, "readlinkat", names.readlinkat, &.{ .directory_descriptor, .path, .address, .size }),
    row(268, "fchmodat", names.fchmodat, &.{ .directory_descriptor, .path, .mode }),
    row(269, "faccessat", status.faccessat, &.{ .directory_descriptor, .path, .mode }),
    row(280, "utimensat", names.utimensat, &.{ .directory_descriptor, .path, .address, .hex }),
    row(285, "fallocate", descriptors.fallocate, &.{ .descriptor, .hex, .offset, .offset }),
    row(292, "dup3", descriptors.dup3, &.{ .descriptor, .descriptor, .hex }),
    row(293, "pipe2", descriptors.pipe2, &.{ .address, .hex }),
    row(295, "preadv", transfer.preadv, &.{ .descriptor, .address, .size, .offset }),
    row(296, "pwritev", transfer.pwritev, &.{ .descriptor, .address, .size, .offset }),
    row(316, "renameat2", names.renameat2, &.{ .directory_descriptor, .path, .directory_descriptor, .path, .hex }),
    row(326, "copy_file_range", transfer.copyFileRange, &.{ .descriptor, .address, .descriptor, .address, .size, .hex }),
    row(332, "statx", status.statx, &.{ .directory_descriptor, .path, .hex, .hex, .address }),
    row(436, "close_range", descriptors.closeRange, &.{ .descriptor, .descriptor, .hex }),
    row(439, "faccessat2", status.faccessat2, &.{ .directory_descriptor, .path, .mode, .hex }),
};
