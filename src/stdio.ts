/** Standard streams: what the caller gives, as Bun.spawn takes it, and the core's descriptors. */

import type { Spawn } from "bun";
import { badOption } from "./errors.ts";
import { onOutput } from "./events.ts";
import { check, core } from "./ffi/library.ts";
import { fs } from "./lazy.ts";

/** Descriptor values with a meaning of their own for the core. */
const ignored = -1;
const piped = -2;

const chunkBytes = 64 * 1024;

/** What was opened for a machine's streams; closed here once the core has its own copies. */
export interface Streams {
  stdin: number;
  stdout: number;
  stderr: number;
  /** The write end of a piped stdin. */
  sink: Bun.FileSink | undefined;
  opened: number[];
}

function makePipe(): [number, number] {
  const ends = new Int32Array(2);
  check(core().pristine_pipe(ends));
  return [ends[0] as number, ends[1] as number];
}

/**
 * The writer of a pipe. Bun leaves a descriptor given by number open at the end, and the guest would never see the end of
 * its input; opened by name it is the writer's own.
 */
function pipeWriter(descriptor: number): Bun.FileSink {
  const sink = Bun.file(`/proc/self/fd/${descriptor}`).writer();
  fs().closeSync(descriptor);
  return sink;
}

/** Feeds a pipe from a stream in the background; a guest that closes its end just ends it. */
async function feed(source: ReadableStream<Uint8Array>, descriptor: number): Promise<void> {
  const sink = pipeWriter(descriptor);
  try {
    for await (const chunk of source) {
      sink.write(chunk);
      await sink.flush();
    }
  } catch {
    // The guest went away or the source failed: in both cases there is nothing more to feed.
  } finally {
    await Promise.resolve(sink.end()).catch(() => {});
  }
}

function isFile(value: unknown): value is Bun.BunFile {
  return value instanceof Blob && typeof (value as Bun.BunFile).name === "string" && "writer" in value;
}

function openInput(value: Spawn.Writable | undefined, streams: Streams): number {
  if (value === undefined || value === null || value === "ignore") return ignored;
  if (value === "inherit") return 0;
  if (typeof value === "number") return value;
  if (isFile(value) && value.name) return remember(streams, fs().openSync(value.name, "r"));
  const [readEnd, writeEnd] = makePipe();
  streams.opened.push(readEnd);
  if (value === "pipe") streams.sink = pipeWriter(writeEnd);
  else feed(streamOf(value), writeEnd);
  return readEnd;
}

function streamOf(value: unknown): ReadableStream<Uint8Array> {
  if (value instanceof ReadableStream) return value;
  if (value instanceof Blob || value instanceof ArrayBuffer || ArrayBuffer.isView(value))
    return new Response(value as Bun.BodyInit).body as ReadableStream<Uint8Array>;
  if ((value instanceof Response || value instanceof Request) && value.body) return value.body as ReadableStream<Uint8Array>;
  throw badOption(
    "stdin",
    "stdin cannot be read from that",
    'use "pipe", "inherit", "ignore", a descriptor, a file, a Blob, a typed array or a ReadableStream',
  );
}

function openOutput(value: Spawn.Readable | undefined, option: "stdout" | "stderr", inherited: number, streams: Streams): number {
  if (value === null || value === "ignore") return ignored;
  if (value === "pipe") return piped;
  if (value === "inherit") return inherited;
  if (typeof value === "number") return value;
  if (isFile(value) && value.name) return remember(streams, fs().openSync(value.name, "w"));
  throw badOption(option, `${option} cannot be written to that`, 'use "pipe", "inherit", "ignore", a descriptor or a file');
}

function remember(streams: Streams, descriptor: number): number {
  streams.opened.push(descriptor);
  return descriptor;
}

/** Opens the three streams. On failure nothing stays open. */
export function openStreams(
  stdin: Spawn.Writable | undefined,
  stdout: Spawn.Readable | undefined,
  stderr: Spawn.Readable | undefined,
): Streams {
  const streams: Streams = { stdin: ignored, stdout: ignored, stderr: ignored, sink: undefined, opened: [] };
  try {
    streams.stdout = openOutput(stdout === undefined ? "pipe" : stdout, "stdout", 1, streams);
    streams.stderr = openOutput(stderr === undefined ? "inherit" : stderr, "stderr", 2, streams);
    streams.stdin = openInput(stdin, streams);
  } catch (error) {
    closeStreams(streams);
    throw error;
  }
  return streams;
}

/** Closes this side's copies of what the core has duplicated. */
export function closeStreams(streams: Streams): void {
  for (const descriptor of streams.opened) fs().closeSync(descriptor);
  streams.opened = [];
}

/** A piped output of a machine. */
export interface PipedOutput {
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** The end was reached, or the reader has gone away. */
  readonly ended: boolean;
  /** Hands out what is left and ends the stream; for a machine that closes. */
  finish(): void;
}

/** The stream of a machine's piped standard output (1) or error (2). */
export function pipedOutput(handle: number, number: 1 | 2): PipedOutput {
  const scratch = new Uint8Array(chunkBytes);
  let done = false;
  let wake: (() => void) | undefined;
  const stop = onOutput(handle, number, () => wake?.());
  const readChunk = (): Uint8Array<ArrayBuffer> | "none" | "end" => {
    const count = core().pristine_output_read(handle, number, scratch, chunkBytes);
    return count > 0 ? scratch.slice(0, count) : count < 0 ? "end" : "none";
  };
  const end = () => {
    done = true;
    stop();
    wake?.();
  };
  let controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      start(given) {
        controller = given;
      },
      async pull(given) {
        while (!done) {
          const chunk = readChunk();
          if (chunk === "end") {
            end();
            given.close();
            return;
          }
          if (chunk !== "none") {
            given.enqueue(chunk);
            return;
          }
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      },
      cancel() {
        if (!done) core().pristine_output_close(handle, number);
        end();
      },
    },
    { highWaterMark: 0 },
  );
  return {
    stream,
    get ended() {
      return done;
    },
    finish() {
      if (done) return;
      for (let chunk = readChunk(); typeof chunk !== "string"; chunk = readChunk()) controller?.enqueue(chunk);
      end();
      controller?.close();
    },
  };
}
