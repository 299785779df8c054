//! Why a call of a remote has ended its caller's run.
const limits = @import("../limits.zig");

pub const Failure = struct {
    pub const Kind = enum { not_connected, no_function, points_into_remote, again, dead, ended, fault, bad_pointer, bad_reply, too_many, host };
    kind: Kind,
    name: [limits.remote_name_max_bytes]u8 = undefined,
    name_length: u8 = 0,
    /// The signal that ended it, or the status that it exited with.
    code: u32 = 0,
    address: u64 = 0,

    pub fn of(kind: Kind, name: []const u8) Failure {
        var self: Failure = .{ .kind = kind, .name_length = @intCast(@min(name.len, limits.remote_name_max_bytes)) };
        @memcpy(self.name[0..self.name_length], name[0..self.name_length]);
        return self;
    }

    pub fn remote(self: *const Failure) []const u8 {
        return self.name[0..self.name_length];
    }
};
