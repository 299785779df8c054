//! The guest's page tables: four levels, 4 KiB leaves, accessed and dirty bits preset.
//!
//! The tables lie in guest-physical memory and are only ever written here, never read back: what the guest's ring 0 may
//! have done to them must not steer the VMM, so the frames of the tables are kept in a map of the VMM's own.
//! Entries: Intel SDM volume 3, 4.5; AMD APM volume 2, 5.3.
const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../limits.zig");
const frames_module = @import("frames.zig");
const Frame = frames_module.Frame;
const FrameSpace = frames_module.FrameSpace;

pub const present: u64 = 1 << 0;
pub const writable: u64 = 1 << 1;
pub const user: u64 = 1 << 2;
pub const accessed: u64 = 1 << 5;
pub const dirty: u64 = 1 << 6;
pub const no_execute: u64 = 1 << 63;

const table_flags = present | writable | user | accessed | dirty;
const leaf_flags = present | accessed | dirty;

pub const Table = *[512]u64;

/// The entry of a leaf that maps `physical` with the given rights.
pub fn leaf(physical: u64, rights: struct { write: bool = false, execute: bool = false, user: bool = true }) u64 {
    assert(physical % limits.page_size == 0);
    var entry = physical | leaf_flags;
    if (rights.write) entry |= writable;
    if (rights.user) entry |= user;
    if (!rights.execute) entry |= no_execute;
    return entry;
}

pub const PageTables = struct {
    frames: *FrameSpace,
    root: Frame,
    /// Frames of the lower tables by level and index: `level << 56 | address >> shift(level)`.
    tables: std.AutoHashMapUnmanaged(u64, Frame) = .empty,

    pub fn init(frames: *FrameSpace) frames_module.Error!PageTables {
        return .{ .frames = frames, .root = try frames.takeTable() };
    }

    pub fn deinit(self: *PageTables) void {
        self.tables.deinit(self.frames.allocator);
    }

    pub fn rootPhysical(self: *const PageTables) u64 {
        return @as(u64, self.root) * limits.page_size;
    }

    /// The page table of the 2 MiB window that holds `address`; made if it is not there yet.
    pub fn windowTable(self: *PageTables, address: u64) frames_module.Error!Frame {
        var table = self.root;
        var level: u6 = 3;
        while (level > 0) : (level -= 1) {
            const shift: u6 = 12 + 9 * level;
            const key = @as(u64, level) << 56 | address >> shift;
            const slot = self.tables.getOrPut(self.frames.allocator, key) catch return error.OutOfMemory;
            if (!slot.found_existing) {
                const frame = self.frames.takeTable() catch |failure| {
                    _ = self.tables.remove(key);
                    return failure;
                };
                slot.value_ptr.* = frame;
                self.at(table)[address >> shift & 511] = @as(u64, frame) * limits.page_size | table_flags;
            }
            table = slot.value_ptr.*;
        }
        return table;
    }

    pub fn at(self: *const PageTables, frame: Frame) Table {
        return @ptrCast(self.frames.bytes(frame, 1).ptr);
    }

    /// Writes one leaf of a window's table.
    pub fn set(self: *PageTables, table: Frame, address: u64, entry: u64) void {
        const slot = &self.at(table)[address >> 12 & 511];
        @atomicStore(u64, slot, entry, .release);
    }
};
