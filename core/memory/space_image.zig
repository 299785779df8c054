//! The frozen state of an address space: mappings, windows and tables. Forks share it and copy what they change.
const std = @import("std");
const address_space = @import("address_space.zig");
const layout = @import("../layout.zig");
const page_tables = @import("page_tables.zig");
const AddressSpace = address_space.AddressSpace;
const Content = @import("../linux/files/private/content.zig").Content;
const Error = address_space.Error;
const Frame = @import("frames.zig").Frame;
const HostFile = @import("../host_file.zig").HostFile;
const Vma = @import("vma.zig").Vma;
const VmaList = @import("vma.zig").VmaList;
const Window = address_space.Window;
const Windows = address_space.Windows;

pub const SpaceImage = struct {
    area: layout.UserArea,
    root: Frame,
    tables: page_tables.Map,
    windows: Windows,
    vmas: []Vma,
    brk_start: u64,
    brk_end: u64,

    /// A machine that has no image yet gives its windows and tables away and shares them from now on; otherwise they are
    /// copied, and it keeps its own.
    pub fn freeze(self: *SpaceImage, space: *AddressSpace) Error!void {
        const allocator = space.allocator;
        const vmas = try space.vmas.copy();
        errdefer VmaList.freeCopy(allocator, vmas);
        try keepContents(allocator, vmas);
        const first = space.image == null;
        var windows = if (first) space.windows else try copyWindows(space);
        errdefer if (!first) freeWindows(allocator, &windows);
        self.* = .{
            .area = space.area,
            .root = space.tables.root,
            .tables = try space.tables.freeze(),
            .windows = windows,
            .vmas = vmas,
            .brk_start = space.brk_start,
            .brk_end = space.brk_end,
        };
        if (!first) return;
        space.windows = .empty;
        space.image = self;
        space.tables.image = &self.tables;
    }

    /// Undoes `freeze`.
    pub fn giveBack(self: *SpaceImage, space: *AddressSpace) void {
        if (space.image != self) return self.deinit(space.allocator);
        space.windows = self.windows;
        space.image = null;
        space.tables.tables = self.tables;
        space.tables.image = null;
        VmaList.freeCopy(space.allocator, self.vmas);
    }

    pub fn deinit(self: *SpaceImage, allocator: std.mem.Allocator) void {
        freeWindows(allocator, &self.windows);
        self.tables.deinit(allocator);
        VmaList.freeCopy(allocator, self.vmas);
        self.* = undefined;
    }

    /// What a shared mapping may change of a private file is copied for the image, in which all mappings of it are private.
    fn keepContents(allocator: std.mem.Allocator, vmas: []Vma) Error!void {
        var copies: std.AutoHashMapUnmanaged(*Content, *HostFile) = .empty;
        defer {
            var files = copies.valueIterator();
            while (files.next()) |file| file.*.release(allocator);
            copies.deinit(allocator);
        }
        for (vmas) |*vma| {
            const file = vma.file orelse continue;
            const content = file.content orelse continue;
            if (!content.mapped) continue;
            const entry = try copies.getOrPut(allocator, content);
            if (!entry.found_existing) entry.value_ptr.* = copyOf(allocator, content, file) catch |failure| {
                _ = copies.remove(content);
                return failure;
            };
            vma.file = entry.value_ptr.*.retain();
            vma.shared = false;
            file.release(allocator);
        }
    }

    fn copyOf(allocator: std.mem.Allocator, content: *Content, file: *const HostFile) Error!*HostFile {
        const copy = content.copy(allocator, file.size()) catch |failure| return switch (failure) {
            error.OutOfMemory => error.OutOfMemory,
            error.NoSpace => error.HostFailure,
        };
        defer copy.release(allocator);
        return HostFile.ofContent(allocator, copy, file.path);
    }

    fn copyWindows(space: *const AddressSpace) Error!Windows {
        const allocator = space.allocator;
        var all: Windows = .empty;
        errdefer freeWindows(allocator, &all);
        for ([_]*const Windows{ &space.image.?.windows, &space.windows }) |part| {
            var iterator = part.iterator();
            while (iterator.next()) |entry| {
                const window = entry.value_ptr.* orelse continue;
                if (part != &space.windows and space.windows.contains(entry.key_ptr.*)) continue;
                const copy = allocator.create(Window) catch return error.OutOfMemory;
                copy.* = window.*;
                all.put(allocator, entry.key_ptr.*, copy) catch {
                    allocator.destroy(copy);
                    return error.OutOfMemory;
                };
            }
        }
        return all;
    }

    fn freeWindows(allocator: std.mem.Allocator, windows: *Windows) void {
        var values = windows.valueIterator();
        while (values.next()) |window| if (window.*) |some| allocator.destroy(some);
        windows.deinit(allocator);
    }
};
