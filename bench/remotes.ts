/**
 * Asking another program and having its answer: two processes that the scheduler wakes in turn, on an idle machine and on a busy one.
 *
 * The tail is the point: who is woken waits until the scheduler lets them run, which on a busy machine is when others have had
 * their time.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type BootOptions, Machine } from "../src/index.ts";
import { type Benchmark, type Finding, floor, guest, interleave, root, type Times } from "./rounds.ts";

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

/** A caller, and three remotes: one whose functions are called, the same for calls without exits, and one that waits. */
async function machines() {
  const boot = async (name: string, options: BootOptions<"ignore", "ignore">) => {
    const machine = await Machine.boot(guest(name), { ...options, stdout: "ignore", timeout: 60_000 });
    await machine.run({ until: "ready" });
    return machine;
  };
  const called = await boot("remote", { remote: true });
  const gated = await boot("remote", { remote: true });
  const waiting = await boot("remote", { remote: true, args: ["wait"] });
  const caller = await boot("caller", { remotes: { called, gated: { machine: gated, exitless: true }, waiting } });
  return { caller, [Symbol.dispose]: () => [caller, called, gated, waiting].forEach((machine) => void machine.close()) };
}

type Caller = Awaited<ReturnType<typeof machines>>["caller"];

/** The letter with which arguments are filled that are read as well. */
const letter = "s".charCodeAt(0);

/** How long each call took, in nanoseconds by the guest's clock. */
function timesOf(caller: Caller, name: string, bytes: number, fills: boolean, count: number): Float64Array {
  const room = caller.memory.allocate(8 * count, { align: 8 });
  const wrong = caller.call("measure", name, bytes, fills ? letter : 0, count, room);
  if (wrong !== 0) throw new Error(`${wrong} of ${count} answers of ${name} are wrong`);
  const found = new BigInt64Array(caller.memory.read(room, 8 * count).buffer);
  return Float64Array.from(found, Number).sort();
}

const at = (sorted: Float64Array, part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] as number;

/** Calls of a function in another machine, under the load that is on while this runs: in the same way as between two processes. */
async function remoteCalls(count: number): Promise<Row[]> {
  using made = await machines();
  const cases = [
    ["call of a remote", "called:sum"],
    ["call without exits", "gated:sum"],
    ["resume of a remote", "waiting"],
  ] as const;
  return cases.flatMap(([way, name]) =>
    [8, 2 ** 20].map((bytes) => {
      const found = timesOf(made.caller, name, bytes, true, bytes > 8 ? Math.max(2, count / 10) : count);
      return { way, bytes, n: found.length, p50: at(found, 0.5), p99: at(found, 0.99), p999: at(found, 0.999), min: at(found, 0) };
    }),
  );
}

/** Calls beside two raw exits, which they cannot do without, in turns. */
async function besideExits(smoke: boolean): Promise<Finding[]> {
  using made = await machines();
  const { caller } = made;
  const count = smoke ? 20 : 500;
  const least = (name: string, bytes: number) => () => at(timesOf(caller, name, bytes, false, count), 0);
  const found = await interleave(smoke ? 2 : 15, {
    raw: () => floor().floor_raw_exit(count),
    call: least("called:ends", 8),
    callOfMore: least("called:ends", 2 ** 20),
    exitless: least("gated:ends", 8),
    exitlessOfMore: least("gated:ends", 2 ** 20),
    resume: least("waiting", 8),
    resumeOfMore: least("waiting", 2 ** 20),
  });
  const exitsOf = (name: string) => {
    const before = caller.counters().exits;
    timesOf(caller, name, 8, false, 100);
    // One is the end of the function that makes the calls.
    return Math.floor((caller.counters().exits - before) / 100);
  };
  const reported = (name: string, value: number, compared: number, compare: string, exits?: number): Finding => ({
    ...{ name, value: value / compared, unit: `x ${compare}`, floor: `${micro(compared)} µs`, target: "reported", reached: true },
    page: "remotes",
    ...{ detail: `${micro(value)} µs`, ...(exits === undefined ? {} : { exits }) },
  });
  const finding = (...row: Parameters<typeof reported>): Finding => {
    const [, value, compared] = row;
    return { ...reported(...row), target: "<= 1.1", reached: value / compared <= 1.1 };
  };
  return [
    finding("call of a remote, 8 bytes by pointer", found.call, 2 * found.raw, "two raw exits", exitsOf("called:ends")),
    finding("the same with 1 MiB by pointer", found.callOfMore, found.call, "with 8 bytes"),
    finding("resume of a remote, 8 bytes by pointer", found.resume, 2 * found.raw, "two raw exits", exitsOf("waiting")),
    finding("the same with 1 MiB by pointer", found.resumeOfMore, found.resume, "with 8 bytes"),
    reported("call without exits, 8 bytes by pointer", found.exitless, 2 * found.raw, "two raw exits", exitsOf("gated:ends")),
    finding("the same with 1 MiB by pointer", found.exitlessOfMore, found.exitless, "with 8 bytes"),
  ];
}

const size = (bytes: number) => (bytes < 2 ** 20 ? `${bytes} bytes` : `${bytes / 2 ** 20} MiB`);
const micro = (nanoseconds: number) => (nanoseconds / 1000).toFixed(1);

function findingOf(load: Load, row: Row, raw: number): Finding {
  const { way, bytes, ...times } = row;
  return {
    page: "remotes",
    ...{ name: `${way}, ${size(bytes)}, ${load}: round trip, p50`, value: row.p50 / 1000, unit: "µs" },
    ...{ floor: `raw exit ${micro(raw)} µs`, target: "reported", reached: true, times },
    detail: `p50 / p99 / p99.9 / min in µs: ${[row.p50, row.p99, row.p999, row.min].map(micro).join(" / ")} (n = ${row.n})`,
  };
}

export const remotes: Benchmark = async (smoke) => {
  const raw = floor().floor_raw_exit(smoke ? 20 : 2000);
  const findings = await besideExits(smoke);
  for (const load of loads) {
    const rows = await under(load, async () => [
      ...(await roundTrips(smoke ? 20 : 20_000, smoke ? 100 : 5000)),
      ...(await remoteCalls(smoke ? 20 : 20_000)),
    ]);
    findings.push(...rows.map((row) => findingOf(load, row, raw)));
  }
  return findings;
};
