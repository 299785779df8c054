/** Guests that take what there is without end, or lose what they use: limits hold, errnos are the kernel's, the process lives. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, PristineError, type Snapshot } from "../src/index.ts";
import { difference } from "../src/testing.ts";

const main = join(import.meta.dir, "../src/cli/main.ts");
const bad = join(import.meta.dir, "../zig-out/guests/bad");
/** Emulation has less of what is only many times the same. */
const small = process.env.TEST_SCALE !== undefined && Number(process.env.TEST_SCALE) < 1;
const base = mkdtempSync(join(tmpdir(), "pristine-bad-"));
const file = join(base, "file");
const full = join(base, "full");
const fifo = join(base, "fifo");
const many = join(base, "many");
const entries = small ? 2_000 : 50_000;
const permissions = { read: [base], write: [base] };

const EMFILE = 24;
const ENFILE = 23;
const ENOMEM = 12;
const EACCES = 13;
const EAGAIN = 11;
const ENOSYS = 38;

let image: Snapshot;
let pristine: ReturnType<Snapshot["fork"]>;

beforeAll(async () => {
  writeFileSync(file, "x".repeat(100_000));
  Bun.spawnSync(["mkfifo", fifo]);
  mkdirSync(many);
  for (let index = 0; index < entries; index++) writeFileSync(join(many, `entry-${index}`), "");
  await using vm = await Machine.boot(bad, { permissions, memory: "64MiB", stderr: "ignore", stdout: "ignore", timeout: 60_000 });
  expect((await vm.run()).exitCode).toBe(0);
  image = vm.freeze();
  pristine = image.fork();
}, 60_000);

afterAll(() => {
  pristine?.close();
  image?.close();
});

const openDescriptors = () => readdirSync("/proc/self/fd").length;

/** Calls it in a fork, and expects the fork to be as one that never ran after a reset; answers the count and the errno. */
function misbehave(name: string, path = "/"): [count: number, errno: number] {
  const before = openDescriptors();
  using fork = image.fork({ timeout: 60_000 });
  const answer = Number(fork.call(`bad_${name}`, path));
  fork.reset();
  expect({ name, differences: difference(fork, pristine) }).toEqual({ name, differences: [] });
  // Forks may take a VM from another machine; nothing else is left open.
  expect(openDescriptors()).toBeLessThanOrEqual(before + 4);
  return [Math.floor(answer / 256), answer % 256];
}

test("files and pipes end at the limit of descriptors, and a reset closes them", () => {
  expect(misbehave("descriptors", file)).toEqual([1024 - 3, EMFILE]);
  expect(misbehave("descriptors", "/proc/self/maps")).toEqual([1024 - 3, EMFILE]);
  const [pipes, errno] = misbehave("pipes");
  expect(pipes).toBeGreaterThan(200);
  expect([ENFILE, EMFILE]).toContain(errno);
});

test("100,000 timers: those beyond the limits are refused as Linux refuses them, and the rest end with a reset", () => {
  const descriptors = 1024 - 3;
  const timers = 32;
  expect(misbehave("timers")).toEqual([descriptors + timers, 0]);
}, 60_000);

test("forks without end are refused by a clear errno", () => {
  const [, errno] = misbehave("forks");
  expect([ENOSYS, EAGAIN]).toContain(errno);
});

test("mappings without end stop at Linux's limit, soon", () => {
  const started = performance.now();
  const [count, errno] = misbehave("maps");
  expect(errno).toBe(ENOMEM);
  expect(count).toBeGreaterThan(60_000);
  expect(count).toBeLessThanOrEqual(65_530);
  expect(performance.now() - started).toBeLessThan(small ? 300_000 : 60_000);
}, 300_000);

test("storms of changed rights keep every byte", () => {
  expect(misbehave("protections")).toEqual([2000, 0]);
}, 60_000);

test("discarded memory is zero, shared memory stays", () => {
  expect(misbehave("discards")).toEqual([7, 0]);
});

