//! Where things are in a guest's address space: the user part as Linux lays it out, and the system area above it.
//!
//! The system area is the top GiB of the lower half: descriptor tables, stubs, the exception stack, the exit page and the
//! vDSO. It lies in the lower half because PVM keeps the upper half for itself.
const limits = @import("limits.zig");

/// Of all that the VMM puts into the system area: a saved machine goes on only with the same. To be moved on with any change there.
pub const system_version: u32 = 1;

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
/// Guest-physical address of the system area. Frame 0 stays unused, so that a zero entry never means memory.
pub const system_physical: u64 = 0x1000;
pub const system_pages = 7 + vdso_pages_max;
/// Guest-physical address behind the exit page: inside every platform's width, outside every slot.
pub const exit_physical: u64 = limits.physical_space_max_bytes + limits.GiB;

pub const gdt_offset = 0x000;
pub const tss_offset = 0x080;
pub const idt_offset = 0x200;
pub const vectors = 32;

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
/// The system-call stub of hardware platforms, in `ring0_stubs` behind the exception stubs.
pub const stub_ring0_syscall = Page.ring0_stubs.address() + 0x800;

/// `out` ports of the ring-0 stubs: 0x80 + vector for an exception, and one for the system-call stub.
pub const port_exception: u16 = 0x80;
pub const port_syscall: u16 = 0x40;
