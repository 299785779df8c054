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
const planted = @import("../planted.zig");
const vma_module = @import("vma.zig");
const Frame = frames_module.Frame;
const FrameSpace = frames_module.FrameSpace;
const Rights = vma_module.Rights;
const space_access = @import("space_access.zig");
const SpaceImage = @import("space_image.zig").SpaceImage;
const Vma = vma_module.Vma;

const page = limits.page_size;
/// A mapping that has at least so many pages in a window gets the window a block of its own.
const block_worth_pages = 64;
/// With less memory left, pages that files have as well are given up.
const reclaim_below_pages = 2 * small_commit_pages;
/// Fewer are not given up again: an instruction may need some of them at once, and would never have them all.
const reclaim_least_pages = 64;
/// Pages committed at once when the whole window's share would take too much of what the ceiling leaves.
const small_commit_pages = 16;

pub const Error = error{ OutOfMemory, HostFailure };
const CommitError = Error || error{BeyondFile};

pub const Window = struct {
    table: Frame,
    block: ?Frame = null,
    mapped: u16 = 0,
    /// Frame of each page; 0 is none.
    frames: [limits.window_pages]Frame = @splat(0),
    /// Pages whose entry a fork has written since it was as its image.
    changed: std.StaticBitSet(limits.window_pages) = .initEmpty(),

    fn ownsFrame(self: *const Window, frame: Frame) bool {
        const block = self.block orelse return false;
        return frame / limits.window_pages == block / limits.window_pages;
    }
};

pub const FaultAccess = enum { read, write, execute };
/// `awaited`: the page has not come yet; the instruction is to be run again, unless somebody wants the run to end.
pub const FaultOutcome = enum { resolved, awaited, not_mapped, no_right, beyond_file, out_of_memory };

pub const Windows = std.AutoHashMapUnmanaged(u64, ?*Window);

