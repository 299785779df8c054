/**
 * Fetches an object's ranges into a file, in order and several at once, in a worker: whoever opens the file may wait for what is
 * not there yet on any thread, JavaScript's own too.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { check, core } from "./ffi/library.ts";

/** What a fetch ended with, beside statuses of HTTP. */
export const ends = { done: 0, replaced: 1, broken: 2, short: 3, left: 4 } as const;

const rangesAtOnce = 4;
/** How often a range is asked for whose connection broke, or which the storage could not answer just then. */
const attemptsMax = 3;
/** For one range. */
const rangeTimeoutMs = 30_000;

export interface FetchJob {
  /** Grants the object for as long as the fetch may take. */
  readonly url: string;
  readonly etag: string;
  /** Of the file, open for writing. */
  readonly fd: number;
  readonly ranges: readonly (readonly [begin: number, end: number])[];
}

interface WorkerJob extends FetchJob {
  /** The core's words: bytes that are there, what it ended with, and whether nobody wants it any more. */
  readonly words: number;
  readonly limits: { readonly rangesAtOnce: number; readonly attemptsMax: number; readonly rangeTimeoutMs: number };
  readonly ends: typeof ends;
}

/** Runs in the worker, of which it is all there is: nothing from outside is known there. */
async function fetchRanges({ url, etag, fd, ranges, words: address, limits, ends }: WorkerJob): Promise<number> {
  const { toArrayBuffer } = await import("bun:ffi");
  const { writeSync } = await import("node:fs");
  const words = new BigUint64Array(toArrayBuffer(address as Pointer, 0, 24));
  const leaving = new AbortController();
  const looking = setInterval(() => Atomics.load(words, 2) !== 0n && leaving.abort(), 20);
  const isThere = ranges.map(() => false);
  let [next, behind, failure] = [0, 0, ends.done as number];
  // What comes before the first is there.
  if (ranges[0]) Atomics.store(words, 0, BigInt(ranges[0][0]));

  /** What one answer came to. */
  const ask = async (begin: number, end: number): Promise<number> => {
    const signal = AbortSignal.any([leaving.signal, AbortSignal.timeout(limits.rangeTimeoutMs)]);
    const answer = await fetch(url, { headers: { range: `bytes=${begin}-${end - 1}` }, signal });
    if (answer.status !== 206) return answer.status;
    if ((answer.headers.get("etag") ?? "").replaceAll('"', "") !== etag) return ends.replaced;
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (bytes.length !== end - begin) return ends.short;
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, begin + done);
    return ends.done;
  };
  const askOften = async (begin: number, end: number): Promise<number> => {
    for (let attempt = 1; ; attempt++) {
      const found = await ask(begin, end).catch(() => ends.broken);
      if (leaving.signal.aborted) return ends.left;
      if ((found !== ends.broken && found < 500) || attempt === limits.attemptsMax) return found;
      await Bun.sleep(100 * attempt);
    }
  };
  const work = async (): Promise<void> => {
    while (next < ranges.length && failure === ends.done) {
      const number = next++;
      const [begin, end] = ranges[number] as [number, number];
      const found = await askOften(begin, end);
      if (found !== ends.done) {
        // What was asked for before may still come, and be enough for somebody.
        failure ||= found;
        return;
      }
      isThere[number] = true;
      while (isThere[behind]) behind++;
      if (behind > 0) Atomics.store(words, 0, BigInt((ranges[behind - 1] as [number, number])[1]));
    }
  };
  await Promise.all(Array.from({ length: limits.rangesAtOnce }, work));
  clearInterval(looking);
  Atomics.store(words, 1, BigInt(failure));
  return failure;
}

/** A fetch that goes on in its worker. */
export interface Fetching {
  /** The core's number of the file. */
  readonly source: number;
  /** What it ended with: of `ends`, or a status of HTTP. */
  readonly end: Promise<number>;
  /** Nobody wants it any more; it ends soon. */
  leave(): void;
}

/** Starts to fetch; the descriptor is to stay open until the end. */
export function startFetch({ url, etag, fd, ranges }: FetchJob): Fetching {
  const source = check(core().pristine_source_begin());
  const text = `const run = ${fetchRanges.toString()}; self.onmessage = async ({ data }) => self.postMessage(await run(data));`;
  const code = URL.createObjectURL(new Blob([text], { type: "application/javascript" }));
  const { promise: end, resolve } = Promise.withResolvers<number>();
  const worker = new Worker(code);
  worker.onmessage = ({ data }) => resolve(data as number);
  worker.onerror = () => resolve(ends.broken);
  const words = Number(core().pristine_source_words(source));
  let isOver = false;
  const leave = () => {
    // The core's words are gone with the end.
    if (!isOver) Atomics.store(new BigUint64Array(toArrayBuffer(words as Pointer, 0, 24)), 2, 1n);
  };
  worker.postMessage({ url, etag, fd, ranges, words, ends, limits: { rangesAtOnce, attemptsMax, rangeTimeoutMs } } satisfies WorkerJob);
  const ended = end.then((found) => {
    isOver = true;
    core().pristine_source_end(source);
    worker.terminate();
    URL.revokeObjectURL(code);
    return found;
  });
  return { source, end: ended, leave };
}
