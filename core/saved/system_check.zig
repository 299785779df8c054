//! The pages that the VMM has in a guest's memory come out of a file with the rest: whether they are the VMM's own. Ring 0 runs
//! them, and is kept from remotes by nothing else.
const std = @import("std");
const gate_stubs = @import("../remote/gate_stubs.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const check = @import("check.zig");
const records = @import("records.zig");
const system_area = @import("../system_area.zig");
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const SpaceImage = @import("../memory/space_image.zig").SpaceImage;

const Page = [limits.page_size]u8;

pub fn pages(frames: *const FrameImage, space: *const SpaceImage, state: *const records.State, route: system_area.SyscallRoute) check.Error!void {
    check.failed = "pages";
    var page: Page align(16) = undefined;
    @memset(&page, 0);
    system_area.writeDescriptors(&page);
    try same(&page, pageOf(frames, layout.Page.descriptors.physical()));
    system_area.writeImportStubs(&page, route);
    try same(&page, pageOf(frames, layout.imports_physical));
    try stubs(frames, state, route);
    var table: gate_stubs.Table align(limits.page_size) = undefined;
    table.init(frames.physical_base + @as(u64, space.root) * limits.page_size);
    for (0..layout.gate_table_pages) |index| {
        const part: *const Page = std.mem.asBytes(&table)[index * limits.page_size ..][0..limits.page_size];
        try same(part, pageOf(frames, layout.gate_table_physical + index * limits.page_size));
    }
}

/// Whether they answer by themselves, they are as they were written.
fn stubs(frames: *const FrameImage, state: *const records.State, route: system_area.SyscallRoute) check.Error!void {
    var ring0: Page align(16) = undefined;
    var ring3: Page align(16) = undefined;
    for ([_]system_area.Answers{ .none, .{ .process = state.kernel[0].identity.pid } }) |answers| {
        system_area.writeRing0Stubs(&ring0, answers);
        system_area.writeUserStubs(&ring3, route, answers);
        if (state.machine[0].asks_thread_ids) system_area.leaveThreadIds(&ring0, &ring3);
        same(&ring0, pageOf(frames, layout.Page.ring0_stubs.physical())) catch continue;
        return same(&ring3, pageOf(frames, layout.Page.user_stubs.physical()));
    }
    return error.Invalid;
}

fn pageOf(frames: *const FrameImage, physical: u64) *const Page {
    return frames.bytes[@intCast(physical)..][0..limits.page_size];
}

fn same(wanted: *const Page, found: *const Page) check.Error!void {
    if (!std.mem.eql(u8, wanted, found)) return error.Invalid;
}
