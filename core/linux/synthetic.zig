//! The small synthetic /proc, /sys, /dev, /etc and /pristine that every guest sees, whatever the host has.
//!
//! /proc, /dev and /pristine are always these; /etc and /sys give way to the host's file where the guest may read that.
const std = @import("std");
const HostFile = @import("../host_file.zig").HostFile;
const limits = @import("../limits.zig");
const private_tree = @import("files/private/tree.zig");
const Kernel = @import("kernel.zig").Kernel;
const Writer = std.Io.Writer;

/// `channel` is a stream to the embedder (`sockets/outside.zig`). With `guest` and `remote` scripts do what C programs do by
/// Pristine's own calls (`files/guest_device.zig`); which remote it is tells the path that the latter was opened by.
pub const Device = enum { null, zero, full, random, terminal, channel, guest, remote };

pub const Content = union(enum) {
    directory,
    text: []const u8,
    generated: *const fn (k: *Kernel, out: *Writer) Writer.Error!void,
    device: Device,
    link: []const u8,
    /// The file that runs.
    program,
    /// Another name of a standard stream.
    stream: u8,
    /// A link to the guest's working directory.
    working_directory,
    /// One of the guest's own descriptors, as /proc/self/fd names it.
    descriptor,
};

pub const Node = struct { path: []const u8, content: Content, always: bool = true };

fn directory(path: []const u8, always: bool) Node {
    return .{ .path = path, .content = .directory, .always = always };
}
fn text(path: []const u8, content: []const u8) Node {
    return .{ .path = path, .content = .{ .text = content }, .always = std.mem.startsWith(u8, path, "/proc") };
}
fn made(path: []const u8, comptime function: anytype) Node {
    return .{ .path = path, .content = .{ .generated = function } };
}

const utc_zone = "TZif2" ++ "\x00" ** 15 ++ "\x00" ** 12 ++ "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x04" ++ "\x00" ** 6 ++ "UTC\x00" ++
    "TZif2" ++ "\x00" ** 15 ++ "\x00" ** 12 ++ "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x04" ++ "\x00" ** 6 ++ "UTC\x00" ++ "\nUTC0\n";

pub const nodes = [_]Node{
    directory("/dev", true),
    .{ .path = "/dev/fd", .content = .{ .link = descriptors_path } },
    .{ .path = "/dev/full", .content = .{ .device = .full } },
    .{ .path = "/dev/null", .content = .{ .device = .null } },
    .{ .path = "/dev/pristine", .content = .{ .device = .channel } },
    .{ .path = "/dev/random", .content = .{ .device = .random } },
    .{ .path = "/dev/stderr", .content = .{ .stream = 2 } },
    .{ .path = "/dev/stdin", .content = .{ .stream = 0 } },
    .{ .path = "/dev/stdout", .content = .{ .stream = 1 } },
    .{ .path = "/dev/tty", .content = .{ .device = .terminal } },
    .{ .path = "/dev/urandom", .content = .{ .device = .random } },
    .{ .path = "/dev/zero", .content = .{ .device = .zero } },
    directory("/etc", false),
    text("/etc/group", "root:x:0:\nguest:x:1000:\nnogroup:x:65534:\n"),
    text("/etc/hostname", "pristine\n"),
    .{ .path = "/etc/hosts", .content = .{ .generated = &hosts }, .always = false },
    text("/etc/localtime", utc_zone),
    text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
    directory("/pristine", true),
    .{ .path = "/pristine/guest", .content = .{ .device = .guest } },
    directory(remotes_path, true),
    directory("/proc", true),
    made("/proc/cpuinfo", &cpuinfo),
    text("/proc/filesystems", "nodev\tproc\nnodev\ttmpfs\n\text4\n"),
    text("/proc/loadavg", "0.00 0.00 0.00 1/1 1000\n"),
    made("/proc/meminfo", &meminfo),
    made("/proc/mounts", &mounts),
    directory("/proc/self", true),
    text("/proc/self/cgroup", "0::/\n"),
    made("/proc/self/cmdline", &cmdline),
    made("/proc/self/comm", &comm),
    .{ .path = "/proc/self/cwd", .content = .working_directory },
    .{ .path = "/proc/self/exe", .content = .program },
    directory(descriptors_path, true),
    made("/proc/self/maps", &maps),
    text("/proc/self/mountinfo", "1 0 0:1 / / ro - ext4 pristine ro\n"),
    .{ .path = "/proc/self/root", .content = .{ .link = "/" } },
    made("/proc/self/stat", &processStat),
    made("/proc/self/statm", &statm),
    made("/proc/self/status", &status),
    made("/proc/stat", &stat),
    directory("/proc/sys", true),
    directory("/proc/sys/kernel", true),
    text("/proc/sys/kernel/ngroups_max", "65536\n"),
    text("/proc/sys/kernel/osrelease", "6.1.0-pristine\n"),
    text("/proc/sys/kernel/ostype", "Linux\n"),
    directory("/proc/sys/net", true),
    directory("/proc/sys/net/core", true),
    text("/proc/sys/net/core/somaxconn", "4096\n"),
    directory("/proc/sys/vm", true),
    text("/proc/sys/vm/mmap_min_addr", "65536\n"),
    text("/proc/sys/vm/overcommit_memory", "0\n"),
    made("/proc/uptime", &uptime),
    text("/proc/version", "Linux version 6.1.0-pristine #1 SMP\n"),
    directory("/sys", false),
    directory("/sys/devices", false),
    directory("/sys/devices/system", false),
    directory("/sys/devices/system/cpu", false),
    text("/sys/devices/system/cpu/online", "0\n"),
    text("/sys/devices/system/cpu/possible", "0\n"),
};

