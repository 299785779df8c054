//! Worker processes, as their embedder sees them: handles whose upper bits name a worker, and calls that travel to it.
//!
//! Used on the JavaScript thread, but for one thread a worker that waits for its end. A worker that has ended answers nothing
//! more: every call about its machines is an error, and what was under way ends with one.
const std = @import("std");
const linux = std.os.linux;
const channel = @import("channel.zig");
const config_module = @import("../abi/config.zig");
const errors = @import("../errors.zig");
const events = @import("../events.zig");
const host = @import("../host.zig");
const limits = @import("../limits.zig");
const machine_module = @import("../machine.zig");
const marshal = @import("marshal.zig");
const registry = @import("../abi/registry.zig");
const spawn = @import("spawn.zig");
const types = @import("../abi/types.zig");
const abi_version = @import("../abi/version.zig").abi_version;

const handle_mask = (1 << limits.worker_handle_bits) - 1;
const no_handle = std.math.maxInt(u32);

const Pending = struct { ticket: u32, handle: u32, kind: events.Kind };

const Worker = struct {
    /// Above the bits of a handle.
    prefix: u32,
    /// 0 when it is a worker's child, which cannot be doubled again.
    pid: i32,
    shared: *align(limits.page_size) channel.Shared,
    socket: i32,
    requests: u32 = 0,
    /// Handles of machines and images that are in use.
    live: u32 = 0,
    lock: host.Mutex = .{},
    pending: std.ArrayList(Pending) = .empty,
    gone: std.atomic.Value(bool) = .init(false),
    /// Under the lock of the table: the process and the thread that waits for it have ended; nothing of it is used any more.
    buried: bool = false,
    retired: bool = false,
    status: u32 = 0,

    fn isGone(self: *const Worker) bool {
        return self.gone.load(.acquire);
    }
};

var workers: [limits.workers_max + 1]?*Worker = @splat(null);
var table_lock: host.Mutex = .{};

fn of(handle: u32) u32 {
    return handle >> limits.worker_handle_bits;
}

/// Starts a worker process; its number. `json` is a `config.WorkerConfig`.
pub fn start(json: []const u8) i32 {
    const record = &registry.last_error;
    var parsed = std.json.parseFromSlice(config_module.WorkerConfig, registry.allocator, json, .{ .allocate = .alloc_if_needed }) catch
        return record.set(.INTERNAL, "the core could not read a worker's configuration", "run `npm run build`", .{}).status();
    defer parsed.deinit();
    const wake = events.descriptor() catch return hostFailure();
    const ends = open() catch return hostFailure();
    defer host.close(ends.theirs);
    defer host.close(ends.memory);
    const pid = spawn.start(&parsed.value, .{ ends.theirs, ends.memory, wake }) catch |failure| {
        channel.unmap(ends.shared);
        host.close(ends.ours);
        if (failure == error.NotFound) return record.format(.NOT_FOUND, "the worker executable {s} cannot be started", .{parsed.value.path}, "run `npm run build`, or set PRISTINE_WORKER", .{ .path = parsed.value.path }).status();
        return hostFailure();
    };
    return add(ends, pid) catch |failure| {
        channel.unmap(ends.shared);
        host.close(ends.ours);
        return if (failure == error.TooMany) tooMany() else hostFailure();
    };
}

const Ends = struct { ours: i32, theirs: i32, memory: i32, shared: *align(limits.page_size) channel.Shared };

fn open() host.Error!Ends {
    const memory = try channel.create();
    errdefer host.close(memory);
    const shared = try channel.map(memory);
    errdefer channel.unmap(shared);
    var pair: [2]i32 = undefined;
    _ = try host.check(linux.socketpair(linux.AF.UNIX, linux.SOCK.SEQPACKET | linux.SOCK.CLOEXEC, 0, &pair));
    return .{ .ours = pair[0], .theirs = pair[1], .memory = memory, .shared = shared };
}

fn add(ends: Ends, pid: i32) error{ TooMany, OutOfMemory, HostFailure }!i32 {
    table_lock.lock();
    defer table_lock.unlock();
    const number = for (workers[1..], 1..) |worker, index| {
        if (worker == null) break index;
    } else return error.TooMany;
    const worker = try registry.allocator.create(Worker);
    errdefer registry.allocator.destroy(worker);
    worker.* = .{ .prefix = @as(u32, @intCast(number)) << limits.worker_handle_bits, .pid = pid, .shared = ends.shared, .socket = ends.ours };
    const thread = std.Thread.spawn(.{ .stack_size = limits.runner_stack_bytes }, watch, .{worker}) catch return error.HostFailure;
    thread.detach();
    workers[number] = worker;
    return @intCast(number);
}

