/** Snapshots in files: the core's jobs that save and open them, and what is noted beside a machine of how it waits. */
import { PristineError } from "./errors.ts";
import { completion } from "./events.ts";
import { check, core, encode, lastError, resultText } from "./ffi/library.ts";
import { errorCodes, type SavedFiles } from "./ffi/table.ts";
import { channelPort } from "./handler/kinds.ts";
import { parseTimeout } from "./options.ts";
import type { Serving } from "./pool.ts";
import type { WaitOptions } from "./types.ts";

const abortedStatus = -(errorCodes.indexOf("ABORTED") + 1);
const timedOut = Symbol();

/** What is noted in a snapshot's file beside the machine. */
export interface Notes {
  /** How it waits for requests, if it does. */
  readonly serving?: (Omit<Serving, "wire"> & { readonly wire?: "frames" | undefined }) | undefined;
  /** In milliseconds; null for none. */
  readonly timeouts?: { readonly wall: number | null; readonly cpu: number | null };
}

/** The notes of a file, which may say anything. */
function notesOf(text: string): Notes {
  let notes: Notes;
  try {
    notes = JSON.parse(text || "{}");
    if (isObject(notes) && isServing(notes.serving) && areTimeouts(notes.timeouts)) return notes;
  } catch {}
  throw new PristineError("SNAPSHOT_INVALID", "the snapshot cannot be used: its notes make no sense (notes)", "take the snapshot again", {
    section: "notes",
  });
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null && !Array.isArray(value);
const isWhole = (value: unknown, most: number) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;

function isServing(serving: Notes["serving"]): boolean {
  if (serving === undefined) return true;
  const { address, port, connection, wire } = serving;
  const isAddress =
    isObject(address) &&
    ("unix" in address ? typeof address.unix === "string" : typeof address.host === "string" && isWhole(address.port, 65_535));
  return (
    isAddress && isWhole(port, channelPort) && isWhole(connection, Number.MAX_SAFE_INTEGER) && (wire === undefined || wire === "frames")
  );
}

function areTimeouts(timeouts: Notes["timeouts"]): boolean {
  if (timeouts === undefined) return true;
  const isTimeout = (value: unknown) => value === null || (typeof value === "number" && value >= 0);
  return isTimeout(timeouts.wall) && isTimeout(timeouts.cpu);
}

export function tookTooLong(what: string, timeout: number): PristineError<"TIMEOUT"> {
  const details = { kind: "wall", milliseconds: timeout } as const;
  return new PristineError("TIMEOUT", `the snapshot took longer than ${timeout} ms to ${what}`, "raise `timeout`", details);
}

/** The core takes no address of nothing. */
function bytesOf(bytes: Uint8Array): Uint8Array {
  return bytes.length > 0 ? bytes : new Uint8Array(1);
}

/** Runs a job to its end; whoever aborts it or waits no longer gets its error at once, and what it made is thrown away. */
async function finished(
  options: WaitOptions,
  what: string,
  start: (ticket: number) => void,
): Promise<{ result: number; user: Uint8Array<ArrayBuffer> }> {
  const { signal } = options;
  signal?.throwIfAborted();
  const timeout = parseTimeout(options.timeout, "timeout", Infinity);
  let ticket = 0;
  let unwanted: unknown;
  const cancel = (reason: unknown) => {
    unwanted ??= reason;
    core().pristine_job_cancel(ticket);
  };
  const aborted = () => cancel(signal?.reason);
  signal?.addEventListener("abort", aborted, { once: true });
  const late = timeout === Infinity ? undefined : setTimeout(() => cancel(timedOut), timeout);
  try {
    await completion((mine) => {
      ticket = mine;
      start(mine);
    });
  } finally {
    signal?.removeEventListener("abort", aborted);
    clearTimeout(late);
  }
  const user = new Uint8Array(Math.max(0, core().pristine_job_user(ticket, new Uint8Array(1), 0)));
  core().pristine_job_user(ticket, bytesOf(user), user.length);
  const result = core().pristine_job_finish(ticket);
  if (unwanted !== undefined && (result === abortedStatus || result >= 0)) {
    if (result > 0 || (result === 0 && what === "open")) core().pristine_image_close(result);
    if (unwanted !== timedOut) throw unwanted;
    throw tookTooLong(what, timeout);
  }
  if (result < 0) throw lastError();
  return { result, user };
}

interface Save {
  readonly path: string;
  readonly user: Uint8Array;
  readonly files: (typeof SavedFiles)[keyof typeof SavedFiles];
  /** For whoever opens it. */
  readonly notes: Notes;
}

/** Saves an image. */
export async function saveImage(handle: number, { path, user, files, notes }: Save, options: WaitOptions): Promise<void> {
  const where = encode(path);
  const text = encode(JSON.stringify(notes));
  await finished(options, "save", (ticket) =>
    check(core().pristine_image_save(handle, where, where.length, bytesOf(user), user.length, bytesOf(text), text.length, files, ticket)),
  );
}

/** Opens a saved image; `configuration` is a machine's, whose program is the file. */
export async function openImage(
  configuration: object,
  verify: number,
  options: WaitOptions,
): Promise<{ handle: number; user: Uint8Array<ArrayBuffer>; notes: Notes }> {
  const json = encode(JSON.stringify(configuration));
  const { result, user } = await finished(options, "open", (ticket) =>
    check(core().pristine_image_open(json, json.length, verify, ticket)),
  );
  try {
    return { handle: result, user, notes: notesOf(resultText()) };
  } catch (error) {
    core().pristine_image_close(result);
    throw error;
  }
}

/** What a snapshot's file holds. */
export interface SnapshotFacts {
  readonly format: { major: number; minor: number };
  /** Milliseconds since 1970. */
  readonly savedAt: number;
  readonly fileBytes: number;
  /** Bytes of the pages that are not zero, how many there are and how many are read before it goes on, what the machine's memory extends to, and its ceiling. */
  readonly memory: { bytes: number; pages: number; hotPages: number; extent: number; ceiling: number; mappings: number };
  readonly processor: string;
  readonly state: string;
  readonly command: readonly string[];
  readonly workingDirectory: string;
  readonly threads: readonly { id: number; name: string; state: string }[];
  readonly descriptors: readonly { fd: number; kind: string; path: string }[];
  /** Those of the host's are bound again when the snapshot is opened. */
  readonly listeners: readonly { address: string; inside: boolean }[];
  /** Files of the host's that it has open or mapped; of those that are copied it has all bytes itself. */
  readonly files: readonly { path: string; bytes: number; copied: boolean }[];
  readonly privateFiles: { count: number; bytes: number };
  readonly userBytes: number;
  readonly sections: readonly { name: string; offset: number; bytes: number }[];
}

export function inspectSnapshot(path: string): SnapshotFacts {
  const where = encode(path);
  check(core().pristine_snapshot_inspect(where, where.length));
  return JSON.parse(resultText()) as SnapshotFacts;
}
