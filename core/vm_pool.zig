//! VMs whose machines are gone, kept for the next ones: making and ending a VM costs more than all else of a small machine.
//!
//! Only VMs that ran well are kept, without memory and with their processor as after power-on. Used on the JavaScript
//! thread only.
const std = @import("std");
const host = @import("host.zig");
const limits = @import("limits.zig");
const vm_module = @import("vm.zig");
const Vm = vm_module.Vm;

var spares: [limits.spare_vms_max]Vm = undefined;
var count: usize = 0;

/// A spare VM, or a new one.
pub fn take(device: *const vm_module.Device) host.Error!Vm {
    if (count == 0) return Vm.create(device);
    count -= 1;
    return spares[count];
}

/// Keeps the VM if it can serve again, else ends it.
pub fn give(vm: *Vm, ran_well: bool) void {
    if (ran_well and count < spares.len and vm.strip()) {
        spares[count] = vm.*;
        count += 1;
        vm.* = undefined;
    } else vm.destroy();
}

/// Ends all spares.
pub fn drain() void {
    while (count > 0) {
        count -= 1;
        spares[count].destroy();
    }
}
