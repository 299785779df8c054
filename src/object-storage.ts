/**
 * Snapshots in S3-compatible object storage, through Bun's own client: fetched in ranges, several at once, into a file
 * without a name that is gone with whoever opened it.
 */
import { badOption, PristineError } from "./errors.ts";
import { os, path } from "./lazy.ts";
import { ends, type Fetching, type FetchJob, startFetch } from "./object-fetcher.ts";
import { parseTimeout } from "./options.ts";
import { tookTooLong } from "./saved.ts";
import type { WaitOptions } from "./types.ts";

const rangeBytes = 8 * 2 ** 20;
/** How often a range is asked for whose connection broke. */
const attemptsMax = 3;
/** For so long the storage grants what is fetched. */
const grantedSeconds = 24 * 3600;
const headerBytes = 4096;
/** Places in the header. */
const hotPagesAt = 48;
const pagesOffsetAt = 64 + 7 * 32 + 8;
const magic = "PRISTINE SNAP\r\n\x1a";
/** What Bun's client calls an object or bucket that is not there; a HEAD's answer says no more than its status. */
const missingCodes = new Set(["NoSuchKey", "NoSuchBucket", "UnknownError404"]);
/** Connections that did not come about, or broke. */
const brokenCodes = new Set(["ConnectionClosed", "ConnectionReset", "ECONNRESET", "Timeout"]);

/** The object that an address or Bun's own client names; undefined for a file of this host. */
export function objectOf(file: unknown): Bun.S3File | undefined {
  if (file instanceof Blob && "presign" in file && typeof file.presign === "function") return file as Bun.S3File;
  const address = file instanceof URL ? file.href : file;
  if (typeof address !== "string" || !address.startsWith("s3://")) return undefined;
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(address) ?? [];
  if (!bucket || !key) throw badOption("path", `${address} names no object`, "give s3://BUCKET/KEY");
  return new Bun.S3Client({ bucket }).file(key);
}

const nameOf = (object: Bun.S3File) => `s3://${object.bucket ?? ""}/${object.name ?? ""}`;

/** Bun's error as ours; it tells neither keys nor signatures. */
function refused(object: Bun.S3File, error: unknown): PristineError {
  const { code, message } = error as { code?: string; message?: string };
  const name = nameOf(object);
  if (code !== undefined && missingCodes.has(code))
    return new PristineError("NOT_FOUND", `there is no snapshot ${name}`, "check the bucket and the key", { path: name }, { cause: error });
  const hint = "check the endpoint and the credentials (S3_ENDPOINT, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_REGION)";
  return new PristineError("BAD_OPTION", `${name} cannot be read (${code ?? message})`, hint, { option: "path" }, { cause: error });
}

function invalid(object: Bun.S3File, why: string): PristineError<"SNAPSHOT_INVALID"> {
  const hint = "upload the snapshot again";
  return new PristineError("SNAPSHOT_INVALID", `the snapshot ${nameOf(object)} cannot be used: ${why} (header)`, hint, {
    section: "header",
  });
}

/** One request to the storage, made again where its connection broke. */
async function ask<T>(object: Bun.S3File, request: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await wanted(request(), signal);
    } catch (error) {
      signal.throwIfAborted();
      const isBroken = brokenCodes.has((error as { code?: string }).code ?? "");
      if (!isBroken || attempt === attemptsMax) throw refused(object, error);
    }
  }
}

async function range(object: Bun.S3File, begin: number, end: number, signal: AbortSignal): Promise<Uint8Array> {
  const bytes = await ask(object, () => object.slice(begin, end).bytes(), signal);
  if (bytes.length !== end - begin) throw invalid(object, "it is shorter than its storage says");
  return bytes;
}

/** Rejects as soon as nobody wants it, though the storage may still answer. */
function wanted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: left, reject } = Promise.withResolvers<never>();
  const leave = () => reject(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave, { once: true });
  return Promise.race([promise, left]).finally(() => signal.removeEventListener("abort", leave));
}

/** What has to be there first, as the header says: up to the end of its hot pages; docs/snapshot-format.md. */
function hotEnd(header: Uint8Array, size: number): number {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const number = (offset: number) => Number(view.getBigUint64(offset, true));
  return Math.min(size, Math.max(headerBytes, number(pagesOffsetAt) + number(hotPagesAt) * 4096) || size);
}

