/** What is Deno's own: files, and system calls where it may make them (`--allow-ffi`). */
import type { File, Given, Open, Side } from "./side.ts";

type Pointer = object | null;

interface DenoFile {
  readSync(into: Uint8Array): number | null;
  writeSync(bytes: Uint8Array): number;
}

/** The part of Deno that is used. */
interface DenoNamespace {
  openSync(path: string, options: { read: boolean; write: boolean }): DenoFile;
  permissions: { querySync(descriptor: { name: "ffi" }): { state: string } };
  errors: { NotFound: new (...args: never[]) => Error };
  dlopen(library: string, symbols: Record<string, Foreign>): { symbols: Record<string, (...args: unknown[]) => unknown> };
  UnsafePointer: { create(address: bigint): Pointer; of(view: ArrayBufferView): Pointer; value(pointer: Pointer): bigint };
  UnsafePointerView: {
    new (pointer: Pointer): { getInt32(): number };
    getArrayBuffer(pointer: Pointer, length: number): ArrayBuffer;
  };
}

interface Foreign {
  name: string;
  parameters: readonly string[];
  result: string;
}

export const deno = (globalThis as { Deno?: DenoNamespace }).Deno;

export function opener(runtime: DenoNamespace): Open {
  return (path) => {
    try {
      const file: DenoFile = runtime.openSync(path, { read: true, write: true });
      return { read: (into) => file.readSync(into) ?? 0, write: (bytes) => file.writeSync(bytes) } satisfies File;
    } catch (error) {
      if (error instanceof runtime.errors.NotFound) return undefined;
      throw error;
    }
  };
}

const numbers = { ready: 0x50520001, generation: 0x50520002, offer: 0x50520003, wait: 0x50520005 } as const;
const flags = { hasReply: 1, hasTooMuch: 8 } as const;
const errnos = { interrupted: 4, missing: 38 } as const;

/** Where a wait puts the buffer's address and length and the function's number; beyond what V8 moves about. */
const outBytes = 512;

/** The system calls of `guest/pristine.h`: a remote works on its callers' own memory. */
class Calls implements Side {
  readonly #runtime: DenoNamespace;
  readonly #symbols: Record<string, (...args: unknown[]) => unknown>;
  readonly #out = new BigInt64Array(outBytes / 8);
  readonly #outAddress: bigint;
  #given: ArrayBuffer = new ArrayBuffer(0);
  #request = new Uint8Array(this.#given);
  #result = 0;
  #flags = 0;

  constructor(runtime: DenoNamespace) {
    const call = (...parameters: string[]): Foreign => ({ name: "syscall", parameters: ["i64", ...parameters], result: "i64" });
    this.#runtime = runtime;
    this.#symbols = runtime.dlopen("libc.so.6", {
      plain: call(),
      offer: call("buffer", "i64"),
      wait: call("i64", "i64", "i64", "i64", "i64"),
      errno: { name: "__errno_location", parameters: [], result: "pointer" },
    }).symbols;
    this.#outAddress = BigInt(runtime.UnsafePointer.value(runtime.UnsafePointer.of(this.#out)));
  }

  ready(): void {
    this.#symbols.plain?.(BigInt(numbers.ready));
  }

  generation(): number {
    return Number(this.#symbols.plain?.(BigInt(numbers.generation)));
  }

  offer(name: string): void {
    const text = new TextEncoder().encode(`${name}\0`);
    if (Number(this.#symbols.offer?.(BigInt(numbers.offer), text, 0n)) < 0)
      throw new Error(`"${name}" cannot be exported (errno ${this.#errno()})`);
  }

  wait(): Given {
    // Nothing reaches the caller's memory once it has its answer.
    this.#given.transfer(0);
    for (;;) {
      const replied = BigInt(this.#flags);
      this.#flags = 0;
      const out = this.#outAddress;
      const got = Number(this.#symbols.wait?.(BigInt(numbers.wait), out, out + 8n, BigInt(this.#result), replied, out + 16n));
      if (got >= 0) return this.#take();
      const errno = this.#errno();
      if (errno !== errnos.interrupted)
        throw new Error(errno === errnos.missing ? "the machine is no remote" : `no caller can be waited for (errno ${errno})`);
    }
  }

  #take(): Given {
    const [address = 0n, length = 0n, called = -1n] = this.#out;
    const { UnsafePointer, UnsafePointerView } = this.#runtime;
    this.#given = length === 0n ? new ArrayBuffer(0) : UnsafePointerView.getArrayBuffer(UnsafePointer.create(address), Number(length));
    this.#request = new Uint8Array(this.#given);
    return { function: Number(called), request: this.#request };
  }

  answer(result: number, bytes: Uint8Array | undefined): void {
    this.#result = result;
    this.#flags = flags.hasReply;
    if (bytes === undefined) return;
    if (bytes.length <= this.#request.length) this.#request.set(bytes);
    else this.#flags |= flags.hasTooMuch;
  }

  #errno(): number {
    return new this.#runtime.UnsafePointerView(this.#symbols.errno?.() as Pointer).getInt32();
  }
}

/** The machine's own side by system calls; undefined if Deno may not make them, or outside a machine. */
export function calls(runtime: DenoNamespace): Side | undefined {
  if (runtime.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  const side = new Calls(runtime);
  return side.generation() > 0 ? side : undefined;
}
