/**
 * Opens damaged snapshots in a process that may die of it: `damage.ts KIND FILE SCRATCH REPORT SEED FROM TO PERMISSIONS`. Each case is a line
 * of the report: its number, then what became of it.
 */
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { type Fork, Pool, PristineError, Snapshot } from "../../src/index.ts";
import type { OpenOptions } from "../../src/types.ts";
import { Dice, type Patch, SnapshotFile } from "./lies.ts";

const [kind, path, scratch, report, seed, from, to, permissions] = process.argv.slice(2) as [string, ...string[]] & { length: 8 };
const runLimitMs = 150;
const file = new SnapshotFile(new Uint8Array(readFileSync(path as string)));
writeFileSync(scratch as string, file.bytes);
const out = openSync(report as string, "a");
const verifies = ["full", "lazy", "trusted"] as const;
const [, flips] = /^flips-(.*)$/.exec(kind as string) ?? [];

function verifyOf(number: number): NonNullable<OpenOptions["verify"]> {
  return verifies.find((one) => one === flips) ?? (verifies[number % verifies.length] as (typeof verifies)[number]);
}

/** Now and then without a folder that is open, one of the first or the last, so that what was made by then is given up. */
function optionsOf(number: number): OpenOptions {
  const { read } = JSON.parse(permissions as string) as { read: string[] };
  const verify = verifyOf(number);
  if (kind !== "lies-run" || number % 16 !== 2) return { permissions: { read }, verify };
  const less =
    number % 32 === 2
      ? read.filter((path) => path !== "/etc")
      : read.flatMap((path) => (path === "/usr" ? ["/usr/bin", "/usr/lib"] : [path]));
  return { permissions: { read: less }, verify };
}

/** Nobody has the file open for writing while it is opened: only such a file is opened before all of it is there. */
function put(patches: readonly Patch[]): void {
  const descriptor = openSync(scratch as string, "r+");
  for (const { at, bytes } of patches) writeSync(descriptor, bytes, 0, bytes.length, at);
  closeSync(descriptor);
}

function putBack(patches: readonly Patch[]): void {
  put(patches.map(({ at, bytes }) => ({ at, bytes: file.bytes.subarray(at, at + bytes.length) })));
}

function codeOf(error: unknown): string {
  if (!PristineError.is(error)) return `no PristineError: ${JSON.stringify(String(error))}`;
  if (PristineError.is(error, "SNAPSHOT_INVALID")) return `late: ${error.details.section}`;
  return error.code === "INTERNAL" ? `INTERNAL: ${JSON.stringify(error.message)}` : error.code;
}

/** As a fork of a damaged machine may: it works, faults, or is refused. */
async function use(fork: Fork): Promise<string> {
  try {
    if (kind === "lies-run") await fork.run();
    else if (fork.call("add", 2, 3) !== 5) return "opened, and wrong";
    return "opened";
  } catch (error) {
    return `failed: ${codeOf(error)}`;
  }
}

/** Forks of an image are used, put back, and used again; some are frozen, and some images saved again. */
async function useForks(image: Snapshot, number: number): Promise<[first: string, second: string]> {
  using fork = image.fork({ timeout: runLimitMs });
  // All of the file is there before it is saved again.
  const isLate = flips === "lazy" && number % 2 === 0;
  if (number % 64 === 0 && flips !== "lazy") await image.save(`${scratch}-again`);
  if (number % 4 === 1) {
    using again = fork.freeze();
    using another = again.fork();
    await use(another);
  }
  const first = await use(fork);
  fork.reset();
  const second = await use(fork);
  fork.reset({ mode: "full" });
  if (isLate) await image.save(`${scratch}-again`);
  return [first, second];
}

/** Requests are sent to the server that it is. */
async function serve(image: Snapshot): Promise<[first: string, second: string]> {
  await using pool = new Pool(image, { forks: 1, timeout: runLimitMs, warmup: 0 });
  const ask = async () => ((await pool.fetch(new Request("http://localhost/"))).ok ? "opened" : "opened, and wrong");
  return [await ask(), await ask()];
}

async function attempt(number: number): Promise<string> {
  let image: Snapshot;
  try {
    image = await Snapshot.open(scratch as string, optionsOf(number));
  } catch (error) {
    if (PristineError.is(error, "SNAPSHOT_INVALID")) return `invalid: ${error.details.section}`;
    return PristineError.is(error, "SNAPSHOT_MISMATCH") ? "mismatch" : `refused: ${codeOf(error)}`;
  }
  try {
    const [first, second] = await (kind === "lies-serve" ? serve(image) : useForks(image, number));
    return first === second ? first : `${first}, then ${second}`;
  } catch (error) {
    return `failed: ${codeOf(error)}`;
  } finally {
    image.close();
  }
}

for (let number = Number(from); number < Number(to); number++) {
  const dice = new Dice(Number(seed), number);
  let outcome: string;
  if (kind === "cuts") {
    truncateSync(scratch as string, dice.below(file.bytes.length));
    outcome = await attempt(number);
    put([{ at: 0, bytes: file.bytes }]);
  } else {
    const flipped = kind.startsWith("flips") ? file.flip(dice) : undefined;
    const patches = flipped ? [flipped] : file.lie(dice).patches;
    put(patches);
    outcome = await attempt(number);
    putBack(patches);
  }
  writeSync(out, `${number} ${outcome}\n`);
}
closeSync(out);
process.exit(0);
