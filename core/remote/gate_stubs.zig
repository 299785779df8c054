//! The code of gates: how a program gets into a remote's function and back without an exit.
//!
//! `int3` in front of the gate brings the processor to ring 0, which does one thing: if it came from there, it loads the root
//! table that the gate table has for the function's number; if it came from the gate's end, the machine's own. Whatever else is
//! to be done is done in ring 3 behind it, where the remote can be reached already and the caller has no say any more: the
//! page is read-only, and where to go on is not the caller's choice. Everything is right with any registers.
//!
//! Ring 0 is emulated instruction by instruction on some platforms, each for half a microsecond: hence so little there.
const std = @import("std");
const assert = std.debug.assert;
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const system_area = @import("../system_area.zig");

/// What a caller's gates lead to, by the number of the function. Read-only for the guest.
pub const Table = extern struct {
    entries: [entries_count]Entry,

    pub const Entry = extern struct {
        /// The root table to load: the machine's own where there is no gate.
        root: u64,
        /// 0 where there is no gate.
        function: u64 = 0,
        /// The end of the stack that it runs on.
        stack: u64 = 0,
        /// Of the last entry: the VMM has made an ordinary call of the one under way.
        is_adopted: u64 = 0,
    };

    pub const entries_count = 256;
    const last = entries_count - 1;

    /// Without any gate, for a machine with this root table.
    pub fn init(self: *Table, root: u64) void {
        self.entries = @splat(.{ .root = root });
    }

    pub fn adopted(self: *Table) *u64 {
        return &self.entries[last].is_adopted;
    }
};

const entry_shift = 5;
const last_entry = Table.last * @sizeOf(Table.Entry);

comptime {
    assert(@sizeOf(Table) == layout.gate_table_pages * limits.page_size);
    assert(@sizeOf(Table.Entry) == 1 << entry_shift);
    assert(limits.imports_max < Table.last);
}

/// What a gate keeps of its caller, on the remote's stack, below its end.
pub const Frame = extern struct {
    /// The number of the function, as an offset into the table.
    number: u64,
    gs: u64,
    fs: u64,
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    rsp: u64,
};

/// What the VMM puts at the end of the remote's stack.
pub const Bases = extern struct {
    fs: u64,
    gs: u64,
    /// Calls that have gone through the gate.
    calls: u64 = 0,
};

comptime {
    // At the function's first instruction rsp + 8 is a multiple of 16.
    assert(@sizeOf(Frame) % 16 == 0);
}

/// Where in the frame a register is, seen from its end.
fn kept(comptime name: []const u8) u8 {
    return @bitCast(@as(i8, @intCast(@as(i64, @offsetOf(Frame, name)) - @sizeOf(Frame))));
}

/// The same, seen from its beginning.
fn in(comptime name: []const u8) u8 {
    return @offsetOf(Frame, name);
}

const Assembler = struct {
    at: u64,
    code: []const u8 = &.{},

    fn put(comptime self: *Assembler, comptime bytes: []const u8) void {
        self.code = self.code ++ bytes;
    }

    fn here(comptime self: *const Assembler) u64 {
        return self.at + self.code.len;
    }

    /// An instruction that ends in the distance to an address, and `behind` bytes after that.
    fn relative(comptime self: *Assembler, comptime bytes: []const u8, comptime address: u64, comptime behind: []const u8) void {
        const end = self.here() + bytes.len + 4 + behind.len;
        self.put(bytes ++ std.mem.toBytes(@as(i32, @intCast(@as(i64, address) - @as(i64, end)))) ++ behind);
    }

    fn movAbsolute(comptime self: *Assembler, comptime opcode: []const u8, comptime value: u64) void {
        self.put(opcode ++ std.mem.toBytes(value));
    }

    fn clearVectors(comptime self: *Assembler) void {
        self.put(&system_area.clearVectors(self.here()));
    }
};

