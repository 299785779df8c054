//! What JavaScript says when it makes a machine, as JSON, and its translation into the core's own terms.
const std = @import("std");
const limits = @import("../limits.zig");

pub const Grant = struct { all: bool = false, paths: []const []const u8 = &.{} };
pub const Host = struct { name: []const u8, address: []const u8 };
/// `fd` shows what a descriptor of this process is open on, of which `host` is but the name.
pub const Volume = struct { host: []const u8, guest: []const u8, write: bool = false, fd: i32 = -1 };
pub const Denied = struct { read: Grant = .{}, write: Grant = .{}, connect: Grant = .{}, listen: Grant = .{} };

/// Descriptor values with a meaning of their own.
pub const stream_ignored = -1;
pub const stream_piped = -2;

pub const Config = struct {
    program: []const u8,
    /// A descriptor of the program's image, or -1 to open `program`.
    programFd: i32 = -1,
    argv: []const []const u8,
    env: []const []const u8 = &.{},
    cwd: []const u8 = "/",
    memory: f64 = limits.memory_default_bytes,
    stdin: i32 = stream_ignored,
    stdout: i32 = stream_ignored,
    stderr: i32 = stream_ignored,
    trace: i32 = -1,
    verbose: bool = false,
    remote: bool = false,
    read: Grant = .{},
    write: Grant = .{},
    /// Patterns of addresses (`core/linux/sockets/patterns.zig`).
    connect: Grant = .{},
    listen: Grant = .{},
    deny: Denied = .{},
    /// TCP servers listen inside the machine alone (`Network.inside`).
    inside: bool = false,
    /// Names that patterns had, with the addresses that they were found to have.
    hosts: []const Host = &.{},
    volumes: []const Volume = &.{},
    /// Folders in which programs keep caches, as the guest's environment names them: where the guest may not write there it
    /// has a layer of its own.
    layers: []const []const u8 = &.{},
};

pub fn parse(allocator: std.mem.Allocator, text: []const u8) !std.json.Parsed(Config) {
    return std.json.parseFromSlice(Config, allocator, text, .{ .allocate = .alloc_if_needed, .ignore_unknown_fields = false });
}
