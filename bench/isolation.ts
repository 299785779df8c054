/**
 * What isolation for each request costs: one unmodified server with a React page, as a native process, in a machine without resets,
 * and by `pristine serve` with either reset; a handler inline and isolated; and the other ways to give each request its own.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import vm from "node:vm";
import {
  Client,
  environment,
  freePort,
  microseconds,
  native,
  percentile,
  type Runtime,
  runtimes,
  serverProcess,
  throughput,
  withProgram,
} from "./http.ts";
import { type Benchmark, type Finding, floor, root } from "./rounds.ts";

/** A server whose requests are timed. */
interface Subject extends Disposable {
  readonly label: string;
  readonly port: number;
  /** The process that serves, and its children. */
  readonly pid: number;
}

const cli = join(root, "src/cli/main.ts");
const withReset = { "machine, rewriting reset": "rewrite", "machine, full reset": "full" } as const;
/** Between two requests of a client that lets the reset be done first, in milliseconds. */
const pauseMs = 2;
const rawExitUs = () => floor().floor_raw_exit(1000) / 1000;

async function spawned(label: string, command: readonly string[], port: number): Promise<Subject> {
  return { label, ...(await serverProcess(command, port)) };
}

const inGuest = (port: number, { env }: Runtime) =>
  Object.entries({ ...environment(port), ...env }).flatMap(([name, value]) => ["-e", `${name}=${value}`]);

/** In a machine, with the host's sockets and no reset ever. */
async function withoutReset(runtime: Runtime, program: string): Promise<Subject> {
  const port = await freePort();
  const options = ["--allow-read", `--allow-listen=127.0.0.1:${port}`, "--memory", "2GiB", ...inGuest(port, runtime)];
  return spawned("machine, no reset", [process.execPath, cli, "run", ...options, "--", runtime.path, ...runtime.args, program], port);
}

async function served(label: keyof typeof withReset, runtime: Runtime, program: string, forks: number): Promise<Subject> {
  const port = await freePort();
  const options = [
    "--allow-read",
    `--allow-listen=127.0.0.1:${port}`,
    "--memory",
    "2GiB",
    "--forks",
    `${forks}`,
    "--warmup",
    "50",
    "--quiet",
  ];
  const command = [
    cli,
    "serve",
    ...options,
    "--reset",
    withReset[label],
    ...inGuest(port, runtime),
    "--",
    runtime.path,
    ...runtime.args,
    program,
  ];
  return spawned(label, [process.execPath, ...command], port);
}

interface Times {
  /** Least p50 of a round: what is compared. */
  least: number;
  /** Of all rounds, sorted. */
  all: number[];
}

interface Load {
  readonly path: string;
  readonly rounds: number;
  readonly count: number;
  readonly connection: "kept" | "new";
  readonly pause: number;
}

async function timed(subject: Subject, { path, count, connection, pause }: Load): Promise<number[]> {
  const times: number[] = [];
  let client = await Client.open(subject.port);
  for (let done = 0; done < count; done++) {
    if (pause > 0) await Bun.sleep(pause);
    const start = Bun.nanoseconds();
    if (connection === "new") {
      client.close();
      client = await Client.open(subject.port);
    }
    await client.request(path).catch((cause: unknown) => {
      throw new Error(`${subject.label} ${path}, request ${done}, ${connection}`, { cause });
    });
    times.push((Bun.nanoseconds() - start) / 1000);
  }
  client.close();
  return times.sort((a, b) => a - b);
}

/** Subjects take turns, round by round. */
async function rounds(subjects: readonly Subject[], load: Load): Promise<Times[]> {
  const found = subjects.map((): Times => ({ least: Number.POSITIVE_INFINITY, all: [] }));
  for (const subject of subjects) await timed(subject, { ...load, pause: 0, count: Math.ceil(load.count / 2) });
  for (let round = 0; round < load.rounds; round++) {
    for (const [index, subject] of subjects.entries()) {
      const times = await timed(subject, load);
      const one = found[index] as Times;
      one.least = Math.min(one.least, percentile(times, 0.5));
      one.all.push(...times);
    }
  }
  for (const { all } of found) all.sort((a, b) => a - b);
  return found;
}

const spread = ({ all }: Times) => `${microseconds(all)} / ${(all.at(-1) as number).toFixed(0)} (n = ${all.length})`;

/** One comparison with the first subject, the native one. */
function compare(name: string, subjects: readonly Subject[], times: readonly Times[], aim: (label: string) => Aim): Finding[] {
  const [base] = times as [Times];
  return subjects.slice(1).map((subject, index) => {
    const one = times[index + 1] as Times;
    const { target, reached } = aim(subject.label);
    return {
      name: `${name}: ${subject.label}, p50 / native`,
      value: one.least / base.least,
      unit: "",
      floor: "the same server as a native process",
      target,
      reached: reached(one.least, base.least),
      detail: `p50 / p90 / p99 / max in µs: ${spread(one)}; native ${spread(base)}`,
    };
  });
}