const lea_rcx = [_]u8{ 0x48, 0x8d, 0x0d };
const je = [_]u8{ 0x0f, 0x84 };
const jmp = [_]u8{0xe9};
const int3 = [_]u8{0xcc};
const function_offset = @offsetOf(Table.Entry, "function");
const stack_offset = @offsetOf(Table.Entry, "stack");

/// All of the windows of remotes, and nothing else, have this above the bit.
const windows_shift = 43;
const windows_value = layout.remotes_base >> windows_shift;

comptime {
    assert(layout.remotes_base % (1 << windows_shift) == 0 and layout.remotes_end - layout.remotes_base == 1 << windows_shift);
}

/// `mov %register, %rax; shr $43, %rax; cmp $12, %eax`: whether it is an address in a remote.
fn isInRemote(comptime mov: [3]u8) [10]u8 {
    return mov ++ [_]u8{ 0x48, 0xc1, 0xe8, windows_shift, 0x83, 0xf8, windows_value };
}

/// The arguments: rdi, rsi, rdx, r10 (the fourth, as for a system call), r8, r9.
const arguments = [_][3]u8{ .{ 0x48, 0x89, 0xf8 }, .{ 0x48, 0x89, 0xf0 }, .{ 0x48, 0x89, 0xd0 }, .{ 0x4c, 0x89, 0xd0 }, .{ 0x4c, 0x89, 0xc0 }, .{ 0x4c, 0x89, 0xc8 } };

