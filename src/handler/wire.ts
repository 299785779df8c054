/** A request and its answer as frames, for a handler's shim. */
import { PristineError } from "../errors.ts";
import { framingOf } from "../http/message.ts";
import { type Head, MalformedReply } from "../http/reply.ts";
import { type Answer, type Gathering, gatheringOf, type Wire } from "../http/wire.ts";
import { entropyBytes, frameHead, frameLength, fromGuest, requestFlags, type Told, toGuest, writeFrameHead } from "./kinds.ts";

/** The longest piece of a body in one frame. */
const pieceMax = 32 * 1024;
/** The longest frame of the guest's that is not a body's. */
const framesMax = 1024 * 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const nothing = new Uint8Array();

/** Makes the error of a guest's, with positions of the user's files. */
export type Tell = (told: Told) => PristineError;

/** The error of a handler that failed, with `stack` as its cause's. */
export function handlerFailed({ name, message }: Told, stack: string): PristineError {
  const cause = Object.assign(new Error(message), { name, stack });
  return new PristineError(
    "GUEST_EXIT",
    `the handler failed: ${name}: ${message}`,
    "see `cause` for the guest's stack",
    { exitCode: 1 },
    { cause },
  );
}

/** Frames that have come from the guest, which is not trusted: body frames piece by piece, others as a whole. */
class FrameReader {
  #kind = 0;
  #left = 0;
  #held: Uint8Array = nothing;
  readonly #onWhole: (kind: number, bytes: Uint8Array) => void;
  readonly #onBody: (piece: Uint8Array) => void;

  constructor(onWhole: (kind: number, bytes: Uint8Array) => void, onBody: (piece: Uint8Array) => void) {
    this.#onWhole = onWhole;
    this.#onBody = onBody;
  }

  feed(given: Uint8Array): void {
    let bytes = this.#held.length === 0 ? given : Buffer.concat([this.#held, given]);
    this.#held = nothing;
    for (;;) {
      if (this.#left > 0) {
        const piece = bytes.subarray(0, this.#left);
        if (piece.length > 0) this.#onBody(new Uint8Array(piece));
        this.#left -= piece.length;
        bytes = bytes.subarray(piece.length);
        if (this.#left > 0) return;
      }
      if (bytes.length < frameHead) break;
      this.#kind = bytes[0] as number;
      const length = frameLength(bytes, 0);
      if (this.#kind === fromGuest.body) {
        this.#left = length;
        bytes = bytes.subarray(frameHead);
        continue;
      }
      if (length > framesMax) throw new MalformedReply(`a frame of ${length} bytes`);
      if (bytes.length < frameHead + length) break;
      this.#onWhole(this.#kind, bytes.subarray(frameHead, frameHead + length));
      bytes = bytes.subarray(frameHead + length);
    }
    // What the bytes came in is used again.
    this.#held = new Uint8Array(bytes);
  }
}

/** What the guest says at the start and at the freeze: nothing but that it is ready. */
export class Readiness {
  isReady = false;
  readonly #reader: FrameReader;

  constructor(tell: Tell) {
    this.#reader = new FrameReader(
      (kind, bytes) => {
        if (kind === fromGuest.error) throw tell(toldIn(bytes));
        if (kind === fromGuest.ready) this.isReady = true;
      },
      () => {},
    );
  }

  feed(bytes: Uint8Array): void {
    this.#reader.feed(bytes);
  }
}

function toldIn(bytes: Uint8Array): Told {
  const { name, message, stack } = parsed(bytes) as Partial<Told>;
  return { name: String(name), message: String(message), stack: String(stack) };
}

function parsed(bytes: Uint8Array): object {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    if (typeof value === "object" && value !== null) return value;
  } catch {}
  throw new MalformedReply("a frame that is no JSON");
}

class FrameAnswer implements Answer {
  readonly keepsAlive = true;
  head: Head | undefined;
  complete = false;
  #body: Uint8Array[] = [];
  readonly #reader: FrameReader;
  readonly #isHead: boolean;
  readonly #tell: Tell;

