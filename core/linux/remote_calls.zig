//! Pristine's own calls for remotes (guest/pristine.h): what a remote offers, what its caller asks for, waiting and replying. The
//! calls themselves, which go from one machine to another, are made in `../remote/call.zig`.
const std = @import("std");
const kernel_module = @import("kernel.zig");
const layout = @import("../layout.zig");
const limits = @import("../limits.zig");
const lending = @import("../remote/lending.zig");
const Args = kernel_module.Args;
const Thread = @import("threads.zig").Thread;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

pub const wait_number = 0x50520005;
pub const resume_number = 0x50520007;

/// Names in the order in which they came, each with an address. Names are added and never taken away, but by a reset.
pub const Names = struct {
    list: std.ArrayList(Entry) = .empty,
    /// Changes with the list.
    version: u32 = 0,

    /// `hint`: where the remote had it that was called last, which another one may have elsewhere.
    pub const Entry = struct { name: []const u8, address: u64 = 0, hint: u32 = 0 };

    pub fn deinit(self: *Names, allocator: std.mem.Allocator) void {
        self.shrink(allocator, 0);
        self.list.deinit(allocator);
    }

    pub fn find(self: *const Names, name: []const u8) ?usize {
        for (self.list.items, 0..) |entry, index| if (std.mem.eql(u8, entry.name, name)) return index;
        return null;
    }

    /// The same for a name that may stand where `hint` says.
    pub fn findNear(self: *const Names, name: []const u8, hint: u32) ?usize {
        if (hint < self.list.items.len and std.mem.eql(u8, self.list.items[hint].name, name)) return hint;
        return self.find(name);
    }

    pub fn add(self: *Names, allocator: std.mem.Allocator, name: []const u8, address: u64) error{OutOfMemory}!void {
        const kept = try allocator.dupe(u8, name);
        errdefer allocator.free(kept);
        self.version +%= 1;
        try self.list.append(allocator, .{ .name = kept, .address = address });
    }

    /// Back to the first ones.
    pub fn shrink(self: *Names, allocator: std.mem.Allocator, count: usize) void {
        if (self.list.items.len > count) self.version +%= 1;
        while (self.list.items.len > count) allocator.free(self.list.pop().?.name);
    }

    /// What the other has; names that both begin with stay.
    pub fn become(self: *Names, allocator: std.mem.Allocator, other: *const Names) error{OutOfMemory}!void {
        const names = other.list.items;
        var same: usize = 0;
        for (self.list.items[0..@min(self.list.items.len, names.len)], names[0..@min(self.list.items.len, names.len)]) |mine, theirs| {
            if (mine.address != theirs.address or !std.mem.eql(u8, mine.name, theirs.name)) break;
            same += 1;
        }
        self.shrink(allocator, same);
        for (names[same..]) |entry| try self.add(allocator, entry.name, entry.address);
    }

    pub fn copy(self: *const Names, allocator: std.mem.Allocator) error{OutOfMemory}!Names {
        var other: Names = .{};
        errdefer other.deinit(allocator);
        for (self.list.items) |entry| try other.add(allocator, entry.name, entry.address);
        return other;
    }
};

fn readName(k: *Kernel, address: u64, buffer: *[limits.remote_name_max_bytes]u8) union(enum) { name: []const u8, errno: i64 } {
    const name = k.memory.readCString(address, buffer) catch |failure| return .{ .errno = fail(switch (failure) {
        error.Fault => .FAULT,
        error.NameTooLong => .NAMETOOLONG,
    }) };
    return if (name.len == 0) .{ .errno = fail(.INVAL) } else .{ .name = name };
}

/// Makes a function callable under a name. Each name is given once.
pub fn exportFunction(k: *Kernel, a: Args) i64 {
    if (k.space.area.window == null) return fail(.NOSYS);
    var buffer: [limits.remote_name_max_bytes]u8 = undefined;
    const name = switch (readName(k, a[0], &buffer)) {
        .name => |name| name,
        .errno => |errno| return errno,
    };
    if (a[1] != 0 and !k.space.area.contains(a[1], 1)) return fail(.FAULT);
    return exportName(k, name, a[1]);
}

