//! The devices by which scripts do what C programs do by Pristine's own calls (guest/pristine.h), for runtimes that can read and
//! write files and cannot make system calls.
//!
//! `/pristine/guest` is the machine's own side. Texts are written to it: `ready`, and `export NAME`. What has an answer is a
//! read of a buffer that begins with a head (`Head`), which says what is wanted, and holds the answer then. A remote waits in such
//! a read: the bytes behind the head go to the caller before, as its answer, and those of the next caller come to the same place.
//! So a call is two system calls, as in C: one of the caller's and one of the remote's. The bytes are copied, and counted; the
//! caller's memory is reached by the VMM alone, so that a caller that gives up leaves the remote in order.
//!
//! `/pristine/remote/REMOTE[:FUNCTION]` is the caller's side: a read or a write lets the remote have the buffer until it replies,
//! in place, and its result is the reply (`../../remote/call.zig`). Some libraries go on writing until all is written (libuv);
//! none goes on reading.
const std = @import("std");
const identity = @import("../identity.zig");
const kernel_module = @import("../kernel.zig");
const lending = @import("../../remote/lending.zig");
const limits = @import("../../limits.zig");
const remote_calls = @import("../remote_calls.zig");
const synthetic = @import("../synthetic.zig");
const table = @import("table.zig");
const Description = table.Description;
const Kernel = kernel_module.Kernel;
const Lent = lending.Lent;
const Thread = @import("../threads.zig").Thread;
const fail = kernel_module.fail;

/// What a read is for.
const Command = enum(u64) {
    /// Waits for a caller.
    wait = 1,
    /// Answers the caller before, and waits.
    reply = 2,
    /// The bytes of the caller that it has already, for whoever has had too little room for them.
    take = 3,
    /// What pristine_generation() answers, in `value`.
    generation = 4,
    _,
};

/// What a buffer begins with, before and behind the call.
const Head = extern struct {
    /// So that no other program's read does anything.
    mark: u64 = mark_of_heads,
    command: Command,
    /// The reply. Then: the number of the function that is wanted, -1 if none is.
    value: i64,
    /// How long the answer behind the head is. Then: how long what the caller has given is, also if it had no room.
    length: u64,
};

/// "PRISTINE", lowest byte first.
const mark_of_heads = 0x454e_4954_5349_5250;
const head_bytes = @sizeOf(Head);

comptime {
    std.debug.assert(head_bytes == 32);
}

pub fn isOne(description: *const Description) bool {
    return switch (description.kind) {
        .device => |device| device == .guest or device == .remote,
        else => false,
    };
}

/// Whether a remote of that name is connected, and offers what it is asked for: 0 or a negative errno.
pub fn checkRemote(k: *Kernel, path: []const u8) i64 {
    const machine = k.machine orelse return fail(.NOENT);
    const name = synthetic.remoteName(path) orelse return fail(.NOENT);
    const colon = std.mem.indexOfScalar(u8, name, ':');
    const function = if (colon) |at| name[at + 1 ..] else null;
    const there = lending.offers(machine, .{ .remote = name[0 .. colon orelse name.len], .function = function, .by = .name });
    return if (there) 0 else fail(.NOENT);
}

pub fn write(k: *Kernel, description: *const Description, address: u64, length: u64) i64 {
    return if (description.kind.device == .guest) command(k, address, length) else resumeRemote(k, description, address, length);
}

fn resumeRemote(k: *Kernel, description: *const Description, address: u64, length: u64) i64 {
    const name = synthetic.remoteName(description.path) orelse return fail(.NXIO);
    if (k.machine == null) return fail(.NXIO);
    // The name lies with the open file, and none of this machine's threads goes on before the call ends.
    k.stop = .{ .resumes = .{ .name = name, .buffer = address, .length = @min(length, limits.transfer_max_bytes), .by_file = true } };
    return 0;
}

fn command(k: *Kernel, address: u64, length: u64) i64 {
    const export_word = "export ";
    var buffer: [export_word.len + limits.remote_name_max_bytes]u8 = undefined;
    if (length > buffer.len) return fail(.NAMETOOLONG);
    const text = buffer[0..@intCast(length)];
    k.memory.read(address, text) catch return fail(.FAULT);
    if (std.mem.eql(u8, text, "ready")) {
        _ = identity.ready(k, @splat(0));
        return @intCast(length);
    }
    if (!std.mem.startsWith(u8, text, export_word)) return fail(.INVAL);
    const name = text[export_word.len..];
    // As C programs can give them: with a NUL behind.
    if (name.len >= limits.remote_name_max_bytes) return fail(.NAMETOOLONG);
    if (std.mem.indexOfScalar(u8, name, 0) != null) return fail(.INVAL);
    const rc = remote_calls.exportName(k, name, 0);
    return if (rc < 0) rc else @intCast(length);
}

