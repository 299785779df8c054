//! How the VMM reaches a guest's memory through its address space: pieces that are contiguous on the host, given frames now if
//! need be. Whether the guest itself may do the same is checked here for what is done in its name.
//! Not here: copying (`access.zig`), mapping and page faults (`address_space.zig`).
const std = @import("std");
const access_module = @import("access.zig");
const address_space = @import("address_space.zig");
const canaries = @import("../linux/canaries.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const AddressSpace = address_space.AddressSpace;
const Error = address_space.Error;
const Frame = @import("frames.zig").Frame;
const Piece = access_module.Piece;
const Vma = @import("vma.zig").Vma;

const page = limits.page_size;

fn frameAt(self: *AddressSpace, address: u64) ?Frame {
    const window = self.findWindow(address / limits.window_size) orelse return null;
    const frame = window.frames[address % limits.window_size / page];
    return if (frame == 0) null else frame;
}

/// The first page at or above `at` and below `end` that has a frame; `at` becomes its address.
pub fn nextFrame(self: *const AddressSpace, at: *u64, end: u64) ?Frame {
    while (at.* < end) : (at.* += page) {
        const window = self.findWindow(at.* / limits.window_size) orelse {
            at.* = std.mem.alignBackward(u64, at.*, limits.window_size) + limits.window_size - page;
            continue;
        };
        const frame = window.frames[at.* % limits.window_size / page];
        if (frame != 0) return frame;
    }
    return null;
}

/// The frame behind a page of `vma`, given to it now if need be; null when memory is at its ceiling.
fn frameFor(self: *AddressSpace, vma: Vma, address: u64) ?Frame {
    if (frameAt(self, address)) |frame| return frame;
    self.commit(vma, address) catch |failure| {
        if (failure != error.BeyondFile) self.out_of_memory = true;
        return null;
    };
    return frameAt(self, address).?;
}

pub fn pieceOf(context: *anyopaque, address: u64, length: usize, intent: access_module.Intent) ?Piece {
    const self: *AddressSpace = @ptrCast(@alignCast(context));
    const vma = self.vmas.find(address) orelse return null;
    if (vma.rights.none() or (intent == .write and !vma.rights.write and !canaries.is(.write_right_ignored))) return null;
    return contiguous(self, vma.*, address, length, intent);
}

/// Like `piece`, whatever the guest's rights are: for the loader and for the embedder.
pub fn pieceAnyRights(self: *AddressSpace, address: u64, length: usize, intent: access_module.Intent) ?Piece {
    const vma = self.vmas.find(address) orelse return null;
    if (intent == .write and vma.write_refused) return null;
    if (intent == .write and vma.file != null and !vma.written) {
        self.vmas.changed = true;
        vma.written = true;
    }
    return contiguous(self, vma.*, address, length, intent);
}

/// Like `pieceAnyRights`, for views: what is private of a file becomes the machine's own memory. Null also where a
/// file is shared.
pub fn pieceForView(self: *AddressSpace, address: u64, length: usize) ?[]u8 {
    const found = pieceAnyRights(self, address, length, .write) orelse return null;
    const frame: Frame = @intCast((@intFromPtr(found.bytes.ptr) - @intFromPtr(self.frames.base)) / page);
    const pages = (address % page + found.bytes.len + page - 1) / page;
    if (!found.steady and !self.frames.settle(frame, pages)) return null;
    self.frames.noteView(frame, pages);
    return found.bytes;
}

fn contiguous(self: *AddressSpace, vma: Vma, address: u64, length: usize, intent: access_module.Intent) ?Piece {
    const first = frameFor(self, vma, address) orelse return null;
    const steady = vma.file == null or !self.frames.showsFile(first);
    if (intent == .write) self.frames.noteWrite(first);
    const wanted = @min(length, vma.end - address);
    const in_page = address % page;
    var have = page - in_page;
    var frame = first;
    while (have < wanted) : (have += page) {
        const next = frameFor(self, vma, address + have) orelse break;
        if (next != frame + 1 or (vma.file != null and steady == self.frames.showsFile(next))) break;
        if (intent == .write) self.frames.noteWrite(next);
        frame = next;
    }
    // What never comes is nobody's to see; the run ends behind whoever asked.
    if (!self.frames.waitFor(first, frame - first + 1)) return null;
    const bytes = self.frames.place(first, frame - first + 1);
    return .{ .bytes = bytes[in_page..][0..@min(have, wanted)], .steady = steady };
}

/// Copies the pages that have frames, for a mapping that moves; the rest stays untouched on both sides.
pub fn copyCommitted(self: *AddressSpace, from: u64, to: u64, length: u64) Error!void {
    var windows = try self.ownWindows(from, from + length);
    defer windows.deinit(self.allocator);
    for (windows.items) |key| {
        var at = @max(from, key * limits.window_size);
        const end = @min(from + length, (key + 1) * limits.window_size);
        while (at < end) : (at += page) {
            const source = frameAt(self, at) orelse continue;
            const to_page = to + (at - from);
            const target = frameFor(self, self.vmas.find(to_page).?.*, to_page) orelse return error.OutOfMemory;
            if (!self.frames.waitFor(source, 1)) return error.HostFailure;
            self.frames.noteWrite(target);
            // The host's kernel copies, since either side may show a file that is being cut short.
            var bytes: [page]u8 = undefined;
            if (host.copyOut(&bytes, self.frames.bytes(source, 1))) _ = host.copyIn(self.frames.bytes(target, 1), &bytes);
        }
    }
}

/// Writes for the loader, whatever the guest's rights are.
pub fn writeAnyRights(self: *AddressSpace, address: u64, bytes: []const u8) access_module.Error!void {
    var done: usize = 0;
    while (done < bytes.len) {
        const to = pieceAnyRights(self, address + done, bytes.len - done, .write) orelse return error.Fault;
        try to.copyFrom(bytes[done..][0..to.bytes.len]);
        done += to.bytes.len;
    }
}
