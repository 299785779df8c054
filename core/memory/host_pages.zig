//! What the host is asked to do with the memory behind guest-physical space.
const std = @import("std");
const linux = std.os.linux;
const host = @import("../host.zig");
const limits = @import("../limits.zig");

pub const anonymous: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };

pub fn protect(range: []align(limits.page_size) u8, rights: linux.PROT) bool {
    return @as(isize, @bitCast(linux.mprotect(range.ptr, range.len, rights))) == 0;
}

/// A fork's private memory is compared and given back page by page; a huge page for its first write would make it 2 MiB.
/// Where the host gives huge pages only to those who ask, there is nothing to do.
pub fn avoidHuge(address: usize, length: u64) void {
    const unknown = 0;
    const asked = 1;
    const always = 2;
    var mode = huge_pages.load(.monotonic);
    if (mode == unknown) {
        var text: [64]u8 = undefined;
        const fd: isize = @bitCast(linux.open("/sys/kernel/mm/transparent_hugepage/enabled", .{ .CLOEXEC = true }, 0));
        const got: isize = if (fd < 0) 0 else @bitCast(linux.read(@intCast(fd), &text, text.len));
        if (fd >= 0) host.close(@intCast(fd));
        mode = if (got > 0 and std.mem.startsWith(u8, text[0..@intCast(got)], "[always]")) always else asked;
        huge_pages.store(mode, .monotonic);
    }
    if (mode == always) _ = linux.madvise(@ptrFromInt(address), length, linux.MADV.NOHUGEPAGE);
}

var huge_pages: std.atomic.Value(u8) = .init(0);
