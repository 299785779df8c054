//! What the benchmarks' floor may use of the core: KVM's structures.
pub const kvm = @import("kvm.zig");