pub fn read(k: *Kernel, description: *const Description, address: u64, length: u64) i64 {
    if (description.kind.device != .guest) return resumeRemote(k, description, address, length);
    // Only a remote that waits is here again.
    if (!k.isFirstTry()) return k.block();
    if (length < head_bytes) return fail(.INVAL);
    const head = k.memory.readValue(Head, address) catch return fail(.FAULT);
    if (head.mark != mark_of_heads) return fail(.INVAL);
    return switch (head.command) {
        .wait, .reply => wait(k, head, address),
        .take => blk: {
            const lent = k.lent orelse break :blk fail(.INVAL);
            if (lent.serving != k.threads.current) break :blk fail(.INVAL);
            break :blk give(k, lent, address, length);
        },
        .generation => blk: {
            const value = identity.generation(k, @splat(0));
            k.memory.writeValue(address, Head{ .command = head.command, .value = value, .length = 0 }) catch break :blk fail(.FAULT);
            break :blk head_bytes;
        },
        _ => fail(.INVAL),
    };
}

fn wait(k: *Kernel, head: Head, address: u64) i64 {
    if (k.space.area.window == null) return fail(.NOSYS);
    k.stop = .waits;
    if (k.lent) |lent| if (lent.is_resumed and lent.serving == k.threads.current) {
        // Whoever waits without a reply has none to give.
        if (head.command == .reply) answer(k, lent, head, address);
        lent.unbind();
        k.stop = .replied;
    };
    return k.block();
}

fn answer(k: *Kernel, lent: *Lent, head: Head, address: u64) void {
    if (head.length > lent.length) {
        lent.bad_reply = true;
        return;
    }
    lent.reply = head.value;
    copy(k, address + head_bytes, lent.buffer, head.length) catch {
        lent.reply = fail(.FAULT);
    };
    lent.caller.kernel.counters.bytes_copied += head.length;
}

/// Whether the thread sleeps until a caller comes.
pub fn isWaiting(k: *const Kernel, thread: *const Thread) bool {
    if (thread.state != .waiting or thread.call.number != @intFromEnum(std.os.linux.SYS.read)) return false;
    // A fork's threads hold no files before they have been tried again.
    const fd: i32 = @bitCast(@as(u32, @truncate(thread.call.args[0])));
    const description = if (thread.call.held) |held| held.description else k.files.get(fd) orelse return false;
    return description.kind == .device and description.kind.device == .guest;
}

/// Gives the remote what its caller has, as far as there is room: the result of the read.
pub fn give(k: *Kernel, lent: *const Lent, address: u64, room: u64) i64 {
    // A thread may have come from a file, which may say anything.
    if (room < head_bytes) return fail(.INVAL);
    k.memory.writeValue(address, Head{ .command = .reply, .value = lent.function, .length = lent.length }) catch return fail(.FAULT);
    if (lent.length > room - head_bytes) return head_bytes;
    copy(k, lent.buffer, address + head_bytes, lent.length) catch return fail(.FAULT);
    lent.caller.kernel.counters.bytes_copied += lent.length;
    return @intCast(head_bytes + lent.length);
}

/// How much of memory that is not steady goes through a buffer of the VMM at once.
const bounce_bytes = 4096;

fn copy(k: *Kernel, from: u64, to: u64, length: u64) error{Fault}!void {
    var buffer: [bounce_bytes]u8 = undefined;
    var done: u64 = 0;
    while (done < length) {
        const piece = try k.memory.piece(from + done, @intCast(length - done), .read);
        if (piece.steady) {
            try k.memory.write(to + done, piece.bytes);
            done += piece.bytes.len;
            continue;
        }
        const part = buffer[0..@min(piece.bytes.len, buffer.len)];
        try k.memory.read(from + done, part);
        try k.memory.write(to + done, part);
        done += part.len;
    }
}

test "a remote's name is what its path ends in" {
    try std.testing.expectEqualStrings("storage:get", synthetic.remoteName("/pristine/remote/storage:get").?);
    try std.testing.expectEqual(null, synthetic.remoteName("/pristine/remote/"));
    try std.testing.expectEqual(null, synthetic.remoteName("/pristine/remote/a/b"));
    try std.testing.expectEqual(null, synthetic.remoteName("/pristine/remotely/a"));
}
