//! Putting a fork back to its image, in two ways.
//!
//! `rewrite` compares each page of the touched set with the image and copies those that differ; page tables and
//! translations stay, so the next request has no faults. `full` maps the image anew: everything private is gone, and the
//! next request pays a fault for each page it touches. Either way everything else goes back too: page tables, mappings,
//! the allocator, the emulated kernel, registers and vector state (docs/reset.md has the list).
//!
//! What a request changed in the page tables is reverted by writing the tables back and dropping the private memory of
//! every frame whose entry was written: that is the event on the target's host page without which shadow paging would go
//! on translating as before.
const std = @import("std");
const kvm = @import("kvm.zig");
const limits = @import("limits.zig");
const planted = @import("planted.zig");
const reset_costs = @import("reset_costs.zig");
const reset_fields = @import("reset_fields.zig");
const threads = @import("linux/threads.zig");
const vm_pool = @import("vm_pool.zig");
const FrameSpace = @import("memory/frames.zig").FrameSpace;
const Image = @import("image.zig").Image;
const Machine = @import("machine.zig").Machine;
const Page = @import("memory/touched.zig").Page;

const page_size = limits.page_size;

pub const Mode = enum(u32) { auto, rewrite, full };
pub const Error = error{ OutOfMemory, HostFailure };

pub const Report = struct {
    mode: Mode,
    /// Pages that differed and were copied back, or private pages that were dropped.
    pages: u32,
};

/// What earlier resets have shown about a fork's requests.
pub const History = struct {
    count: u32 = 0,
    /// Sliding average of the pages that requests dirtied, times 16.
    dirtied_sixteenths: u64 = 0,
    /// Resets in a row for which a full one would have been cheaper.
    oversized: u32 = 0,
    pages_copied: u64 = 0,
    /// Pages the audit found outside the touched set. Anything but 0 is a mistake of this program.
    audit_misses: u64 = 0,

    fn note(self: *History, dirtied: u64) void {
        self.dirtied_sixteenths = self.dirtied_sixteenths - self.dirtied_sixteenths / 16 + dirtied;
    }
};

/// Puts the fork back. `limit_bytes` is how much private memory `auto` lets it keep. On failure the fork is poisoned and
/// may be reset again.
pub fn reset(machine: *Machine, mode: Mode, limit_bytes: u64) Error!Report {
    std.debug.assert(machine.is_fork and machine.attachment.pins == 0);
    // Half a reset is none: only a full one with another VM is right then.
    errdefer {
        machine.state = .poisoned;
        machine.broken = true;
    }
    const image = machine.image.?;
    // What has to be given up with the VM: tables without end, or a processor that did what no stub makes it do.
    const gives_vm_up = machine.broken or machine.space.tables.tooMany();
    if (gives_vm_up or machine.connections.haveOwnToForget()) vm_pool.detach(machine);
    try updateTouched(machine);
    const chosen = if (gives_vm_up or machine.frames.touched.stale) .full else choose(machine, mode, limit_bytes);
    const was_ended = machine.state != image.machine.state;
    const held = vm_pool.hold(machine);
    defer if (held) vm_pool.unpin(machine);
    const pages = switch (chosen) {
        .rewrite => try rewriteMemory(machine, image),
        else => try remapMemory(machine, image, limit_bytes),
    };
    try restoreRecords(machine, image, !gives_vm_up);
    machine.connections.resetOwn(limit_bytes);
    // An exception may have been on its way when the run was ended.
    if (held and (chosen == .full or was_ended)) try machine.vm.clearEvents();
    if (held) loadSegments(machine);
    return .{ .mode = chosen, .pages = pages };
}

fn loadSegments(machine: *Machine) void {
    const vm = &machine.vm;
    const device = &machine.platform.device;
    const root = machine.space.tables.rootPhysical();
    const segments = machine.current().segments;
    if (vm.hasSegments(device, root, segments.fs, segments.gs)) return;
    vm.loadSegments(device, root, segments.fs, segments.gs);
}

/// Lets the fork go back to another image from now on; the next reset must be a full one, which this does.
pub fn resetTo(machine: *Machine, image: *Image) Error!Report {
    vm_pool.detach(machine);
    machine.broken = true;
    const connections = try image.machine.connections.share(machine.allocator);
    machine.connections.deinit(machine.allocator);
    machine.connections = connections;
    const old = machine.image.?;
    machine.image = image.retain();
    machine.frames.memory = .{ .image = &image.frames };
    machine.space.image = &image.space;
    machine.space.tables.image = &image.space.tables;
    machine.space.vmas.changed = true;
    machine.resets = .{};
    defer old.release();
    return reset(machine, .full, std.math.maxInt(u64));
}

