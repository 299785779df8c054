//! Connecting machines and images to remotes as JavaScript asks for it.
const std = @import("std");
const connections_module = @import("../remote/connections.zig");
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const images = @import("images.zig");
const limits = @import("../limits.zig");
const registry = @import("registry.zig");
const Image = @import("../image.zig").Image;
const Machine = @import("../machine.zig").Machine;
const Remote = @import("../remote/remote.zig").Remote;
const Target = connections_module.Target;

const Failed = error{Failed};

/// How a remote is connected.
pub const Way = struct { mode: u32, count: u32, exitless: bool };

/// Connects a machine (kind 0) or an image (kind 1): calls of `name` go to the remote, or to forks of it (`mode`), of which a pool
/// has `count`.
pub fn connect(kind: u32, handle: u32, remote_handle: u32, name: []const u8, way: Way) i32 {
    const record = &registry.last_error;
    if (!isName(name)) return badOption("the name of a remote has 1 to 64 letters, digits, `.`, `_` or `-`", "name", "call it \"storage\", for example");
    const wanted = std.enums.fromInt(connections_module.Mode, way.mode) orelse return badOption("an unknown way to connect", "mode", "use \"shared\", \"fork\" or \"pool\"");
    var status: i32 = 0;
    const entry = registry.getIdle(remote_handle, &status) orelse return status;
    const remote = entry.machine.remote orelse return badOption("the machine is no remote", "remote", "boot it with { remote: true }");
    const machine = callerOf(kind, handle) catch return record.code.status();
    // One that is a remote itself may be running for its callers.
    const turn: registry.Turn = if (kind == 1 or handle == remote_handle) .none else registry.turn(handle);
    if (turn.status < 0) return turn.status;
    defer turn.end();
    const target = targetOf(entry, remote, wanted, way.count) catch return record.code.status();
    machine.connections.put(registry.allocator, name, target, way.exitless) catch |failure| return switch (failure) {
        error.OutOfMemory => hostFailure(error.OutOfMemory),
        error.TooMany => badOption("a machine is connected to 64 remotes at most", "name", "let remotes share a connection"),
    };
    return 0;
}

/// Takes a connection away from a machine that does not run, or from later forks of an image.
pub fn disconnect(kind: u32, handle: u32, name: []const u8) i32 {
    // One that is a remote itself may be calling others now.
    const turn: registry.Turn = if (kind == 1) .none else registry.turn(handle);
    if (turn.status < 0) return turn.status;
    defer turn.end();
    const machine = callerOf(kind, handle) catch return registry.last_error.code.status();
    _ = machine.connections.remove(name);
    return 0;
}

pub fn inWorker() i32 {
    return registry.last_error.set(.UNSUPPORTED, "machines in worker processes are not connected to remotes", "boot both without `jail`", .{ .feature = "remote" }).status();
}

fn isName(name: []const u8) bool {
    if (name.len == 0 or name.len > 64) return false;
    for (name) |letter| if (!std.ascii.isAlphanumeric(letter) and std.mem.indexOfScalar(u8, "._-", letter) == null) return false;
    return true;
}

fn badOption(message: []const u8, option: []const u8, hint: []const u8) i32 {
    return registry.last_error.set(.BAD_OPTION, message, hint, .{ .option = option }).status();
}

fn callerOf(kind: u32, handle: u32) Failed!*Machine {
    if (kind == 1) return &(images.find(handle) orelse return error.Failed).machine;
    var status: i32 = 0;
    return (registry.getIdle(handle, &status) orelse return error.Failed).machine;
}

fn targetOf(entry: *registry.Entry, remote: *Remote, mode: connections_module.Mode, count: u32) Failed!Target {
    if (mode == .shared) return .{ .shared = remote.retain() };
    if (entry.machine.state == .poisoned) {
        _ = registry.poisoned(entry);
        return error.Failed;
    }
    const image = Image.freeze(entry.machine) catch |failure| return failedWith(failure);
    if (mode == .fork) return .{ .fork = image };
    defer image.release();
    return .{ .pool = makeMembers(image, count) catch |failure| return failedWith(failure) };
}

