/** Requests before the freeze. */
import { endedEarly } from "../errors.ts";
import { core } from "../ffi/library.ts";
import { handleOf, interruptPause, type Machine, restOf, stepOf } from "../machine.ts";
import { exchange } from "./exchange.ts";
import type { Wire } from "./wire.ts";

/** For a program to boot, and for each of its steps before the freeze, in milliseconds. */
export const bootTimeoutMs = 60_000;

/** How long the program's own threads get to come to rest; those that wait for a date would wake in every fork. */
const idleMs = 250;
const whileIdle = { who: "the program", when: "when it had nothing to do", hint: "run it by itself to see why" };

export interface WarmupOptions {
  /** The connection to use, or 0 for a new one. */
  readonly connection: number;
  readonly port: number;
  /** How the request travels; without it, as HTTP. */
  readonly wire?: (request: Request) => Wire;
}

/** A request for `/` and its whole answer, in milliseconds at most. */
export async function askOnce(machine: Machine, options: WarmupOptions, timeout: number): Promise<void> {
  const { response, done } = await exchange(machine, new Request("http://localhost/"), { ...options, timeout });
  await Promise.all([response.arrayBuffer(), done]);
}

/** The same, and what it gave the program's other threads to do. How many milliseconds the answer took. */
export async function warmUp(machine: Machine, options: WarmupOptions): Promise<number> {
  const began = performance.now();
  await askOnce(machine, options, bootTimeoutMs);
  const took = performance.now() - began;
  await restOf(machine, bootTimeoutMs);
  return took;
}

/** Lets the program work on without a request, until its threads have nothing to do. @throws when it ends meanwhile */
export async function idle(machine: Machine): Promise<void> {
  const over = setTimeout(() => core().pristine_machine_interrupt(handleOf(machine), interruptPause), idleMs);
  try {
    const step = await stepOf(machine, bootTimeoutMs);
    if (step.reason === "exit" || step.reason === "signal") throw endedEarly(step, whileIdle);
  } finally {
    clearTimeout(over);
  }
}
