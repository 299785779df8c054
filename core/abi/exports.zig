//! The C boundary: every function JavaScript may call, nothing else.
//!
//! Nothing throws or panics across it: a negative status is an error code (`errors.Code.status`), and the record of the
//! last error is read with `pristine_last_error`. All functions are called on the JavaScript thread; handles are indexes
//! into the table of machines. `generate.zig` writes the TypeScript side from this file's declarations.
const connections = @import("connections.zig");
const diagnosis = @import("diagnosis.zig");
const doubling = @import("../worker/doubling.zig");
const errors = @import("../errors.zig");
const events = @import("../events.zig");
const images = @import("images.zig");
const guest_memory = @import("guest_memory.zig");
const machines = @import("machines.zig");
const registry = @import("registry.zig");
const remotes = @import("remotes.zig");
const running = @import("running.zig");
const snapshots = @import("snapshots.zig");
const types = @import("types.zig");
const workers = @import("../worker/client.zig");
const abi_version = @import("version.zig").abi_version;

pub export fn pristine_abi_version() u32 {
    return abi_version;
}

/// Copies the JSON of the last error; its full length is the result.
pub export fn pristine_last_error(out: [*]u8, capacity: u32) u32 {
    return copyOut(registry.last_error.text(), out, capacity);
}

/// Copies the text that the last call made; its full length is the result.
pub export fn pristine_result(out: [*]u8, capacity: u32) u32 {
    return copyOut(registry.resultText(), out, capacity);
}

fn copyOut(text: []const u8, out: [*]u8, capacity: u32) u32 {
    const count = @min(text.len, capacity);
    @memcpy(out[0..count], text[0..count]);
    return @intCast(text.len);
}

/// Does something to a machine that its callers may be running now, if it is a remote, when it is nobody's.
fn inTurn(handle: u32, comptime work: anytype, arguments: anytype) @typeInfo(@TypeOf(work)).@"fn".return_type.? {
    const turn = registry.turn(handle);
    if (turn.status < 0) return switch (@typeInfo(@TypeOf(work)).@"fn".return_type.?) {
        f64 => @floatFromInt(turn.status),
        else => turn.status,
    };
    defer turn.end();
    return @call(.auto, work, arguments);
}

pub export fn pristine_doctor(flags: u32) i32 {
    return diagnosis.doctor(flags);
}

/// Starts a worker process; its number, which a machine's configuration names.
pub export fn pristine_worker_start(json: [*]const u8, length: u32) i32 {
    return workers.start(json[0..length]);
}

/// Ends a worker process that has no machine. Others end with the last of their machines and images.
pub export fn pristine_worker_stop(worker: u32) i32 {
    return workers.stop(worker);
}

/// 1 when the worker process of a machine or an image has ended; 0 when it has not, or there is none.
pub export fn pristine_worker_gone(handle: u32) i32 {
    return @intFromBool(workers.hasEnded(handle));
}

/// Doubles the worker process of an image; the image's handle in the new one. In a worker: the process id of its double.
pub export fn pristine_worker_split(image: u32) i32 {
    return if (workers.isRemote(image)) workers.split(image) else doubling.split();
}

/// What the wall around the worker process of an image is made of, as the result's text; its length. Nothing opens it: of what
/// was left open for `pristine_worker_split` it closes the rest.
pub export fn pristine_worker_seal(image: u32) i32 {
    if (workers.dispatch("pristine_worker_seal", .{image})) |result| return result;
    return doubling.seal();
}

pub export fn pristine_machine_create(json: [*]const u8, length: u32) i32 {
    return machines.create(json[0..length]);
}

pub export fn pristine_machine_close(handle: u32) i32 {
    if (workers.dispatch("pristine_machine_close", .{handle})) |result| return result;
    return machines.close(handle);
}

/// Stops what runs in the machine, waits for it, and keeps the machine.
pub export fn pristine_machine_stop(handle: u32) i32 {
    if (workers.dispatch("pristine_machine_stop", .{handle})) |result| return result;
    return machines.stop(handle);
}

pub export fn pristine_machine_block(handle: u32) ?*types.MachineBlock {
    return if (workers.isRemote(handle)) workers.block(handle) else machines.block(handle);
}

pub export fn pristine_machine_run(handle: u32, until: u32, timeout_ms: f64, cpu_timeout_ms: f64, ticket: u32) i32 {
    if (workers.dispatch("pristine_machine_run", .{ handle, until, timeout_ms, cpu_timeout_ms, ticket })) |result| return result;
    return running.run(handle, until, timeout_ms, cpu_timeout_ms, ticket);
}

