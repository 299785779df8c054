/**
 * Snapshot files that are damaged, cut, or lie under checksums that are right: each is refused by the name of its section, or what it is
 * opened as is no worse than a bad guest. `DAMAGE=20000` makes it a long one, `DAMAGE_SEED` the same again.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isolate, Machine, Snapshot } from "../../src/index.ts";
import type { Permissions, SaveOptions } from "../../src/types.ts";
import { python, folder as servers } from "../serving.ts";
import { Dice, SnapshotFile } from "./lies.ts";

const lies = Number(process.env.DAMAGE ?? 2000);
const seed = Number(process.env.DAMAGE_SEED ?? Date.now() % 2 ** 31);
const silentMs = 15_000;
const deathsMax = 10;
const folder = mkdtempSync(join(tmpdir(), "pristine-damage-"));
const guests = join(import.meta.dir, "../../zig-out/guests");
const script = join(import.meta.dir, "rich.py");
setDefaultTimeout(120_000 + lies * 60);
console.log(`DAMAGE_SEED=${seed}`);

const system = ["/usr", "/lib", "/lib64", "/etc"];

/** A snapshot, and how to use it. */
interface Subject {
  readonly name: string;
  readonly path: string;
  readonly kind: "lies" | "lies-run" | "lies-serve";
  /** Of all lies, those that are told of it. */
  readonly share: number;
  readonly permissions: Permissions;
}

const functions: Subject = {
  name: "functions",
  path: join(folder, "functions.snap"),
  kind: "lies",
  share: 1,
  permissions: { read: [guests] },
};
const rich: Subject = {
  name: "a program that has everything open",
  path: join(folder, "rich.snap"),
  kind: "lies-run",
  share: 0.1,
  permissions: { read: [...system, import.meta.dir] },
};
const copies: Subject = { ...rich, name: "a program that has copies of files", path: join(folder, "copies.snap"), share: 0.05 };
const server: Subject = {
  name: "a server that waits on a connection",
  path: join(folder, "server.snap"),
  kind: "lies-serve",
  share: 0.05,
  permissions: { read: [...system, servers] },
};

async function save(image: Snapshot, path: string, files: SaveOptions["files"] = "refer"): Promise<void> {
  using mine = image;
  await mine.save(path, { user: new Uint8Array(300).fill(7), files });
}

beforeAll(async () => {
  await using machine = await Machine.boot(join(guests, "functions"));
  await save(machine.freeze(), functions.path);
  if (python === undefined) return;
  const { permissions } = rich;
  await using program = await Machine.boot(python, { args: ["-SIB", script], permissions, inside: true, timeout: 30_000 });
  expect(await program.run({ until: "listen" })).toMatchObject({ reason: "listen" });
  await save(program.freeze(), rich.path);
  await save(program.freeze(), copies.path, "copy");
  const args = [join(servers, "app.py")];
  await using pool = await isolate({
    program: python,
    args,
    permissions: server.permissions,
    stdout: "ignore",
    stderr: "ignore",
    warmup: 3,
  });
  await pool.save(server.path);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Kills a process that has said nothing for long. */
function watch(child: Bun.Subprocess, report: string): Disposable {
  let [size, since] = [-1, performance.now()];
  const timer = setInterval(() => {
    const now = existsSync(report) ? statSync(report).size : 0;
    if (now !== size) [size, since] = [now, performance.now()];
    else if (performance.now() - since > silentMs) child.kill("SIGKILL");
  }, 250);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** What became of each case; a process that dies of one is told of with it, and another goes on behind it. */
async function outcomesOf(kind: string, { path, permissions }: Subject, count: number): Promise<string[]> {
  const report = join(folder, `report-${kind}`);
  const scratch = join(folder, `scratch-${kind}`);
  rmSync(report, { force: true });
  const outcomes: string[] = [];
  const deaths: string[] = [];
  const began = performance.now();
  while (outcomes.length < count && deaths.length < deathsMax) {
    const words = [kind, path, scratch, report, seed, outcomes.length, count, JSON.stringify(permissions)].map(String);
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "damage.ts"), ...words], { stdio: ["ignore", "ignore", "pipe"] });
    using _watched = watch(child, report);
    const [said, status] = await Promise.all([child.stderr.text(), child.exited]);
    const lines = existsSync(report) ? readFileSync(report, "utf8").split("\n").filter(Boolean) : [];
    rmSync(report, { force: true });
    for (const line of lines) {
      expect(line).toStartWith(`${outcomes.length} `);
      outcomes.push(line.slice(line.indexOf(" ") + 1));
    }
    if (status === 0 && outcomes.length === count) break;
    const how = child.signalCode ?? `status ${status}`;
    deaths.push(`DAMAGE_SEED=${seed} ${kind} of ${path}, case ${outcomes.length}: ${how}\n${said.slice(-3000)}`);
    outcomes.push("died");
  }
  rmSync(scratch, { force: true });
  const rate = Math.round((count * 1000) / (performance.now() - began));
  console.log(JSON.stringify({ kind, rate, outcomes: Object.fromEntries(tally(outcomes)) }));
  expect(deaths).toEqual([]);
  return outcomes;
}