interface Aim {
  readonly target: string;
  reached(subject: number, base: number): boolean;
}

const reported: Aim = { target: "reported", reached: () => true };
const pageAim: Aim = { target: "≤ 1.15", reached: (subject, base) => subject <= 1.15 * base };

function helloAim(): Aim {
  const raw = rawExitUs();
  return { target: `≤ native + 5 raw exits (${(5 * raw).toFixed(0)} µs)`, reached: (subject, base) => subject <= base + 5 * raw };
}

const onlyResets = (aim: Aim) => (label: string) => (label in withReset ? aim : reported);

function plotOf(chart: string, group: string, subjects: readonly Subject[], times: readonly Times[]): NonNullable<Finding["plot"]> {
  return {
    chart,
    group,
    bars: subjects.map(({ label }, index) => {
      const { all } = times[index] as Times;
      return { label, p50: percentile(all, 0.5), p90: percentile(all, 0.9), p99: percentile(all, 0.99) };
    }),
  };
}

/** CPU seconds of a process and its children, the time in guests included. */
function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const text = readFileSync(`/proc/${entry}/stat`, "utf8");
      const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
      if (Number(entry) === pid || Number(fields[1]) === pid) ticks += Number(fields[11]) + Number(fields[12]);
    } catch {}
  }
  return ticks / 100;
}

/** Requests for each second of CPU time, whatever the client takes of the machine; and requests a second. */
async function rate(subject: Subject, path: string, milliseconds: number): Promise<{ perCpu: number; perSecond: number }> {
  await throughput(subject.port, path, milliseconds / 4);
  const before = cpuSeconds(subject.pid);
  const perSecond = await throughput(subject.port, path, milliseconds);
  return { perCpu: (perSecond * milliseconds) / 1000 / (cpuSeconds(subject.pid) - before), perSecond };
}

async function throughputs(runtime: Runtime, program: string, host: Subject, milliseconds: number): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const path of ["/page", "/hello"]) {
    const base = await rate(host, path, milliseconds);
    for (const forks of [1, 2]) {
      using subject = await served("machine, rewriting reset", runtime, program, forks);
      const one = await rate(subject, path, milliseconds);
      const value = one.perCpu / base.perCpu;
      const isAim = path === "/page";
      findings.push({
        name: `${runtime.name} ${path}: requests a CPU second, ${forks} ${forks === 1 ? "fork" : "forks"} with resets / native`,
        value,
        unit: "",
        floor: "the same server as a native process",
        target: isAim ? "≥ 0.8" : "reported",
        reached: !isAim || value >= 0.8,
        detail: `${one.perCpu.toFixed(0)} a CPU second, ${one.perSecond.toFixed(0)}/s over 8 connections; native ${base.perCpu.toFixed(0)}, ${base.perSecond.toFixed(0)}/s`,
      });
    }
  }
  return findings;
}

async function measure(runtime: Runtime, program: string, smoke: boolean): Promise<Finding[]> {
  const own = await native(runtime, program);
  using host: Subject = { label: "native", ...own };
  using plain = await withoutReset(runtime, program);
  using rewritten = await served("machine, rewriting reset", runtime, program, 1);
  using full = await served("machine, full reset", runtime, program, 1);
  const subjects = [host, plain, rewritten, full];
  const common = { rounds: smoke ? 1 : 3, connection: "kept", pause: 0 } as const;
  const findings: Finding[] = [];
  for (const [path, count, aim] of [
    ["/page", 60, pageAim],
    ["/hello", 100, helloAim()],
  ] as const) {
    const load: Load = { ...common, path, count: smoke ? 10 : count };
    const kept = await rounds(subjects, load);
    const compared = compare(`${runtime.name} ${path}`, subjects, kept, onlyResets(aim));
    (compared[0] as Finding).plot = plotOf(path.slice(1), runtime.name, subjects, kept);
    findings.push(...compared);
    const late = { ...load, pause: pauseMs, count: Math.ceil(load.count / 4) };
    findings.push(
      ...compare(`${runtime.name} ${path}, ${pauseMs} ms between requests`, subjects, await rounds(subjects, late), onlyResets(aim)),
    );
    const fresh = { ...load, connection: "new", count: Math.ceil(load.count / 2) } as const;
    findings.push(...compare(`${runtime.name} ${path}, a connection each`, subjects, await rounds(subjects, fresh), () => reported));
  }
  findings.push(...(await throughputs(runtime, program, host, smoke ? 100 : 1500)));
  return findings;
}

/** What makes a runtime collect garbage on the thread that runs the program: V8's options, and JavaScriptCore's for Bun. */
const alone: Record<string, Pick<Runtime, "args" | "env">> = {
  deno: { args: ["--v8-flags=--single-threaded"] },
  node: { args: ["--single-threaded"] },
  bun: { args: [], env: { BUN_JSC_numberOfGCMarkers: "1", BUN_JSC_useConcurrentGC: "0" } },
};

