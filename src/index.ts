/** Pristine: run unmodified Linux executables inside tiny KVM virtual machines. */
export { type ErrorCode, type ErrorDetails, PristineError } from "./errors.ts";
export { Machine } from "./machine.ts";
export type { Memory } from "./memory.ts";
export type {
  Address,
  Args,
  ArgType,
  BootOptions,
  Counters,
  ExitStop,
  GuestFunction,
  Lease,
  Permissions,
  Result,
  ReturnType,
  Signature,
  Size,
  Stop,
  Volume,
  WaitOptions,
} from "./types.ts";
