//! Extended attributes: a guest's files have none and cannot be given any, as on a file system without them.
//!
//! The host's own (capabilities, labels, access lists) stay the host's: what a guest may do is decided by its grants.
const kernel_module = @import("../kernel.zig");
const status = @import("status.zig");
const transfer = @import("transfer.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const at_fdcwd: u64 = @bitCast(@as(i64, -100));
const at_symlink_nofollow = 0x100;

const Named = enum { path, link, descriptor };

/// The errno of a file that is not there or not to be seen; 0 if it is.
fn look(k: *Kernel, comptime named: Named, value: u64) i64 {
    if (named == .descriptor) return if (k.files.get(transfer.descriptorOf(value)) == null) fail(.BADF) else 0;
    var facts: status.Facts = undefined;
    return status.find(k, at_fdcwd, value, if (named == .link) at_symlink_nofollow else 0, &facts);
}

/// getxattr, setxattr, removexattr and their kin: the file must exist, and has no attributes.
pub fn refuse(comptime named: Named) fn (*Kernel, Args) i64 {
    return struct {
        fn call(k: *Kernel, a: Args) i64 {
            const found = look(k, named, a[0]);
            return if (found < 0) found else fail(.OPNOTSUPP);
        }
    }.call;
}

/// listxattr and its kin: an empty list.
pub fn list(comptime named: Named) fn (*Kernel, Args) i64 {
    return struct {
        fn call(k: *Kernel, a: Args) i64 {
            const found = look(k, named, a[0]);
            return if (found < 0) found else 0;
        }
    }.call;
}
