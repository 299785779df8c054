//! The guest's page tables: four levels, 4 KiB leaves, accessed and dirty bits preset.
//!
//! The tables lie in guest-physical memory and are only ever written here, never read back: what the guest's ring 0 may
//! have done to them must not steer the VMM, so the frames of the tables are kept in a map of the VMM's own.
//! Entries: Intel SDM volume 3, 4.5; AMD APM volume 2, 5.3.
const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../limits.zig");
const frames_module = @import("frames.zig");
const planted = @import("../planted.zig");
const Frame = frames_module.Frame;
const FrameSpace = frames_module.FrameSpace;

pub const present: u64 = 1 << 0;
pub const writable: u64 = 1 << 1;
pub const user: u64 = 1 << 2;
pub const accessed: u64 = 1 << 5;
pub const dirty: u64 = 1 << 6;
pub const no_execute: u64 = 1 << 63;

const root_level = 3;
const table_flags = present | writable | user | accessed | dirty;
const leaf_flags = present | accessed | dirty;

pub const Table = *[512]u64;

pub const LeafRights = struct { write: bool = false, execute: bool = false, user: bool = true };

/// The entry of a leaf that maps `physical` with the given rights.
pub fn leaf(physical: u64, rights: LeafRights) u64 {
    assert(physical % limits.page_size == 0);
    var entry = physical | leaf_flags;
    if (rights.write) entry |= writable;
    if (rights.user) entry |= user;
    if (!rights.execute) entry |= no_execute;
    return entry;
}

const Made = struct {
    frame: Frame,
    /// Part of the tables now; otherwise only kept for its window.
    live: bool = true,
};
pub const Map = std.AutoHashMapUnmanaged(u64, Made);

pub const PageTables = struct {
    frames: *FrameSpace,
    root: Frame,
    /// The lower tables by level and index: `level << 56 | address >> shift(level)`; in a fork, those beyond the image's.
    tables: Map = .empty,
    image: ?*const Map = null,
    /// Changes with every entry of the root table.
    root_changes: u32 = 0,

    pub fn init(frames: *FrameSpace) frames_module.Error!PageTables {
        return .{ .frames = frames, .root = try frames.takeTable() };
    }

    pub fn deinit(self: *PageTables) void {
        self.tables.deinit(self.frames.allocator);
    }

    pub fn rootPhysical(self: *const PageTables) u64 {
        return self.physical(self.root);
    }

    fn physical(self: *const PageTables, frame: Frame) u64 {
        return self.frames.physical_base + @as(u64, frame) * limits.page_size;
    }

    /// The page table of the 2 MiB window that holds `address`; made if it is not there yet.
    pub fn windowTable(self: *PageTables, address: u64) frames_module.Error!Frame {
        var table = self.root;
        var level: u6 = root_level;
        while (level > 0) : (level -= 1) {
            const shift: u6 = 12 + 9 * level;
            table = try self.child(table, @as(u64, level) << 56 | address >> shift, address >> shift & 511);
        }
        return table;
    }

    fn child(self: *PageTables, parent: Frame, key: u64, index: u64) frames_module.Error!Frame {
        if (self.image) |image| if (image.get(key)) |made| return made.frame;
        const slot = self.tables.getOrPut(self.frames.allocator, key) catch return error.OutOfMemory;
        if (slot.found_existing and slot.value_ptr.live) return slot.value_ptr.frame;
        if (slot.found_existing) {
            try self.frames.useOfBlock(1);
        } else {
            errdefer _ = self.tables.remove(key);
            slot.value_ptr.* = .{ .frame = try self.frames.takeTable() };
        }
        slot.value_ptr.live = true;
        const frame = slot.value_ptr.frame;
        if (parent == self.root) self.root_changes +%= 1;
        self.write(parent, index, self.physical(frame) | table_flags);
        return frame;
    }

    /// An entry of the root table, from the records.
    pub fn rootEntry(self: *const PageTables, index: u64) u64 {
        const key = @as(u64, root_level) << 56 | index;
        if (self.image) |image| if (image.get(key)) |made| return self.physical(made.frame) | table_flags;
        const made = self.tables.get(key) orelse return 0;
        return if (made.live) self.physical(made.frame) | table_flags else 0;
    }

    fn at(self: *const PageTables, frame: Frame) Table {
        return @ptrCast(self.frames.bytes(frame, 1).ptr);
    }

    fn write(self: *PageTables, table: Frame, index: u64, entry: u64) void {
        self.frames.noteWrite(table);
        @atomicStore(u64, &self.at(table)[index], entry, .release);
    }

    /// Writes one leaf of a window's table.
    pub fn set(self: *PageTables, table: Frame, address: u64, entry: u64) void {
        self.write(table, address >> 12 & 511, entry);
    }

    /// The map of all tables, for an image. A machine that has no image yet gives its own away.
    pub fn freeze(self: *PageTables) error{OutOfMemory}!Map {
        const image = self.image orelse {
            defer self.tables = .empty;
            return self.tables;
        };
        var all = image.clone(self.frames.allocator) catch return error.OutOfMemory;
        errdefer all.deinit(self.frames.allocator);
        var own = self.tables.iterator();
        while (own.next()) |entry| {
            if (entry.value_ptr.live) try all.put(self.frames.allocator, entry.key_ptr.*, entry.value_ptr.*);
        }
        return all;
    }

    /// Whether a fork has made more tables than it should keep.
    pub fn tooMany(self: *const PageTables) bool {
        return self.tables.count() > limits.fork_tables_max;
    }

    /// After the memory went back to the image: the fork's own tables are out of the tree, and their frames stay theirs
    /// unless the VM was given up with all it remembered.
    pub fn adoptImage(self: *PageTables, vm_kept: bool) frames_module.Error!void {
        if (!vm_kept or planted.is(.table_frame_used_again)) return self.tables.clearRetainingCapacity();
        var own = self.tables.iterator();
        while (own.next()) |entry| {
            const made = entry.value_ptr;
            if (entry.key_ptr.* >> 56 == root_level and made.live) self.root_changes +%= 1;
            made.live = false;
            try self.frames.keepTable(made.frame);
        }
    }
};
