//! `--trace`: writes each system call to a host descriptor, one line a call.
const std = @import("std");
const linux = std.os.linux;
const host = @import("host.zig");
const kernel_module = @import("linux/kernel.zig");
const trace = @import("linux/trace.zig");

pub const Tracer = struct {
    allocator: std.mem.Allocator,
    fd: i32,
    line: std.Io.Writer.Allocating,

    /// Takes the descriptor over.
    pub fn create(allocator: std.mem.Allocator, fd: i32) error{OutOfMemory}!*Tracer {
        const self = try allocator.create(Tracer);
        self.* = .{ .allocator = allocator, .fd = fd, .line = .init(allocator) };
        return self;
    }

    /// A tracer of a fork, to the same descriptor.
    pub fn another(self: *const Tracer) error{ OutOfMemory, HostFailure }!*Tracer {
        const dupfd_cloexec = 1030;
        const fd: i32 = @intCast(try host.check(linux.fcntl(self.fd, dupfd_cloexec, 3)));
        errdefer host.close(fd);
        return create(self.allocator, fd);
    }

    pub fn destroy(self: *Tracer) void {
        host.close(self.fd);
        self.line.deinit();
        self.allocator.destroy(self);
    }

    pub fn call(self: *Tracer, kernel: *kernel_module.Kernel, number: u64, args: kernel_module.Args, result: i64) void {
        self.line.clearRetainingCapacity();
        // As strace does when it follows threads.
        if (kernel.threads.list.items.len > 1) self.line.writer.print("[pid {d}] ", .{kernel.threads.current.id}) catch return;
        const ends = kernel.ends_thread or if (kernel.stop) |stop| stop == .exit else false;
        (if (ends) trace.writeUnfinished(&self.line.writer, kernel.memory, number, args) else trace.write(&self.line.writer, kernel.memory, number, args, result)) catch return;
        self.put(self.line.written());
    }

    /// Writes a line of its own, such as strace's `--- SIGSEGV ---` and `+++ exited with 0 +++`.
    pub fn note(self: *Tracer, comptime format: []const u8, arguments: anytype) void {
        self.line.clearRetainingCapacity();
        self.line.writer.print(format ++ "\n", arguments) catch return;
        self.put(self.line.written());
    }

    fn put(self: *Tracer, text: []const u8) void {
        var done: usize = 0;
        while (done < text.len) {
            const rc: isize = @bitCast(linux.write(self.fd, text.ptr + done, text.len - done));
            if (rc <= 0) return;
            done += @intCast(rc);
        }
    }
};
