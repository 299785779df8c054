//! Priorities, policies, the one processor, and the personality: remembered and told, of no effect on how a guest runs.
const std = @import("std");
const kernel_module = @import("kernel.zig");
const Args = kernel_module.Args;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

/// What a guest has asked for.
pub const Scheduling = struct {
    nice: i8 = 0,
    policy: Policy = .other,
    persona: u32 = 0,
};

pub const Policy = enum(u8) { other = 0, fifo = 1, round_robin = 2, batch = 3, idle = 5 };

const nice_min = -20;
const nice_max = 19;
const Which = enum(u32) { process = 0, group = 1, user = 2, _ };

fn intOf(value: u64) i32 {
    return @bitCast(@as(u32, @truncate(value)));
}

/// Whether the guest itself is meant, or one of its threads.
fn isSelf(k: *const Kernel, value: u64) bool {
    const pid = intOf(value);
    return pid == 0 or k.threads.find(pid) != null;
}

/// 0 if the guest itself is meant, else a negative errno.
fn findTarget(k: *const Kernel, which: u64, who: u64) i64 {
    return switch (@as(Which, @enumFromInt(@as(u32, @truncate(which))))) {
        .process, .group => if (isSelf(k, who)) 0 else fail(.SRCH),
        .user => if (intOf(who) == 0 or @as(u32, @truncate(who)) == k.identity.uid) 0 else fail(.SRCH),
        _ => fail(.INVAL),
    };
}

/// The system call answers 20 for the priority 0, so that no answer is negative.
pub fn getpriority(k: *Kernel, a: Args) i64 {
    const found = findTarget(k, a[0], a[1]);
    return if (found < 0) found else nice_max + 1 - @as(i64, k.scheduling.nice);
}

/// Who is nobody special may only become nicer.
pub fn setpriority(k: *Kernel, a: Args) i64 {
    const found = findTarget(k, a[0], a[1]);
    if (found < 0) return found;
    const wanted: i8 = @intCast(std.math.clamp(intOf(a[2]), nice_min, nice_max));
    if (wanted < k.scheduling.nice) return fail(.ACCES);
    k.scheduling.nice = wanted;
    return 0;
}

fn isRealTime(policy: Policy) bool {
    return policy == .fifo or policy == .round_robin;
}

/// The policy of an argument; `SCHED_RESET_ON_FORK` may be set beside it.
fn policyOf(value: u64) ?Policy {
    const reset_on_fork = 0x4000_0000;
    return std.enums.fromInt(Policy, @as(u32, @truncate(value)) & ~@as(u32, reset_on_fork));
}

pub fn schedSetscheduler(k: *Kernel, a: Args) i64 {
    if (intOf(a[0]) < 0) return fail(.INVAL);
    const policy = policyOf(a[1]) orelse return fail(.INVAL);
    const priority = k.memory.readValue(i32, a[2]) catch return fail(.FAULT);
    if (!isSelf(k, a[0])) return fail(.SRCH);
    if ((priority != 0) != isRealTime(policy)) return fail(.INVAL);
    if (isRealTime(policy)) return fail(.PERM);
    k.scheduling.policy = policy;
    return 0;
}

pub fn schedGetscheduler(k: *Kernel, a: Args) i64 {
    if (intOf(a[0]) < 0) return fail(.INVAL);
    return if (isSelf(k, a[0])) @intFromEnum(k.scheduling.policy) else fail(.SRCH);
}

pub fn schedSetparam(k: *Kernel, a: Args) i64 {
    return schedSetscheduler(k, .{ a[0], @intFromEnum(k.scheduling.policy), a[1], 0, 0, 0 });
}

pub fn schedGetparam(k: *Kernel, a: Args) i64 {
    if (intOf(a[0]) < 0) return fail(.INVAL);
    if (!isSelf(k, a[0])) return fail(.SRCH);
    k.memory.writeValue(a[1], @as(i32, 0)) catch return fail(.FAULT);
    return 0;
}

pub fn schedGetPriorityMax(_: *Kernel, a: Args) i64 {
    const policy = policyOf(a[0]) orelse return fail(.INVAL);
    return if (isRealTime(policy)) 99 else 0;
}

pub fn schedGetPriorityMin(_: *Kernel, a: Args) i64 {
    const policy = policyOf(a[0]) orelse return fail(.INVAL);
    return @intFromBool(isRealTime(policy));
}

/// A set of processors is right if it has the one there is.
pub fn schedSetaffinity(k: *Kernel, a: Args) i64 {
    if (!isSelf(k, a[0])) return fail(.SRCH);
    if (a[1] == 0) return fail(.INVAL);
    const first = k.memory.readValue(u8, a[2]) catch return fail(.FAULT);
    return if (first & 1 != 0) 0 else fail(.INVAL);
}

/// Addresses are the same at each run anyway, so that may be asked for; anything else would change what programs see.
pub fn personality(k: *Kernel, a: Args) i64 {
    const query = 0xffff_ffff;
    const no_randomize = 0x004_0000;
    const old = k.scheduling.persona;
    const wanted: u32 = @truncate(a[0]);
    if (wanted == query) return old;
    if (wanted & ~@as(u32, no_randomize) != 0) return fail(.INVAL);
    k.scheduling.persona = wanted;
    return old;
}
