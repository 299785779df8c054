//! signalfd(2): pending signals of a set, read and polled instead of delivered.
const std = @import("std");
const kernel_module = @import("../kernel.zig");
const objects = @import("objects.zig");
const signals_module = @import("../signals.zig");
const table = @import("../files/table.zig");
const transfer = @import("../files/transfer.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Entry = signals_module.Entry;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

/// struct signalfd_siginfo.
const Info = extern struct {
    signal: u32,
    errno: i32 = 0,
    code: i32,
    pid: u32 = 0,
    uid: u32 = 0,
    fd: i32 = 0,
    timer: u32 = 0,
    band: u32 = 0,
    overrun: u32 = 0,
    trap: u32 = 0,
    status: i32 = 0,
    integer: i32 = 0,
    pointer: u64 = 0,
    rest: [9]u64 = @splat(0),
};
comptime {
    std.debug.assert(@sizeOf(Info) == 128);
}

fn infoOf(entry: Entry) Info {
    const low: u32 = @truncate(entry.first);
    const high: u32 = @truncate(entry.first >> 32);
    var info: Info = .{ .signal = entry.signal, .code = entry.code };
    if (entry.code == signals_module.SI_TIMER) {
        info.timer = low;
        info.overrun = high;
    } else {
        info.pid = low;
        info.uid = high;
    }
    if (entry.code == signals_module.SI_TIMER or entry.code == signals_module.SI_QUEUE) {
        info.pointer = entry.second;
        info.integer = @bitCast(@as(u32, @truncate(entry.second)));
    }
    return info;
}

pub fn signalfd(k: *Kernel, a: Args) i64 {
    return signalfd4(k, .{ a[0], a[1], a[2], 0, 0, 0 });
}

pub fn signalfd4(k: *Kernel, a: Args) i64 {
    if (a[2] != @sizeOf(u64)) return fail(.INVAL);
    const mask = (k.memory.readValue(u64, a[1]) catch return fail(.FAULT)) & ~signals_module.unblockable;
    const flags: u32 = @truncate(a[3]);
    if (flags & ~@as(u32, objects.creation_flags) != 0) return fail(.INVAL);
    const fd = transfer.descriptorOf(a[0]);
    if (fd == -1) return objects.open(k, .{ .signals = mask }, flags);
    const description = k.files.opened(fd) orelse return fail(.BADF);
    if (description.kind != .signals) return fail(.INVAL);
    description.kind.signals = mask;
    k.changed();
    return fd;
}

pub fn read(k: *Kernel, description: *Description, out: []u8) i64 {
    const room = out.len / @sizeOf(Info);
    if (room == 0) return fail(.INVAL);
    k.tick();
    const own = &k.threads.current.signals;
    var count: usize = 0;
    while (count < room) : (count += 1) {
        const entry = own.take(&k.signals, description.kind.signals, ~@as(u64, 0)) orelse break;
        const info = infoOf(k.withParticulars(entry));
        @memcpy(out[count * @sizeOf(Info) ..][0..@sizeOf(Info)], std.mem.asBytes(&info));
    }
    if (count == 0) return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
    return @intCast(count * @sizeOf(Info));
}
