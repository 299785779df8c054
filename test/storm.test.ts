/**
 * Many requests at once over a real socket to handlers in each runtime and to an ordinary server: some end their server, some never
 * answer, some clients leave. Every request gets its own answer, and nothing is left of any. `STORM=100000` makes it a long one.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { paths } from "./runtimes/cases.ts";
import { python } from "./serving.ts";
import {
  expected,
  footprint,
  forgiveLate,
  type Kind,
  lateShareMax,
  memoryGrowthMax,
  type Outcomes,
  plan,
  requestCount,
  seedOf,
  storm,
} from "./storm/requests.ts";

const requests = requestCount(5000);
const forks = 4;
const limitMs = 50;
setDefaultTimeout(120_000 + requests * 40);

/** The pool's server in a process of its own. */
class Host implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;

  constructor(name: string, path: string) {
    const words = [process.execPath, join(import.meta.dir, "storm/host.ts"), name, path, String(limitMs), String(forks)];
    this.#child = Bun.spawn(words, { stdio: ["ignore", "pipe", "inherit"] });
  }

  get pid(): number {
    return this.#child.pid;
  }

  async started(): Promise<{ url: string; control: string }> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes("\n")) return JSON.parse(text);
    }
    throw new Error(`it ended with ${await this.#child.exited} before it served`);
  }

  async ended(): Promise<number> {
    this.#child.kill("SIGTERM");
    return this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

interface Told {
  readonly forks: { readonly forks: number; readonly free: number; readonly queued: number };
  readonly requests: Record<string, number>;
}

/** What the pool counts once all is over: what clients have left ends within its time limit. */
async function settled(control: string): Promise<Told> {
  for (let tries = 0; ; tries++) {
    const told = (await (await fetch(control)).json()) as Told;
    if ((told.forks.free === forks && told.forks.queued === 0) || tries === 100) return told;
    await Bun.sleep(20);
  }
}

const common: readonly Kind[] = ["exit", "abort", "hang"];
const served = [
  { name: "bun", path: process.execPath, known: [...common, "throw", "spin"] },
  { name: "deno", path: paths.deno, known: [...common, "throw", "spin"] },
  { name: "node", path: paths.node, known: [...common, "throw", "spin"] },
  { name: "python", path: python ?? "", known: common },
] as const;

for (const { name, path, known } of served) {
  const missing = existsSync(path) ? "" : ` (${path} is not there)`;
  test.skipIf(missing !== "")(`${requests} requests to ${name}: none is lost or mixed, and nothing is left${missing}`, async () => {
    await using host = new Host(name, path);
    const { url, control } = await host.started();
    const order = plan(seedOf(), requests, known);
    const early = Math.ceil(requests / 3);
    const outcomes: Outcomes = new Map();
    const began = performance.now();
    await storm(url, order.slice(0, early), outcomes);
    await settled(control);
    const before = footprint(host.pid);
    await storm(url, order.slice(early), outcomes);
    const seconds = (performance.now() - began) / 1000;
    const told = await settled(control);
    const after = footprint(host.pid);
    const rate = Math.round(requests / seconds);
    console.log(JSON.stringify({ name, rate, outcomes: Object.fromEntries(outcomes), before, after, pool: told.forks }));

    const late = forgiveLate(outcomes);
    const wanted = expected(order);
    expect(Object.fromEntries(outcomes)).toEqual(wanted);
    expect(late).toBeLessThanOrEqual(requests * lateShareMax);
    expect(told.forks).toMatchObject({ forks, free: forks, queued: 0 });
    // Each request that came is counted once, and those of clients that left early need not have come.
    const counted = Object.values(told.requests).reduce((sum, count) => sum + count, 0);
    expect(counted).toBeLessThanOrEqual(requests);
    expect(counted).toBeGreaterThanOrEqual(requests - (wanted.left ?? 0));
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + forks);
    expect(after.threads).toBeLessThanOrEqual(before.threads + forks);
    expect(after.memory - before.memory).toBeLessThanOrEqual(memoryGrowthMax);
    expect(await host.ended()).toBe(0);
  });
}
