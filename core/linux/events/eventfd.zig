//! eventfd(2): a counter that is read, written and polled.
const std = @import("std");
const kernel_module = @import("../kernel.zig");
const objects = @import("objects.zig");
const readiness_module = @import("readiness.zig");
const table = @import("../files/table.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const EFD_SEMAPHORE = 1;
const count_max = std.math.maxInt(u64) - 1;

pub const Event = struct {
    count: u64,
    /// A read takes one, not all.
    semaphore: bool,

    pub fn readiness(self: Event) u32 {
        return (if (self.count > 0) readiness_module.IN else 0) | (if (self.count < count_max) readiness_module.OUT else 0);
    }
};

pub fn eventfd(k: *Kernel, a: Args) i64 {
    return eventfd2(k, .{ a[0], 0, 0, 0, 0, 0 });
}

pub fn eventfd2(k: *Kernel, a: Args) i64 {
    const flags: u32 = @truncate(a[1]);
    if (flags & ~@as(u32, EFD_SEMAPHORE | objects.creation_flags) != 0) return fail(.INVAL);
    const event: Event = .{ .count = @as(u32, @truncate(a[0])), .semaphore = flags & EFD_SEMAPHORE != 0 };
    return objects.open(k, .{ .event = event }, flags);
}

pub fn read(k: *Kernel, description: *Description, out: []u8) i64 {
    const event = &description.kind.event;
    if (out.len < @sizeOf(u64)) return fail(.INVAL);
    if (event.count == 0) return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
    const value = if (event.semaphore) 1 else event.count;
    event.count -= value;
    description.changes.out +%= 1;
    k.changed();
    std.mem.writeInt(u64, out[0..8], value, .little);
    return @sizeOf(u64);
}

pub fn write(k: *Kernel, description: *Description, value: u64) i64 {
    const event = &description.kind.event;
    if (value == std.math.maxInt(u64)) return fail(.INVAL);
    if (value > count_max - event.count) return if (description.isNonBlocking()) fail(.AGAIN) else k.block();
    event.count += value;
    description.changes.in +%= 1;
    k.changed();
    return @sizeOf(u64);
}
