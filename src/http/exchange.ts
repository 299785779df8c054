/** One request to a server inside a fork, and its answer. */
import { endedEarly, PristineError } from "../errors.ts";
import { check, core } from "../ffi/library.ts";
import { handleOf, interruptPause, type Machine, restOf, type Step, stepHere, stepOf } from "../machine.ts";
import { forClient, MalformedReply } from "./reply.ts";
import { gatheredMax, HttpWire, type Wire } from "./wire.ts";

/** Results of the core that are no status. */
const ended = -1000;
const reset = -1001;
const endAll = 1;
/** How long a small body is waited for before its head goes alone, in milliseconds. */
const gatherMs = 50;
/** What is gathered of one that is longer than it says, or does not say. */
const gatherBytes = 2 * gatheredMax;
const receiveBytes = 256 * 1024;
const received = new Uint8Array(receiveBytes);
const bodyless = new Set([101, 204, 205, 304]);
const withinRequest = { who: "the server", when: "during a request", hint: "the fault is in the program: no request may end it" };

export interface ExchangeOptions {
  /** The connection that the snapshot has ready, or 0 for a new one. */
  readonly connection: number;
  readonly port: number;
  /** Milliseconds for all of it. */
  readonly timeout: number;
  /** Ends it: the client has gone. */
  readonly signal?: AbortSignal;
  /** Milliseconds for which the server may run on this thread before it goes on on another. */
  readonly budget?: number;
  /** How the request travels; without it, as HTTP. */
  readonly wire?: (request: Request) => Wire;
}

export interface Exchanged {
  readonly response: Response;
  /** The server keeps the connection for another request. */
  readonly keeps: boolean;
  /** The server ran for longer than it may on this thread. */
  readonly overBudget: boolean;
  /** Settles when the fork is done with the request; rejects if the body could not be finished. */
  readonly done: Promise<void>;
}

/** The answer's body while it is on its way. */
class BodyStream {
  readonly stream: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #wanted: (() => void) | undefined;

