//! Puts a program into a machine: its segments, its stack with arguments, environment and auxiliary vector.
//! Source: Linux fs/binfmt_elf.c behaviour, System V ABI AMD64 supplement 3.4.1 (initial stack).
const std = @import("std");
const linux = std.os.linux;
const elf = @import("elf.zig");
const errors = @import("errors.zig");
const faults = @import("faults.zig");
const host = @import("host.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const signal_frame = @import("signal_frame.zig");
const symbols = @import("symbols.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const Machine = @import("machine.zig").Machine;

const page = limits.page_size;

/// The program file, and what was learned from it; a machine, its images and their forks share it.
pub const Program = struct {
    /// The whole file; symbols are looked up in it.
    bytes: []align(page) const u8 = &.{},
    image: elf.Image = undefined,
    bias: u64 = 0,
    entry: u64 = 0,
    names: ?symbols.Symbols = null,
    lock: host.Mutex = .{},
    references: std.atomic.Value(u32) = .init(1),

    /// Takes the program's bytes over, on failure too.
    pub fn share(self: Program, allocator: std.mem.Allocator) error{OutOfMemory}!*Program {
        const shared = allocator.create(Program) catch {
            var own = self;
            own.deinit();
            return error.OutOfMemory;
        };
        shared.* = self;
        return shared;
    }

    pub fn retain(self: *Program) *Program {
        _ = self.references.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Program, allocator: std.mem.Allocator) void {
        if (self.references.fetchSub(1, .acq_rel) > 1) return;
        self.deinit();
        allocator.destroy(self);
    }

    pub fn deinit(self: *Program) void {
        if (self.names) |*names| names.deinit();
        if (self.bytes.len > 0) _ = linux.munmap(self.bytes.ptr, self.bytes.len);
        self.* = .{};
    }

    /// The program's names, read when they are first asked for.
    fn symbolTable(self: *Program, allocator: std.mem.Allocator) ?*symbols.Symbols {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.names == null) self.names = symbols.Symbols.init(allocator, self.bytes) catch return null;
        return &self.names.?;
    }

    /// The address of a symbol in the guest.
    pub fn symbolAddress(self: *Program, allocator: std.mem.Allocator, name: []const u8) ?u64 {
        const table = self.symbolTable(allocator) orelse return null;
        const symbol = table.lookup(name) orelse return null;
        return symbol.address(self.bias);
    }

    /// Where the program headers are in the guest.
    fn headersAddress(self: *const Program) u64 {
        return (self.image.phdr_vaddr orelse return 0) +% self.bias;
    }

    pub fn namer(self: *Program) faults.Namer {
        return .{ .context = self, .name_fn = nameOf };
    }

    fn nameOf(context: *anyopaque, address: u64, out: []u8) []const u8 {
        const self: *Program = @ptrCast(@alignCast(context));
        const table = self.symbolTable(std.heap.c_allocator) orelse return "";
        const place_found = table.nearest(address -% self.bias) orelse return "";
        return std.fmt.bufPrint(out, "{f}", .{place_found}) catch "";
    }
};

/// Builds the initial stack: strings on top, then the auxiliary vector, the pointers and the argument count.
const StackBuilder = struct {
    space: *AddressSpace,
    at: u64,

    fn bytes(self: *StackBuilder, content: []const u8) !u64 {
        self.at -= content.len;
        try self.space.writeAnyRights(self.at, content);
        return self.at;
    }

    /// The string gets a NUL behind it.
    fn string(self: *StackBuilder, text: []const u8) !u64 {
        self.at -= 1;
        try self.space.writeAnyRights(self.at, &.{0});
        return self.bytes(text);
    }
};

const AT_NULL = 0;
const AT_PHDR = 3;
const AT_PHENT = 4;
const AT_PHNUM = 5;
const AT_PAGESZ = 6;
const AT_BASE = 7;
const AT_FLAGS = 8;
const AT_ENTRY = 9;
const AT_UID = 11;
const AT_EUID = 12;
const AT_GID = 13;
const AT_EGID = 14;
const AT_PLATFORM = 15;
const AT_HWCAP = 16;
const AT_CLKTCK = 17;
const AT_SECURE = 23;
const AT_RANDOM = 25;
const AT_HWCAP2 = 26;
const AT_EXECFN = 31;
const AT_SYSINFO_EHDR = 33;
const AT_MINSIGSTKSZ = 51;

/// HWCAP2 bit 1: the FSGSBASE instructions work in ring 3.
const hwcap2_fsgsbase = 2;
const signal_frame_bytes = 1024;

/// Writes everything a program finds on its stack; its first stack pointer.
fn buildStack(machine: *Machine, program_name: []const u8, argv: []const []const u8, env: []const []const u8) !u64 {
    const allocator = machine.allocator;
    var stack: StackBuilder = .{ .space = &machine.space, .at = layout.stack_top - 8 };
    const name = try stack.string(program_name);
    var words: std.ArrayList(u64) = .empty;
    defer words.deinit(allocator);
    try words.ensureTotalCapacity(allocator, argv.len + env.len + 64);
    words.appendAssumeCapacity(argv.len);
    for ([_][]const []const u8{ argv, env }) |list| {
        for (list) |text| words.appendAssumeCapacity(try stack.string(text));
        words.appendAssumeCapacity(0);
    }
    const platform = try stack.string("x86_64");
    var random: [16]u8 = undefined;
    _ = linux.getrandom(&random, random.len, 0);
    const random_address = try stack.bytes(&random);

    const program = machine.program;
    const identity = machine.kernel.identity;
    const fsgsbase: u64 = if (machine.platform.fsgsbase()) hwcap2_fsgsbase else 0;
    for ([_][2]u64{
        .{ AT_SYSINFO_EHDR, layout.vdso_base },
        .{ AT_HWCAP, host.cpuid(1, 0).edx },
        .{ AT_PAGESZ, page },
        .{ AT_CLKTCK, 100 },
        .{ AT_PHDR, program.headersAddress() },
        .{ AT_PHENT, @sizeOf(elf.ProgramHeader) },
        .{ AT_PHNUM, program.image.phnum },
        .{ AT_BASE, 0 },
        .{ AT_FLAGS, 0 },
        .{ AT_ENTRY, program.entry },
        .{ AT_UID, identity.uid },
        .{ AT_EUID, identity.uid },
        .{ AT_GID, identity.gid },
        .{ AT_EGID, identity.gid },
        .{ AT_SECURE, 0 },
        .{ AT_RANDOM, random_address },
        .{ AT_HWCAP2, fsgsbase },
        .{ AT_EXECFN, name },
        .{ AT_PLATFORM, platform },
        .{ AT_MINSIGSTKSZ, signal_frame_bytes + signal_frame.xsaveBytes() },
        .{ AT_NULL, 0 },
    }) |pair| words.appendSliceAssumeCapacity(&pair);

    const rsp = std.mem.alignBackward(u64, stack.at - words.items.len * 8, 16);
    try machine.space.writeAnyRights(rsp, std.mem.sliceAsBytes(words.items));
    return rsp;
}

/// Refuses what Linux would refuse with E2BIG.
fn checkArguments(argv: []const []const u8, env: []const []const u8, record: *errors.Record) error{Failed}!void {
    var total: u64 = 0;
    for ([_][]const []const u8{ argv, env }) |list| {
        for (list) |text| {
            total += text.len + 1 + 8;
            if (text.len < limits.argument_max_bytes) continue;
            _ = record.format(.BAD_OPTION, "one argument or environment string has {d} bytes; Linux allows {d}", .{ text.len, limits.argument_max_bytes - 1 }, "pass large data by stdin or a file", .{ .option = "args" });
            return error.Failed;
        }
    }
    if (total <= limits.arguments_total_max_bytes) return;
    _ = record.format(.BAD_OPTION, "arguments and environment have {d} bytes together; Linux allows {d}", .{ total, limits.arguments_total_max_bytes }, "pass fewer, or pass data by stdin or a file", .{ .option = "args" });
    return error.Failed;
}

/// Reads a program's file and checks that it can be run.
pub fn open(path: []const u8, given_fd: i32, record: *errors.Record) error{Failed}!Program {
    return check(path, try readFile(path, given_fd, record), record);
}

/// A program from bytes in memory; they are copied.
pub fn openBytes(file: []const u8, record: *errors.Record) error{Failed}!Program {
    const bytes = try memoryFor("the program", file.len, record);
    @memcpy(bytes, file);
    return check("the program", bytes, record);
}

fn memoryFor(path: []const u8, size: usize, record: *errors.Record) error{Failed}![]align(page) u8 {
    const address = host.check(linux.mmap(null, size, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0)) catch return notExecutable(record, path, "there is no memory to read it");
    return @as([*]align(page) u8, @ptrFromInt(address))[0..size];
}

/// Takes the bytes over.
fn check(path: []const u8, bytes: []align(page) const u8, record: *errors.Record) error{Failed}!Program {
    var program: Program = .{ .bytes = bytes };
    errdefer if (bytes.len > 0) {
        _ = linux.munmap(bytes.ptr, bytes.len);
    };
    switch (elf.parse(bytes, .{})) {
        .image => |image| program.image = image,
        .refused => |refusal| {
            var buffer: [512]u8 = undefined;
            return notExecutable(record, path, std.fmt.bufPrint(&buffer, "{f}", .{refusal}) catch &buffer);
        },
    }
    return program;
}

fn notExecutable(record: *errors.Record, path: []const u8, reason: []const u8) error{Failed} {
    _ = record.format(.NOT_EXECUTABLE, "{s} cannot be run: {s}", .{ path, reason }, "use a static x86-64 Linux executable (for C: cc -static; for Go and Zig the default)", .{ .path = path });
    return error.Failed;
}

/// The file's bytes, copied, so that changing or truncating the file later does nothing to the machine.
fn readFile(path: []const u8, given_fd: i32, record: *errors.Record) error{Failed}![]align(page) const u8 {
    const fd = if (given_fd >= 0) given_fd else try openFile(path, record);
    defer if (given_fd < 0) host.close(fd);
    var stat: linux.Statx = undefined;
    _ = host.check(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true, .MODE = true, .SIZE = true }, &stat)) catch return notExecutable(record, path, "it cannot be examined");
    switch (stat.mode & linux.S.IFMT) {
        linux.S.IFREG => {},
        linux.S.IFDIR => return notExecutable(record, path, "it is a directory"),
        else => return notExecutable(record, path, "it is not a regular file"),
    }
    if (given_fd < 0 and stat.mode & 0o111 == 0) return notExecutable(record, path, "it has no execute permission (chmod +x)");
    if (stat.size == 0) return notExecutable(record, path, "it is empty");
    if (stat.size > limits.program_max_bytes) return notExecutable(record, path, "it is larger than 2 GiB");
    const size: usize = @intCast(stat.size);
    const bytes = try memoryFor(path, size, record);
    var done: usize = 0;
    while (done < size) {
        const got: isize = @bitCast(linux.pread(fd, bytes.ptr + done, size - done, @intCast(done)));
        if (got == -@as(isize, @intFromEnum(linux.E.INTR))) continue;
        // A file that became shorter meanwhile ends in zeros, and its headers say the rest.
        if (got <= 0) break;
        done += @intCast(got);
    }
    return bytes;
}

