//! Page tables come out of a file as they are: whether they lead to the machine's own memory and nowhere else. A VM may show
//! remotes beside it, which its own tables are not to reach.
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const check = @import("check.zig");
const page_tables = @import("../memory/page_tables.zig");
const FrameImage = @import("../memory/frame_image.zig").FrameImage;
const SpaceImage = @import("../memory/space_image.zig").SpaceImage;

const page = limits.page_size;
/// Bits 12 to 51 of an entry: Intel SDM volume 3, 4.5.
const address_bits: u64 = 0x000f_ffff_ffff_f000;
/// A present entry above the last level that leads to memory itself.
const large: u64 = 1 << 7;

pub fn tables(frames: *const FrameImage, space: *const SpaceImage) check.Error!void {
    try table(frames, space.root, false);
    var all = space.tables.iterator();
    while (all.next()) |entry| try table(frames, entry.value_ptr.frame, entry.key_ptr.* >> 56 == 1);
}

fn table(frames: *const FrameImage, frame: u32, is_last: bool) check.Error!void {
    if (!frames.hasBytes(frame)) return;
    const entries: *const [512]u64 = @ptrCast(@alignCast(frames.bytes[@as(u64, frame) * page ..].ptr));
    for (entries) |entry| {
        if (entry & page_tables.present == 0) continue;
        const physical = entry & address_bits;
        const inside = physical -% frames.physical_base < frames.bytes.len and (is_last or entry & large == 0);
        if (!inside and !(is_last and physical == layout.exit_physical)) {
            check.failed = "pages";
            return error.Invalid;
        }
    }
}
