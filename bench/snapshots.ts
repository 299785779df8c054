/** What it costs to save a warm server, to open it and to have its first answer, beside a start of the same server. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isolate, Pool, Snapshot } from "../src/index.ts";
import { inspectSnapshot } from "../src/saved.ts";
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
const aimOpenTrustedMs = 2;
const aimOpenMs = 6;
const aimCold = 0.35;
const aimFile = 0.75;
/** What a pool's server is warmed with, unless it is told otherwise. */
const warmupRequests = 20;

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
async function nativeStart(subject: Subject, then?: (port: number, pid: number) => Promise<void>): Promise<number> {
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
        const answered = performance.now() - began;
        client.close();
        await then?.(port, child.pid as number);
        return answered;
      } catch {
        await Bun.sleep(0.2);
      }
    }
  } finally {
    child.kill("SIGKILL");
  }
}

/** Memory that frozen machines of this process have, zero pages too, in bytes. */
function frozenMemory(): number {
  const links = readdirSync("/proc/self/fd").map((fd) => `/proc/self/fd/${fd}`);
  const isMachine = (link: string) => {
    try {
      return /memfd:pristine-(guest|image)/.test(readlinkSync(link));
    } catch {
      return false;
    }
  };
  return links.filter(isMachine).reduce((sum, link) => sum + statSync(link).blocks * 512, 0);
}

/** Memory of a native process that has answered as many requests as the machine that is saved, in bytes. */
async function nativeResident(subject: Subject): Promise<number> {
  let resident = 0;
  await nativeStart(subject, async (port, pid) => {
    for (let left = warmupRequests; left > 0; left--) {
      // Some servers close a connection behind each answer.
      const client = await Client.open(port);
      await client.request(subject.request).catch(() => {});
      client.close();
    }
    resident = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  });
  return resident;
}

const permissions = { read: true };
type Verify = "lazy" | "full" | "trusted";

async function ask(pool: Pool, subject: Subject): Promise<void> {
  await (await pool.fetch(new Request(`http://localhost${subject.request}`))).arrayBuffer();
}

interface Start {
  readonly opened: number;
  readonly answered: number;
}

/** Milliseconds from the start until the file is open, and until its first answer is there. */
async function firstAnswer(file: string, subject: Subject, verify: Verify, isCold = false): Promise<Start> {
  if (isCold) dropFromCache(file);
  const began = performance.now();
  using image = await Snapshot.open(file, { permissions, verify });
  const opened = performance.now() - began;
  const pool = new Pool(image, { forks: 1, warmup: 0, timeout: 60_000 });
  await ask(pool, subject);
  const answered = performance.now() - began;
  await pool.stop();
  return { opened, answered };
}

/** The next who reads the file reads the disk. */
function dropFromCache(file: string): void {
  const { status } = spawnSync("dd", [`if=${file}`, "iflag=nocache", "count=0"], { stdio: "ignore" });
  if (status !== 0) throw new Error(`${file} cannot be dropped from the page cache: dd is not there`);
}

/** Sends requests to a snapshot and saves it again, with the pages first that they used. */
async function recordRequests(file: string, to: string, subject: Subject, requests: number): Promise<void> {
  using image = await Snapshot.open(file, { permissions, record: true });
  const pool = new Pool(image, { forks: 1, warmup: 0, timeout: 60_000 });
  for (let left = requests; left > 0; left--) await ask(pool, subject);
  await image.save(to);
  await pool.stop();
}

/** The frames of a file's hot pages (docs/snapshot-format.md). */
function hotFrames(file: string): Set<number> {
  const bytes = readFileSync(file);
  const runs = 64 + 3 * 32;
  const [offset, length] = [Number(bytes.readBigUInt64LE(runs + 8)), Number(bytes.readBigUInt64LE(runs + 16))];
  const hot = Number(bytes.readBigUInt64LE(48));
  const frames = new Set<number>();
  for (let at = offset; at < offset + length && frames.size < hot; at += 8) {
    const first = bytes.readUInt32LE(at);
    for (let index = 0; index < bytes.readUInt32LE(at + 4) && frames.size < hot; index++) frames.add(first + index);
  }
  return frames;
}