  constructor(cancelled: () => void) {
    this.stream = new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
      },
      pull: () => {
        this.#wanted?.();
        this.#wanted = undefined;
      },
      cancel: () => {
        cancelled();
        this.#wanted?.();
      },
    });
  }

  push(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) if (piece.length > 0) this.#controller?.enqueue(piece);
  }

  /** Waits until the client has taken what it was given. */
  room(): Promise<void> | undefined {
    if ((this.#controller?.desiredSize ?? 1) > 0) return undefined;
    return new Promise((resolve) => {
      this.#wanted = resolve;
    });
  }

  end(): void {
    this.#controller?.close();
  }

  fail(error: unknown): void {
    this.#controller?.error(error);
  }
}

class Exchange {
  readonly #fork: Machine;
  readonly #handle: number;
  readonly #options: ExchangeOptions;
  readonly #deadline: number;
  readonly #abort = new AbortController();
  readonly #wire: Wire;
  readonly #reader: { read(): Promise<{ done: boolean; value?: Uint8Array }>; cancel(): Promise<void> } | undefined;
  readonly #connection: number;
  #outgoing: Uint8Array;
  /** A piece of the request's body that has not come yet. */
  #reading: Promise<void> | undefined;
  #bodyEnded = false;
  /** Bytes of the answer so far. */
  #taken = 0;
  #budget: number;
  /** It had something to do for longer than its budget. */
  #overBudget = false;
  /** It was stopped as soon as it had sent something, and goes on from there. */
  #isMidway = false;
  /** What went wrong behind a whole answer. */
  #failure: PristineError | undefined;
  #body: BodyStream | undefined;

  constructor(fork: Machine, request: Request, options: ExchangeOptions) {
    this.#fork = fork;
    this.#handle = handleOf(fork);
    this.#options = options;
    this.#deadline = performance.now() + options.timeout;
    this.#budget = options.budget ?? 0;
    this.#wire = options.wire?.(request) ?? new HttpWire(request, options.connection !== 0);
    this.#reader = this.#wire.hasBody ? (request.body as ReadableStream<Uint8Array>).getReader() : undefined;
    this.#outgoing = this.#wire.head;
    this.#connection = options.connection || check(core().pristine_connection_open(this.#handle, options.port));
  }

  /** Runs the fork until there is a head, and goes on with the rest by itself. */
  async begin(): Promise<Exchanged> {
    const leave = () => this.#abort.abort(new DOMException("the client has gone", "AbortError"));
    this.#options.signal?.addEventListener("abort", leave, { once: true });
    const over = () => {
      this.#options.signal?.removeEventListener("abort", leave);
      this.#wire.answer.close();
      this.#reader?.cancel().catch(() => {});
      // One that was made for this request alone.
      if (this.#options.connection === 0) core().pristine_connection_end(this.#handle, this.#connection, endAll);
    };
    try {
      if (this.#wire.gathering !== "none") await this.#gather();
      while (!this.#wire.answer.head || this.#wire.answer.head.status < 200 || this.#goesOnHere()) await this.#stepTowardsHead();
    } catch (error) {
      over();
      throw error;
    }
    const { status, statusText, headers } = this.#wire.answer.head;
    const init = { status, statusText, headers: forClient(headers) };
    if (this.#wire.answer.complete) {
      over();
      const pieces = this.#wire.answer.takeBody();
      const body = bodyless.has(status) || pieces.length === 0 ? null : pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
      const response = new Response(body as Uint8Array<ArrayBuffer> | null, init);
      return { response, keeps: this.#wire.answer.keepsAlive, overBudget: this.#overBudget, done: this.#finish() };
    }
    this.#body = new BodyStream(leave);
    this.#body.push(this.#wire.answer.takeBody());
    const response = new Response(this.#body.stream, init);
    const done = this.#rest(this.#body).finally(over);
    return { response, keeps: this.#wire.answer.keepsAlive, overBudget: this.#overBudget, done };
  }

  async #rest(body: BodyStream): Promise<void> {
    try {
      while (!this.#wire.answer.complete) {
        await body.room();
        await this.#step();
        body.push(this.#wire.answer.takeBody());
      }
      body.end();
      await this.#finish();
    } catch (error) {
      body.fail(error);
      throw error;
    }
  }

  /** Hands over what there is, lets the fork run, and takes what it answers. */
  async #step(): Promise<void> {
    this.#send();
    this.#readOn();
    const left = this.#deadline - performance.now();
    if (this.#budget > 0 && left > 0 && (this.#bodyEnded || !this.#reading)) return this.#stepHere(left);
    this.#isMidway = false;
    const ran = stepOf(this.#fork, Math.max(0, left), this.#abort.signal).catch((error) => this.#fail(error));
    if (this.#reading) {
      let settled = false;
      const pause = () => {
        if (!settled) core().pristine_machine_interrupt(this.#handle, interruptPause);
      };
      this.#reading.then(pause, pause);
      try {
        this.#receive(await ran);
      } finally {
        settled = true;
      }
    } else this.#receive(await ran);
  }

  /** A step that may fail behind a whole answer: that is then not the client's concern. */
  async #stepTowardsHead(): Promise<void> {
    try {
      await this.#step();
    } catch (error) {
      if (!PristineError.is(error, "TIMEOUT") || !this.#takeAll()) throw error;
      this.#failure = error;
    }
  }

  /** The server may answer in pieces: as long as some budget is left. */
  #stepHere(left: number): void {
    const began = performance.now();
    let step: Step;
    try {
      step = stepHere(this.#fork, "answer", this.#budget, left);
    } catch (error) {
      this.#fail(error);
    }
    const hasSent = this.#receive(step);
    // What was paused without that has used all it had.
    this.#overBudget = step.reason === "paused" && !hasSent;
    this.#isMidway = step.reason === "paused" && hasSent;
    this.#budget = this.#overBudget ? 0 : Math.max(0, this.#budget - (performance.now() - began));
  }

  /** The rest may come at once, or be wrong, while there is still time to say so. */
  #goesOnHere(): boolean {
    return this.#isMidway && this.#budget > 0 && !this.#wire.answer.complete;
  }

  /** Behind the answer: the server does what it has left for then, as far as it has time for the request. */
  async #finish(): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (!this.#isMidway || this.#wire.endsWithAnswer) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    try {
      const left = this.#deadline - performance.now();
      const step = this.#budget > 0 && left > 0 ? stepHere(this.#fork, "rest", this.#budget, left) : undefined;
      if (!step || step.reason === "paused") await restOf(this.#fork, Math.max(0, this.#deadline - performance.now()));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A time-out is the whole request's, of which the step that was under way had only what was left. */
  #fail(error: unknown): never {
    if (!PristineError.is(error, "TIMEOUT") || error.details.kind !== "wall") throw error;
    const milliseconds = this.#options.timeout;
    const details = { kind: "wall", milliseconds } as const;
    throw new PristineError("TIMEOUT", `the server took longer than ${milliseconds} ms`, "raise `timeout` (--timeout)", details);
  }

  #send(): void {
    while (this.#outgoing.length > 0) {
      const taken = core().pristine_connection_send(this.#handle, this.#connection, this.#outgoing, this.#outgoing.length);
      // It reads no more: what it has to say comes all the same.
      if (taken === ended || taken === reset) this.#outgoing = new Uint8Array();
      else if (check(taken) === 0) return;
      else this.#outgoing = this.#outgoing.subarray(taken);
    }
  }

  /** Asks for the next piece of the body if all that came before has been handed over. */
  #readOn(): void {
    if (this.#outgoing.length === 0) this.#readPiece();
  }

  #readPiece(): void {
    if (!this.#reader || this.#reading) return;
    this.#reading = this.#reader.read().then(
      ({ done, value }) => {
        const piece = done ? this.#wire.end() : this.#wire.piece(value as Uint8Array);
        this.#outgoing = this.#outgoing.length === 0 ? piece : Buffer.concat([this.#outgoing, piece]);
        // Behind the end nothing ever comes.
        this.#reading = done ? new Promise(() => {}) : undefined;
        this.#bodyEnded = done;
      },
      (error) => this.#abort.abort(error),
    );
  }

  /** Takes a small body, so that it goes with the head. What is late follows by itself. */
  async #gather(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = this.#wire.gathering === "all" ? setTimeout(resolve, gatherMs) : undefined;
    if (!timer) setImmediate(resolve);
    let isLate = false;
    late.then(() => {
      isLate = true;
    });
    // A body that failed has settled for good: waiting for it would keep everything else from running.
    while (!this.#bodyEnded && !isLate && !this.#abort.signal.aborted && this.#outgoing.length < gatherBytes) {
      this.#readPiece();
      await Promise.race([this.#reading, late]);
    }
    clearTimeout(timer);
  }

  /** Takes what the server has sent; whether that was anything. */
  #receive(step: Step): boolean {
    const before = this.#taken;
    if (this.#takeAll()) return true;
    if (step.reason !== "idle" && step.reason !== "paused") throw endedEarly(step, withinRequest);
    return this.#taken > before;
  }

  /** Takes what there is, and says whether the answer is over. */
  #takeAll(): boolean {
    for (;;) {
      const count = core().pristine_connection_receive(this.#handle, this.#connection, received, receiveBytes);
      if (count === ended || count === reset) {
        if (count === reset && !this.#wire.answer.head) throw new MalformedReply("the server closed the connection without an answer");
        this.#wire.answer.end();
        return true;
      }
      if (check(count) === 0) return false;
      this.#taken += count;
      this.#wire.answer.feed(received.subarray(0, count));
      if (this.#wire.answer.complete) return true;
    }
  }
}

/**
 * Sends a request to the server in a fork. Resolves with the response as soon as its head is there.
 *
 * @throws `MalformedReply`, `TIMEOUT`, `GUEST_EXIT`, `GUEST_FAULT`; an AbortError when the client has gone
 */
export function exchange(fork: Machine, request: Request, options: ExchangeOptions): Promise<Exchanged> {
  return new Exchange(fork, request, options).begin();
}