  constructor(method: string, tell: Tell) {
    this.#isHead = method === "HEAD";
    this.#tell = tell;
    this.#reader = new FrameReader(
      (kind, bytes) => this.#onFrame(kind, bytes),
      (piece) => {
        if (!this.head) throw new MalformedReply("a body without a head");
        if (!this.complete && !this.#isHead) this.#body.push(piece);
      },
    );
  }

  #onFrame(kind: number, bytes: Uint8Array): void {
    if (this.complete) return;
    if (kind === fromGuest.error) throw this.#tell(toldIn(bytes));
    if (kind === fromGuest.head && !this.head) this.head = this.#headIn(bytes);
    else if (kind === fromGuest.end && this.head) this.complete = true;
    else throw new MalformedReply(`a frame of kind ${kind} where none belongs`);
  }

  #headIn(bytes: Uint8Array): Head {
    const told = parsed(bytes);
    if (!Array.isArray(told)) throw new MalformedReply("a head that is none");
    const [status, statusText, fields] = told as unknown[];
    if (!Number.isInteger(status) || (status as number) < 200 || (status as number) > 599)
      throw new MalformedReply("a status that is none");
    try {
      const headers = new Headers(fields as [string, string][]);
      // The body tells its length itself.
      if (!this.#isHead) headers.delete("content-length");
      return { status: status as number, statusText: String(statusText), headers };
    } catch (cause) {
      throw new MalformedReply("headers that are none", { cause });
    }
  }

  feed(bytes: Uint8Array): void {
    this.#reader.feed(bytes);
  }

  end(): void {
    if (!this.complete) throw new MalformedReply("the handler's channel ended within the answer");
  }

  takeBody(): Uint8Array[] {
    const pieces = this.#body;
    this.#body = [];
    return pieces;
  }

  close(): void {}
}

export class FrameWire implements Wire {
  readonly head: Uint8Array;
  readonly hasBody: boolean;
  readonly gathering: Gathering;
  readonly endsWithAnswer = true;
  readonly answer: FrameAnswer;

  constructor(request: Request, tell: Tell, isWarmUp: boolean) {
    this.hasBody = request.body !== null;
    this.gathering = gatheringOf(framingOf(request));
    this.head = encodeRequest(request, (this.hasBody ? requestFlags.body : 0) | (isWarmUp ? requestFlags.warm : 0));
    this.answer = new FrameAnswer(request.method, tell);
  }

  piece(bytes: Uint8Array): Uint8Array {
    const frames = Math.ceil(bytes.length / pieceMax);
    const all = new Uint8Array(bytes.length + frames * frameHead);
    let at = 0;
    for (let from = 0; from < bytes.length; from += pieceMax) {
      const piece = bytes.subarray(from, from + pieceMax);
      writeFrameHead(all, at, toGuest.body, piece.length);
      all.set(piece, at + frameHead);
      at += frameHead + piece.length;
    }
    return all;
  }

  end(): Uint8Array {
    return emptyFrame(toGuest.end);
  }
}

export function emptyFrame(kind: number): Uint8Array {
  const frame = new Uint8Array(frameHead);
  writeFrameHead(frame, 0, kind, 0);
  return frame;
}

function encodeRequest(request: Request, flags: number): Uint8Array {
  const text = encoder.encode(JSON.stringify([flags, request.method, request.url, [...request.headers]]));
  const frame = new Uint8Array(frameHead + entropyBytes + text.length);
  writeFrameHead(frame, 0, toGuest.request, entropyBytes + text.length);
  crypto.getRandomValues(frame.subarray(frameHead, frameHead + entropyBytes));
  frame.set(text, frameHead + entropyBytes);
  return frame;
}

/** The way of requests to a handler of which the user's files are not at hand: its errors have the places in the bundle. */
export function plainWire(request: Request): FrameWire {
  return new FrameWire(request, (told) => handlerFailed(told, told.stack), false);
}
