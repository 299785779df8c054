//! Errors as users see them: a code, a message, a hint that names the mend, and details by code, kept as JSON.
const std = @import("std");

/// The codes of the public contract, in the order of their numbers across the C boundary.
pub const Code = enum(u8) {
    KVM_UNAVAILABLE,
    NOT_FOUND,
    NOT_EXECUTABLE,
    BAD_OPTION,
    BAD_ADDRESS,
    NO_SYMBOL,
    GUEST_FAULT,
    GUEST_EXIT,
    TIMEOUT,
    OUT_OF_MEMORY,
    DENIED,
    NEEDS_RESET,
    STALE_VIEW,
    CLOSED,
    BUSY,
    SNAPSHOT_INVALID,
    SNAPSHOT_MISMATCH,
    REMOTE_FAULT,
    BAD_REPLY,
    BUNDLE_FAILED,
    UNSUPPORTED,
    ABI_MISMATCH,
    INTERNAL,
    /// Never shown: the run was aborted or closed, and the caller knows why.
    ABORTED,

    pub fn status(self: Code) i32 {
        return -(@as(i32, @intFromEnum(self)) + 1);
    }
};

const text_max = 8192;

/// One error, ready to cross the boundary. Messages that do not fit are cut, never lost.
pub const Record = struct {
    code: Code = .INTERNAL,
    json: [text_max]u8 = undefined,
    length: usize = 0,

    pub fn text(self: *const Record) []const u8 {
        return self.json[0..self.length];
    }

    /// Sets the record; `details` is any struct. Returns the code, so that a caller can `return record.set(...)`.
    pub fn set(self: *Record, code: Code, message: []const u8, hint: []const u8, details: anytype) Code {
        self.code = code;
        const cut = message[0..@min(message.len, text_max / 4)];
        var writer: std.Io.Writer = .fixed(&self.json);
        const value = .{ .code = @tagName(code), .message = utf8Prefix(cut), .hint = utf8Prefix(hint[0..@min(hint.len, text_max / 8)]), .details = details };
        std.json.Stringify.value(value, .{}, &writer) catch {
            writer = .fixed(&self.json);
            std.json.Stringify.value(.{ .code = @tagName(code), .message = "the error's text is too long", .hint = "", .details = .{} }, .{}, &writer) catch unreachable;
        };
        self.length = writer.end;
        return code;
    }

    /// Takes over the text of another process's record, with its status.
    pub fn adopt(self: *Record, json: []const u8, status: i32) void {
        self.code = std.enums.fromInt(Code, -(@as(i64, status) + 1)) orelse .INTERNAL;
        self.length = @min(json.len, text_max);
        @memcpy(self.json[0..self.length], json[0..self.length]);
    }

    pub fn format(self: *Record, code: Code, comptime message: []const u8, arguments: anytype, hint: []const u8, details: anytype) Code {
        var buffer: [text_max / 4]u8 = undefined;
        const formatted = std.fmt.bufPrint(&buffer, message, arguments) catch &buffer;
        return self.set(code, formatted, hint, details);
    }
};

/// JSON must be UTF-8, host paths need not be: what does not decode is cut off.
fn utf8Prefix(bytes: []const u8) []const u8 {
    var end = bytes.len;
    while (end > 0 and !std.unicode.utf8ValidateSlice(bytes[0..end])) end -= 1;
    return bytes[0..end];
}

test "a record is JSON even when its text is not" {
    var record: Record = .{};
    _ = record.set(.NOT_FOUND, "no such file: \xff\xfe", "check the path", .{ .path = "x" });
    const parsed = try std.json.parseFromSlice(std.json.Value, std.testing.allocator, record.text(), .{});
    defer parsed.deinit();
    try std.testing.expectEqualStrings("NOT_FOUND", parsed.value.object.get("code").?.string);
}