/// The gate and where its parts are. r11: the number of the function as an offset into the table; r10: the fourth argument.
const gate = blk: {
    @setEvalBranchQuota(20_000);
    const enter = layout.stub_gate + int3.len;
    // The way out is in front, so that jumps to it are known.
    var leaving: Assembler = .{ .at = layout.stub_gate_leave };
    // Refused: lea ordinary call, %rcx
    leaving.relative(&lea_rcx, layout.imports_ordinary, &.{});
    leaving.put(&int3);
    const left = leaving.here();
    // jmp *%rcx
    leaving.put(&.{ 0xff, 0xe1 });
    const returned = leaving.here();
    // cmpb $0, adopted; jne to where called functions return
    leaving.relative(&.{ 0x80, 0x3d }, layout.gate_table_address + last_entry + @offsetOf(Table.Entry, "is_adopted"), &.{0});
    leaving.relative(&.{ 0x0f, 0x85 }, layout.stub_call_return, &.{});
    // mov %rax, %r10; incq calls(stack): the result, and one call more
    leaving.put(&.{ 0x49, 0x89, 0xc2, 0x48, 0xff, 0x44, 0x24, @sizeOf(Frame) + @offsetOf(Bases, "calls") });
    const result_aside = leaving.here();
    // push $2; popfq; xor %edx, %edx
    leaving.put(&.{ 0x6a, 2, 0x9d, 0x31, 0xd2 });
    leaving.clearVectors();
    // mov gs(%rsp), %rcx; wrgsbase %rcx; mov fs(%rsp), %rcx; wrfsbase %rcx
    leaving.put(&.{ 0x48, 0x8b, 0x4c, 0x24, in("gs"), 0xf3, 0x48, 0x0f, 0xae, 0xd9 });
    leaving.put(&.{ 0x48, 0x8b, 0x4c, 0x24, in("fs"), 0xf3, 0x48, 0x0f, 0xae, 0xd1 });
    // mov x(%rsp), %r15, %r14, %r13, %r12, %rbp, %rbx, and %rsp last
    leaving.put(&.{ 0x4c, 0x8b, 0x7c, 0x24, in("r15"), 0x4c, 0x8b, 0x74, 0x24, in("r14") });
    leaving.put(&.{ 0x4c, 0x8b, 0x6c, 0x24, in("r13"), 0x4c, 0x8b, 0x64, 0x24, in("r12") });
    leaving.put(&.{ 0x48, 0x8b, 0x6c, 0x24, in("rbp"), 0x48, 0x8b, 0x5c, 0x24, in("rbx") });
    leaving.put(&.{ 0x48, 0x8b, 0x64, 0x24, in("rsp") });
    // xor %esi, %esi; %edi; %r8d; %r9d; %r11d: nothing of the remote's is left in registers
    leaving.put(&.{ 0x31, 0xf6, 0x31, 0xff, 0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9, 0x45, 0x31, 0xdb });
    leaving.relative(&lea_rcx, layout.imports_answered, &.{});
    // To the same int3, since ring 0 knows that one.
    leaving.relative(&jmp, left - int3.len, &.{});
    const leaving_end = leaving.here();

    var entering: Assembler = .{ .at = layout.stub_gate };
    entering.put(&int3);
    assert(entering.here() == enter);
    // lea table, %rcx; add %r11, %rcx; cmpq $0, function(%rcx); je refused
    entering.relative(&lea_rcx, layout.gate_table_address, &.{});
    entering.put(&.{ 0x4c, 0x01, 0xd9, 0x48, 0x83, 0x79, function_offset, 0 });
    entering.relative(&je, layout.stub_gate_leave, &.{});
    for (arguments) |mov| {
        entering.put(&isInRemote(mov));
        entering.relative(&je, layout.stub_gate_leave, &.{});
    }
    // mov stack(%rcx), %rax
    entering.put(&.{ 0x48, 0x8b, 0x41, stack_offset });
    // mov %rsp, x(%rax), %rbx, %rbp, %r12, %r13, %r14, %r15, %r11
    entering.put(&.{ 0x48, 0x89, 0x60, kept("rsp"), 0x48, 0x89, 0x58, kept("rbx"), 0x48, 0x89, 0x68, kept("rbp"), 0x4c, 0x89, 0x60, kept("r12") });
    entering.put(&.{ 0x4c, 0x89, 0x68, kept("r13"), 0x4c, 0x89, 0x70, kept("r14"), 0x4c, 0x89, 0x78, kept("r15"), 0x4c, 0x89, 0x58, kept("number") });
    // rdfsbase %rcx; mov %rcx, fs(%rax); rdgsbase %rcx; mov %rcx, gs(%rax)
    entering.put(&.{ 0xf3, 0x48, 0x0f, 0xae, 0xc1, 0x48, 0x89, 0x48, kept("fs"), 0xf3, 0x48, 0x0f, 0xae, 0xc9, 0x48, 0x89, 0x48, kept("gs") });
    const frame_made = entering.here();
    // mov fs(stack), %rcx; wrfsbase %rcx; mov gs(stack), %rcx; wrgsbase %rcx
    entering.put(&.{ 0x48, 0x8b, 0x48, @offsetOf(Bases, "fs"), 0xf3, 0x48, 0x0f, 0xae, 0xd1, 0x48, 0x8b, 0x48, @offsetOf(Bases, "gs"), 0xf3, 0x48, 0x0f, 0xae, 0xd9 });
    // lea table, %rcx; mov function(%rcx, %r11), %r11; lea -frame(%rax), %rsp
    entering.relative(&lea_rcx, layout.gate_table_address, &.{});
    entering.put(&.{ 0x4e, 0x8b, 0x5c, 0x19, function_offset, 0x48, 0x8d, 0x60, @bitCast(@as(i8, -@sizeOf(Frame))) });
    // push $2; popfq: flags as a function finds them. mov %r10, %rcx; then the vector state
    entering.put(&.{ 0x6a, 2, 0x9d, 0x4c, 0x89, 0xd1 });
    entering.clearVectors();
    // lea returned, %rax; push %rax; xor %eax, %eax; jmp *%r11
    entering.relative(&.{ 0x48, 0x8d, 0x05 }, returned, &.{});
    entering.put(&.{ 0x50, 0x31, 0xc0, 0x41, 0xff, 0xe3 });

    assert(entering.here() <= layout.stub_gate_leave);
    assert(leaving_end <= layout.initial_vectors_address);
    break :blk .{
        .entering = entering.code[0..entering.code.len].*,
        .leaving = leaving.code[0..leaving.code.len].*,
        .entered = enter,
        .frame_made = frame_made,
        .entering_end = entering.here(),
        .left = left,
        .returned = returned,
        .result_aside = result_aside,
        .leaving_end = leaving_end,
    };
};