/// With the lock of the table held.
fn free(worker: *Worker) void {
    workers[of(worker.prefix)] = null;
    channel.unmap(worker.shared);
    host.close(worker.socket);
    worker.pending.deinit(registry.allocator);
    registry.allocator.destroy(worker);
}

/// Waits for a worker's end, and ends with an error what was under way.
fn watch(worker: *Worker) void {
    while (!channel.isOver(worker.socket)) {
        var descriptors = [_]linux.pollfd{.{ .fd = worker.socket, .events = 0, .revents = 0 }};
        _ = linux.poll(&descriptors, 1, -1);
    }
    if (worker.pid > 0) _ = linux.wait4(worker.pid, &worker.status, 0, null);
    worker.lock.lock();
    worker.gone.store(true, .release);
    for (worker.pending.items) |pending|
        events.push(.{ .kind = @intFromEnum(pending.kind), .handle = pending.handle, .ticket = pending.ticket, .status = errors.Code.INTERNAL.status() });
    worker.pending.clearRetainingCapacity();
    worker.lock.unlock();
    channel.wake(&worker.shared.answers);
    table_lock.lock();
    defer table_lock.unlock();
    worker.buried = true;
    if (worker.retired) free(worker);
}

/// A worker of which nothing is used any more ends.
fn drop(worker: *Worker) void {
    worker.live -= 1;
    if (worker.live == 0) retire(worker);
}

/// It is not to be used behind this: whoever comes last, the thread that waits for its end or this one, frees it.
fn retire(worker: *Worker) void {
    table_lock.lock();
    defer table_lock.unlock();
    worker.retired = true;
    const both = 2;
    if (worker.buried) free(worker) else _ = linux.shutdown(worker.socket, both);
}

/// Ends a worker that has no machine yet.
pub fn stop(number: u32) i32 {
    const worker = if (number > 0 and number < workers.len) workers[number] else null;
    if (worker) |some| if (some.live == 0) retire(some);
    return 0;
}

/// What a worker answers; null when the handle is one of this process. Of bytes it takes or gives as many as one call carries.
pub fn dispatch(comptime name: []const u8, given: marshal.Arguments(name)) ?marshal.Result(name) {
    const number = of(given[0]);
    if (number == 0) return null;
    const worker = workers[number] orelse return failed(name, given, null);
    if (worker.isGone()) return goneAnswer(name, given, worker);
    var arguments = given;
    // The other handles of a call are of the same worker.
    const other: ?u32 = if (comptime eql(name, "pristine_reset")) 3 else if (comptime eql(name, "pristine_difference")) 1 else null;
    if (other) |index| if (arguments[index] != no_handle) {
        if (of(arguments[index]) != number) return registry.last_error.set(.BAD_OPTION, "the two are of different processes", "use machines and snapshots that come from one boot", .{ .option = "to" }).status();
        arguments[index] &= handle_mask;
    };
    arguments[0] &= handle_mask;
    inline for (@typeInfo(marshal.Arguments(name)).@"struct".fields, 0..) |field, index| switch (comptime marshal.kindOf(field.type)) {
        .bytes_in, .bytes_out => arguments[index + 1] = @min(arguments[index + 1], worker.shared.payload.len),
        else => {},
    };
    note(name, worker, given);
    const result = exchange(name, worker, arguments) orelse return goneAnswer(name, given, worker);
    return settle(name, worker, given, result);
}

fn eql(comptime a: []const u8, comptime b: []const u8) bool {
    return std.mem.eql(u8, a, b);
}

fn isRun(comptime name: []const u8) bool {
    return eql(name, "pristine_machine_run") or eql(name, "pristine_call_async");
}

/// A run's end is awaited from here on.
fn note(comptime name: []const u8, worker: *Worker, given: marshal.Arguments(name)) void {
    if (comptime !isRun(name)) return;
    const kind: events.Kind = if (comptime eql(name, "pristine_call_async")) .call_done else .run_done;
    worker.lock.lock();
    defer worker.lock.unlock();
    worker.pending.append(registry.allocator, .{ .ticket = given[given.len - 1], .handle = given[0], .kind = kind }) catch @panic("out of memory for a run");
}

