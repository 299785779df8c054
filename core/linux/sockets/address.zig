//! Socket addresses as guests write and read them: IPv4, IPv6 and AF_UNIX names.
//!
//! An IPv4 address is kept as its IPv4-mapped IPv6 form, so that both spellings of one place compare the same.
const std = @import("std");
const linux = std.os.linux;

pub const Family = enum(u16) { unix = 1, inet = 2, inet6 = 10 };

/// AF_UNSPEC, by which connect(2) takes a connection away.
pub const unspecified_family = 0;
/// The longest address there is (struct sockaddr_storage).
pub const bytes_max = 128;

const mapped_prefix: [12]u8 = .{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

pub const Ip = struct {
    octets: [16]u8,
    port: u16 = 0,
    /// The interface of a link-local IPv6 address.
    scope: u32 = 0,

    pub fn v4(octets: [4]u8, port: u16) Ip {
        return .{ .octets = mapped_prefix ++ octets, .port = port };
    }

    pub fn v6(octets: [16]u8, port: u16) Ip {
        return .{ .octets = octets, .port = port };
    }

    pub fn any(family: Family) Ip {
        return if (family == .inet6) v6(@splat(0), 0) else v4(@splat(0), 0);
    }

    pub fn loopback(family: Family) Ip {
        return if (family == .inet6) v6(@as([15]u8, @splat(0)) ++ [_]u8{1}, 0) else v4(.{ 127, 0, 0, 1 }, 0);
    }

    pub fn isV4(self: *const Ip) bool {
        return std.mem.startsWith(u8, &self.octets, &mapped_prefix);
    }

    /// 0.0.0.0 or ::
    pub fn isAny(self: *const Ip) bool {
        return std.mem.allEqual(u8, if (self.isV4()) self.octets[12..] else &self.octets, 0);
    }

    /// 127.0.0.0/8 or ::1
    pub fn isLoopback(self: *const Ip) bool {
        if (self.isV4()) return self.octets[12] == 127;
        return std.mem.allEqual(u8, self.octets[0..15], 0) and self.octets[15] == 1;
    }

    /// Where a connection to this address really goes: the unspecified one means this host.
    pub fn target(self: Ip) Ip {
        if (!self.isAny()) return self;
        var there = loopback(if (self.isV4()) .inet else .inet6);
        there.port = self.port;
        return there;
    }

    pub fn withPort(self: Ip, port: u16) Ip {
        var other = self;
        other.port = port;
        return other;
    }

    pub fn sameHost(self: *const Ip, other: *const Ip) bool {
        return std.mem.eql(u8, &self.octets, &other.octets);
    }

    pub fn same(self: *const Ip, other: *const Ip) bool {
        return self.port == other.port and self.sameHost(other);
    }

    /// HOST:PORT or [HOST]:PORT
    pub fn format(self: Ip, out: *std.Io.Writer) std.Io.Writer.Error!void {
        if (self.isV4()) {
            const o = self.octets[12..16];
            return out.print("{d}.{d}.{d}.{d}:{d}", .{ o[0], o[1], o[2], o[3], self.port });
        }
        const address: std.Io.net.Ip6Address.Unresolved = .{ .bytes = self.octets, .interface_name = null };
        return out.print("[{f}]:{d}", .{ address, self.port });
    }
};

/// An AF_UNIX name: of a file, or abstract (its first byte is NUL, and all of its bytes count). Length 0: no name.
pub const UnixName = struct {
    bytes: [path_max]u8 = @splat(0),
    length: u8 = 0,
    /// What tells the private file from others that had its name; 0 if it is none.
    inode: u64 = 0,

    pub const path_max = 108;

    pub fn isAbstract(self: *const UnixName) bool {
        return self.length > 0 and self.bytes[0] == 0;
    }

    pub fn text(self: *const UnixName) []const u8 {
        return self.bytes[0..self.length];
    }

    pub fn of(name: []const u8) UnixName {
        var made: UnixName = .{ .length = @intCast(name.len) };
        @memcpy(made.bytes[0..name.len], name);
        return made;
    }
};

pub const Address = union(enum) {
    none,
    /// AF_UNSPEC, or for AF_UNIX no more than the family.
    unspecified,
    ip: Ip,
    unix: UnixName,

    pub fn same(self: *const Address, other: *const Address) bool {
        if (std.meta.activeTag(self.*) != std.meta.activeTag(other.*)) return false;
        return switch (self.*) {
            .none, .unspecified => true,
            .ip => |*ip| ip.same(&other.ip) and ip.scope == other.ip.scope,
            .unix => |*name| name.inode == other.unix.inode and std.mem.eql(u8, name.text(), other.unix.text()),
        };
    }
};

pub const Error = error{ Invalid, WrongFamily };

/// Reads what a guest gives as an address for a socket of `family`. An IPv4 address is understood by an IPv6 socket only as
/// a mapped one.
pub fn parse(bytes: []const u8, family: Family) Error!Address {
    if (bytes.len < 2) return error.Invalid;
    const given = std.mem.readInt(u16, bytes[0..2], .little);
    if (family == .unix) return if (given == @intFromEnum(Family.unix)) parseUnix(bytes[2..]) else error.Invalid;
    if (given == unspecified_family) return .unspecified;
    const length_min: usize = if (family == .inet) 16 else 24;
    if (bytes.len < length_min) return error.Invalid;
    if (given != @intFromEnum(family)) return error.WrongFamily;
    return .{ .ip = parseIp(bytes, family) };
}

/// Reads an address that the host wrote.
pub fn fromHost(bytes: []const u8) Address {
    if (bytes.len < 2) return .none;
    return switch (std.mem.readInt(u16, bytes[0..2], .little)) {
        @intFromEnum(Family.inet) => if (bytes.len >= 16) .{ .ip = parseIp(bytes, .inet) } else .none,
        @intFromEnum(Family.inet6) => if (bytes.len >= 28) .{ .ip = parseIp(bytes, .inet6) } else .none,
        else => .none,
    };
}

fn parseIp(bytes: []const u8, family: Family) Ip {
    const port = std.mem.readInt(u16, bytes[2..4], .big);
    if (family == .inet) return .v4(bytes[4..8].*, port);
    var ip: Ip = .v6(bytes[8..24].*, port);
    if (bytes.len >= 28) ip.scope = std.mem.readInt(u32, bytes[24..28], .little);
    return ip;
}

fn parseUnix(name: []const u8) Error!Address {
    if (name.len > UnixName.path_max) return error.Invalid;
    if (name.len == 0) return .unspecified;
    if (name[0] == 0) return .{ .unix = .of(name) };
    return .{ .unix = .of(std.mem.sliceTo(name, 0)) };
}

/// Writes an address as a guest of a socket of `family` sees it; how long it is.
pub fn write(self: *const Address, family: Family, out: *[bytes_max]u8) usize {
    out.* = @splat(0);
    std.mem.writeInt(u16, out[0..2], @intFromEnum(family), .little);
    switch (family) {
        .unix => {
            const name = if (self.* == .unix) self.unix.text() else "";
            @memcpy(out[2..][0..name.len], name);
            const ends = name.len > 0 and name[0] != 0;
            return 2 + name.len + @intFromBool(ends);
        },
        .inet, .inet6 => {
            const ip = if (self.* == .ip) self.ip else Ip.any(family);
            std.mem.writeInt(u16, out[2..4], ip.port, .big);
            if (family == .inet) {
                @memcpy(out[4..8], ip.octets[12..16]);
                return 16;
            }
            @memcpy(out[8..24], &ip.octets);
            std.mem.writeInt(u32, out[24..28], ip.scope, .little);
            return 28;
        },
    }
}

const testing = std.testing;

test "addresses are read and written as Linux lays them out" {
    const given = [_]u8{ 2, 0, 0x1f, 0x90, 127, 0, 0, 1 } ++ @as([8]u8, @splat(0));
    const read = try parse(&given, .inet);
    try testing.expectEqual(@as(u16, 8080), read.ip.port);
    try testing.expect(read.ip.isLoopback() and read.ip.isV4());
    var out: [bytes_max]u8 = undefined;
    try testing.expectEqual(16, write(&read, .inet, &out));
    try testing.expectEqualSlices(u8, &given, out[0..16]);
    try testing.expectError(error.Invalid, parse(given[0..15], .inet));
    try testing.expectError(error.Invalid, parse(&given, .unix));
    try testing.expectError(error.Invalid, parse(&given, .inet6));
    try testing.expectError(error.WrongFamily, parse(&(given ++ @as([12]u8, @splat(0))), .inet6));
    try testing.expectEqual(28, write(&read, .inet6, &out));
    try testing.expectEqualSlices(u8, &.{ 0, 0, 0xff, 0xff, 127, 0, 0, 1 }, out[16..24]);
    try testing.expect((try parse(out[0..28], .inet6)).same(&read));
}

test "unix names end at a NUL unless they are abstract" {
    const path = try parse("\x01\x00/tmp/a\x00rest", .unix);
    try testing.expectEqualStrings("/tmp/a", path.unix.text());
    var out: [bytes_max]u8 = undefined;
    try testing.expectEqual(2 + 6 + 1, write(&path, .unix, &out));
    const abstract = try parse("\x01\x00\x00a\x00b", .unix);
    try testing.expectEqualStrings("\x00a\x00b", abstract.unix.text());
    try testing.expectEqual(2 + 4, write(&abstract, .unix, &out));
    try testing.expect((try parse("\x01\x00", .unix)) == .unspecified);
    try testing.expectError(error.Invalid, parse("\x01\x00" ++ "x" ** 109, .unix));
    try testing.expectEqual(2, write(&Address{ .none = {} }, .unix, &out));
}

test "the unspecified address leads to this host" {
    try testing.expect(Ip.v4(@splat(0), 7).target().same(&.v4(.{ 127, 0, 0, 1 }, 7)));
    const there = Ip.v6(@splat(0), 7).target();
    try testing.expect(there.isLoopback() and !there.isV4());
}

test "addresses as people write them" {
    var buffer: [64]u8 = undefined;
    try testing.expectEqualStrings("10.0.0.1:80", try std.fmt.bufPrint(&buffer, "{f}", .{Ip.v4(.{ 10, 0, 0, 1 }, 80)}));
    try testing.expectEqualStrings("[::1]:80", try std.fmt.bufPrint(&buffer, "{f}", .{Ip.loopback(.inet6).withPort(80)}));
}
