//! Where things are in a guest's address space: the user part as Linux lays it out, and the system area above it.
//!
//! The system area is the top GiB of the lower half: descriptor tables, stubs, the exception stack, the exit page and the
//! vDSO. It lies in the lower half because PVM keeps the upper half for itself.
const std = @import("std");
const limits = @import("limits.zig");

/// Of all that the VMM puts into the system area: a saved machine goes on only with the same. To be moved on with any change there.
pub const system_version: u32 = 3;

pub const system_base: u64 = 0x7fff_c000_0000;
/// End of the lower half: no instruction pointer of ring 3 is at or above it.
pub const address_end: u64 = 1 << 47;
/// First address that no program may map: one guard page below the system area.
pub const user_end: u64 = system_base - limits.page_size;
pub const stack_top: u64 = user_end;
/// Distance between the main stack and the first mapping below it, as Linux's stack gap.
pub const mmap_top: u64 = stack_top - 64 * limits.MiB;
/// Where a static-PIE program is placed, Linux's ELF_ET_DYN_BASE without randomisation.
pub const pie_base: u64 = 0x5555_5555_4000;

/// Where programs of remote machines lie, and nothing of any other machine: so that a machine that calls a remote can have both
/// in one address space. A remote has a window of its own there, which is one entry of the root table.
pub const remotes_base: u64 = 0x6000_0000_0000;
pub const remote_windows = 16;
pub const remote_window_bytes: u64 = 1 << 39;
pub const remotes_end: u64 = remotes_base + remote_windows * remote_window_bytes;

/// The part of the address space that a machine's program may map.
pub const UserArea = struct {
    start: u64,
    end: u64,
    mmap_top: u64,
    pie_base: u64,
    vdso_base: u64,
    /// The window of a remote; null for all others.
    window: ?u4 = null,

    pub const ordinary: UserArea = .{ .start = 0, .end = user_end, .mmap_top = mmap_top, .pie_base = pie_base, .vdso_base = vdso_base };

    pub fn ofRemote(window: u4) UserArea {
        const base = remotes_base + window * remote_window_bytes;
        // Behind the program's part come the parameters of its clocks and its vDSO.
        const end = base + remote_window_bytes - limits.window_size;
        return .{
            .start = base + limits.mmap_min_address,
            .end = end,
            .mmap_top = end - 64 * limits.MiB,
            .pie_base = base + (pie_base & (remote_window_bytes / 2 - 1)),
            .vdso_base = end + 2 * limits.page_size,
            .window = window,
        };
    }

    pub fn contains(self: *const UserArea, start: u64, length: u64) bool {
        if (start < self.start or start > self.end or length > self.end - start) return false;
        return self.window != null or start + length <= remotes_base or start >= remotes_end;
    }

    /// Guest-physical address of a machine's frame 0: remotes have theirs apart, where no other machine has memory.
    pub fn physicalBase(self: *const UserArea) u64 {
        const window = self.window orelse return 0;
        return remotes_physical + @as(u64, window) * limits.remote_physical_bytes;
    }

    /// The lowest address that a mapping gets without having asked for it.
    pub fn floor(self: *const UserArea) u64 {
        return @max(self.start, limits.mmap_min_address);
    }
};

/// The window that an address lies in, if it is one of a remote's.
pub fn windowOf(address: u64) ?u4 {
    if (address < remotes_base or address >= remotes_end) return null;
    return @intCast((address - remotes_base) / remote_window_bytes);
}

/// Offsets of the system area's pages, for virtual and guest-physical addresses alike.
pub const Page = enum(u64) {
    /// GDT, TSS and IDT. Ring 0, read-only.
    descriptors = 0x0000,
    /// One stub for each exception vector, and the ring-0 system-call stub. Ring 0, executable.
    ring0_stubs = 0x1000,
    /// Stubs that ring 3 may run. Executable, read-only.
    user_stubs = 0x2000,
    /// The stack that every exception starts on. Ring 0, writable.
    exception_stack = 0x3000,
    /// A page with no memory behind it: a store to it is an exit. Ring 3, writable.
    exit = 0x4000,
    /// The vDSO's parameters, read-only for ring 3; the vDSO's code follows in the next pages.
    vdso_parameters = 0x5000,

    pub fn address(self: Page) u64 {
        return system_base + @intFromEnum(self);
    }
    pub fn physical(self: Page) u64 {
        return system_physical + @intFromEnum(self);
    }
};

