/**
 * `npm run tour`: runs real programs natively and in a machine on real input, compares what they print, and shows
 * what each cost.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Machine, type Permissions, PristineError } from "../src/index.ts";

const guests = join(import.meta.dir, "../zig-out/guests");
const busybox = "/bin/busybox";
const dictionary = new TextEncoder().encode(
  Array.from({ length: 4000 }, (_, index) => `line ${(index * 7919) % 4000} of the input\n`).join(""),
);

interface Stop {
  title: string;
  program: string;
  args?: string[];
  input?: Uint8Array<ArrayBuffer>;
  permissions?: Permissions;
}

const stops: Stop[] = [
  { title: "hello (C)", program: join(guests, "hello") },
  { title: "sha256 of 8 MiB (C)", program: join(guests, "sha256"), args: ["8"] },
  { title: "matrix product (C)", program: join(guests, "matrix"), args: ["30"] },
  { title: "word count (Zig)", program: join(guests, "words"), input: dictionary },
  { title: "static PIE (Zig)", program: join(guests, "pie") },
];
const applets: [string, string[]][] = [
  ["sort", ["-n", "-k2"]],
  ["sha256sum", []],
  ["grep", ["-c", "17"]],
  ["sed", ["s/line/row/"]],
  ["awk", ["{ s += $2 } END { print s }"]],
  ["wc", []],
  ["gzip", ["-c"]],
];
if (existsSync(busybox)) {
  for (const [name, args] of applets) stops.push({ title: `busybox ${name}`, program: busybox, args: [name, ...args], input: dictionary });
} else {
  console.log("busybox is not there (Debian: apt-get install busybox-static); the tour goes on without its applets.\n");
}
/** Dynamic programs and what they may read: their own libraries they find without a permission. */
const system: Permissions = { read: ["/usr", "/lib", "/lib64", "/bin", "/etc"] };
const dynamic: [string, string, string[], Permissions?][] = [
  ["sort (coreutils)", "/usr/bin/sort", ["-n", "-k2"]],
  ["sha256sum (coreutils)", "/usr/bin/sha256sum", []],
  ["bash", "/bin/bash", ["-c", "n=0; for ((i = 0; i < 50000; i++)); do n=$(((n * 31 + i) % 65521)); done; echo $n"]],
  ["perl", "/usr/bin/perl", ["-ne", "$n += (split)[1]; END { print $n, qq(\\n) }"]],
  ["python3", "/usr/bin/python3", ["-c", "import json, sys; print(json.dumps({'lines': sum(1 for _ in sys.stdin)}))"], system],
  ["sqlite3", "/usr/bin/sqlite3", [":memory:", "select sum(value * value) from generate_series(1, 1000)"]],
];
for (const [title, program, args, permissions] of dynamic) {
  if (existsSync(program)) stops.push({ title, program, args, input: dictionary, ...(permissions ? { permissions } : {}) });
  else console.log(`${program} is not there; the tour goes on without it.`);
}

function natively({ program, args = [], input }: Stop) {
  const before = Bun.nanoseconds();
  const done = Bun.spawnSync([program, ...args], { env: {}, stdin: input ?? "ignore" });
  return { output: done.stdout, status: done.exitCode, ms: (Bun.nanoseconds() - before) / 1e6 };
}

async function inMachine({ program, args = [], input, permissions = {} }: Stop) {
  const before = Bun.nanoseconds();
  await using vm = await Machine.boot(program, { args, stdin: input ?? "ignore", permissions });
  const [stop, output] = await Promise.all([vm.run(), new Response(vm.stdout).bytes()]);
  const ms = (Bun.nanoseconds() - before) / 1e6;
  const { syscalls, exits } = vm.counters();
  return { output, status: stop.exitCode, ms, syscalls, exits };
}

let differences = 0;
const rows = [];
for (const stop of stops) {
  const native = natively(stop);
  try {
    const machine = await inMachine(stop);
    const same = Buffer.compare(native.output, machine.output) === 0 && native.status === machine.status;
    if (!same) differences++;
    rows.push({
      program: stop.title,
      "native ms": native.ms.toFixed(1),
      "machine ms": machine.ms.toFixed(1),
      "system calls": machine.syscalls,
      exits: machine.exits,
      "output bytes": machine.output.length,
      same: same ? "yes" : "NO",
    });
  } catch (error) {
    if (!PristineError.is(error)) throw error;
    console.error(`pristine: ${stop.title}: ${error.message} (${error.hint})`);
    process.exit(1);
  }
}
console.log(Bun.inspect.table(rows));

await using library = await Machine.boot(join(guests, "functions"), { stdout: "ignore" });
const add = library.fn("add", { args: ["i64", "i64"], returns: "i64_fast" });
console.log(`A function of the guest, called from TypeScript: add(40, 2) = ${add(40, 2)}`);

/** A warm program as an image, and a thousand calls into one fork of it, each put back. */
async function forkTour(): Promise<boolean> {
  await using warm = await Machine.boot(join(guests, "functions"), { stdout: "ignore" });
  await warm.run();
  using image = warm.freeze();
  using fork = image.fork();
  const counter = fork.fn("counter", { returns: "u64_fast" });
  const first = counter();
  fork.reset();
  const calls = 1000;
  let pages = 0;
  let last = first;
  const times: number[] = [];
  for (let index = 0; index < calls; index++) {
    const before = Bun.nanoseconds();
    last = counter();
    pages += fork.reset().pages;
    times.push(Bun.nanoseconds() - before);
  }
  times.sort((a, b) => a - b);
  const cycle = ((times[calls / 2] as number) / 1000).toFixed(1);
  const same = last === first;
  console.log(
    `${calls} calls into one fork, each put back: ${cycle} µs for a call and its reset (median), ${pages / calls} pages put back each time.`,
  );
  console.log(
    `The first call saw the counter become ${first}, the ${calls}th ${last}: ${same ? "as if nothing had happened in between." : "NOT the same."}`,
  );
  return same;
}

if (!(await forkTour())) differences++;
console.log(differences === 0 ? "Every program printed in its machine what it prints natively." : `${differences} programs differ.`);
process.exit(differences === 0 ? 0 : 1);
