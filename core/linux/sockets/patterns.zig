//! What of the network a machine may reach: patterns of addresses that are granted, and denials, which win.
//!
//! A pattern is `HOST:PORT`, `HOST`, `HOST:*`, `:PORT`, `*:PORT`, `NETWORK/BITS` with or without a port, or `unix:PATH` for
//! an AF_UNIX socket of the host and all beneath a folder. Hosts are addresses here: names are looked up before
//! (`src/network.ts`). A port 0 or `*` is any port.
const std = @import("std");
const address = @import("address.zig");
const isBeneath = @import("../permissions.zig").isBeneath;
const Ip = address.Ip;

pub const Pattern = union(enum) {
    network: struct {
        /// null: every address.
        ip: ?Ip,
        /// How many bits of the 128 count; IPv4 addresses are IPv4-mapped ones.
        bits: u8,
        /// null: every port.
        port: ?u16,
    },
    unix: []const u8,

    pub const Error = error{NotPattern};

    /// The text must live as long as the pattern.
    pub fn parse(text: []const u8) Error!Pattern {
        if (std.mem.startsWith(u8, text, "unix:")) {
            const path = text["unix:".len..];
            return if (path.len > 0 and path[0] == '/') .{ .unix = path } else error.NotPattern;
        }
        const parts = try split(text);
        const port = try parsePort(parts.port);
        if (parts.host.len == 0 or std.mem.eql(u8, parts.host, "*")) {
            return if (text.len == 0) error.NotPattern else .{ .network = .{ .ip = null, .bits = 0, .port = port } };
        }
        const slash = std.mem.indexOfScalar(u8, parts.host, '/');
        const ip = try parseHost(parts.host[0 .. slash orelse parts.host.len]);
        const bits_max: u8 = if (ip.isV4()) 32 else 128;
        var bits = bits_max;
        if (slash) |at| bits = std.fmt.parseInt(u8, parts.host[at + 1 ..], 10) catch return error.NotPattern;
        if (bits > bits_max) return error.NotPattern;
        return .{ .network = .{ .ip = ip, .bits = bits + (128 - bits_max), .port = port } };
    }

    fn covers(self: *const Pattern, ip: *const Ip) bool {
        if (self.* != .network) return false;
        const network = &self.network;
        if (network.port) |port| if (port != ip.port) return false;
        const base = network.ip orelse return true;
        return base.isV4() == ip.isV4() and sameBits(&base.octets, &ip.octets, network.bits);
    }

    /// Whether a denial by this pattern concerns an address: also if that stands for all addresses of this host, and any
    /// address of the loopback network, since they reach the same servers.
    fn concerns(self: *const Pattern, ip: *const Ip) bool {
        if (self.covers(ip)) return true;
        if (self.* != .network) return false;
        const network = &self.network;
        if (network.port) |port| if (port != ip.port and ip.port != 0) return false;
        const base = network.ip orelse return true;
        return ip.isAny() or base.isAny() or base.isLoopback() and ip.isLoopback();
    }
};

fn sameBits(a: *const [16]u8, b: *const [16]u8, bits: u8) bool {
    const whole = bits / 8;
    if (!std.mem.eql(u8, a[0..whole], b[0..whole])) return false;
    if (bits % 8 == 0) return true;
    const mask = @as(u8, 0xff) << @intCast(8 - bits % 8);
    return (a[whole] ^ b[whole]) & mask == 0;
}

const Parts = struct { host: []const u8, port: []const u8 };

fn split(text: []const u8) Pattern.Error!Parts {
    if (std.mem.startsWith(u8, text, "[")) {
        const end = std.mem.indexOfScalar(u8, text, ']') orelse return error.NotPattern;
        const rest = text[end + 1 ..];
        if (rest.len == 0) return .{ .host = text[1..end], .port = "*" };
        return if (rest[0] == ':') .{ .host = text[1..end], .port = rest[1..] } else error.NotPattern;
    }
    const colon = std.mem.indexOfScalar(u8, text, ':') orelse return .{ .host = text, .port = "*" };
    // With several colons it is an IPv6 address without a port.
    if (std.mem.indexOfScalarPos(u8, text, colon + 1, ':') != null) return .{ .host = text, .port = "*" };
    return .{ .host = text[0..colon], .port = text[colon + 1 ..] };
}

