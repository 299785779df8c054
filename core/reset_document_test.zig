//! docs/reset.md must have a row for every field of the structures that hold a guest's state.
const std = @import("std");
const document = @embedFile("reset_document");
const files = @import("linux/files/table.zig");
const private_tree = @import("linux/files/private/tree.zig");
const reset_fields = @import("reset_fields.zig");
const address_space = @import("memory/address_space.zig");
const Kernel = @import("linux/kernel.zig").Kernel;
const Machine = @import("machine.zig").Machine;

const structures = .{
    .{ "Machine", Machine },
    .{ "Kernel", Kernel },
    .{ "Signals", @import("linux/signals.zig").Signals },
    .{ "ThreadSignals", @import("linux/signals.zig").ThreadSignals },
    .{ "Queue", @import("linux/signals.zig").Queue },
    .{ "Threads", @import("linux/threads.zig").Threads },
    .{ "Thread", @import("linux/threads.zig").Thread },
    .{ "Call", @import("linux/waiting.zig").Call },
    .{ "Timers", @import("linux/timers.zig").Timers },
    .{ "FileTable", files.FileTable },
    .{ "Description", files.Description },
    .{ "Kind", files.Kind },
    .{ "Tree", private_tree.Tree },
    .{ "Node", private_tree.Node },
    .{ "Content", private_tree.Content },
    .{ "Epoll", @import("linux/events/epoll.zig").Epoll },
    .{ "Watch", @import("linux/events/epoll.zig").Watch },
    .{ "Pipe", @import("linux/files/pipe.zig").Pipe },
    .{ "Sockets", @import("linux/sockets/set.zig").Sockets },
    .{ "Socket", @import("linux/sockets/socket.zig").Socket },
    .{ "Queue", @import("linux/sockets/queue.zig").Queue },
    .{ "Piece", @import("linux/sockets/queue.zig").Piece },
    .{ "HostSocket", @import("linux/sockets/host_socket.zig").HostSocket },
    .{ "AddressSpace", address_space.AddressSpace },
    .{ "Window", address_space.Window },
    .{ "PageTables", @import("memory/page_tables.zig").PageTables },
    .{ "Vma", @import("memory/vma.zig").Vma },
    .{ "FrameSpace", @import("memory/frames.zig").FrameSpace },
    .{ "Clock", @import("clock.zig").Clock },
    .{ "Vectors", @import("vectors.zig").Vectors },
};

comptime {
    reset_fields.check(Machine);
    reset_fields.check(Kernel);
}

fn rowOf(comptime name: []const u8) ?[]const u8 {
    var lines = std.mem.splitScalar(u8, document, '\n');
    while (lines.next()) |line| {
        if (line.len > 0 and line[0] == '|' and std.mem.indexOf(u8, line, "`" ++ name ++ "`") != null) return line;
    }
    return null;
}

test "every field has a row, and the row agrees with the structure" {
    var missing: usize = 0;
    inline for (structures) |structure| {
        inline for (comptime std.meta.fieldNames(structure[1])) |field| missing += @intFromBool(lacks(structure[0] ++ "." ++ field));
    }
    try std.testing.expectEqual(0, missing);
    inline for (.{ .{ "Machine", Machine }, .{ "Kernel", Kernel } }) |structure| {
        inline for (@typeInfo(structure[1]).@"struct".fields) |field| {
            const policy = @tagName(comptime reset_fields.policyOf(structure[1], field.name));
            const row = rowOf(structure[0] ++ "." ++ field.name) orelse "";
            if (std.mem.indexOf(u8, row, policy) == null) std.debug.print("docs/reset.md does not say {s} of {s}.{s}\n", .{ policy, structure[0], field.name });
            try std.testing.expect(std.mem.indexOf(u8, row, policy) != null);
        }
    }
}

fn lacks(comptime name: []const u8) bool {
    if (rowOf(name) != null) return false;
    std.debug.print("docs/reset.md has no row for {s}\n", .{name});
    return true;
}