pub const descriptors_path = "/proc/self/fd";

/// Not in /dev, which is more than a script may open that has been granted folders one by one (Deno).
pub const remotes_path = "/pristine/remote";

/// Stands for each remote that a machine is connected to, and for each function of one. Which there are, only opening tells.
pub const remote_node: Node = .{ .path = remotes_path ++ "/NAME", .content = .{ .device = .remote } };

/// The name of /pristine/remote/NAME: "REMOTE", or "REMOTE:FUNCTION".
pub fn remoteName(path: []const u8) ?[]const u8 {
    if (!std.mem.startsWith(u8, path, remotes_path ++ "/")) return null;
    const name = path[remotes_path.len + 1 ..];
    return if (name.len == 0 or std.mem.indexOfScalar(u8, name, '/') != null) null else name;
}

/// Stands for each open descriptor.
pub const descriptor_node: Node = .{ .path = descriptors_path ++ "/N", .content = .descriptor };

/// The number of /proc/self/fd/NUMBER.
pub fn descriptorNumber(path: []const u8) ?i32 {
    if (!std.mem.startsWith(u8, path, descriptors_path ++ "/")) return null;
    const digits = path[descriptors_path.len + 1 ..];
    if (digits.len == 0 or digits.len > 5 or digits.len > 1 and digits[0] == '0') return null;
    for (digits) |digit| if (!std.ascii.isDigit(digit)) return null;
    return std.fmt.parseInt(i32, digits, 10) catch null;
}

/// The node of a canonical path; /proc/PID of the guest itself is /proc/self.
pub fn find(path: []const u8) ?*const Node {
    var low: usize = 0;
    var high = nodes.len;
    while (low < high) {
        const middle = (low + high) / 2;
        switch (std.mem.order(u8, nodes[middle].path, path)) {
            .eq => return &nodes[middle],
            .lt => low = middle + 1,
            .gt => high = middle,
        }
    }
    return null;
}

comptime {
    @setEvalBranchQuota(20_000);
    for (nodes[1..], nodes[0 .. nodes.len - 1]) |next, before| {
        if (std.mem.order(u8, before.path, next.path) != .lt) @compileError("the synthetic nodes are not in order at " ++ next.path);
    }
}

/// The last component of a node if it lies directly in `folder`.
pub fn nameIn(node: *const Node, folder: []const u8) ?[]const u8 {
    if (node.path.len <= folder.len + 1 or !std.mem.startsWith(u8, node.path, folder) or node.path[folder.len] != '/') return null;
    const name = node.path[folder.len + 1 ..];
    return if (std.mem.indexOfScalar(u8, name, '/') == null) name else null;
}

fn mounts(k: *Kernel, out: *Writer) Writer.Error!void {
    try out.writeAll("pristine / ext4 ro 0 0\nproc /proc proc rw 0 0\n");
    const space = k.files.namespace();
    for (k.files.private.roots, 0..) |point, root| {
        const kind = if (root < private_tree.mount_points.len) "tmpfs" else "overlay";
        if (!space.isPrivateDirectory(point)) continue;
        try out.print("{s} ", .{kind});
        // proc_pid_mountinfo(5) and fstab(5): what would end a field is in octal.
        for (point) |byte| if (std.mem.indexOfScalar(u8, " \t\n\\", byte) == null) try out.writeByte(byte) else try out.print("\\{o:0>3}", .{byte});
        try out.print(" {s} rw 0 0\n", .{kind});
    }
}

/// The machine's own names, and those that its permissions name.
fn hosts(k: *Kernel, out: *Writer) Writer.Error!void {
    try out.writeAll("127.0.0.1\tlocalhost pristine\n::1\tlocalhost\n");
    try out.writeAll(k.files.scope.hosts);
}

fn cpuinfo(_: *Kernel, out: *Writer) Writer.Error!void {
    try out.writeAll("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: Pristine virtual CPU\ncpu MHz\t\t: 2000.000\ncache size\t: 1024 KB\ncpu cores\t: 1\nflags\t\t: fpu tsc msr cx8 cmov mmx fxsr sse sse2 syscall nx lm\n\n");
}

