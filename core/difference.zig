//! Compares two machines of one image completely, for tests of resets: everything that a guest could ever notice.
//!
//! Nothing runs meanwhile. Translations that KVM remembers cannot be seen from here: a test must look from inside, too.
const std = @import("std");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const frozen_files = @import("linux/files/frozen.zig");
const kernel_module = @import("linux/kernel.zig");
const reset_fields = @import("reset_fields.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const Block = @import("memory/frames.zig").Block;
const Machine = @import("machine.zig").Machine;
const Window = @import("memory/address_space.zig").Window;
const Thread = @import("linux/threads.zig").Thread;
const vm_pool = @import("vm_pool.zig");
const Writer = std.Io.Writer;

pub const Error = error{ OutOfMemory, HostFailure, WriteFailed };

/// Writes a line for each difference; nothing when there is none.
pub fn write(out: *Writer, a: *Machine, b: *Machine) Error!void {
    // Another thread must not take a VM away meanwhile.
    const held = [_]bool{ vm_pool.hold(a), vm_pool.hold(b) };
    defer for ([_]*Machine{ a, b }, held) |machine, is_held| if (is_held) vm_pool.unpin(machine);
    try fields(Machine, "machine", out, a, b);
    if (a.program != b.program) try out.writeAll("machine: another program\n");
    try fields(kernel_module.Kernel, "kernel", out, &a.kernel, &b.kernel);
    if (a.kernel.cpuCycles() != b.kernel.cpuCycles()) try out.print("kernel: CPU time {d} and {d}\n", .{ a.kernel.cpuCycles(), b.kernel.cpuCycles() });
    if (!frozen_files.same(&a.kernel.files, &b.kernel.files)) try out.writeAll("files: open files or the working directory differ\n");
    if (!a.kernel.files.private.equals(b.kernel.files.private)) try out.writeAll("files: private files differ\n");
    if (!std.meta.eql(a.currentSegments(), b.currentSegments())) try out.print("segments: {any} and {any}\n", .{ a.currentSegments(), b.currentSegments() });
    try threads(out, a, b);
    try vectorState(out, a, b);
    try mappings(out, &a.space, &b.space);
    try windows(out, &a.space, &b.space);
    try allocator(out, a, b);
    try memory(out, a, b);
    if (!std.meta.eql(a.clock.stands_at, b.clock.stands_at)) try out.writeAll("clock: monotonic time stands elsewhere\n");
    if (a.clock.current.generation == b.clock.current.generation) try out.writeAll("clock: the same generation\n");
}

/// The fields that a reset copies.
fn fields(comptime T: type, comptime name: []const u8, out: *Writer, a: *const T, b: *const T) Error!void {
    inline for (@typeInfo(T).@"struct".fields) |field| {
        if (comptime reset_fields.policyOf(T, field.name) != .copied) continue;
        if (!std.meta.eql(@field(a, field.name), @field(b, field.name))) try out.print(name ++ ": {s} differs\n", .{field.name});
    }
}

fn vectorState(out: *Writer, a: *Machine, b: *Machine) Error!void {
    const mine = a.kernel.threads.list.items;
    const other = b.kernel.threads.list.items;
    for (mine[0..@min(mine.len, other.len)], other[0..@min(mine.len, other.len)]) |one, two| try threadVectors(out, a, b, one, two);
    try threadVectors(out, a, b, a.kernel.threads.caller, b.kernel.threads.caller);
}

fn threadVectors(out: *Writer, a: *Machine, b: *Machine, one: *const Thread, two: *const Thread) Error!void {
    var states: [2]kvm.Xsave = undefined;
    try one.vectors.copyTo(&a.vm, &states[0]);
    try two.vectors.copyTo(&b.vm, &states[1]);
    if (!std.mem.eql(u8, std.mem.asBytes(&states[0]), std.mem.asBytes(&states[1]))) try out.print("vectors: differ in thread {d}\n", .{one.id});
}

/// Everything of threads but their vector state, and the current one's bases while they are in the processor.
fn threads(out: *Writer, a: *const Machine, b: *const Machine) Error!void {
    const mine = &a.kernel.threads;
    const other = &b.kernel.threads;
    if (mine.list.items.len != other.list.items.len) return out.print("threads: {d} and {d}\n", .{ mine.list.items.len, other.list.items.len });
    if (mine.current.id != other.current.id or mine.next_id != other.next_id or mine.caller_fresh != other.caller_fresh) try out.writeAll("threads: another is the current one, or comes next\n");
    for (mine.list.items, other.list.items) |one, two| inline for (@typeInfo(Thread).@"struct".fields) |field| {
        if (comptime !std.mem.eql(u8, field.name, "vectors") and !std.mem.eql(u8, field.name, "asks") and !std.mem.eql(u8, field.name, "segments")) {
            if (!std.meta.eql(@field(one, field.name), @field(two, field.name))) try out.print("thread {d}: {s} differs\n", .{ one.id, field.name });
        }
    };
}

fn mappings(out: *Writer, a: *const AddressSpace, b: *const AddressSpace) Error!void {
    const mine = a.vmas.items.items;
    const other = b.vmas.items.items;
    if (mine.len != other.len) try out.print("mappings: {d} and {d}\n", .{ mine.len, other.len });
    for (mine[0..@min(mine.len, other.len)], other[0..@min(mine.len, other.len)]) |one, two| {
        if (!std.meta.eql(one, two)) try out.print("mappings: {any} and {any}\n", .{ one, two });
    }
    if (a.brk_start != b.brk_start or a.brk_end != b.brk_end) try out.print("mappings: the heap ends at {x} and {x}\n", .{ a.brk_end, b.brk_end });
}

fn windows(out: *Writer, a: *const AddressSpace, b: *const AddressSpace) Error!void {
    for ([_]*const AddressSpace{ a, b }) |space| {
        var own = space.windows.keyIterator();
        while (own.next()) |key| try window(out, key.*, a.findWindow(key.*), b.findWindow(key.*));
    }
}

fn window(out: *Writer, key: u64, a: ?*const Window, b: ?*const Window) Error!void {
    if (a == null and b == null) return;
    if (a == null or b == null) return out.print("window {x}: only in one\n", .{key});
    if (a.?.table != b.?.table or a.?.block != b.?.block or a.?.mapped != b.?.mapped or !std.mem.eql(u32, &a.?.frames, &b.?.frames)) {
        try out.print("window {x}: differs\n", .{key});
    }
}

/// A fork's own tables stay out of the allocator, so they are left out on both sides.
fn allocator(out: *Writer, a: *const Machine, b: *const Machine) Error!void {
    if (a.frames.frames_used != b.frames.frames_used) try out.print("allocator: {d} and {d} frames used\n", .{ a.frames.frames_used, b.frames.frames_used });
    if (!std.meta.eql(a.frames.anonymous.len, b.frames.anonymous.len)) try out.print("allocator: {d} and {d} anonymous ranges\n", .{ a.frames.anonymous.len, b.frames.anonymous.len });
    if (a.frames.files.items.items.len != b.frames.files.items.items.len) try out.print("allocator: {d} and {d} runs of frames show files\n", .{ a.frames.files.items.items.len, b.frames.files.items.items.len });
    const count = @max(a.frames.blocks.items.len, b.frames.blocks.items.len);
    for (0..count) |index| {
        const one = blockWithoutTables(a, index);
        const two = blockWithoutTables(b, index);
        if (one.use != two.use or !one.used.eql(two.used)) try out.print("allocator: block {d} is {t} and {t}\n", .{ index, one.use, two.use });
    }
}

fn blockWithoutTables(machine: *const Machine, index: usize) Block {
    var block: Block = if (index < machine.frames.blocks.items.len) machine.frames.blocks.items[index] else .{};
    var any = false;
    var own = machine.space.tables.tables.valueIterator();
    while (own.next()) |made| {
        if (made.frame / limits.window_pages != index or made.live) continue;
        any = true;
        block.used.unset(made.frame % limits.window_pages);
    }
    // A block that holds nothing but such tables is a free one but for them.
    if (any and block.used.findFirstSet() == null) block.use = .free;
    return block;
}

/// Pages that neither has touched are the image's in both.
fn memory(out: *Writer, a: *Machine, b: *Machine) Error!void {
    const clock_page = layout.Page.vdso_parameters.physical() / limits.page_size;
    for ([_]*Machine{ a, b }) |machine| {
        try machine.frames.touched.scan(machine.allocator, machine.frames.base, machine.frames.end());
        // Only asked; whoever relies on the set must ask again.
        machine.frames.touched.stale = true;
    }
    for ([_]*Machine{ a, b }) |machine| for (machine.frames.touched.pages.items) |page| {
        if (page.frame == clock_page) continue;
        const one = bytesOf(a, page.frame);
        const two = bytesOf(b, page.frame);
        const at = std.mem.indexOfDiff(u8, one, two) orelse continue;
        try out.print("memory: frame {d} differs at byte {d}: 0x{x} and 0x{x}\n", .{ page.frame, at, one[at], two[at] });
    };
}

fn bytesOf(machine: *Machine, frame: u32) []const u8 {
    const zero = struct {
        const page: [limits.page_size]u8 align(limits.page_size) = @splat(0);
    };
    if (frame >= machine.frames.end()) return &zero.page;
    // An untouched hole of the image would get memory for good by being read.
    if (!machine.frames.touched.has(frame)) return machine.image.?.frames.pageBytes(frame) orelse &zero.page;
    return machine.frames.bytes(frame, 1);
}