/// Runs the machine on this thread, and pauses it when `budget_ms` are over. A machine of a worker process is not run here: for it
/// they are over at once.
pub export fn pristine_machine_run_here(handle: u32, until: u32, budget_ms: f64, timeout_ms: f64, cpu_timeout_ms: f64) i32 {
    if (workers.isRemote(handle)) return workers.pausedAtOnce(handle);
    return running.runHere(handle, until, budget_ms, timeout_ms, cpu_timeout_ms);
}

/// Where the machine waits for connections: the length of the result's text, HOST:PORT or unix:NAME; 0 when it does not.
pub export fn pristine_machine_listener(handle: u32) i32 {
    if (workers.dispatch("pristine_machine_listener", .{handle})) |result| return result;
    return inTurn(handle, machines.listener, .{handle});
}

/// Connects to a server inside the machine: the number of the connection. Port 0x10000 is the stream that the program made by
/// opening /dev/pristine.
pub export fn pristine_connection_open(handle: u32, port: u32) i32 {
    if (workers.dispatch("pristine_connection_open", .{ handle, port })) |result| return result;
    return inTurn(handle, connections.open, .{ handle, port });
}

/// How many bytes found room; -1000 when the guest reads no more.
pub export fn pristine_connection_send(handle: u32, connection: u32, bytes: [*]const u8, length: u32) i32 {
    if (workers.dispatch("pristine_connection_send", .{ handle, connection, bytes, length })) |result| return result;
    return inTurn(handle, connections.send, .{ handle, connection, bytes[0..length] });
}

/// How many bytes were taken; 0 when there are none now, -1000 at their end, -1001 when the connection was reset.
pub export fn pristine_connection_receive(handle: u32, connection: u32, out: [*]u8, capacity: u32) i32 {
    if (workers.dispatch("pristine_connection_receive", .{ handle, connection, out, capacity })) |result| return result;
    return inTurn(handle, connections.receive, .{ handle, connection, out[0..capacity] });
}

/// Ends one side of a connection (how 0), or all of it (how 1).
pub export fn pristine_connection_end(handle: u32, connection: u32, how: u32) i32 {
    if (workers.dispatch("pristine_connection_end", .{ handle, connection, how })) |result| return result;
    return inTurn(handle, connections.end, .{ handle, connection, how });
}

/// Lets calls of a machine (kind 0) or of all later forks of an image (kind 1) to a name go to a remote, or to forks of it.
pub export fn pristine_connect(kind: u32, handle: u32, remote: u32, name: [*]const u8, length: u32, mode: u32, count: u32, exitless: u32) i32 {
    if (workers.isRemote(handle) or workers.isRemote(remote)) return remotes.inWorker();
    return inTurn(remote, remotes.connect, .{ kind, handle, remote, name[0..length], remotes.Way{ .mode = mode, .count = count, .exitless = exitless != 0 } });
}

pub export fn pristine_disconnect(kind: u32, handle: u32, name: [*]const u8, length: u32) i32 {
    if (workers.isRemote(handle)) return remotes.inWorker();
    return remotes.disconnect(kind, handle, name[0..length]);
}

pub export fn pristine_machine_interrupt(handle: u32, kind: u32) i32 {
    if (workers.dispatch("pristine_machine_interrupt", .{ handle, kind })) |result| return result;
    return running.interrupt(handle, kind);
}

pub export fn pristine_machine_signal(handle: u32, signal: u32) i32 {
    if (workers.dispatch("pristine_machine_signal", .{ handle, signal })) |result| return result;
    return running.sendSignal(handle, signal);
}

pub export fn pristine_machine_error(handle: u32, out: [*]u8, capacity: u32) u32 {
    if (workers.dispatch("pristine_machine_error", .{ handle, out, capacity })) |result| return result;
    return copyOut(machines.machineError(handle), out, capacity);
}

/// The report of the last fatal fault: a line, then the registers.
pub export fn pristine_machine_report(handle: u32, out: [*]u8, capacity: u32) u32 {
    if (workers.dispatch("pristine_machine_report", .{ handle, out, capacity })) |result| return result;
    return copyOut(machines.machineReport(handle), out, capacity);
}

/// Freezes a machine that does not run; the image's handle.
pub export fn pristine_freeze(handle: u32) i32 {
    if (workers.dispatch("pristine_freeze", .{handle})) |result| return result;
    return inTurn(handle, images.freeze, .{handle});
}