fn openFile(path: []const u8, record: *errors.Record) error{Failed}!i32 {
    var buffer: [limits.path_max_bytes:0]u8 = undefined;
    if (path.len >= buffer.len or std.mem.indexOfScalar(u8, path, 0) != null) return notFound(record, path, "the path is too long or has a NUL in it");
    @memcpy(buffer[0..path.len], path);
    buffer[path.len] = 0;
    // Without O_NONBLOCK, opening a FIFO would wait for its other end.
    const fd = host.check(linux.open(&buffer, .{ .CLOEXEC = true, .NONBLOCK = true }, 0)) catch return switch (host.last_errno) {
        .NOENT, .NOTDIR, .LOOP, .NAMETOOLONG => notFound(record, path, "no such file"),
        .ACCES, .PERM => notExecutable(record, path, "it may not be read by this user"),
        else => notExecutable(record, path, "it cannot be opened"),
    };
    return @intCast(fd);
}

fn notFound(record: *errors.Record, path: []const u8, reason: []const u8) error{Failed} {
    const shown = path[0..@min(path.len, 512)];
    _ = record.format(.NOT_FOUND, "{s}: {s}", .{ shown, reason }, "check the path; programs are looked up on PATH by the command line only", .{ .path = shown });
    return error.Failed;
}

