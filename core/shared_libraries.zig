//! Which files a dynamic program needs before its first instruction, so that it may read them without a permission: its
//! dynamic loader, the loader's cache, and the shared libraries that it and they name.
//!
//! Only a name in a DT_NEEDED entry, found where the dynamic loader would look for it, that turns out to be an ELF shared
//! object, is granted: a program cannot name its way to anything else. What the program opens later needs a permission.
//! Sources: ld.so(8), elf(5), glibc's elf/dl-cache.h (layout of /etc/ld.so.cache), musl's ldso behaviour.
const std = @import("std");
const linux = std.os.linux;
const elf = @import("elf.zig");
const host = @import("host.zig");
const limits = @import("limits.zig");

const libraries_max = 512;
const searches_max = 64;
/// Places looked at in all: a program may name thousands of libraries that are nowhere.
const candidates_max = 64 * 1024;
const links_max = 40;
const cache_max_bytes = 8 * limits.MiB;
const dynamic_entries_max = 4096;
const name_max_bytes = 1024;

const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_RPATH = 15;
const DT_RUNPATH = 29;

const cache_path = "/etc/ld.so.cache";
const default_folders = [_][]const u8{ "/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib" };

pub const Error = error{OutOfMemory};

/// A program that is about to start.
pub const Start = struct {
    fd: i32,
    path: []const u8,
    /// What it was started as: itself, or the script whose interpreter it is.
    script: []const u8,
    /// Its dynamic loader.
    interpreter: ?[]const u8,
};

/// Host paths of everything that the program needs, and of the links that lead there. They and all that is needed
/// meanwhile are in `arena`.
pub fn find(arena: std.mem.Allocator, start: Start, env: []const []const u8) Error![]const []const u8 {
    var finder: Finder = .{ .arena = arena, .environment = environmentFolders(env) };
    try finder.grantFile(start.path);
    if (!std.mem.eql(u8, start.script, start.path)) try finder.grantFile(start.script);
    const interpreter = start.interpreter orelse return finder.granted.items;
    try finder.grantFile(interpreter);
    try finder.grantFile(cache_path);
    finder.cache = try readWhole(arena, cache_path, cache_max_bytes);
    if (std.mem.indexOf(u8, std.fs.path.basename(interpreter), "musl") != null) try finder.readMuslFolders(interpreter);
    try finder.visit(start.fd, std.fs.path.dirname(start.path) orelse "/");
    while (finder.found.pop()) |path| {
        const fd = openHost(path) orelse continue;
        defer host.close(fd);
        try finder.visit(fd, std.fs.path.dirname(path) orelse "/");
    }
    return finder.granted.items;
}

fn environmentFolders(env: []const []const u8) []const u8 {
    const prefix = "LD_LIBRARY_PATH=";
    for (env) |entry| if (std.mem.startsWith(u8, entry, prefix)) return entry[prefix.len..];
    return "";
}