/// Brings the touched set up to date, and now and then checks that it was.
fn updateTouched(machine: *Machine) Error!void {
    const frames = &machine.frames;
    const history = &machine.resets;
    if (planted.is(.touched_set_not_renewed) and history.count > 0) frames.touched.stale = false;
    history.count +%= 1;
    const audit = history.count % limits.resets_per_audit == 0;
    if (!frames.touched.stale and !audit) return;
    const was_stale = frames.touched.stale;
    const before = frames.touched.pages.items.len;
    try frames.touched.scan(frames.allocator, frames.base, frames.end());
    if (was_stale or frames.touched.pages.items.len <= before) return;
    history.audit_misses += 1;
    // Asks for a full reset, which needs no touched set.
    frames.touched.stale = true;
}

/// `auto`: copying back, unless the request went wrong, or so much is private that dropping it is cheaper.
fn choose(machine: *Machine, mode: Mode, limit_bytes: u64) Mode {
    if (mode == .full) return .full;
    // Memory that shows other files than the image's can only be mapped anew.
    const shows_files = machine.frames.files_changed and !planted.is(.file_shown_kept);
    if (shows_files or machine.frames.lost) return .full;
    if (machine.frames.anonymousBeyondImage() > limits.remapped_ranges_max) return .full;
    if (mode == .rewrite) return .rewrite;
    const ended_early = machine.state != machine.image.?.machine.state;
    if (ended_early) return .full;
    const private = machine.frames.touched.pages.items.len;
    if (private * page_size > limit_bytes) return .full;
    const history = &machine.resets;
    if (private < limits.full_reset_min_pages) {
        history.oversized = 0;
        return .rewrite;
    }
    const costs = reset_costs.get(machine.platform);
    const again = history.dirtied_sixteenths / 16 * costs.first_write_ns + costs.full_ns;
    history.oversized = if (private * costs.compare_ns > again) history.oversized + 1 else 0;
    if (history.oversized < limits.oversized_resets) return .rewrite;
    history.oversized = 0;
    return .full;
}

/// The memory of a `full` reset; the pages that were private.
fn remapMemory(machine: *Machine, image: *Image, limit_bytes: u64) Error!u32 {
    const frames = &machine.frames;
    const private = frames.touched.pages.items;
    const pages: u32 = @intCast(private.len);
    const extent = image.frames.blocks.len * limits.window_pages;
    // What was too much is not to be private again at once.
    const expected = @as(u64, pages) * page_size <= limit_bytes;
    if (expected) {
        for (private) |page| if (!frames.holdsTable(page.frame)) image.write_set.add(image.allocator, page.frame, extent);
    }
    frames.touched.clear();
    try frames.mapImage();
    if (expected) image.write_set.populate(frames);
    // The populated pages, and those that the reset itself writes.
    frames.touched.stale = true;
    return pages;
}

const Rewrite = struct {
    frames: *FrameSpace,
    image: *Image,
    dirtied: u32 = 0,
    /// A run of old pages that is to be given back.
    drop_first: u32 = 0,
    drop_last: u32 = 0,

    /// One page of the touched set: back to the image's bytes. False if it is given back.
    fn page(self: *Rewrite, item: *Page) bool {
        if (!self.frames.touched.has(item.frame)) return false;
        if (planted.is(.page_forgotten) and item.frame % 7 == 3) return true;
        if (planted.is(.table_entry_kept) and self.frames.holdsTable(item.frame)) return true;
        const mine: *[page_size]u8 = self.frames.bytes(item.frame, 1)[0..page_size];
        const differed = if (self.expected(item.frame)) |bytes| copyIfDifferent(mine, bytes) else zeroIfNot(mine);
        if (differed) {
            self.dirtied += 1;
            item.age = 0;
            self.image.write_set.add(self.image.allocator, item.frame, self.image.frames.blocks.len * limits.window_pages);
            return true;
        }
        item.age +|= 1;
        // Hardware marks the tables it walks, so those would only be copied again.
        if (item.age < limits.idle_resets_max or self.frames.holdsTable(item.frame)) return true;
        self.drop(item.frame);
        return false;
    }

    fn expected(self: *const Rewrite, frame: u32) ?*align(page_size) const [page_size]u8 {
        return self.image.frames.pageBytes(frame);
    }

    fn drop(self: *Rewrite, frame: u32) void {
        if (frame != self.drop_last) self.dropRun();
        if (self.drop_first == self.drop_last) self.drop_first = frame;
        self.drop_last = frame + 1;
    }

    fn dropRun(self: *Rewrite) void {
        if (self.drop_last > self.drop_first and !self.frames.drop(self.drop_first, self.drop_last - self.drop_first)) self.frames.touched.stale = true;
        self.drop_first = 0;
        self.drop_last = 0;
    }
};

/// The memory of a `rewrite` reset; the pages that differed.
fn rewriteMemory(machine: *Machine, image: *Image) Error!u32 {
    const frames = &machine.frames;
    machine.clock.showImage(&image.machine.clock);
    if (!planted.is(.mapping_not_revoked)) machine.space.forEachChangedRun(frames, dropChanged);
    try frames.mapImageAgain();
    var rewrite: Rewrite = .{ .frames = frames, .image = image };
    const pages = &frames.touched.pages;
    var kept: usize = 0;
    for (pages.items) |item| {
        var page = item;
        if (rewrite.page(&page)) {
            pages.items[kept] = page;
            kept += 1;
        } else frames.touched.leave(item.frame);
    }
    pages.shrinkRetainingCapacity(kept);
    rewrite.dropRun();
    machine.resets.note(rewrite.dirtied);
    machine.resets.pages_copied += rewrite.dirtied;
    return rewrite.dirtied;
}