test("places opened with O_PATH stay that in forks, and a reset closes them", () => {
  expect(misbehave("places", base)).toEqual([1, 0]);
  using fork = image.fork({ timeout: 60_000 });
  fork.call("bad_places", base);
  using again = fork.freeze();
  using second = again.fork({ timeout: 60_000 });
  expect(Number(second.call("bad_places_kept", "/")) / 256).toBe(5);
  second.reset();
  expect(Number(second.call("bad_places_kept", "/")) / 256).toBe(5);
});

test("vectored transfers hold their limits", () => {
  expect(misbehave("vectors")).toEqual([10, 0]);
}, 60_000);

test("a file that is cut, replaced and deleted under a read answers what there is", async () => {
  const changing = join(base, "changing");
  writeFileSync(changing, "y".repeat(300_000));
  await using vm = await Machine.boot(bad, { args: ["changing", changing], permissions, timeout: 60_000, stderr: "ignore" });
  const running = vm.run();
  let over = false;
  const end = running.finally(() => {
    over = true;
  });
  for (let round = 0; !over; round++) {
    if (round % 3 === 0) truncateSync(changing, 10);
    else if (round % 3 === 1) unlinkSync(changing);
    writeFileSync(changing, "z".repeat(round % 7 === 0 ? 0 : 200_000));
    await Bun.sleep(0);
  }
  expect((await end).exitCode).toBe(0);
  expect(await new Response(vm.stdout).text()).toBe("5000 fine\n");
  expect(misbehave("changing", file)[1]).toBe(0);
}, 60_000);

/** Runs `bad disk` in a process of its own, which does `prepare` between boot and run. */
function fillDisk(prepare: string, path: string) {
  const script = `import { Machine } from ${JSON.stringify(join(import.meta.dir, "../src/index.ts"))};
    await using vm = await Machine.boot(${JSON.stringify(bad)}, { args: ["disk", ${JSON.stringify(path)}], permissions: { write: [${JSON.stringify(join(path, ".."))}] }, stdout: "inherit", timeout: 30_000 });
    ${prepare}
    const stop = await vm.run();
    process.exitCode = stop.exitCode ?? 1;`;
  const done = Bun.spawnSync([process.execPath, "-e", script]);
  expect({ code: done.exitCode, signal: done.signalCode ?? null, err: done.stderr.toString() }).toEqual({ code: 0, signal: null, err: "" });
  return done.stdout.toString().trim();
}

test("the host's limit on file sizes is an errno for the guest and no signal for the host", () => {
  const limit = `Bun.spawnSync(["prlimit", "--pid", String(process.pid), "--fsize=1000000:"]);`;
  expect(fillDisk(limit, full)).toBe("1000000 File too large");
}, 60_000);

const disk = join(base, "disk");
mkdirSync(disk);
const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk]).exitCode === 0;
afterAll(() => {
  if (mounted) Bun.spawnSync(["umount", disk]);
  rmSync(base, { recursive: true, force: true });
});

test.skipIf(!mounted)(
  "a full disk is ENOSPC (needs the right to mount)",
  () => {
    expect(fillDisk("", join(disk, "full"))).toBe(`${2 * 2 ** 20} No space left on device`);
  },
  60_000,
);

test("a FIFO with nobody at the other end holds nobody up", () => {
  const started = performance.now();
  expect(misbehave("fifo", fifo)).toEqual([0, EACCES]);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test("a folder of many entries is listed whole", () => {
  expect(misbehave("listing", many)).toEqual([entries + 2, 0]);
});

test("a stack that overflows and a frame that lies are faults, and a reset cures them", () => {
  for (const name of ["recursion", "frame"]) {
    using fork = image.fork({ timeout: 60_000 });
    let code = "none";
    try {
      fork.call(`bad_${name}`, "/");
    } catch (error) {
      if (!PristineError.is(error)) throw error;
      code = error.code;
    }
    expect(`${name} ${code}`).toBe(`${name} GUEST_FAULT`);
    fork.reset();
    expect(difference(fork, pristine)).toEqual([]);
    expect(Number(fork.call("bad_fifo", fifo))).toBe(EACCES);
  }
  const done = Bun.spawnSync([process.execPath, main, "run", "--quiet", bad, "recursion"]);
  expect(done.exitCode).toBe(128 + 11);
});