pub const AddressSpace = struct {
    allocator: std.mem.Allocator,
    frames: *FrameSpace,
    tables: page_tables.PageTables,
    vmas: vma_module.VmaList,
    area: layout.UserArea,
    /// In a fork, the windows that are no longer the image's: null is one that is gone.
    windows: Windows = .empty,
    image: ?*const SpaceImage = null,
    brk_start: u64 = 0,
    brk_end: u64 = 0,
    out_of_memory: bool = false,
    /// Pages given since the last reclaim that their files have as well.
    clean_given: u32 = 0,

    pub fn init(allocator: std.mem.Allocator, frames: *FrameSpace, area: layout.UserArea) Error!AddressSpace {
        return .{
            .area = area,
            .allocator = allocator,
            .frames = frames,
            .tables = try page_tables.PageTables.init(frames),
            .vmas = .{ .allocator = allocator, .floor = area.floor() },
        };
    }

    /// The address space of a fork: the image's until it is changed.
    pub fn initFork(allocator: std.mem.Allocator, frames: *FrameSpace, image: *const SpaceImage) Error!AddressSpace {
        var self: AddressSpace = .{
            .allocator = allocator,
            .frames = frames,
            .tables = .{ .frames = frames, .root = image.root, .image = &image.tables },
            .vmas = .{ .allocator = allocator, .floor = image.area.floor() },
            .area = image.area,
            .image = image,
        };
        errdefer self.deinit();
        try self.adoptImage(true);
        return self;
    }

    pub fn deinit(self: *AddressSpace) void {
        self.forgetWindows();
        self.windows.deinit(self.allocator);
        self.vmas.deinit();
        self.tables.deinit();
    }

    fn forgetWindows(self: *AddressSpace) void {
        var windows = self.windows.valueIterator();
        while (windows.next()) |window| if (window.*) |some| self.allocator.destroy(some);
        self.windows.clearRetainingCapacity();
    }

    fn forgetEverySecondWindow(self: *AddressSpace) void {
        var entries = self.windows.iterator();
        while (entries.next()) |entry| {
            if (entry.key_ptr.* % 2 == 0) continue;
            if (entry.value_ptr.*) |some| self.allocator.destroy(some);
            _ = self.windows.remove(entry.key_ptr.*);
            return;
        }
    }

    fn keepProtections(self: *AddressSpace, image: *const SpaceImage) void {
        if (self.vmas.items.items.len == image.vmas.len) return;
        self.vmas.adopt(image.vmas) catch return;
    }

    /// Everything but the bytes of the tables goes back to the image; the frames must have gone back before.
    pub fn adoptImage(self: *AddressSpace, vm_kept: bool) Error!void {
        const image = self.image.?;
        if (planted.is(.window_kept)) self.forgetEverySecondWindow() else self.forgetWindows();
        try self.tables.adoptImage(vm_kept);
        if (planted.is(.protections_kept)) return self.keepProtections(image);
        if (self.vmas.changed and !(planted.is(.mappings_kept) and self.vmas.items.items.len > 0)) {
            try self.vmas.adopt(image.vmas);
            self.vmas.changed = false;
        }
        self.brk_start = image.brk_start;
        self.brk_end = image.brk_end;
        self.out_of_memory = false;
        self.clean_given = 0;
    }

    /// Calls `act` for the frames whose entries a fork has changed: their translations must not outlive a reset.
    pub fn forEachChangedRun(self: *const AddressSpace, context: anytype, comptime act: fn (@TypeOf(context), Frame, u64) void) void {
        var windows = self.windows.valueIterator();
        while (windows.next()) |entry| {
            const window = entry.* orelse continue;
            var index: u16 = 0;
            while (index < limits.window_pages) {
                const frame = window.frames[index];
                var count: u16 = 1;
                if (frame != 0 and window.changed.isSet(index)) {
                    while (index + count < limits.window_pages and window.frames[index + count] == frame + count and window.changed.isSet(index + count)) count += 1;
                    act(context, frame, count);
                }
                index += count;
            }
        }
    }

    pub fn access(self: *AddressSpace) access_module.GuestAccess {
        return .{ .context = self, .piece_fn = space_access.pieceOf };
    }

    /// Maps one page of the system area; these pages have no VMA and are never unmapped.
    pub fn mapSystemPage(self: *AddressSpace, address: u64, entry: u64) Error!void {
        assert(!self.area.contains(address, page));
        self.tables.set(try self.tables.windowTable(address), address, entry);
    }

    // Mappings

    pub fn map(self: *AddressSpace, vma: Vma) Error!void {
        if (!self.area.contains(vma.start, vma.end - vma.start)) return error.OutOfMemory;
        try self.vmas.insert(vma);
    }

    /// The highest free range for a mapping that asks for no address.
    pub fn findFree(self: *AddressSpace, length: u64, alignment: u64) ?u64 {
        const found = self.vmas.findFree(length, alignment, self.area.mmap_top) orelse return null;
        if (self.area.contains(found, length)) return found;
        return self.vmas.findFree(length, alignment, layout.remotes_base);
    }

    pub fn unmap(self: *AddressSpace, start: u64, end: u64) Error!void {
        var windows = try self.ownWindows(start, end);
        defer windows.deinit(self.allocator);
        try self.vmas.remove(start, end);
        self.visitWindows(windows.items, start, end, releasePages);
    }

    /// Changes rights; the range must be covered by mappings.
    pub fn protect(self: *AddressSpace, start: u64, end: u64, rights: Rights) Error!void {
        var windows = try self.ownWindows(start, end);
        defer windows.deinit(self.allocator);
        try self.vmas.protect(start, end, rights);
        self.visitWindows(windows.items, start, end, refreshEntries);
    }

    /// Anonymous pages read as zero afterwards, private pages of a file as the file is (MADV_DONTNEED).
    pub fn discard(self: *AddressSpace, start: u64, end: u64, of_file: bool) Error!void {
        var windows = try self.ownWindows(start, end);
        defer windows.deinit(self.allocator);
        if (of_file) return self.visitWindows(windows.items, start, end, releasePages);
        self.visitWindows(windows.items, start, end, punchPages);
    }

    /// Takes pages away that lie behind the end of their file, now that it was cut short: the guest's next access is the
    /// fault that Linux would answer with SIGBUS. False if there was none.
    pub fn dropBeyondFiles(self: *AddressSpace) Error!bool {
        var dropped = false;
        for (self.vmas.items.items) |vma| {
            const file = vma.file orelse continue;
            const end = vma.start + @min(vma.end - vma.start, std.mem.alignForward(u64, file.size() -| vma.file_offset, page));
            if (end == vma.end) continue;
            const before = self.frames.frames_used;
            try self.discard(end, vma.end, true);
            dropped = dropped or self.frames.frames_used != before;
        }
        return dropped;
    }

    pub fn findWindow(self: *const AddressSpace, key: u64) ?*const Window {
        if (self.windows.get(key)) |own| return own;
        const image = self.image orelse return null;
        return image.windows.get(key) orelse null;
    }

    /// The window for changing: a fork's own copy of it.
    fn ownWindow(self: *AddressSpace, key: u64) Error!?*Window {
        if (self.windows.get(key)) |own| return own;
        const image = self.image orelse return null;
        const original = (image.windows.get(key) orelse return null) orelse return null;
        const copy = self.allocator.create(Window) catch return error.OutOfMemory;
        errdefer self.allocator.destroy(copy);
        copy.* = original.*;
        copy.changed = .initEmpty();
        self.windows.put(self.allocator, key, copy) catch return error.OutOfMemory;
        return copy;
    }

    /// The keys of the windows that exist inside the range, each ready to be changed: found in address order, or by
    /// walking all windows if those are fewer.
    pub fn ownWindows(self: *AddressSpace, start: u64, end: u64) Error!std.ArrayList(u64) {
        var keys: std.ArrayList(u64) = .empty;
        errdefer keys.deinit(self.allocator);
        const first = start / limits.window_size;
        const last = (end - 1) / limits.window_size;
        const all = self.windows.count() + if (self.image) |image| image.windows.count() else 0;
        if (last - first < all) {
            for (first..last + 1) |key| try self.ownIfThere(key, &keys);
            return keys;
        }
        if (self.image) |image| {
            var iterator = image.windows.keyIterator();
            while (iterator.next()) |key| if (key.* >= first and key.* <= last) {
                _ = try self.ownIfOriginal(key.*);
            };
        }
        var iterator = self.windows.keyIterator();
        while (iterator.next()) |key| {
            if (key.* < first or key.* > last or self.windows.get(key.*).? == null) continue;
            keys.append(self.allocator, key.*) catch return error.OutOfMemory;
        }
        return keys;
    }

    fn ownIfThere(self: *AddressSpace, key: u64, keys: *std.ArrayList(u64)) Error!void {
        if (try self.ownWindow(key) == null) return;
        keys.append(self.allocator, key) catch return error.OutOfMemory;
    }

    fn ownIfOriginal(self: *AddressSpace, key: u64) Error!void {
        if (!self.windows.contains(key)) _ = try self.ownWindow(key);
    }

    const WindowVisitor = fn (self: *AddressSpace, base: u64, window: *Window, first: u16, last: u16) void;

    fn visitWindows(self: *AddressSpace, keys: []const u64, start: u64, end: u64, comptime visit: WindowVisitor) void {
        for (keys) |key| {
            const window = (self.windows.get(key) orelse continue) orelse continue;
            const base = key * limits.window_size;
            const low = (@max(start, base) - base) / page;
            const high = (@min(end, base + limits.window_size) - base) / page;
            visit(self, base, window, @intCast(low), @intCast(high));
        }
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
            self.setEntry(window, address, self.entryFor(window.frames[index], vma.rights));
        }
        forEachRun(window, first, last, self.frames, FrameSpace.revoke);
    }

    fn punchPages(self: *AddressSpace, base: u64, window: *Window, first: u16, last: u16) void {
        _ = base;
        forEachRun(window, first, last, self.frames, FrameSpace.punch);
    }

    fn setEntry(self: *AddressSpace, window: *Window, address: u64, entry: u64) void {
        window.changed.set(address % limits.window_size / page);
        self.tables.set(window.table, address, entry);
    }

    fn entryFor(self: *const AddressSpace, frame: Frame, rights: Rights) u64 {
        // What has not come yet is shown by the fault that waits for it.
        if (rights.none() or self.frames.awaits(frame)) return 0;
        return page_tables.leaf(self.frames.physical_base + @as(u64, frame) * page, .{ .write = rights.write, .execute = rights.execute });
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
        if (self.showThere(vma, address)) |outcome| return outcome;
        self.commit(vma.*, address) catch |failure| return if (failure == error.BeyondFile) .beyond_file else .out_of_memory;
        return .resolved;
    }

    /// The page at `address` has a frame whose entry is not there, since its bytes had not come, or the guest's ring 0 took it
    /// out: shows it, when they have come, with what else has of the mapping in this window. Null if it has no frame.
    fn showThere(self: *AddressSpace, vma: *const Vma, address: u64) ?FaultOutcome {
        const base = std.mem.alignBackward(u64, address, limits.window_size);
        const window = self.findWindow(base / limits.window_size) orelse return null;
        const frame = window.frames[(address - base) / page];
        if (frame == 0) return null;
        if (!self.frames.waitBriefly(frame)) return .awaited;
        const last = (@min(vma.end, base + limits.window_size) - base) / page;
        for ((@max(vma.start, base) - base) / page..last) |index| {
            const other = window.frames[index];
            // The rights are those that the entry had, or would have been given: a reset has nothing to take back.
            if (other != 0 and !self.frames.awaits(other)) self.tables.set(window.table, base + index * page, self.entryFor(other, vma.rights));
        }
        return .resolved;
    }

    /// Maps what a fault at `address` would, ahead of it. Only a help: what fails fails again at the fault.
    pub fn bringIn(self: *AddressSpace, address: u64) void {
        const vma = self.vmas.find(address) orelse return;
        self.commit(vma.*, address) catch {};
    }

    fn windowOf(self: *AddressSpace, address: u64) Error!*Window {
        const key = address / limits.window_size;
        if (try self.ownWindow(key)) |window| return window;
        const table = try self.tables.windowTable(address);
        // The VMM's own record of a window counts as one of the machine's frames, so that scattered pages cannot cost the
        // host more than the ceiling says.
        try self.frames.useOfBlock(1);
        errdefer self.frames.unuseOfBlock(1);
        const window = self.allocator.create(Window) catch return error.OutOfMemory;
        errdefer self.allocator.destroy(window);
        window.* = .{ .table = table };
        self.windows.put(self.allocator, key, window) catch return error.OutOfMemory;
        return window;
    }

    /// Gives frames to the mapping's pages around `address`: all inside its window, or fewer when memory is short.
    pub fn commit(self: *AddressSpace, vma: Vma, address: u64) CommitError!void {
        if (self.frames.framesLeft() < reclaim_below_pages) try self.reclaim();
        const window = try self.windowOf(address);
        errdefer self.dropIfEmpty(address, window);
        const base = std.mem.alignBackward(u64, address, limits.window_size);
        const share = try self.shareOf(vma, base, address);
        const growing = vma.kind == .heap or vma.kind == .stack;
        if (window.block == null and (share.whole >= block_worth_pages or growing)) {
            window.block = self.frames.takeBlock() catch null;
        }
        var index = share.first;
        while (index < share.last) {
            if (window.frames[index] != 0) {
                // The entry is there already; what the guest's ring 0 may have made of it is written over.
                self.tables.set(window.table, base + @as(u64, index) * page, self.entryFor(window.frames[index], vma.rights));
                index += 1;
                continue;
            }
            var count: u16 = 1;
            while (index + count < share.last and window.frames[index + count] == 0) count += 1;
            try self.give(window, base, index, count, vma);
            if (vma_module.VmaList.isClean(vma)) self.clean_given +|= count;
            index += count;
        }
        if (vma.file != null or share.last - share.first < limits.window_pages or !vma.rights.write) return;
        if (self.isFull(base -% limits.window_size, base +% limits.window_size)) {
            self.frames.populate(window.block orelse return, limits.window_pages);
        }
    }

    /// Gives up pages that their files have as well, which then cost a fault to have again: a program may go through a file
    /// that is larger than its memory.
    fn reclaim(self: *AddressSpace) Error!void {
        if (!self.frames.hasFiles() or self.clean_given < reclaim_least_pages) return;
        self.clean_given = 0;
        for (self.vmas.items.items) |vma| if (vma_module.VmaList.isClean(vma)) try self.discard(vma.start, vma.end, true);
    }

    const Share = struct { first: u16, last: u16, whole: u16 };

    /// The pages of a window that one fault at `address` brings in, and how many the mapping has there.
    fn shareOf(self: *AddressSpace, vma: Vma, base: u64, address: u64) CommitError!Share {
        const at: u16 = @intCast((address - base) / page);
        var end = @min(vma.end, base + limits.window_size);
        if (vma.file) |file| {
            // Pages behind the end of the file are not there.
            const there = std.mem.alignForward(u64, file.size() -| vma.file_offset, page);
            if (address - vma.start >= there) return error.BeyondFile;
            end = @min(end, vma.start + there);
        }
        var first: u16 = @intCast((@max(vma.start, base) - base) / page);
        var last: u16 = @intCast((end - base) / page);
        assert(first <= at and at < last);
        const whole = last - first;
        if (vma.file != null and !vma.shared and !self.frames.canShowFiles()) {
            first = @max(first, at - at % limits.file_copy_pages);
            last = @min(last, first + limits.file_copy_pages);
        }
        const left = self.frames.framesLeft();
        if (last - first > left / 4) {
            first = @max(first, at - at % small_commit_pages);
            last = @min(last, first + small_commit_pages);
        }
        if (last - first > left) {
            first = at;
            last = at + 1;
        }
        return .{ .first = first, .last = last, .whole = whole };
    }

    /// Whether a neighbour of a window is wholly mapped: the guest goes through its memory in order, and will want this
    /// window's pages too. Giving them at once halves what each first touch costs on shadow paging.
    fn isFull(self: *AddressSpace, before: u64, behind: u64) bool {
        for ([_]u64{ before, behind }) |base| {
            const window = self.findWindow(base / limits.window_size) orelse continue;
            if (window.mapped == limits.window_pages) return true;
        }
        return false;
    }

    fn give(self: *AddressSpace, window: *Window, base: u64, first: u16, count: u16, vma: Vma) Error!void {
        const shares_file = vma.file != null and vma.shared;
        const block = if (window.block) |block| if (shares_file and self.frames.isViewed(block + first, count)) null else block else null;
        const frame = if (block) |some| blk: {
            try self.frames.useOfBlock(count);
            break :blk some + first;
        } else try if (shares_file) self.frames.takeForFile(count) else self.frames.takeSmall(count);
        errdefer if (block != null) self.frames.unuseOfBlock(count) else self.frames.releaseSmall(frame, count);
        if (vma.file != null) try self.fill(frame, count, vma, base + @as(u64, first) * page);
        for (0..count) |offset| {
            const index = first + offset;
            window.frames[index] = frame + @as(Frame, @intCast(offset));
            self.setEntry(window, base + index * page, self.entryFor(window.frames[index], vma.rights));
        }
        window.mapped += count;
    }

    /// Puts the bytes of a file behind new frames: the file itself, or a copy.
    fn fill(self: *AddressSpace, frame: Frame, count: u16, vma: Vma, address: u64) Error!void {
        const file = vma.file.?;
        const offset = vma.fileOffset(address);
        const last = frame + count;
        if (vma.shared and self.frames.files.isFull()) return error.OutOfMemory;
        if (vma.shared or (self.frames.canShowFiles() and !self.frames.isViewed(frame, count))) {
            const shown = self.frames.showFile(.{ .first = frame, .last = last, .file = file, .offset = offset, .shared = vma.shared, .writable = !vma.write_refused });
            if (shown) |_| return else |failure| if (vma.shared) return failure;
        }
        for (frame..last) |number| self.frames.noteWrite(@intCast(number));
        _ = file.readAt(self.frames.bytes(frame, count), offset);
    }

    fn dropIfEmpty(self: *AddressSpace, address: u64, window: *Window) void {
        if (window.mapped > 0) return;
        if (window.block) |block| self.frames.releaseBlock(block);
        self.frames.unuseOfBlock(1);
        const key = address / limits.window_size;
        const in_image = if (self.image) |image| image.windows.contains(key) else false;
        // Putting over an entry that exists needs no memory.
        if (in_image) self.windows.getPtr(key).?.* = null else _ = self.windows.remove(key);
        self.allocator.destroy(window);
    }

    // Access by the VMM

    pub const nextFrame = space_access.nextFrame;
    pub const pieceAnyRights = space_access.pieceAnyRights;
    pub const pieceForView = space_access.pieceForView;
    pub const copyCommitted = space_access.copyCommitted;
    pub const writeAnyRights = space_access.writeAnyRights;
};

test "pages that are mapped again read as zero, rights are kept apart, the ceiling ends in out_of_memory" {
    var frames = try frames_module.testSpace(2 * limits.MiB);
    defer frames.deinit();
    try frames.reserveSystem(1, layout.system_pages);
    var space = try AddressSpace.init(std.testing.allocator, &frames, .ordinary);
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
