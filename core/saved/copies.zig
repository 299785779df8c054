//! Which files of the host a snapshot gets copies of, and that each of them stayed as it was while it was copied.
//!
//! Only what the machine cannot write: what it may write to belongs to the host, and a copy would part from it. Not here:
//! opening a copy again (`reopen.zig`).
const std = @import("std");
const linux = std.os.linux;
const errors = @import("../errors.zig");
const limits = @import("../limits.zig");
const paths = @import("../linux/paths.zig");
const Description = @import("../linux/files/table.zig").Description;
const HostFile = @import("../host_file.zig").HostFile;
const Image = @import("../image.zig").Image;

/// What becomes of the files of the host that a machine has open or mapped.
pub const Files = enum(u32) {
    /// They are opened again by their paths.
    refer = 0,
    /// Those that it only reads are in the snapshot.
    copy = 1,
};

/// `Refused`: the record says why.
pub const Error = error{ OutOfMemory, Refused };

const hint = "save it without copies (`files: \"refer\"`, no --copy-files), or let the program close the file before";

const Copy = struct { file: *const HostFile, facts: HostFile.Facts };

pub const Copies = struct {
    arena: std.mem.Allocator,
    files: Files,
    record: *errors.Record,
    /// Files that the machine may write to.
    written: std.AutoHashMapUnmanaged(HostFile.Identity, void) = .empty,
    /// One copy of each file, however often it is open.
    made: std.AutoArrayHashMapUnmanaged(HostFile.Identity, Copy) = .empty,
    bytes: u64 = 0,

    /// Notes what the machine may write to, whichever of its descriptors or mappings it would use.
    pub fn noteWritten(self: *Copies, image: *const Image, descriptions: []const *const Description) error{OutOfMemory}!void {
        for (descriptions) |description| if (description.kind == .host_file and description.mayWrite()) try self.noteFile(description.kind.host_file.file);
        for (image.space.vmas) |*vma| if (vma.shared and !vma.write_refused) if (vma.file) |file| try self.noteFile(file);
        for (image.frames.files) |*piece| if (piece.writable) try self.noteFile(piece.file);
    }

    fn noteFile(self: *Copies, file: *const HostFile) error{OutOfMemory}!void {
        try self.written.put(self.arena, file.identity(), {});
    }

    /// The copy that stands for a file; null if it is to be opened again by its path. What is a copy already stays one.
    pub fn find(self: *Copies, file: *const HostFile) Error!?Copy {
        if (self.files == .refer and !file.copied or !isReadable(file)) return null;
        const identity = file.identity();
        if (self.written.contains(identity)) return null;
        const entry = try self.made.getOrPut(self.arena, identity);
        if (!entry.found_existing) {
            entry.value_ptr.* = .{ .file = file, .facts = file.facts() };
            try self.count(file, entry.value_ptr.facts.bytes);
        }
        return entry.value_ptr.*;
    }

    fn isReadable(file: *const HostFile) bool {
        const get_flags = 3;
        const write_only = 1;
        const flags: isize = @bitCast(linux.fcntl(file.fd, get_flags, 0));
        if (flags < 0 or flags & 3 == write_only or flags & @as(isize, @intCast(paths.O_PATH)) != 0) return false;
        return file.content == null and (paths.modeOf(file.fd) orelse 0) & linux.S.IFMT == linux.S.IFREG;
    }

    fn count(self: *Copies, file: *const HostFile, bytes: u64) error{Refused}!void {
        self.bytes +|= bytes;
        if (self.bytes <= limits.snapshot_copied_max_bytes) return;
        return self.refuse(file, "the files that the machine has open or mapped are too large to be copied: more than {d} GiB with {s}", .{limits.snapshot_copied_max_bytes / limits.GiB});
    }

    /// Fills `out` with bytes that the file had when the state was taken.
    pub fn read(self: *Copies, file: *const HostFile, out: []u8, offset: u64) error{Refused}!void {
        if (file.readAt(out, offset) < out.len) return self.hasChanged(file);
    }

    /// Nobody has written to a file since it was found, so that what was read of it at different times fits together.
    pub fn checkUnchanged(self: *Copies) error{Refused}!void {
        for (self.made.values()) |*copy| {
            var more: [1]u8 = undefined;
            // There are files that have more bytes than they say.
            if (!std.meta.eql(copy.facts, copy.file.facts()) or copy.file.readAt(&more, copy.facts.bytes) > 0) return self.hasChanged(copy.file);
        }
    }

    fn hasChanged(self: *Copies, file: *const HostFile) error{Refused} {
        return self.refuse(file, "a file that the machine has open or mapped cannot be copied, since it has changed meanwhile or cannot be read: {s}", .{});
    }

    fn refuse(self: *Copies, file: *const HostFile, comptime message: []const u8, arguments: anytype) error{Refused} {
        const name = file.path[0..@min(file.path.len, 1024)];
        _ = self.record.format(.BAD_OPTION, message, arguments ++ .{name}, hint, .{ .option = "files" });
        return error.Refused;
    }
};
