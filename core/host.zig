//! The few host services that the core needs, as raw system calls: file descriptors, mappings, locks, clocks.
//! A library inside another runtime has no business with that runtime's I/O layer, so nothing here uses it.
const std = @import("std");
const linux = std.os.linux;

pub const Error = error{HostFailure};

/// The errno of the last failed call on this thread, for error messages.
pub threadlocal var last_errno: linux.E = .SUCCESS;

/// Unwraps a raw system-call result; the errno is left in `last_errno`.
pub fn check(rc: usize) Error!usize {
    const signed: isize = @bitCast(rc);
    if (signed < 0 and signed > -4096) {
        last_errno = @enumFromInt(-signed);
        return error.HostFailure;
    }
    return rc;
}

pub fn ioctl(fd: i32, request: u32, argument: usize) Error!usize {
    return check(linux.ioctl(fd, request, argument));
}

pub fn ioctlPtr(fd: i32, request: u32, argument: anytype) Error!usize {
    return ioctl(fd, request, @intFromPtr(argument));
}

pub fn close(fd: i32) void {
    if (fd >= 0) _ = linux.close(fd);
}

/// Copies out of memory that may be gone, such as a mapping of a file that was cut short: the host's kernel does it, so
/// that what is missing is an answer and not a signal. False if it could not be read to the end.
pub fn copyOut(to: []u8, from: []const u8) bool {
    return moveBytes(.process_vm_readv, to.ptr, from.ptr, to.len);
}

/// Copies into memory that may be gone.
pub fn copyIn(to: []u8, from: []const u8) bool {
    return moveBytes(.process_vm_writev, from.ptr, to.ptr, from.len);
}

fn moveBytes(call: linux.SYS, local: [*]const u8, remote: [*]const u8, length: usize) bool {
    const here = [_]std.posix.iovec_const{.{ .base = local, .len = length }};
    const there = [_]std.posix.iovec_const{.{ .base = remote, .len = length }};
    const pid: usize = @intCast(linux.getpid());
    return linux.syscall6(call, pid, @intFromPtr(&here), 1, @intFromPtr(&there), 1, 0) == length;
}

/// Writes beyond the process's limit on file sizes fail instead of ending the process: a guest must not be able to do that.
/// An embedder's own handler stays.
pub fn ignoreFileSizeSignal() void {
    const SIGXFSZ = 25;
    const Action = extern struct { handler: usize, flags: u64 = 0, restorer: usize = 0, mask: u64 = 0 };
    var action: Action = .{ .handler = 0 };
    if (linux.syscall4(.rt_sigaction, SIGXFSZ, 0, @intFromPtr(&action), 8) != 0 or action.handler != 0) return;
    action = .{ .handler = 1 };
    _ = linux.syscall4(.rt_sigaction, SIGXFSZ, @intFromPtr(&action), 0, 8);
}

threadlocal var cached_thread_id: i32 = 0;

/// Of the calling thread, without a system call each time. A double of the process has another: nobody asks there before.
pub fn threadId() i32 {
    if (cached_thread_id == 0) cached_thread_id = linux.gettid();
    return cached_thread_id;
}

/// By the C library, which reads most clocks without a system call.
pub fn nowNs(clock: linux.clockid_t) u64 {
    var ts: linux.timespec = undefined;
    _ = std.c.clock_gettime(clock, &ts);
    return @as(u64, @intCast(ts.sec)) * std.time.ns_per_s + @as(u64, @intCast(ts.nsec));
}

pub fn monotonicNs() u64 {
    return nowNs(.MONOTONIC);
}

/// A lock for short critical sections between native threads (three states, as in Drepper's "Futexes are tricky").
pub const Mutex = struct {
    state: std.atomic.Value(u32) = .init(0),

    pub fn lock(self: *Mutex) void {
        if (self.state.cmpxchgStrong(0, 1, .acquire, .monotonic) == null) return;
        while (self.state.swap(2, .acquire) != 0) futexWait(&self.state, 2, null);
    }

    pub fn unlock(self: *Mutex) void {
        if (self.state.swap(0, .release) == 2) futexWake(&self.state, 1);
    }
};

pub fn futexWait(word: *std.atomic.Value(u32), expected: u32, timeout_ns: ?u64) void {
    var ts: linux.timespec = undefined;
    const timeout: ?*const linux.timespec = if (timeout_ns) |ns| blk: {
        ts = .{ .sec = @intCast(ns / std.time.ns_per_s), .nsec = @intCast(ns % std.time.ns_per_s) };
        break :blk &ts;
    } else null;
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = true }, expected, timeout);
}

pub fn futexWake(word: *std.atomic.Value(u32), count: u32) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, count);
}

pub fn rdtsc() u64 {
    var low: u32 = undefined;
    var high: u32 = undefined;
    asm volatile ("rdtsc"
        : [low] "={eax}" (low),
          [high] "={edx}" (high),
    );
    return @as(u64, high) << 32 | low;
}

pub const CpuidResult = struct { eax: u32, ebx: u32, ecx: u32, edx: u32 };

pub fn cpuid(leaf: u32, subleaf: u32) CpuidResult {
    var eax: u32 = undefined;
    var ebx: u32 = undefined;
    var ecx: u32 = undefined;
    var edx: u32 = undefined;
    asm volatile ("cpuid"
        : [eax] "={eax}" (eax),
          [ebx] "={ebx}" (ebx),
          [ecx] "={ecx}" (ecx),
          [edx] "={edx}" (edx),
        : [leaf] "{eax}" (leaf),
          [subleaf] "{ecx}" (subleaf),
    );
    return .{ .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx };
}