/** The ranges in the order in which they are fetched: those of what is needed first end where it does. */
function rangesOf(begin: number, hot: number, size: number): [begin: number, end: number][] {
  const ranges: [number, number][] = [];
  for (let at = begin; at < size; ) {
    const end = Math.min(at + rangeBytes, at < hot ? hot : size);
    ranges.push([at, end]);
    at = end;
  }
  return ranges;
}

/** A copy of an object on this host, of which only the header is there at first. */
interface LocalCopy extends FetchJob {
  /** Good until it is closed. */
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Begins a file without a name in the folder for temporary files.
 *
 * @throws `NOT_FOUND`; `SNAPSHOT_INVALID` for what is no snapshot; `BAD_OPTION` for what the storage refuses; `signal.reason`
 */
async function beginCopy(object: Bun.S3File, signal: AbortSignal): Promise<LocalCopy> {
  const { size, etag } = await ask(object, () => object.stat(), signal);
  if (size < headerBytes) throw invalid(object, "it is not a snapshot");
  const header = await range(object, 0, headerBytes, signal);
  if (Buffer.from(header).toString("latin1", 0, magic.length) !== magic) throw invalid(object, "it is not a snapshot");
  const { open, rm } = await import("node:fs/promises");
  const name = path().join(os().tmpdir(), `pristine-${crypto.randomUUID()}.snap`);
  const file = await open(name, "wx+", 0o600);
  try {
    await rm(name);
    await file.truncate(size);
    await file.write(header, 0, header.length, 0);
  } catch (error) {
    await file.close();
    throw error;
  }
  return {
    ...{ url: object.presign({ expiresIn: grantedSeconds }), etag: etag.replaceAll('"', ""), fd: file.fd },
    ranges: rangesOf(headerBytes, hotEnd(header, size), size),
    path: `/proc/self/fd/${file.fd}`,
    // Where nothing is to be kept, a failure to close loses nothing.
    close: () => file.close().catch(() => {}),
  };
}

/** Why a fetch ended as it did; undefined if all is there, or nobody wanted it. */
function failureOf(object: Bun.S3File, end: number): PristineError | undefined {
  if (end === ends.done || end === ends.left) return undefined;
  if (end === ends.replaced) return invalid(object, "it was replaced while it was fetched");
  if (end === ends.short) return invalid(object, "it is shorter than its storage says");
  return refused(object, { code: end === ends.broken ? "ConnectionClosed" : `status ${end}` });
}

/** The copy is closed when nobody writes to it any more. */
function fetchInto(copy: LocalCopy): Fetching {
  try {
    const fetching = startFetch(copy);
    return { ...fetching, end: fetching.end.finally(copy.close) };
  } catch (error) {
    void copy.close();
    throw error;
  }
}

/**
 * Opens an object while it is fetched: `use` is given the path of its copy, and the number under which the core knows how much of it is
 * there. What is not needed at once may come behind; the core ends the fetch when nobody needs it any more.
 *
 * @throws what `beginCopy` throws; `TIMEOUT`
 */
export async function openObject<T>(
  object: Bun.S3File,
  options: WaitOptions,
  use: (path: string, source: number, waits: WaitOptions) => Promise<T>,
): Promise<T> {
  const timeout = parseTimeout(options.timeout, "timeout", Infinity);
  const ending = new AbortController();
  const timer = timeout === Infinity ? undefined : setTimeout(() => ending.abort(tookTooLong("open", timeout)), timeout);
  const signal = options.signal ? AbortSignal.any([options.signal, ending.signal]) : ending.signal;
  try {
    const copy = await beginCopy(object, signal);
    const { source, end, leave } = fetchInto(copy);
    return await use(copy.path, source, { signal }).catch(async (error) => {
      leave();
      // The core has seen no more than that the rest does not come.
      throw failureOf(object, await end) ?? error;
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Fetches a whole object and hands over the path of its copy. */
export async function withCopy<T>(object: Bun.S3File, use: (path: string) => Promise<T>): Promise<T> {
  const copy = await beginCopy(object, new AbortController().signal);
  try {
    const failure = failureOf(object, await startFetch(copy).end);
    if (failure) throw failure;
    return await use(copy.path);
  } finally {
    await copy.close();
  }
}
