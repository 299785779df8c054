//! Processors that a guest is shown instead of the host's own: the levels of the x86-64 psABI, so that what is saved goes on
//! wherever a processor has that level. What CPUID tells beyond the level is hidden, where KVM lets the VMM say what it tells.
//! Sources: x86-64 psABI, "Micro-Architecture Levels"; Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
const std = @import("std");
const kvm = @import("kvm.zig");

/// In the order of the levels.
pub const Level = enum(u32) { x86_64, x86_64_v2, x86_64_v3, x86_64_v4 };

fn bits(comptime numbers: []const u5) u32 {
    var mask: u32 = 0;
    for (numbers) |number| mask |= @as(u32, 1) << number;
    return mask;
}

const Registers = struct { eax: u32 = 0, ebx: u32 = 0, ecx: u32 = 0, edx: u32 = 0 };
const Leaf = struct {
    leaf: u32,
    subleaf: u32 = 0,
    /// Bits that are not about instructions of programs: rights, paging, and what every processor with 64 bits has.
    always: Registers = .{},
    /// What each level adds to the one before.
    levels: [4]Registers = @splat(.{}),
};

const all = 0xffff_ffff;

/// Leaves whose bits name features; of the others in `hidden_leaves` nothing is shown.
const leaves = [_]Leaf{
    .{
        .leaf = 1,
        .always = .{ .eax = all, .ebx = all, .ecx = bits(&.{31}), .edx = all },
        .levels = .{
            .{},
            // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT.
            .{ .ecx = bits(&.{ 0, 9, 13, 19, 20, 23 }) },
            // FMA, MOVBE, XSAVE, OSXSAVE, AVX, F16C.
            .{ .ecx = bits(&.{ 12, 22, 26, 27, 28, 29 }) },
            .{},
        },
    },
    .{
        .leaf = 7,
        .always = .{ .ebx = bits(&.{ 7, 20 }), .ecx = bits(&.{2}) },
        .levels = .{
            .{},
            .{},
            // FSGSBASE, which all of them have, BMI1, AVX2, BMI2.
            .{ .ebx = bits(&.{ 0, 3, 5, 8 }) },
            // AVX-512 F, DQ, CD, BW, VL.
            .{ .ebx = bits(&.{ 16, 17, 28, 30, 31 }) },
        },
    },
    .{ .leaf = 7, .subleaf = 1 },
    .{ .leaf = 7, .subleaf = 2 },
    .{ .leaf = 0xd, .always = .{ .eax = bits(&.{ 0, 1 }), .ebx = all, .ecx = all }, .levels = .{
        .{},
        .{},
        .{ .eax = bits(&.{2}) },
        .{ .eax = bits(&.{ 5, 6, 7 }) },
    } },
    .{ .leaf = 0xd, .subleaf = 1 },
    // SYSCALL, NX, long mode; not what AMD added to those.
    .{
        .leaf = 0x8000_0001,
        .always = .{ .eax = all, .ebx = all, .edx = 0x0183_f3ff | bits(&.{ 11, 20, 29 }) },
        .levels = .{
            .{},
            // LAHF and SAHF in 64-bit mode.
            .{ .ecx = bits(&.{0}) },
            // LZCNT.
            .{ .ecx = bits(&.{5}) },
            .{},
        },
    },
    .{ .leaf = 0x8000_0008, .always = .{ .eax = all, .ecx = all } },
    .{ .leaf = 0x8000_0021 },
};

/// Takes out of what a guest is shown whatever is beyond the level.
pub fn apply(cpuid: *kvm.Cpuid, level: Level) void {
    for (cpuid.entries[0..cpuid.nent]) |*entry| {
        for (&leaves) |*leaf| {
            if (entry.function != leaf.leaf or entry.index != leaf.subleaf) continue;
            inline for (@typeInfo(Registers).@"struct".fields) |register| {
                var shown = @field(leaf.always, register.name);
                for (leaf.levels[0 .. @intFromEnum(level) + 1]) |added| shown |= @field(added, register.name);
                @field(entry, register.name) &= shown;
            }
        }
    }
}

test "a level shows what it has and nothing beyond, and no more than the processor has" {
    const testing = std.testing;
    var cpuid: kvm.Cpuid = .{ .nent = 3 };
    const shown = [_]struct { Level, u32, u32 }{
        .{ .x86_64, 0, 0 },
        .{ .x86_64_v2, 1 << 20, 0 },
        .{ .x86_64_v3, 1 << 20 | 1 << 28, 1 << 5 },
        .{ .x86_64_v4, 1 << 20 | 1 << 28, 1 << 5 | 1 << 16 },
    };
    for (shown) |case| {
        // SSE4.2, AES and AVX; AVX2, AVX-512 and SHA; FSRM, AVX-VNNI.
        cpuid.entries[0] = .{ .function = 1, .index = 0, .flags = 0, .eax = 5, .ebx = 6, .ecx = 1 << 20 | 1 << 25 | 1 << 28, .edx = 7 };
        cpuid.entries[1] = .{ .function = 7, .index = 0, .flags = 0, .eax = 2, .ebx = 1 << 5 | 1 << 16 | 1 << 29, .ecx = 0, .edx = 1 << 4 };
        cpuid.entries[2] = .{ .function = 7, .index = 1, .flags = 0, .eax = 1 << 4, .ebx = 0, .ecx = 0, .edx = 0 };
        apply(&cpuid, case[0]);
        const entries = &cpuid.entries;
        try testing.expectEqual([_]u32{ case[1], case[2] }, [_]u32{ entries[0].ecx, entries[1].ebx });
        try testing.expectEqual([_]u32{ 5, 7, 0, 0 }, [_]u32{ entries[0].eax, entries[0].edx, entries[1].edx, entries[2].eax });
    }
}