/// Ring 0's part, for #BP.
const handler = blk: {
    var code: Assembler = .{ .at = layout.stub_ring0_gate };
    const scratch = layout.Page.exception_stack.address();
    const to_table = @as(i64, layout.gate_table_ring0) - @as(i64, gate.entered);
    const to_own_root = @as(i64, layout.gate_table_ring0 + last_entry) - @as(i64, gate.left);
    // mov %rax, scratch; mov $entered, %rax; cmp %rax, (%rsp); jne
    code.movAbsolute(&.{ 0x48, 0xa3 }, scratch);
    code.movAbsolute(&.{ 0x48, 0xb8 }, gate.entered);
    code.put(&.{ 0x48, 0x39, 0x04, 0x24 });
    // and $offsets, %r11d; mov table(%rax, %r11), %rax; mov %rax, %cr3; iretq
    const load = [_]u8{ 0x0f, 0x22, 0xd8, 0x48, 0xcf };
    const enter = [_]u8{ 0x41, 0x81, 0xe3 } ++ std.mem.toBytes(@as(u32, last_entry)) ++ [_]u8{ 0x4a, 0x8b, 0x84, 0x18 } ++ std.mem.toBytes(@as(i32, @intCast(to_table))) ++ load;
    code.put(&([_]u8{ 0x75, enter.len } ++ enter));
    // add $(left - entered), %rax; cmp %rax, (%rsp); jne; mov own root(%rax), %rax; mov %rax, %cr3; iretq
    code.put(&([_]u8{ 0x48, 0x05 } ++ std.mem.toBytes(@as(i32, @intCast(gate.left - gate.entered))) ++ [_]u8{ 0x48, 0x39, 0x04, 0x24 }));
    const leave = [_]u8{ 0x48, 0x8b, 0x80 } ++ std.mem.toBytes(@as(i32, @intCast(to_own_root))) ++ load;
    code.put(&([_]u8{ 0x75, leave.len } ++ leave));
    const switched = code.here();
    // A program's own int3: mov scratch, %rax; out; hlt
    code.movAbsolute(&.{ 0x48, 0xa1 }, scratch);
    code.put(&.{ 0xe6, layout.port_exception + layout.breakpoint_vector, 0xf4 });
    break :blk .{ .code = code.code[0..code.code.len].*, .end = switched };
};

pub const handler_code = handler.code;

const entering_code = gate.entering;
const leaving_code = gate.leaving;

pub fn put(page: *[limits.page_size]u8) void {
    const base = layout.Page.user_stubs.address();
    @memcpy(page[layout.stub_gate - base ..][0..entering_code.len], &entering_code);
    @memcpy(page[layout.stub_gate_leave - base ..][0..leaving_code.len], &leaving_code);
}

/// What functions that lead to remotes do first: through the gate if there is one. Only eax has a meaning. What comes next is an
/// ordinary call, with the number in r11 (`numberOf`).
pub fn approach(comptime at: u64) []const u8 {
    var code: Assembler = .{ .at = at };
    // movzbl %al, %r11d; shl $5, %r11d; lea table, %rcx; cmpq $0, function(%rcx, %r11)
    code.put(&.{ 0x44, 0x0f, 0xb6, 0xd8, 0x41, 0xc1, 0xe3, entry_shift });
    code.relative(&lea_rcx, layout.gate_table_address, &.{});
    code.put(&.{ 0x4a, 0x83, 0x7c, 0x19, function_offset, 0 });
    // A remote that calls another one does so in the name of its own functions, which these are not: its stack tells.
    const on_own_stack = isInRemote(.{ 0x48, 0x89, 0xe0 });
    const jump_bytes = 5;
    // je; mov %rsp, %rax…; je; jmp gate
    code.put(&([_]u8{ 0x74, on_own_stack.len + 2 + jump_bytes } ++ on_own_stack ++ [_]u8{ 0x74, jump_bytes }));
    code.relative(&jmp, layout.stub_gate, &.{});
    return code.code;
}

