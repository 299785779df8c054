//! A guest's standard output that JavaScript reads: a bounded buffer between the guest's thread and the JavaScript thread.
//!
//! An asynchronous run waits when the buffer is full. A synchronous call runs on the very thread that would drain it, so it
//! may go on to a second bound and then gets ENOSPC: it never waits for itself.
const std = @import("std");
const linux = std.os.linux;
const events = @import("events.zig");
const host = @import("host.zig");
const interrupt_module = @import("interrupt.zig");
const limits = @import("limits.zig");

pub const Output = struct {
    allocator: std.mem.Allocator,
    interrupt: *interrupt_module.Interrupt,
    handle: u32,
    stream: u32,
    lock: host.Mutex = .{},
    bytes: std.ArrayList(u8) = .empty,
    read_at: usize = 0,
    /// The reader went away: writes are EPIPE.
    reader_gone: bool = false,
    /// The machine is done writing.
    ended: bool = false,
    announced: bool = false,
    runs: Runs = .beside_reader,

    /// How the guest runs just now.
    pub const Runs = enum {
        /// On a thread of its own: it waits for the reader.
        beside_reader,
        /// On the reader's thread for a moment: it goes on to the second bound rather than to wait for that moment's end.
        briefly_on_reader,
        /// On the reader's thread until it is done.
        on_reader,
    };

    pub fn deinit(self: *Output) void {
        self.bytes.deinit(self.allocator);
    }

    fn fill(self: *const Output) usize {
        return self.bytes.items.len - self.read_at;
    }

    fn announce(self: *Output) void {
        if (self.announced) return;
        self.announced = true;
        events.push(.{ .kind = @intFromEnum(events.Kind.output_ready), .handle = self.handle, .ticket = self.stream, .status = 0 });
    }

    /// From the guest's thread: takes at least one byte, or a negative errno.
    pub fn write(self: *Output, data: []const u8) i64 {
        if (data.len == 0) return 0;
        while (true) {
            self.lock.lock();
            if (self.reader_gone) {
                self.lock.unlock();
                return -@as(i64, @intFromEnum(linux.E.PIPE));
            }
            const bound: usize = if (self.runs == .beside_reader) limits.output_soft_bytes else limits.output_hard_bytes;
            const room = bound -| self.fill();
            if (room > 0) {
                const part = data[0..@min(room, data.len)];
                const stored = self.store(part);
                if (stored) self.announce();
                self.lock.unlock();
                return if (stored) @intCast(part.len) else -@as(i64, @intFromEnum(linux.E.NOMEM));
            }
            self.lock.unlock();
            if (self.runs == .on_reader) return -@as(i64, @intFromEnum(linux.E.NOSPC));
            if (interrupt_module.wait(self.interrupt, &.{}, null) != .interrupted) continue;
            const others = self.interrupt.pending() & ~interrupt_module.Reason.wake;
            self.interrupt.clear(interrupt_module.Reason.wake);
            if (others != 0) return -@as(i64, @intFromEnum(linux.E.INTR));
        }
    }

    fn store(self: *Output, part: []const u8) bool {
        if (self.read_at > 0 and self.read_at >= self.bytes.items.len / 2) {
            const rest = self.fill();
            std.mem.copyForwards(u8, self.bytes.items[0..rest], self.bytes.items[self.read_at..]);
            self.bytes.shrinkRetainingCapacity(rest);
            self.read_at = 0;
        }
        self.bytes.appendSlice(self.allocator, part) catch return false;
        return true;
    }

    /// From the JavaScript thread: bytes read, 0 when there are none now, -1 at the end of the stream.
    pub fn read(self: *Output, out: []u8) i32 {
        self.lock.lock();
        defer self.lock.unlock();
        const count = @min(out.len, self.fill());
        if (count == 0) {
            self.announced = false;
            return if (self.ended) -1 else 0;
        }
        @memcpy(out[0..count], self.bytes.items[self.read_at..][0..count]);
        const was_full = self.fill() >= limits.output_soft_bytes;
        self.read_at += count;
        if (self.read_at == self.bytes.items.len) {
            self.bytes.clearRetainingCapacity();
            self.read_at = 0;
        }
        if (was_full and self.fill() < limits.output_soft_bytes) self.interrupt.request(interrupt_module.Reason.wake);
        return @intCast(count);
    }

    /// From the JavaScript thread: nobody will read any more.
    pub fn closeReader(self: *Output) void {
        self.lock.lock();
        self.reader_gone = true;
        self.bytes.clearAndFree(self.allocator);
        self.read_at = 0;
        self.lock.unlock();
        self.interrupt.request(interrupt_module.Reason.wake);
    }

    /// A reset machine may write again. What it wrote before stays for the reader.
    pub fn reopen(self: *Output) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.ended = false;
        self.reader_gone = false;
    }

    /// The machine will not write again (until it runs again); the reader sees the end once it has read everything.
    pub fn end(self: *Output) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.ended) return;
        self.ended = true;
        self.announced = false;
        self.announce();
    }
};
