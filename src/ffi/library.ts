/**
 * The only file that touches bun:ffi: finds the core's shared library, checks that it fits, and wraps its functions.
 *
 * Addresses of host memory stay in this folder; everything else sees typed arrays.
 */
import { dlopen, type Pointer, toArrayBuffer } from "bun:ffi";
import { fromCore, PristineError } from "../errors.ts";
import { fs, path } from "../lazy.ts";
import { ABI_VERSION, MachineBlock, symbols } from "./table.ts";

type Core = ReturnType<typeof dlopen<typeof symbols>>["symbols"];

const textBytes = new Uint8Array(16 * 1024);
const decoder = new TextDecoder();
const encoder = new TextEncoder();

let loaded: Core | undefined;

/** The core's functions; the library is loaded at the first use. */
export function core(): Core {
  loaded ??= load();
  return loaded;
}

/** From this file, or from the bundle that it is part of, to the package: both are two folders down. */
const packageRoot = "../..";

/** Where the library is: named by the environment, else beside this package. */
function libraryPath(): string {
  return process.env.PRISTINE_LIBRARY ?? `${import.meta.dir}/${packageRoot}/zig-out/lib/libpristine.so`;
}

/** Where the worker executable is: named by the environment, else in the same build as the library. */
function workerPath(): string {
  return process.env.PRISTINE_WORKER ?? path().join(path().dirname(libraryPath()), "../bin/pristine-worker");
}

/** Starts a worker process; its number. It ends with the last machine and snapshot in it. */
export function startWorker(options: { jail: boolean; strict: boolean; network: boolean; split: boolean }): number {
  const json = encoder.encode(JSON.stringify({ ...options, path: workerPath() }));
  return check(core().pristine_worker_start(json, json.length));
}

/** The text that tells what the wall around a machine's or a snapshot's process is made of; that process is not doubled any more. */
export function sealWorker(handle: number): string {
  return check(core().pristine_worker_seal(handle)) > 0 ? resultText() : "[]";
}

function load(): Core {
  const file = libraryPath();
  let library: Core;
  try {
    library = dlopen(file, symbols).symbols;
  } catch (cause) {
    if (!fs().existsSync(file)) {
      throw new PristineError(
        "INTERNAL",
        `the core's library is not at ${file}`,
        "run `npm run build`, or set PRISTINE_LIBRARY",
        {},
        { cause },
      );
    }
    throw new PristineError("ABI_MISMATCH", `the core's library ${file} cannot be loaded`, "run `npm run build`", {}, { cause });
  }
  const version = library.pristine_abi_version();
  if (version !== ABI_VERSION) {
    throw new PristineError(
      "ABI_MISMATCH",
      `the core's library has ABI version ${version}, this package needs ${ABI_VERSION}`,
      "run `npm run build`",
      {},
    );
  }
  return library;
}

/** Reads a text through a function that copies it and answers its full length. */
function readText(copy: (out: Uint8Array, capacity: number) => number): string {
  const length = copy(textBytes, textBytes.length);
  if (length <= textBytes.length) return decoder.decode(textBytes.subarray(0, length));
  const larger = new Uint8Array(length);
  copy(larger, larger.length);
  return decoder.decode(larger);
}

/** The error of the call that failed last. */
export function lastError(): PristineError {
  return fromCore(readText((out, capacity) => core().pristine_last_error(out, capacity)));
}

/** Answers a status that is not an error, and throws the error otherwise. */
export function check(status: number): number {
  if (status < 0) throw lastError();
  return status;
}

/** The text that the last call made. */
export function resultText(): string {
  return readText((out, capacity) => core().pristine_result(out, capacity));
}

/** The error of a machine's last run or call on a native thread. */
export function machineError(handle: number): PristineError {
  return fromCore(readText((out, capacity) => core().pristine_machine_error(handle, out, capacity)));
}

export function machineReport(handle: number): string {
  return readText((out, capacity) => core().pristine_machine_report(handle, out, capacity));
}

export function createMachine(configuration: object): number {
  const json = encoder.encode(JSON.stringify(configuration));
  return check(core().pristine_machine_create(json, json.length));
}

export function encode(text: string): Uint8Array {
  return encoder.encode(text);
}

/** The page through which arguments, results and the state of a machine pass. */
export function machineBlock(handle: number): DataView<ArrayBuffer> {
  const address = core().pristine_machine_block(handle);
  if (!address) throw lastError();
  return new DataView(toArrayBuffer(address as Pointer, 0, MachineBlock.size));
}

/** A window of a machine's memory, at an offset from its start. */
export function memoryWindow(handle: number, offset: number, length: number): ArrayBuffer {
  const address = core().pristine_memory_base(handle);
  if (!address) throw lastError();
  return toArrayBuffer(address as Pointer, offset, length);
}
