//! What JavaScript says when it makes a machine, as JSON, and its translation into the core's own terms.
const std = @import("std");
const linux = std.os.linux;
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
    /// Who fetches the snapshot that is opened, or -1.
    source: i32 = -1,
    verbose: bool = false,
    remote: bool = false,
    /// The worker process in which it is made; 0 is this one.
    worker: u32 = 0,
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

    /// The descriptors that it names, in a fixed order; null if there are more than fit.
    pub fn descriptors(self: *const Config, out: []i32) ?usize {
        var count: usize = 0;
        for ([_]i32{ self.programFd, self.stdin, self.stdout, self.stderr, self.trace }) |fd| {
            if (fd < 0) continue;
            out[count] = fd;
            count += 1;
        }
        for (self.volumes) |volume| {
            if (volume.fd < 0) continue;
            if (count == out.len) return null;
            out[count] = volume.fd;
            count += 1;
        }
        return count;
    }

    /// The option whose descriptor is not open in this process.
    pub fn notOpen(self: *const Config) []const u8 {
        const get_flags = 1;
        for ([_]i32{ self.programFd, self.stdin, self.stdout, self.stderr, self.trace }, [_][]const u8{ "program", "stdin", "stdout", "stderr", "trace" }) |fd, name| {
            if (fd >= 0 and @as(isize, @bitCast(linux.fcntl(fd, get_flags, 0))) < 0) return name;
        }
        return "volumes";
    }

    /// Puts the numbers that the same descriptors have in another process in their places.
    pub fn adopt(self: *Config, arena: std.mem.Allocator, received: []const i32) error{ OutOfMemory, Missing }!void {
        var at: usize = 0;
        for ([_]*i32{ &self.programFd, &self.stdin, &self.stdout, &self.stderr, &self.trace }) |fd| {
            if (fd.* < 0) continue;
            if (at == received.len) return error.Missing;
            fd.* = received[at];
            at += 1;
        }
        const volumes = try arena.dupe(Volume, self.volumes);
        for (volumes) |*volume| {
            if (volume.fd < 0) continue;
            if (at == received.len) return error.Missing;
            volume.fd = received[at];
            at += 1;
        }
        self.volumes = volumes;
    }
};

/// What JavaScript says when it starts a worker process.
pub const WorkerConfig = struct {
    /// The worker executable.
    path: []const u8,
    /// Behind the second wall (`core/jail/jail.zig`).
    jail: bool = false,
    /// All of it or nothing.
    strict: bool = false,
    /// Its machines may use the host's network.
    network: bool = false,
    /// It will be doubled.
    split: bool = false,
};

pub fn parse(allocator: std.mem.Allocator, text: []const u8) !std.json.Parsed(Config) {
    return std.json.parseFromSlice(Config, allocator, text, .{ .allocate = .alloc_if_needed, .ignore_unknown_fields = false });
}