/** Private memory of this process, and its share of what it shares, in bytes. */
function memoryOfThis(): { anonymous: number; proportional: number } {
  const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
  const kibibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0) * 1024;
  return { anonymous: kibibytes("Anonymous"), proportional: kibibytes("Pss") };
}

interface Beyond {
  readonly count: number;
  readonly own: number;
  readonly share: number;
}

/** What forks that have each answered one request need beyond the image, in MiB, for each number of them. */
async function forksBeyondImage(file: string, subject: Subject): Promise<Beyond[]> {
  using image = await Snapshot.open(file, { permissions, verify: "full" });
  const found: Beyond[] = [];
  for (const count of forkCounts) {
    Bun.gc(true);
    const before = memoryOfThis();
    const pool = new Pool(image, { forks: count, warmup: 0, timeout: 60_000 });
    await Promise.all(Array.from({ length: count }, () => ask(pool, subject)));
    Bun.gc(true);
    const after = memoryOfThis();
    found.push({ count, own: mebibytes(after.anonymous - before.anonymous), share: mebibytes(after.proportional - before.proportional) });
    await pool.stop();
  }
  return found;
}

/** Times of one way to start: the least of each. */
type Least = Record<"opened" | "answered", number>;
const ways = ["plain full", "plain lazy", "recorded lazy", "recorded trusted", "plain cold", "plain cold full", "recorded cold"] as const;
type Way = (typeof ways)[number];

async function startsOf(plain: string, recorded: string, subject: Subject, rounds: number): Promise<Record<Way | "native", Least>> {
  const least = Object.fromEntries([...ways, "native"].map((way) => [way, { opened: Infinity, answered: Infinity }]));
  const verifyOf = (way: Way): Verify => (way.endsWith("full") ? "full" : way.endsWith("trusted") ? "trusted" : "lazy");
  const note = (way: Way | "native", { opened, answered }: Start) => {
    const before = least[way] as Least;
    least[way] = { opened: Math.min(before.opened, opened), answered: Math.min(before.answered, answered) };
  };
  for (let round = 0; round < rounds; round++) {
    note("native", { opened: Infinity, answered: await nativeStart(subject) });
    for (const way of ways) {
      const file = way.startsWith("plain") ? plain : recorded;
      note(way, await firstAnswer(file, subject, verifyOf(way), way.includes("cold")));
    }
  }
  return least as Record<Way | "native", Least>;
}

const ms = (value: number) => value.toFixed(1);

function startFindings(subject: Subject, starts: Record<Way | "native", Least>): Finding[] {
  const told = (way: Way) => `${way} ${ms(starts[way].answered)}, of it open ${ms(starts[way].opened)}`;
  const trusted = starts["recorded trusted"];
  const ratio = trusted.answered / starts.native.answered;
  const cold = starts["recorded cold"].answered / starts["plain cold full"].answered;
  const opened = (way: Way, aim: number): Finding => ({
    ...{ name: `${subject.name}: open, ${way}`, value: starts[way].opened, unit: "ms", floor: "" },
    ...{ target: subject.aim ? `<= ${aim} ms` : "reported", reached: !subject.aim || starts[way].opened <= aim },
  });
  return [
    {
      ...{ name: `${subject.name}: open and first answer / native start and first answer`, value: ratio, unit: "" },
      ...{ floor: "the same server as a native process", target: subject.aim ? `<= ${subject.aim}` : "reported" },
      reached: subject.aim === undefined || ratio <= subject.aim,
      detail: `ms: native ${ms(starts.native.answered)}; ${(["recorded trusted", "recorded lazy", "plain lazy", "plain full"] as const).map(told).join("; ")}; page cache warm`,
    },
    opened("recorded trusted", aimOpenTrustedMs),
    opened("recorded lazy", aimOpenMs),
    {
      ...{ name: `${subject.name}: first answer from a cold disk, recorded / not, all of it read first`, value: cold, unit: "", floor: "" },
      ...{ target: subject.aim ? `<= ${aimCold}` : "reported", reached: !subject.aim || cold <= aimCold },
      detail: `ms: ${(["recorded cold", "plain cold", "plain cold full"] as const).map(told).join("; ")}`,
    },
  ];
}

