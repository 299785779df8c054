//! A program's file: opened, checked, kept open for its mappings, and its names.
//!
//! A machine, its images and their forks share one. Nothing of the file is in the VMM's memory for longer than it takes to
//! read its headers, but for the names, which are read when somebody asks for them.
//! Not here: putting it into a machine (`loader.zig`).
const std = @import("std");
const linux = std.os.linux;
const elf = @import("elf.zig");
const errors = @import("errors.zig");
const faults = @import("faults.zig");
const host = @import("host.zig");
const HostFile = @import("host_file.zig").HostFile;
const limits = @import("limits.zig");
const symbols = @import("symbols.zig");

const page = limits.page_size;
/// So much of a file is read for its headers; the rest only if they lie behind it.
const head_bytes = 16 * limits.KiB;

pub const Program = struct {
    file: *HostFile,
    size: u64,
    image: elf.Image,
    /// The dynamic loader that the program asks for; empty if it is none's.
    interpreter_bytes: [limits.path_max_bytes]u8 = undefined,
    interpreter_length: usize = 0,
    bias: u64 = 0,
    entry: u64 = 0,
    /// Its arguments, each with a NUL behind it, as /proc/self/cmdline shows them.
    command_line: []u8 = &.{},
    names: ?symbols.Symbols = null,
    lock: host.Mutex = .{},
    references: std.atomic.Value(u32) = .init(1),

    /// Reads and checks the headers of an open file, whose reference passes to the program, on failure too.
    pub fn create(allocator: std.mem.Allocator, file: *HostFile, size: u64, refusal: *elf.Refusal) error{ OutOfMemory, Refused }!*Program {
        errdefer file.release(allocator);
        const self = try allocator.create(Program);
        errdefer allocator.destroy(self);
        self.* = .{ .file = file, .size = size, .image = undefined };
        const head = try allocator.alloc(u8, @intCast(@min(size, head_bytes)));
        defer allocator.free(head);
        const got = head[0..file.readAt(head, 0)];
        if (self.parse(got, refusal)) |_| return self else |_| {}
        if (head.len == size) return error.Refused;
        switch (refusal.reason) {
            .truncated_program_headers, .bad_interpreter => {},
            else => return error.Refused,
        }
        try self.parseScattered(got, refusal);
        return self;
    }

    /// Some tools put the headers, or the loader's path, at the end of the file. Only the pages that hold them are read, into
    /// memory where the rest stays untouched, whatever size the file says it has.
    fn parseScattered(self: *Program, head: []const u8, refusal: *elf.Refusal) error{ OutOfMemory, Refused }!void {
        const bytes = try reserve(self.size);
        defer _ = linux.munmap(bytes.ptr, bytes.len);
        @memcpy(bytes[0..head.len], head);
        if (head.len < @sizeOf(elf.Header)) return error.Refused;
        const header = std.mem.bytesToValue(elf.Header, head[0..@sizeOf(elf.Header)]);
        const phnum = @min(header.phnum, elf.program_headers_max);
        self.fetch(bytes, header.phoff, @as(u64, phnum) * @sizeOf(elf.ProgramHeader));
        for (0..phnum) |index| {
            const entry = elf.slice(bytes, header.phoff +| index * @sizeOf(elf.ProgramHeader), @sizeOf(elf.ProgramHeader)) orelse break;
            const ph = std.mem.bytesToValue(elf.ProgramHeader, entry[0..@sizeOf(elf.ProgramHeader)]);
            if (ph.type == elf.SegmentType.interpreter) self.fetch(bytes, ph.offset, @min(ph.filesz, limits.path_max_bytes));
        }
        try self.parse(bytes, refusal);
    }

    fn fetch(self: *const Program, bytes: []u8, offset: u64, length: u64) void {
        if (offset >= bytes.len) return;
        const end = offset + @min(length, bytes.len - offset);
        _ = self.file.readAt(bytes[@intCast(offset)..@intCast(end)], offset);
    }

    /// Zeros that cost nothing until they are written.
    fn reserve(size: u64) error{OutOfMemory}![]align(page) u8 {
        const length: usize = @intCast(@min(size, limits.program_max_bytes));
        const address = host.check(linux.mmap(null, length, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true }, -1, 0)) catch return error.OutOfMemory;
        return @as([*]align(page) u8, @ptrFromInt(address))[0..length];
    }

    fn parse(self: *Program, head: []const u8, refusal: *elf.Refusal) error{Refused}!void {
        switch (elf.parse(head, .{ .file_bytes = self.size })) {
            .image => |image| self.image = image,
            .refused => |why| {
                refusal.* = why;
                return error.Refused;
            },
        }
        // The path lies in the bytes that were read.
        const path = self.image.interpreter orelse "";
        @memcpy(self.interpreter_bytes[0..path.len], path);
        self.interpreter_length = path.len;
        self.image.interpreter = null;
    }

    pub fn interpreter(self: *const Program) ?[]const u8 {
        return if (self.interpreter_length == 0) null else self.interpreter_bytes[0..self.interpreter_length];
    }

    pub fn setCommandLine(self: *Program, allocator: std.mem.Allocator, argv: []const []const u8) error{OutOfMemory}!void {
        var line: std.ArrayList(u8) = .empty;
        errdefer line.deinit(allocator);
        for (argv) |argument| {
            try line.appendSlice(allocator, argument);
            try line.append(allocator, 0);
        }
        self.command_line = try line.toOwnedSlice(allocator);
    }

    pub fn retain(self: *Program) *Program {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Program, allocator: std.mem.Allocator) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        if (self.names) |*names| names.deinit();
        allocator.free(self.command_line);
        self.file.release(allocator);
        allocator.destroy(self);
    }

    /// The program's names, read when they are first asked for.
    pub fn symbolTable(self: *Program, allocator: std.mem.Allocator) ?*symbols.Symbols {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.names == null) self.names = self.readNames(allocator) catch return null;
        return &self.names.?;
    }

    /// From a copy: the file may change while it is read.
    fn readNames(self: *const Program, allocator: std.mem.Allocator) error{OutOfMemory}!symbols.Symbols {
        if (self.size > limits.program_names_max_bytes) return .{ .allocator = allocator };
        const bytes = try reserve(self.size);
        defer _ = linux.munmap(bytes.ptr, bytes.len);
        return symbols.Symbols.init(allocator, bytes[0..self.file.readAt(bytes, 0)]);
    }

    /// The address of a symbol in the guest.
    pub fn symbolAddress(self: *Program, allocator: std.mem.Allocator, name: []const u8) ?u64 {
        const table = self.symbolTable(allocator) orelse return null;
        const symbol = table.lookup(name) orelse return null;
        return symbol.address(self.bias);
    }

    /// Where the program headers are in the guest.
    pub fn headersAddress(self: *const Program) u64 {
        return (self.image.phdr_vaddr orelse return 0) +% self.bias;
    }

    pub fn namer(self: *Program) faults.Namer {
        return .{ .context = self, .name_fn = nameOf };
    }

    fn nameOf(context: *anyopaque, address: u64, out: []u8) []const u8 {
        const self: *Program = @ptrCast(@alignCast(context));
        if (address < self.bias +% self.image.page_start or address >= self.bias +% self.image.page_end) return "";
        const table = self.symbolTable(std.heap.c_allocator) orelse return "";
        const place_found = table.nearest(address -% self.bias) orelse return "";
        return std.fmt.bufPrint(out, "{f}", .{place_found}) catch "";
    }
};