function tally(outcomes: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const outcome of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  return new Map([...counts].sort(([, a], [, b]) => b - a));
}

const fileOf = ({ path }: Subject) => new SnapshotFile(new Uint8Array(readFileSync(path)));

test("a flipped bit is found, and its section named; where nothing is, it is nothing", async () => {
  const file = fileOf(functions);
  expect(file.isConsistent()).toBe(true);
  const outcomes = await outcomesOf("flips-full", functions, Math.ceil(lies / 4));
  const wanted = outcomes.map((_, number) => {
    const owner = file.ownerOf(file.flip(new Dice(seed, number)).at);
    return owner === undefined ? "opened" : `invalid: ${owner}`;
  });
  expect(outcomes).toEqual(wanted);
});

test("where the rest of a file is read later, damage in it is told of by the machines concerned", async () => {
  const file = fileOf(functions);
  const outcomes = await outcomesOf("flips-lazy", functions, Math.ceil(lies / 4));
  const hot = file.hotPages;
  const unexpected = outcomes.flatMap((outcome, number) => {
    const { at } = file.flip(new Dice(seed, number));
    const owner = file.ownerOf(at);
    const isLate = owner === "pages" && at >= file.section("pages").offset + hot * 4096;
    if (!isLate) return outcome === (owner === undefined ? "opened" : `invalid: ${owner}`) ? [] : [`${number}: ${outcome}`];
    // What is saved again needs all; what only computes may be done before.
    const isTold = outcome.endsWith("failed: late: pages");
    return isTold || (number % 2 === 1 && outcome === "opened") ? [] : [`${number} in late pages: ${outcome}`];
  });
  expect(unexpected).toEqual([]);
  expect(outcomes.filter((outcome) => outcome.includes("late")).length).toBeGreaterThanOrEqual(Math.floor(lies / 100));
});

test("page tables that lead out of the machine are refused, also where nothing is compared", async () => {
  const bytes = new Uint8Array(readFileSync(functions.path));
  const view = new DataView(bytes.buffer);
  const page = 4096;
  // What a page of a program's data is shown by: present, writable, ring 3's, used.
  const isShown = (entry: bigint) =>
    (entry & 0x8000_0000_0000_0067n) === 0x8000_0000_0000_0067n && (entry & 0x0fff_ffff_ffff_f000n) < 2n ** 38n;
  const found = Array.from({ length: bytes.length / page }, (_, index) => index * page)
    .flatMap((at) => Array.from({ length: page / 8 }, (_, index) => at + index * 8))
    .filter((at) => isShown(view.getBigUint64(at, true)));
  expect(found.length).toBeGreaterThan(20);
  const path = join(folder, "leads-out.snap");
  // Where remotes are, behind the machine's own memory, and where the tables of remotes are.
  for (const target of [0x80_0000_0000n, 0x38_0000_0000n, 0x40_8000_0000n]) {
    const lying = bytes.slice();
    for (const at of found) new DataView(lying.buffer).setBigUint64(at, target | 0x8000_0000_0000_0067n, true);
    await Bun.write(path, lying);
    const opening = Snapshot.open(path, { verify: "trusted", permissions: functions.permissions });
    expect(await opening.catch((error) => error)).toMatchObject({ code: "SNAPSHOT_INVALID" });
  }
});

