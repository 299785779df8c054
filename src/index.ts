/** Pristine: run unmodified Linux executables inside tiny KVM virtual machines. */
export { type ErrorCode, type ErrorDetails, PristineError } from "./errors.ts";
export { isolate, type ServerOptions } from "./isolate.ts";
export { Machine } from "./machine.ts";
export type { Memory } from "./memory.ts";
export { Metrics } from "./metrics.ts";
export { metricsHandler } from "./metrics-page.ts";
export { Pool } from "./pool.ts";
export { Remote } from "./remote.ts";
export { Fork, Snapshot } from "./snapshot.ts";
export type {
  Address,
  Args,
  ArgType,
  BootOptions,
  ConnectOptions,
  Counters,
  ExitStop,
  ForkOptions,
  GuestFunction,
  HandlerOptions,
  JailOption,
  JailPart,
  Lease,
  OpenOptions,
  Permissions,
  PoolOptions,
  RemoteOption,
  Remotes,
  RequestReport,
  ResetMode,
  ResetReport,
  Result,
  ReturnType,
  RuntimeOption,
  SaveOptions,
  Signature,
  Size,
  Stop,
  Volume,
  WaitOptions,
} from "./types.ts";
