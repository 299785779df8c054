/** The guest's side of the frames: one descriptor, read and written as a whole. */
import { frameHead, frameLength, fromGuest, type Told, writeFrameHead } from "../handler/kinds.ts";

/** What differs from runtime to runtime. */
export interface Descriptor {
  /** Waits, and the event loop with it. */
  read(into: Uint8Array): number;
  /** Waits beside the event loop. */
  readLater(into: Uint8Array): Promise<number>;
  write(bytes: Uint8Array): number;
}

export interface Frame {
  readonly kind: number;
  /** Valid until the next read. */
  readonly bytes: Uint8Array;
}

/** For a head and the body that goes with it (`http/wire.ts`): what does not come in one read is read beside the event loop, which takes long. */
const firstRoom = 192 * 1024;
/** What is gathered before it is written. */
const outgoingMax = 64 * 1024;
const encoder = new TextEncoder();

/** Of a read that is also an answer: its mark and the answer's length, 8 bytes each. */
const answerMark = 0x5257_534e_4150_5250n;
const answerHead = 16;

/** A buffer that is no answer, whatever it held before. */
function unmarked(room: Uint8Array): Uint8Array {
  return room.fill(0, 0, Math.min(8, room.length));
}

export class Channel {
  readonly #descriptor: Descriptor;
  #incoming = new Uint8Array(firstRoom);
  #start = 0;
  #end = 0;
  #outgoing = new Uint8Array(outgoingMax);
  #used = 0;

  constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
  }

  /** The next frame that has come already. */
  ready(): Frame | undefined {
    if (this.#end - this.#start < frameHead) return undefined;
    const length = frameLength(this.#incoming, this.#start);
    const from = this.#start + frameHead;
    if (this.#end - from < length) return undefined;
    this.#start = from + length;
    return { kind: this.#incoming[from - frameHead] as number, bytes: this.#incoming.subarray(from, this.#start) };
  }

  /** Sends what was gathered, and waits for the next frame; nothing else runs meanwhile. */
  next(): Frame {
    for (;;) {
      const frame = this.ready();
      if (frame) {
        this.flush();
        return frame;
      }
      this.#took(this.#exchange(this.#room()));
    }
  }

  /** Reads; if what was gathered has room in front, the same call sends it (`outside.zig`). */
  #exchange(room: Uint8Array): number {
    if (this.#used > 0 && answerHead + this.#used <= room.length) {
      new DataView(room.buffer, room.byteOffset).setBigUint64(0, answerMark, true);
      new DataView(room.buffer, room.byteOffset).setBigUint64(8, BigInt(this.#used), true);
      room.set(this.#outgoing.subarray(0, this.#used), answerHead);
      try {
        const count = this.#descriptor.read(room);
        this.#used = 0;
        return count;
      } catch {
        // What went before has not been taken yet: the write waits for that.
      }
    }
    this.flush();
    return this.#descriptor.read(unmarked(room));
  }

  /** The next frame, beside the event loop. */
  async later(): Promise<Frame> {
    for (;;) {
      const frame = this.ready();
      if (frame) return frame;
      this.#took(await this.#descriptor.readLater(unmarked(this.#room())));
    }
  }

  #took(count: number): void {
    if (count <= 0) throw new Error("the embedder has gone");
    this.#end += count;
  }

  #room(): Uint8Array {
    if (this.#start > 0) {
      this.#incoming.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    if (this.#end === this.#incoming.length) {
      const larger = new Uint8Array(2 * this.#incoming.length);
      larger.set(this.#incoming);
      this.#incoming = larger;
    }
    return this.#incoming.subarray(this.#end);
  }

  /** Gathers a frame; `flush` sends what was gathered. */
  put(kind: number, bytes: Uint8Array): void {
    this.#reserve(frameHead + bytes.length);
    writeFrameHead(this.#outgoing, this.#used, kind, bytes.length);
    this.#outgoing.set(bytes, this.#used + frameHead);
    this.#used += frameHead + bytes.length;
  }

  putText(kind: number, text: string): void {
    // A UTF-16 unit is three bytes of UTF-8 at most.
    this.#reserve(frameHead + 3 * text.length);
    const { written } = encoder.encodeInto(text, this.#outgoing.subarray(this.#used + frameHead));
    writeFrameHead(this.#outgoing, this.#used, kind, written);
    this.#used += frameHead + written;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#outgoing.length) return;
    if (this.#used > 0) this.flush();
    if (bytes > this.#outgoing.length) this.#outgoing = new Uint8Array(bytes);
  }

  flush(): void {
    let at = 0;
    while (at < this.#used) at += this.#descriptor.write(this.#outgoing.subarray(at, this.#used));
    this.#used = 0;
  }

  /** Throws away what was gathered, and tells of an error in its place. */
  fail(error: unknown): void {
    this.#used = 0;
    this.putText(fromGuest.error, JSON.stringify(told(error)));
    this.flush();
  }
}

function told(error: unknown): Told {
  if (error instanceof Error) {
    const { name, message, stack } = error;
    return { name: String(name), message: String(message), stack: String(stack ?? "") };
  }
  let message: string;
  try {
    message = String(error);
  } catch {
    message = "a value that is no text";
  }
  return { name: "Error", message: `what was thrown is no Error: ${message}`, stack: "" };
}
