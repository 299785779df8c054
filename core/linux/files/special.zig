//! mknod(2): regular files and FIFOs by name. Devices are the machine's, and sockets come from bind(2).
const linux = @import("std").os.linux;
const host = @import("../../host.zig");
const kernel_module = @import("../kernel.zig");
const names = @import("names.zig");
const private_names = @import("private/names.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const at_fdcwd: u64 = @bitCast(@as(i64, -100));
const permission_bits = 0o777;

pub fn mknod(k: *Kernel, a: Args) i64 {
    return mknodat(k, .{ at_fdcwd, a[0], a[1], a[2], 0, 0 });
}

pub fn mknodat(k: *Kernel, a: Args) i64 {
    const mode: u32 = @truncate(a[2]);
    const kind: u32 = switch (mode & linux.S.IFMT) {
        0, linux.S.IFREG => linux.S.IFREG,
        linux.S.IFIFO => linux.S.IFIFO,
        linux.S.IFCHR, linux.S.IFBLK, linux.S.IFSOCK => return fail(.PERM),
        linux.S.IFDIR => return fail(.PERM),
        else => return fail(.INVAL),
    };
    var lookup: names.Lookup = .{ .k = k, .changes_name = true };
    var target: names.Target = .{};
    lookup.argument(transfer.descriptorOf(a[0]), a[1], false, &target) catch return lookup.errno;
    if (target.node != null) return fail(.EXIST);
    if (target.place.must_be_directory) return fail(.NOENT);
    // As on a file system without FIFOs.
    if (target.private != .host) return if (kind == linux.S.IFREG) private_names.makeFile(k, &target, mode) else fail(.PERM);
    const folder = lookup.parent(&target) catch return lookup.errno;
    defer host.close(folder);
    var buffer: [names.name_room]u8 = undefined;
    k.hostCall();
    return @bitCast(linux.mknodat(folder, names.nameZ(&target, &buffer), kind | (mode & permission_bits & ~k.umask), 0));
}
