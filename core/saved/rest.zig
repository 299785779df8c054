//! The rest of a snapshot's pages, brought by a thread while forks run already: in the order of the file, but first what
//! somebody waits for.
//!
//! It has a descriptor of the file of its own. Where the rest is damaged or cut short, the forks learn that, each at its next
//! stop; no page of what was not compared is ever shown to them.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const late_tables = @import("late_tables.zig");
const limits = @import("../limits.zig");
const pages_module = @import("pages.zig");
const Arrivals = @import("../memory/arrivals.zig").Arrivals;
const File = @import("file.zig").File;
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const Pages = pages_module.Pages;

pub const Rest = struct {
    allocator: std.mem.Allocator,
    pages: Pages,
    file: File,
    /// The image's, which ends this before it goes.
    arrivals: *Arrivals,
    memfd: i32,
    extent: u64,
    unwanted: std.atomic.Value(bool) = .init(false),
    thread: std.Thread = undefined,

    /// Starts bringing what the image's arrivals await. Takes the pages over, on failure too.
    pub fn start(allocator: std.mem.Allocator, pages: Pages, file: *const File, frames: *const FrameImage) error{ OutOfMemory, HostFailure }!void {
        var taken = pages;
        errdefer taken.deinit();
        const arrivals = frames.arrivals.?;
        const fd: i32 = @intCast(try host.check(linux.fcntl(file.fd, linux.F.DUPFD_CLOEXEC, 3)));
        errdefer host.close(fd);
        const self = try allocator.create(Rest);
        errdefer allocator.destroy(self);
        self.* = .{ .allocator = allocator, .pages = pages, .file = file.*, .arrivals = arrivals, .memfd = frames.memfd, .extent = frames.bytes.len };
        self.file.fd = fd;
        if (self.file.source) |source| _ = source.retain();
        errdefer if (self.file.source) |source| source.release();
        self.file.record = &arrivals.failure;
        self.file.cancelled = &self.unwanted;
        self.thread = std.Thread.spawn(.{ .stack_size = limits.runner_stack_bytes }, work, .{self}) catch return error.HostFailure;
        arrivals.bringer = .{ .context = self, .end_fn = end };
    }

    /// Ends it before its time, or after.
    fn end(context: *anyopaque) void {
        const self: *Rest = @ptrCast(@alignCast(context));
        self.unwanted.store(true, .monotonic);
        self.arrivals.want(0);
        self.thread.join();
        self.pages.deinit();
        self.allocator.destroy(self);
    }

    fn work(self: *Rest) void {
        // A snapshot may be open for long; its file may be gone by then.
        defer host.close(self.file.fd);
        defer if (self.file.source) |source| {
            source.leave();
            source.release();
        };
        const arrivals = self.arrivals;
        arrivals.waitForWanted(limits.snapshot_rest_delay_ns);
        const hot = self.pages.hot_groups;
        const count = self.pages.groups.len - hot;
        var next: u32 = 0;
        while (true) {
            while (next < count and arrivals.hasGroup(next)) next += 1;
            const group = if (arrivals.takeWanted()) |wanted| (if (self.canRead(hot + wanted)) wanted else next) else next;
            if (group == count) break;
            if (self.pages.bring(&self.file, self.memfd, hot + group)) |failure| return self.fail(pages_module.explain(&self.file, failure));
            arrivals.arrive(group);
        }
        self.file.letGo();
        // Without it each fork shows itself what it finds hidden.
        late_tables.show(arrivals, self.memfd, self.extent) catch arrivals.finish();
    }

    /// What is not fetched yet would keep what is there from those who wait for that.
    fn canRead(self: *const Rest, group: u32) bool {
        const source = self.file.source orelse return true;
        const it = &self.pages.groups[group];
        return source.has(self.file.header.section(.pages).offset + (it.first + it.count) * limits.page_size);
    }

    fn fail(self: *Rest, failure: pages_module.Error) void {
        const record = self.file.record;
        const status = if (self.file.source) |source| source.failure() else 0;
        switch (failure) {
            error.Failed => if (status > 1) {
                _ = record.format(.BAD_OPTION, "the rest of the snapshot could not be fetched from its storage (code {d})", .{status}, "look whether the storage can be reached, and open the snapshot again", .{ .option = "path" });
            },
            error.OutOfMemory => _ = record.set(.INTERNAL, "the host has no memory left for the rest of the snapshot", "free memory on the host", .{}),
            error.HostFailure => _ = record.format(.INTERNAL, "the host refused memory for the rest of the snapshot ({t})", .{host.last_errno}, "free memory on the host", .{}),
        }
        self.arrivals.fail();
    }
};
