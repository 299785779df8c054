/**
 * Measuring guest functions: `guestBench` on tinybench. Every sample starts from the snapshot, the reset is outside the
 * timing, a raw exit is measured in the same rounds as the floor, and what carries over to other machines (exits, faults,
 * pages) is counted.
 */
import { Bench } from "tinybench";
import { badOption } from "./errors.ts";
import type { Fork, Snapshot } from "./snapshot.ts";
import type { Args, Signature } from "./types.ts";

/** One function to measure. */
export interface GuestTask {
  /** The guest's function; the task's name if not given. */
  symbol?: string;
  signature?: Signature;
  args?: readonly unknown[];
}

export interface GuestBenchOptions {
  /** Rounds; in each, every task and the floor have their turn. Default 50. */
  rounds?: number;
  /** Samples of a task in a round; default 10. */
  samples?: number;
  /** How the fork goes back between samples; default `rewrite`. */
  reset?: "auto" | "rewrite" | "full" | "none";
  /** Milliseconds a sample may take; default the snapshot's. */
  timeout?: number;
}

/** What was measured of one task. Times are nanoseconds. */
export interface GuestResult {
  name: string;
  samples: number;
  min: number;
  p50: number;
  p90: number;
  p99: number;
  mean: number;
  /** `min` in raw exits of the same run: the figure to compare between machines. */
  rawExits: number;
  /** Per sample. */
  exits: number;
  faults: number;
  /** Pages that a reset had to put back. */
  pages: number;
  /** Time-stamp counter cycles spent in the guest and its VMM. */
  cycles: number;
  /** The samples fall into two groups: percentiles hide one of them. */
  bimodal: boolean;
}

export interface GuestReport {
  /** One exit of the virtual CPU to the host and back through an empty call of the guest. */
  floor: { name: string; min: number; p50: number };
  results: GuestResult[];
}

/** The value below which a part of the sorted samples lies. */
export function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * Whether samples fall into two groups with a gap between: the widest gap in the middle 80 % is both half of the median or
 * more, and far wider than gaps are there.
 */
export function isBimodal(sorted: readonly number[]): boolean {
  const from = Math.floor(sorted.length * 0.1);
  const to = Math.ceil(sorted.length * 0.9);
  if (to - from < 10) return false;
  const gaps = Array.from({ length: to - from - 1 }, (_, index) => (sorted[from + index + 1] as number) - (sorted[from + index] as number));
  const widest = Math.max(...gaps);
  const typical = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  return widest > percentile(sorted, 0.5) / 2 && widest > 8 * typical;
}

interface Prepared {
  name: string;
  fork: Fork;
  call: () => unknown;
  times: number[];
  exits: number;
  faults: number;
  cycles: bigint;
  pages: number;
}

function prepare(image: Snapshot, name: string, task: GuestTask, options: GuestBenchOptions): Prepared {
  const fork = image.fork(options.timeout === undefined ? {} : { timeout: options.timeout });
  const signature = task.signature ?? {};
  const bound = fork.fn(task.symbol ?? name, signature);
  const args = (task.args ?? []) as Args<typeof signature>;
  return { name, fork, call: () => bound(...args), times: [], exits: 0, faults: 0, cycles: 0n, pages: 0 };
}

/** Runs one round of a task: so many samples, each from the snapshot. */
function sampleRound(one: Prepared, samples: number, reset: GuestBenchOptions["reset"]): void {
  const before = one.fork.counters();
  const bench = new Bench({ iterations: samples, time: 0, warmup: false, retainSamples: true });
  bench.add(one.name, one.call, {
    // Said, because tinybench would make one call more to find out.
    async: false,
    afterEach: () => {
      if (reset !== "none") one.pages += one.fork.reset({ mode: reset ?? "rewrite" }).pages;
    },
  });
  bench.runSync();
  const result = bench.tasks[0]?.result as { latency?: { samples?: number[] }; error?: Error } | undefined;
  if (!result?.latency?.samples) throw result?.error ?? new Error("tinybench gave no samples");
  for (const milliseconds of result.latency.samples) one.times.push(milliseconds * 1e6);
  const after = one.fork.counters();
  one.exits += after.exits - before.exits;
  one.faults += after.faults - before.faults;
  one.cycles += after.cycles - before.cycles;
}

