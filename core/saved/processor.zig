//! What of the processor a guest has seen: programs choose code by it when they start, so a saved machine goes on only where
//! all of that is there.
//! Sources: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
const std = @import("std");
const host = @import("../host.zig");
const layout = @import("../layout.zig");
const Platform = @import("../platform.zig").Platform;

const Register = enum { eax, ebx, ecx, edx };
const Word = struct { leaf: u32, subleaf: u32 = 0, register: Register };

/// Each is 32 bits, in this order.
pub const words = [_]Word{
    .{ .leaf = 1, .register = .ecx },
    .{ .leaf = 1, .register = .edx },
    .{ .leaf = 7, .register = .ebx },
    .{ .leaf = 7, .register = .ecx },
    .{ .leaf = 7, .register = .edx },
    .{ .leaf = 7, .subleaf = 1, .register = .eax },
    .{ .leaf = 0xd, .subleaf = 1, .register = .eax },
    .{ .leaf = 0x8000_0001, .register = .ecx },
    .{ .leaf = 0x8000_0001, .register = .edx },
};

pub const Fingerprint = extern struct {
    words: [words.len]u32 = @splat(0),
    /// How system calls reach the VMM (`platform.zig`), and the version of the pages that this takes in the guest.
    route: u32 = 0,
    system_version: u32 = layout.system_version,
    reserved: u32 = 0,
    /// State components that are switched on.
    xcr0: u64 = 0,
    /// The processor's name, for messages.
    name: [48]u8 = @splat(0),
};

comptime {
    std.debug.assert(@sizeOf(Fingerprint) == 104);
}

pub fn here(platform: *const Platform) Fingerprint {
    var self: Fingerprint = .{ .route = @intFromEnum(platform.route), .xcr0 = platform.device.xcr0 };
    for (&self.words, words) |*to, word| to.* = valueOf(platform, word);
    for (0..3) |part| {
        const found = host.cpuid(0x8000_0002 + @as(u32, @intCast(part)), 0);
        @memcpy(self.name[part * 16 ..][0..16], std.mem.asBytes(&found));
    }
    return self;
}

/// Where the VMM cannot choose what CPUID shows, it is the host's.
fn valueOf(platform: *const Platform, word: Word) u32 {
    if (!platform.cpuid_honoured) return registerOf(host.cpuid(word.leaf, word.subleaf), word.register);
    const cpuid = &platform.device.cpuid;
    for (cpuid.entries[0..cpuid.nent]) |entry| {
        if (entry.function != word.leaf or entry.index != word.subleaf) continue;
        return registerOf(.{ .eax = entry.eax, .ebx = entry.ebx, .ecx = entry.ecx, .edx = entry.edx }, word.register);
    }
    return 0;
}

fn registerOf(found: host.CpuidResult, register: Register) u32 {
    return switch (register) {
        inline else => |tag| @field(found, @tagName(tag)),
    };
}

/// Bits that say nothing of what a program may use: whether the operating system lets it, and which processor it is.
fn matters(index: usize) u32 {
    const hypervisor = 1 << 31;
    return if (index == 0) ~@as(u32, hypervisor) else ~@as(u32, 0);
}

/// What the saved machine has seen and this one does not have; null if nothing.
pub fn missing(saved: *const Fingerprint, now: *const Fingerprint, buffer: []u8) ?[]const u8 {
    for (saved.words, now.words, 0..) |had, has, index| {
        const lost = had & ~has & matters(index);
        if (lost == 0) continue;
        return nameOf(words[index], @intCast(@ctz(lost)), buffer);
    }
    const lost = saved.xcr0 & ~now.xcr0;
    if (lost != 0) return std.fmt.bufPrint(buffer, "XCR0 bit {d}", .{@ctz(lost)}) catch buffer;
    if (saved.route != now.route) return "this kind of KVM";
    if (saved.system_version != now.system_version) return "this version's pages in the guest";
    return null;
}

const Named = struct { leaf: u32, subleaf: u32 = 0, register: Register, bit: u5, name: []const u8 };

/// Those by which programs choose their code.
const named = [_]Named{
    .{ .leaf = 1, .register = .ecx, .bit = 0, .name = "sse3" },
    .{ .leaf = 1, .register = .ecx, .bit = 1, .name = "pclmulqdq" },
    .{ .leaf = 1, .register = .ecx, .bit = 9, .name = "ssse3" },
    .{ .leaf = 1, .register = .ecx, .bit = 12, .name = "fma" },
    .{ .leaf = 1, .register = .ecx, .bit = 19, .name = "sse4.1" },
    .{ .leaf = 1, .register = .ecx, .bit = 20, .name = "sse4.2" },
    .{ .leaf = 1, .register = .ecx, .bit = 22, .name = "movbe" },
    .{ .leaf = 1, .register = .ecx, .bit = 23, .name = "popcnt" },
    .{ .leaf = 1, .register = .ecx, .bit = 25, .name = "aes" },
    .{ .leaf = 1, .register = .ecx, .bit = 28, .name = "avx" },
    .{ .leaf = 1, .register = .ecx, .bit = 29, .name = "f16c" },
    .{ .leaf = 7, .register = .ebx, .bit = 3, .name = "bmi1" },
    .{ .leaf = 7, .register = .ebx, .bit = 5, .name = "avx2" },
    .{ .leaf = 7, .register = .ebx, .bit = 8, .name = "bmi2" },
    .{ .leaf = 7, .register = .ebx, .bit = 9, .name = "erms" },
    .{ .leaf = 7, .register = .ebx, .bit = 16, .name = "avx512f" },
    .{ .leaf = 7, .register = .ebx, .bit = 17, .name = "avx512dq" },
    .{ .leaf = 7, .register = .ebx, .bit = 18, .name = "rdseed" },
    .{ .leaf = 7, .register = .ebx, .bit = 19, .name = "adx" },
    .{ .leaf = 7, .register = .ebx, .bit = 29, .name = "sha" },
    .{ .leaf = 7, .register = .ebx, .bit = 30, .name = "avx512bw" },
    .{ .leaf = 7, .register = .ebx, .bit = 31, .name = "avx512vl" },
    .{ .leaf = 7, .register = .ecx, .bit = 9, .name = "vaes" },
    .{ .leaf = 7, .register = .ecx, .bit = 10, .name = "vpclmulqdq" },
    .{ .leaf = 0x8000_0001, .register = .ecx, .bit = 5, .name = "lzcnt" },
};

fn nameOf(word: Word, bit: u5, buffer: []u8) []const u8 {
    for (named) |one| if (one.leaf == word.leaf and one.subleaf == word.subleaf and one.register == word.register and one.bit == bit) return one.name;
    return std.fmt.bufPrint(buffer, "CPUID {x}.{x} {t} bit {d}", .{ word.leaf, word.subleaf, word.register, bit }) catch buffer;
}

test "a feature that is gone is named, and one more is no reason" {
    var saved: Fingerprint = .{};
    var now: Fingerprint = .{};
    now.words[2] = 1 << 5;
    var buffer: [64]u8 = undefined;
    try std.testing.expectEqual(null, missing(&saved, &now, &buffer));
    saved.words[2] = 1 << 5 | 1 << 16;
    try std.testing.expectEqualStrings("avx512f", missing(&saved, &now, &buffer).?);
    saved.words[2] = 1 << 1;
    try std.testing.expectEqualStrings("CPUID 7.0 ebx bit 1", missing(&saved, &now, &buffer).?);
}
