//! An epoll set: watches on open files, in the order in which they were added, without a list of ready ones.
//!
//! A watch belongs to a descriptor's number and the open file behind it, and goes with the last descriptor of that file.
//! An edge-triggered one tells each change once: it remembers the changes that it has told (`readiness.zig`).
//! Not here: the system calls (`epoll_calls.zig`). Source: epoll(7), epoll_ctl(2).
const std = @import("std");
const readiness = @import("readiness.zig");
const table = @import("../files/table.zig");
const Changes = readiness.Changes;
const Description = table.Description;
const FileTable = table.FileTable;

pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
pub const EPOLLWAKEUP: u32 = 1 << 29;
pub const EPOLLONESHOT: u32 = 1 << 30;
pub const EPOLLET: u32 = 1 << 31;
const flags = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;

/// More than any object changes in a machine's life.
const removal_step = 1 << 40;

/// Sets in one another, the outermost included.
pub const depth_max = 5;

pub const Watch = struct {
    fd: i32,
    description: *Description,
    /// As given, with flags.
    events: u32,
    data: u64,
    /// The changes of each side that were told last.
    told: Changes = .{},
    /// Nothing of this side was told since the watch was added or modified.
    new_in: bool = true,
    new_out: bool = true,
    /// EPOLLONESHOT has told something.
    disabled: bool = false,

    /// All that the watch may tell.
    pub fn interest(self: *const Watch) u32 {
        return (self.events & ~flags) | readiness.always;
    }

    /// What it would tell now: of an edge-triggered watch only sides on which something has happened.
    pub fn wanted(self: *const Watch, changes: Changes) u32 {
        if (self.disabled) return 0;
        if (self.events & EPOLLET == 0) return self.interest();
        var sides: u32 = 0;
        if (self.new_in or self.told.in != changes.in) sides |= readiness.read_side | readiness.always;
        if (self.new_out or self.told.out != changes.out) sides |= readiness.write_side | readiness.always;
        return self.interest() & sides;
    }

    /// It has told `events`. A side of which nothing was told stays as it was: of an object of the host's no change tells
    /// that something has arrived.
    pub fn tell(self: *Watch, events: u32, changes: Changes) void {
        if (self.events & EPOLLONESHOT != 0) self.disabled = true;
        if (events & (readiness.read_side | readiness.always) != 0) {
            self.new_in = false;
            self.told.in = changes.in;
        }
        if (events & (readiness.write_side | readiness.always) != 0) {
            self.new_out = false;
            self.told.out = changes.out;
        }
    }

    pub fn rearm(self: *Watch, events: u32, data: u64) void {
        self.* = .{ .fd = self.fd, .description = self.description, .events = events, .data = data };
    }
};

pub const Epoll = struct {
    watches: std.ArrayList(Watch) = .empty,
    /// Where the next wait begins to look, so that every ready watch has its turn.
    next: usize = 0,
    /// Changes of the set itself and of what it has watched before, for sets that watch this one.
    changes: u64 = 0,
    // What an inquiry has found, valid with its stamp.
    inquiry: u64 = 0,
    judged: u64 = 0,
    is_ready: bool = false,
    summed: u64 = 0,
    sum: u64 = 0,
    measured: u64 = 0,
    height: u32 = 0,

    pub fn create(files: *FileTable) error{OutOfMemory}!*Epoll {
        try files.sets.ensureUnusedCapacity(files.allocator, 1);
        const self = try files.allocator.create(Epoll);
        self.* = .{};
        files.sets.appendAssumeCapacity(self);
        return self;
    }

    pub fn find(self: *Epoll, fd: i32, description: *const Description) ?*Watch {
        for (self.watches.items) |*watch| if (watch.fd == fd and watch.description == description) return watch;
        return null;
    }

    pub fn add(self: *Epoll, files: *FileTable, watch: Watch) error{OutOfMemory}!void {
        try self.watches.append(files.allocator, watch);
        watch.description.watches += 1;
        files.watches += 1;
        self.changes +%= 1;
    }

    /// Adds a watch of an original set, on the copy of what that watches; the list has room for it.
    pub fn addCopy(self: *Epoll, files: *FileTable, watch: Watch, description: *Description) void {
        var made = watch;
        made.description = description;
        self.watches.appendAssumeCapacity(made);
        description.watches += 1;
        files.watches += 1;
    }

    /// Whether two sets of tables with the same open files are the same.
    pub fn sameAs(self: *const Epoll, other: *const Epoll, files: *const FileTable, other_files: *const FileTable) bool {
        if (self.next != other.next or self.changes != other.changes or self.watches.items.len != other.watches.items.len) return false;
        for (self.watches.items, other.watches.items) |one, two| {
            var copy = one;
            copy.description = two.description;
            if (!std.meta.eql(copy, two)) return false;
            // Mostly a watched descriptor is still open.
            if (files.get(one.fd) == one.description and other_files.get(two.fd) == two.description) continue;
            if (files.firstWith(one.description) != other_files.firstWith(two.description)) return false;
        }
        return true;
    }

    pub fn remove(self: *Epoll, files: *FileTable, watch: *Watch) void {
        const index = watch - self.watches.items.ptr;
        // What the sum of changes loses with the watch must not let it come back to a value that was told.
        self.changes +%= removal_step;
        watch.description.watches -= 1;
        files.watches -= 1;
        _ = self.watches.orderedRemove(index);
        if (self.next > index) self.next -= 1;
    }

    /// The open file is gone: nothing watches it any more.
    pub fn removeAllOf(self: *Epoll, files: *FileTable, description: *const Description) void {
        var index: usize = 0;
        while (index < self.watches.items.len) {
            if (self.watches.items[index].description == description) self.remove(files, &self.watches.items[index]) else index += 1;
        }
    }

    pub fn clear(self: *Epoll, files: *FileTable) void {
        for (self.watches.items) |watch| watch.description.watches -= 1;
        files.watches -= @intCast(self.watches.items.len);
        self.watches.clearRetainingCapacity();
    }

    pub fn destroy(self: *Epoll, files: *FileTable) void {
        self.clear(files);
        _ = files.sets.swapRemove(std.mem.indexOfScalar(*Epoll, files.sets.items, self).?);
        self.watches.deinit(files.allocator);
        files.allocator.destroy(self);
    }

    /// How many sets are in one another, this one included; more than any allowed number if it is in itself.
    fn measure(self: *Epoll, stamp: u64) u32 {
        const endless = 1 << 16;
        if (self.measured == stamp) return self.height;
        self.measured = stamp;
        // What is met again before it is measured is in itself.
        self.height = endless;
        var most: u32 = 0;
        for (self.watches.items) |watch| if (watch.description.kind == .epoll) {
            most = @max(most, watch.description.kind.epoll.measure(stamp));
        };
        self.height = most +| 1;
        return self.height;
    }
};

/// Whether sets are in themselves, or too many in one another.
pub fn isTooDeep(files: *FileTable) bool {
    const stamp = files.nextStamp();
    for (files.sets.items) |set| if (set.measure(stamp) > depth_max) return true;
    return false;
}
