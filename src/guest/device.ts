/** The machine's own side by a file: `core/linux/files/guest_device.zig` has what is read and written. */
import type { File, Given, Side } from "./side.ts";

/** "PRISTINE", lowest byte first. */
const mark = 0x454e_4954_5349_5250n;
const headBytes = 32;
const at = { mark: 0, command: 8, value: 16, length: 24 } as const;
const commands = { wait: 1n, reply: 2n, take: 3n, generation: 4n } as const;
type Command = keyof typeof commands;

/** For requests and answers; what a caller has that is longer takes a call more, once. */
const firstRoom = 64 * 1024;
const encoder = new TextEncoder();

export class Device implements Side {
  readonly #file: File;
  #room = new Uint8Array(firstRoom);
  #head = new DataView(this.#room.buffer);
  #request = this.#room.subarray(headBytes, headBytes);
  #result: number | undefined;
  #answerBytes = 0;

  constructor(file: File) {
    this.#file = file;
  }

  ready(): void {
    this.#file.write(encoder.encode("ready"));
  }

  generation(): number {
    // The room may hold a request, or its answer.
    const head = new DataView(new ArrayBuffer(128));
    head.setBigUint64(at.mark, mark, true);
    head.setBigUint64(at.command, commands.generation, true);
    this.#file.read(new Uint8Array(head.buffer));
    return Number(head.getBigInt64(at.value, true));
  }

  offer(name: string): void {
    this.#file.write(encoder.encode(`export ${name}`));
  }

  wait(): Given {
    const result = this.#result;
    this.#result = undefined;
    let got = this.#ask(result === undefined ? "wait" : "reply", result ?? 0, this.#answerBytes);
    const length = Number(this.#head.getBigUint64(at.length, true));
    const called = Number(this.#head.getBigInt64(at.value, true));
    if (got < headBytes + length) {
      this.#room = new Uint8Array(2 ** Math.ceil(Math.log2(headBytes + length)));
      this.#head = new DataView(this.#room.buffer);
      got = this.#ask("take", 0, 0);
    }
    this.#request = this.#room.subarray(headBytes, headBytes + length);
    return { function: called, request: this.#request };
  }

  #ask(command: Command, value: number, length: number): number {
    for (let wanted = command; ; wanted = "wait") {
      this.#head.setBigUint64(at.mark, mark, true);
      this.#head.setBigUint64(at.command, commands[wanted], true);
      this.#head.setBigInt64(at.value, BigInt(value), true);
      this.#head.setBigUint64(at.length, BigInt(length), true);
      try {
        return this.#file.read(this.#room);
      } catch (error) {
        // A signal came while nobody called; what was replied has been handed over.
        if (!isInterruption(error)) throw error;
      }
    }
  }

  answer(result: number, bytes: Uint8Array | undefined): void {
    this.#result = result;
    if (bytes === undefined) {
      // What was written into the request itself lies where an answer does.
      this.#answerBytes = Math.min(Math.max(result, 0), this.#request.length);
      return;
    }
    this.#answerBytes = bytes.length;
    // What is too long is refused before it is looked at.
    if (bytes.length <= this.#request.length) this.#request.set(bytes);
  }
}

function isInterruption(error: unknown): boolean {
  return error instanceof Error && (error.name === "Interrupted" || (error as { code?: string }).code === "EINTR");
}