pub export fn pristine_image_close(image: u32) i32 {
    if (workers.dispatch("pristine_image_close", .{image})) |result| return result;
    return images.close(image);
}

/// The memory ceiling of the frozen machine, in bytes.
pub export fn pristine_image_memory(image: u32) f64 {
    if (workers.dispatch("pristine_image_memory", .{image})) |result| return result;
    return images.memory(image);
}

/// Which standard outputs JavaScript reads: bit 0 stdout, bit 1 stderr.
pub export fn pristine_image_piped(image: u32) i32 {
    if (workers.dispatch("pristine_image_piped", .{image})) |result| return result;
    return images.piped(image);
}

/// Machines of this process are shown a processor of that level of the psABI; to be called before the first is made.
pub export fn pristine_cpu_baseline(level: u32) i32 {
    return registry.showBaseline(level);
}

/// Saves an image to a file on a native thread; the end is an event with `ticket`. `notes` is for whoever opens the file.
pub export fn pristine_image_save(image: u32, path: [*]const u8, path_length: u32, user: [*]const u8, user_length: u32, notes: [*]const u8, notes_length: u32, files: u32, ticket: u32) i32 {
    if (workers.isRemote(image)) return registry.last_error.set(.UNSUPPORTED, "a machine of a worker process cannot be saved", "boot it without `jail`", .{ .feature = "save" }).status();
    return snapshots.save(image, path[0..path_length], user[0..user_length], notes[0..notes_length], files, ticket);
}

/// Opens a saved image on a native thread; the end is an event with `ticket`. What is granted is in the configuration, whose
/// program is the file.
pub export fn pristine_image_open(json: [*]const u8, length: u32, verify: u32, ticket: u32) i32 {
    return snapshots.open(json[0..length], verify, ticket);
}

/// Begins a snapshot's file that is fetched while it is opened (`source` in the configuration); its number.
pub export fn pristine_source_begin() i32 {
    return snapshots.beginSource();
}

/// Three words of 64 bits of such a file: bytes from its start that are there, what its fetch ended with, and whether nobody reads it
/// any more. Good until `pristine_source_end`.
pub export fn pristine_source_words(source: u32) ?*anyopaque {
    return snapshots.sourceWords(source);
}

/// No more bytes of such a file come. Its number is free then.
pub export fn pristine_source_end(source: u32) i32 {
    return snapshots.endSource(source);
}

/// What a snapshot's file holds, as the result's text of JSON; its length.
pub export fn pristine_snapshot_inspect(path: [*]const u8, length: u32) i32 {
    return snapshots.inspect(path[0..length]);
}

/// The embedder's own bytes of the snapshot that a job has opened; how many there are.
pub export fn pristine_job_user(ticket: u32, out: [*]u8, capacity: u32) i32 {
    return snapshots.userBytes(ticket, out[0..capacity]);
}

/// A job's result is not wanted any more: it ends soon, with an error or with what it had made by then.
pub export fn pristine_job_cancel(ticket: u32) i32 {
    return snapshots.cancel(ticket);
}

/// What a job came to: an image's handle, with its notes as the result's text, or 0; or a status. The job is gone then.
pub export fn pristine_job_finish(ticket: u32) i32 {
    return snapshots.finish(ticket);
}

/// A fork of an image; its machine handle.
pub export fn pristine_fork(image: u32, memory: f64) i32 {
    if (workers.dispatch("pristine_fork", .{ image, memory })) |result| return result;
    return images.fork(image, memory);
}

/// Puts a fork back to its image, or to another if `to` is not 0xffffffff; the control block has the report.
pub export fn pristine_reset(handle: u32, mode: u32, limit: f64, to: u32) i32 {
    if (workers.dispatch("pristine_reset", .{ handle, mode, limit, to })) |result| return result;
    return inTurn(handle, images.reset, .{ handle, mode, limit, to });
}

/// Compares two machines of one image; the length of the result's text, 0 when nothing differs.
pub export fn pristine_difference(first: u32, second: u32) i32 {
    if (workers.dispatch("pristine_difference", .{ first, second })) |result| return result;
    const turn = registry.turn(first);
    if (turn.status < 0) return turn.status;
    defer turn.end();
    const other: registry.Turn = if (first == second) .none else registry.turn(second);
    if (other.status < 0) return other.status;
    defer other.end();
    return images.difference(first, second);
}

/// Switches a planted fault on, in builds that have them; 1 if it could.
pub export fn pristine_plant(fault: u32) i32 {
    return @intFromBool(@import("../planted.zig").choose(fault));
}

