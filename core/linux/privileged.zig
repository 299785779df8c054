//! What only an administrator may do: refused to every guest, as it is to any ordinary user.
const call_module = @import("call.zig");
const kernel_module = @import("kernel.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;

fn refuse(_: *Kernel, _: Args) i64 {
    return kernel_module.fail(.PERM);
}

fn row(number: u32, name: []const u8) call_module.Call {
    return call_module.row(number, name, refuse, &.{ .hex, .hex, .hex, .hex, .hex });
}

pub const rows = [_]call_module.Call{
    row(103, "syslog"),
    row(116, "setgroups"),
    row(153, "vhangup"),
    row(155, "pivot_root"),
    row(161, "chroot"),
    row(163, "acct"),
    row(164, "settimeofday"),
    row(165, "mount"),
    row(166, "umount2"),
    row(167, "swapon"),
    row(168, "swapoff"),
    row(169, "reboot"),
    row(170, "sethostname"),
    row(171, "setdomainname"),
    row(172, "iopl"),
    row(173, "ioperm"),
    row(175, "init_module"),
    row(176, "delete_module"),
    row(227, "clock_settime"),
    row(313, "finit_module"),
};
