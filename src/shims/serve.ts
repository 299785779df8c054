/**
 * What a handler runs in, in every runtime: reads a request, calls the handler, writes its answer. While it waits for a request
 * nothing of the guest runs: that is where the machine is frozen.
 */
import { createRequire } from "node:module";
import { entropyBytes, fromGuest, requestFlags, toGuest } from "../handler/kinds.ts";
import { Channel, type Descriptor } from "./channel.ts";
import type { Store } from "./crypto.ts";
import { random, seed } from "./random.ts";

export interface Runtime extends Descriptor {
  /** Collects garbage, if the runtime lets it. */
  collect(): void;
  /** Errors that nobody catches go there, in place of ending the program. */
  onUncaught(report: (error: unknown) => void): void;
  /** The handler's bundle has been loaded. */
  loaded?(bundle: string): void;
  /** Random numbers from before the fork. */
  readonly stores: readonly Store[];
}

type Handler = (request: Request) => Response | Promise<Response>;
type Head = [flags: number, method: string, url: string, headers: [string, string][]];

const decoder = new TextDecoder();
/** The longest interval that all runtimes take. */
const longestMs = 2 ** 31 - 1;
const settlePauseMs = 5;
const settleRounds = 3;

function handlerOf(module: { default?: unknown }): Handler {
  const exported = module.default;
  if (typeof exported === "function") return exported as Handler;
  const { fetch } = (exported ?? {}) as { fetch?: unknown };
  if (typeof fetch === "function") return (request) => (fetch as Handler).call(exported, request);
  throw new TypeError("the module's default export is neither a function nor an object with a function `fetch`");
}

class Server {
  readonly #runtime: Runtime;
  readonly #channel: Channel;
  readonly #handler: Handler;
  /** Ends the request under way. */
  #reject: ((error: unknown) => void) | undefined;

  constructor(runtime: Runtime, channel: Channel, handler: Handler) {
    this.#runtime = runtime;
    this.#channel = channel;
    this.#handler = handler;
    runtime.onUncaught((error) => this.#reject?.(error));
  }

  async run(): Promise<never> {
    for (;;) {
      const { kind, bytes } = this.#channel.next();
      if (kind === toGuest.request) await this.#request(bytes);
      else if (kind === toGuest.settle) await this.#settle();
    }
  }

  async #settle(): Promise<void> {
    for (let round = 0; round < settleRounds; round++) {
      await new Promise((resolve) => setTimeout(resolve, settlePauseMs));
      this.#runtime.collect();
    }
    this.#channel.putText(fromGuest.ready, "");
    this.#channel.flush();
  }

  async #request(bytes: Uint8Array): Promise<void> {
    seed(bytes);
    for (const store of this.#runtime.stores) store.age();
    const [flags, method, url, headers] = JSON.parse(decoder.decode(bytes.subarray(entropyBytes))) as Head;
    const uncaught = new Promise<never>((_, reject) => {
      this.#reject = reject;
    });
    try {
      const body = (flags & requestFlags.body) === 0 ? undefined : bodyOf(this.#channel);
      const request = new Request(url, { method, headers, body, duplex: "half" } as RequestInit);
      await Promise.race([this.#answer(request), uncaught]);
    } catch (error) {
      this.#channel.fail(error);
    }
    this.#reject = undefined;
    if ((flags & requestFlags.warm) !== 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }

  async #answer(request: Request): Promise<void> {
    const channel = this.#channel;
    const response = await this.#handler(request);
    if (!(response instanceof Response) || response.status < 200)
      throw new TypeError(`the handler returned ${response === null ? "null" : typeof response} in place of a Response`);
    channel.putText(fromGuest.head, JSON.stringify([response.status, response.statusText, [...response.headers]]));
    if (response.body) await send(response.body, channel);
    // It goes with the read of the next request.
    channel.putText(fromGuest.end, "");
  }
}

/** Sends pieces as they come; those that come at once go with the head. */
async function send(body: ReadableStream<Uint8Array>, channel: Channel): Promise<void> {
  const reader = body.getReader();
  let flushing: ReturnType<typeof setImmediate> | undefined;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (!(value instanceof Uint8Array)) throw new TypeError("a piece of the response's body is not a Uint8Array");
      channel.put(fromGuest.body, value);
      flushing ??= setImmediate(() => {
        flushing = undefined;
        channel.flush();
      });
    }
  } finally {
    if (flushing) clearImmediate(flushing);
  }
}

/** The body of a request: bytes if all of it has come, else a stream of the pieces. */
function bodyOf(channel: Channel): Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let frame = channel.ready(); frame; frame = channel.ready()) {
    if (frame.kind === toGuest.end) return joined(pieces);
    pieces.push(frame.bytes.slice());
  }
  return new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
    },
    async pull(controller) {
      const frame = await channel.later();
      if (frame.kind === toGuest.end) controller.close();
      else controller.enqueue(frame.bytes.slice());
    },
  });
}

function joined(pieces: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  if (pieces.length === 1) return pieces[0] as Uint8Array<ArrayBuffer>;
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Loads the bundle of the handler in `file` and serves it, without end. */
export async function serve(runtime: Runtime, bundle: string, file: string): Promise<void> {
  // CommonJS modules of the bundle ask for the runtime's own by it.
  (globalThis as { require?: unknown }).require ??= createRequire(file);
  // A runtime ends when nothing is left to wait for; a handler that never answers waits all the same, as behind a server.
  setInterval(() => {}, longestMs);
  Math.random = random;
  const channel = new Channel(runtime);
  let handler: Handler;
  try {
    handler = handlerOf(await import(bundle));
    runtime.loaded?.(bundle);
  } catch (error) {
    channel.fail(error);
    return;
  }
  channel.putText(fromGuest.ready, "");
  channel.flush();
  await new Server(runtime, channel, handler).run();
}
