//! Faults planted into a build for tests: each leaves out one thing that a reset must do, and some test must notice.
//! In any other build nothing of it is left.
const std = @import("std");
const options = @import("build_options");

pub const Fault = enum(u32) {
    none,
    // Vector state and registers
    vectors_not_loaded,
    mxcsr_kept,
    x87_kept,
    avx_upper_halves_kept,
    avx512_kept,
    registers_kept,
    fs_base_kept,
    gs_base_kept,
    // Memory
    page_forgotten,
    page_half_copied,
    touched_set_not_renewed,
    zero_page_kept,
    table_entry_kept,
    mapping_not_revoked,
    table_frame_used_again,
    image_range_not_mapped_again,
    full_reset_keeps_growth,
    allocator_kept,
    window_kept,
    mappings_kept,
    protections_kept,
    file_shown_kept,
    heap_end_kept,
    // The emulated kernel
    descriptor_kept,
    offset_kept,
    descriptor_flag_kept,
    pipe_bytes_kept,
    epoll_watch_kept,
    socket_bytes_kept,
    socket_kept,
    event_count_kept,
    timerfd_kept,
    handler_kept,
    mask_kept,
    pending_kept,
    timer_kept,
    alternate_stack_kept,
    directory_kept,
    private_file_kept,
    private_content_kept,
    private_content_shared,
    layer_whiteout_kept,
    scheduling_kept,
    umask_kept,
    limit_kept,
    name_kept,
    thread_address_kept,
    threads_kept,
    waiting_call_kept,
    thread_registers_kept,
    thread_signals_kept,
    call_area_kept,
    arena_kept,
    generation_kept,
    clock_kept,
    wiped_page_kept,
    program_kept,
};

var active: Fault = .none;

pub const enabled = options.planted;

/// Whether this fault is to happen now.
pub inline fn is(fault: Fault) bool {
    return enabled and active == fault;
}

/// Chooses the fault; false where none can be.
pub fn choose(number: u32) bool {
    if (!enabled) return false;
    active = std.enums.fromInt(Fault, number) orelse return false;
    return true;
}

/// Gives `field` of `target` back the value it had in `saved` if the fault is chosen.
pub inline fn keeps(fault: Fault, target: anytype, comptime field: []const u8, saved: anytype) void {
    if (is(fault)) @field(target, field) = @field(saved, field);
}
