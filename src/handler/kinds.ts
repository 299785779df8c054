/**
 * Frames between an embedder and the shim of a handler: a kind, the length of what follows (u32, little-endian), and that. Both
 * sides read this file.
 */
export const frameHead = 5;

export const toGuest = {
  /** Entropy, then JSON `[flags, method, url, [[name, value], …]]`. */
  request: 1,
  /** A piece of the request's body. */
  body: 2,
  /** The request's body is over. */
  end: 3,
  /** The next read is where the machine is frozen: let what is under way come to rest. */
  settle: 4,
} as const;

export const fromGuest = {
  /** It waits for requests. */
  ready: 1,
  /** JSON `[status, statusText, [[name, value], …]]`. */
  head: 2,
  body: 3,
  end: 4,
  /** JSON `{ name, message, stack }` in place of an answer, or of the rest of one. */
  error: 5,
} as const;

export const requestFlags = {
  /** Frames of a body follow. */
  body: 1,
  /** One of the warm-up, behind which the event loop has a turn. */
  warm: 2,
} as const;

/** Fresh random bytes that come with each request. */
export const entropyBytes = 32;

/** What an error of the guest's is when it has come over. */
export interface Told {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
}

export function writeFrameHead(out: Uint8Array, at: number, kind: number, length: number): void {
  out[at] = kind;
  out[at + 1] = length & 0xff;
  out[at + 2] = (length >>> 8) & 0xff;
  out[at + 3] = (length >>> 16) & 0xff;
  out[at + 4] = length >>> 24;
}

export function frameLength(bytes: Uint8Array, at: number): number {
  const [a, b, c, d] = [bytes[at + 1], bytes[at + 2], bytes[at + 3], bytes[at + 4]] as [number, number, number, number];
  return (a | (b << 8) | (c << 16)) + d * 0x1000000;
}

/** In place of a port: the stream of who has opened the channel. */
export const channelPort = 0x1_0000;
