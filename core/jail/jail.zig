//! The second wall, around a worker process: what remains to who breaks out of a machine.
//!
//! At the process's start: no new privileges, limits, namespaces. When its first machine is loaded and before that runs an
//! instruction: Landlock for what the machine may reach, and a filter that ends the process at any system call that the VMM
//! makes for no guest's. What the host does not permit is left out and told, or in a strict jail an error.
const std = @import("std");
const linux = std.os.linux;
const calls = @import("calls.zig");
const host = @import("../host.zig");
const landlock = @import("landlock.zig");
const namespaces = @import("namespaces.zig");
const seccomp = @import("seccomp.zig");
const Scope = @import("../linux/files/table.zig").Scope;

const Part = enum { no_new_privs, limits, namespaces, landlock, seccomp };

const Outcome = struct {
    done: bool = false,
    detail: [96]u8 = undefined,
    length: usize = 0,

    fn tell(self: *Outcome, done: bool, comptime format: []const u8, arguments: anytype) void {
        self.done = done;
        var writer: std.Io.Writer = .fixed(&self.detail);
        writer.print(format, arguments) catch {};
        self.length = writer.end;
    }

    fn text(self: *const Outcome) []const u8 {
        return self.detail[0..self.length];
    }
};

pub const Options = struct {
    strict: bool,
    /// Its machines may use the host's network.
    network: bool,
    /// It will be doubled before it is sealed.
    split: bool,
};

pub const Jail = struct {
    options: Options,
    outcomes: std.EnumArray(Part, Outcome) = .initFill(.{}),
    entered: bool = false,
    sealed: bool = false,
    writes: bool = false,

    /// At the start of a process, while it has one thread.
    pub fn begin(options: Options) Jail {
        var self: Jail = .{ .options = options };
        const SET_NO_NEW_PRIVS = 38;
        const privileges = host.check(linux.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        self.outcomes.getPtr(.no_new_privs).tell(if (privileges) |_| true else |_| false, "", .{});
        self.limit();
        const got = namespaces.enter(options.network);
        const spaces = self.outcomes.getPtr(.namespaces);
        if (got.refused == .SUCCESS) spaces.tell(true, "{s}", .{got.names}) else spaces.tell(false, "user: {t}{s}{s}", .{ got.refused, if (got.names.len > 0) "; in place: " else "", got.names });
        return self;
    }

    /// No dump of its memory, none of it locked, no message queues, no priority above others.
    fn limit(self: *Jail) void {
        const none: linux.rlimit = .{ .cur = 0, .max = 0 };
        var done = true;
        for ([_]linux.rlimit_resource{ .CORE, .MEMLOCK, .MSGQUEUE, .RTPRIO, .NICE }) |resource| {
            if (host.check(linux.setrlimit(resource, &none))) |_| {} else |_| done = false;
        }
        self.outcomes.getPtr(.limits).tell(done, "core, memlock, msgqueue, rtprio, nice", .{});
    }

    /// When a machine is loaded and none has run. Later machines of the process are behind the same wall.
    pub fn enter(self: *Jail, scope: *const Scope) error{NotWhole}!void {
        if (!self.entered) {
            self.entered = true;
            self.writes = scope.permissions.write.all or scope.permissions.write.paths.len > 0 or hasWritableVolume(scope);
            const files = self.outcomes.getPtr(.landlock);
            if (landlock.enter(scope, self.options.network)) |_| files.tell(true, "ABI {d}", .{landlock.version() catch 0}) else |_| files.tell(false, "{t}", .{host.last_errno});
            self.filter(!self.options.split);
        }
        if (self.options.strict and self.missing().len > 0) return error.NotWhole;
    }

    /// Closes what doubling the process needed.
    pub fn seal(self: *Jail) void {
        if (self.options.split and !self.sealed) self.filter(true);
    }

    fn filter(self: *Jail, last: bool) void {
        var list: calls.List = .{};
        list.fill(.{ .writes = self.writes, .network = self.options.network, .doubles = !last });
        const outcome = self.outcomes.getPtr(.seccomp);
        if (seccomp.install(list.rules(), true)) |_| outcome.tell(true, "{d} system calls", .{list.distinct()}) else |_| outcome.tell(false, "{t}", .{host.last_errno});
        self.sealed = last;
    }

    /// The first part that is not there; empty when all are.
    pub fn missing(self: *const Jail) []const u8 {
        for (std.enums.values(Part)) |part| if (!self.outcomes.get(part).done) return @tagName(part);
        return "";
    }

    /// As JSON: each part, whether it is there, and more about it.
    pub fn write(self: *const Jail, out: *std.Io.Writer) std.Io.Writer.Error!void {
        try out.writeByte('[');
        for (std.enums.values(Part), 0..) |part, index| {
            const outcome = self.outcomes.getPtrConst(part);
            if (index > 0) try out.writeByte(',');
            try std.json.Stringify.value(.{ .part = @tagName(part), .done = outcome.done, .detail = outcome.text() }, .{}, out);
        }
        try out.writeByte(']');
    }
};

fn hasWritableVolume(scope: *const Scope) bool {
    for (scope.mounts) |mount| if (mount.volume and mount.write) return true;
    return false;
}