/// `mov %r11d, %eax; shr $5, %eax; add $first, %eax`
pub fn numberOf(comptime first: u32) []const u8 {
    return &([_]u8{ 0x44, 0x89, 0xd8, 0xc1, 0xe8, entry_shift, 0x05 } ++ std.mem.toBytes(first));
}

/// `mov %r10, %rax; xor %r10d, %r10d`: what the gate has brought.
pub const take_result = [_]u8{ 0x4c, 0x89, 0xd0, 0x45, 0x31, 0xd2 };

/// What a gate that was interrupted is to do.
pub const Part = enum {
    /// Nothing is changed yet but rax, rcx and flags: an ordinary call is made.
    to_call,
    /// The same, with the caller's registers in the frame.
    to_call_framed,
    /// The result is in rax, and the call is not counted.
    to_answer,
    /// The result is in r10, and the call is counted.
    to_answer_aside,
    /// All is done but loading the machine's own root table.
    to_leave,
    /// It is in the function, or anywhere else.
    beyond,
};

/// By the instruction pointer of ring 3, while a remote can be reached.
pub fn partOf(rip: u64) Part {
    // Behind int3 if the exception is on its way.
    if (rip == gate.left - int3.len or rip == gate.left) return .to_leave;
    if (rip == layout.stub_gate_leave) return .to_call;
    if (rip >= gate.entered and rip < gate.frame_made) return .to_call;
    if (rip >= gate.frame_made and rip < gate.entering_end) return .to_call_framed;
    if (rip >= gate.returned and rip < gate.result_aside) return .to_answer;
    if (rip >= gate.result_aside and rip < gate.leaving_end) return .to_answer_aside;
    return .beyond;
}

/// Whether ring 0 is at what a gate's int3 leads to.
pub fn isHandler(rip: u64) bool {
    return rip >= layout.stub_ring0_gate and rip < handler.end;
}

/// Whether ring 3 stands right behind the int3 in front of a gate.
pub fn isEntered(rip: u64) bool {
    return rip == gate.entered;
}

/// What ring 0 was about to do, by where ring 3 came from; null for a program's own int3.
pub fn crossing(ring3_rip: u64) ?enum { enter, leave } {
    if (ring3_rip == gate.entered) return .enter;
    return if (ring3_rip == gate.left) .leave else null;
}

/// Where ring 3 goes on behind a gate.
pub const left_address = gate.left;

test "every address of a gate has its part, and the parts are where their registers are so" {
    try std.testing.expectEqual(Part.to_call, partOf(gate.entered));
    try std.testing.expectEqual(Part.to_call_framed, partOf(gate.frame_made));
    try std.testing.expectEqual(Part.beyond, partOf(gate.entering_end));
    try std.testing.expectEqual(Part.beyond, partOf(layout.stub_gate));
    try std.testing.expectEqual(Part.to_leave, partOf(gate.left));
    try std.testing.expectEqual(Part.to_answer, partOf(gate.returned));
    try std.testing.expectEqual(Part.to_answer_aside, partOf(gate.result_aside));
    for (gate.entered..gate.entering_end) |rip| try std.testing.expect(partOf(rip) == .to_call or partOf(rip) == .to_call_framed);
    for (gate.returned..gate.leaving_end) |rip| try std.testing.expect(partOf(rip) == .to_answer or partOf(rip) == .to_answer_aside);
    // Nothing pushes before the frame is made: the caller's stack pointer is its own until then.
    try std.testing.expect(std.mem.indexOf(u8, entering_code[0 .. gate.frame_made - layout.stub_gate], &.{ 0x6a, 2, 0x9d }) == null);
}