pub export fn pristine_call_begin(handle: u32) i32 {
    if (workers.dispatch("pristine_call_begin", .{handle})) |result| return result;
    return inTurn(handle, running.callBegin, .{handle});
}

pub export fn pristine_call_stage(handle: u32, slot: u32, bytes: [*]const u8, length: u32) i32 {
    if (workers.dispatch("pristine_call_stage", .{ handle, slot, bytes, length })) |result| return result;
    return inTurn(handle, running.callStage, .{ handle, slot, bytes[0..length] });
}

pub export fn pristine_call(handle: u32) i32 {
    if (workers.dispatch("pristine_call", .{handle})) |result| return result;
    return running.call(handle);
}

pub export fn pristine_call_async(handle: u32, ticket: u32) i32 {
    if (workers.dispatch("pristine_call_async", .{ handle, ticket })) |result| return result;
    return running.callAsync(handle, ticket);
}

pub export fn pristine_memory_base(handle: u32) ?[*]u8 {
    return if (workers.isRemote(handle)) guest_memory.isElsewhere() else guest_memory.base(handle);
}

pub export fn pristine_memory_translate(handle: u32, address: f64, length: f64) f64 {
    if (workers.dispatch("pristine_memory_translate", .{ handle, address, length })) |result| return result;
    return inTurn(handle, guest_memory.translate, .{ handle, address, length });
}

pub export fn pristine_memory_pieces(handle: u32, address: f64, length: f64) i32 {
    if (workers.dispatch("pristine_memory_pieces", .{ handle, address, length })) |result| return result;
    return inTurn(handle, guest_memory.pieces, .{ handle, address, length });
}

pub export fn pristine_memory_read(handle: u32, address: f64, out: [*]u8, length: u32) i32 {
    if (workers.isRemote(handle)) return workers.readMemory(handle, address, out[0..length]);
    return inTurn(handle, guest_memory.read, .{ handle, address, out[0..length] });
}

pub export fn pristine_memory_write(handle: u32, address: f64, bytes: [*]const u8, length: u32) i32 {
    if (workers.isRemote(handle)) return workers.writeMemory(handle, address, bytes[0..length]);
    return inTurn(handle, guest_memory.write, .{ handle, address, bytes[0..length] });
}

pub export fn pristine_memory_cstring(handle: u32, address: f64, out: [*]u8, capacity: u32) i32 {
    if (workers.dispatch("pristine_memory_cstring", .{ handle, address, out, capacity })) |result| return result;
    return inTurn(handle, guest_memory.cstring, .{ handle, address, out[0..capacity] });
}

pub export fn pristine_memory_allocate(handle: u32, length: f64, alignment: f64) f64 {
    if (workers.dispatch("pristine_memory_allocate", .{ handle, length, alignment })) |result| return result;
    return inTurn(handle, guest_memory.allocate, .{ handle, length, alignment });
}

pub export fn pristine_symbol(handle: u32, name: [*]const u8, length: u32) f64 {
    if (workers.dispatch("pristine_symbol", .{ handle, name, length })) |result| return result;
    return guest_memory.symbol(handle, name[0..length]);
}

pub export fn pristine_counters(handle: u32, out: *types.Counters) i32 {
    if (workers.dispatch("pristine_counters", .{ handle, out })) |result| return result;
    return machines.counters(handle, out);
}

/// A pipe for a standard stream: out[0] is the end to read from, out[1] the one to write to.
pub export fn pristine_pipe(out: [*]i32) i32 {
    return machines.pipe(out[0..2]);
}

/// A descriptor of an anonymous file with a program's bytes.
pub export fn pristine_image(bytes: [*]const u8, length: u32) i32 {
    return machines.imageFile(bytes[0..length]);
}

pub export fn pristine_events_fd() i32 {
    return events.descriptor() catch errors.Code.INTERNAL.status();
}

pub export fn pristine_events_take(out: [*]events.Event, capacity: u32) u32 {
    const count = events.take(out[0..capacity]);
    return @intCast(count + workers.takeEvents(out[count..capacity]));
}

pub export fn pristine_output_read(handle: u32, stream: u32, out: [*]u8, capacity: u32) i32 {
    if (workers.dispatch("pristine_output_read", .{ handle, stream, out, capacity })) |result| return result;
    return machines.outputRead(handle, stream, out[0..capacity]);
}

pub export fn pristine_output_close(handle: u32, stream: u32) i32 {
    if (workers.dispatch("pristine_output_close", .{ handle, stream })) |result| return result;
    return machines.outputClose(handle, stream);
}
