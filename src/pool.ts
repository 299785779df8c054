/** `Pool`: forks of one snapshot, of which each request gets one that is put back afterwards. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Client, listenerFor } from "./client.ts";
import { badOption, closedError, PristineError } from "./errors.ts";
import { exchange } from "./http/exchange.ts";
import { targetOf } from "./http/message.ts";
import { MalformedReply } from "./http/reply.ts";
import { askOnce } from "./http/warmup.ts";
import type { Wire } from "./http/wire.ts";
import { Inline } from "./inline.ts";
import { Metrics } from "./metrics.ts";
import { parseTimeout } from "./options.ts";
import { Processes } from "./processes.ts";
import type { Fork, Snapshot } from "./snapshot.ts";
import type {
  Args,
  JailPart,
  PoolOptions,
  RequestReport,
  ResetReport,
  Result,
  SaveOptions,
  Signature,
  Stop,
  WaitOptions,
} from "./types.ts";

/** @internal */
export const forksDefault = 4;
const queueDefault = 1024;
const timeoutDefault = 5_000;
/** What a fork's first request gets at least: one that it has not ended in time would have warmed nothing. */
const warmTimeoutMs = 1_000;

/** @internal How the snapshot of a server waits for requests. */
export interface Serving {
  /** Where the server listens inside the machine. */
  readonly address: Extract<Stop, { reason: "listen" }>["address"];
  /** The port of the connections, which may be of another listener's. */
  readonly port: number;
  /** The kept connection on which it waits, or 0. */
  readonly connection: number;
  /** How requests travel; without it, as HTTP. */
  readonly wire?: (request: Request) => Wire;
}

/** @internal What a pool's forks are made of: images of one machine, each in its process, and how it waits for requests. */
export interface Origin {
  readonly images: readonly Snapshot[];
  readonly serving: Serving;
}

interface Waiting {
  readonly give: (fork: Fork) => void;
  readonly refuse: (error: unknown) => void;
}

/** @internal */
export function positive(value: number | undefined, fallback: number, option: string): number {
  if (value === undefined) return fallback;
  if (Number.isInteger(value) && value >= 1) return value;
  throw badOption(option, `\`${option}\` is ${value}`, `give \`${option}\` a whole number of at least 1`);
}

/**
 * Forks of one snapshot on native threads. Requests wait in a bounded queue, in order; each gets a fork, which is reset behind it.
 *
 * @example
 * await using pool = new Pool(image, { forks: 4, timeout: 1_000 });
 * const sum = await pool.use((fork) => fork.call("add", 1, 2));
 */
export class Pool implements AsyncDisposable {
  /** A handler for `Bun.serve`: sends the request to the server in a fork. Never rejects but through `onError`. */
  readonly fetch: (request: Request, server?: unknown) => Promise<Response>;
  /**
   * A listener for `createServer` of `node:http`, which with `per: "connection"` gives all requests of a client's connection one
   * fork. Behind a proxy one connection has the requests of many users.
   */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => void;
  readonly metrics = new Metrics();
  readonly #processes: Processes;
  readonly #options: PoolOptions;
  #serving: Serving | undefined;
  /** Its images are nobody else's. */
  readonly #isOwner: boolean;
  readonly #remake: (() => Promise<Origin>) | undefined;
  #remaking: Promise<void> | undefined;
  readonly #timeout: number;
  readonly #queueMax: number;
  readonly #forksMax: number;
  readonly #free: Fork[] = [];
  readonly #all = new Set<Fork>();
  readonly #waiting: Waiting[] = [];
  /** Clients that have forks. */
  readonly #clients = new Set<Client>();
  #makes = false;
  /** Forks that are having their first request. */
  #warming = 0;
  /** Requests that have a fork. */
  #underWay = 0;
  readonly #inline = new Inline();
  #stopping = false;
  #closed = false;
  #drained: (() => void)[] = [];