function variants(): Runtime[] {
  return runtimes().flatMap((runtime) => {
    const more = alone[runtime.name];
    if (!more) return [runtime];
    const args = [...runtime.args, ...more.args];
    return [runtime, { ...runtime, ...more, args, name: `${runtime.name}, single-threaded GC` }];
  });
}

export const isolation: Benchmark = (smoke) =>
  withProgram("serve", async (program) => {
    const findings: Finding[] = [];
    // All runtimes are measured alike: to see that it works one is enough.
    const measured = variants().filter(({ name }) => !smoke || name === "bun");
    for (const runtime of measured) findings.push(...(await measure(runtime, program, smoke)));
    return findings;
  });

/** A reset that a client waits for would show here. */
async function resetsShare(path: string, isolated: Subject, unreset: Subject, load: Load): Promise<Finding> {
  const paused = { ...load, pause: pauseMs, count: Math.ceil(load.count / 2) };
  const [without, reset] = (await rounds([unreset, isolated], paused)) as [Times, Times];
  const ratio = reset.least / without.least;
  return {
    name: `handler in Bun ${path}, ${pauseMs} ms between requests: isolated, p50 with a reset behind each / with none ever`,
    value: ratio,
    unit: "",
    floor: "the same pool, which puts no fork back",
    target: "≤ 1.10",
    reached: ratio <= 1.1,
    detail: `p50 / p90 / p99 / max in µs: ${spread(reset)}; without ${spread(without)}`,
  };
}

/** The same handler in `Bun.serve`, inline and isolated. */
export const handlers: Benchmark = async (smoke) => {
  const start = async (label: string, mode: string) => {
    const port = await freePort();
    return spawned(label, [process.execPath, join(root, "bench/servers/handler-server.ts"), mode], port);
  };
  using inline = await start("inline", "inline");
  using isolated = await start("isolated", "isolated");
  using jailed = await start("isolated, in a jail", "jail");
  using unreset = await start("isolated, no reset", "kept");
  const subjects = [inline, isolated, jailed];
  const findings: Finding[] = [];
  for (const path of ["/page", "/hello"]) {
    const load: Load = { path, rounds: smoke ? 1 : 5, count: smoke ? 10 : 150, connection: "kept", pause: 0 };
    for (const finding of compare(`handler in Bun ${path}`, subjects, await rounds(subjects, load), () => reported))
      findings.push({
        ...finding,
        name: finding.name.replace("/ native", "/ inline"),
        floor: "the same handler inline",
        detail: finding.detail?.replace("native", "inline") ?? "",
      });
    findings.push(await resetsShare(path, isolated, unreset, load));
  }
  return findings;
};

/** What else gives each request something of its own: a process, a Worker, a context of node:vm. */
export const alternatives: Benchmark = (smoke) =>
  withProgram("once", async (program) => {
    const text = readFileSync(program, "utf8");
    const script = new vm.Script(`(() => { ${text}; return globalThis.rendered; })()`);
    const ways: Record<string, () => unknown> = {
      "a process": () => Bun.spawnSync([process.execPath, program, "print"], { env: {} }),
      "a Bun Worker": () =>
        new Promise((resolve) => {
          const worker = new Worker(program);
          worker.addEventListener("message", () => {
            worker.terminate();
            resolve(undefined);
          });
        }),
      "a context of node:vm": () =>
        script.runInNewContext({
          process: { argv: [], env: {} },
          TextEncoder,
          TextDecoder,
          MessageChannel,
          setTimeout,
          console,
          performance,
          ReadableStream,
          AbortController,
        }),
    };
    using isolated = await spawned(
      "isolated",
      [process.execPath, join(root, "bench/servers/handler-server.ts"), "isolated"],
      await freePort(),
    );
    const [base] = await rounds([isolated], {
      path: "/page",
      rounds: smoke ? 1 : 5,
      count: smoke ? 10 : 100,
      connection: "kept",
      pause: 0,
    });
    const findings: Finding[] = [];
    for (const [name, way] of Object.entries(ways)) {
      const times: number[] = [];
      for (let done = 0; done < (smoke ? 3 : 30); done++) {
        const start = Bun.nanoseconds();
        await way();
        times.push((Bun.nanoseconds() - start) / 1000);
      }
      times.sort((a, b) => a - b);
      findings.push({
        name: `the page by ${name} for each, p50 / an isolated handler over HTTP`,
        value: percentile(times, 0.5) / (base as Times).least,
        unit: "",
        floor: "an isolated handler, with its HTTP",
        target: "reported",
        reached: true,
        detail: `p50 / p90 / p99 in µs: ${microseconds(times)}; isolated ${microseconds((base as Times).all)}`,
      });
    }
    return findings;
  });
