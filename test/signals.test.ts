/** Signals and timers: what a native run does, and what becomes of timers in forks and after resets. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Fork, Machine } from "../src/index.ts";

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const relaxed = { timeout: 60_000, stderr: "ignore" } as const;
const patience = 120_000;

for (const [name, args] of [
  ["signals", ["timers"]],
  ["timers", ["cpu"]],
] as const) {
  test(
    `${name} ${args.join(" ")} does what it does natively`,
    async () => {
      const expected = Bun.spawnSync([guest(name), ...args], { env: {}, stdin: "ignore" }).stdout.toString();
      expect(expected).not.toContain("WRONG");
      await using vm = await Machine.boot(guest(name), { args: [...args], ...relaxed });
      const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
      expect(text).toBe(expected);
      expect(stop.exitCode as number).toBe(0);
    },
    patience,
  );
}

async function withImage(check: (fork: Fork, another: () => Fork) => void | Promise<void>) {
  await using vm = await Machine.boot(guest("alarms"), { stdout: "ignore", ...relaxed });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  using fork = image.fork({ timeout: 30_000 });
  await check(fork, () => image.fork({ timeout: 30_000 }));
}

/** A function of the guest's that returns an int. */
const int = (fork: Fork, name: string, ...args: number[]) =>
  fork.fn(name, { args: args.map(() => "u32" as const), returns: "i32" })(...args);
const arm = (fork: Fork, clock: number, span: number, period: number, dated = 0) => fork.call("arm", clock, span, period, dated) as number;
const monotonic = 1;
const realtime = 0;

test("a timer fires while a function is called, and costs no exit while there is none", async () => {
  await withImage((fork) => {
    const quiet = fork.fn("fired", { returns: "u32" });
    quiet();
    const before = fork.counters().exits;
    for (let i = 0; i < 20; i++) quiet();
    expect(fork.counters().exits - before).toBe(20);
    expect(arm(fork, monotonic, 2_000_000, 2_000_000)).toBe(0);
    expect(int(fork, "spin_until", 5)).toBeGreaterThanOrEqual(5);
  });
});

test("what becomes due while nothing runs fires once, with its overruns", async () => {
  await withImage(async (fork) => {
    arm(fork, monotonic, 20_000_000, 20_000_000);
    await Bun.sleep(150);
    const fired = int(fork, "spin_until", 1);
    expect(fired).toBeGreaterThanOrEqual(1);
    expect(fired).toBeLessThanOrEqual(2);
    expect(int(fork, "overruns")).toBeGreaterThanOrEqual(4);
  });
});

test("a reset takes timers and queued signals with it", async () => {
  await withImage(async (fork) => {
    arm(fork, monotonic, 10_000_000, 10_000_000);
    int(fork, "queue", 5);
    expect(int(fork, "waiting")).toBe(1);
    fork.reset();
    expect(int(fork, "waiting")).toBe(0);
    await Bun.sleep(30);
    for (let i = 0; i < 3; i++) expect(int(fork, "fired")).toBe(0);
    expect(int(fork, "disarm")).toBe(-1);
  });
});

test("in a fork a span has left what it had, a date stays what it was", async () => {
  await withImage(async (first) => {
    arm(first, monotonic, 400_000_000, 0);
    const span = first.freeze();
    using dated = first;
    dated.reset();
    arm(dated, realtime, 20_000_000, 0, 1);
    const date = dated.freeze();
    await Bun.sleep(600);
    using fork = span.fork({ timeout: 30_000 });
    expect(int(fork, "fired")).toBe(0);
    expect(int(fork, "spin_until", 1)).toBe(1);
    fork.reset();
    expect(int(fork, "fired")).toBe(0);
    expect(int(fork, "spin_until", 1)).toBe(1);
    using late = date.fork({ timeout: 30_000 });
    expect(int(late, "fired")).toBe(1);
    span.close();
    date.close();
  });
});

test("a guest can make so many timers and queue so many signals, and no more", async () => {
  await withImage((fork) => {
    expect(int(fork, "make_all")).toBe(32);
    for (let i = 0; i < 64; i++) expect(int(fork, "queue", i)).toBe(0);
    expect(int(fork, "queue", 64)).toBe(-1);
    fork.reset();
    expect(int(fork, "make_all")).toBe(32);
    expect(int(fork, "queue", 0)).toBe(0);
  });
});

test("many interruptions of many kinds of code: none is lost, and the sums are right", async () => {
  await withImage((fork) => {
    arm(fork, monotonic, 300_000, 300_000);
    for (let i = 0; i < 20; i++) expect(fork.call("busy", 200_000)).toBe(fork.call("busy", 200_000));
    const before = int(fork, "fired");
    // Each of these ends only by a signal that comes while it runs.
    for (let i = 1; i <= 50; i++) int(fork, "spin_until", before + i);
    for (let i = 0; i < 50; i++) fork.call("look_at_clock_until_fired");
    expect(int(fork, "fired")).toBeGreaterThanOrEqual(before + 50);
  });
});

test("rights of protection keys that one machine leaves are not found by the next", async () => {
  for (let i = 0; i < 3; i++) {
    await withImage((fork, another) => {
      const rights = int(fork, "key_rights");
      // Without protection keys there is nothing to leave.
      if (rights === -1) return;
      expect(rights).toBe(0);
      expect(int(fork, "take_key_rights", 0x44)).toBe(0x44);
      fork.reset();
      expect(int(fork, "key_rights")).toBe(0);
      int(fork, "take_key_rights", 0x44);
      using other = another();
      expect(int(other, "key_rights")).toBe(0);
      let code = "none";
      try {
        int(fork, "take_key_rights", 1);
      } catch (error) {
        code = (error as { code: string }).code;
      }
      expect(code).toBe("GUEST_FAULT");
      fork.reset();
      expect(int(fork, "key_rights")).toBe(0);
    });
  }
});

test("a file may not grow over its limit", async () => {
  const dir = mkdtempSync(join(tmpdir(), "pristine-signals-"));
  try {
    const path = join(dir, "file");
    await using vm = await Machine.boot(guest("alarms"), { args: [path], permissions: { read: [dir], write: [dir] }, ...relaxed });
    const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
    expect(stop.exitCode as number).toBe(0);
    expect(text).toBe("a write up to the limit: ok\nSIGXFSZ: ok\na longer file: ok\n");
    expect(statSync(path).size).toBe(1000);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
