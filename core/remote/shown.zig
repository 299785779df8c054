//! What a machine's VM shows of remotes: their memory, each in slots of the VM, and root tables under which it can be reached.
//!
//! The machine's own root table never leads to a remote. For each set of remotes that is reached together there is another one,
//! with the machine's own entries and theirs, in memory that no guest can reach. Entries are added, never taken away: what a
//! processor remembers of an upper level cannot be taken back. Only removing a slot makes KVM forget, so a table is used for
//! other remotes behind that alone.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const Machine = @import("../machine.zig").Machine;
const Remote = @import("remote.zig").Remote;
const Backing = @import("../vm.zig").Backing;
const Vm = @import("../vm.zig").Vm;

const page = limits.page_size;
const roots_bytes = limits.remote_roots_max * page;

/// A set of windows, one bit each.
pub const Mask = u16;

/// What a root table that nobody uses is for.
const unused: Mask = 0;

pub fn maskOf(window: u4) Mask {
    return @as(Mask, 1) << window;
}

const Window = struct {
    remote: *Remote,
    /// `Remote.age` as the VM has it.
    age: u32,
    backing: Backing = .{},
};

pub const Shown = struct {
    windows: [layout.remote_windows]?Window = @splat(null),
    roots: ?[]align(page) u8 = null,
    root_slot: bool = false,
    masks: [limits.remote_roots_max]Mask = undefined,
    mask_count: u8 = 0,
    /// `PageTables.root_changes` as the root tables have it.
    root_changes: u32 = 0,

    pub const Error = error{ HostFailure, TooMany };

    pub fn deinit(self: *Shown) void {
        for (&self.windows) |*window| if (window.*) |some| some.remote.letGo();
        if (self.roots) |roots| _ = linux.munmap(roots.ptr, roots.len);
        self.* = .{};
    }

    /// The machine has another VM, which shows nothing yet.
    pub fn forgetVm(self: *Shown) void {
        // The remotes are let go of later: their last user takes them down, which is not to be done here.
        for (&self.windows) |*window| if (window.*) |*some| {
            some.backing = .{};
        };
        self.root_slot = false;
        self.mask_count = 0;
    }

    /// Makes the VM show a remote; `machine` is whose VM it is.
    pub fn show(self: *Shown, machine: *Machine, remote: *Remote) Error!void {
        const number = remote.machine.window().?;
        const window = &self.windows[number];
        if (window.*) |*some| if (some.remote != remote or some.age != remote.age) {
            if (machine.gates) |gates| gates.closeWindow(number);
            try self.hide(&machine.vm, number);
        };
        if (window.* == null) window.* = .{ .remote = remote.retain(), .age = remote.age };
        try self.grow(&machine.vm, number, remote.machine.frames.blocks.items.len * limits.window_size);
    }

    /// Shows a remote's memory up to `bytes`: it may have grown.
    pub fn grow(self: *Shown, vm: *Vm, number: u4, bytes: u64) host.Error!void {
        const window = &self.windows[number].?;
        try vm.back(&window.backing, &window.remote.machine.frames, bytes);
    }

    fn hide(self: *Shown, vm: *Vm, number: u4) host.Error!void {
        const window = &self.windows[number].?;
        try vm.unback(&window.backing);
        window.remote.letGo();
        self.windows[number] = null;
        // With the slots went all that the processor remembered, so that these tables can serve other sets. The others stay what they
        // are: a remote further up in the chain may be running on one of them.
        for (self.masks[0..self.mask_count]) |*mask| {
            if (mask.* & maskOf(number) != 0) mask.* = unused;
        }
    }

    /// The guest-physical address of the root table that leads to the machine itself and to the remotes of `mask`, all of which
    /// are shown.
    pub fn rootOf(self: *Shown, machine: *Machine, mask: Mask) Error!u64 {
        self.follow(machine);
        for (self.masks[0..self.mask_count], 0..) |known, index| {
            if (known == mask) return layout.roots_physical + index * page;
        }
        if (self.roots == null) {
            const address = try host.check(linux.mmap(null, roots_bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0));
            self.roots = @as([*]align(page) u8, @ptrFromInt(address))[0..roots_bytes];
        }
        if (!self.root_slot) {
            _ = try machine.vm.addSlot(layout.roots_physical, self.roots.?);
            self.root_slot = true;
        }
        const index = std.mem.indexOfScalar(Mask, self.masks[0..self.mask_count], unused) orelse next: {
            if (self.mask_count == limits.remote_roots_max) return error.TooMany;
            self.mask_count += 1;
            break :next self.mask_count - 1;
        };
        self.masks[index] = mask;
        self.fill(machine, @intCast(index));
        return layout.roots_physical + index * page;
    }

    /// What was added to the machine's own root table is added to the others.
    pub fn follow(self: *Shown, machine: *Machine) void {
        const tables = &machine.space.tables;
        if (self.root_changes == tables.root_changes) return;
        self.root_changes = tables.root_changes;
        for (0..self.mask_count) |index| self.fill(machine, @intCast(index));
    }

    fn fill(self: *Shown, machine: *Machine, index: u8) void {
        const table: *[512]u64 = @ptrCast(@alignCast(self.roots.?[@as(usize, index) * page ..].ptr));
        for (table[0 .. table.len / 2], 0..) |*entry, number| {
            const of_remote = self.remoteAt(self.masks[index], number);
            const tables = if (of_remote) |remote| &remote.machine.space.tables else &machine.space.tables;
            @atomicStore(u64, entry, tables.rootEntry(number), .release);
        }
    }

    /// The remote of a set that an entry of the root table leads to.
    fn remoteAt(self: *const Shown, mask: Mask, number: usize) ?*Remote {
        const window = layout.windowOf(number * layout.remote_window_bytes) orelse return null;
        return if (mask & maskOf(window) != 0) self.windows[window].?.remote else null;
    }
};
