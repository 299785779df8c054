//! One guest's address space: its mappings, the frames behind them, and the page tables that show them to the guest.
//!
//! A page gets a frame when it is first needed, and with it all of its mapping's pages inside the same 2 MiB window, so
//! that a program costs a few page-fault exits, not one for each page. Entries that lose a right or their page are
//! followed by an event on the old target's host memory (`FrameSpace.revoke`, `FrameSpace.punch`): shadow paging sees
//! nothing less. All entries of user pages are written by `Window` functions in this file.
const std = @import("std");
const assert = std.debug.assert;
const access_module = @import("access.zig");
const frames_module = @import("frames.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const page_tables = @import("page_tables.zig");
const vma_module = @import("vma.zig");
const Frame = frames_module.Frame;
const FrameSpace = frames_module.FrameSpace;
const Rights = vma_module.Rights;
const Vma = vma_module.Vma;

const page = limits.page_size;
/// A mapping that has at least so many pages in a window gets the window a block of its own.
const block_worth_pages = 64;
/// Pages committed at once when the whole window's share would take too much of what the ceiling leaves.
const small_commit_pages = 16;

pub const Error = error{ OutOfMemory, HostFailure };

const Window = struct {
    table: Frame,
    block: ?Frame = null,
    mapped: u16 = 0,
    /// Frame of each page; 0 is none.
    frames: [limits.window_pages]Frame = @splat(0),

    fn ownsFrame(self: *const Window, frame: Frame) bool {
        const block = self.block orelse return false;
        return frame / limits.window_pages == block / limits.window_pages;
    }
};

pub const FaultAccess = enum { read, write, execute };
pub const FaultOutcome = enum { resolved, not_mapped, no_right, out_of_memory };

pub const AddressSpace = struct {
    allocator: std.mem.Allocator,
    frames: *FrameSpace,
    tables: page_tables.PageTables,
    vmas: vma_module.VmaList,
    windows: std.AutoHashMapUnmanaged(u64, *Window) = .empty,
    brk_start: u64 = 0,
    brk_end: u64 = 0,
    out_of_memory: bool = false,

    pub fn init(allocator: std.mem.Allocator, frames: *FrameSpace) Error!AddressSpace {
        return .{
            .allocator = allocator,
            .frames = frames,
            .tables = try page_tables.PageTables.init(frames),
            .vmas = .{ .allocator = allocator },
        };
    }

    pub fn deinit(self: *AddressSpace) void {
        var windows = self.windows.valueIterator();
        while (windows.next()) |window| self.allocator.destroy(window.*);
        self.windows.deinit(self.allocator);
        self.vmas.deinit();
        self.tables.deinit();
    }

    pub fn access(self: *AddressSpace) access_module.GuestAccess {
        return .{ .context = self, .piece_fn = pieceOf };
    }

    /// Maps one page of the system area; these pages have no VMA and are never unmapped.
    pub fn mapSystemPage(self: *AddressSpace, address: u64, entry: u64) Error!void {
        assert(address >= layout.system_base);
        self.tables.set(try self.tables.windowTable(address), address, entry);
    }

    // Mappings

    pub fn map(self: *AddressSpace, vma: Vma) Error!void {
        assert(vma.end <= layout.user_end);
        try self.vmas.insert(vma);
    }

    pub fn unmap(self: *AddressSpace, start: u64, end: u64) Error!void {
        try self.vmas.remove(start, end);
        self.forEachWindow(start, end, releasePages);
    }

    /// Changes rights; the range must be covered by mappings.
    pub fn protect(self: *AddressSpace, start: u64, end: u64, rights: Rights) Error!void {
        try self.vmas.protect(start, end, rights);
        self.forEachWindow(start, end, refreshEntries);
    }

    /// Anonymous pages read as zero afterwards (MADV_DONTNEED).
    pub fn discard(self: *AddressSpace, start: u64, end: u64) void {
        self.forEachWindow(start, end, punchPages);
    }

    const WindowVisitor = fn (self: *AddressSpace, base: u64, window: *Window, first: u16, last: u16) void;

    /// Visits the windows that exist inside the range: in address order, or by walking all windows if those are fewer.
    fn forEachWindow(self: *AddressSpace, start: u64, end: u64, comptime visit: WindowVisitor) void {
        const first = start / limits.window_size;
        const last = (end - 1) / limits.window_size;
        if (last - first >= self.windows.count()) {
            var keys: std.ArrayList(u64) = .empty;
            defer keys.deinit(self.allocator);
            var iterator = self.windows.keyIterator();
            while (iterator.next()) |key| {
                if (key.* < first or key.* > last) continue;
                keys.append(self.allocator, key.*) catch return self.forEachByIndex(first, last, start, end, visit);
            }
            for (keys.items) |key| self.visitWindow(key, start, end, visit);
        } else self.forEachByIndex(first, last, start, end, visit);
    }

    fn forEachByIndex(self: *AddressSpace, first: u64, last: u64, start: u64, end: u64, comptime visit: WindowVisitor) void {
        var index = first;
        while (index <= last) : (index += 1) self.visitWindow(index, start, end, visit);
    }

    fn visitWindow(self: *AddressSpace, index: u64, start: u64, end: u64, comptime visit: WindowVisitor) void {
        const window = self.windows.get(index) orelse return;
        const base = index * limits.window_size;
        const low = (@max(start, base) - base) / page;
        const high = (@min(end, base + limits.window_size) - base) / page;
        visit(self, base, window, @intCast(low), @intCast(high));
    }

    /// Calls `act` for each run of pages whose frames are contiguous.
    fn forEachRun(window: *const Window, first: u16, last: u16, frames: *FrameSpace, comptime act: fn (*FrameSpace, Frame, u64) void) void {
        var index = first;
        while (index < last) {
            const frame = window.frames[index];
            var count: u16 = 1;
            if (frame != 0) {
                while (index + count < last and window.frames[index + count] == frame + count) count += 1;
                act(frames, frame, count);
            }
            index += count;
        }
    }

    fn releasePages(self: *AddressSpace, base: u64, window: *Window, first: u16, last: u16) void {
        for (first..last) |index| {
            if (window.frames[index] != 0) self.tables.set(window.table, base + index * page, 0);
        }
        forEachRun(window, first, last, self.frames, FrameSpace.punch);
        for (window.frames[first..last]) |*frame| {
            if (frame.* == 0) continue;
            if (window.ownsFrame(frame.*)) self.frames.unuseOfBlock(1) else self.frames.releaseSmall(frame.*, 1);
            frame.* = 0;
            window.mapped -= 1;
        }
        self.dropIfEmpty(base, window);
    }

    fn refreshEntries(self: *AddressSpace, base: u64, window: *Window, first: u16, last: u16) void {
        for (first..last) |index| {
            if (window.frames[index] == 0) continue;
            const address = base + index * page;
            const vma = self.vmas.find(address).?;
            self.tables.set(window.table, address, entryFor(window.frames[index], vma.rights));
        }
        forEachRun(window, first, last, self.frames, FrameSpace.revoke);
    }

    fn punchPages(self: *AddressSpace, base: u64, window: *Window, first: u16, last: u16) void {
        _ = base;
        forEachRun(window, first, last, self.frames, FrameSpace.punch);
    }

    fn entryFor(frame: Frame, rights: Rights) u64 {
        if (rights.none()) return 0;
        return page_tables.leaf(@as(u64, frame) * page, .{ .write = rights.write, .execute = rights.execute });
    }

    // Demand paging

    /// What a guest's page fault at `address` comes to; on `resolved` the instruction is to be run again.
    pub fn fault(self: *AddressSpace, address: u64, wanted: FaultAccess) FaultOutcome {
        if (address >= layout.user_end) return .not_mapped;
        const vma = self.vmas.find(address) orelse return .not_mapped;
        const allowed = switch (wanted) {
            .read => !vma.rights.none(),
            .write => vma.rights.write,
            .execute => vma.rights.execute,
        };
        if (!allowed) return .no_right;
        self.commit(vma.*, address) catch return .out_of_memory;
        return .resolved;
    }

    fn windowOf(self: *AddressSpace, address: u64) Error!*Window {
        const slot = self.windows.getOrPut(self.allocator, address / limits.window_size) catch return error.OutOfMemory;
        if (slot.found_existing) return slot.value_ptr.*;
        errdefer _ = self.windows.remove(address / limits.window_size);
        const table = try self.tables.windowTable(address);
        // The VMM's own record of a window counts as one of the machine's frames, so that scattered pages cannot cost the
        // host more than the ceiling says.
        try self.frames.useOfBlock(1);
        errdefer self.frames.unuseOfBlock(1);
        const window = self.allocator.create(Window) catch return error.OutOfMemory;
        window.* = .{ .table = table };
        slot.value_ptr.* = window;
        return window;
    }

    /// Gives frames to the mapping's pages around `address`: all inside its window, or fewer when memory is short.
    fn commit(self: *AddressSpace, vma: Vma, address: u64) Error!void {
        const window = try self.windowOf(address);
        errdefer self.dropIfEmpty(address, window);
        const base = std.mem.alignBackward(u64, address, limits.window_size);
        const at: u16 = @intCast((address - base) / page);
        var first: u16 = @intCast((@max(vma.start, base) - base) / page);
        var last: u16 = @intCast((@min(vma.end, base + limits.window_size) - base) / page);
        assert(first <= at and at < last);
        const share = last - first;
        if (share > self.frames.framesLeft() / 4) {
            first = @max(first, at - at % small_commit_pages);
            last = @min(last, first + small_commit_pages);
        }
        if (last - first > self.frames.framesLeft()) {
            first = at;
            last = at + 1;
        }
        const growing = vma.kind == .heap or vma.kind == .stack;
        if (window.block == null and (share >= block_worth_pages or growing)) {
            window.block = self.frames.takeBlock() catch null;
        }
        var index = first;
        while (index < last) {
            if (window.frames[index] != 0) {
                self.tables.set(window.table, base + @as(u64, index) * page, entryFor(window.frames[index], vma.rights));
                index += 1;
                continue;
            }
            var count: u16 = 1;
            while (index + count < last and window.frames[index + count] == 0) count += 1;
            try self.give(window, base, index, count, vma.rights);
            index += count;
        }
        if (last - first == limits.window_pages and vma.rights.write and self.isFull(base -% limits.window_size, base +% limits.window_size)) {
            self.frames.populate(window.block orelse return, limits.window_pages);
        }
    }

    /// Whether a neighbour of a window is wholly mapped: the guest goes through its memory in order, and will want this
    /// window's pages too. Giving them at once halves what each first touch costs on shadow paging.
    fn isFull(self: *AddressSpace, before: u64, behind: u64) bool {
        for ([_]u64{ before, behind }) |base| {
            const window = self.windows.get(base / limits.window_size) orelse continue;
            if (window.mapped == limits.window_pages) return true;
        }
        return false;
    }

    fn give(self: *AddressSpace, window: *Window, base: u64, first: u16, count: u16, rights: Rights) Error!void {
        const frame = if (window.block) |block| blk: {
            try self.frames.useOfBlock(count);
            break :blk block + first;
        } else try self.frames.takeSmall(count);
        for (0..count) |offset| {
            const index = first + offset;
            window.frames[index] = frame + @as(Frame, @intCast(offset));
            self.tables.set(window.table, base + index * page, entryFor(window.frames[index], rights));
        }
        window.mapped += count;
    }

    fn dropIfEmpty(self: *AddressSpace, address: u64, window: *Window) void {
        if (window.mapped > 0) return;
        if (window.block) |block| self.frames.releaseBlock(block);
        self.frames.unuseOfBlock(1);
        _ = self.windows.remove(address / limits.window_size);
        self.allocator.destroy(window);
    }

    // Access by the VMM

    fn frameAt(self: *AddressSpace, address: u64) ?Frame {
        const window = self.windows.get(address / limits.window_size) orelse return null;
        const frame = window.frames[address % limits.window_size / page];
        return if (frame == 0) null else frame;
    }

    /// The frame behind a page of `vma`, given to it now if need be; null when memory is at its ceiling.
    fn frameFor(self: *AddressSpace, vma: Vma, address: u64) ?Frame {
        if (self.frameAt(address)) |frame| return frame;
        self.commit(vma, address) catch {
            self.out_of_memory = true;
            return null;
        };
        return self.frameAt(address).?;
    }

    fn pieceOf(context: *anyopaque, address: u64, length: usize, intent: access_module.Intent) ?[]u8 {
        const self: *AddressSpace = @ptrCast(@alignCast(context));
        const vma = self.vmas.find(address) orelse return null;
        if (vma.rights.none() or (intent == .write and !vma.rights.write)) return null;
        return self.contiguous(vma.*, address, length);
    }

    /// Like `piece`, whatever the guest's rights are: for the loader and for views.
    pub fn pieceAnyRights(self: *AddressSpace, address: u64, length: usize) ?[]u8 {
        const vma = self.vmas.find(address) orelse return null;
        return self.contiguous(vma.*, address, length);
    }

    fn contiguous(self: *AddressSpace, vma: Vma, address: u64, length: usize) ?[]u8 {
        const first = self.frameFor(vma, address) orelse return null;
        const wanted = @min(length, vma.end - address);
        const in_page = address % page;
        var have = page - in_page;
        var frame = first;
        while (have < wanted) : (have += page) {
            const next = self.frameFor(vma, address + have) orelse break;
            if (next != frame + 1) break;
            frame = next;
        }
        const offset = @as(u64, first) * page + in_page;
        return self.frames.base[offset..][0..@min(have, wanted)];
    }

    /// Copies the pages that have frames, for a mapping that moves; the rest stays untouched on both sides.
    pub fn copyCommitted(self: *AddressSpace, from: u64, to: u64, length: u64) Error!void {
        var done: u64 = 0;
        while (done < length) : (done += page) {
            if ((from + done) % limits.window_size == 0 and !self.windows.contains((from + done) / limits.window_size)) {
                done += limits.window_size - page;
                continue;
            }
            const source = self.frameAt(from + done) orelse continue;
            const target = self.frameFor(self.vmas.find(to + done).?.*, to + done) orelse return error.OutOfMemory;
            @memcpy(self.frames.bytes(target, 1), self.frames.bytes(source, 1));
        }
    }

    /// Writes for the loader, whatever the guest's rights are.
    pub fn writeAnyRights(self: *AddressSpace, address: u64, bytes: []const u8) access_module.Error!void {
        var done: usize = 0;
        while (done < bytes.len) {
            const to = self.pieceAnyRights(address + done, bytes.len - done) orelse return error.Fault;
            @memcpy(to, bytes[done..][0..to.len]);
            done += to.len;
        }
    }
};

test "pages that are mapped again read as zero, rights are kept apart, the ceiling ends in out_of_memory" {
    var frames = try frames_module.testSpace(2 * limits.MiB);
    defer frames.deinit();
    try frames.reserveSystem(1, layout.system_pages);
    var space = try AddressSpace.init(std.testing.allocator, &frames);
    defer space.deinit();
    const start = 0x40_0000;
    try space.map(.{ .start = start, .end = start + 8 * page, .rights = .{ .read = true, .write = true }, .kind = .anonymous });
    const memory = space.access();
    try memory.write(start + page - 2, "across");
    try std.testing.expectEqual(FaultOutcome.no_right, space.fault(start, .execute));
    try space.protect(start, start + page, .{ .read = true });
    try std.testing.expectError(error.Fault, memory.write(start, "x"));
    try std.testing.expectEqual(FaultOutcome.no_right, space.fault(start, .write));
    try space.unmap(start, start + 8 * page);
    try std.testing.expectEqual(FaultOutcome.not_mapped, space.fault(start, .read));
    try space.map(.{ .start = start, .end = start + 8 * page, .rights = .{ .read = true }, .kind = .anonymous });
    try std.testing.expectEqual(@as(u64, 0), try memory.readValue(u64, start + page));

    try space.map(.{ .start = 1 << 40, .end = 1 << 41, .rights = .{ .read = true, .write = true }, .kind = .anonymous });
    var address: u64 = 1 << 40;
    while (space.fault(address, .write) == .resolved) address += page;
    try std.testing.expectEqual(FaultOutcome.out_of_memory, space.fault(address, .write));
    try std.testing.expect(frames.frames_used <= frames.frames_max);
    try space.unmap(1 << 40, 1 << 41);
    try std.testing.expectEqual(FaultOutcome.resolved, space.fault(start, .read));
}