pub const vdso_base: u64 = Page.vdso_parameters.address() + limits.page_size;
pub const vdso_pages_max = 4;
/// The vector state that a fork starts from, for a stub to load. Read-only for ring 3.
pub const vectors_address: u64 = vdso_base + vdso_pages_max * limits.page_size;
pub const vectors_physical: u64 = system_physical + (vectors_address - system_base);
/// Functions that lead to remotes: each is the system call of its number. Executable, read-only.
pub const imports_address: u64 = vectors_address + limits.page_size;
pub const imports_physical: u64 = vectors_physical + limits.page_size;
pub const import_stub_bytes = 16;
/// Where they all go on, where they make an ordinary call, and where one that went through a gate has its answer.
pub const imports_tail: u64 = imports_address + limits.imports_max * import_stub_bytes;
pub const imports_ordinary: u64 = imports_tail + 0x40;
pub const imports_answered: u64 = imports_tail + 0x70;
/// Code that makes a system call sooner than the instruction does, where there is any.
pub const imports_system_call: u64 = imports_tail + 0x80;
/// The table of gates (`remote/gate_stubs.zig`): read-only for ring 3, and once more for ring 0 alone.
pub const gate_table_address: u64 = imports_address + limits.page_size;
pub const gate_table_pages = 2;
pub const gate_table_ring0: u64 = gate_table_address + gate_table_pages * limits.page_size;
pub const gate_table_physical: u64 = imports_physical + limits.page_size;
/// Guest-physical address of the system area. Frame 0 stays unused, so that a zero entry never means memory.
pub const system_physical: u64 = 0x1000;
pub const system_pages = 8 + vdso_pages_max + gate_table_pages;
/// Guest-physical address behind the exit page: inside every platform's width, outside every slot.
pub const exit_physical: u64 = limits.physical_space_max_bytes + limits.GiB;
/// Root tables that show remotes beside the machine itself.
pub const roots_physical: u64 = limits.physical_space_max_bytes + 2 * limits.GiB;
/// The memory of remotes.
pub const remotes_physical: u64 = 2 * limits.physical_space_max_bytes;

comptime {
    const width_least = 40;
    std.debug.assert(remotes_physical + remote_windows * limits.remote_physical_bytes <= 1 << width_least);
}

pub const gdt_offset = 0x000;
pub const tss_offset = 0x080;
pub const idt_offset = 0x200;
pub const vectors = 32;
pub const breakpoint_vector = 3;

pub const selector_kernel_code: u16 = 0x08;
pub const selector_kernel_data: u16 = 0x10;
/// SYSRET loads SS from STAR[63:48]+8 and CS from +16; these are Linux's own selectors.
pub const selector_user_data: u16 = 0x2b;
pub const selector_user_code: u16 = 0x33;
pub const selector_tss: u16 = 0x40;

/// Stubs of `user_stubs`.
pub const stub_syscall = Page.user_stubs.address() + 0x00;
pub const stub_call_return = Page.user_stubs.address() + 0x60;
pub const stub_float_call = Page.user_stubs.address() + 0x90;
pub const stub_signal_return = Page.user_stubs.address() + 0x100;
pub const stub_load_vectors = Page.user_stubs.address() + 0x140;
pub const stub_enter_remote = Page.user_stubs.address() + 0x180;
pub const stub_leave_remote = Page.user_stubs.address() + 0x1a0;
/// The gate to remotes' functions: into one, and back.
pub const stub_gate = Page.user_stubs.address() + 0x1c0;
pub const stub_gate_leave = Page.user_stubs.address() + 0x300;
/// An XSAVE area in its initial configuration.
pub const initial_vectors_address = Page.user_stubs.address() + 0x400;
/// The system-call stub of hardware platforms, in `ring0_stubs` behind the exception stubs.
pub const stub_ring0_syscall = Page.ring0_stubs.address() + 0x800;
/// What #BP leads to.
pub const stub_ring0_gate = Page.ring0_stubs.address() + 0x900;

/// `out` ports of the ring-0 stubs: 0x80 + vector for an exception, and one for the system-call stub.
pub const port_exception: u16 = 0x80;
pub const port_syscall: u16 = 0x40;