/// Dropping what is behind a frame makes KVM forget every translation to it, and gives it the image's bytes.
fn dropChanged(frames: *FrameSpace, first: u32, count: u64) void {
    if (!frames.drop(first, count)) {
        // Locked memory cannot be dropped: the comparison brings its bytes back, this the translations.
        return frames.revoke(first, count);
    }
    for (first..first + count) |frame| frames.touched.leave(@intCast(frame));
}

const Chunk = @Vector(64, u8);
const chunks_at_once = 4;

fn chunk(page: [*]const u8, index: usize) Chunk {
    return @as(*const Chunk, @ptrCast(@alignCast(page + index * 64))).*;
}

fn copyIfDifferent(to: *[page_size]u8, from: *align(page_size) const [page_size]u8) bool {
    var at: usize = 0;
    while (at < page_size / 64) : (at += chunks_at_once) {
        var different: Chunk = @splat(0);
        inline for (0..chunks_at_once) |next| different |= chunk(to, at + next) ^ chunk(from, at + next);
        if (@reduce(.Or, different) != 0) break;
    } else return false;
    const end: usize = if (planted.is(.page_half_copied)) @min((at + chunks_at_once) * 64, page_size) else page_size;
    copyBytes(to[at * 64 .. end], from[at * 64 .. end]);
    return true;
}

/// `rep movsb` and `rep stosb`: for whole pages the processor's own way is as fast as the widest registers, and needs no
/// build for one kind of processor.
fn copyBytes(to: []u8, from: []const u8) void {
    asm volatile ("rep movsb"
        :
        : [to] "{rdi}" (to.ptr),
          [from] "{rsi}" (from.ptr),
          [count] "{rcx}" (to.len),
        : .{ .rdi = true, .rsi = true, .rcx = true, .memory = true });
}

fn zeroBytes(bytes: []u8) void {
    asm volatile ("rep stosb"
        :
        : [to] "{rdi}" (bytes.ptr),
          [value] "{al}" (@as(u8, 0)),
          [count] "{rcx}" (bytes.len),
        : .{ .rdi = true, .rcx = true, .memory = true });
}

fn zeroIfNot(page: *[page_size]u8) bool {
    if (planted.is(.zero_page_kept)) return false;
    var at: usize = 0;
    while (at < page_size / 64) : (at += chunks_at_once) {
        var any: Chunk = @splat(0);
        inline for (0..chunks_at_once) |next| any |= chunk(page, at + next);
        if (@reduce(.Or, any) != 0) break;
    } else return false;
    zeroBytes(page[at * 64 ..]);
    return true;
}

/// Everything that is not memory.
fn restoreRecords(machine: *Machine, image: *Image, vm_kept: bool) Error!void {
    const frozen = &image.machine;
    const before: Kept = if (planted.enabled) .of(machine) else .{};
    try machine.frames.adoptImage();
    try machine.space.adoptImage(vm_kept);
    if (!vm_kept) if (machine.remote) |remote| {
        remote.age +%= 1;
    };
    try machine.kernel.restore(&frozen.kernel, machine.outputs);
    reset_fields.copy(Machine, machine, frozen);
    if (machine.program != frozen.program and !planted.is(.program_kept)) {
        machine.program.release(machine.allocator);
        machine.program = frozen.program.retain();
    }
    if (!planted.is(.clock_kept)) machine.clock.goBack(&frozen.clock);
    if (!planted.is(.generation_kept)) machine.clock.renewGeneration();
    machine.interrupt.reasons.store(0, .seq_cst);
    machine.broken = false;
    machine.report.clearRetainingCapacity();
    for (machine.outputs) |output| if (output) |some| some.reopen();
    if (planted.enabled) before.putBack(machine);
}

/// What planted faults keep over a reset.
const Kept = struct {
    regs: kvm.Regs = .{},
    segments: threads.Segments = .{},
    call: @FieldType(Machine, "call") = .{},
    arena: @FieldType(Machine, "arena") = .{},
    brk_end: u64 = 0,

    fn of(machine: *Machine) Kept {
        return .{ .regs = machine.current().regs, .segments = machine.currentSegments(), .call = machine.call, .arena = machine.arena, .brk_end = machine.space.brk_end };
    }

    fn putBack(self: *const Kept, machine: *Machine) void {
        planted.keeps(.registers_kept, machine.current(), "regs", self);
        planted.keeps(.call_area_kept, machine, "call", self);
        planted.keeps(.arena_kept, machine, "arena", self);
        planted.keeps(.fs_base_kept, &machine.current().segments, "fs", &self.segments);
        planted.keeps(.gs_base_kept, &machine.current().segments, "gs", &self.segments);
        planted.keeps(.heap_end_kept, &machine.space, "brk_end", self);
    }
};
