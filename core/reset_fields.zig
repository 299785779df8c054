//! What a reset does to each field of a structure that holds a guest's state, as the structure itself declares it.
//!
//! A structure says `pub const at_reset = .{ .field = .copied, … }`. Every field must have an entry and every entry a
//! field, or the build fails; and docs/reset.md must have a row for each, or a test does.
const std = @import("std");

pub const Policy = enum {
    /// Copied from the image.
    copied,
    /// Put back by code of its own.
    restored,
    /// The fork's own, or never changed by a guest.
    kept,
};

pub fn policyOf(comptime T: type, comptime name: []const u8) Policy {
    if (!@hasField(@TypeOf(T.at_reset), name)) @compileError(@typeName(T) ++ "." ++ name ++ " has no entry in at_reset");
    return @field(T.at_reset, name);
}

/// Copies the fields that are to be copied.
pub fn copy(comptime T: type, to: *T, from: *const T) void {
    comptime check(T);
    inline for (@typeInfo(T).@"struct".fields) |field| {
        if (comptime policyOf(T, field.name) == .copied) @field(to, field.name) = @field(from, field.name);
    }
}

pub fn check(comptime T: type) void {
    @setEvalBranchQuota(20_000);
    for (@typeInfo(T).@"struct".fields) |field| _ = policyOf(T, field.name);
    for (@typeInfo(@TypeOf(T.at_reset)).@"struct".fields) |entry| {
        if (!@hasField(T, entry.name)) @compileError(@typeName(T) ++ " has no field " ++ entry.name);
    }
}