fn parsePort(text: []const u8) Pattern.Error!?u16 {
    if (std.mem.eql(u8, text, "*")) return null;
    if (text.len == 0 or !std.ascii.isDigit(text[0])) return error.NotPattern;
    const port = std.fmt.parseInt(u16, text, 10) catch return error.NotPattern;
    return if (port == 0) null else port;
}

pub fn parseHost(text: []const u8) Pattern.Error!Ip {
    if (std.Io.net.Ip4Address.parse(text, 0)) |v4| return .v4(v4.bytes, 0) else |_| {}
    const v6 = std.Io.net.Ip6Address.parse(text, 0) catch return error.NotPattern;
    return .v6(v6.bytes, 0);
}

pub const Rule = struct {
    all: bool = false,
    patterns: []const Pattern = &.{},

    fn covers(self: *const Rule, ip: *const Ip) bool {
        if (self.all) return true;
        for (self.patterns) |*pattern| if (pattern.covers(ip)) return true;
        return false;
    }

    fn concerns(self: *const Rule, ip: *const Ip) bool {
        if (self.all) return true;
        for (self.patterns) |*pattern| if (pattern.concerns(ip)) return true;
        return false;
    }

    pub fn isEmpty(self: *const Rule) bool {
        return !self.all and self.patterns.len == 0;
    }

    fn coversPath(self: *const Rule, path: []const u8) bool {
        if (self.all) return true;
        for (self.patterns) |pattern| if (pattern == .unix and isBeneath(path, pattern.unix)) return true;
        return false;
    }
};

pub const Access = enum { connect, listen };

/// What a machine may connect to and where it may listen.
pub const Network = struct {
    connect: Rule = .{},
    listen: Rule = .{},
    deny_connect: Rule = .{},
    deny_listen: Rule = .{},

    fn granted(self: *const Network, access: Access) *const Rule {
        return if (access == .connect) &self.connect else &self.listen;
    }

    fn denied(self: *const Network, access: Access) *const Rule {
        return if (access == .connect) &self.deny_connect else &self.deny_listen;
    }

    /// A port of 0 asks for any free port, which only a grant of every port gives.
    pub fn allows(self: *const Network, access: Access, ip: *const Ip) bool {
        const place = if (access == .connect) ip.target() else ip.*;
        return self.granted(access).covers(&place) and !self.denied(access).concerns(&place);
    }

    /// Whether a server may answer who has come to it: unless that is denied.
    pub fn allowsAnswer(self: *const Network, ip: *const Ip) bool {
        return !self.deny_connect.concerns(ip);
    }

    /// `path` is one of the host, without links.
    pub fn allowsPath(self: *const Network, access: Access, path: []const u8) bool {
        return self.granted(access).coversPath(path) and !self.denied(access).coversPath(path);
    }
};

const testing = std.testing;

fn ipOf(text: []const u8) !Ip {
    const pattern = try Pattern.parse(text);
    return pattern.network.ip.?.withPort(pattern.network.port orelse 0);
}

fn expectGrant(granted: bool, pattern: []const u8, place: []const u8) !void {
    const network: Network = .{ .connect = .{ .patterns = &.{try Pattern.parse(pattern)} } };
    testing.expectEqual(granted, network.allows(.connect, &try ipOf(place))) catch |failure| {
        std.debug.print("{s} and {s}\n", .{ pattern, place });
        return failure;
    };
}

