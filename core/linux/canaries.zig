//! Mistakes planted into test builds, one at a time: a fuzzer that does not find each of them searches in vain.
//! In any other build nothing of it is left.
const builtin = @import("builtin");

pub const Canary = enum {
    none,
    /// readlink writes more than the guest's buffer holds.
    readlink_unbounded,
    /// The VMM writes to pages that the guest may only read.
    write_right_ignored,
    /// truncate changes files that may only be read.
    truncate_unchecked,
    /// stat leaves a host descriptor open.
    host_descriptor_leaked,
    /// brk goes below the heap's start.
    heap_start_ignored,
    /// A failed pipe2 leaves a descriptor open.
    pipe_left_open,
    /// dup2 takes numbers beyond the limit.
    descriptor_unbounded,
    /// rename takes a folder along that holds something denied.
    move_unchecked,
    /// A read into guest memory is longer than what was asked for.
    transfer_unbounded,
    // For the fuzzer of paths.
    /// A grant of /a/b covers /a/bc.
    components_ignored,
    /// Denials do not count.
    denial_ignored,
    /// Links out of a hidden folder may climb.
    climbing_allowed,
    // For the fuzzer of layers.
    /// What the host has comes back when a copy of it is taken away.
    whiteout_forgotten,
    /// A folder no longer shows the host's files once something in it has changed.
    folder_covered,
    /// A layer says of what may not be known that it is there.
    layer_unchecked,
};

pub var active: Canary = .none;

pub inline fn is(canary: Canary) bool {
    return builtin.is_test and active == canary;
}