const Finder = struct {
    arena: std.mem.Allocator,
    environment: []const u8,
    musl_folders: []const u8 = "",
    cache: []const u8 = "",
    granted: std.ArrayList([]const u8) = .empty,
    seen: std.StringHashMapUnmanaged(void) = .empty,
    /// Granted libraries whose own needs were not looked at yet.
    found: std.ArrayList([]const u8) = .empty,
    candidates: u32 = 0,

    /// Grants a file and the links that lead to it, each by its place in a folder that is none.
    fn grantFile(self: *Finder, path: []const u8) Error!void {
        var at = path;
        for (0..links_max) |_| {
            var buffer: [limits.path_max_bytes]u8 = undefined;
            const folder_fd = openHost(std.fs.path.dirname(at) orelse return) orelse return;
            defer host.close(folder_fd);
            const folder = realPath(folder_fd, &buffer) orelse return;
            const separator: []const u8 = if (folder.len == 1) "" else "/";
            const own = try std.fmt.allocPrint(self.arena, "{s}{s}{s}", .{ folder, separator, std.fs.path.basename(at) });
            try self.add(own);
            var target: [limits.path_max_bytes]u8 = undefined;
            const link = readLink(own, &target) orelse return;
            at = if (link[0] == '/') try self.arena.dupe(u8, link) else try std.fmt.allocPrint(self.arena, "{s}{s}{s}", .{ folder, separator, link });
        }
    }

    fn add(self: *Finder, path: []const u8) Error!void {
        for (self.granted.items) |known| if (std.mem.eql(u8, known, path)) return;
        try self.granted.append(self.arena, path);
    }

    /// musl reads its search path from a file named after its loader: /lib/ld-musl-ARCH.so.1 has /etc/ld-musl-ARCH.path.
    fn readMuslFolders(self: *Finder, interpreter: []const u8) Error!void {
        const base = std.fs.path.basename(interpreter);
        const stem = base[0 .. std.mem.indexOf(u8, base, ".so") orelse base.len];
        const path = try std.fmt.allocPrint(self.arena, "/etc/{s}.path", .{stem});
        try self.grantFile(path);
        self.musl_folders = try readWhole(self.arena, path, 64 * limits.KiB);
    }

    /// Finds what an object names.
    fn visit(self: *Finder, fd: i32, folder: []const u8) Error!void {
        const object = try readObject(self.arena, fd) orelse return;
        for (object.needed) |name| {
            if (self.granted.items.len >= libraries_max or self.seen.contains(name)) continue;
            try self.seen.put(self.arena, name, {});
            try self.search(name, object.run_path, folder);
        }
    }

    fn search(self: *Finder, name: []const u8, run_path: []const u8, origin: []const u8) Error!void {
        if (std.mem.indexOfScalar(u8, name, '/') != null) {
            _ = try self.candidate(name);
            return;
        }
        for ([_][]const u8{ run_path, self.environment, self.musl_folders }) |list| {
            var folders = std.mem.tokenizeAny(u8, list, ":;\n");
            var count: usize = 0;
            while (folders.next()) |folder| : (count += 1) {
                if (count == searches_max) break;
                if (try self.candidateIn(folder, name, origin)) return;
            }
        }
        // One name may be there in several builds, of which the loader takes the one that suits the processor.
        var entries: CacheEntries = .{ .cache = self.cache, .name = name };
        var found = false;
        while (entries.next()) |path| found = try self.candidate(path) or found;
        if (found) return;
        for (default_folders) |folder| if (try self.candidateIn(folder, name, origin)) return;
    }

    fn candidateIn(self: *Finder, folder: []const u8, name: []const u8, origin: []const u8) Error!bool {
        var buffer: [limits.path_max_bytes]u8 = undefined;
        return self.candidate(join(&buffer, folder, name, origin) catch return false);
    }

    /// Grants `path` if it is a shared object; what that needs is looked at later.
    fn candidate(self: *Finder, path: []const u8) Error!bool {
        if (path.len == 0 or path[0] != '/' or self.candidates == candidates_max) return false;
        self.candidates += 1;
        const fd = openHost(path) orelse return false;
        defer host.close(fd);
        var header: elf.Header = undefined;
        if (!readExactly(fd, std.mem.asBytes(&header), 0) or !std.mem.eql(u8, &header.magic, elf.magic) or header.type != elf.FileType.dynamic) return false;
        try self.grantFile(path);
        try self.found.append(self.arena, try self.arena.dupe(u8, path));
        return true;
    }
};

/// A library's path in a folder of a run path. It fails if it is longer than any path: a folder may name its origin often.
fn join(buffer: *[limits.path_max_bytes]u8, folder: []const u8, name: []const u8, origin: []const u8) error{WriteFailed}![]const u8 {
    var out: std.Io.Writer = .fixed(buffer);
    var rest = folder;
    while (std.mem.indexOfScalar(u8, rest, '$')) |at| {
        const variable = for ([_][]const u8{ "${ORIGIN}", "$ORIGIN" }) |one| {
            if (std.mem.startsWith(u8, rest[at..], one)) break one;
        } else "";
        try out.print("{s}{s}", .{ rest[0..at], if (variable.len > 0) origin else "$" });
        rest = rest[at + @max(variable.len, 1) ..];
    }
    try out.print("{s}/{s}", .{ rest, name });
    return out.buffered();
}

