/** What it costs to save a warm server, to open it and to have its first answer, beside a start of the same server. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isolate, Pool, Snapshot } from "../src/index.ts";
import { Client, environment, freePort, runtimes, withProgram } from "./http.ts";
import { type Benchmark, type Finding, guest, interleave, root } from "./rounds.ts";

interface Subject {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly memory?: "2GiB";
  /** What it serves. */
  readonly request: string;
  /** The aim for a first answer, as a part of a native start. */
  readonly aim?: number;
}

const mebibytes = (bytes: number) => bytes / 2 ** 20;
const forkCounts = [1, 8, 32];
const aimPrivateMebibytes = 60;
const aimSaveMs = 250;

function subjects(program: string): Subject[] {
  const scripted = runtimes().flatMap(({ name, path, args }): Subject[] => {
    const shared = { path, args: [...args, program], memory: "2GiB" } as const;
    const hello = { ...shared, name: `${name} hello`, request: "/hello", ...(name === "deno" ? { aim: 0.15 } : {}) };
    return name === "deno" ? [hello, { ...shared, name: "deno page", request: "/page" }] : [hello];
  });
  const python = {
    name: "python3 -m http.server",
    path: "/usr/bin/python3.11",
    args: ["-m", "http.server", "--bind", "127.0.0.1"],
    request: "/none",
  };
  return [{ name: "a static C server", path: guest("raw-server"), args: [], request: "/" }, python, ...scripted].filter(({ path }) =>
    existsSync(path),
  );
}

/** Servers that are given a port by their arguments. */
const argumentsAt = (subject: Subject, port: number) => (subject.memory ? subject.args : [...subject.args, String(port)]);

/** Milliseconds from a start of the native process to its first answer. */
async function nativeStart(subject: Subject): Promise<number> {
  const port = await freePort();
  const began = performance.now();
  const child = spawn(subject.path, argumentsAt(subject, port), {
    env: { ...process.env, ...environment(port) },
    stdio: "ignore",
    cwd: tmpdir(),
  });
  try {
    for (;;) {
      try {
        const client = await Client.open(port);
        // A status other than 200 is an answer too.
        await client.request(subject.request).catch(() => {});
        client.close();
        return performance.now() - began;
      } catch {
        await Bun.sleep(0.2);
      }
    }
  } finally {
    child.kill("SIGKILL");
  }
}

const permissions = { read: true };

async function firstAnswer(file: string, subject: Subject, verify: "full" | "trusted"): Promise<{ opened: number; answered: number }> {
  const began = performance.now();
  using image = await Snapshot.open(file, { permissions, verify });
  const opened = performance.now() - began;
  const pool = new Pool(image, { forks: 1, warmup: 0, timeout: 60_000 });
  await (await pool.fetch(new Request(`http://localhost${subject.request}`))).arrayBuffer();
  const answered = performance.now() - began;
  await pool.stop();
  return { opened, answered };
}

/** Private memory of this process, and its share of what it shares, in bytes. */
function memoryOfThis(): { anonymous: number; proportional: number } {
  const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
  const kibibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0) * 1024;
  return { anonymous: kibibytes("Anonymous"), proportional: kibibytes("Pss") };
}

/** What forks that have each answered one request need beyond the image, in MiB, for each number of them. */
async function forksBeyondImage(file: string, subject: Subject): Promise<number[]> {
  using image = await Snapshot.open(file, { permissions, verify: "trusted" });
  const found: number[] = [];
  for (const count of forkCounts) {
    Bun.gc(true);
    const before = memoryOfThis();
    const pool = new Pool(image, { forks: count, warmup: 0, timeout: 60_000 });
    const ask = async () => (await pool.fetch(new Request(`http://localhost${subject.request}`))).arrayBuffer();
    await Promise.all(Array.from({ length: count }, ask));
    Bun.gc(true);
    found.push(mebibytes(memoryOfThis().anonymous - before.anonymous));
    await pool.stop();
  }
  return found;
}

async function measure(subject: Subject, folder: string, smoke: boolean): Promise<Finding[]> {
  const file = join(folder, "subject.snap");
  const port = 8000;
  // Caches of its own: those that the native process has change meanwhile.
  const env = { ...environment(port), HOME: "/var/tmp" };
  const options = { program: subject.path, args: argumentsAt(subject, port), env, port, permissions, forks: 1 };
  const pool = await isolate({ ...options, ...(subject.memory ? { memory: subject.memory } : {}), stdout: "ignore", stderr: "ignore" });
  const rounds = smoke ? 1 : 5;
  const save = async () => {
    const began = performance.now();
    await pool.save(file);
    return performance.now() - began;
  };
  await save();
  const least = await interleave(rounds, {
    save,
    native: () => nativeStart(subject),
    openFull: async () => (await firstAnswer(file, subject, "full")).opened,
    openTrusted: async () => (await firstAnswer(file, subject, "trusted")).opened,
    answerFull: async () => (await firstAnswer(file, subject, "full")).answered,
    answerTrusted: async () => (await firstAnswer(file, subject, "trusted")).answered,
  });
  await pool.stop();
  const { size } = statSync(file);
  const ms = (value: number) => value.toFixed(1);
  const findings: Finding[] = [
    {
      ...{
        name: `${subject.name}: open and first answer / native start and first answer`,
        unit: "",
        floor: "the same server as a native process",
      },
      ...{ value: least.answerTrusted / least.native, target: subject.aim ? `<= ${subject.aim}` : "reported" },
      reached: subject.aim === undefined || least.answerTrusted / least.native <= subject.aim,
      detail: `native ${ms(least.native)} ms; trusted ${ms(least.answerTrusted)}, of it open ${ms(least.openTrusted)}; all checksums ${ms(least.answerFull)}, of it open ${ms(least.openFull)}; page cache warm`,
    },
    {
      ...{
        name: `${subject.name}: durable save`,
        value: least.save,
        unit: "ms",
        floor: "",
        target: `<= ${aimSaveMs} ms`,
        reached: least.save <= aimSaveMs,
      },
      detail: `${mebibytes(size).toFixed(1)} MiB of file`,
    },
  ];
  const forks = await forksBeyondImage(file, subject);
  const last = forks.at(-1) as number;
  findings.push({
    ...{ name: `${subject.name}: private memory of ${forkCounts.at(-1)} forks beyond the image`, value: last, unit: "MiB", floor: "" },
    ...{ target: subject.aim ? `<= ${aimPrivateMebibytes} MiB` : "reported", reached: !subject.aim || last <= aimPrivateMebibytes },
    detail: forkCounts.map((count, index) => `${count}: ${(forks[index] as number).toFixed(1)}`).join(", "),
  });
  rmSync(file);
  return findings;
}

export const snapshots: Benchmark = (smoke) =>
  withProgram("serve", async (program) => {
    const folder = mkdtempSync(join(root, "zig-out/snapshots-"));
    try {
      const findings: Finding[] = [];
      for (const subject of subjects(program)) findings.push(...(await measure(subject, folder, smoke)));
      return findings;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