/// Loads the opened program into the machine and sets its first registers.
pub fn load(machine: *Machine, argv: []const []const u8, env: []const []const u8, record: *errors.Record) error{Failed}!void {
    try checkArguments(argv, env, record);
    place(machine) catch {
        const memory = machine.frames.frames_max * page;
        _ = record.format(.OUT_OF_MEMORY, "the program does not fit into {d} KiB of memory", .{memory / 1024}, "raise `memory` (--memory)", .{ .limit = memory });
        return error.Failed;
    };
    const name = if (argv.len > 0) argv[0] else "";
    const rsp = buildStack(machine, name, argv, env) catch {
        const memory = machine.frames.frames_max * page;
        _ = record.format(.OUT_OF_MEMORY, "the program's arguments do not fit into {d} KiB of memory", .{memory / 1024}, "raise `memory` (--memory)", .{ .limit = memory });
        return error.Failed;
    };
    machine.saved = .{ .rip = machine.program.entry, .rsp = rsp, .rflags = 0x202 };
}

/// Maps the segments, the heap's start and the stack.
fn place(machine: *Machine) !void {
    const program = machine.program;
    const image = &program.image;
    const space = &machine.space;
    program.bias = image.biasFor(layout.pie_base) orelse return error.OutOfMemory;
    program.entry = image.entry +% program.bias;
    for (image.segments()) |segment| try placeSegment(space, program.bytes, segment, program.bias);
    space.brk_start = image.page_end +% program.bias;
    space.brk_end = space.brk_start;
    try space.map(.{
        .start = layout.stack_top - limits.stack_default_bytes,
        .end = layout.stack_top,
        .rights = .{ .read = true, .write = true, .execute = image.stack_executable },
        .kind = .stack,
    });
}

fn placeSegment(space: *AddressSpace, file: []const u8, segment: elf.Segment, bias: u64) !void {
    const start = segment.pageStart() +% bias;
    const end = segment.pageEnd() +% bias;
    // Segments may share a page; the later one has its way, with what the file holds around it.
    try space.unmap(start, end);
    try space.map(.{
        .start = start,
        .end = end,
        .rights = .{ .read = segment.flags.read, .write = segment.flags.write, .execute = segment.flags.execute },
        .kind = .program,
    });
    const window = segment.fileWindow(file.len);
    const bytes = file[@intCast(window.offset)..][0..@intCast(window.length)];
    try space.writeAnyRights(window.vaddr +% bias, bytes);
}
