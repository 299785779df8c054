//! The system calls of epoll.
//! Source: epoll_create(2), epoll_ctl(2), epoll_wait(2); the order of refusals is the kernel's.
const std = @import("std");
const linux = std.os.linux;
const epoll = @import("epoll.zig");
const kernel_module = @import("../kernel.zig");
const limits = @import("../../limits.zig");
const objects = @import("objects.zig");
const readiness = @import("readiness.zig");
const table = @import("../files/table.zig");
const transfer = @import("../files/transfer.zig");
const waits = @import("waits.zig");
const Args = kernel_module.Args;
const Description = table.Description;
const Epoll = epoll.Epoll;
const Inquiry = @import("inquiry.zig").Inquiry;
const Kernel = kernel_module.Kernel;
const fail = kernel_module.fail;

/// struct epoll_event, packed on x86-64.
const Event = extern struct { events: u32 align(1), data: u64 align(1) };
comptime {
    std.debug.assert(@sizeOf(Event) == 12);
}

const CTL_ADD = 1;
const CTL_DEL = 2;
const CTL_MOD = 3;

pub fn epollCreate(k: *Kernel, a: Args) i64 {
    const size: i32 = @bitCast(@as(u32, @truncate(a[0])));
    return if (size <= 0) fail(.INVAL) else create(k, 0);
}

pub fn epollCreate1(k: *Kernel, a: Args) i64 {
    const flags: u32 = @truncate(a[0]);
    return if (flags & ~@as(u32, objects.O_CLOEXEC) != 0) fail(.INVAL) else create(k, flags);
}

fn create(k: *Kernel, flags: u32) i64 {
    const set = Epoll.create(&k.files) catch return fail(.NOMEM);
    return objects.open(k, .{ .epoll = set }, flags);
}

pub fn epollCtl(k: *Kernel, a: Args) i64 {
    const operation: u32 = @truncate(a[1]);
    var event = std.mem.zeroes(Event);
    if (operation != CTL_DEL) event = k.memory.readValue(Event, a[3]) catch return fail(.FAULT);
    const own = k.files.opened(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    const fd = transfer.descriptorOf(a[2]);
    const target = k.files.opened(fd) orelse return fail(.BADF);
    if (!mayBeWatched(k, target)) return fail(.PERM);
    if (own == target or own.kind != .epoll) return fail(.INVAL);
    if (operation != CTL_DEL and event.events & epoll.EPOLLEXCLUSIVE != 0 and !isExclusiveAllowed(operation, target, event.events)) return fail(.INVAL);
    const set = own.kind.epoll;
    const found = set.find(fd, target);
    switch (operation) {
        CTL_ADD => return if (found == null) add(k, set, .{ .fd = fd, .description = target, .events = event.events, .data = event.data }) else fail(.EXIST),
        CTL_DEL => {
            set.remove(&k.files, found orelse return fail(.NOENT));
            return 0;
        },
        CTL_MOD => {
            const watch = found orelse return fail(.NOENT);
            if (watch.events & epoll.EPOLLEXCLUSIVE != 0) return fail(.INVAL);
            watch.rearm(event.events, event.data);
            set.changes +%= 1;
            k.changed();
            return 0;
        },
        else => return fail(.INVAL),
    }
}

fn add(k: *Kernel, set: *Epoll, watch: epoll.Watch) i64 {
    const files = &k.files;
    if (files.watches >= limits.epoll_watches_max) return fail(.NOSPC);
    set.add(files, watch) catch return fail(.NOMEM);
    if (watch.description.kind == .epoll and epoll.isTooDeep(files)) {
        set.remove(files, &set.watches.items[set.watches.items.len - 1]);
        return fail(.LOOP);
    }
    k.changed();
    return 0;
}

/// EPOLLEXCLUSIVE goes with few flags, is given once, and not to sets. One thread at a time looks at a set in any case.
fn isExclusiveAllowed(operation: u32, target: *const Description, events: u32) bool {
    const allowed = readiness.IN | readiness.OUT | readiness.ERR | readiness.HUP | epoll.EPOLLWAKEUP | epoll.EPOLLET | epoll.EPOLLEXCLUSIVE;
    return operation == CTL_ADD and target.kind != .epoll and events & ~allowed == 0;
}

/// Files and folders are always ready, so that there is nothing to wait for.
fn mayBeWatched(k: *Kernel, description: *const Description) bool {
    return switch (description.kind) {
        .host_stream => |stream| isStream(k, stream.fd),
        .host_file, .host_directory, .device, .text, .synthetic_directory, .private_file, .private_directory => false,
        else => true,
    };
}

fn isStream(k: *Kernel, fd: i32) bool {
    const memory_devices = 1;
    var facts: linux.Statx = undefined;
    k.hostCall();
    const rc: isize = @bitCast(linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true }, &facts));
    if (rc < 0) return false;
    return switch (facts.mode & linux.S.IFMT) {
        linux.S.IFREG, linux.S.IFDIR, linux.S.IFBLK => false,
        linux.S.IFCHR => facts.rdev_major != memory_devices,
        else => true,
    };
}

