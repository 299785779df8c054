//! What this process is as a worker: its side of the channel. A process that is none has nothing here.
const std = @import("std");
const linux = std.os.linux;
const channel = @import("channel.zig");
const events = @import("../events.zig");
const host = @import("../host.zig");
const jail = @import("../jail/jail.zig");
const limits = @import("../limits.zig");

pub const Self = struct {
    shared: *align(limits.page_size) channel.Shared,
    socket: i32,
    /// The embedder's eventfd.
    events: i32,
    jail: ?jail.Jail,
};

pub var self: ?Self = null;
var lock: host.Mutex = .{};

/// Sends an event to the embedder; false in a process that has one of its own.
pub fn forward(event: events.Event) bool {
    const me = self orelse return false;
    lock.lock();
    defer lock.unlock();
    channel.put(me.shared, event);
    const one: u64 = 1;
    _ = linux.write(me.events, @ptrCast(&one), 8);
    return true;
}

/// Before the process is doubled: nobody else is in the middle of anything.
pub fn hold() void {
    lock.lock();
}

pub fn letGo() void {
    lock.unlock();
}
