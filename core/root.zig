//! The root of Pristine's core: the C boundary, and in test builds every unit test.
comptime {
    _ = @import("abi/exports.zig");
}

test {
    _ = @import("abi/exports.zig");
    _ = @import("abi/self_test.zig");
    _ = @import("cpu_baseline.zig");
    _ = @import("elf_fuzz.zig");
    _ = @import("errors.zig");
    _ = @import("jail/calls.zig");
    _ = @import("jail/jail_test.zig");
    _ = @import("jail/seccomp.zig");
    _ = @import("linux/files/pipe.zig");
    _ = @import("linux/files/private/tree_test.zig");
    _ = @import("linux/fuzz/calls.zig");
    _ = @import("linux/fuzz/layers.zig");
    _ = @import("linux/fuzz/paths.zig");
    _ = @import("linux/permissions.zig");
    _ = @import("linux/signals.zig");
    _ = @import("linux/sockets/address.zig");
    _ = @import("linux/sockets/buffer.zig");
    _ = @import("linux/sockets/option_values.zig");
    _ = @import("linux/sockets/patterns.zig");
    _ = @import("linux/sockets/queue.zig");
    _ = @import("linux/synthetic.zig");
    _ = @import("machine_test.zig");
    _ = @import("memory/access.zig");
    _ = @import("memory/address_space.zig");
    _ = @import("memory/file_pieces.zig");
    _ = @import("memory/frames_test.zig");
    _ = @import("memory/two_ended.zig");
    _ = @import("memory/vma.zig");
    _ = @import("platform.zig");
    _ = @import("reset_document_test.zig");
    _ = @import("saved/codec.zig");
    _ = @import("saved/document_test.zig");
    _ = @import("saved/format.zig");
    _ = @import("saved/processor.zig");
    _ = @import("saved/source.zig");
    _ = @import("script.zig");
    _ = @import("shared_libraries.zig");
    _ = @import("vdso_test.zig");
}