const Object = struct { needed: []const []const u8, run_path: []const u8 };

/// The names in an object's dynamic section; null if it has none that can be read.
fn readObject(arena: std.mem.Allocator, fd: i32) Error!?Object {
    var header: elf.Header = undefined;
    if (!readExactly(fd, std.mem.asBytes(&header), 0) or !std.mem.eql(u8, &header.magic, elf.magic)) return null;
    if (header.class != elf.class_64 or header.phentsize != @sizeOf(elf.ProgramHeader) or header.phnum > elf.program_headers_max) return null;
    const headers = try arena.alloc(elf.ProgramHeader, header.phnum);
    if (!readExactly(fd, std.mem.sliceAsBytes(headers), header.phoff)) return null;
    const dynamic = for (headers) |ph| {
        if (ph.type == elf.SegmentType.dynamic) break ph;
    } else return null;
    const count: usize = @intCast(@min(dynamic.filesz / 16, dynamic_entries_max));
    const entries = try arena.alloc([2]u64, count);
    if (!readExactly(fd, std.mem.sliceAsBytes(entries), dynamic.offset)) return null;
    const strings = for (entries) |entry| {
        if (entry[0] == DT_STRTAB) break fileOffset(headers, entry[1]) orelse return null;
    } else return null;
    var needed: std.ArrayList([]const u8) = .empty;
    var run_path: []const u8 = "";
    for (entries) |entry| switch (entry[0]) {
        0 => break,
        DT_NEEDED => try needed.append(arena, try readName(arena, fd, strings +| entry[1])),
        DT_RPATH, DT_RUNPATH => run_path = try readName(arena, fd, strings +| entry[1]),
        else => {},
    };
    return .{ .needed = needed.items, .run_path = run_path };
}

fn fileOffset(headers: []const elf.ProgramHeader, address: u64) ?u64 {
    for (headers) |ph| {
        if (ph.type == elf.SegmentType.load and address >= ph.vaddr and address - ph.vaddr < ph.filesz) return ph.offset +| (address - ph.vaddr);
    }
    return null;
}

/// A string of the file; empty if it is too long or cannot be read.
fn readName(arena: std.mem.Allocator, fd: i32, offset: u64) Error![]const u8 {
    var buffer: [name_max_bytes]u8 = undefined;
    if (offset > std.math.maxInt(i64)) return "";
    const got: isize = @bitCast(linux.pread(fd, &buffer, buffer.len, @intCast(offset)));
    if (got <= 0) return "";
    const end = std.mem.indexOfScalar(u8, buffer[0..@intCast(got)], 0) orelse return "";
    return arena.dupe(u8, buffer[0..end]);
}

/// The entries of one name in the cache of glibc's loader.
const CacheEntries = struct {
    cache: []const u8,
    name: []const u8,
    index: u32 = 0,

    const magic = "glibc-ld.so.cache1.1";
    const header_bytes = 48;
    const entry_bytes = 24;
    /// A library of glibc (3) for x86-64 (0x300).
    const wanted_flags = 0x303;

    fn next(self: *CacheEntries) ?[]const u8 {
        if (!std.mem.startsWith(u8, self.cache, magic) or self.cache.len < header_bytes) return null;
        const count = std.mem.readInt(u32, self.cache[20..24], .little);
        while (self.index < count) {
            const at = header_bytes + @as(usize, self.index) * entry_bytes;
            if (at + entry_bytes > self.cache.len) return null;
            self.index += 1;
            const entry = self.cache[at..][0..entry_bytes];
            if (std.mem.readInt(u32, entry[0..4], .little) != wanted_flags) continue;
            if (std.mem.eql(u8, self.text(std.mem.readInt(u32, entry[4..8], .little)), self.name)) return self.text(std.mem.readInt(u32, entry[8..12], .little));
        }
        return null;
    }

    fn text(self: *const CacheEntries, offset: u32) []const u8 {
        if (offset >= self.cache.len) return "";
        return std.mem.sliceTo(self.cache[offset..], 0);
    }
};

