/**
 * A cache in memory, with entries that end, as a remote in Deno:
 *
 *     deno run --allow-read=/pristine --allow-write=/pristine cache.mjs [MEBIBYTES]
 *
 * Without --allow-ffi it works on copies of what its callers lend, and one that runs out of time does not end it. A request of
 *
 *     cache:get    is a key and a newline, and room for the value, which takes its place
 *     cache:set    is the seconds that it lasts, a space, the key and a newline, and behind it the value
 *     cache        may be anything, and is answered by numbers, as JSON
 *
 * The reply is the length of the answer, or one of the errors below.
 */
import { exportRemote, reply, wait } from "pristine-vm/guest";

interface Entry {
  readonly value: Uint8Array;
  /** By this machine's clock, in milliseconds. */
  readonly end: number;
}

const errors = { missing: -2, invalid: -22, tooLong: -90 } as const;
const keyMax = 256;
const valueMax = 1 << 16;
/** What an entry costs besides its bytes, more or less. */
const entryBytes = 128;
const secondsMax = 24 * 60 * 60;
const newline = 10;

const { Deno } = globalThis as { Deno?: { args: string[] } };
const bytesMax = Number(Deno?.args[0] ?? 16) * 1024 * 1024;
if (!(bytesMax >= entryBytes + keyMax + valueMax)) throw new RangeError("cache: one entry of the largest kind needs more memory");

/** The one that was not used for the longest time is the first. */
const entries = new Map<string, Entry>();
let bytes = 0;
let hits = 0;
let misses = 0;

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const costOf = (key: string, { value }: Entry) => entryBytes + key.length + value.length;

function remove(key: string): void {
  const entry = entries.get(key);
  if (entry && entries.delete(key)) bytes -= costOf(key, entry);
}

function put(key: string, entry: Entry): void {
  remove(key);
  entries.set(key, entry);
  bytes += costOf(key, entry);
  for (const [oldest] of entries) {
    if (bytes <= bytesMax) break;
    remove(oldest);
  }
}

/** The first line of a request, and where the rest begins; undefined if it is no line, or longer than any may be. */
function lineOf(request: Uint8Array): { line: string; rest: number } | undefined {
  const end = request.subarray(0, 4 * keyMax).indexOf(newline);
  return end < 0 ? undefined : { line: decoder.decode(request.subarray(0, end)), rest: end + 1 };
}

const isKey = (key: string) => key !== "" && key.length <= keyMax;

exportRemote("get", (request) => {
  const key = lineOf(request)?.line ?? "";
  if (!isKey(key)) return errors.invalid;
  const entry = entries.get(key);
  if (!entry || entry.end <= performance.now()) {
    remove(key);
    misses++;
    return errors.missing;
  }
  // Bytes that have no room would end the caller: it is told, and may come again with a larger buffer.
  if (entry.value.length > request.length) return errors.tooLong;
  entries.delete(key);
  entries.set(key, entry);
  hits++;
  return entry.value;
});

exportRemote("set", (request) => {
  const head = lineOf(request);
  const [, seconds, key = ""] = /^(\d+(?:\.\d+)?) (.*)$/.exec(head?.line ?? "") ?? [];
  if (!head || !isKey(key) || !(Number(seconds) <= secondsMax)) return errors.invalid;
  if (request.length - head.rest > valueMax) return errors.tooLong;
  // The request is gone when its caller has its answer.
  put(key, { value: request.slice(head.rest), end: performance.now() + Number(seconds) * 1000 });
  return 0;
});

for (;;) {
  const { request } = wait();
  const text = encoder.encode(JSON.stringify({ entries: entries.size, bytes, hits, misses }));
  reply(text.length <= request.length ? text : errors.tooLong);
}
