//! execve: another program takes the place of the one that runs.
//!
//! Here everything that may fail is done first: the path is resolved as any path of the guest's, the file must be readable
//! to it, scripts lead to their interpreters, arguments are copied. Then the run loop lets the machine start it
//! (`Machine.startProgram`). Source: execve(2), execveat(2).
const std = @import("std");
const linux = std.os.linux;
const elf = @import("../elf.zig");
const files_module = @import("files/names.zig");
const host = @import("../host.zig");
const HostFile = @import("../host_file.zig").HostFile;
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const loader = @import("../loader.zig");
const paths = @import("paths.zig");
const Program = @import("../program.zig").Program;
const private_mapped = @import("files/private/mapped.zig");
const private_mounts = @import("files/private/mounts.zig");
const private_open = @import("files/private/open.zig");
const script = @import("../script.zig");
const transfer = @import("files/transfer.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;

/// A program that is ready to start. Owns all it refers to.
pub const Prepared = struct {
    arena: std.heap.ArenaAllocator,
    program: *Program,
    interpreter: ?*Program,
    name: []const u8,
    argv: []const []const u8 = &.{},
    env: []const []const u8 = &.{},

    /// Gives up a program that was not started.
    pub fn discard(self: *Prepared, allocator: std.mem.Allocator) void {
        self.program.release(allocator);
        self.destroy(allocator);
    }

    /// The program's reference is the caller's by now.
    pub fn destroy(self: *Prepared, allocator: std.mem.Allocator) void {
        if (self.interpreter) |interpreter| interpreter.release(allocator);
        self.arena.deinit();
        allocator.destroy(self);
    }
};

pub fn execve(k: *Kernel, a: Args) i64 {
    return execveat(k, .{ @bitCast(@as(i64, AT_FDCWD)), a[0], a[1], a[2], 0, 0 });
}

pub fn execveat(k: *Kernel, a: Args) i64 {
    if (a[4] & ~@as(u64, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) return fail(.INVAL);
    const allocator = k.allocator;
    const prepared = allocator.create(Prepared) catch return fail(.NOMEM);
    prepared.* = .{ .arena = .init(allocator), .program = undefined, .interpreter = null, .name = "" };
    var preparation: Preparation = .{ .k = k, .to = prepared, .arena = prepared.arena.allocator() };
    preparation.prepare(a) catch |failure| {
        prepared.destroy(allocator);
        return if (failure == error.OutOfMemory) fail(.NOMEM) else preparation.errno;
    };
    k.stop = .{ .exec = prepared };
    return 0;
}

const Error = error{ Failed, OutOfMemory };

const Preparation = struct {
    k: *Kernel,
    to: *Prepared,
    arena: std.mem.Allocator,
    errno: i64 = 0,
    bytes: u64 = 0,

    fn failWith(self: *Preparation, errno: i64) error{Failed} {
        self.errno = errno;
        return error.Failed;
    }

    fn prepare(self: *Preparation, a: Args) Error!void {
        const k = self.k;
        var buffer: [paths.path_max]u8 = undefined;
        var lookup: files_module.Lookup = .{ .k = k };
        const path = lookup.readPath(a[1], &buffer) catch return self.failWith(lookup.errno);
        const folder = transfer.descriptorOf(a[0]);
        self.to.name = try self.nameOf(folder, path);
        const file = if (path.len == 0 and a[4] & AT_EMPTY_PATH != 0)
            try self.openDescriptor(folder)
        else
            try self.open(folder, path, a[4] & AT_SYMLINK_NOFOLLOW == 0);
        self.copyStrings(a[2], a[3]) catch |failure| {
            file.release(k.allocator);
            return failure;
        };
        self.to.program = try self.load(try self.followScripts(file));
        const interpreter = self.to.program.interpreter() orelse return;
        self.to.interpreter = self.loadInterpreter(interpreter) catch |failure| {
            self.to.program.release(k.allocator);
            return failure;
        };
    }

    /// By which path an interpreter would find the program: through its descriptor, if it was named by one.
    fn nameOf(self: *Preparation, folder: i32, path: []const u8) Error![]const u8 {
        if (folder == AT_FDCWD or path.len > 0 and path[0] == '/') return self.arena.dupe(u8, path);
        const separator: []const u8 = if (path.len > 0) "/" else "";
        return std.fmt.allocPrint(self.arena, "/dev/fd/{d}{s}{s}", .{ folder, separator, path });
    }

    fn copyStrings(self: *Preparation, argv: u64, env: u64) Error!void {
        self.to.argv = try self.strings(argv);
        self.to.env = try self.strings(env);
        // Linux gives a program that was started with none one empty argument.
        if (self.to.argv.len == 0) self.to.argv = try self.arena.dupe([]const u8, &.{""});
    }

    /// The file of a path that the guest may read and whose mode lets it be run.
    fn open(self: *Preparation, folder: i32, path: []const u8, follow: bool) Error!*HostFile {
        const k = self.k;
        var lookup: files_module.Lookup = .{ .k = k };
        var target: files_module.Target = .{};
        lookup.resolve(folder, path, follow, &target) catch return self.failWith(lookup.errno);
        if (target.node) |node| {
            if (node.content == .program) return k.program_file.?.retain();
            if (node.content == .descriptor) return self.openDescriptor(k.files.namespace().descriptorAt(target.place.path()).?);
            return self.failWith(fail(.ACCES));
        }
        switch (target.private) {
            .host, .shown => {},
            .absent => return self.failWith(fail(.NOENT)),
            .node => |index| return self.openPrivate(index, target.place.path()),
        }
        lookup.demand(&target, .read) catch return self.failWith(lookup.errno);
        k.hostCall();
        const rc = target.at.open(nonblock | paths.O_NOFOLLOW, 0);
        if (rc < 0) return self.failWith(rc);
        const fd: i32 = @intCast(rc);
        const mode = paths.modeOf(fd) orelse 0;
        if (mode & linux.S.IFMT != linux.S.IFREG or mode & 0o111 == 0) {
            host.close(fd);
            return self.failWith(fail(.ACCES));
        }
        return HostFile.create(k.allocator, fd, target.place.path());
    }

    const nonblock = 0o4000;

    fn openPrivate(self: *Preparation, index: u32, path: []const u8) Error!*HostFile {
        const k = self.k;
        const node = k.files.private.at(index);
        const execute = 1;
        if (node.kind != .file or !private_mounts.allows(node, private_open.userOf(k), execute)) return self.failWith(fail(.ACCES));
        const file = private_mapped.fileToRun(k, index, path) catch |failure| return switch (failure) {
            error.OutOfMemory => error.OutOfMemory,
            error.NoSpace => self.failWith(fail(.NOMEM)),
        };
        return file orelse self.failWith(fail(.NOEXEC));
    }

    fn openDescriptor(self: *Preparation, number: i32) Error!*HostFile {
        const description = self.k.files.get(number) orelse return self.failWith(fail(.BADF));
        if (description.kind == .private_file) return self.openPrivate(description.kind.private_file.node, description.path);
        if (description.kind != .host_file) return self.failWith(fail(.ACCES));
        // A place is opened now, and may be run if its path may.
        if (description.isPathOnly()) return self.open(AT_FDCWD, description.path, true);
        const file = description.kind.host_file.file;
        const mode = paths.modeOf(file.fd) orelse 0;
        if (!description.mayRead() or mode & linux.S.IFMT != linux.S.IFREG or mode & 0o111 == 0) return self.failWith(fail(.ACCES));
        return file.retain();
    }

    /// Goes from scripts to their interpreters, with their arguments put before the program's own.
    fn followScripts(self: *Preparation, opened: *HostFile) Error!*HostFile {
        var file = opened;
        var path = self.to.name;
        for (0..script.depth_max + 1) |_| {
            errdefer file.release(self.k.allocator);
            var head: [script.line_max_bytes]u8 = undefined;
            const found = script.parse(head[0..file.readAt(&head, 0)]) catch |failure| switch (failure) {
                error.NotScript => return file,
                error.NoInterpreter, error.TooLong => return self.failWith(fail(.NOEXEC)),
            };
            self.to.argv = try found.arguments(self.arena, path, self.to.argv);
            const interpreter = self.to.argv[0];
            const next = try self.open(AT_FDCWD, interpreter, true);
            file.release(self.k.allocator);
            file = next;
            path = interpreter;
        }
        file.release(self.k.allocator);
        return self.failWith(fail(.LOOP));
    }

    fn load(self: *Preparation, file: *HostFile) Error!*Program {
        var refusal: elf.Refusal = .{};
        return Program.create(self.k.allocator, file, file.size(), &refusal) catch |failure| switch (failure) {
            error.OutOfMemory => error.OutOfMemory,
            error.Refused => self.failWith(fail(.NOEXEC)),
        };
    }

    fn loadInterpreter(self: *Preparation, path: []const u8) Error!*Program {
        const file = try self.open(AT_FDCWD, path, true);
        const program = self.load(file) catch |failure| {
            if (self.errno == fail(.NOEXEC)) self.errno = fail(.LIBBAD);
            return failure;
        };
        program.interpreter_length = 0;
        return program;
    }

    /// Copies a list of strings, within Linux's bounds.
    fn strings(self: *Preparation, address: u64) Error![]const []const u8 {
        var list: std.ArrayList([]const u8) = .empty;
        if (address == 0) return list.items;
        const memory = self.k.memory;
        const buffer = try self.arena.alloc(u8, limits.argument_max_bytes);
        while (true) {
            const pointer = memory.readValue(u64, address +% list.items.len * 8) catch return self.failWith(fail(.FAULT));
            if (pointer == 0) return list.items;
            const text = memory.readCString(pointer, buffer) catch |failure| return self.failWith(if (failure == error.Fault) fail(.FAULT) else fail(.@"2BIG"));
            self.bytes += text.len + 1 + 8;
            if (self.bytes > limits.arguments_total_max_bytes) return self.failWith(fail(.@"2BIG"));
            try list.append(self.arena, try self.arena.dupe(u8, text));
        }
    }
};
