/** What `pristine serve` tells while it serves: messages or a line of JSON each, and one line on a terminal that is kept fresh. */
import { PristineError } from "../../errors.ts";
import { fs } from "../../lazy.ts";
import type { PoolState } from "../../metrics.ts";
import type { RequestReport } from "../../types.ts";
import { say } from "../status.ts";

const refreshMs = 500;
/** The latencies that the median is of. */
const latenciesMax = 1024;
/** Messages about failed requests between two refreshes, lest they are all there is. */
const failuresMax = 10;
/** How long to wait for the reader of a pipe that is full. */
const fullPipeMs = 1;
const clearLine = "\r\x1b[K";

export interface ReporterOptions {
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly json: boolean;
}

export class Reporter implements Disposable {
  readonly #options: ReporterOptions;
  readonly #isLive: boolean;
  readonly #latencies: number[] = [];
  #answered = 0;
  #failures = 0;
  #suppressed = 0;
  #line = "";
  #timer: Timer | undefined;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#isLive = process.stderr.isTTY === true && !options.quiet && !options.json;
  }

  /** Starts what is shown regularly. */
  start(state: () => PoolState): void {
    let [at, answered] = [performance.now(), 0];
    this.#timer = setInterval(() => {
      const now = performance.now();
      const rate = ((this.#answered - answered) * 1000) / (now - at);
      [at, answered] = [now, this.#answered];
      this.#failures = 0;
      if (this.#suppressed > 0) this.#message(`${this.#suppressed} more requests failed`, "--verbose shows all");
      this.#suppressed = 0;
      if (this.#isLive) this.#draw(statusLine(rate, state(), median(this.#latencies)));
    }, refreshMs);
    this.#timer.unref();
  }

  /** An event of the server's own. `text` is for people; without it the event is only for programs. */
  event(event: string, details: Record<string, unknown>, text?: string): void {
    if (this.#options.json) this.#json({ event, ...details });
    else if (text !== undefined && !this.#options.quiet) this.#message(text, "");
  }

  request(report: RequestReport): void {
    this.#answered++;
    this.#latencies[this.#answered % latenciesMax] = report.milliseconds;
    const { json, quiet, verbose } = this.#options;
    if (json) this.#json({ event: "request", ...plain(report) });
    if (json || quiet) return;
    const { method, path, status, milliseconds, error } = report;
    const what = `${method} ${printable(path)} ${status}`;
    if (verbose) this.#message(`${what} ${milliseconds.toFixed(1)} ms${wayBack(report)}`, messageOf(error));
    else if (error !== undefined && status !== 499) {
      if (++this.#failures > failuresMax) this.#suppressed++;
      else this.#message(what, messageOf(error));
    }
  }

  #json(line: object): void {
    write(1, `${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`);
  }

  #message(what: string, hint: string): void {
    if (this.#line !== "") write(2, clearLine);
    say(what, hint);
    if (this.#line !== "") write(2, this.#line);
  }

  #draw(line: string): void {
    this.#line = line.slice(0, Math.max(20, (process.stderr.columns || 80) - 1));
    write(2, clearLine + this.#line);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#line !== "") write(2, clearLine);
    this.#line = "";
  }
}

/** Writes all of a text; a reader that is slow is waited for, so that no line is lost and none is kept in memory. */
function write(descriptor: 1 | 2, text: string): void {
  let left = Buffer.from(text);
  while (left.length > 0) {
    try {
      left = left.subarray(fs().writeSync(descriptor, left));
    } catch (error) {
      // Else nobody reads it any more; the server goes on.
      if ((error as { code?: string }).code !== "EAGAIN") return;
      Bun.sleepSync(fullPipeMs);
    }
  }
}

function median(values: readonly number[]): number | undefined {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function statusLine(rate: number, { forks, free, limit, queued }: PoolState, p50: number | undefined): string {
  const latency = p50 === undefined ? "" : ` · p50 ${p50 < 10 ? p50.toFixed(2) : p50.toFixed(0)} ms`;
  return `${rate.toFixed(0)} requests/s · ${forks - free} of ${limit} forks busy${queued > 0 ? ` · ${queued} waiting` : ""}${latency}`;
}

function wayBack({ reset }: RequestReport): string {
  return reset ? `, ${reset.mode} of ${reset.pages} pages in ${(reset.nanoseconds / 1000).toFixed(0)} µs` : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "";
}

/** A client's text on a terminal: nothing that the terminal would obey. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 200);
}

function plain({ error, milliseconds, ...others }: RequestReport): object {
  const rest = { ...others, milliseconds: Number(milliseconds.toFixed(3)) };
  if (error === undefined) return rest;
  return { ...rest, error: { code: PristineError.is(error) ? error.code : "ABORTED", message: messageOf(error) } };
}