/// Whether the run was under way in this worker.
fn forget(worker: *Worker, ticket: u32) bool {
    worker.lock.lock();
    defer worker.lock.unlock();
    for (worker.pending.items, 0..) |pending, index| {
        if (pending.ticket != ticket) continue;
        _ = worker.pending.swapRemove(index);
        return true;
    }
    return false;
}

/// Handles are counted: those that a call makes, and those that it ends.
fn settle(comptime name: []const u8, worker: *Worker, given: marshal.Arguments(name), result: marshal.Result(name)) marshal.Result(name) {
    if (comptime isRun(name)) {
        if (result < 0) _ = forget(worker, given[given.len - 1]);
        return result;
    }
    if (comptime eql(name, "pristine_freeze") or eql(name, "pristine_fork")) {
        return if (result < 0) result else newHandle(worker, result);
    }
    if (comptime eql(name, "pristine_machine_close") or eql(name, "pristine_image_close")) {
        if (result >= 0) drop(worker);
    }
    return result;
}

fn newHandle(worker: *Worker, local: i32) i32 {
    if (local > handle_mask) return registry.last_error.set(.INTERNAL, "the worker's answer makes no sense", "report this", .{}).status();
    worker.live += 1;
    return @bitCast(worker.prefix | @as(u32, @intCast(local)));
}

/// Boots a machine in a worker, to which its descriptors travel first.
pub fn create(config: *const config_module.Config, json: []const u8) i32 {
    const worker = workers[config.worker] orelse return registry.last_error.set(.CLOSED, "the worker has ended", "boot the machine again", .{}).status();
    if (json.len > limits.worker_payload_bytes) return refused(worker, registry.last_error.set(.BAD_OPTION, "the machine's configuration is larger than 2 MiB", "give it fewer or shorter arguments and variables", .{ .option = "args" }));
    var descriptors: [limits.worker_descriptors_max]i32 = undefined;
    const count = config.descriptors(&descriptors) orelse return refused(worker, registry.last_error.set(.BAD_OPTION, "too many descriptors for a machine in a worker", "mount fewer volumes", .{ .option = "volumes" }));
    if (count > 0) channel.sendDescriptors(worker.socket, descriptors[0..count]) catch {
        const errno = host.last_errno;
        retire(worker);
        host.last_errno = errno;
        if (errno != .BADF) return hostFailure();
        return registry.last_error.set(.BAD_OPTION, "a descriptor that was given is not open", "pass open file descriptors, \"pipe\", \"inherit\" or \"ignore\"", .{ .option = config.notOpen() }).status();
    };
    const result = exchange("pristine_machine_create", worker, .{ json.ptr, @as(u32, @intCast(json.len)) }) orelse gone(worker);
    if (result >= 0) return newHandle(worker, result);
    retire(worker);
    return result;
}

/// A worker without a machine ends.
fn refused(worker: *Worker, code: errors.Code) i32 {
    retire(worker);
    return code.status();
}

/// Doubles the worker that has an image; the image's handle in the new one.
pub fn split(image: u32) i32 {
    const worker = workers[of(image)] orelse return registry.last_error.set(.UNSUPPORTED, "the snapshot is not one of a worker process", "boot its machine in one", .{ .feature = "split" }).status();
    if (worker.isGone()) return gone(worker);
    if (worker.pid == 0) return registry.last_error.set(.UNSUPPORTED, "the double of a worker process is not doubled again", "double the first one", .{ .feature = "split" }).status();
    const ends = open() catch return hostFailure();
    defer host.close(ends.theirs);
    defer host.close(ends.memory);
    const pid = doubled: {
        channel.sendDescriptors(worker.socket, &.{ ends.theirs, ends.memory }) catch break :doubled hostFailure();
        break :doubled exchange("pristine_worker_split", worker, .{image & handle_mask}) orelse gone(worker);
    };
    if (pid >= 0 and sendPageMap(ends.ours, worker.pid, pid)) {
        if (add(ends, 0)) |number| return newHandle(workers[@intCast(number)].?, @intCast(image & handle_mask)) else |why| {
            if (why == error.TooMany) _ = tooMany() else _ = hostFailure();
        }
    }
    channel.unmap(ends.shared);
    host.close(ends.ours);
    return registry.last_error.code.status();
}

