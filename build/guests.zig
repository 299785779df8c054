//! Builds what runs inside machines: the vDSO, which the core embeds, and the sample guests, which tests and benchmarks
//! run. Samples keep their symbol table, since functions are called by name, and no debug information.
const std = @import("std");
const Build = std.Build;

const Language = enum { c, zig, assembly };

const Sample = struct {
    name: []const u8,
    /// Below guest/samples.
    source: []const u8,
    /// Further C files of the same program.
    also: []const []const u8 = &.{},
    language: Language = .c,
    position_independent: bool = false,
    /// C library: musl. Without it a program has its own `_start`, or Zig's.
    libc: bool = true,
    /// Linked with musl's shared library, which its loader (Debian's package musl) finds.
    dynamic: bool = false,
    /// Behind those of all C files.
    flags: []const []const u8 = &.{},
};

const samples = [_]Sample{
    .{ .name = "hello", .source = "hello.c" },
    .{ .name = "mapping", .source = "mapping.c" },
    .{ .name = "functions", .source = "functions.c" },
    .{ .name = "functions-pie", .source = "functions.c", .position_independent = true },
    .{ .name = "args", .source = "args.c" },
    .{ .name = "exit", .source = "exit.c" },
    .{ .name = "upper", .source = "upper.c" },
    .{ .name = "files", .source = "files.c" },
    .{ .name = "sockets", .source = "sockets.c", .also = &.{ "sockets_host.c", "sockets_names.c" } },
    .{ .name = "sockets-threads", .source = "sockets_threads.c" },
    .{ .name = "private", .source = "private.c", .also = &.{"private_tree.c"} },
    .{ .name = "layers", .source = "layers.c" },
    .{ .name = "clock", .source = "clock.c" },
    .{ .name = "levels", .source = "levels.c" },
    .{ .name = "sleeps", .source = "sleeps.c" },
    .{ .name = "stack", .source = "stack.c" },
    .{ .name = "break", .source = "break.c" },
    .{ .name = "maps", .source = "maps.c" },
    .{ .name = "tls", .source = "tls.c" },
    .{ .name = "segments", .source = "segments.c" },
    .{ .name = "vectors", .source = "vectors.c" },
    .{ .name = "signals", .source = "signals.c" },
    .{ .name = "timers", .source = "timers.c" },
    .{ .name = "alarms", .source = "alarms.c" },
    .{ .name = "threads", .source = "threads.c" },
    .{ .name = "futexes", .source = "futexes.c" },
    .{ .name = "thread-signals", .source = "thread_signals.c" },
    .{ .name = "thread-ends", .source = "thread_ends.c" },
    .{ .name = "preemption", .source = "preemption.c" },
    .{ .name = "bad-threads", .source = "bad_threads.c" },
    .{ .name = "thread-image", .source = "thread_image.c" },
    .{ .name = "events", .source = "events.c", .also = &.{"event_objects.c"} },
    .{ .name = "event-threads", .source = "event_threads.c" },
    .{ .name = "raw-server", .source = "raw_server.c" },
    .{ .name = "faults", .source = "faults.c" },
    .{ .name = "endless", .source = "endless.c" },
    .{ .name = "ready", .source = "ready.c" },
    .{ .name = "remote", .source = "remote.c", .position_independent = true },
    .{ .name = "remote-fixed", .source = "remote.c" },
    // Functions of headers are not inlined unless they have to be.
    .{ .name = "remote-unoptimized", .source = "remote.c", .position_independent = true, .flags = &.{"-O0"} },
    .{ .name = "caller", .source = "caller.c" },
    .{ .name = "changes", .source = "changes.c", .also = &.{ "change_threads.c", "change_sockets.c", "change_layer.c" } },
    .{ .name = "forker", .source = "forker.c" },
    .{ .name = "escape", .source = "escape.c" },
    .{ .name = "bad", .source = "bad.c" },
    .{ .name = "sha256", .source = "sha256.c" },
    .{ .name = "matrix", .source = "matrix.c" },
    .{ .name = "sort", .source = "sort.c" },
    .{ .name = "files-dynamic", .source = "files.c", .position_independent = true, .dynamic = true },
    .{ .name = "sort-dynamic", .source = "sort.c", .dynamic = true },
    .{ .name = "bare", .source = "bare.c", .libc = false },
    .{ .name = "calls", .source = "calls.S", .language = .assembly, .libc = false },
    .{ .name = "words", .source = "words.zig", .language = .zig, .libc = false },
    .{ .name = "json", .source = "json.zig", .language = .zig },
    .{ .name = "pie", .source = "pie.zig", .language = .zig, .libc = false, .position_independent = true },
};

