//! Which machines have a VM, and VMs that are between machines.
//!
//! A machine takes a VM when it runs and keeps it until another machine needs one: each live VM makes every change of
//! mappings in the process slower, so there are few, however many machines there are. What a VM held for the machine
//! before is forgotten in between: its memory slots are deleted, with which KVM drops every translation, and its
//! processor is set to power-on state. Usable from any thread.
const std = @import("std");
const host = @import("host.zig");
const limits = @import("limits.zig");
const vm_module = @import("vm.zig");
const Machine = @import("machine.zig").Machine;
const Vm = vm_module.Vm;

pub var lock: host.Mutex = .{};
var spares: [limits.spare_vms_max]Vm = undefined;
var spare_count: usize = 0;
/// Machines with a VM, in no order.
var holders: std.ArrayList(*Machine) = .empty;
var clock: u64 = 0;

/// A spare VM, or a new one.
pub fn take(device: *const vm_module.Device) host.Error!Vm {
    lock.lock();
    defer lock.unlock();
    return takeLocked(device);
}

fn takeLocked(device: *const vm_module.Device) host.Error!Vm {
    if (spare_count == 0) return Vm.create(device);
    spare_count -= 1;
    return spares[spare_count];
}

/// Keeps the VM if it can serve again, else ends it.
pub fn give(vm: *Vm, ran_well: bool) void {
    lock.lock();
    defer lock.unlock();
    giveLocked(vm, ran_well);
}

fn giveLocked(vm: *Vm, ran_well: bool) void {
    if (ran_well and spare_count < spares.len and vm.strip()) {
        spares[spare_count] = vm.*;
        spare_count += 1;
        vm.* = undefined;
    } else vm.destroy();
}

/// Ends all spares.
pub fn drain() void {
    lock.lock();
    defer lock.unlock();
    while (spare_count > 0) {
        spare_count -= 1;
        spares[spare_count].destroy();
    }
}

/// In a double of the process, with the lock held: its VMs are the other's, and can be used no more.
pub fn startAnew() void {
    spare_count = 0;
    holders.clearRetainingCapacity();
}

/// Gives the machine a VM if it has none, and keeps it from losing it until `unpin`.
pub fn pin(machine: *Machine) host.Error!void {
    lock.lock();
    defer lock.unlock();
    clock += 1;
    machine.attachment.last_use = clock;
    if (!machine.attachment.attached) try attach(machine);
    machine.attachment.pins += 1;
}

/// Keeps the machine from losing the VM it has; false if it has none.
pub fn hold(machine: *Machine) bool {
    lock.lock();
    defer lock.unlock();
    if (!machine.attachment.attached) return false;
    machine.attachment.pins += 1;
    return true;
}

pub fn unpin(machine: *Machine) void {
    lock.lock();
    defer lock.unlock();
    machine.attachment.pins -= 1;
    // More machines ran at once than there should be VMs: this one's goes at once.
    if (machine.attachment.pins == 0 and holders.items.len > limits.vms_max) release(machine, true);
}

/// Takes the VM away from a machine that does not run; its state is kept unless the machine is at its end.
pub fn detach(machine: *Machine) void {
    lock.lock();
    defer lock.unlock();
    if (machine.attachment.attached) release(machine, !machine.broken);
}

/// The same for a machine that stays. Only its own thread gives it a VM.
pub fn runWithout(machine: *Machine) void {
    if (@atomicLoad(bool, &machine.attachment.attached, .acquire)) detach(machine);
}

fn attach(machine: *Machine) host.Error!void {
    holders.ensureUnusedCapacity(std.heap.c_allocator, 1) catch return error.HostFailure;
    if (spare_count == 0 and holders.items.len >= limits.vms_max) {
        if (leastRecentlyUsed()) |other| release(other, true);
    }
    machine.vm = try takeLocked(&machine.platform.device);
    errdefer giveLocked(&machine.vm, false);
    try machine.attached();
    holders.appendAssumeCapacity(machine);
    machine.attachment.attached = true;
}

fn leastRecentlyUsed() ?*Machine {
    var found: ?*Machine = null;
    for (holders.items) |machine| {
        if (machine.attachment.pins > 0) continue;
        if (found == null or machine.attachment.last_use < found.?.attachment.last_use) found = machine;
    }
    return found;
}

fn release(machine: *Machine, ran_well: bool) void {
    const kept = machine.detaching();
    @atomicStore(bool, &machine.attachment.attached, false, .release);
    for (holders.items, 0..) |holder, index| {
        if (holder != machine) continue;
        _ = holders.swapRemove(index);
        break;
    }
    giveLocked(&machine.vm, ran_well and kept);
}

/// A machine's part of this.
pub const Attachment = struct {
    attached: bool = false,
    /// Runs and changes under way that need the VM.
    pins: u32 = 0,
    last_use: u64 = 0,
};
