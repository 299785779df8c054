//! Saving images to files and opening them, on native threads: each is a job that ends with an event, and whose result is
//! fetched by its ticket.
const std = @import("std");
const config_module = @import("config.zig");
const errors = @import("../errors.zig");
const events = @import("../events.zig");
const files_setup = @import("files_setup.zig");
const host = @import("../host.zig");
const images = @import("images.zig");
const inspection = @import("../saved/inspect.zig");
const opening = @import("../saved/open.zig");
const registry = @import("registry.zig");
const runner = @import("../runner.zig");
const saving = @import("../saved/save.zig");
const streams = @import("standard_streams.zig");
const FileTable = @import("../linux/files/table.zig").FileTable;
const HostFile = @import("../host_file.zig").HostFile;
const Image = @import("../image.zig").Image;
const Source = @import("../saved/source.zig").Source;
const Words = @import("../saved/source.zig").Words;

const Job = struct {
    job: runner.Job,
    ticket: u32,
    failure: errors.Record = .{},
    status: i32 = 0,
    arena: std.heap.ArenaAllocator,
    work: union(enum) {
        save: struct { image: *Image, request: saving.Request },
        open: opening.Request,
    },
    opened: ?opening.Opened = null,
    cancelled: std.atomic.Value(bool) = .init(false),

    fn create(ticket: u32) error{OutOfMemory}!*Job {
        const self = try registry.allocator.create(Job);
        self.* = .{ .job = .{ .context = self, .work_fn = run }, .ticket = ticket, .arena = .init(registry.allocator), .work = undefined };
        return self;
    }

    fn destroy(self: *Job) void {
        if (self.opened) |*opened| opened.deinit(registry.allocator);
        self.arena.deinit();
        registry.allocator.destroy(self);
    }

    fn run(context: *anyopaque) void {
        const self: *Job = @ptrCast(@alignCast(context));
        switch (self.work) {
            .save => |*save_work| {
                saving.save(registry.allocator, save_work.image, &save_work.request, &self.failure) catch {
                    self.status = self.failure.code.status();
                };
                save_work.image.release();
            },
            .open => |*request| {
                self.opened = opening.open(registry.allocator, request, &self.failure) catch null;
                if (self.opened == null) self.status = self.failure.code.status();
            },
        }
        events.push(.{ .kind = @intFromEnum(events.Kind.job_done), .handle = 0, .ticket = self.ticket, .status = self.status });
    }
};

/// Jobs whose result nobody has fetched yet. Used on JavaScript's thread alone.
var jobs: std.ArrayList(*Job) = .empty;

fn start(job: *Job) i32 {
    jobs.append(registry.allocator, job) catch {
        job.destroy();
        return outOfMemory();
    };
    runner.submit(&job.job) catch {
        _ = jobs.pop();
        job.destroy();
        return registry.last_error.set(.INTERNAL, "no native thread could be started", "close machines that run, or raise the limit on threads (ulimit -u)", .{}).status();
    };
    return 0;
}

fn outOfMemory() i32 {
    return registry.last_error.set(.INTERNAL, "the host has no memory left", "free memory on the host", .{}).status();
}

/// Saves an image on a native thread; the end is an event with `ticket`.
pub fn save(handle: u32, path: []const u8, user: []const u8, notes: []const u8, files: u32, ticket: u32) i32 {
    const what = std.enums.fromInt(saving.Files, files) orelse return registry.last_error.set(.BAD_OPTION, "an unknown way to save files", "use \"refer\" or \"copy\"", .{ .option = "files" }).status();
    const image = images.find(handle) orelse return registry.last_error.code.status();
    const job = Job.create(ticket) catch return outOfMemory();
    var request = copyRequest(job, path, user, notes) catch {
        job.destroy();
        return outOfMemory();
    };
    request.files = what;
    job.work = .{ .save = .{ .image = image.retain(), .request = request } };
    const status = start(job);
    if (status < 0) image.release();
    return status;
}

fn copyRequest(job: *Job, path: []const u8, user: []const u8, notes: []const u8) error{OutOfMemory}!saving.Request {
    const arena = job.arena.allocator();
    return .{ .cancelled = &job.cancelled, .path = try arena.dupeZ(u8, path), .user = try arena.dupe(u8, user), .notes = try arena.dupe(u8, notes) };
}

