//! The page tables of an image some of whose pages forks cannot see yet: the entries that lead to those are taken out.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const Arrivals = @import("../memory/arrivals.zig").Arrivals;
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const Hidden = @import("../memory/arrivals.zig").Hidden;
const SpaceImage = @import("../memory/space_image.zig").SpaceImage;

const page = limits.page_size;
const page_tables = @import("../memory/page_tables.zig");
const present = page_tables.present;
const Table = page_tables.Table;

pub const Error = error{ OutOfMemory, HostFailure };

/// An image's memory for writing, which its own view of it is not; to be given back before it is sealed.
fn writable(memfd: i32, extent: u64) host.Error![]align(page) u8 {
    const address = try host.check(linux.mmap(null, extent, .{ .READ = true, .WRITE = true }, .{ .TYPE = .SHARED, .NORESERVE = true }, memfd, 0));
    return @as([*]align(page) u8, @ptrFromInt(address))[0..@intCast(extent)];
}

fn tableIn(memory: []align(page) u8, frame: u32) Table {
    return @ptrCast(@alignCast(memory[@as(u64, frame) * page ..].ptr));
}

/// Takes the entries out, and notes them with the arrivals. No fork may be there yet.
pub fn hide(allocator: std.mem.Allocator, frames: *const FrameImage, space: *const SpaceImage) Error!void {
    const arrivals = frames.arrivals.?;
    const memory = try writable(frames.memfd, frames.bytes.len);
    defer _ = linux.munmap(memory.ptr, memory.len);
    var hidden: std.ArrayList(Hidden) = .empty;
    errdefer hidden.deinit(allocator);
    var windows = space.windows.valueIterator();
    while (windows.next()) |entry| {
        const window = entry.* orelse continue;
        // A table that is zero leads nowhere.
        if (!frames.hasBytes(window.table)) continue;
        const table = tableIn(memory, window.table);
        for (window.frames, 0..) |frame, index| {
            if (frame == 0 or !arrivals.isLate(frame) or table[index] & present == 0) continue;
            try hidden.append(allocator, .{ .table = window.table, .index = @intCast(index), .entry = table[index] });
            table[index] = 0;
        }
    }
    arrivals.hidden = try hidden.toOwnedSlice(allocator);
}

/// All pages are there: forks see them from here on, and nothing can be written to them any more.
pub fn show(arrivals: *Arrivals, memfd: i32, extent: u64) Error!void {
    {
        const memory = try writable(memfd, extent);
        defer _ = linux.munmap(memory.ptr, memory.len);
        // Guests may run: entries that are added need no event.
        for (arrivals.hidden) |hidden| @atomicStore(u64, &tableIn(memory, hidden.table)[hidden.index], hidden.entry, .release);
    }
    try FrameImage.seal(memfd);
    arrivals.finish();
}

/// Which frames were used, in the order of their first use; null if that was not recorded. From here on it is not any more.
pub fn endRecording(arena: std.mem.Allocator, frames: *const FrameImage) Error!?[]const u32 {
    const arrivals = frames.arrivals orelse return null;
    if (arrivals.kind != .recorded) return null;
    arrivals.lock.lock();
    defer arrivals.lock.unlock();
    if (!arrivals.over.load(.acquire)) try show(arrivals, frames.memfd, frames.bytes.len);
    return try arena.dupe(u32, arrivals.order.items);
}
