/** Pristine: run unmodified Linux executables inside tiny KVM virtual machines. */
export { type ErrorCode, type ErrorDetails, PristineError } from "./errors.ts";
export { Machine } from "./machine.ts";
export type { Memory } from "./memory.ts";
export { Fork, Snapshot } from "./snapshot.ts";
export type {
  Address,
  Args,
  ArgType,
  BootOptions,
  Counters,
  ExitStop,
  ForkOptions,
  GuestFunction,
  Lease,
  Permissions,
  ResetMode,
  ResetReport,
  Result,
  ReturnType,
  Signature,
  Size,
  Stop,
  Volume,
  WaitOptions,
} from "./types.ts";