const c_flags = [_][]const u8{ "-std=gnu17", "-O2", "-g0", "-Wall", "-Wextra", "-fno-sanitize=all", "-fno-stack-protector" };

/// Installs every sample as guests/NAME below the install prefix, and returns the linked image of the vDSO, to be
/// given to the core as the anonymous import "vdso_image".
pub fn add(b: *Build) Build.LazyPath {
    // One mode for all, whatever the project is built with: musl is then compiled once.
    const target = b.resolveTargetQuery(.{ .cpu_arch = .x86_64, .os_tag = .linux, .abi = .musl });
    const step = b.step("guests", "Build the sample guests");
    for (samples) |sample| {
        const program = addSample(b, target, sample);
        const install = b.addInstallArtifact(program, .{ .dest_dir = .{ .override = .{ .custom = "guests" } } });
        step.dependOn(&install.step);
    }
    b.getInstallStep().dependOn(step);
    return addVdso(b);
}

fn addSample(b: *Build, target: Build.ResolvedTarget, sample: Sample) *Build.Step.Compile {
    const source = b.path(b.pathJoin(&.{ "guest/samples", sample.source }));
    const module = b.createModule(.{
        .root_source_file = if (sample.language == .zig) source else null,
        .target = target,
        // Zig's standard library takes twice as long to compile for speed; musl would be compiled once for each mode.
        .optimize = if (sample.libc) .ReleaseFast else .ReleaseSmall,
        .link_libc = sample.libc,
        .strip = false,
        // For all, although few need it: musl would be compiled a second time for the others.
        .pic = true,
        .unwind_tables = .none,
    });
    switch (sample.language) {
        .c => {
            const flags = std.mem.concat(b.allocator, []const u8, &.{ &c_flags, sample.flags }) catch @panic("OOM");
            module.addCSourceFile(.{ .file = source, .flags = flags });
            for (sample.also) |name| module.addCSourceFile(.{ .file = b.path(b.pathJoin(&.{ "guest/samples", name })), .flags = flags });
            module.addIncludePath(b.path("guest"));
        },
        .assembly => module.addAssemblyFile(source),
        .zig => {},
    }
    const program = b.addExecutable(.{ .name = sample.name, .root_module = module, .linkage = if (sample.dynamic) .dynamic else .static, .use_llvm = true, .use_lld = true });
    program.pie = sample.position_independent;
    // musl comes with 1 MB of debug information, and the linker's own option for it would take the symbol table too.
    program.setLinkerScript(b.path("guest/samples/no-debug.lds"));
    return program;
}

/// The vDSO is linked by a command of its own: the name inside it is not that of its file.
fn addVdso(b: *Build) Build.LazyPath {
    const link = b.addSystemCommand(&.{
        b.graph.zig_exe,
        "cc",
        "-target",
        "x86_64-linux-none",
        "-mcpu=x86_64",
        "-O2",
        "-g0",
        "-Wall",
        "-Wextra",
        "-Werror",
        // General-purpose registers only, no library, no helper calls, no tables that would need relocating.
        "-mno-sse",
        "-mno-mmx",
        "-mno-x87",
        "-ffreestanding",
        "-fno-builtin",
        "-nostdinc",
        "-nostdlib",
        "-fno-jump-tables",
        "-fno-stack-protector",
        "-fno-sanitize=all",
        "-fomit-frame-pointer",
        "-fasynchronous-unwind-tables",
        "-fPIC",
        "-fvisibility=hidden",
        "-shared",
        "-Wl,-soname,linux-vdso.so.1",
        "-Wl,--hash-style=both",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--eh-frame-hdr",
        "-Wl,--build-id=none",
        "-Wl,-s",
    });
    link.addPrefixedFileArg("-Wl,-T,", b.path("guest/vdso/vdso.lds"));
    link.addPrefixedFileArg("-Wl,--version-script=", b.path("guest/vdso/vdso.map"));
    link.addFileArg(b.path("guest/vdso/vdso.c"));
    link.addFileInput(b.path("guest/vdso/parameters.h"));
    return link.addPrefixedOutputFileArg("-o", "vdso.so");
}
