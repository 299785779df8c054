//! A worker's loop: takes a call of the boundary from the embedder, makes it, answers.
const std = @import("std");
const linux = std.os.linux;
const channel = @import("channel.zig");
const exports = @import("../abi/exports.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const marshal = @import("marshal.zig");
const registry = @import("../abi/registry.zig");
const self_module = @import("self.zig");

/// Serves until the embedder goes away.
pub fn run() noreturn {
    var seen: u32 = 0;
    while (true) {
        // The channel is another one after the process has been doubled.
        const me = &self_module.self.?;
        const asked = next(me.shared, me.socket, seen);
        answer(me.shared);
        const now = &self_module.self.?;
        seen = if (now.shared == me.shared) asked else 0;
        if (now.shared != me.shared) continue;
        me.shared.answers.store(asked, .release);
        channel.wake(&me.shared.answers);
    }
}

fn next(shared: *channel.Shared, socket: i32, seen: u32) u32 {
    const patience = host.monotonicNs() + limits.worker_spin_ns;
    while (true) {
        const asked = shared.requests.load(.acquire);
        if (asked != seen) return asked;
        if (host.monotonicNs() < patience) {
            std.atomic.spinLoopHint();
            continue;
        }
        channel.await(&shared.requests, seen, limits.worker_look_ns);
        if (shared.requests.load(.acquire) == seen and channel.isOver(socket)) linux.exit_group(0);
    }
}

/// Makes the call that the message says. It is the embedder's, which this process trusts.
fn answer(shared: *channel.Shared) void {
    @setEvalBranchQuota(20_000);
    const message = shared.message;
    _ = registry.newResult();
    inline for (marshal.declarations, 0..) |declaration, index| {
        if (comptime marshal.travels(declaration.name)) {
            if (message.function == index) return call(declaration.name, shared, &message);
        }
    }
    @panic("a call that does not travel");
}

fn call(comptime name: []const u8, shared: *channel.Shared, message: *const channel.Message) void {
    const Arguments = marshal.Arguments(name);
    var arguments: Arguments = undefined;
    var capacity: usize = 0;
    inline for (@typeInfo(Arguments).@"struct".fields, 0..) |field, index| {
        arguments[index] = switch (comptime marshal.kindOf(field.type)) {
            .number => marshal.fromBits(field.type, message.arguments[index]),
            .bytes_in, .bytes_out => @ptrCast(&shared.payload),
            .structure_out => @ptrCast(@alignCast(&shared.payload)),
        };
        capacity = switch (comptime marshal.kindOf(field.type)) {
            .number, .bytes_in => capacity,
            .bytes_out => @intCast(message.arguments[index + 1]),
            .structure_out => @sizeOf(@typeInfo(field.type).pointer.child),
        };
    }
    const result = @call(.auto, @field(exports, name), arguments);
    const has_structure = comptime hasStructure(Arguments);
    const bytes = if (has_structure) capacity else marshal.bytesOf(name, result, capacity);
    const failed = @TypeOf(result) != u32 and result < 0;
    const failure = if (failed) registry.last_error.text() else "";
    const text = registry.resultText();
    const room = shared.payload[bytes..];
    const kept = text[0..@min(text.len, room.len - failure.len)];
    @memcpy(room[0..failure.len], failure);
    @memcpy(room[failure.len..][0..kept.len], kept);
    shared.message.bytes = @intCast(bytes);
    shared.message.error_bytes = @intCast(failure.len);
    shared.message.text_bytes = @intCast(kept.len);
    shared.message.result = marshal.toBits(result);
}

fn hasStructure(comptime Arguments: type) bool {
    for (@typeInfo(Arguments).@"struct".fields) |field| if (marshal.kindOf(field.type) == .structure_out) return true;
    return false;
}
