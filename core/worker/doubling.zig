//! A worker process doubled: its images are in both, and share their memory.
//!
//! Only the thread that asks is in the double, and what belonged to the others or to the old process begins anew: threads, VMs
//! (KVM binds them to a process's memory), timers, the page map.
const std = @import("std");
const linux = std.os.linux;
const channel = @import("channel.zig");
const errors = @import("../errors.zig");
const host = @import("../host.zig");
const interrupt = @import("../interrupt.zig");
const limits = @import("../limits.zig");
const registry = @import("../abi/registry.zig");
const runner = @import("../runner.zig");
const self_module = @import("self.zig");
const serve = @import("serve.zig");
const touched = @import("../memory/touched.zig");
const vm_pool = @import("../vm_pool.zig");
const abi_version = @import("../abi/version.zig").abi_version;

/// The C library's, which puts its own locks in order.
extern "c" fn fork() i32;

/// In a worker: the process id of its double, which serves on the channel whose ends have come.
pub fn split() i32 {
    const me = if (self_module.self) |*some| some else return unsupported();
    var descriptors: [limits.worker_descriptors_max]i32 = undefined;
    const received = channel.receiveDescriptors(me.socket, &descriptors) catch return failed();
    defer for (received) |fd| host.close(fd);
    if (received.len != 2) return failed();
    runner.hold();
    vm_pool.lock.lock();
    self_module.hold();
    const pid = fork();
    if (pid == 0) {
        runner.startAnew();
        vm_pool.startAnew();
    }
    self_module.letGo();
    vm_pool.lock.unlock();
    runner.letGo();
    if (pid < 0) return failed();
    if (pid > 0) return pid;
    become(me, received[0], received[1]);
    serve.run();
}

fn become(me: *self_module.Self, socket: i32, memory: i32) void {
    interrupt.startAnew();
    const shared = channel.map(memory) catch linux.exit_group(1);
    host.close(memory);
    host.close(me.socket);
    channel.unmap(me.shared);
    me.socket = socket;
    me.shared = shared;
    shared.abi_version = abi_version;
    var descriptors: [limits.worker_descriptors_max]i32 = undefined;
    const received = channel.receiveDescriptors(socket, &descriptors) catch linux.exit_group(1);
    if (received.len != 1) linux.exit_group(1);
    touched.usePageMap(received[0]);
}

/// Closes what doubling needed, and tells what the wall is made of.
pub fn seal() i32 {
    const me = if (self_module.self) |*some| some else return unsupported();
    const jail = if (me.jail) |*some| some else return 0;
    jail.seal();
    const out = registry.newResult();
    jail.write(out) catch return failed();
    return @intCast(registry.resultText().len);
}

fn unsupported() i32 {
    return registry.last_error.set(.UNSUPPORTED, "this is no worker process", "boot the machine in one", .{ .feature = "worker" }).status();
}

fn failed() i32 {
    return registry.last_error.format(.INTERNAL, "the worker process cannot be doubled ({t})", .{host.last_errno}, "close pools that are done, or raise the limit on processes (ulimit -u)", .{}).status();
}
