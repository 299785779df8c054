//! The first line of a script: `#!`, an interpreter, and at most one argument.
//! Source: execve(2), "Interpreter scripts"; Linux fs/binfmt_script.c behaviour.
const std = @import("std");

/// So much of a file Linux looks at (BINPRM_BUF_SIZE).
pub const line_max_bytes = 256;
/// Scripts that lead to a program, one by the other, as many as Linux allows.
pub const depth_max = 5;

pub const Script = struct {
    interpreter: []const u8,
    argument: ?[]const u8,

    /// The arguments that the interpreter gets: itself, its argument, the script by `path`, and what was given behind the
    /// script's own name, which is the first of `given`. All but `path` and what was given is copied.
    pub fn arguments(self: Script, arena: std.mem.Allocator, path: []const u8, given: []const []const u8) error{OutOfMemory}![]const []const u8 {
        var list: std.ArrayList([]const u8) = .empty;
        try list.append(arena, try arena.dupe(u8, self.interpreter));
        if (self.argument) |argument| try list.append(arena, try arena.dupe(u8, argument));
        try list.append(arena, path);
        if (given.len > 0) try list.appendSlice(arena, given[1..]);
        return list.items;
    }
};

pub const Error = error{ NotScript, NoInterpreter, TooLong };

/// Reads the first line of a file's beginning.
pub fn parse(head: []const u8) Error!Script {
    if (!std.mem.startsWith(u8, head, "#!")) return error.NotScript;
    const seen = head[0..@min(head.len, line_max_bytes)];
    const end = std.mem.indexOfScalar(u8, seen, '\n');
    const line = std.mem.trim(u8, seen[2 .. end orelse seen.len], " \t");
    const space = std.mem.indexOfAny(u8, line, " \t");
    // A line that was cut is taken only where the interpreter's path is known to be whole.
    if (end == null and seen.len == line_max_bytes and space == null) return error.TooLong;
    const path = line[0 .. space orelse line.len];
    if (path.len == 0 or std.mem.indexOfScalar(u8, path, 0) != null) return error.NoInterpreter;
    const rest = if (space) |at| std.mem.trim(u8, line[at..], " \t") else "";
    return .{ .interpreter = path, .argument = if (rest.len == 0) null else std.mem.sliceTo(rest, 0) };
}

test "lines as Linux reads them" {
    const whole = try parse("#!/bin/sh\necho\n");
    try std.testing.expectEqualStrings("/bin/sh", whole.interpreter);
    try std.testing.expectEqual(null, whole.argument);
    const spaced = try parse("#! \t/usr/bin/env \t-S a b \nrest");
    try std.testing.expectEqualStrings("/usr/bin/env", spaced.interpreter);
    try std.testing.expectEqualStrings("-S a b", spaced.argument.?);
    try std.testing.expectEqualStrings("/x", (try parse("#!/x")).interpreter);
    try std.testing.expectError(error.NotScript, parse("#"));
    try std.testing.expectError(error.NoInterpreter, parse("#!   \nfoo"));
    try std.testing.expectError(error.TooLong, parse("#!/" ++ "a" ** 300));
    try std.testing.expectEqualStrings("/a", (try parse("#!/a " ++ "b" ** 300)).interpreter);
}