test "patterns cover what they name" {
    try expectGrant(true, "10.1.2.3:80", "10.1.2.3:80");
    try expectGrant(false, "10.1.2.3:80", "10.1.2.3:81");
    try expectGrant(false, "10.1.2.3:80", "10.1.2.4:80");
    try expectGrant(true, "10.1.2.3", "10.1.2.3:81");
    try expectGrant(true, "10.1.2.3:*", "10.1.2.3:81");
    try expectGrant(true, "10.1.2.3:0", "10.1.2.3:81");
    try expectGrant(true, ":443", "10.1.2.3:443");
    try expectGrant(true, "*:443", "[2001:db8::1]:443");
    try expectGrant(false, "*:443", "10.1.2.3:444");
    try expectGrant(true, "*", "10.1.2.3:444");
    try expectGrant(true, "[::1]:80", "[::1]:80");
    try expectGrant(true, "2001:db8::5", "[2001:db8::5]:9");
    try expectGrant(false, "[::1]:80", "127.0.0.1:80");
    try expectGrant(true, "10.0.0.0/8:80", "10.200.0.1:80");
    try expectGrant(false, "10.0.0.0/8:80", "11.0.0.1:80");
    try expectGrant(true, "10.64.0.0/10", "10.127.0.1:80");
    try expectGrant(false, "10.64.0.0/10", "10.128.0.1:80");
    try expectGrant(true, "[fd00::/8]:80", "[fdff::1]:80");
    try expectGrant(false, "::/0", "10.0.0.1:1");
    try expectGrant(true, "0.0.0.0/0", "10.0.0.1:1");
    // One place in two spellings.
    try expectGrant(true, "127.0.0.1:80", "[::ffff:127.0.0.1]:80");
    try expectGrant(true, "127.0.0.1:80", "0.0.0.0:80");
    try expectGrant(true, "[::1]:80", "[::]:80");
}

test "what is no pattern" {
    for ([_][]const u8{ "", "host:80", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4/33", "[::1", "[::1]x", "::1/129", "unix:", "unix:a", ":", "1.2.3:4", ":+1" }) |text| {
        testing.expectError(error.NotPattern, Pattern.parse(text)) catch |failure| {
            std.debug.print("{s}\n", .{text});
            return failure;
        };
    }
}

test "denials win, by whatever name" {
    const network: Network = .{
        .connect = .{ .all = true },
        .listen = .{ .all = true },
        .deny_connect = .{ .patterns = &.{ try Pattern.parse("127.0.0.1:80"), try Pattern.parse("10.0.0.0/8"), try Pattern.parse("unix:/run/secret") } },
        .deny_listen = .{ .patterns = &.{try Pattern.parse("192.168.0.1:80")} },
    };
    for ([_][]const u8{ "127.0.0.1:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80", "127.1.2.3:80", "[::1]:80", "[::]:80", "10.9.9.9:1", "[::ffff:10.9.9.9]:1" }) |place| {
        try testing.expect(!network.allows(.connect, &try ipOf(place)));
    }
    try testing.expect(!network.allowsAnswer(&try ipOf("10.9.9.9:1")));
    try testing.expect(network.allows(.connect, &try ipOf("127.0.0.1:81")));
    try testing.expect(network.allows(.connect, &try ipOf("11.0.0.1:1")));
    for ([_][]const u8{ "192.168.0.1:80", "0.0.0.0:80", "[::]:80", "0.0.0.0:0" }) |place| {
        try testing.expect(!network.allows(.listen, &try ipOf(place)));
    }
    try testing.expect(network.allows(.listen, &try ipOf("127.0.0.1:80")));
    try testing.expect(!network.allowsPath(.connect, "/run/secret/socket"));
    try testing.expect(network.allowsPath(.connect, "/run/other"));
}

test "listening on every address needs a grant of every address" {
    const network: Network = .{ .listen = .{ .patterns = &.{ try Pattern.parse("127.0.0.1:80"), try Pattern.parse(":81") } } };
    try testing.expect(network.allows(.listen, &try ipOf("127.0.0.1:80")));
    try testing.expect(!network.allows(.listen, &try ipOf("0.0.0.0:80")));
    try testing.expect(!network.allows(.listen, &try ipOf("127.0.0.1:0")));
    try testing.expect(network.allows(.listen, &try ipOf("0.0.0.0:81")));
}
