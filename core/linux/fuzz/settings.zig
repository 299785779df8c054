//! What the environment may tell a fuzzer (docs/fuzzing.md).
const std = @import("std");

/// A number by its name, or `default`.
pub fn number(name: [*:0]const u8, default: u64) u64 {
    const text = std.c.getenv(name) orelse return default;
    return std.fmt.parseInt(u64, std.mem.span(text), 0) catch default;
}

pub fn seed() u64 {
    return number("PRISTINE_FUZZ_SEED", 1);
}

/// How many trees, machines or rounds of `each` tries to make; at least one.
pub fn rounds(default: u64, each: u64) u64 {
    return @max(1, number("PRISTINE_FUZZ_ITERATIONS", default * each) / each);
}
