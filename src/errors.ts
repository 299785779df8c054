/** The one error class, and how the core's errors become it. */
import type { Step } from "./machine.ts";
import type { Address, Permissions } from "./types.ts";

/** What an error of each code tells besides its message. */
export interface ErrorDetails {
  KVM_UNAVAILABLE: {};
  NOT_FOUND: { path: string };
  NOT_EXECUTABLE: { path: string };
  BAD_OPTION: { option: string };
  BAD_ADDRESS: { address: Address; length: number };
  NO_SYMBOL: { name: string };
  GUEST_FAULT: { signal: NodeJS.Signals; address: Address; rip: Address; symbol?: string; report?: string };
  GUEST_EXIT: { exitCode: number };
  TIMEOUT: { kind: "wall" | "cpu"; milliseconds: number };
  OUT_OF_MEMORY: { limit: number };
  DENIED: { permission: keyof Permissions; resource: string };
  NEEDS_RESET: {};
  STALE_VIEW: {};
  CLOSED: {};
  BUSY: {};
  SNAPSHOT_INVALID: { section: string };
  SNAPSHOT_MISMATCH: { feature: string };
  REMOTE_FAULT: { remote: string };
  BAD_REPLY: {};
  BUNDLE_FAILED: {};
  UNSUPPORTED: { feature: string };
  ABI_MISMATCH: {};
  INTERNAL: {};
}

export type ErrorCode = keyof ErrorDetails;

/**
 * Every error of Pristine.
 *
 * @example
 * try { await Machine.boot("./prog") } catch (e) {
 *   if (PristineError.is(e, "NOT_FOUND")) console.error(e.details.path, e.hint); else throw e;
 * }
 */
export class PristineError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "PristineError";
  readonly code: C;
  /** What to change, naming the option or flag. */
  readonly hint: string;
  readonly details: ErrorDetails[C];

  constructor(code: C, message: string, hint: string, details: ErrorDetails[C], options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
    this.details = details;
  }

  /** Whether a value is a PristineError, of one code if given. */
  static is<C extends ErrorCode>(error: unknown, code: C): error is PristineError<C>;
  static is(error: unknown): error is PristineError;
  static is(error: unknown, code?: ErrorCode): boolean {
    return error instanceof PristineError && (code === undefined || error.code === code);
  }
}

/** An error about an option the caller gave. */
export function badOption(option: string, message: string, hint: string): PristineError<"BAD_OPTION"> {
  return new PristineError("BAD_OPTION", message, hint, { option });
}

export function closedError(): PristineError<"CLOSED"> {
  return new PristineError("CLOSED", "the machine is closed", "boot another machine", {});
}

/** How to say that a program has ended, and what to do about it. */
export interface Ending {
  readonly who: string;
  readonly when: string;
  readonly hint: string;
  readonly report?: string;
}

/** The error of a program that ended where it should have gone on. */
export function endedEarly(step: Step, { who, when, hint, report }: Ending): PristineError<"GUEST_EXIT"> | PristineError<"GUEST_FAULT"> {
  if (step.reason === "signal") {
    const details = { signal: step.signalCode, address: 0, rip: 0, ...(report === undefined ? {} : { report }) };
    return new PristineError("GUEST_FAULT", `${who} was ended by ${step.signalCode} ${when}`, hint, details);
  }
  const exitCode = step.reason === "exit" ? step.exitCode : 1;
  return new PristineError("GUEST_EXIT", `${who} exited with status ${exitCode} ${when}`, hint, { exitCode });
}

/** The error that the core describes as JSON. */
export function fromCore(json: string): PristineError {
  try {
    const record = JSON.parse(json) as { code: ErrorCode; message: string; hint: string; details: ErrorDetails[ErrorCode] };
    return new PristineError(record.code, String(record.message), String(record.hint), record.details ?? {});
  } catch (cause) {
    return new PristineError("INTERNAL", "the core's error could not be read", "report this", {}, { cause });
  }
}
