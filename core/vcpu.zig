//! One entry into the guest and what came of it: raw KVM exits turned into the few things a machine can meet.
//!
//! Registers travel in kvm_run's sync area; nothing here makes an ioctl but KVM_RUN. What ring 0 and guest memory hold is
//! never trusted: an exit that the stubs could not have made is `broken` with a reason.
const std = @import("std");
const host = @import("host.zig");
const kvm = @import("kvm.zig");
const layout = @import("layout.zig");
const limits = @import("limits.zig");
const system_area = @import("system_area.zig");
const vm_module = @import("vm.zig");
const Vm = vm_module.Vm;

/// An exception that ring 3 raised, as the CPU pushed it.
pub const Exception = struct { vector: u8, error_code: u64, address: u64 };

pub const Exit = union(enum) {
    /// `syscall`; the registers are as the guest had them, but for rcx and r11.
    system_call,
    /// The function that was called has returned.
    call_return,
    exception: Exception,
    /// Ring 3 touched the exit page itself.
    exit_page: u64,
    interrupted,
    /// The host could not give the guest memory that it has mapped.
    memory_gone,
    /// The VM cannot go on; the reason.
    broken: []const u8,
};

/// RFLAGS bits ring 3 may have: CF PF AF ZF SF TF DF OF AC ID; IF and bit 1 are always set.
const user_flags: u64 = 0x24_0dd5;
const forced_flags: u64 = 0x202;
const general_protection = 13;
const page_fault_vector = 14;