fn openHost(path: []const u8) ?i32 {
    var buffer: [limits.path_max_bytes:0]u8 = undefined;
    if (path.len == 0 or path.len >= buffer.len or std.mem.indexOfScalar(u8, path, 0) != null) return null;
    @memcpy(buffer[0..path.len], path);
    buffer[path.len] = 0;
    const fd: isize = @bitCast(linux.open(&buffer, .{ .CLOEXEC = true, .NONBLOCK = true }, 0));
    return if (fd < 0) null else @intCast(fd);
}

fn readLink(path: []const u8, buffer: *[limits.path_max_bytes]u8) ?[]const u8 {
    var name: [limits.path_max_bytes:0]u8 = undefined;
    if (path.len >= name.len) return null;
    @memcpy(name[0..path.len], path);
    name[path.len] = 0;
    const length: isize = @bitCast(linux.readlink(&name, buffer, buffer.len));
    return if (length <= 0) null else buffer[0..@intCast(length)];
}

/// The path of an open file, free of links.
pub fn realPath(fd: i32, buffer: *[limits.path_max_bytes]u8) ?[]const u8 {
    var link_name: [64]u8 = undefined;
    const link = std.fmt.bufPrintZ(&link_name, "/proc/self/fd/{d}", .{fd}) catch unreachable;
    const length: isize = @bitCast(linux.readlink(link, buffer, buffer.len));
    return if (length <= 0 or buffer[0] != '/') null else buffer[0..@intCast(length)];
}

fn readExactly(fd: i32, out: []u8, offset: u64) bool {
    if (offset > std.math.maxInt(i64)) return false;
    return linux.pread(fd, out.ptr, out.len, @intCast(offset)) == out.len;
}

fn readWhole(arena: std.mem.Allocator, path: []const u8, bytes_max: usize) Error![]const u8 {
    const fd = openHost(path) orelse return "";
    defer host.close(fd);
    var stat: linux.Statx = undefined;
    const rc: isize = @bitCast(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .SIZE = true }, &stat));
    if (rc < 0 or stat.size > bytes_max) return "";
    const bytes = try arena.alloc(u8, @intCast(stat.size));
    return if (readExactly(fd, bytes, 0)) bytes else "";
}

test "folders of a run path, with their origin as often as a path has room" {
    var buffer: [limits.path_max_bytes]u8 = undefined;
    try std.testing.expectEqualStrings("/o/lib/x.so", try join(&buffer, "$ORIGIN/lib", "x.so", "/o"));
    try std.testing.expectEqualStrings("/a/o$b/$/x.so", try join(&buffer, "/a${ORIGIN}$b/$", "x.so", "/o"));
    try std.testing.expectError(error.WriteFailed, join(&buffer, "$ORIGIN" ** 100, "x.so", "/origin" ** 10));
}

test "the entries of a cache are found by name, hostile offsets are nothing" {
    var cache: [CacheEntries.header_bytes + 2 * CacheEntries.entry_bytes + 32]u8 = @splat(0);
    @memcpy(cache[0..20], CacheEntries.magic);
    std.mem.writeInt(u32, cache[20..24], 2, .little);
    const strings = CacheEntries.header_bytes + 2 * CacheEntries.entry_bytes;
    @memcpy(cache[strings..][0..8], "libx.so\x00");
    @memcpy(cache[strings + 8 ..][0..10], "/l/libx.so");
    for ([_]u32{ 0xffff_fff0, strings + 8 }, 0..) |value, index| {
        const entry = cache[CacheEntries.header_bytes + index * CacheEntries.entry_bytes ..];
        std.mem.writeInt(u32, entry[0..4], CacheEntries.wanted_flags, .little);
        std.mem.writeInt(u32, entry[4..8], strings, .little);
        std.mem.writeInt(u32, entry[8..12], value, .little);
    }
    var entries: CacheEntries = .{ .cache = &cache, .name = "libx.so" };
    try std.testing.expectEqualStrings("", entries.next().?);
    try std.testing.expectEqualStrings("/l/libx.so", entries.next().?);
    try std.testing.expectEqual(null, entries.next());
}
