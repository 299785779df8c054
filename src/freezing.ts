/**
 * Which instant of a warm server to freeze. Every fork begins there, and what a runtime was about to do at that instant (collect
 * garbage, compile again, wake its helpers) every request would do: instants differ by several times in what a request costs.
 */
import { type ErrorCode, PristineError } from "./errors.ts";
import { askOnce, type WarmupOptions } from "./http/warmup.ts";
import type { Machine } from "./machine.ts";
import type { Fork, Snapshot } from "./snapshot.ts";

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
const livingAttempts = 5;

/** How many instants are tried with so many requests of warm-up: with few of them one, behind the last. */
export function instantsFor(warmup: number): number {
  return Math.max(1, Math.min(instantsMax, Math.floor(warmup / requestsPerInstant)));
}

/** The machine itself has survived requests; a fork that ends by one shows that it was frozen where it cannot go on from. */
function hasEnded(fork: Fork, error: unknown): boolean {
  return fork.state !== "stopped" && ["GUEST_FAULT", "GUEST_EXIT", "INTERNAL"].some((code) => PristineError.is(error, code as ErrorCode));
}

/** Milliseconds of a request to a fork that has been put back; of one that ends by it, infinite. */
async function costOf(image: Snapshot, serving: WarmupOptions): Promise<number> {
  using fork = image.fork({ timeout: trialTimeoutMs });
  let least = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < trials; trial++) {
    const began = performance.now();
    // What fails for the warm-up fails here too, and has its cost.
    const error = await askOnce(fork, serving, trialTimeoutMs).catch((error) => error);
    if (hasEnded(fork, error)) return Number.POSITIVE_INFINITY;
    if (trial > 0) least = Math.min(least, performance.now() - began);
    fork.reset();
  }
  return least;
}

/**
 * The image of an instant from which a fork can go on: the first of a few that outlives a request, between which `goOn` lets the
 * machine work.
 *
 * @throws the error by which the last one's fork has ended
 */
export async function livingImage(machine: Machine, serving: WarmupOptions, goOn: () => Promise<void>): Promise<Snapshot> {
  for (let attempt = 1; ; attempt++) {
    const image = machine.freeze();
    using fork = image.fork({ timeout: trialTimeoutMs });
    const error = await askOnce(fork, serving, trialTimeoutMs).catch((error) => error);
    if (!hasEnded(fork, error)) return image;
    image.close();
    if (attempt === livingAttempts) throw error;
    await goOn();
  }
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
  if (instants === 1) return livingImage(machine, serving, () => warm.goOn());
  let best = machine.freeze();
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
    if (least < Number.POSITIVE_INFINITY) return best;
    best.close();
    return await livingImage(machine, serving, () => warm.goOn());
  } catch (error) {
    best.close();
    throw error;
  }
}
