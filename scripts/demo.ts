/**
 * `npm start`: a Bun server with an isolated handler, and a page that shows live what it costs. With `--once` it sends itself
 * 1,000 requests (or `--requests=N`), prints what became of them, and ends: with 0 if all is as it must be.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { isolate, Machine, metricsHandler, type Pool, type RequestReport } from "../src/index.ts";

const { values } = parseArgs({ options: { once: { type: "boolean" }, requests: { type: "string" } } });
const requests = Number(values.requests ?? 1000);
if (!Number.isInteger(requests) || requests < 1) {
  console.error(`pristine: --requests is ${values.requests} (give it a whole number of at least 1)`);
  process.exit(125);
}
const host = "127.0.0.1";
const forks = 4;
const timeout = 1000;
/** Of so many requests one fails, one ends its process, and one hangs. */
const oneIn = 100;
const concurrent = 4;

const reports: RequestReport[] = [];
const before = performance.now();
const pool = await isolate(join(import.meta.dir, "../examples/demo/handler.ts"), {
  forks,
  timeout,
  onRequest: (report) => values.once && reports.push(report),
});
const bootMs = Math.round(performance.now() - before);
const server = serve(Number(process.env.PORT ?? 8000), pool.fetch);
const page = serve(Number(process.env.METRICS_PORT ?? 9090), metricsHandler(pool.metrics));

/** At a port, or at a free one if it is taken. */
function serve(port: number, fetch: (request: Request) => Response | Promise<Response>): Bun.Server<undefined> {
  try {
    return Bun.serve({ hostname: host, port, fetch, development: false });
  } catch (error) {
    if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
    return Bun.serve({ hostname: host, port: 0, fetch, development: false });
  }
}

async function stop(): Promise<void> {
  server.stop();
  await pool.stop();
  await Promise.all([server.stop(true), page.stop(true)]);
}

console.log(`A handler in an unmodified Bun, booted, warmed and frozen in ${bootMs} ms; each request gets a fork of it.`);
if (values.once) {
  const wrong = await once();
  await stop();
  console.log(wrong.length === 0 ? "No request saw anything of another, and none was lost." : `NOT as it must be: ${wrong.join("; ")}.`);
  process.exit(wrong.length === 0 ? 0 : 1);
}
console.log(`\n  ${server.url.href}        try it: curl ${server.url.href}keep/hello`);
console.log(`  ${page.url.href}        what it costs, live\n\nCtrl-C ends it.`);
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, async () => {
    await stop();
    process.exit(0);
  });

interface Outcome {
  readonly status: number;
  readonly expected: number;
  /** It found what another had left, or was answered for another. */
  readonly leaked: boolean;
}

/** Which request comes in which place. */
function pathOf(index: number): { path: string; expected: number } {
  switch (index % oneIn) {
    case 33:
      return { path: "/fail", expected: 500 };
    case 66:
      return { path: "/exit", expected: 500 };
    case 99:
      return { path: "/hang", expected: 504 };
    default:
      return { path: `/keep/${index}`, expected: 200 };
  }
}

async function send(index: number): Promise<Outcome> {
  const { path, expected } = pathOf(index);
  const response = await fetch(new URL(path, server.url));
  const text = await response.text();
  const leaked = expected === 200 && response.status === 200 && text !== JSON.stringify({ kept: String(index), found: [] });
  return { status: response.status, expected, leaked };
}

/** Exits of all forks so far: each is asked while the others are. */
async function exitsSoFar(pool: Pool): Promise<number> {
  let asked = 0;
  let all = () => {};
  const together = new Promise<void>((resolve) => (all = resolve));
  const one = () =>
    pool.use(async (fork) => {
      if (++asked === forks) all();
      await together;
      return fork.counters().exits;
    });
  const counts = await Promise.all(Array.from({ length: forks }, one));
  return counts.reduce((sum, count) => sum + count);
}

/** Resets, which come behind the answers: once all forks are free again. */
async function resetsSoFar(): Promise<number> {
  const pollMs = 5;
  for (let waited = 0; pool.metrics.state.free < forks && waited < timeout; waited += pollMs) await Bun.sleep(pollMs);
  return pool.metrics.resets.rewrite + pool.metrics.resets.full;
}

async function exitsOfOne(): Promise<number> {
  const quiet = 200;
  for (let index = 0; index < 2 * forks; index++) await send(0);
  const first = await exitsSoFar(pool);
  for (let index = 0; index < quiet; index++) await send(0);
  return ((await exitsSoFar(pool)) - first) / quiet;
}

/** Into a machine and out again: the least that anything there costs. */
async function rawExit(): Promise<number> {
  await using machine = await Machine.boot(join(import.meta.dir, "../zig-out/guests/functions"), { stdout: "ignore" });
  await machine.run();
  const times = Array.from({ length: 300 }, () => {
    const start = Bun.nanoseconds();
    machine.roundTrip();
    return (Bun.nanoseconds() - start) / 1000;
  });
  return quantile(times, 0.5);
}

function quantile(numbers: number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/** What is not as it must be. */
async function once(): Promise<string[]> {
  const outcomes: Outcome[] = [];
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: concurrent }, async () => {
      while (next < requests) outcomes.push(await send(next++));
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  const good = reports.filter(({ status }) => status === 200).map(({ milliseconds }) => milliseconds * 1000);
  const notReset = requests - (await resetsSoFar());
  const exits = await exitsOfOne();
  const raw = await rawExit();
  print(outcomes, good, exits, raw, seconds);
  const wrong = outcomes.filter(({ status, expected }) => status !== expected);
  const leaked = outcomes.filter((outcome) => outcome.leaked).length;
  const lost = requests - outcomes.length;
  return [
    ...(lost > 0 ? [`${lost} of ${requests} have no answer`] : []),
    ...(notReset !== 0 ? [`${notReset} left their fork as it was`] : []),
    ...(wrong.length > 0 ? [`${wrong.length} of ${requests} have another status than they must`] : []),
    ...(leaked > 0 ? [`${leaked} found what another had left`] : []),
  ];
}

function print(outcomes: Outcome[], good: number[], exits: number, raw: number, seconds: number): void {
  const { resets, pages, guest } = pool.metrics;
  const count = (status: number) => outcomes.filter((outcome) => outcome.status === status).length;
  const time = (share: number) => `${quantile(good, share).toFixed(0)} µs = ${(quantile(good, share) / raw).toFixed(1)} raw exits`;
  const rows = {
    requests: `${outcomes.length} in ${seconds.toFixed(1)} s, ${concurrent} at a time, ${forks} forks`,
    answered: `${count(200)} with 200, ${count(500)} that failed with 500, ${count(504)} that hung with 504 after ${timeout} ms`,
    "found of others": `${outcomes.filter(({ leaked }) => leaked).length}`,
    "p50, the wait for a fork included": time(0.5),
    p90: time(0.9),
    p99: time(0.99),
    "a raw exit of this machine": `${raw.toFixed(1)} µs`,
    "exits a request": exits.toFixed(2),
    resets: `${resets.rewrite} by rewriting, ${resets.full} full, ${((resets.seconds * 1e6) / (resets.rewrite + resets.full)).toFixed(0)} µs each, behind the answer`,
    "pages put back": `${(pages.sum / pages.count).toFixed(0)} a reset`,
    "private memory": `${(guest.privateBytes / 2 ** 20).toFixed(1)} MiB in all forks`,
  };
  const width = Math.max(...Object.keys(rows).map((name) => name.length));
  console.log();
  for (const [name, text] of Object.entries(rows)) console.log(`  ${name.padEnd(width)}  ${text}`);
  console.log();
}
