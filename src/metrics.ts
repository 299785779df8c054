/** What a pool has done, as numbers and as Prometheus text. */
import { PristineError } from "./errors.ts";
import type { Counters, RequestReport, ResetReport } from "./types.ts";

/** Upper bounds of the latency histogram, in seconds. */
const latencyBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
/** Upper bounds of the histogram of pages that a reset puts back. */
const pageBounds = [0, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384];
const pageBytes = 4096;
/** A fork's counters are read at most this often: the pages that it has alone have to be counted. */
const sampleEveryMs = 1000;

export interface PoolState {
  readonly forks: number;
  readonly free: number;
  readonly queued: number;
  readonly limit: number;
}

/** Counts of values up to each of some bounds, and of all. */
class Histogram {
  readonly bounds: readonly number[];
  /** How many values were in each range: above the bound before, up to this one; the last is of those above all bounds. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  add(value: number): void {
    const index = this.bounds.findIndex((bound) => value <= bound);
    const range = index < 0 ? this.bounds.length : index;
    this.counts[range] = (this.counts[range] as number) + 1;
    this.sum += value;
  }

  get count(): number {
    return this.counts.reduce((total, count) => total + count, 0);
  }
}

/** @internal A machine whose counters are read. */
interface Counted {
  counters(): Counters;
}

interface Sample {
  at: number;
  exits: number;
  faults: number;
  privatePages: number;
}

export class Metrics {
  readonly byStatus = new Map<number, number>();
  /** By the code of the error; `ABORTED` are clients that left. */
  readonly failures = new Map<string, number>();
  /** Seconds to the head of an answer. */
  readonly latency = new Histogram(latencyBounds);
  /** Pages that each reset put back. */
  readonly pages = new Histogram(pageBounds);
  readonly resets = { rewrite: 0, full: 0, seconds: 0 };
  /** What forks that are gone have counted. */
  readonly #gone = { exits: 0, faults: 0 };
  readonly #samples = new Map<Counted, Sample>();
  #state: () => PoolState = () => ({ forks: 0, free: 0, queued: 0, limit: 0 });

  /** @internal */
  watch(state: () => PoolState): void {
    this.#state = state;
  }

  get state(): PoolState {
    return this.#state();
  }

  /** Of all forks so far, as of at most a second ago. */
  get guest(): { exits: number; faults: number; privateBytes: number } {
    const total = { ...this.#gone, privateBytes: 0 };
    for (const { exits, faults, privatePages } of this.#samples.values()) {
      total.exits += exits;
      total.faults += faults;
      total.privateBytes += privatePages * pageBytes;
    }
    return total;
  }

  /** @internal */
  request({ status, milliseconds, error }: RequestReport): void {
    this.byStatus.set(status, (this.byStatus.get(status) ?? 0) + 1);
    this.latency.add(milliseconds / 1000);
    if (error !== undefined) this.brokenOff(error);
  }

  /** @internal */
  brokenOff(error: unknown): void {
    const code = PristineError.is(error) ? error.code : (error as Error)?.name === "AbortError" ? "ABORTED" : "OTHER";
    this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
  }

  /** @internal */
  reset({ mode, pages, nanoseconds }: ResetReport): void {
    this.resets[mode]++;
    this.resets.seconds += nanoseconds / 1e9;
    this.pages.add(pages);
  }

  /** @internal Reads the counters of a fork that does not run, unless that was done just now. */
  sample(fork: Counted): void {
    const now = performance.now();
    const before = this.#samples.get(fork);
    if (before && now - before.at < sampleEveryMs) return;
    const { exits, faults, pagesTouched } = fork.counters();
    this.#samples.set(fork, { at: now, exits, faults, privatePages: pagesTouched });
  }

  /** @internal A fork is closed. */
  forget(fork: Counted): void {
    const last = this.#samples.get(fork);
    if (!last) return;
    this.#samples.delete(fork);
    this.#gone.exits += last.exits;
    this.#gone.faults += last.faults;
  }

  /** All of it as plain numbers. */
  toJSON(): object {
    const { latency, pages, resets, state, guest } = this;
    const ranges = ({ bounds, counts, sum, count }: Histogram) => ({ bounds, counts, sum, count });
    return {
      requests: Object.fromEntries(this.byStatus),
      failures: Object.fromEntries(this.failures),
      latency: ranges(latency),
      pages: ranges(pages),
      resets,
      forks: state,
      guest,
    };
  }

  /** Prometheus' text format, version 0.0.4. */
  toString(): string {
    const { forks, free, queued, limit } = this.state;
    const { exits, faults, privateBytes } = this.guest;
    const labelled = (label: string, values: Iterable<[string | number, number]>) =>
      [...values].map(([value, count]): Line => [`{${label}="${value}"}`, count]);
    return [
      family(
        "requests_total",
        "counter",
        "Requests by the status of their answer; 499: the client left.",
        labelled("status", this.byStatus),
      ),
      family("failures_total", "counter", "Requests that went wrong, by the code of the error.", labelled("code", this.failures)),
      histogram("request_seconds", "Time from a request to the head of its answer.", this.latency),
      family("resets_total", "counter", "Resets of forks by their way.", [
        ['{mode="rewrite"}', this.resets.rewrite],
        ['{mode="full"}', this.resets.full],
      ]),
      histogram("reset_pages", "Pages that a reset copied back or dropped.", this.pages),
      family("reset_seconds_total", "counter", "Time that resets took.", [["", this.resets.seconds]]),
      family("forks", "gauge", "Forks by what they do.", [
        ['{state="busy"}', forks - free],
        ['{state="free"}', free],
      ]),
      family("forks_limit", "gauge", "Forks that there may be.", [["", limit]]),
      family("queue", "gauge", "Requests that wait for a fork.", [["", queued]]),
      family("private_bytes", "gauge", "Memory that forks had of their own behind a request, at most a second ago.", [["", privateBytes]]),
      family("exits_total", "counter", "Exits of virtual CPUs to the host.", [["", exits]]),
      family("faults_total", "counter", "Page faults that the host resolved.", [["", faults]]),
    ].join("");
  }
}

type Line = readonly [labels: string, value: number];

function family(name: string, type: "counter" | "gauge", help: string, lines: readonly Line[]): string {
  const body = lines.map(([labels, value]) => `pristine_${name}${labels} ${value}\n`).join("");
  return `# HELP pristine_${name} ${help}\n# TYPE pristine_${name} ${type}\n${body}`;
}

function histogram(name: string, help: string, { bounds, counts, sum, count }: Histogram): string {
  let below = 0;
  const buckets = bounds.map((bound, index) => {
    below += counts[index] as number;
    return `pristine_${name}_bucket{le="${bound}"} ${below}\n`;
  });
  const rest = `pristine_${name}_bucket{le="+Inf"} ${count}\npristine_${name}_sum ${sum}\npristine_${name}_count ${count}\n`;
  return `# HELP pristine_${name} ${help}\n# TYPE pristine_${name} histogram\n${buckets.join("")}${rest}`;
}