/// A process in a jail cannot open its own page map; it is opened here, if it is the worker's child.
fn sendPageMap(socket: i32, parent: i32, pid: i32) bool {
    _ = hostFailure();
    if (spawn.parentOf(pid) != parent) return false;
    var buffer: [64]u8 = undefined;
    const path = std.fmt.bufPrintZ(&buffer, "/proc/{d}/pagemap", .{pid}) catch unreachable;
    const fd: i32 = @intCast(host.check(linux.open(path, .{ .CLOEXEC = true }, 0)) catch return false);
    defer host.close(fd);
    channel.sendDescriptors(socket, &.{fd}) catch return false;
    return true;
}

/// Makes one call in a worker and waits for its answer; null if there is none.
fn exchange(comptime name: []const u8, worker: *Worker, arguments: anytype) ?marshal.Result(name) {
    const shared = worker.shared;
    var message: channel.Message = .{ .function = comptime marshal.indexOf(name), .bytes = 0, .error_bytes = 0, .text_bytes = 0, .arguments = @splat(0), .result = 0 };
    var out: []u8 = &.{};
    inline for (@typeInfo(marshal.Arguments(name)).@"struct".fields, 0..) |field, index| switch (comptime marshal.kindOf(field.type)) {
        .number => message.arguments[index] = marshal.toBits(@as(field.type, arguments[index])),
        .bytes_in => {
            const bytes = arguments[index][0..arguments[index + 1]];
            @memcpy(shared.payload[0..bytes.len], bytes);
        },
        .bytes_out => out = arguments[index][0..arguments[index + 1]],
        .structure_out => out = std.mem.asBytes(@as(field.type, arguments[index])),
    };
    shared.message = message;
    worker.requests +%= 1;
    shared.requests.store(worker.requests, .release);
    channel.wake(&shared.requests);
    // A call of the guest's has time limits of its own.
    if (!answered(worker, if (comptime eql(name, "pristine_call")) std.math.maxInt(u64) else host.monotonicNs() + limits.worker_answer_ns)) return null;
    const reply = @as(*volatile channel.Message, &shared.message).*;
    return take(name, shared, &reply, out);
}

fn answered(worker: *Worker, deadline: u64) bool {
    const shared = worker.shared;
    const patience = host.monotonicNs() + limits.worker_spin_ns;
    while (true) {
        const done = shared.answers.load(.acquire);
        if (done == worker.requests) {
            if (worker.requests > 1 or shared.abi_version == abi_version) return true;
            // A worker of another build: it is let go as one that has ended.
            _ = linux.shutdown(worker.socket, 2);
        }
        if (worker.isGone()) return false;
        const now = host.monotonicNs();
        if (now > deadline) {
            // It does not do what it must: it ends, whatever it does.
            if (worker.pid > 0) _ = linux.kill(worker.pid, .KILL) else _ = linux.shutdown(worker.socket, 2);
            return false;
        }
        if (now < patience) {
            std.atomic.spinLoopHint();
            continue;
        }
        channel.await(&shared.answers, done, limits.worker_look_ns);
    }
}

/// What a worker answered. None of its lengths is believed.
fn take(comptime name: []const u8, shared: *channel.Shared, reply: *const channel.Message, out: []u8) ?marshal.Result(name) {
    const result = marshal.fromBits(marshal.Result(name), reply.result);
    const bytes = @min(reply.bytes, shared.payload.len);
    const failure_bytes = @min(reply.error_bytes, shared.payload.len - bytes);
    const text_bytes = @min(reply.text_bytes, shared.payload.len - bytes - failure_bytes);
    const copied = @min(bytes, out.len);
    @memcpy(out[0..copied], shared.payload[0..copied]);
    if (failure_bytes > 0) registry.last_error.adopt(shared.payload[bytes..][0..failure_bytes], if (@TypeOf(result) == u32) 0 else statusOf(result));
    const text = registry.newResult();
    text.writeAll(shared.payload[bytes + failure_bytes ..][0..text_bytes]) catch {};
    return result;
}

fn statusOf(result: anytype) i32 {
    return if (@TypeOf(result) == f64) @intFromFloat(std.math.clamp(result, -1e9, 0)) else result;
}