  /** @internal */
  constructor(image: Snapshot, options?: PoolOptions, origin?: Origin, remake?: () => Promise<Origin>);
  constructor(image: Snapshot, options?: PoolOptions);
  constructor(image: Snapshot, options: PoolOptions = {}, origin?: Origin, remake?: () => Promise<Origin>) {
    if (options.jail && image.jail.length === 0)
      throw badOption("jail", "the snapshot's machine was not booted in a jail", "give `jail` to Machine.boot() or isolate()");
    this.#processes = new Processes(origin?.images ?? [image]);
    this.#options = options;
    this.#serving = origin?.serving ?? image.serving;
    this.#isOwner = origin !== undefined;
    this.#remake = remake;
    this.#timeout = parseTimeout(options.timeout, "timeout", timeoutDefault);
    this.#forksMax = positive(options.forks, forksDefault, "forks");
    this.#queueMax = positive(options.queue, queueDefault, "queue");
    this.fetch = (request) => this.#fetch(request);
    this.listener = listenerFor({
      fetchFor: (client, request) => this.#fetch(request, client),
      end: (client) => this.#end(client),
    });
    // Behind the caller's own first steps.
    setImmediate(() => this.#makeAhead());
    this.metrics.watch(() => ({ forks: this.#all.size, free: this.#free.length, queued: this.#waiting.length, limit: this.#forksMax }));
  }

  /** Where the server listens inside its machine; of a pool that `isolate` made. */
  get address(): Serving["address"] | undefined {
    return this.#serving?.address;
  }

  /** What the wall around its processes is made of; empty without `jail`. */
  get jail(): readonly JailPart[] {
    return this.#processes.jail;
  }

  /** A fork, as soon as one is free. */
  async #take(signal?: AbortSignal): Promise<Fork> {
    for (;;) {
      if (this.#closed || this.#stopping) throw closedError();
      signal?.throwIfAborted();
      const free = this.#free.pop();
      if (free) {
        if (this.#processes.has(free)) return free;
        this.#drop(free);
        continue;
      }
      if (this.#all.size >= this.#forksMax) {
        // A fork that is being warmed is nobody's, and soon free.
        if (this.#warming <= this.#waiting.length && this.#endIdleClient()) continue;
        return this.#wait(signal);
      }
      const fork = this.#processes.fork({ ...this.#options, timeout: this.#timeout });
      if (fork) {
        this.#all.add(fork);
        return fork;
      }
      await this.#renew();
    }
  }

  /** Makes the forks that are missing before anybody asks for them. */
  async #makeAhead(): Promise<void> {
    if (this.#makes || !this.#serving) return;
    this.#makes = true;
    try {
      while (!this.#closed && !this.#stopping && this.#all.size < this.#forksMax) {
        const fork = this.#processes.fork({ ...this.#options, timeout: this.#timeout });
        if (!fork) return;
        this.#all.add(fork);
        await this.#warm(fork);
        // It could not be put back, and neither could the next one.
        if (!this.#all.has(fork)) return;
      }
    } catch {
      // Who asks for a fork is told.
    } finally {
      this.#makes = false;
    }
  }

  /** Whether a fork keeps what its first request costs over a reset, and may have one that nobody has sent. */
  get #warms(): boolean {
    return this.#serving !== undefined && this.#options.warmup !== 0 && this.#options.reset !== "full";
  }

  /** A request whose answer nobody gets: in memory that no processor has seen yet, the first is slow. */
  async #warm(fork: Fork): Promise<void> {
    this.#warming++;
    if (this.#warms) await askOnce(fork, this.#serving as Serving, Math.max(this.#timeout, warmTimeoutMs)).catch(() => {});
    this.#warming--;
    this.#giveBack(fork, "warmed");
  }

  /** All processes have ended: boots the machine again, once for all who wait. */
  #renew(): Promise<void> {
    if (!this.#remake) throw new PristineError("INTERNAL", "the worker process has ended", "make the snapshot and the pool again", {});
    this.#remaking ??= this.#remake()
      .then((origin) => {
        this.#serving = origin.serving;
        this.#processes.replace(origin.images);
        if (this.#closed) this.#processes.close();
      })
      .finally(() => {
        this.#remaking = undefined;
      });
    return this.#remaking;
  }

  #wait(signal?: AbortSignal): Promise<Fork> {
    if (this.#waiting.length >= this.#queueMax)
      throw new PristineError("BUSY", `${this.#waiting.length} requests wait already`, "raise `queue` or `forks`, or send less", {});
    return new Promise((resolve, reject) => {
      const entry: Waiting = {
        give: (fork) => {
          signal?.removeEventListener("abort", leave);
          resolve(fork);
        },
        refuse: (error) => {
          signal?.removeEventListener("abort", leave);
          reject(error);
        },
      };
      const leave = () => {
        const at = this.#waiting.indexOf(entry);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#waiting.push(entry);
    });
  }

  /**
   * Puts a fork back and gives it to who has waited longest. One that cannot be put back is replaced, and one that has lost its
   * memory by a failure is warmed first.
   */
  #giveBack(fork: Fork, after: "request" | "failure" | "warmed" = "request"): ResetReport | undefined {
    let usable = !this.#closed;
    let report: ResetReport | undefined;
    try {
      if (usable) {
        this.metrics.sample(fork);
        report = fork.reset();
        if (after !== "warmed") this.metrics.reset(report);
      }
    } catch {
      usable = false;
    }
    if (!usable) this.#drop(fork);
    // Whoever waits does so no longer for it, and what it costs is not taken from a request's time.
    if (usable && after === "failure" && this.#warms) {
      void this.#warm(fork);
      return report;
    }
    const next = this.#waiting.shift();
    if (next) {
      if (usable) next.give(fork);
      else this.#take().then(next.give, next.refuse);
    } else if (usable) this.#free.push(fork);
    else void this.#makeAhead();
    if (this.#isIdle()) for (const drained of this.#drained.splice(0)) drained();
    return report;
  }

  /** A client that has no request under way gives up its fork: the one that has been silent longest. */
  #endIdleClient(): boolean {
    const idle = [...this.#clients].filter(({ busy }) => !busy).sort((a, b) => a.usedAt - b.usedAt)[0];
    if (!idle) return false;
    idle.close();
    this.#end(idle);
    return true;
  }

  /** The client's connection is over: its fork is put back, behind the request that is under way. */
  #end(client: Client): void {
    client.ended = true;
    if (client.busy || !client.fork) return;
    const { fork } = client;
    client.fork = undefined;
    this.#clients.delete(client);
    this.#giveBack(fork);
  }

  #drop(fork: Fork): void {
    this.#all.delete(fork);
    this.#processes.forget(fork);
    this.metrics.forget(fork);
    fork.close();
  }

  #isIdle(): boolean {
    return this.#waiting.length === 0 && this.#free.length === this.#all.size;
  }

  /**
   * Runs `body` with a fork that no one else has, and puts it back afterwards.
   *
   * @throws what `body` throws; `BUSY` when the queue is full, `CLOSED`
   */
  async use<T>(body: (fork: Fork) => T | Promise<T>, options: WaitOptions = {}): Promise<T> {
    const fork = await this.#take(options.signal);
    try {
      return await body(fork);
    } finally {
      this.#giveBack(fork);
    }
  }

  /** A function of the guest; each call has a fork of its own. */
  fn<const S extends Signature>(name: string, signature: S): (...args: Args<S>) => Promise<Result<S>> {
    return (...args) => this.use((fork) => fork.fn(name, signature).async(args));
  }

  async #fetch(request: Request, client?: Client): Promise<Response> {
    const began = performance.now();
    const report: RequestReport = { method: request.method, path: targetOf(request.url), status: 0, milliseconds: 0 };
    let response: Response;
    let over = Promise.resolve();
    try {
      ({ response, over } = await this.#serve(request, report, this.#options.per === "connection" ? (client ?? notByFetch()) : undefined));
    } catch (error) {
      report.error = told(error);
      response = await this.#answerFor(report.error, request);
    }
    report.status = response.status;
    report.milliseconds = performance.now() - began;
    this.metrics.request(report);
    if (this.#options.onRequest) over.then(() => this.#options.onRequest?.(report));
    return response;
  }

  /** `over` is when the fork has been put back. */
  async #serve(request: Request, report: RequestReport, client?: Client): Promise<{ response: Response; over: Promise<void> }> {
    if (!this.#serving)
      throw new PristineError("UNSUPPORTED", "the snapshot is not one of a server", "make the pool with isolate()", { feature: "fetch" });
    if (request.headers.get("upgrade")?.toLowerCase() === "websocket")
      throw new PristineError("UNSUPPORTED", "WebSockets are not passed on yet", "serve them outside of the pool", {
        feature: "websocket",
      });
    if (client) await client.begin();
    let fork: Fork;
    try {
      request.signal.throwIfAborted();
      if (client?.ended || client?.isClosing) throw closedError();
      fork = client?.fork ?? (await this.#take(request.signal));
    } catch (error) {
      client?.rest();
      if (client?.ended) this.#end(client);
      throw error;
    }
    const isFresh = client?.isFresh ?? false;
    const isAlone = this.#underWay++ === 0;
    // In a worker process it runs on that one's threads.
    const budget = isAlone && !this.#remake ? this.#inline.budget() : 0;
    try {
      const { response, keeps, overBudget, done } = await exchange(fork, request, {
        ...this.#serving,
        ...(isFresh ? { connection: 0 } : {}),
        ...{ timeout: this.#timeout, signal: request.signal, budget },
      });
      if (budget > 0) this.#inline.note(overBudget);
      if (client && !keeps) client.isFresh = true;
      const over = done
        // Behind the answer: the client does not wait for it.
        .then(() => new Promise<void>((resolve) => setImmediate(resolve)))
        .then(
          () => {
            this.#underWay--;
            if (client) this.#keep(client, fork);
            else report.reset = this.#giveBack(fork);
          },
          (error) => {
            this.#underWay--;
            report.error = told(error);
            this.metrics.brokenOff(report.error);
            report.reset = this.#giveUp(fork, client);
          },
        );
      return { response, over };
    } catch (error) {
      this.#underWay--;
      if (budget > 0) this.#inline.note(true);
      report.reset = this.#giveUp(fork, client);
      throw error;
    }
  }

  /** A request has gone well: its client keeps the fork, unless it has gone or others wait. */
  #keep(client: Client, fork: Fork): void {
    client.fork = fork;
    client.rest();
    client.usedAt = performance.now();
    this.#clients.add(client);
    // Those for whom a fork is being warmed do not want this one.
    if (this.#waiting.length > this.#warming || this.#stopping) client.close();
    else if (!client.ended) return;
    this.#end(client);
  }

  /** A request has gone wrong: what its client had is lost, and so is its connection. */
  #giveUp(fork: Fork, client?: Client): ResetReport | undefined {
    if (client) {
      client.fork = undefined;
      this.#clients.delete(client);
      client.close();
      client.rest();
    }
    return this.#giveBack(fork, "failure");
  }

  async #answerFor(error: unknown, request: Request): Promise<Response> {
    if (PristineError.is(error)) {
      const own = await this.#options.onError?.(error, request);
      if (own) return own;
    }
    return new Response(null, { status: statusOf(error) });
  }

  /**
   * Saves the snapshot that its forks are made of, warm and waiting for requests; `new Pool(await Snapshot.open(path))` serves from it.
   *
   * @throws as `Snapshot.save`
   */
  async save(path: string | URL, options: SaveOptions = {}): Promise<void> {
    if (this.#closed) throw closedError();
    await this.#processes.image().save(path, options);
  }

  /** Takes no more requests, and waits for those that it has. */
  async stop(options: WaitOptions = {}): Promise<void> {
    this.#stopping = true;
    while (this.#endIdleClient());
    const drained = this.#isIdle() ? Promise.resolve() : new Promise<void>((resolve) => this.#drained.push(resolve));
    const timeout = parseTimeout(options.timeout, "timeout", Infinity);
    const late = new Promise<void>((resolve) => timeout !== Infinity && setTimeout(resolve, timeout).unref());
    await Promise.race([drained, late]);
    this.close();
  }

  /** Ends all at once; requests under way fail. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { refuse } of this.#waiting.splice(0)) refuse(closedError());
    for (const fork of this.#all) {
      this.metrics.forget(fork);
      fork.close();
    }
    if (this.#isOwner) this.#processes.close();
    this.#all.clear();
    this.#free.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ timeout: 5_000 });
  }
}

/** An error as callers are told it: a malformed answer is one of Pristine's. */
function told(error: unknown): unknown {
  if (!(error instanceof MalformedReply)) return error;
  return new PristineError("BAD_REPLY", `the server's answer is malformed: ${error.message}`, "the fault is in the guest", {});
}

function notByFetch(): never {
  throw new PristineError(
    "UNSUPPORTED",
    "fetch() is not told which connection a request came on",
    "give `pool.listener` to createServer() of node:http",
    {
      feature: "per connection",
    },
  );
}

/** The status for a request that went wrong. */
function statusOf(error: unknown): number {
  if (!PristineError.is(error)) return (error as Error)?.name === "AbortError" ? 499 : 500;
  switch (error.code) {
    case "TIMEOUT":
      return 504;
    case "BAD_REPLY":
      return 502;
    case "BUSY":
    case "CLOSED":
      return 503;
    case "UNSUPPORTED":
      return 501;
    default:
      return 500;
  }
}