/// Opens a file on a native thread; the end is an event with `ticket`. The configuration is a machine's, whose program is the file.
pub fn open(json: []const u8, verify: u32, ticket: u32) i32 {
    const record = &registry.last_error;
    const how = std.enums.fromInt(opening.Verify, verify) orelse return record.set(.BAD_OPTION, "an unknown way to verify a snapshot", "use \"lazy\", \"full\" or \"trusted\"", .{ .option = "verify" }).status();
    const platform = registry.thePlatform() catch |failure| return registry.kvmError(failure).status();
    const job = Job.create(ticket) catch return outOfMemory();
    var is_started = false;
    defer if (!is_started) job.destroy();
    const arena = job.arena.allocator();
    var parsed = config_module.parse(arena, json) catch |failure| {
        return record.format(.INTERNAL, "the core could not read its configuration ({t})", .{failure}, "the JavaScript side and the core do not fit; run `npm run build`", .{}).status();
    };
    const config = &parsed.value;
    const path = arena.dupeZ(u8, config.program) catch return outOfMemory();
    const source = if (config.source < 0) null else findSource(@intCast(config.source)) orelse return record.code.status();
    var files = FileTable.initEmpty(registry.allocator) catch return outOfMemory();
    files_setup.grant(&files, config, record) catch {
        files.deinit();
        return record.code.status();
    };
    job.work = .{ .open = .{ .path = path, .verify = how, .source = if (source) |some| some.retain() else null, .platform = platform, .files = files, .streams = @splat(null), .cancelled = &job.cancelled } };
    for ([_]i32{ config.stdin, config.stdout, config.stderr }, &job.work.open.streams, 0..) |fd, *stream, number| {
        if (fd < 0) continue;
        const own = streams.duplicate(fd) catch continue;
        const file = HostFile.create(registry.allocator, own, "") catch continue;
        file.standard = @intCast(number);
        stream.* = file;
    }
    is_started = true;
    const given = job.work.open.streams;
    const status = start(job);
    if (status < 0) {
        // The job is gone; what was opened for it is not.
        files.deinit();
        if (source) |some| some.release();
        for (given) |stream| if (stream) |some| some.release(registry.allocator);
    }
    return status;
}

/// Files that are being fetched while they are opened, by their numbers. Used on JavaScript's thread alone.
var sources: std.ArrayList(?*Source) = .empty;

fn findSource(number: u32) ?*Source {
    if (number < sources.items.len) if (sources.items[number]) |source| return source;
    _ = registry.last_error.set(.INTERNAL, "there is no such source", "this is a defect; please report it", .{});
    return null;
}

/// Begins a file that is fetched while it is opened; its number.
pub fn beginSource() i32 {
    const place = std.mem.indexOfScalar(?*Source, sources.items, null) orelse place: {
        sources.append(registry.allocator, null) catch return outOfMemory();
        break :place sources.items.len - 1;
    };
    sources.items[place] = Source.create(registry.allocator) catch return outOfMemory();
    return @intCast(place);
}

/// What the thread that fetches it writes to, good until `endSource`.
pub fn sourceWords(number: u32) ?*Words {
    return &(findSource(number) orelse return null).words;
}

/// No more bytes come: all are there, or the rest never will be.
pub fn endSource(number: u32) i32 {
    const source = findSource(number) orelse return registry.last_error.code.status();
    sources.items[number] = null;
    source.end();
    source.release();
    return 0;
}

fn find(ticket: u32) ?usize {
    for (jobs.items, 0..) |job, index| if (job.ticket == ticket) return index;
    _ = registry.last_error.set(.INTERNAL, "there is no such job", "this is a defect; please report it", .{});
    return null;
}

/// Copies the embedder's own bytes of a snapshot that was opened; how many there are. To be asked before `finish`.
pub fn userBytes(ticket: u32, out: []u8) i32 {
    const job = jobs.items[find(ticket) orelse return registry.last_error.code.status()];
    const opened = &(job.opened orelse return 0);
    const count = @min(out.len, opened.user.len);
    @memcpy(out[0..count], opened.user[0..count]);
    return @intCast(opened.user.len);
}

/// What the job makes is not wanted any more; it ends soon, with an error.
pub fn cancel(ticket: u32) i32 {
    jobs.items[find(ticket) orelse return 0].cancelled.store(true, .monotonic);
    return 0;
}

/// The result of a job that has ended: an image's handle, 0, or a status with the last error.
pub fn finish(ticket: u32) i32 {
    const job = jobs.swapRemove(find(ticket) orelse return registry.last_error.code.status());
    defer job.destroy();
    if (job.status < 0) {
        registry.last_error = job.failure;
        return job.status;
    }
    const opened = &(job.opened orelse return 0);
    const handle = images.register(opened.image) catch return outOfMemory();
    const out = registry.newResult();
    out.writeAll(opened.notes) catch {};
    _ = opened.image.retain();
    return @intCast(handle);
}

/// What a file holds, as the result's text; its length.
pub fn inspect(path: []const u8) i32 {
    const name = registry.allocator.dupeZ(u8, path) catch return outOfMemory();
    defer registry.allocator.free(name);
    inspection.write(registry.allocator, name, registry.newResult(), &registry.last_error) catch |failure| return switch (failure) {
        error.Failed => registry.last_error.code.status(),
        error.OutOfMemory, error.WriteFailed => outOfMemory(),
    };
    return @intCast(registry.resultText().len);
}
