//! Builds the core (a shared library for Bun, and an executable for workers), the sample guests, the unit tests and the table of the C boundary.
const std = @import("std");
const guests = @import("build/guests.zig");

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{ .default_target = .{ .cpu_arch = .x86_64, .os_tag = .linux, .abi = .gnu } });
    const optimize = b.option(std.builtin.OptimizeMode, "optimize", "ReleaseSafe unless said otherwise") orelse .ReleaseSafe;
    const vdso = guests.add(b);

    const library = b.addLibrary(.{
        .name = "pristine",
        .linkage = .dynamic,
        .root_module = coreModule(b, "core/root.zig", target, optimize, vdso, false),
        .use_llvm = true,
    });
    b.installArtifact(library);

    // Static, so that it needs nothing of the host but KVM.
    const worker_target = b.resolveTargetQuery(.{ .cpu_arch = .x86_64, .os_tag = .linux, .abi = .musl });
    const worker = b.addExecutable(.{ .name = "pristine-worker", .root_module = coreModule(b, "core/worker_main.zig", worker_target, optimize, vdso, false), .linkage = .static, .use_llvm = true });
    b.installArtifact(worker);
    const library_step = b.step("library", "Build the core's library and the worker executable alone");
    library_step.dependOn(&b.addInstallArtifact(library, .{}).step);
    library_step.dependOn(&b.addInstallArtifact(worker, .{}).step);

    // The same with faults that tests of resets switch on one by one; no package has it.
    const planted = b.addLibrary(.{
        .name = "pristine-planted",
        .linkage = .dynamic,
        .root_module = coreModule(b, "core/root.zig", target, optimize, vdso, true),
        .use_llvm = true,
    });
    b.installArtifact(planted);

    const floor = b.addLibrary(.{
        .name = "pristine-floor",
        .linkage = .dynamic,
        .root_module = b.createModule(.{
            .root_source_file = b.path("bench/floor.zig"),
            .target = target,
            .optimize = optimize,
            .link_libc = true,
            .imports = &.{.{ .name = "core", .module = b.createModule(.{ .root_source_file = b.path("core/bench_root.zig"), .target = target, .optimize = optimize }) }},
        }),
        .use_llvm = true,
    });
    b.installArtifact(floor);

    const pingpong_module = b.createModule(.{ .root_source_file = b.path("bench/pingpong.zig"), .target = worker_target, .optimize = optimize });
    b.installArtifact(b.addExecutable(.{ .name = "pristine-pingpong", .root_module = pingpong_module, .linkage = .static, .use_llvm = true }));

    const generator = b.addExecutable(.{ .name = "generate-table", .root_module = coreModule(b, "core/generate.zig", target, optimize, vdso, false), .use_llvm = true });
    const generated = b.addRunArtifact(generator).captureStdOut(.{});
    const copy = b.addUpdateSourceFiles();
    copy.addCopyFileToSource(generated, "src/ffi/table.ts");
    b.step("generate", "Write src/ffi/table.ts from core/abi").dependOn(&copy.step);

    const filters = b.option([]const []const u8, "test-filter", "Only unit tests whose name has this in it") orelse &.{};
    const tests = b.addTest(.{ .name = "core-tests", .root_module = coreModule(b, "core/root.zig", target, optimize, vdso, false), .filters = filters, .use_llvm = true });
    b.installArtifact(tests);
    b.step("test-program", "Install the unit tests as a program").dependOn(&b.addInstallArtifact(tests, .{}).step);
    b.step("test", "Run the core's unit tests").dependOn(&b.addRunArtifact(tests).step);
}

fn coreModule(b: *std.Build, root: []const u8, target: std.Build.ResolvedTarget, optimize: std.builtin.OptimizeMode, vdso: std.Build.LazyPath, planted: bool) *std.Build.Module {
    const options = b.addOptions();
    options.addOption(bool, "planted", planted);
    const module = b.createModule(.{ .root_source_file = b.path(root), .target = target, .optimize = optimize, .link_libc = true });
    module.addOptions("build_options", options);
    module.addAnonymousImport("reset_document", .{ .root_source_file = b.path("docs/reset.md") });
    module.addAnonymousImport("snapshot_format_document", .{ .root_source_file = b.path("docs/snapshot-format.md") });
    module.addAnonymousImport("vdso_image", .{ .root_source_file = vdso });
    return module;
}
