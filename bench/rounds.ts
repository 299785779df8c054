/**
 * One way to measure for all benchmarks: floor and subject take turns, round by round, and the least of each counts.
 *
 * Minima of interleaved rounds are what survives on machines whose cores are shared; ratios of two minima taken in the
 * same rounds carry over to other machines.
 */

import { dlopen } from "bun:ffi";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Bench } from "tinybench";
import type { Bar } from "./plot.ts";

export const root = join(import.meta.dir, "..");

export function guest(name: string): string {
  return join(root, "zig-out/guests", name);
}

export interface Scale {
  /** Rounds of floor and subject in turn. */
  rounds: number;
  /** How often the thing itself is done in a round. */
  repeats: number;
}

/** How long single operations took, in nanoseconds. */
export interface Times {
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly min: number;
}

/** What one benchmark found. */
export interface Finding {
  name: string;
  /** The figure and its unit. */
  value: number;
  unit: string;
  /** What it is compared with, and the aim. */
  floor: string;
  target: string;
  reached: boolean;
  /** Exits of the virtual CPU for one operation, where that means something. */
  exits?: number;
  detail?: string;
  /** The page that it is told on, if it is not the one of all. */
  page?: "isolation" | "snapshots" | "remotes";
  /** The distribution, where that is the point, for programs: the detail has it for readers. */
  times?: Times;
  /** A group of bars for a chart beside the page. */
  plot?: { chart: string; group: string; bars: readonly Bar[] };
}

export type Benchmark = (smoke: boolean) => Promise<Finding[]>;

/** Least value of each measurement over interleaved rounds. */
export async function interleave<T extends Record<string, () => number | Promise<number>>>(
  rounds: number,
  measurements: T,
): Promise<Record<keyof T, number>> {
  const least = Object.fromEntries(Object.keys(measurements).map((name) => [name, Number.POSITIVE_INFINITY])) as Record<keyof T, number>;
  for (let round = 0; round < rounds; round++) {
    for (const name of Object.keys(measurements) as (keyof T)[]) {
      const value = await (measurements[name] as () => number | Promise<number>)();
      least[name] = Math.min(least[name], value);
    }
  }
  return least;
}

/** Least nanoseconds of one run of `body` among `repeats`, as tinybench samples it. */
export function leastNanoseconds(repeats: number, body: () => unknown): number {
  const bench = new Bench({ iterations: repeats, time: 0, warmup: false });
  bench.add("sample", () => {
    body();
  });
  bench.runSync();
  const { result } = bench.tasks[0] as { result: { latency?: { min: number }; error?: Error } };
  if (!result.latency) throw result.error ?? new Error("the benchmark gave no sample");
  return result.latency.min * 1e6;
}

const floorLibrary = join(root, "zig-out/lib/libpristine-floor.so");

function openFloor() {
  if (!existsSync(floorLibrary)) throw new Error(`${floorLibrary} is not there; run \`npm run build\``);
  const { symbols } = dlopen(floorLibrary, {
    floor_open: { args: [], returns: "i32" },
    floor_raw_exit: { args: ["u32"], returns: "f64" },
    floor_ioctl_sequence: { args: ["u32"], returns: "f64" },
    floor_copy_pages: { args: ["u32", "u32", "u32"], returns: "f64" },
    floor_copy_new_pages: { args: ["u32", "u32"], returns: "f64" },
  });
  if (symbols.floor_open() !== 0) throw new Error("KVM cannot be used; see `pristine doctor`");
  return symbols;
}

let opened: ReturnType<typeof openFloor> | undefined;

/** What KVM itself costs, measured by bench/floor.zig. */
export function floor(): ReturnType<typeof openFloor> {
  opened ??= openFloor();
  return opened;
}
