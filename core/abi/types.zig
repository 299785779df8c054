//! The structures that both sides of the C boundary read; `generate.zig` writes their offsets into the TypeScript table.
const std = @import("std");
const call = @import("../call.zig");
const limits = @import("../limits.zig");

/// One page for each machine, mapped into JavaScript: arguments and results of calls, and the machine's state.
pub const MachineBlock = extern struct {
    call: call.Frame,
    state: u32,
    stop_reason: u32,
    stop_code: i32,
    /// Changes whenever views of guest memory must be detached.
    generation: u32,
    /// What the last reset came to.
    reset_mode: u32,
    reset_pages: u32,
    reset_nanoseconds: f64,
    /// What pristine_generation() answers in a fork.
    fork_generation: f64,
};

pub const Counters = extern struct {
    exits: u64,
    syscalls: u64,
    faults: u64,
    host_calls: u64,
    pages_touched: u64,
    pages_copied: u64,
    guest_nanoseconds: u64,
    cycles: u64,
    remote_calls: u64,
    bytes_copied: u64,
    by_number: [limits.system_call_numbers]u32,
    unsupported: [limits.system_call_numbers]u32,
};

comptime {
    std.debug.assert(@sizeOf(MachineBlock) <= limits.page_size);
}
