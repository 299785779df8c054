//! Which windows of the address space the remote machines of this process lie in. Several may share one, of which a machine
//! can be connected to one only: so a new one gets the window that has fewest.
const std = @import("std");
const layout = @import("../layout.zig");

var live: [layout.remote_windows]std.atomic.Value(u32) = @splat(.init(0));

pub fn leastUsed() u4 {
    var found: u4 = 0;
    for (live[1..], 1..) |*count, window| {
        if (count.load(.monotonic) < live[found].load(.monotonic)) found = @intCast(window);
    }
    return found;
}

pub fn enter(area: *const layout.UserArea) void {
    if (area.window) |window| _ = live[window].fetchAdd(1, .monotonic);
}

pub fn leave(area: *const layout.UserArea) void {
    if (area.window) |window| _ = live[window].fetchSub(1, .monotonic);
}
