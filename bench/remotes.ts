/**
 * Asking another program and having its answer: two processes that the scheduler wakes in turn, on an idle machine and on a busy one.
 *
 * The tail is the point: who is woken waits until the scheduler lets them run, which on a busy machine is when others have had
 * their time.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Benchmark, type Finding, floor, root, type Times } from "./rounds.ts";

export const loads = ["idle", "busy"] as const;
export type Load = (typeof loads)[number];

/** One way to ask, with an argument of so many bytes. */
export interface Row extends Times {
  readonly way: string;
  readonly bytes: number;
}

const program = join(root, "zig-out/bin/pristine-pingpong");
const names: Record<string, string> = { socket: "Unix socket", pipe: "pair of pipes", futex: "futex pair, shared memory" };
const spinnersPerCore = 2;

function built(): string {
  if (!existsSync(program)) throw new Error(`${program} is not there; run \`npm run build\``);
  return program;
}

/** Does something while other processes compute on every core, or while none do; they are gone when it returns. */
export async function under<T>(load: Load, body: () => Promise<T>): Promise<T> {
  if (load === "idle") return await body();
  const count = spinnersPerCore * navigator.hardwareConcurrency;
  const spinning = Bun.spawn([built(), "spin", `${count}`], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  try {
    // A line says that all of them are there.
    const { done } = await spinning.stdout.getReader().read();
    if (done) throw new Error(`${program} spin ${count} has ended`);
    return await body();
  } finally {
    spinning.stdin.end();
    await spinning.exited;
  }
}

/** Two processes that ask and answer, by bench/pingpong.zig: so many round trips of each case, or what the time allows. */
export async function roundTrips(count: number, milliseconds: number): Promise<Row[]> {
  const words = [built(), "trips", `${count}`, `${milliseconds}`];
  // A single trip is not bounded, so the whole is.
  const asking = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "inherit", timeout: 30_000 + 10 * milliseconds });
  const [text, status] = await Promise.all([new Response(asking.stdout).text(), asking.exited]);
  if (status !== 0) throw new Error(`${words.join(" ")} ended with status ${status}`);
  return (JSON.parse(text) as Row[]).map((row) => ({ ...row, way: names[row.way] ?? row.way }));
}

/** Calls of a function in another machine, under the load that is on while this runs: there are none yet. */
async function remoteCalls(): Promise<Row[]> {
  return [];
}

const size = (bytes: number) => (bytes < 2 ** 20 ? `${bytes} bytes` : `${bytes / 2 ** 20} MiB`);
const micro = (nanoseconds: number) => (nanoseconds / 1000).toFixed(1);

function findingOf(load: Load, row: Row, raw: number): Finding {
  const { way, bytes, ...times } = row;
  return {
    ...{ name: `${way}, ${size(bytes)}, ${load}: round trip, p50`, value: row.p50 / 1000, unit: "µs" },
    ...{ floor: `raw exit ${micro(raw)} µs`, target: "reported", reached: true, times },
    detail: `p50 / p99 / p99.9 / min in µs: ${[row.p50, row.p99, row.p999, row.min].map(micro).join(" / ")} (n = ${row.n})`,
  };
}

export const remotes: Benchmark = async (smoke) => {
  const raw = floor().floor_raw_exit(smoke ? 20 : 2000);
  const findings: Finding[] = [];
  for (const load of loads) {
    const rows = await under(load, async () => [...(await roundTrips(smoke ? 20 : 20_000, smoke ? 100 : 5000)), ...(await remoteCalls())]);
    findings.push(...rows.map((row) => findingOf(load, row, raw)));
  }
  return findings;
};