fn makeMembers(image: *Image, count: u32) connections_module.Error![]*Remote {
    const members = try registry.allocator.alloc(*Remote, std.math.clamp(count, 1, limits.connections_max));
    var made: usize = 0;
    errdefer {
        for (members[0..made]) |member| member.letGo();
        registry.allocator.free(members);
    }
    for (members) |*member| {
        member.* = try connections_module.forkOf(image);
        made += 1;
    }
    return members;
}

fn failedWith(failure: connections_module.Error) Failed {
    _ = hostFailure(failure);
    return error.Failed;
}

fn hostFailure(failure: connections_module.Error) i32 {
    return switch (failure) {
        error.OutOfMemory => registry.last_error.set(.INTERNAL, "the host has no memory left to connect a remote", "free memory on the host", .{}),
        error.HostFailure => registry.last_error.format(.INTERNAL, "the host refused to connect a remote ({t})", .{host.last_errno}, "close machines, or raise the limits on open files, memory and mappings (ulimit -n, ulimit -v, vm.max_map_count)", .{}),
    }.status();
}

/// The error of a run that a call of a remote has ended.
pub fn failureOf(machine: *Machine, record: *errors.Record) errors.Code {
    const failure = &machine.remote_failure;
    const name = failure.remote();
    const details = .{ .remote = name };
    return switch (failure.kind) {
        .not_connected => record.format(.REMOTE_FAULT, "no remote \"{s}\" is connected", .{name}, "connect() one of that name to the machine, or to its snapshot (`remotes`, --remote)", details),
        .no_function => record.format(.REMOTE_FAULT, "\"{s}\" is not offered any more", .{name}, "let the remote export it (pristine_export)", details),
        .points_into_remote => record.format(.DENIED, "a call of the remote \"{s}\" was given an address that lies in a remote", .{name}, "let remotes hand out numbers, not pointers of their own", .{ .permission = "remote", .resource = name }),
        .again => record.format(.DENIED, "the remote \"{s}\" was called while a call of it was under way in the same chain, or waits for one of its callers", .{name}, "let remotes not call back", .{ .permission = "remote", .resource = name }),
        .dead => record.format(.REMOTE_FAULT, "the remote \"{s}\" has ended, and cannot be called any more", .{name}, "boot another one and connect() it under the same name", details),
        .ended => record.format(.REMOTE_FAULT, "the remote \"{s}\" has ended during the call, by exiting or for want of memory", .{name}, "raise its `memory`, look at its output; boot another one and connect() it under the same name", details),
        .fault => record.format(.REMOTE_FAULT, "the remote \"{s}\" was stopped by signal {d} at address 0x{x} during the call", .{ name, failure.code, failure.address }, "the fault is in the remote's code; it can be called again", details),
        .bad_pointer => record.format(.GUEST_FAULT, "the remote \"{s}\" was given a pointer that leads nowhere: signal {d} at address 0x{x}", .{ name, failure.code, failure.address }, "the fault is in the guest's code, which called it", .{ .signal = if (failure.code == 7) "SIGBUS" else "SIGSEGV", .address = failure.address, .rip = machine.stop_regs.rip }),
        .bad_reply => record.format(.BAD_REPLY, "the remote \"{s}\" has answered more than its caller has room for, or no number of bytes", .{name}, "give the call a larger buffer, or let the remote reply 0 up to the buffer's length", .{}),
        .too_many => record.format(.REMOTE_FAULT, "the machine has reached too many sets of remotes to reach \"{s}\"", .{name}, "let remotes call fewer others", details),
        .host => record.format(.REMOTE_FAULT, "the remote \"{s}\" could not be called: two remotes share a place, or the host has no memory", .{name}, "boot one of the remotes again, or free memory on the host", details),
    };
}
