//! Puts a program into a machine: its segments and its dynamic loader's, its stack, its first registers.
//! Source: Linux fs/binfmt_elf.c behaviour, execve(2).
const std = @import("std");
const linux = std.os.linux;
const elf = @import("elf.zig");
const errors = @import("errors.zig");
const host = @import("host.zig");
const HostFile = @import("host_file.zig").HostFile;
const initial_stack = @import("initial_stack.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const paths = @import("linux/paths.zig");
const script = @import("script.zig");
const shared_libraries = @import("shared_libraries.zig");
const AddressSpace = @import("memory/address_space.zig").AddressSpace;
const Machine = @import("machine.zig").Machine;
const Program = @import("program.zig").Program;
const Rights = @import("memory/vma.zig").Rights;

const page = limits.page_size;
/// Windows of a program that are mapped before it runs; those behind them come with its first faults.
const windows_mapped_max = 64;

const static_hint = "use an x86-64 Linux executable, or a script whose first line names one";

/// A program that was found: its file, and what a script puts before the arguments.
pub const Opened = struct {
    program: *Program,
    /// Takes the place of argument 0; empty unless a script was given.
    prefix: []const []const u8 = &.{},
};

/// Opens a program, or the interpreter of a script, for a new machine. `arena` holds the prefix.
pub fn open(allocator: std.mem.Allocator, arena: std.mem.Allocator, path: []const u8, given_fd: i32, record: *errors.Record) error{Failed}!Opened {
    var prefix: []const []const u8 = &.{};
    var at = path;
    for (0..script.depth_max + 1) |_| {
        const file = if (given_fd >= 0) try duplicate(allocator, path, given_fd, record) else try openFile(allocator, at, record);
        var head: [script.line_max_bytes]u8 = undefined;
        const found = script.parse(head[0..file.readAt(&head, 0)]) catch |failure| switch (failure) {
            error.NotScript => return .{ .program = try make(allocator, at, file, record), .prefix = prefix },
            error.NoInterpreter, error.TooLong => {
                file.release(allocator);
                return notExecutable(record, at, "the first line of the script names no interpreter");
            },
        };
        file.release(allocator);
        if (given_fd >= 0) return notExecutable(record, path, "a script must be a file, which its interpreter opens by its path");
        prefix = found.arguments(arena, at, prefix) catch return outOfHostMemory(record);
        at = prefix[0];
        if (at[0] != '/') return notExecutable(record, path, "the interpreter in the first line of the script is not an absolute path");
    }
    return notExecutable(record, path, "too many scripts name each other as their interpreters");
}

/// A program from bytes in memory; they are copied.
pub fn openBytes(allocator: std.mem.Allocator, bytes: []const u8, record: *errors.Record) error{Failed}!*Program {
    const memfd: i32 = @intCast(host.check(linux.memfd_create("pristine-program", linux.MFD.CLOEXEC)) catch return outOfHostMemory(record));
    const file = HostFile.create(allocator, memfd, "the program") catch return outOfHostMemory(record);
    if (linux.pwrite(memfd, bytes.ptr, bytes.len, 0) != bytes.len) {
        file.release(allocator);
        return outOfHostMemory(record);
    }
    return make(allocator, "the program", file, record);
}

/// The embedder's descriptor stays its own.
fn duplicate(allocator: std.mem.Allocator, path: []const u8, fd: i32, record: *errors.Record) error{Failed}!*HostFile {
    const dupfd_cloexec = 1030;
    const own = host.check(linux.fcntl(fd, dupfd_cloexec, 3)) catch return outOfHostMemory(record);
    return HostFile.create(allocator, @intCast(own), path) catch outOfHostMemory(record);
}

/// Checks an open file and makes a program of it; the reference passes to it, on failure too.
fn make(allocator: std.mem.Allocator, path: []const u8, file: *HostFile, record: *errors.Record) error{Failed}!*Program {
    const size = file.size();
    if (size == 0 or size > limits.program_max_bytes) {
        file.release(allocator);
        return notExecutable(record, path, if (size == 0) "it is empty" else "it is larger than 2 GiB");
    }
    var refusal: elf.Refusal = .{};
    return Program.create(allocator, file, size, &refusal) catch |failure| {
        if (failure == error.OutOfMemory) return outOfHostMemory(record);
        var buffer: [512]u8 = undefined;
        return notExecutable(record, path, std.fmt.bufPrint(&buffer, "{f}", .{refusal}) catch &buffer);
    };
}

fn openFile(allocator: std.mem.Allocator, path: []const u8, record: *errors.Record) error{Failed}!*HostFile {
    var buffer: [limits.path_max_bytes:0]u8 = undefined;
    if (path.len >= buffer.len or std.mem.indexOfScalar(u8, path, 0) != null) return notFound(record, path, "the path is too long or has a NUL in it");
    @memcpy(buffer[0..path.len], path);
    buffer[path.len] = 0;
    // Without O_NONBLOCK, opening a FIFO would wait for its other end.
    const fd: i32 = @intCast(host.check(linux.open(&buffer, .{ .CLOEXEC = true, .NONBLOCK = true }, 0)) catch return switch (host.last_errno) {
        .NOENT, .NOTDIR, .LOOP, .NAMETOOLONG => notFound(record, path, "no such file"),
        .ACCES, .PERM => notExecutable(record, path, "it may not be read by this user"),
        else => notExecutable(record, path, "it cannot be opened"),
    });
    // The program's own path is the one without symbolic links, as the kernel shows it in /proc/self/exe.
    var real: [limits.path_max_bytes]u8 = undefined;
    const file = HostFile.create(allocator, fd, shared_libraries.realPath(fd, &real) orelse path) catch return outOfHostMemory(record);
    errdefer file.release(allocator);
    const mode = paths.modeOf(fd) orelse return notExecutable(record, path, "it cannot be examined");
    switch (mode & linux.S.IFMT) {
        linux.S.IFREG => {},
        linux.S.IFDIR => return notExecutable(record, path, "it is a directory"),
        else => return notExecutable(record, path, "it is not a regular file"),
    }
    if (mode & 0o111 == 0) return notExecutable(record, path, "it has no execute permission (chmod +x)");
    return file;
}

fn notExecutable(record: *errors.Record, path: []const u8, reason: []const u8) error{Failed} {
    _ = record.format(.NOT_EXECUTABLE, "{s} cannot be run: {s}", .{ path, reason }, static_hint, .{ .path = path });
    return error.Failed;
}

fn notFound(record: *errors.Record, path: []const u8, reason: []const u8) error{Failed} {
    const shown = path[0..@min(path.len, 512)];
    _ = record.format(.NOT_FOUND, "{s}: {s}", .{ shown, reason }, "check the path; programs are looked up on PATH by the command line only", .{ .path = shown });
    return error.Failed;
}

fn outOfHostMemory(record: *errors.Record) error{Failed} {
    _ = record.set(.INTERNAL, "the host has no memory or descriptors left", "free memory on the host, or raise the limit on open files (ulimit -n)", .{});
    return error.Failed;
}

/// Loads the opened program into the machine, whose kernel is there already, and sets its first registers. `name` is what
/// it was started as.
pub fn load(machine: *Machine, name: []const u8, argv: []const []const u8, env: []const []const u8, record: *errors.Record) error{Failed}!void {
    try initial_stack.checkArguments(argv, env, record);
    const program = machine.program;
    grantNeeded(machine, name, env) catch return outOfHostMemory(record);
    const interpreter: ?*Program = if (program.interpreter()) |path| try openInterpreter(machine, path, record) else null;
    defer if (interpreter) |some| some.release(machine.allocator);
    program.setCommandLine(machine.allocator, argv) catch return outOfHostMemory(record);
    start(machine, interpreter, name, argv, env) catch {
        const memory = machine.frames.frames_max * page;
        _ = record.format(.OUT_OF_MEMORY, "the program does not fit into {d} KiB of memory", .{memory / 1024}, "raise `memory` (--memory)", .{ .limit = memory });
        return error.Failed;
    };
}

/// Maps the machine's program, which is in nobody's way, and sets the first registers.
pub fn start(machine: *Machine, interpreter: ?*Program, name: []const u8, argv: []const []const u8, env: []const []const u8) !void {
    const program = machine.program;
    adoptProgram(machine);
    try place(machine, interpreter);
    const base = if (interpreter) |some| some.bias +% some.image.page_start else 0;
    const rsp = try initial_stack.build(machine, .{ .name = name, .interpreter_base = base }, argv, env);
    machine.current().regs = .{ .rip = if (interpreter) |some| some.entry else program.entry, .rsp = rsp, .rflags = 0x202 };
}

/// What the kernel knows of the machine's program is the program's own.
pub fn adoptProgram(machine: *Machine) void {
    const program = machine.program;
    const kernel = &machine.kernel;
    kernel.program_file = program.file;
    kernel.program_path = program.file.path;
    kernel.command_line = program.command_line;
}

/// A program may read itself and what it needs to start, whatever it is permitted; `name` is its script, if it is one's
/// interpreter.
fn grantNeeded(machine: *Machine, name: []const u8, env: []const []const u8) error{OutOfMemory}!void {
    const scope = machine.kernel.files.scope;
    if (scope.permissions.read.all) return;
    const program = machine.program;
    scope.permissions.needed = try shared_libraries.find(scope.arena.allocator(), .{
        .fd = program.file.fd,
        .path = program.file.path,
        .script = name,
        .interpreter = program.interpreter(),
    }, env);
}

/// The dynamic loader, by the guest's own path of it.
fn openInterpreter(machine: *Machine, path: []const u8, record: *errors.Record) error{Failed}!*Program {
    const name = machine.program.file.path;
    const space = machine.kernel.files.namespace();
    var found: paths.Place = .{};
    space.resolve("/", path, true, &found) catch return noInterpreter(record, name, path);
    var at: paths.HostPlace = undefined;
    space.hostPlace(found.path(), &at) catch return noInterpreter(record, name, path);
    if (!space.allows(.read, &at)) return noInterpreter(record, name, path);
    const nonblock = 0o4000;
    const fd = at.open(nonblock | paths.O_NOFOLLOW, 0);
    if (fd < 0) return noInterpreter(record, name, path);
    const file = HostFile.create(machine.allocator, @intCast(fd), found.path()) catch return outOfHostMemory(record);
    const mode = paths.modeOf(file.fd) orelse 0;
    if (mode & linux.S.IFMT != linux.S.IFREG) {
        file.release(machine.allocator);
        return noInterpreter(record, name, path);
    }
    const interpreter = try make(machine.allocator, path, file, record);
    // Linux does not go further either: the loader's own loader is nobody's.
    interpreter.interpreter_length = 0;
    return interpreter;
}

fn noInterpreter(record: *errors.Record, name: []const u8, path: []const u8) error{Failed} {
    _ = record.format(.NOT_EXECUTABLE, "{s} cannot be run: its dynamic loader {s} is not there or may not be read", .{ name, path }, "install the C library it was built for, or take back the denial that covers it (--deny-read)", .{ .path = name });
    return error.Failed;
}

/// Maps the segments, the heap's start and the stack.
fn place(machine: *Machine, interpreter: ?*Program) !void {
    const program = machine.program;
    const space = &machine.space;
    try placeImage(space, program, space.area.pie_base);
    space.brk_start = program.image.page_end +% program.bias;
    space.brk_end = space.brk_start;
    const stack_start = space.area.end - limits.stack_default_bytes;
    // A program may ask to lie anywhere, also where its stack has to be.
    if (!space.vmas.isFree(stack_start, space.area.end)) return error.OutOfMemory;
    try space.map(.{
        .start = stack_start,
        .end = space.area.end,
        .rights = .{ .read = true, .write = true, .execute = program.image.stack_executable },
        .kind = .stack,
    });
    const loaded = interpreter orelse return;
    const alignment = loaded.image.alignment;
    const base = space.findFree(loaded.image.span() + alignment, alignment) orelse return error.OutOfMemory;
    try placeImage(space, loaded, base);
}

fn placeImage(space: *AddressSpace, program: *Program, base: u64) !void {
    const image = &program.image;
    program.bias = image.biasFor(base) orelse return error.OutOfMemory;
    program.entry = image.entry +% program.bias;
    for (image.segments()) |segment| try placeSegment(space, program, segment);
    mapAhead(space, program);
}

fn placeSegment(space: *AddressSpace, program: *const Program, segment: elf.Segment) !void {
    const first = segment.pageStart() +% program.bias;
    const end = segment.pageEnd() +% program.bias;
    // Segments may share a page; the later one has its way, with what the file holds around it.
    try space.unmap(first, end);
    const rights: Rights = .{ .read = segment.flags.read, .write = segment.flags.write, .execute = segment.flags.execute };
    const window = segment.fileWindow(program.size);
    const file_end = std.mem.alignForward(u64, first + window.length, page);
    if (window.length > 0) {
        try space.map(.{ .start = first, .end = file_end, .rights = rights, .kind = .program, .file = program.file, .file_offset = window.offset });
    }
    if (file_end < end) try space.map(.{ .start = file_end, .end = end, .rights = rights, .kind = .anonymous });
    // Behind what the segment has of the file its memory is zero, to the end of that page too.
    if (segment.memsz <= segment.filesz or window.length == 0) return;
    const zeros: [page]u8 = @splat(0);
    const tail = first + window.length;
    if (tail < file_end) try space.writeAnyRights(tail, zeros[0..@intCast(file_end - tail)]);
}

/// Brings the program's pages in, a window at a time, which would otherwise be a fault each as it starts.
fn mapAhead(space: *AddressSpace, program: *const Program) void {
    var left: u32 = windows_mapped_max;
    for (program.image.segments()) |segment| {
        var at = segment.pageStart() +% program.bias;
        // Memory without bytes of the file comes when it is used: it may be far more than is ever touched.
        const end = at + segment.fileWindow(program.size).length;
        while (at < end and left > 0) : (left -= 1) {
            space.bringIn(at);
            at = std.mem.alignBackward(u64, at, limits.window_size) + limits.window_size;
        }
    }
}
