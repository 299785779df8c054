/**
 * Which instant of a warm server to freeze. Every fork begins there, and what a runtime was about to do at that instant (collect
 * garbage, compile again, wake its helpers) every request would do: instants differ by several times in what a request costs.
 */
import { askOnce, type WarmupOptions } from "./http/warmup.ts";
import type { Machine } from "./machine.ts";
import type { Snapshot } from "./snapshot.ts";

const instantsMax = 10;
/** An instant is good enough when a request to a fork of it costs so little more than one to the machine itself. */
const goodEnough = 1.1;
/** Requests of the warm-up for each instant that is tried. */
const requestsPerInstant = 5;
/** Requests between two instants. */
export const requestsBetween = 2;
/** The first request of a fork pays for its memory; the least of the others counts. */
const trials = 5;
const trialTimeoutMs = 5_000;

/** How many instants are tried with so many requests of warm-up: with few of them one, behind the last. */
export function instantsFor(warmup: number): number {
  return Math.max(1, Math.min(instantsMax, Math.floor(warmup / requestsPerInstant)));
}

/** Milliseconds of a request to a fork that has been put back. */
async function costOf(image: Snapshot, serving: WarmupOptions): Promise<number> {
  using fork = image.fork({ timeout: trialTimeoutMs });
  let least = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < trials; trial++) {
    const began = performance.now();
    // What fails for the warm-up fails here too, and has its cost.
    await askOnce(fork, serving, trialTimeoutMs).catch(() => {});
    if (trial > 0) least = Math.min(least, performance.now() - began);
    fork.reset();
  }
  return least;
}

/** A warm server, which `goOn` brings from one instant to the next. */
export interface Warm {
  readonly machine: Machine;
  readonly serving: WarmupOptions;
  /** How many milliseconds the shortest request to the machine itself has taken. */
  readonly least: number;
  goOn(): Promise<void>;
}

/**
 * The image of the instant at which a request costs least, of up to `instants`. Each costs a copy of the machine's memory and a few
 * requests.
 */
export async function bestImage(warm: Warm, instants: number): Promise<Snapshot> {
  const { machine, serving } = warm;
  let best = machine.freeze();
  if (instants === 1) return best;
  try {
    let least = await costOf(best, serving);
    for (let instant = 1; instant < instants; instant++) {
      if (least <= goodEnough * warm.least) break;
      await warm.goOn();
      const image = machine.freeze();
      const cost = await costOf(image, serving);
      const [kept, dropped] = cost < least ? [image, best] : [best, image];
      least = Math.min(least, cost);
      best = kept;
      dropped.close();
    }
    return best;
  } catch (error) {
    best.close();
    throw error;
  }
}