async function fileFindings(subject: Subject, pool: Pool, folder: string, smoke: boolean): Promise<Finding[]> {
  const [plain, recorded, once] = ["plain", "recorded", "once"].map((name) => join(folder, `${name}.snap`)) as [string, string, string];
  const save = async () => {
    const began = performance.now();
    await pool.save(plain);
    return performance.now() - began;
  };
  const frozen = frozenMemory();
  const saved = (await interleave(smoke ? 1 : 5, { save })).save;
  await pool.stop();
  await recordRequests(plain, recorded, subject, 3);
  await recordRequests(recorded, once, subject, 1);
  const [hot, used] = [hotFrames(recorded), hotFrames(once)];
  const unused = [...hot].filter((frame) => !used.has(frame)).length;
  const starts = startFindings(subject, await startsOf(plain, recorded, subject, smoke ? 1 : 7));
  const { size } = statSync(plain);
  const facts = inspectSnapshot(plain).memory;
  const resident = await nativeResident(subject);
  const forks = await forksBeyondImage(recorded, subject);
  const last = forks.at(-1) as Beyond;
  for (const file of [plain, recorded, once]) rmSync(file);
  return [
    ...starts,
    {
      ...{ name: `${subject.name}: pages read before the first answer that it did not use`, value: unused, unit: "pages", floor: "" },
      ...{ target: "reported", reached: true },
      detail: `of ${hot.size} that are read, of ${facts.pages} in the file; page tables count as used`,
    },
    {
      ...{ name: `${subject.name}: durable save`, value: saved, unit: "ms", floor: "" },
      ...{ target: `<= ${aimSaveMs} ms`, reached: saved <= aimSaveMs },
      detail: `${mebibytes(size).toFixed(1)} MiB of file for ${mebibytes(facts.extent).toFixed(0)} MiB of guest-physical memory`,
    },
    {
      ...{ name: `${subject.name}: size of the file / memory of the frozen machine`, value: size / frozen, unit: "" },
      ...{ floor: "what the host has given it", target: subject.aim ? `<= ${aimFile}` : "reported" },
      ...{ reached: !subject.aim || size / frozen <= aimFile },
      detail: `${mebibytes(size).toFixed(1)} of ${mebibytes(frozen).toFixed(1)} MiB; VmRSS of a native process ${mebibytes(resident).toFixed(1)}`,
    },
    {
      ...{ name: `${subject.name}: private memory of ${last.count} forks beyond the image`, value: last.own, unit: "MiB", floor: "" },
      ...{ target: subject.aim ? `<= ${aimPrivateMebibytes} MiB` : "reported", reached: !subject.aim || last.own <= aimPrivateMebibytes },
      detail: forks.map(({ count, own, share }) => `${count}: ${own.toFixed(1)}, PSS ${share.toFixed(1)}`).join("; "),
    },
  ];
}

async function measure(subject: Subject, folder: string, smoke: boolean): Promise<Finding[]> {
  const port = 8000;
  // Caches of its own: those that the native process has change meanwhile.
  const env = { ...environment(port), HOME: "/var/tmp" };
  const options = { program: subject.path, args: argumentsAt(subject, port), env, port, permissions, forks: 1 };
  const pool = await isolate({ ...options, ...(subject.memory ? { memory: subject.memory } : {}), stdout: "ignore", stderr: "ignore" });
  return await fileFindings(subject, pool, folder, smoke);
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
