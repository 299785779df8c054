/**
 * Many requests at once over a real socket: some end their server, some never answer, some clients leave. Every request gets
 * its own answer, and nothing is left of any. `STORM_REQUESTS=100000` makes it a long one.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { paths } from "./runtimes/cases.ts";
import { node, python, type Served, serveBun, serveDeno, serveNode, servePython } from "./serving.ts";

const requests = Number(process.env.STORM_REQUESTS ?? 3000);
const connections = 16;
const forks = 4;
/** Of a loaded host even a good handler is late sometimes. */
const lateShareMax = 0.05;
const memoryGrowthMax = 48 * 2 ** 20;
setDefaultTimeout(120_000 + requests * 40);

const kinds = ["exit", "abort", "hang", "leave", "echo", "post"] as const;
type Kind = (typeof kinds)[number];

/** What each request is: 1 % of each thing that goes wrong, the order from a seed. */
function plan(seed: number): Kind[] {
  const arbitrary = fc.oneof(
    { weight: 5, arbitrary: fc.constant<Kind>("exit") },
    { weight: 5, arbitrary: fc.constant<Kind>("abort") },
    { weight: 10, arbitrary: fc.constant<Kind>("hang") },
    { weight: 10, arbitrary: fc.constant<Kind>("leave") },
    { weight: 770, arbitrary: fc.constant<Kind>("echo") },
    { weight: 200, arbitrary: fc.constant<Kind>("post") },
  );
  return fc.sample(arbitrary, { numRuns: requests, seed });
}

async function leaves(url: string, number: number): Promise<string> {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), number % 18);
  return fetch(`${url}/nap?${number}`, { signal: abort.signal }).then(
    () => "left",
    () => "left",
  );
}

/** What a request came to: `ok` if its answer is its own. */
async function ask(url: string, kind: Kind, number: number): Promise<string> {
  if (kind === "leave") return leaves(url, number);
  const body = kind === "post" ? `${number}`.repeat(1 + (number % 500)) : undefined;
  const path = kind === "post" ? "echo" : kind;
  const response = await fetch(`${url}/${path}?${number}`, body === undefined ? {} : { method: "POST", body });
  const text = await response.text();
  if (response.status !== 200) return String(response.status);
  return text === `${number} ${body ?? ""}` ? "ok" : `mixed: ${number} got ${text.slice(0, 40)}`;
}

const wanted: Record<Kind, string> = { exit: "500", abort: "500", hang: "504", leave: "left", echo: "ok", post: "ok" };

/** Every request of a plan over some connections; how often each kind came to what, `late` being a good one's 504. */
async function storm(url: string, order: readonly Kind[]): Promise<Map<string, number>> {
  const outcomes = new Map<string, number>();
  let next = 0;
  const worker = async () => {
    while (next < order.length) {
      const number = next++;
      const kind = order[number] as Kind;
      const came = await ask(url, kind, number).catch((error) => `lost: ${error}`);
      const told = came === wanted[kind] ? "expected" : came === "504" ? "late" : `${kind}: ${came}`;
      outcomes.set(told, (outcomes.get(told) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  return outcomes;
}

function footprint({ pid }: Served): { descriptors: number; memory: number; threads: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, memory: field("VmRSS") * 1024, threads: field("Threads") };
}

/** One closes each connection behind its answer, the other keeps the one that was frozen with it. */
const programs = [
  { name: "python3", path: python, serve: servePython, limitMs: 50 },
  { name: "node", path: node, serve: serveNode, limitMs: 50 },
  { name: "bun", path: process.execPath, serve: serveBun, limitMs: 50 },
  { name: "deno", path: existsSync(paths.deno) ? paths.deno : undefined, serve: serveDeno, limitMs: 50 },
];
for (const { name, path, serve, limitMs } of programs) {
  const missing = path === undefined ? " (it is not there)" : "";
  test.skipIf(missing !== "")(
    `${requests} requests to ${name}, of which some fault, hang or are left: none is lost or mixed${missing}`,
    async () => {
      const seed = Number(process.env.STORM_SEED ?? Date.now() % 2 ** 31);
      console.log(`STORM_SEED=${seed}`);
      await using served = serve(["--warmup=60", `--timeout=${limitMs}ms`, `--forks=${forks}`, "--metrics=127.0.0.1:0", "--json"]);
      const start = () => served.events.find(({ event }) => event === "serving");
      await served.until(() => start() !== undefined, "it does not serve");
      const { url, metrics } = start() as unknown as { url: string; metrics: string };
      const order = plan(seed);
      const early = Math.ceil(requests / 3);
      const outcomes = await storm(url, order.slice(0, early));
      const before = footprint(served);
      for (const [told, count] of await storm(url, order.slice(early))) outcomes.set(told, (outcomes.get(told) ?? 0) + count);
      const late = outcomes.get("late") ?? 0;
      outcomes.delete("late");
      expect(Object.fromEntries(outcomes)).toEqual({ expected: requests - late });
      expect(late).toBeLessThanOrEqual(requests * lateShareMax);
      expect(await settled(metrics)).toEqual({ forks, free: forks, queued: 0, limit: forks });
      const after = footprint(served);
      console.log(JSON.stringify({ late, before, after }));
      expect(after.descriptors).toBeLessThanOrEqual(before.descriptors + connections);
      expect(after.threads).toBeLessThanOrEqual(before.threads + forks);
      expect(after.memory - before.memory).toBeLessThanOrEqual(memoryGrowthMax);
      served.kill("SIGTERM");
      expect(await served.ended()).toBe(0);
      // Each request that came is told of once, and those of clients that left early need not have come.
      const logged = served.events.filter(({ event }) => event === "request").length;
      expect(logged).toBeLessThanOrEqual(requests);
      expect(logged).toBeGreaterThanOrEqual(order.filter((kind) => kind !== "leave").length);
    },
  );
}

/** The forks once all is over: what clients have left ends within its time limit. */
async function settled(metrics: string): Promise<Record<string, number>> {
  for (let tries = 0; ; tries++) {
    const { forks: now } = (await (await fetch(`${metrics}metrics.json`)).json()) as { forks: Record<string, number> };
    if ((now.forks === now.free && now.queued === 0) || tries === 100) return now;
    await Bun.sleep(20);
  }
}
