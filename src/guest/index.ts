/**
 * What a script inside a machine can say to it (`pristine-vm/guest`), in Bun, Deno and Node as they are: the counterpart of
 * `guest/pristine.h`. Outside a machine nothing here does anything, so that a script runs everywhere.
 *
 * A remote has to be position-independent, as Deno is and Bun and Node are not; all of them can call remotes. Deno with
 * `--allow-ffi` works on the memory of its callers itself. Elsewhere a remote gets copies (`counters().bytesCopied` of the
 * caller), and Deno needs `--allow-read=/pristine --allow-write=/pristine`.
 */
import { calls, deno, opener } from "./deno.ts";
import { Device } from "./device.ts";
import { open as openByNode } from "./node.ts";
import { type Given, paths, type Side } from "./side.ts";

/**
 * What a caller gets: a number of bytes at the beginning of its buffer, where the handler has put them, or bytes, which are put
 * there; nothing is 0. A negative number is an error number: callers that are scripts throw it, from -4095 up.
 *
 * Bytes for which the caller's buffer is too small end the caller's run with `BAD_REPLY`, and so does a number that is larger, if
 * the caller is a script.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: handlers need not return anything
export type Reply = number | Uint8Array | void;

/** Answers one call. The request is the caller's buffer, or a copy of it, and lasts until the handler returns. */
export type Handler = (request: Uint8Array) => Reply;

/** A call that no exported function is named by. */
export interface Call {
  /** The caller's buffer, or a copy of it, until the next `wait()`. */
  readonly request: Uint8Array;
}

/** A remote, or a function of one: gives it a buffer until it replies, and returns the reply. */
export type Imported = (buffer: ArrayBufferView) => number;

const eio = 5;
const open = deno ? opener(deno) : openByNode;
const handlers: Handler[] = [];
let found: Side | null | undefined;
let waits = false;

/** The machine's own side, looked for when it is first needed; null outside a machine. */
function side(): Side | null {
  if (found === undefined) {
    found = deno && calls(deno);
    const file = found ? undefined : open(paths.guest);
    found ??= file ? new Device(file) : null;
  }
  return found;
}

function remoteSide(): Side {
  const own = side();
  if (!own) throw new Error("only inside a machine can a script be a remote");
  return own;
}

/**
 * "This is the point to freeze": `run({ until: "ready" })` ends here, and the script goes on from here.
 *
 * @example
 * const table = await load();
 * ready();
 */
export function ready(): void {
  side()?.ready();
}

/**
 * A number that changes at every fork, reset and resume, so that a script can renew what must not be the same twice. 0 outside a
 * machine.
 *
 * @example
 * if (generation() !== before) connectAgain();
 */
export function generation(): number {
  return side()?.generation() ?? 0;
}

/**
 * Offers a function to callers by a name, which is given once. `wait()` calls the handler. What it throws is told on standard
 * error, and its caller gets EIO.
 *
 * @example
 * exportRemote("upper", (request) => new TextEncoder().encode(new TextDecoder().decode(request).toUpperCase()));
 * for (;;) wait();
 */
export function exportRemote(name: string, handler: Handler): void {
  remoteSide().offer(name);
  handlers.push(handler);
}

/**
 * Waits for callers, and nothing else runs meanwhile: those of exported functions are answered by their handlers, one that names
 * none ends the wait. It gets the reply when this is called again.
 *
 * A caller's memory that a script works on itself is gone with the reply: its buffer is detached then. A caller that ends while
 * it is worked on, for want of time, ends the remote; one whose buffer was copied does not.
 *
 * @example
 * for (;;) {
 *   const { request } = wait();
 *   request.reverse();
 *   reply(request.length);
 * }
 */
export function wait(): Call {
  const own = remoteSide();
  for (;;) {
    const given = own.wait();
    const handler = handlers[given.function];
    if (!handler) {
      waits = true;
      return { request: given.request };
    }
    handle(own, handler, given);
  }
}

function handle(own: Side, handler: Handler, { request }: Given): void {
  try {
    hand(own, handler(request));
  } catch (error) {
    console.error(error);
    own.answer(-eio, undefined);
  }
}

function hand(own: Side, result: Reply): void {
  if (result instanceof Uint8Array) own.answer(result.length, result);
  else if (result === undefined || Number.isSafeInteger(result)) own.answer(result ?? 0, undefined);
  else throw new TypeError("a reply is a whole number or a Uint8Array");
}

/**
 * What the caller of the last `wait()` is to get. It gets it at the next `wait()`; without a reply it gets 0.
 *
 * @example
 * reply(new TextEncoder().encode("done"));
 */
export function reply(result: number | Uint8Array): void {
  if (!waits) throw new Error("nobody waits for a reply");
  hand(remoteSide(), result);
  waits = false;
}

/**
 * A remote by the name of its connection, or a function that it has exported, as "REMOTE:FUNCTION"; null if it is not there, and
 * outside a machine. Calling it gives the remote the buffer, in place, and returns its reply: how many bytes of the buffer are the
 * answer, if it keeps to that. Nothing else runs meanwhile.
 *
 * @example
 * const get = importRemote("storage:get");
 * const buffer = new Uint8Array(4096);
 * buffer.set(key);
 * const value = buffer.subarray(0, get?.(buffer) ?? 0);
 */
export function importRemote(name: string): Imported | null {
  if (name === "" || name.includes("/")) return null;
  const file = open(paths.remotes + name);
  if (!file) return null;
  return ({ buffer, byteOffset, byteLength }) => {
    // A small array has its bytes elsewhere until its buffer is asked for, and runtimes pass copies of them on.
    return file.read(new Uint8Array(buffer, byteOffset, byteLength));
  };
}
