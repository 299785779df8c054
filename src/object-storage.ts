/**
 * Snapshots in S3-compatible object storage, through Bun's own client: fetched in ranges, several at once, into a file
 * without a name that is gone with whoever opened it.
 */
import { badOption, PristineError } from "./errors.ts";
import { os, path } from "./lazy.ts";
import { parseTimeout } from "./options.ts";
import { tookTooLong } from "./saved.ts";
import type { WaitOptions } from "./types.ts";

const rangeBytes = 8 * 2 ** 20;
const rangesAtOnce = 4;
/** How often a range is asked for whose connection broke. */
const attemptsMax = 3;
const magic = "PRISTINE SNAP\r\n\x1a";
/** What Bun's client calls an object or bucket that is not there; a HEAD's answer says no more than its status. */
const missingCodes = new Set(["NoSuchKey", "NoSuchBucket", "UnknownError404"]);
/** Connections that did not come about, or broke. */
const brokenCodes = new Set(["ConnectionClosed", "ConnectionReset", "ECONNRESET", "Timeout"]);

/** A copy of an object on this host. */
interface LocalCopy extends AsyncDisposable {
  /** Good until it is disposed. */
  readonly path: string;
}

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

/**
 * Fetches an object into a file without a name in the folder for temporary files.
 *
 * @throws `NOT_FOUND`; `SNAPSHOT_INVALID` for what is no snapshot, before more than its first bytes were fetched, or was replaced
 * meanwhile; `BAD_OPTION` for what the storage refuses; `signal.reason`
 */
async function fetchObject(object: Bun.S3File, signal: AbortSignal): Promise<LocalCopy> {
  const facts = () => ask(object, () => object.stat(), signal);
  const { size, etag } = await facts();
  if (size < magic.length) throw invalid(object, "it is not a snapshot");
  const head = await range(object, 0, magic.length, signal);
  if (Buffer.from(head).toString("latin1") !== magic) throw invalid(object, "it is not a snapshot");
  const { open, rm } = await import("node:fs/promises");
  const name = path().join(os().tmpdir(), `pristine-${crypto.randomUUID()}.snap`);
  const file = await open(name, "wx+", 0o600);
  try {
    await rm(name);
    let next = 0;
    const fetchRanges = async () => {
      while (next < size) {
        const begin = next;
        next += rangeBytes;
        const bytes = await range(object, begin, Math.min(begin + rangeBytes, size), signal).catch((error) => {
          next = size;
          throw error;
        });
        for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, begin + done)).bytesWritten;
      }
    };
    // The file is closed only when nobody writes to it any more.
    const all = await Promise.allSettled(Array.from({ length: rangesAtOnce }, fetchRanges));
    for (const one of all) if (one.status === "rejected") throw one.reason;
    if ((await facts()).etag !== etag) throw invalid(object, "it was replaced while it was fetched");
    return { path: `/proc/self/fd/${file.fd}`, [Symbol.asyncDispose]: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Fetches an object and hands over the path of its copy, with a signal that ends the whole.
 *
 * @throws what `fetchObject` throws; `TIMEOUT`
 */
export async function withCopy<T>(
  object: Bun.S3File,
  options: WaitOptions,
  use: (path: string, rest: WaitOptions) => Promise<T>,
): Promise<T> {
  const timeout = parseTimeout(options.timeout, "timeout", Infinity);
  const ending = new AbortController();
  const timer = timeout === Infinity ? undefined : setTimeout(() => ending.abort(tookTooLong("open", timeout)), timeout);
  const signal = options.signal ? AbortSignal.any([options.signal, ending.signal]) : ending.signal;
  try {
    await using copy = await fetchObject(object, signal);
    return await use(copy.path, { signal });
  } finally {
    clearTimeout(timer);
  }
}