/// One without an address is for threads that wait, which learn by its number that it is meant.
pub fn exportName(k: *Kernel, name: []const u8, address: u64) i64 {
    if (k.space.area.window == null) return fail(.NOSYS);
    if (name.len == 0 or std.mem.indexOfScalar(u8, name, ':') != null) return fail(.INVAL);
    if (k.exports.find(name) != null) return fail(.EXIST);
    if (k.exports.list.items.len >= limits.exports_max) return fail(.NOSPC);
    const remote = if (k.machine) |machine| machine.remote else null;
    if (remote) |some| some.exports_lock.lock();
    defer if (remote) |some| some.exports_lock.unlock();
    k.exports.add(k.allocator, name, address) catch return fail(.NOMEM);
    return 0;
}

/// The address of a function that leads to a remote's: "REMOTE:FUNCTION".
pub fn import(k: *Kernel, a: Args) i64 {
    const machine = k.machine orelse return fail(.NOSYS);
    var buffer: [limits.remote_name_max_bytes]u8 = undefined;
    const name = switch (readName(k, a[0], &buffer)) {
        .name => |name| name,
        .errno => |errno| return errno,
    };
    const index = k.imports.find(name) orelse blk: {
        const colon = std.mem.indexOfScalar(u8, name, ':') orelse return fail(.INVAL);
        if (!lending.offers(machine, .{ .remote = name[0..colon], .function = name[colon + 1 ..], .by = .call })) return fail(.NOENT);
        if (k.imports.list.items.len >= limits.imports_max) return fail(.NOSPC);
        k.imports.add(k.allocator, name, 0) catch return fail(.NOMEM);
        break :blk k.imports.list.items.len - 1;
    };
    return @intCast(layout.imports_address + index * layout.import_stub_bytes);
}

/// Flags of `wait`: the third argument is the reply to the caller before; a call that is given up puts the thread back to its wait.
pub const has_reply = 1;
pub const may_be_put_back = 2;
/// It waits for calls of functions, which run on its stack, and is not to be resumed.
pub const only_for_calls = 4;
/// There is more of an answer than the caller's buffer holds, which ends the caller's run.
pub const has_too_much = 8;
/// The buffer is to be in the third argument's register; the length is the result in any case.
pub const in_registers = 16;

/// What a thread that waits for callers is lent for.
pub fn lentFor(thread: *const Thread) ?enum { calls, waits } {
    if (thread.state != .waiting or thread.call.number != wait_number) return null;
    return if (thread.call.args[3] & only_for_calls != 0) .calls else .waits;
}

/// Sleeps until a caller resumes the remote: its buffer and length go to the first two addresses, or into registers, and to the
/// fifth, if it is not null, the number of the exported function that it has named. What the thread replies to the caller before
/// is handed over with that: the third argument, or what `reply` was given.
pub fn wait(k: *Kernel, a: Args) i64 {
    if (k.space.area.window == null) return fail(.NOSYS);
    if (k.isFirstTry()) {
        // A thread that is lent for calls says nothing of how far the program is.
        if (a[3] & only_for_calls == 0) k.stop = .waits;
        if (k.lent) |lent| if (lent.is_resumed and lent.serving == k.threads.current) {
            if (a[3] & has_reply != 0) lent.reply = @bitCast(a[2]);
            lent.bad_reply = a[3] & has_too_much != 0;
            lent.unbind();
            k.stop = .replied;
        };
    }
    return k.block();
}

/// What the caller is to get when the remote waits again.
pub fn reply(k: *Kernel, a: Args) i64 {
    if (k.space.area.window == null) return fail(.NOSYS);
    const lent = k.lent orelse return fail(.INVAL);
    if (lent.serving != k.threads.current) return fail(.INVAL);
    lent.reply = @bitCast(a[0]);
    return 0;
}

/// During a call: memory of the caller's, which it has until it is reset, or unmaps it.
pub fn callerAlloc(k: *Kernel, a: Args) i64 {
    if (k.space.area.window == null) return fail(.NOSYS);
    const lent = k.lent orelse return fail(.INVAL);
    return lent.allocate(a[0]) orelse fail(.NOMEM);
}

/// The address of code that makes a system call, with all arguments where the instruction has them, and is quicker than that. It is
/// jumped to, with where to go on in rcx: right behind a `syscall`, which makes the call where it is to be made again.
pub fn quickEntry(k: *Kernel, _: Args) i64 {
    const machine = k.machine orelse return fail(.NOSYS);
    return if (machine.platform.route == .ring3_store) @intCast(layout.imports_system_call) else fail(.NOSYS);
}

/// Made by the run loop where a remote can be reached; this is where none can.
pub fn resumeRemote(_: *Kernel, _: Args) i64 {
    return fail(.NOSYS);
}
