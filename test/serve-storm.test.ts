/**
 * Many requests at once over a real socket to `pristine serve`: some end their server, some never answer, some clients leave. Every
 * request gets its own answer, and nothing is left of any. `STORM=100000` makes it a long one.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { paths } from "./runtimes/cases.ts";
import { node, python, serveBun, serveDeno, serveNode, servePython } from "./serving.ts";
import {
  connections,
  expected,
  footprint,
  forgiveLate,
  lateShareMax,
  memoryGrowthMax,
  type Outcomes,
  plan,
  requestCount,
  seedOf,
  storm,
} from "./storm/requests.ts";

const requests = requestCount(3000);
const forks = 4;
const limitMs = 50;
setDefaultTimeout(120_000 + requests * 40);

/** One closes each connection behind its answer, the other keeps the one that was frozen with it. */
const programs = [
  { name: "python3", path: python, serve: servePython },
  { name: "node", path: node, serve: serveNode },
  { name: "bun", path: process.execPath, serve: serveBun },
  { name: "deno", path: existsSync(paths.deno) ? paths.deno : undefined, serve: serveDeno },
];
for (const { name, path, serve } of programs) {
  const missing = path === undefined ? " (it is not there)" : "";
  test.skipIf(missing !== "")(
    `${requests} requests to ${name}, of which some fault, hang or are left: none is lost or mixed${missing}`,
    async () => {
      await using served = serve(["--warmup=60", `--timeout=${limitMs}ms`, `--forks=${forks}`, "--metrics=127.0.0.1:0", "--json"]);
      const start = () => served.events.find(({ event }) => event === "serving");
      await served.until(() => start() !== undefined, "it does not serve");
      const { url, metrics } = start() as unknown as { url: string; metrics: string };
      const order = plan(seedOf(), requests, ["exit", "abort", "hang"]);
      const early = Math.ceil(requests / 3);
      const outcomes: Outcomes = new Map();
      await storm(url, order.slice(0, early), outcomes);
      const before = footprint(served.pid);
      await storm(url, order.slice(early), outcomes);
      console.log(JSON.stringify({ name, outcomes: Object.fromEntries(outcomes) }));
      const late = forgiveLate(outcomes);
      expect(Object.fromEntries(outcomes)).toEqual(expected(order));
      expect(late).toBeLessThanOrEqual(requests * lateShareMax);
      expect(await settled(metrics)).toEqual({ forks, free: forks, queued: 0, limit: forks });
      const after = footprint(served.pid);
      console.log(JSON.stringify({ name, before, after }));
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