test("pages of the monitor's own that are others are refused, also where nothing is compared", async () => {
  const bytes = new Uint8Array(readFileSync(functions.path));
  const path = join(folder, "own-pages.snap");
  // `out %al, $port; hlt` of an exception, `mov %rax, %cr3; iretq`, `movabs %rax, exit page`, and the first of the gates.
  const parts = [
    [0xe6, 0x8e, 0xf4],
    [0x0f, 0x22, 0xd8, 0x48, 0xcf],
    [0x48, 0xa3, 0x00, 0x40, 0x00, 0xc0, 0xff, 0x7f, 0x00, 0x00],
  ];
  for (const part of parts) {
    const at = Buffer.from(bytes.buffer).indexOf(Uint8Array.from(part));
    expect(at).toBeGreaterThan(0);
    const lying = bytes.slice();
    lying[at + part.length - 1] = 0x90;
    await Bun.write(path, lying);
    const opening = Snapshot.open(path, { verify: "trusted", permissions: functions.permissions });
    expect(await opening.catch((error) => error)).toMatchObject({ code: "SNAPSHOT_INVALID", message: expect.stringContaining("pages") });
  }
});

test("a file that is cut short is refused", async () => {
  const outcomes = await outcomesOf("cuts", functions, Math.ceil(lies / 10));
  expect(new Set(outcomes)).toEqual(new Set(["invalid: header"]));
});

/** What is refused says why; what is opened does what guests may do. */
const refusals = /^(invalid: [a-z]+|mismatch|refused: (DENIED|UNSUPPORTED|BAD_OPTION))$/;
const uses =
  /^(opened|opened, and wrong|failed: (late: pages|GUEST_FAULT|GUEST_EXIT|TIMEOUT|NO_SYMBOL|OUT_OF_MEMORY|UNSUPPORTED|BAD_OPTION|INTERNAL: "the machine cannot go on.*))$/;

/** Outcomes that nothing may come to, with what makes them come again. */
function unfit(kind: string, outcomes: readonly string[], aboutOf: (number: number) => string): string[] {
  return outcomes.flatMap((outcome, number) => {
    const about = aboutOf(number);
    const isRefused = refusals.test(outcome) && (outcome !== "mismatch" || about === "processor" || about === "header");
    const isFit = isRefused || outcome.split(", then ").every((one) => uses.test(one));
    return isFit ? [] : [`DAMAGE_SEED=${seed} ${kind}, case ${number} in ${about}: ${outcome}`];
  });
}

test("in a file that is trusted a flipped bit harms nobody", async () => {
  const file = fileOf(functions);
  const outcomes = await outcomesOf("flips-trusted", functions, Math.ceil(lies / 4));
  expect(unfit("flips-trusted", outcomes, (number) => file.ownerOf(file.flip(new Dice(seed, number)).at) ?? "nothing")).toEqual([]);
});

for (const subject of [functions, rich, copies, server]) {
  describe(subject.name, () => {
    test.skipIf(subject !== functions && python === undefined)("lies under checksums that are right harm nobody", async () => {
      const file = fileOf(subject);
      const count = Math.ceil(lies * subject.share);
      const outcomes = await outcomesOf(subject.kind, subject, count);
      expect(unfit(subject.kind, outcomes, (number) => file.lie(new Dice(seed, number)).about)).toEqual([]);
    });
  });
}
