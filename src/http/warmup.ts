/** Requests before the freeze. */
import { type Machine, restOf } from "../machine.ts";
import { exchange } from "./exchange.ts";
import type { Wire } from "./wire.ts";

/** For a program to boot, and for each of its steps before the freeze, in milliseconds. */
export const bootTimeoutMs = 60_000;

export interface WarmupOptions {
  /** The connection to use, or 0 for a new one. */
  readonly connection: number;
  readonly port: number;
  /** How the request travels; without it, as HTTP. */
  readonly wire?: (request: Request) => Wire;
}

/** A request for `/`, its whole answer, and what it gave the program's other threads to do. */
export async function warmUp(machine: Machine, options: WarmupOptions): Promise<void> {
  const request = new Request("http://localhost/");
  const { response, done } = await exchange(machine, request, { ...options, timeout: bootTimeoutMs });
  await Promise.all([response.arrayBuffer(), done]);
  await restOf(machine, bootTimeoutMs);
}
