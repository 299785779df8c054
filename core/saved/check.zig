//! Whether records of a saved state make sense together: what the core asserts of its own state must hold for what comes out
//! of a file, too, whoever wrote it. Each check names the section that is refused.
//!
//! What is derived (counts, references, sets of what is in use) is not in the records at all: `revive.zig` makes it anew.
const std = @import("std");
const calls = @import("../linux/table.zig");
const epoll = @import("../linux/events/epoll.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const options = @import("../linux/sockets/option_values.zig");
const pipe = @import("../linux/files/pipe.zig");
const records = @import("records.zig");
const signals = @import("../linux/signals.zig");
const tree = @import("../linux/files/private/tree.zig");

const page = limits.page_size;
const block_frames = limits.window_pages;
/// open(2)'s access mode.
const read_and_write = 2;
/// In files and folders, as lseek(2) has them.
const place_max = std.math.maxInt(i64) - limits.transfer_max_bytes;
pub const Error = error{ Invalid, OutOfMemory };

/// What was wrong, for the message.
pub threadlocal var failed: []const u8 = "";

fn require(what: []const u8, holds: bool) error{Invalid}!void {
    if (holds) return;
    failed = what;
    return error.Invalid;
}

pub fn state(arena: std.mem.Allocator, all: *const records.State) Error!void {
    inline for (.{ "machine", "clock", "program", "kernel" }) |name| try require(name, @field(all, name).len == 1);
    try machine(&all.machine[0]);
    try clock(&all.clock[0]);
    try program(all);
    try kernel(all);
    try threads(all);
    const copied = try copiedContents(arena, all.files, all.contents.len);
    try files(all, copied);
    try sockets(arena, all);
    try descriptions(arena, all);
    try nodes(arena, all, copied);
    try mappings(all);
    try memory(arena, all);
}

/// Numbers that only grow, so that none comes to its end.
fn growing(what: []const u8, numbers: []const u64) error{Invalid}!void {
    for (numbers) |number| try require(what, number < 1 << 62);
}

fn machine(it: *const records.Machine) Error!void {
    try require("machine", it.state != .poisoned and it.state != .closed and it.state != .running);
    try require("machine", it.arena_at <= it.arena_end and it.arena_end <= layout.user_end);
    for ([_]*const @TypeOf(it.call){ &it.call, &it.callers_stack }) |call| {
        try require("machine", call.bottom <= call.top and call.top <= layout.user_end and call.top % 16 == 0 and call.staged <= call.top - call.bottom);
    }
}

fn clock(it: *const records.Clock) Error!void {
    const century_ns = 100 * 365 * std.time.ns_per_day;
    for ([_]i64{ it.realtime_ns, it.boottime_ns, it.monotonic_ns, it.monotonic_raw_ns }) |ns| try require("clock", ns >= 0 and ns < century_ns);
    try require("clock", it.cycle > 0 and it.cycle < 1 << 40);
}

fn program(all: *const records.State) Error!void {
    const it = &all.program[0];
    try require("program", it.file < all.files.len and it.page_start <= it.page_end);
    for (it.symbols) |symbol| try require("program", @as(u64, symbol.name_offset) + symbol.name_length <= it.names.len);
}

fn queue(entries: []const signals.Entry) Error!void {
    try require("signals", entries.len <= signals.queue_capacity);
    for (entries) |entry| {
        try require("signals", entry.signal >= 1 and entry.signal <= signals.count);
        try require("signals", entry.timer < limits.timers_max or entry.timer == signals.Entry.no_timer);
    }
}

fn kernel(all: *const records.State) Error!void {
    const it = &all.kernel[0];
    try queue(it.signals.queue);
    for ([_][]const @TypeOf(it.timers.interval[0]){ &it.timers.interval, &it.timers.posix }) |list| for (list) |timer| {
        try require("timers", timer.signal >= 1 and timer.signal <= signals.count);
    };
    try require("kernel", isPath(it.working_directory));
    try require("kernel", it.next_port >= 32768 and it.next_port <= 60999);
    try require("kernel", it.next_id > it.identity.pid and it.next_id <= limits.thread_id_max + 1);
    try growing("kernel", &.{ it.signals.arrivals, it.cpu_cycles, it.turns, it.changes, it.served, it.least_had, it.switched_at, it.next_number, it.next_inode });
    try require("kernel", it.umask <= 0o777 and it.scheduling.nice >= -20 and it.scheduling.nice <= 19);
    try require("kernel", it.layers.len <= limits.layers_max and it.ways.len <= limits.layers_max);
    for (it.layers) |path| try require("kernel", isPath(path));
    for (it.ways) |path| try require("kernel", isPath(path));
    try require("kernel", it.brk_start <= it.brk_end and it.brk_end <= layout.user_end);
    try remoteNames(it);
    try require("kernel", it.bytes_max >= limits.physical_space_min_bytes and it.bytes_max <= limits.physical_space_max_bytes and it.bytes_max % limits.window_size == 0);
    for ([_]@TypeOf(it.current_segments){ it.segments orelse .{}, it.current_segments }) |segments| try require("kernel", isAddress(segments.fs) and isAddress(segments.gs));
}

fn remoteNames(it: *const records.Kernel) Error!void {
    try require("kernel", it.exports.len <= limits.exports_max and it.imports.len <= limits.imports_max);
    if (it.window) |window| {
        try require("kernel", window < layout.remote_windows and it.bytes_max <= limits.remote_physical_bytes);
    } else try require("kernel", it.exports.len == 0);
    for (it.exports) |entry| try require("kernel", entry.name.len > 0 and entry.name.len < limits.remote_name_max_bytes and isAddress(entry.address));
    for (it.imports) |name| try require("kernel", name.len < limits.remote_name_max_bytes and std.mem.indexOfScalar(u8, name, ':') != null);
}

/// Absolute, without anything that would have to be resolved.
fn isPath(path: []const u8) bool {
    if (path.len == 0 or path.len >= limits.path_max_bytes or path[0] != '/') return false;
    if (std.mem.indexOfScalar(u8, path, 0) != null) return false;
    var parts = std.mem.splitScalar(u8, path[1..], '/');
    while (parts.next()) |part| if (path.len > 1 and (part.len == 0 or std.mem.eql(u8, part, ".") or std.mem.eql(u8, part, ".."))) return false;
    return true;
}

fn isAddress(address: u64) bool {
    return address < layout.address_end;
}

fn threads(all: *const records.State) Error!void {
    try require("threads", all.threads.len >= 2 and all.threads.len <= limits.threads_max + 1);
    try require("threads", all.kernel[0].current < all.threads.len - 1);
    for (all.threads, 0..) |*thread, index| {
        try require("threads", thread.id > 0 and thread.id <= limits.thread_id_max);
        // Only the first stays when it has ended; the caller's is not one of them.
        try require("threads", thread.state != .ended or index < 2);
        try require("threads", isAddress(thread.segments.fs) and isAddress(thread.segments.gs));
        try growing("threads", &.{ thread.turn, thread.had, thread.cycles, thread.call.seen });
        try require("threads", thread.state != .waiting or calls.find(thread.call.number) != null);
        // Bytes, and above them messages.
        const done = thread.call.progress;
        try require("threads", @as(u32, @truncate(done)) <= std.math.maxInt(i32) and done >> 32 <= limits.vector_max_pieces);
        if (thread.call.listens) |listens| try require("threads", listens < limits.sockets_max);
        try require("threads", thread.signals.alternate.flags & ~(signals.SS_DISABLE | signals.SS_AUTODISARM) == 0);
        if (thread.signals.fault) |fault| try require("threads", fault.signal >= 1 and fault.signal <= signals.count);
        try queue(thread.signals.queue);
        if (index < 2) continue;
        for (all.threads[1..index]) |other| try require("threads", other.id != thread.id);
    }
    try require("threads", all.threads[1].id == all.kernel[0].identity.pid);
}

/// Which contents are copies of the host's files.
pub fn copiedContents(arena: std.mem.Allocator, list: []const records.File, count: usize) Error![]const bool {
    const copied = try arena.alloc(bool, count);
    @memset(copied, false);
    for (list) |*file| if (file.isCopy()) {
        try require("files", file.content.? < count);
        copied[file.content.?] = true;
    };
    return copied;
}

fn files(all: *const records.State, copied: []const bool) Error!void {
    var copied_bytes: u64 = 0;
    for (all.contents, copied) |content, is_copy| {
        const most: u64 = if (is_copy) limits.snapshot_copied_max_bytes else limits.private_bytes_max;
        try require("contents", content.bytes <= most);
        if (is_copy) copied_bytes += content.bytes;
    }
    try require("contents", copied_bytes <= limits.snapshot_copied_max_bytes);
    for (all.files) |*file| {
        try require("files", file.path.len < limits.path_max_bytes and std.mem.indexOfScalar(u8, file.path, 0) == null and file.access <= 2);
        const content = file.content orelse continue;
        // A copy cannot be written, a private file can.
        try require("files", content < all.contents.len and copied[content] == file.isCopy());
        if (file.isCopy()) try require("files", all.contents[content].bytes == file.bytes);
    }
    for (all.pipes) |it| {
        try require("pipes", it.limit <= pipe.capacity and it.bytes.len <= it.limit and it.limit >= pipe.atomic_bytes and std.math.isPowerOfTwo(it.limit));
    }
    try require("pipes", all.pipes.len <= limits.pipes_max);
}

fn sockets(arena: std.mem.Allocator, all: *const records.State) Error!void {
    try require("sockets", all.sockets.len <= limits.sockets_max);
    const queued = try arena.alloc(bool, all.sockets.len);
    @memset(queued, false);
    for (all.sockets, 0..) |*socket, index| {
        try require("sockets", socket.heard_next < socket.heard.len);
        for ([_]@TypeOf(socket.local){ socket.local, socket.remote }) |address| try require("sockets", switch (address) {
            .none, .unspecified => true,
            .ip => socket.family != .unix,
            .unix => |name| socket.family == .unix and name.length <= name.bytes.len,
        });
        for (options.rows, socket.options.values) |row, value| if (row.kind == .buffer) try require("sockets", value >= 0 and value <= 2 * limits.socket_buffer_default_bytes);
        if (socket.wants) |wanted| try require("sockets", wanted < all.sockets.len and wanted != index);
        if (socket.peer) |peer| {
            try require("sockets", peer < all.sockets.len and peer != index);
            // Who sends datagrams may send to one that knows nothing of it; both ends of a connection know each other.
            try require("sockets", socket.type == .datagram and all.sockets[peer].type == .datagram or socket.type != .datagram and all.sockets[peer].peer == @as(u32, @intCast(index)));
        }
        try require("sockets", socket.waiting.len == 0 or socket.state == .listening);
        for (socket.waiting) |embryo| {
            try require("sockets", embryo < all.sockets.len and embryo != index and !queued[embryo] and all.sockets[embryo].waiting.len == 0);
            queued[embryo] = true;
        }
        for (socket.received) |piece| {
            try require("sockets", piece.bytes.len <= piece.capacity and piece.capacity <= limits.socket_piece_max_bytes);
            if (piece.source == .unix) try require("sockets", piece.source.unix.length <= piece.source.unix.bytes.len);
            try require("sockets", (socket.type != .stream or piece.bytes.len > 0) and piece.rights.len <= limits.rights_per_message_max);
            for (piece.rights) |right| try require("sockets", right < all.descriptions.len);
        }
    }
    for (all.descriptions) |description| if (description.kind == .socket) {
        const number = description.kind.socket;
        try require("sockets", number < all.sockets.len and !queued[number] and !all.sockets[number].outside);
        queued[number] = true;
    };
    // Nobody would ever close another.
    for (all.sockets, queued) |socket, is_held| try require("sockets", is_held or socket.outside);
}

fn descriptions(arena: std.mem.Allocator, all: *const records.State) Error!void {
    const held = try arena.alloc(bool, all.descriptions.len);
    @memset(held, false);
    try require("descriptors", all.slots.len <= limits.descriptors_max);
    for (all.slots) |slot| if (slot.description) |number| {
        try require("descriptors", number < all.descriptions.len);
        held[number] = true;
    };
    for (all.sockets) |socket| for (socket.received) |piece| for (piece.rights) |right| {
        held[right] = true;
    };
    var watches: usize = 0;
    for (all.descriptions, held) |description, is_held| {
        try require("descriptors", is_held and description.path.len < limits.path_max_bytes);
        switch (description.kind) {
            .host_stream => |number| try require("descriptors", number <= 2),
            .output => |number| try require("descriptors", number == 1 or number == 2),
            .host_file => |open| try require("descriptors", open.file < all.files.len and open.at <= place_max),
            .host_directory => |directory| try require("descriptors", isPath(directory.path) and (directory.at orelse 0) <= place_max),
            .synthetic_directory => |directory| try require("descriptors", isPath(directory.path) and directory.at <= place_max),
            .text => |text| try require("descriptors", text.at <= place_max),
            .private_file => |open| try require("descriptors", open.at <= place_max and open.node < all.nodes.len and all.nodes[open.node].kind == .file),
            .private_directory => |open| try require("descriptors", open.at <= place_max and open.node < all.nodes.len and all.nodes[open.node].kind == .directory),
            .pipe_read, .pipe_write => |number| try require("descriptors", number < all.pipes.len),
            .epoll => |set| {
                try require("descriptors", set.next <= set.watches.len);
                watches += set.watches.len;
                for (set.watches) |watch| try require("descriptors", watch.description < all.descriptions.len);
            },
            .event => |event| try require("descriptors", event.count < std.math.maxInt(u64)),
            .socket, .device, .timer, .signals => {},
        }
    }
    try require("descriptors", watches <= limits.epoll_watches_max);
    try sets(arena, all);
}

/// Sets may be in one another, but not in themselves, and not as deep as one pleases.
fn sets(arena: std.mem.Allocator, all: *const records.State) Error!void {
    const heights = try arena.alloc(u32, all.descriptions.len);
    @memset(heights, 0);
    // Each round finds sets that are one higher: those in a ring never end.
    for (0..epoll.depth_max + 1) |_| for (all.descriptions, heights) |description, *height| {
        if (description.kind != .epoll) continue;
        for (description.kind.epoll.watches) |watch| height.* = @max(height.*, heights[watch.description] + 1);
        try require("descriptors", height.* <= epoll.depth_max);
    };
}

fn nodes(arena: std.mem.Allocator, all: *const records.State, copied: []const bool) Error!void {
    const list = all.nodes;
    const root_count = tree.mount_points.len + all.kernel[0].layers.len;
    try require("nodes", list.len >= root_count and list.len <= limits.private_nodes_max);
    // How many names lead to each, and for a directory how many directories it has.
    const names = try arena.alloc(u32, list.len);
    @memset(names, 0);
    // A content is one file's.
    const owned = try arena.alloc(bool, all.contents.len);
    @memset(owned, false);
    var total: usize = 0;
    var bytes: u64 = 0;
    for (list, 0..) |*node, index| {
        const is_root = index < root_count;
        if (is_root) try require("nodes", node.kind == .directory);
        try require("nodes", node.kind == .file or node.content == null and node.size == 0);
        try require("nodes", node.kind == .directory or node.entries.len == 0 and !node.merged);
        try require("nodes", node.kind != .free or node.links == 0 and node.target.len == 0);
        try require("nodes", node.mode <= 0o7777 and node.next_cookie < 1 << 62);
        for ([_]tree.Time{ node.accessed, node.modified, node.changed }) |time| try require("nodes", time.nsec < std.time.ns_per_s);
        try require("nodes", node.target.len < limits.path_max_bytes and node.inode < all.kernel[0].next_inode);
        if (node.content) |content| {
            try require("nodes", content < all.contents.len and all.contents[content].bytes == node.size and !owned[content] and !copied[content]);
            owned[content] = true;
        } else try require("nodes", node.size == 0);
        if (node.kind == .directory and !is_root) try require("nodes", node.parent < list.len);
        bytes += std.mem.alignForward(u64, node.size, page);
        total += node.entries.len;
        for (node.entries, 0..) |entry, place| {
            try require("nodes", isName(entry.name) and entry.cookie >= tree.first_cookie and entry.cookie < node.next_cookie);
            if (place > 0) try require("nodes", entry.cookie > node.entries[place - 1].cookie);
            if (entry.node == tree.whiteout) continue;
            try require("nodes", entry.node < list.len and entry.node >= root_count and list[entry.node].kind != .free);
            if (list[entry.node].kind == .directory) try require("nodes", list[entry.node].parent == index and names[entry.node] == 0);
            names[entry.node] += 1;
        }
        try require("nodes", try haveDifferentNames(arena, node.entries));
    }
    try require("nodes", total <= limits.private_names_max and bytes <= limits.private_bytes_max);
    for (list, names, 0..) |*node, count, index| if (node.kind == .directory) {
        var directories: u32 = 2;
        for (node.entries) |entry| if (entry.node != tree.whiteout and list[entry.node].kind == .directory) {
            directories += 1;
        };
        const is_there = index < root_count or count == 1;
        try require("nodes", node.links == if (is_there) directories else 0);
        try require("nodes", is_there or node.entries.len == 0);
        try require("nodes", leadsToRoot(list, index, root_count));
    } else try require("nodes", node.links == count);
}

/// Every directory's parents end at a root.
fn leadsToRoot(list: []const records.Node, index: usize, root_count: usize) bool {
    var at = index;
    for (0..list.len) |_| {
        if (at < root_count) return true;
        at = list[at].parent;
        if (at >= list.len or list[at].kind != .directory) return false;
    }
    return false;
}

fn isName(name: []const u8) bool {
    if (name.len == 0 or name.len > 255 or std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..")) return false;
    return std.mem.indexOfAny(u8, name, "/\x00") == null;
}

fn haveDifferentNames(arena: std.mem.Allocator, entries: []const records.Entry) error{OutOfMemory}!bool {
    if (entries.len < 2) return true;
    var seen: std.StringHashMapUnmanaged(void) = .empty;
    defer seen.deinit(arena);
    for (entries) |entry| if ((try seen.getOrPut(arena, entry.name)).found_existing) return false;
    return true;
}

fn mappings(all: *const records.State) Error!void {
    var end: u64 = 0;
    const area: layout.UserArea = if (all.kernel[0].window) |window| .ofRemote(@intCast(window)) else .ordinary;
    for (all.vmas) |*vma| {
        try require("mappings", vma.start >= end and vma.start < vma.end and vma.start % page == 0 and vma.end % page == 0 and vma.end <= layout.address_end);
        try require("mappings", vma.file_offset % page == 0 and vma.file_offset <= std.math.maxInt(i64) - layout.address_end);
        try require("mappings", area.contains(vma.start, vma.end - vma.start));
        if (vma.file) |file| try require("mappings", file < all.files.len);
        end = vma.end;
    }
}

fn memory(arena: std.mem.Allocator, all: *const records.State) Error!void {
    const frames = all.blocks.len * block_frames;
    try require("memory", all.blocks.len >= 1 and frames * page <= all.kernel[0].bytes_max);
    try require("memory", all.blocks[0].use == .tables);
    // What a frame is for: nobody has it twice.
    var given: std.DynamicBitSetUnmanaged = try .initEmpty(arena, frames);
    const system_end = layout.system_physical / page + layout.system_pages;
    for (0..system_end) |frame| try give(all, &given, @intCast(frame), .tables);
    try give(all, &given, all.kernel[0].root, .tables);
    var keys: std.AutoHashMapUnmanaged(u64, void) = .empty;
    for (all.tables) |made| {
        try give(all, &given, made.frame, .tables);
        try require("memory", !(try keys.getOrPut(arena, made.key)).found_existing);
    }
    var numbers: std.AutoHashMapUnmanaged(u64, void) = .empty;
    var blocks: std.AutoHashMapUnmanaged(u32, void) = .empty;
    // Frames that are mapped shared, and of which file.
    var shared: std.AutoHashMapUnmanaged(u32, records.Number) = .empty;
    for (all.windows) |*window| {
        try require("memory", window.number < layout.address_end / limits.window_size and !(try numbers.getOrPut(arena, window.number)).found_existing);
        try require("memory", window.table < frames and given.isSet(window.table) and all.blocks[window.table / block_frames].use == .tables);
        if (window.block) |block| try require("memory", !(try blocks.getOrPut(arena, block)).found_existing and block < frames and block % block_frames == 0 and all.blocks[block / block_frames].use == .whole);
        for (window.frames) |run| {
            try require("memory", run.count > 0 and @as(u32, run.page) + run.count <= block_frames and @as(u64, run.frame) + run.count <= frames);
            const address = window.number * limits.window_size + @as(u64, run.page) * page;
            try require("memory", isMapped(all.vmas, address, address + @as(u64, run.count) * page));
            for (run.frame..run.frame + run.count) |frame| {
                const owned = window.block != null and frame / block_frames == window.block.? / block_frames;
                try give(all, &given, @intCast(frame), if (owned) .whole else .small);
                if (all.pieces.len == 0) continue;
                const vma = vmaAt(all.vmas, address + (frame - run.frame) * page);
                if (vma.shared) if (vma.file) |file| try shared.put(arena, @intCast(frame), file);
            }
        }
        for (window.frames, 0..) |run, index| if (index > 0) {
            const before = window.frames[index - 1];
            try require("memory", run.page >= before.page + before.count);
        };
    }
    var last: u32 = 0;
    for (all.pieces) |piece| {
        try require("memory", piece.first >= last and piece.first < piece.last and piece.last <= frames and piece.file < all.files.len and piece.offset % page == 0);
        last = piece.last;
        const file = &all.files[piece.file];
        try require("memory", piece.offset <= place_max and file.content == null and (!piece.writable or file.access == read_and_write));
        // What anybody may cut short must be where the core expects that.
        for (piece.first..piece.last) |frame| try require("memory", shared.get(@intCast(frame)) == piece.file);
    }
    for (all.written) |run| try require("memory", @as(u64, run.first) + run.count <= frames);
}

/// Whether mappings cover a range without a gap.
fn isMapped(vmas: []const records.Vma, start: u64, end: u64) bool {
    var at = start;
    var index = std.sort.partitionPoint(records.Vma, vmas, start, endsBelow);
    while (index < vmas.len and vmas[index].start <= at) : (index += 1) {
        at = vmas[index].end;
        if (at >= end) return true;
    }
    return false;
}

/// The mapping of an address that has one.
fn vmaAt(vmas: []const records.Vma, address: u64) *const records.Vma {
    return &vmas[std.sort.partitionPoint(records.Vma, vmas, address, endsBelow)];
}

fn endsBelow(start: u64, vma: records.Vma) bool {
    return vma.end <= start;
}

fn give(all: *const records.State, given: *std.DynamicBitSetUnmanaged, frame: u32, use: @TypeOf(all.blocks[0].use)) Error!void {
    try require("memory", frame < given.bit_length and !given.isSet(frame));
    const block = &all.blocks[frame / block_frames];
    try require("memory", block.use == use);
    const bit = frame % block_frames;
    if (use != .whole) try require("memory", block.used[bit / 8] >> @intCast(bit % 8) & 1 == 1);
    given.set(frame);
}
