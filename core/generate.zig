//! The root of the program that writes src/ffi/table.ts.
pub const main = @import("abi/generate.zig").main;