function resultOf(one: Prepared, floor: number): GuestResult {
  const sorted = one.times.sort((a, b) => a - b);
  const count = sorted.length;
  const min = sorted[0] as number;
  return {
    name: one.name,
    samples: count,
    min,
    p50: percentile(sorted, 0.5),
    p90: percentile(sorted, 0.9),
    p99: percentile(sorted, 0.99),
    mean: sorted.reduce((sum, time) => sum + time, 0) / count,
    rawExits: min / floor,
    exits: one.exits / count,
    faults: one.faults / count,
    pages: one.pages / count,
    cycles: Number(one.cycles) / count,
    bimodal: isBimodal(sorted),
  };
}

/**
 * Measures functions of a guest. Tasks take turns in rounds, so that what disturbs one disturbs all.
 *
 * @param image a snapshot of a machine whose program has the functions
 * @throws what a call of the function throws; `NO_SYMBOL`, `BAD_OPTION`
 * @example
 * const report = await guestBench(image, { parse: { signature: { args: ["cstring"] }, args: ["{}"] } });
 * console.log(formatReport(report));
 */
export async function guestBench(image: Snapshot, tasks: Record<string, GuestTask>, options: GuestBenchOptions = {}): Promise<GuestReport> {
  const { rounds = 50, samples = 10, reset = "rewrite" } = options;
  if (!(rounds >= 1 && samples >= 1)) throw badOption("rounds", "nothing would be measured", "give `rounds` and `samples` of 1 or more");
  const prepared: Prepared[] = [];
  // The stub that returns from every call is itself a function that does nothing: one exit, and no more.
  const floor = image.fork();
  const floorTimes: number[] = [];
  try {
    for (const [name, task] of Object.entries(tasks)) prepared.push(prepare(image, name, task, options));
    for (const one of prepared) sampleRound(one, 2, reset);
    for (const one of prepared) Object.assign(one, { times: [], exits: 0, faults: 0, cycles: 0n, pages: 0 });
    for (let round = 0; round < rounds; round++) {
      for (let sample = 0; sample < samples; sample++) {
        const before = Bun.nanoseconds();
        floor.roundTrip();
        floorTimes.push(Bun.nanoseconds() - before);
      }
      for (const one of prepared) sampleRound(one, samples, reset);
      // Lets timers and the garbage collector have their turn outside the timing.
      await Bun.sleep(0);
    }
    floorTimes.sort((a, b) => a - b);
    const least = floorTimes[0] as number;
    return {
      floor: { name: "raw exit", min: least, p50: percentile(floorTimes, 0.5) },
      results: prepared.map((one) => resultOf(one, least)),
    };
  } finally {
    floor.close();
    for (const one of prepared) one.fork.close();
  }
}

const micro = (ns: number) => (ns / 1000).toFixed(2);

/** A table of a report, in microseconds; with an earlier report, how much each minimum has changed in raw exits. */
export function formatReport(report: GuestReport, earlier?: GuestReport): string {
  const rows = report.results.map((result) => {
    const before = earlier?.results.find(({ name }) => name === result.name);
    return {
      task: result.name,
      "min µs": micro(result.min),
      p50: micro(result.p50),
      p90: micro(result.p90),
      p99: micro(result.p99),
      "raw exits": result.rawExits.toFixed(2),
      exits: result.exits,
      faults: result.faults,
      pages: result.pages,
      cycles: Math.round(result.cycles),
      notes: result.bimodal ? "bimodal" : "",
      ...(earlier ? { "against before": before ? `${((result.rawExits / before.rawExits - 1) * 100).toFixed(1)} %` : "new" } : {}),
    };
  });
  return `raw exit: min ${micro(report.floor.min)} µs, p50 ${micro(report.floor.p50)} µs\n${Bun.inspect.table(rows, { colors: false })}`;
}

/**
 * What a benchmark program does with its command line: prints the table, or with `--json` the report; with
 * `--compare OLD.json` the changes against a report of before.
 *
 * @example await printReport(await guestBench(image, tasks), process.argv.slice(2));
 */
export async function printReport(report: GuestReport, words: readonly string[] = []): Promise<void> {
  if (words.includes("--json")) {
    console.log(JSON.stringify(report, null, 2));
    return;
  }
  const at = words.indexOf("--compare");
  const path = words[at + 1];
  if (at >= 0 && path === undefined)
    throw badOption("--compare", "no file is named", "give --compare the path of an earlier --json report");
  const earlier = at >= 0 ? ((await Bun.file(path as string).json()) as GuestReport) : undefined;
  console.log(formatReport(report, earlier));
}
