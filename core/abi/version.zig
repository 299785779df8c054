//! The version of the C boundary: a hash of its description, so that a library and a table that do not fit cannot meet.
const std = @import("std");
const describe = @import("describe.zig");

pub const abi_version: u32 = blk: {
    @setEvalBranchQuota(200_000);
    break :blk std.hash.Fnv1a_32.hash(describe.text);
};