pub const Vcpu = struct {
    vm: *Vm,
    route: system_area.SyscallRoute,
    /// The page that exceptions push to, in host memory.
    exception_stack: *[limits.page_size]u8,
    exits: u64 = 0,

    pub fn registers(self: *Vcpu) *kvm.Regs {
        return &self.vm.run.sync.s.regs;
    }

    pub fn segments(self: *Vcpu) *kvm.Sregs {
        return &self.vm.run.sync.s.sregs;
    }

    /// Makes the guest go on in ring 3 exactly with the registers in the sync area.
    pub fn resumeUser(self: *Vcpu) void {
        const regs = self.registers();
        regs.rflags = regs.rflags & user_flags | forced_flags;
        self.vm.run.dirty_regs |= kvm.SYNC_X86_REGS;
        const sregs = self.segments();
        if (sregs.ss.dpl == 3 and sregs.cs.dpl == 3) return;
        sregs.cs = vm_module.user_code;
        sregs.ss = vm_module.user_data;
        self.vm.run.dirty_regs |= kvm.SYNC_X86_SREGS;
    }

    /// Makes the guest go on behind its `syscall` instruction with `result`.
    pub fn resumeSystemCall(self: *Vcpu, result: i64) void {
        const regs = self.registers();
        regs.rax = @bitCast(result);
        switch (self.route) {
            .ring3_store => {
                regs.rip = regs.rcx;
                regs.rflags = regs.r11 & user_flags | forced_flags;
            },
            .ring0_out => {
                regs.rip = system_area.ring0_sysret;
                regs.r11 = regs.r11 & user_flags | forced_flags;
            },
        }
        self.vm.run.dirty_regs |= kvm.SYNC_X86_REGS;
    }

    /// Whether the guest stands in its own code, the vDSO's and the functions that lead to remotes included, not inside a stub or in
    /// ring 0.
    pub fn inOwnCode(self: *Vcpu) bool {
        const rip = self.registers().rip;
        const in_vdso = rip -% layout.vdso_base < layout.vdso_pages_max * limits.page_size;
        const in_imports = rip -% layout.imports_address < limits.page_size;
        return self.segments().cs.dpl == 3 and (rip < layout.system_base or in_vdso or in_imports);
    }

    /// Makes the guest trap right behind a stub if it stands in one. False if it does not, or if the program steps through
    /// its own code already.
    pub fn stepOutOfStub(self: *Vcpu) bool {
        const stub_bytes = 0x60;
        const trap_flag: u64 = 0x100;
        const regs = self.registers();
        const in_ring0_stub = self.route == .ring0_out and regs.rip -% layout.stub_ring0_syscall < stub_bytes;
        if (!in_ring0_stub and !self.inUserStub()) return false;
        // Ring 0 goes back with the flags in r11, ring 3 keeps those it has.
        const flags = if (in_ring0_stub) &regs.r11 else &regs.rflags;
        if (flags.* & trap_flag != 0) return false;
        flags.* |= trap_flag;
        self.vm.run.dirty_regs |= kvm.SYNC_X86_REGS;
        return true;
    }

    /// Whether ring 3 stands in the page of stubs that it may run.
    pub fn inUserStub(self: *Vcpu) bool {
        return self.registers().rip -% layout.Page.user_stubs.address() < limits.page_size;
    }

    pub fn setSegmentBases(self: *Vcpu, fs: u64, gs: u64) void {
        const sregs = self.segments();
        sregs.fs.base = fs;
        sregs.gs.base = gs;
        self.vm.run.dirty_regs |= kvm.SYNC_X86_SREGS;
    }

    pub fn enter(self: *Vcpu) Exit {
        const run = self.vm.run;
        run.valid_regs = kvm.SYNC_X86_REGS | kvm.SYNC_X86_SREGS;
        self.exits += 1;
        self.vm.enter() catch |failure| switch (failure) {
            error.Interrupted => return .interrupted,
            error.HostFailure => return if (host.last_errno == .FAULT) .memory_gone else .{ .broken = "KVM_RUN failed" },
        };
        run.dirty_regs = 0;
        return switch (run.exit_reason) {
            .mmio => self.exitPage(),
            .io => self.port(),
            .intr => .interrupted,
            .shutdown => .{ .broken = "the virtual CPU shut down (triple fault)" },
            .hlt => .{ .broken = "ring 0 halted" },
            .fail_entry => .{ .broken = "the CPU refused to enter the guest" },
            .internal_error => self.internalError(),
            else => .{ .broken = "an exit that no stub makes" },
        };
    }

    /// A store to memory that is not there. From the stubs it is a system call or the end of a call; from anywhere else
    /// it is the guest's own access to an address it has no business with.
    fn exitPage(self: *Vcpu) Exit {
        const exit = self.vm.run.exit.mmio;
        const regs = self.registers();
        if (exit.phys_addr & ~@as(u64, limits.page_size - 1) != layout.exit_physical) {
            return .{ .broken = "an access to guest-physical memory that is not there" };
        }
        if (exit.is_write != 0 and exit.len == 8 and self.route == .ring3_store) {
            if (regs.rip == system_area.ring3_syscall_rip) return .system_call;
            if (regs.rip == system_area.callReturnRip(.ring3_store)) return .call_return;
        }
        return .{ .exit_page = layout.Page.exit.address() + exit.phys_addr % limits.page_size };
    }

    fn port(self: *Vcpu) Exit {
        const regs = self.registers();
        const number = self.vm.run.exit.io.port;
        if (number == layout.port_syscall and self.route == .ring0_out) {
            if (regs.rcx == system_area.callReturnRip(.ring0_out)) return .call_return;
            return .system_call;
        }
        if (number >= layout.port_exception and number < layout.port_exception + layout.vectors) {
            return self.exception(@intCast(number - layout.port_exception));
        }
        return .{ .broken = "ring 0 used a port that no stub uses" };
    }

    /// Reads the frame that the CPU pushed and puts the interrupted registers back into the sync area.
    fn exception(self: *Vcpu, vector: u8) Exit {
        const Frame = extern struct { error_code: u64, rip: u64, cs: u64, rflags: u64, rsp: u64, ss: u64 };
        const bytes = self.exception_stack[limits.page_size - @sizeOf(Frame) ..];
        const frame: Frame = std.mem.bytesToValue(Frame, bytes[0..@sizeOf(Frame)]);
        if (frame.cs & 3 != 3) return .{ .broken = "an exception in ring 0" };
        const regs = self.registers();
        regs.rip = frame.rip;
        regs.rsp = frame.rsp;
        regs.rflags = frame.rflags;
        const has_code = switch (vector) {
            8, 10...14, 17, 21, 29, 30 => true,
            else => false,
        };
        return .{ .exception = .{
            .vector = vector,
            .error_code = if (has_code) frame.error_code else 0,
            .address = if (vector == page_fault_vector) self.segments().cr2 else 0,
        } };
    }

    /// KVM could not run an instruction. In ring 3 that is an access to the exit page by an instruction its emulator does
    /// not know, which is the guest's fault; in ring 0 the VM is broken.
    fn internalError(self: *Vcpu) Exit {
        if (self.segments().cs.dpl == 3) return .{ .exception = .{ .vector = general_protection, .error_code = 0, .address = 0 } };
        return .{ .broken = "KVM could not emulate an instruction of ring 0" };
    }
};