fn meminfo(k: *Kernel, out: *Writer) Writer.Error!void {
    const total = k.space.frames.frames_max * 4;
    const free = k.space.frames.framesLeft() * 4;
    try out.print("MemTotal:       {d: >8} kB\nMemFree:        {d: >8} kB\nMemAvailable:   {d: >8} kB\nBuffers:               0 kB\nCached:                0 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n", .{ total, free, free });
}

fn cmdline(k: *Kernel, out: *Writer) Writer.Error!void {
    try out.writeAll(k.command_line);
}

fn comm(k: *Kernel, out: *Writer) Writer.Error!void {
    try out.print("{s}\n", .{std.mem.sliceTo(&k.threads.current.name, 0)});
}

fn maps(k: *Kernel, out: *Writer) Writer.Error!void {
    for (k.space.vmas.items.items) |vma| {
        const rights = vma.rights;
        try out.print("{x}-{x} {c}{c}{c}{c} {x:0>8} ", .{
            vma.start,                               vma.end,                                   @as(u8, if (rights.read) 'r' else '-'),
            @as(u8, if (rights.write) 'w' else '-'), @as(u8, if (rights.execute) 'x' else '-'), @as(u8, if (vma.shared) 's' else 'p'),
            vma.file_offset,
        });
        const identity = if (vma.file) |file| file.identity() else HostFile.Identity{};
        try out.print("{x:0>2}:{x:0>2} {d}", .{ identity.major, identity.minor, identity.inode });
        const name = if (vma.file) |file| file.path else switch (vma.kind) {
            .heap => "[heap]",
            .stack => "[stack]",
            .vdso => "[vdso]",
            .program, .anonymous, .file, .call_stack => "",
        };
        if (name.len > 0) try out.print("                          {s}", .{name});
        try out.writeByte('\n');
    }
}

fn residentPages(k: *Kernel) u64 {
    return k.space.frames.frames_used;
}

fn mappedBytes(k: *Kernel) u64 {
    var total: u64 = 0;
    for (k.space.vmas.items.items) |vma| total += vma.end - vma.start;
    return total;
}

fn processStat(k: *Kernel, out: *Writer) Writer.Error!void {
    const name = std.mem.sliceTo(&k.threads.current.name, 0);
    const pid = k.identity.pid;
    try out.print("{d} ({s}) R {d} {d} {d} 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 {d} 0 0 {d} {d} 18446744073709551615" ++ " 0" ** 27 ++ "\n", .{ pid, name, k.identity.parent, pid, pid, k.threads.countAlive(), mappedBytes(k), residentPages(k) });
}

fn statm(k: *Kernel, out: *Writer) Writer.Error!void {
    try out.print("{d} {d} 0 0 0 {d} 0\n", .{ mappedBytes(k) / limits.page_size, residentPages(k), residentPages(k) });
}

fn status(k: *Kernel, out: *Writer) Writer.Error!void {
    const id = k.identity;
    try out.print("Name:\t{s}\nUmask:\t{o:0>4}\nState:\tR (running)\nTgid:\t{d}\nPid:\t{d}\nPPid:\t{d}\nUid:\t{d}\t{d}\t{d}\t{d}\nGid:\t{d}\t{d}\t{d}\t{d}\nVmSize:\t{d: >8} kB\nVmRSS:\t{d: >8} kB\nThreads:\t{d}\nCpus_allowed:\t1\nCpus_allowed_list:\t0\n", .{
        std.mem.sliceTo(&k.threads.current.name, 0), k.umask, id.pid, id.pid, id.parent, id.uid, id.uid, id.uid, id.uid, id.gid, id.gid, id.gid, id.gid, mappedBytes(k) / 1024, residentPages(k) * 4, k.threads.countAlive(),
    });
}

fn stat(_: *Kernel, out: *Writer) Writer.Error!void {
    try out.writeAll("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\nintr 0\nctxt 0\nbtime 0\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n");
}

fn uptime(k: *Kernel, out: *Writer) Writer.Error!void {
    const ns = k.clock.boottimeNs();
    try out.print("{d}.{d:0>2} 0.00\n", .{ ns / std.time.ns_per_s, ns % std.time.ns_per_s / 10_000_000 });
}

test "nodes are found by path and listed by folder" {
    try std.testing.expect(find("/dev/null").?.content == .device);
    try std.testing.expectEqual(null, find("/dev/nul"));
    try std.testing.expectEqualStrings("null", nameIn(find("/dev/null").?, "/dev").?);
    try std.testing.expectEqual(null, nameIn(find("/proc/self/exe").?, "/proc"));
    try std.testing.expectEqual(44 + 4 + 6 + (44 + 4 + 6) + 6, utc_zone.len);
}