pub fn epollWait(k: *Kernel, a: Args) i64 {
    waits.setTime(k, waits.ofMilliseconds(a[3]));
    return wait(k, a);
}

pub fn epollPwait(k: *Kernel, a: Args) i64 {
    const refused = waits.useMask(k, a[4], a[5]);
    if (refused != 0) return refused;
    waits.setTime(k, waits.ofMilliseconds(a[3]));
    return waits.endMask(k, wait(k, a));
}

pub fn epollPwait2(k: *Kernel, a: Args) i64 {
    const timeout = switch (waits.ofTimespec(k, a[3])) {
        .ns => |ns| ns,
        .refused => |errno| return errno,
    };
    const refused = waits.useMask(k, a[4], a[5]);
    if (refused != 0) return refused;
    waits.setTime(k, timeout);
    return waits.endMask(k, wait(k, a));
}

fn wait(k: *Kernel, a: Args) i64 {
    const events_max: i32 = @bitCast(@as(u32, @truncate(a[2])));
    if (events_max <= 0 or events_max > std.math.maxInt(i32) / @sizeOf(Event)) return fail(.INVAL);
    const description = k.files.opened(transfer.descriptorOf(a[0])) orelse return fail(.BADF);
    if (description.kind != .epoll) return fail(.INVAL);
    const set = description.kind.epoll;
    var inquiry: Inquiry = undefined;
    inquiry.begin(k);
    inquiry.wantWatched(set);
    // Whatever else is ready, the host's own must have their turn.
    if (inquiry.count > 0) inquiry.ask(if (inquiry.eventsOf(description) != 0 or k.isTimeOver()) .now else .patient);
    const told = tell(k, set, &inquiry, a[1], @intCast(events_max));
    return if (told != 0 or k.isTimeOver()) told else k.block();
}

/// Writes the events of ready watches; answers how many, or EFAULT if not one could be written.
fn tell(k: *Kernel, set: *Epoll, inquiry: *Inquiry, address: u64, most: usize) i64 {
    const watches = set.watches.items;
    var count: usize = 0;
    var next = set.next;
    for (0..watches.len) |step| {
        if (count == most) break;
        const index = (set.next + step) % watches.len;
        const watch = &watches[index];
        const events = inquiry.report(watch);
        if (events == 0) continue;
        const event: Event = .{ .events = events, .data = watch.data };
        k.memory.writeValue(address +% count * @sizeOf(Event), event) catch if (count == 0) return fail(.FAULT) else break;
        watch.tell(events, inquiry.changes(watch.description));
        count += 1;
        next = (index + 1) % watches.len;
    }
    set.next = next;
    return @intCast(count);
}