fn goneAnswer(comptime name: []const u8, given: marshal.Arguments(name), worker: *Worker) marshal.Result(name) {
    // Closing what is gone succeeds.
    if (comptime eql(name, "pristine_machine_close") or eql(name, "pristine_image_close")) {
        drop(worker);
        return 0;
    }
    return failed(name, given, worker);
}

fn failed(comptime name: []const u8, given: marshal.Arguments(name), worker: ?*Worker) marshal.Result(name) {
    const status = if (worker) |some| gone(some) else registry.last_error.set(.CLOSED, "the machine is closed", "boot another machine", .{}).status();
    switch (marshal.Result(name)) {
        i32 => return status,
        f64 => return @floatFromInt(status),
        else => {},
    }
    if (comptime !eql(name, "pristine_machine_error")) return 0;
    const text = registry.last_error.text();
    const count = @min(text.len, given[2]);
    @memcpy(given[1][0..count], text[0..count]);
    return @intCast(text.len);
}

fn gone(worker: *Worker) i32 {
    const hint = "the machines in it are lost; a pool made by isolate() boots them again";
    const signal = worker.status & 0x7f;
    const record = &registry.last_error;
    return (if (signal != 0)
        record.format(.INTERNAL, "the worker process was ended by signal {d}", .{signal}, hint, .{ .worker = "gone", .signal = signal })
    else
        record.set(.INTERNAL, "the worker process has ended", hint, .{ .worker = "gone" })).status();
}

fn tooMany() i32 {
    return registry.last_error.set(.INTERNAL, "there are 127 worker processes already", "close() pools and machines that are done", .{}).status();
}

fn hostFailure() i32 {
    return registry.last_error.format(.INTERNAL, "the host refused a worker process ({t})", .{host.last_errno}, "close pools and machines that are done, or raise the limits on processes and open files (ulimit -u, ulimit -n)", .{}).status();
}

/// In as many calls as it takes.
pub fn readMemory(handle: u32, address: f64, out: []u8) i32 {
    var done: usize = 0;
    while (true) {
        const piece = out[done..][0..@min(out.len - done, limits.worker_payload_bytes)];
        const status = dispatch("pristine_memory_read", .{ handle, address + @as(f64, @floatFromInt(done)), piece.ptr, @as(u32, @intCast(piece.len)) }).?;
        if (status < 0) return status;
        done += piece.len;
        if (done == out.len) return 0;
    }
}

pub fn writeMemory(handle: u32, address: f64, bytes: []const u8) i32 {
    var done: usize = 0;
    while (true) {
        const piece = bytes[done..][0..@min(bytes.len - done, limits.worker_payload_bytes)];
        const status = dispatch("pristine_memory_write", .{ handle, address + @as(f64, @floatFromInt(done)), piece.ptr, @as(u32, @intCast(piece.len)) }).?;
        if (status < 0) return status;
        done += piece.len;
        if (done == bytes.len) return 0;
    }
}

/// The control block of a worker's machine.
pub fn block(handle: u32) ?*types.MachineBlock {
    const worker = workers[of(handle)] orelse return null;
    const local = handle & handle_mask;
    return if (local < limits.worker_machines_max) &worker.shared.blocks[local].block else null;
}

/// Of a run that is not begun: `pristine_machine_run` does.
pub fn pausedAtOnce(handle: u32) i32 {
    if (block(handle)) |some| some.stop_reason = @intFromEnum(machine_module.StopReason.paused);
    return 0;
}

pub fn isRemote(handle: u32) bool {
    return of(handle) != 0;
}

pub fn hasEnded(handle: u32) bool {
    const worker = if (isRemote(handle)) workers[of(handle)] else return false;
    return worker == null or worker.?.isGone();
}

/// Events of all workers, behind those of this process.
pub fn takeEvents(out: []events.Event) usize {
    var count: usize = 0;
    table_lock.lock();
    defer table_lock.unlock();
    for (workers[1..]) |slot| {
        const worker = slot orelse continue;
        while (count < out.len) {
            var event = channel.take(worker.shared) orelse break;
            event.handle = worker.prefix | (event.handle & handle_mask);
            // Only of what it was asked for: a ticket may be another's.
            if (event.kind != @intFromEnum(events.Kind.output_ready) and !forget(worker, event.ticket)) continue;
            out[count] = event;
            count += 1;
        }
    }
    return count;
}
