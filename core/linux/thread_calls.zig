//! The system calls of threads: making and ending them, their ids, what their end tells.
//! Source: clone(2), set_tid_address(2), get_robust_list(2), pthreads(7).
const futex = @import("futex.zig");
const kernel_module = @import("kernel.zig");
const limits = @import("../limits.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

const CLONE = struct {
    const VM = 0x100;
    const FS = 0x200;
    const FILES = 0x400;
    const SIGHAND = 0x800;
    const PTRACE = 0x2000;
    const VFORK = 0x4000;
    const PARENT = 0x8000;
    const THREAD = 0x1_0000;
    const NEWNS = 0x2_0000;
    const SYSVSEM = 0x4_0000;
    const SETTLS = 0x8_0000;
    const PARENT_SETTID = 0x10_0000;
    const CHILD_CLEARTID = 0x20_0000;
    const DETACHED = 0x40_0000;
    const UNTRACED = 0x80_0000;
    const CHILD_SETTID = 0x100_0000;
    const IO = 0x8000_0000;

    /// What two threads of one process share, all of it.
    const shared = VM | FS | FILES | SIGHAND | THREAD;
    const known = shared | PTRACE | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID | DETACHED | UNTRACED | CHILD_SETTID | IO;
};

/// What clone and clone3 ask for.
const Request = struct {
    flags: u64,
    /// Where the stack pointer of the new thread is; 0 is where its parent's is.
    stack: u64,
    tls: u64,
    parent_tid: u64,
    child_tid: u64,
};

pub fn clone(k: *Kernel, a: Args) i64 {
    const signal_mask = 0xff;
    return make(k, .{ .flags = (a[0] & 0xffff_ffff) & ~@as(u64, signal_mask), .stack = a[1], .parent_tid = a[2], .child_tid = a[3], .tls = a[4] });
}

/// struct clone_args of the first version; what follows it must be zero.
const CloneArgs = extern struct { flags: u64, pidfd: u64, child_tid: u64, parent_tid: u64, exit_signal: u64, stack: u64, stack_size: u64, tls: u64 };

pub fn clone3(k: *Kernel, a: Args) i64 {
    if (a[1] < @sizeOf(CloneArgs)) return fail(.INVAL);
    if (a[1] > limits.page_size) return fail(.@"2BIG");
    const args = k.memory.readValue(CloneArgs, a[0]) catch return fail(.FAULT);
    var at: u64 = @sizeOf(CloneArgs);
    while (at < a[1]) : (at += 1) {
        if ((k.memory.readValue(u8, a[0] +% at) catch return fail(.FAULT)) != 0) return fail(.@"2BIG");
    }
    if ((args.stack == 0) != (args.stack_size == 0)) return fail(.INVAL);
    if (args.flags & CLONE.THREAD != 0 and args.exit_signal != 0) return fail(.INVAL);
    return make(k, .{ .flags = args.flags, .stack = args.stack +% args.stack_size, .parent_tid = args.parent_tid, .child_tid = args.child_tid, .tls = args.tls });
}

/// Makes a thread. What would be another process is ENOSYS, which libraries know from old kernels.
fn make(k: *Kernel, request: Request) i64 {
    if (request.flags & CLONE.THREAD != 0 and request.flags & CLONE.SIGHAND == 0) return fail(.INVAL);
    if (request.flags & CLONE.SIGHAND != 0 and request.flags & CLONE.VM == 0) return fail(.INVAL);
    if (request.flags & CLONE.shared != CLONE.shared or request.flags & ~@as(u64, CLONE.known) != 0) {
        k.counters.unsupported[@intCast(k.threads.current.call.number)] +%= 1;
        return fail(.NOSYS);
    }
    k.prepareTimers() catch return fail(.AGAIN);
    const parent = k.threads.current;
    const thread = k.threads.make(parent) catch |failure| return switch (failure) {
        error.TooMany => fail(.AGAIN),
        error.OutOfMemory => fail(.NOMEM),
    };
    if (request.flags & CLONE.PARENT_SETTID != 0) k.memory.writeValue(request.parent_tid, thread.id) catch {};
    if (request.flags & CLONE.CHILD_SETTID != 0) k.memory.writeValue(request.child_tid, thread.id) catch {};
    if (request.flags & CLONE.CHILD_CLEARTID != 0) thread.clear_child_tid = request.child_tid;
    thread.segments = k.current_segments;
    if (request.flags & CLONE.SETTLS != 0) thread.segments.fs = request.tls;
    k.made = .{ .thread = thread, .stack = request.stack };
    return thread.id;
}

// The run loop gives the new thread its registers (`run.zig`).

/// The run loop ends the thread, and the process with its last one. A function that the embedder calls runs in the first
/// thread's name: when it exits, so does the process.
pub fn exit(k: *Kernel, a: Args) i64 {
    const thread = k.threads.current;
    const code: u8 = @truncate(a[0]);
    if (thread == k.threads.caller) {
        k.stop = .{ .exit = code };
        return 0;
    }
    k.exit_code = code;
    k.ends_thread = true;
    return 0;
}

/// Ends the current thread while others live: tells who waits for it.
pub fn endCurrent(k: *Kernel) void {
    const thread = k.threads.current;
    futex.releaseRobustList(k, thread);
    if (thread.clear_child_tid != 0) {
        k.memory.writeValue(thread.clear_child_tid, @as(i32, 0)) catch {};
        _ = futex.wakeAt(k, .{ .address = thread.clear_child_tid }, 1);
    }
    k.threads.account(k.cpuCyclesNow());
    k.threads.end(thread);
    k.gives_way = true;
}

pub fn gettid(k: *Kernel, _: Args) i64 {
    return k.threads.current.id;
}

pub fn setTidAddress(k: *Kernel, a: Args) i64 {
    k.threads.current.clear_child_tid = a[0];
    return k.threads.current.id;
}

/// struct robust_list_head: next, offset of the futex, the one under way.
pub const robust_head_bytes = 24;

pub fn setRobustList(k: *Kernel, a: Args) i64 {
    if (a[1] != robust_head_bytes) return fail(.INVAL);
    k.threads.current.robust_list = a[0];
    return 0;
}

pub fn getRobustList(k: *Kernel, a: Args) i64 {
    const id: i32 = @bitCast(@as(u32, @truncate(a[0])));
    const thread = if (id == 0) k.threads.current else k.threads.find(id) orelse return fail(.SRCH);
    k.memory.writeValue(a[2], @as(u64, robust_head_bytes)) catch return fail(.FAULT);
    k.memory.writeValue(a[1], thread.robust_list) catch return fail(.FAULT);
    return 0;
}

/// Lets others run first, if any can.
pub fn schedYield(k: *Kernel, _: Args) i64 {
    if (!k.threads.anyOther()) return 0;
    k.threads.yield();
    k.gives_way = true;
    return 0;
}
