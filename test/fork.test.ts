/** Freezing, forking and resetting through the public API. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type Fork, Machine, PristineError, type Snapshot } from "../src/index.ts";
import { difference } from "../src/testing.ts";

/** Emulation has less of what is only many times the same. */
const scale = Number(process.env.TEST_SCALE ?? 1);
const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const silent = { stdout: "ignore", stderr: "ignore", timeout: 60_000 } as const;

const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    if (PristineError.is(error)) return error.code;
    throw error;
  }
  return "none";
};

/** A snapshot of the program that has functions to call, after its end. */
async function functions(options: object = {}): Promise<Snapshot> {
  using vm = await Machine.boot(guest("functions"), { ...silent, ...options });
  await vm.run();
  return vm.freeze();
}

const counterOf = (fork: Fork | Machine) => fork.fn("counter", { returns: "u64_fast" });
const rss = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
const openDescriptors = () => readdirSync("/proc/self/fd").length;
const liveVms = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("kvm-vm");
    } catch {
      return false;
    }
  }).length;

test("a machine can be frozen before its start, in its middle and after its end, and goes on", async () => {
  await using vm = await Machine.boot(guest("ready"), { ...silent, stdout: "pipe" });
  using loaded = vm.freeze();
  expect((await vm.run({ until: "ready" })).reason).toBe("ready");
  using middle = vm.freeze();
  expect(await vm.run()).toMatchObject({ exitCode: 7 });
  using end = vm.freeze();
  const whole = await new Response(vm.stdout).text();
  vm.close();
  using fromStart = loaded.fork();
  using fromMiddle = middle.fork();
  using fromEnd = end.fork();
  expect([fromStart.state, fromMiddle.state, fromEnd.state]).toEqual(["loaded", "stopped", "exited"]);
  const [, startText] = await Promise.all([fromStart.run(), new Response(fromStart.stdout).text()]);
  const [, middleText] = await Promise.all([fromMiddle.run(), new Response(fromMiddle.stdout).text()]);
  expect(startText).toBe(whole);
  expect(whole).toBe(`warming up\n${middleText}`);
  expect(fromEnd.call("entry_of", 3)).toBe(fromMiddle.call("entry_of", 3));
});

test("a reset takes back what a call did, in either way, and says what it cost", async () => {
  using image = await functions();
  using fork = image.fork();
  using untouched = image.fork();
  const counter = counterOf(fork);
  const first = counter();
  expect(counter()).toBe((first as number) + 1);
  for (const mode of ["rewrite", "full", "auto"] as const) {
    const report = fork.reset({ mode });
    expect(report.mode).toBe(mode === "full" ? "full" : "rewrite");
    expect(report.nanoseconds).toBeGreaterThan(0);
    expect(difference(fork, untouched)).toEqual([]);
    expect(counter()).toBe(first as number);
  }
  expect(fork.reset({ mode: "rewrite" }).pages).toBeGreaterThan(0);
  expect(fork.reset({ mode: "rewrite" }).pages).toBe(0);
});

test("a warm request costs one exit and no fault, and its rewriting reset none", async () => {
  using image = await functions();
  using fork = image.fork();
  const counter = counterOf(fork);
  for (let round = 0; round < 20; round++) {
    counter();
    fork.reset({ mode: "rewrite" });
  }
  const before = fork.counters();
  for (let round = 0; round < 50; round++) {
    counter();
    fork.reset({ mode: "rewrite" });
  }
  const after = fork.counters();
  expect(after.exits - before.exits).toBe(50);
  expect(after.faults - before.faults).toBe(0);
  expect(after.pagesTouched).toBe(before.pagesTouched);
});

test("the first write to a page of a fork makes no exit, and the page is copied for it alone", async () => {
  using vm = await Machine.boot(guest("changes"), { ...silent, memory: "64MiB" });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  using fork = image.fork();
  const dirty = fork.fn("dirty", { args: ["u32", "u32", "u64"] });
  dirty(0, 1, 1n);
  const before = fork.counters();
  dirty(1, 100, 1n);
  const after = fork.counters();
  expect(after.exits - before.exits).toBe(1);
  expect(after.faults - before.faults).toBe(0);
  expect(after.pagesTouched - before.pagesTouched).toBe(100);
  expect(fork.reset({ mode: "rewrite" }).pages).toBeGreaterThanOrEqual(100);
});

test("forks do not see each other, nor the machine they come from", async () => {
  await using vm = await Machine.boot(guest("functions"), silent);
  await vm.run();
  using image = vm.freeze();
  const forks = Array.from({ length: 20 }, () => image.fork());
  const start = counterOf(forks[0] as Fork)() as number;
  for (let round = 0; round < 3; round++) counterOf(vm)();
  for (const [index, fork] of forks.entries()) {
    for (let round = 0; round < index; round++) counterOf(fork)();
  }
  forks.forEach((fork, index) => {
    expect(counterOf(fork)()).toBe(start + index + (index === 0 ? 1 : 0));
  });
  for (const fork of forks) fork.close();
  expect(counterOf(vm)()).toBe(start + 3);
});

test("a fork can be frozen, and a machine twice", async () => {
  await using vm = await Machine.boot(guest("functions"), silent);
  await vm.run();
  using first = vm.freeze();
  const start = counterOf(vm)() as number;
  using second = vm.freeze();
  using fork = first.fork();
  counterOf(fork)();
  counterOf(fork)();
  using third = fork.freeze();
  fork.reset();
  expect(counterOf(fork)()).toBe(start);
  using ofSecond = second.fork();
  using ofThird = third.fork();
  expect(counterOf(ofSecond)()).toBe(start + 1);
  expect(counterOf(ofThird)()).toBe(start + 2);
  // A fork may change over to another snapshot of the same machine.
  expect(ofSecond.reset({ to: third }).mode).toBe("full");
  expect(difference(ofSecond, third.fork())).toEqual([]);
  expect(counterOf(ofSecond)()).toBe(start + 2);
  ofSecond.reset();
  expect(counterOf(ofSecond)()).toBe(start + 2);
  using other = await functions({ memory: "1GiB" });
  expect(codeOf(() => ofSecond.reset({ to: other }))).toBe("BAD_OPTION");
});

test("a snapshot lives as long as a fork needs it", async () => {
  const image = await functions();
  const fork = image.fork();
  image.close();
  image.close();
  expect(codeOf(() => image.fork())).toBe("CLOSED");
  const first = counterOf(fork)();
  fork.reset({ mode: "full" });
  expect(counterOf(fork)()).toBe(first);
  fork.close();
});

test("what stops a fork poisons it until a reset makes it as good as new", async () => {
  using image = await functions({ stdout: "ignore" });
  // Overflowing a stack takes longer where the processor is emulated.
  using fork = image.fork({ timeout: 30 / Number(process.env.TEST_SCALE ?? 1) });
  using untouched = image.fork();
  const first = counterOf(fork)();
  fork.reset();
  const aborting = new AbortController();
  const bad: [string, () => unknown][] = [
    ["GUEST_FAULT", () => fork.call("read_null")],
    ["TIMEOUT", () => fork.call("loop_forever")],
    ["GUEST_FAULT", () => fork.call("recurse_forever")],
  ];
  for (const [code, action] of bad) {
    counterOf(fork)();
    expect(codeOf(action)).toBe(code);
    expect(fork.state).toBe("poisoned");
    expect(codeOf(() => fork.call("counter"))).toBe("NEEDS_RESET");
    expect(codeOf(() => fork.freeze())).toBe("NEEDS_RESET");
    expect(fork.reset().mode).toBe("full");
    expect(difference(fork, untouched)).toEqual([]);
    expect(counterOf(fork)()).toBe(first);
    fork.reset();
  }
  const pending = fork.fn("loop_forever", {}).async([], { timeout: Infinity, signal: aborting.signal });
  expect(codeOf(() => fork.reset())).toBe("BUSY");
  setTimeout(() => aborting.abort(new Error("enough")), 20);
  expect(pending).rejects.toThrow("enough");
  await pending.catch(() => {});
  expect(fork.state).toBe("poisoned");
  fork.reset();
  expect(difference(fork, untouched)).toEqual([]);
  expect(counterOf(fork)()).toBe(first);
});

test("private memory over the limit goes in a full reset; what needs too much memory is refused", async () => {
  using vm = await Machine.boot(guest("changes"), { ...silent, memory: "64MiB" });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  using fork = image.fork({ resetLimit: "1MiB" });
  fork.call("dirty", 0, 100, 7);
  expect(fork.reset().mode).toBe("rewrite");
  fork.call("dirty", 0, 400, 7);
  expect(fork.reset().mode).toBe("full");
  expect(fork.counters().pagesTouched).toBeLessThan(200 + 100);
  expect(codeOf(() => image.fork({ memory: "256KiB" }))).toBe("BAD_OPTION");
  expect(codeOf(() => image.fork({ reset: "none" as "auto" }))).toBe("BAD_OPTION");
  expect(codeOf(() => fork.reset({ mode: "half" as "auto" }))).toBe("BAD_OPTION");
});

test("pages that requests no longer write are given back", async () => {
  using vm = await Machine.boot(guest("changes"), { ...silent, memory: "64MiB" });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  using fork = image.fork();
  fork.call("dirty", 0, 500, 7);
  fork.reset({ mode: "rewrite" });
  expect(fork.counters().pagesTouched).toBeGreaterThan(500);
  for (let round = 0; round < 20; round++) {
    fork.call("dirty", 0, 3, 7);
    fork.reset({ mode: "rewrite" });
  }
  expect(fork.counters().pagesTouched).toBeLessThan(50);
  // Given back, and written again: the reset must see it.
  using untouched = image.fork();
  fork.call("dirty", 0, 500, 9);
  fork.reset({ mode: "rewrite" });
  expect(difference(fork, untouched)).toEqual([]);
});

test("a reset empties views and makes leases stale; what was written through them is gone", async () => {
  using image = await functions();
  using fork = image.fork();
  const address = fork.symbol("counter_value");
  const original = fork.memory.read(address, 8);
  const view = fork.memory.view(address, 8);
  const lease = fork.memory.lease(address, 8);
  view.fill(0x5a);
  fork.reset();
  expect(view.length).toBe(0);
  expect(codeOf(() => lease.bytes)).toBe("STALE_VIEW");
  expect(fork.memory.read(address, 8)).toEqual(original);
});

test("each fork has its own standard output, and another one after a reset", async () => {
  await using vm = await Machine.boot(guest("ready"), { stderr: "ignore", timeout: 60_000 });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  using fork = image.fork();
  using other = image.fork();
  const texts: string[] = [];
  for (let round = 0; round < 3; round++) {
    const [stop, text] = await Promise.all([fork.run(), new Response(fork.stdout).text()]);
    expect(stop.exitCode).toBe(7);
    texts.push(text);
    fork.reset();
  }
  const [, otherText] = await Promise.all([other.run(), new Response(other.stdout).text()]);
  expect(new Set([...texts, otherText]).size).toBe(1);
  expect(otherText).toStartWith("registers: kept");
});

test("16 forks: random numbers and generations differ, clocks go on from the snapshot, wiped pages are zero", async () => {
  using vm = await Machine.boot(guest("changes"), { ...silent, memory: "64MiB" });
  await vm.run({ until: "ready" });
  expect(vm.call("wiped_value")).toBe(42);
  const bootGeneration = vm.call("generation");
  const monotonic = 1;
  const boottime = 7;
  const before = { monotonic: vm.call("clock_ns", monotonic) as number, boottime: vm.call("clock_ns", boottime) as number };
  using image = vm.freeze();
  // Longer than all between two instants that are compared below.
  const pause = 2_000;
  await Bun.sleep(pause);
  expect(vm.call("wiped_value")).toBe(42);
  const forks = Array.from({ length: 16 }, () => image.fork());
  const randoms = new Set<number | bigint>();
  const generations = new Set<number | bigint>([bootGeneration]);
  for (let round = 0; round < 4; round++) {
    for (const fork of forks) {
      randoms.add(fork.call("random_number"));
      const generation = fork.call("generation");
      expect(generation).toBe(fork.generation);
      generations.add(generation);
      const date = Date.now();
      const wall = Number(fork.call("clock_ns", 0)) / 1e6;
      expect(wall).toBeGreaterThanOrEqual(date - 2);
      expect(wall).toBeLessThanOrEqual(Date.now() + 2);
      const once = fork.call("clock_ns", monotonic) as number;
      fork.reset({ mode: round % 2 === 0 ? "rewrite" : "full" });
      const again = fork.call("clock_ns", monotonic) as number;
      for (const now of [once, again]) {
        expect(now).toBeGreaterThanOrEqual(before.monotonic);
        expect(now).toBeLessThan(before.monotonic + pause * 1e6);
      }
      expect(fork.call("clock_ns", monotonic)).toBeGreaterThanOrEqual(again);
      expect(fork.call("clock_ns", boottime)).toBeGreaterThanOrEqual(before.boottime + pause * 1e6);
      expect(fork.call("wiped_value")).toBe(0);
      fork.reset();
    }
  }
  expect(randoms.size).toBe(64);
  expect(generations.size).toBe(65);
  for (const fork of forks) fork.close();
});

test("a secret left anywhere is not found by the next request", async () => {
  using vm = await Machine.boot(guest("changes"), { ...silent, memory: "64MiB", permissions: { read: ["/"] } });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  using fork = image.fork();
  const secret = 0x5ec2_e75e_c2e7_5ec2n;
  const change = fork.fn("change", { args: ["u32", "u64", "u64", "u64"], returns: "i64" });
  const playground = 0x1000_0000_0000;
  const far = 0x2000_0000_0000;
  const needle = new Uint8Array(new BigUint64Array([secret]).buffer);
  const heapStart = Number(BigInt.asUintN(64, change(5, 0, 0n, 0n)));
  fork.reset();
  for (const mode of ["rewrite", "full"] as const) {
    for (let page = 0; page < 300; page += 7) change(0, page, secret, BigInt(8 * page));
    change(0, 650, secret, 0n);
    change(13, 0, secret, secret);
    change(14, 0, 90_000n, 0x5en);
    for (let index = 0; index < 20; index++) change(12, index, BigInt(index), secret);
    change(8, 0, secret, 1n);
    change(1, 1200, 40n, 3n);
    change(0, 1210, secret, 0n);
    change(4, 640, 20n, 90n);
    change(19, 7, 1250n, 0n);
    change(6, 14, 3n, 0n);
    change(3, 21, 3n, 0n);
    change(5, 0, 30n, 0n);
    change(11, 5, secret & 0x7fff_ffff_ffffn, 0n);
    change(10, 8, 63n, 0n);
    fork.memory.write(fork.memory.allocate(100_000) + 5000, needle);
    fork.call("change", 13, 1, 2, secret);
    // It was there.
    expect(Buffer.from(fork.memory.read(playground + 28 * 4096, 4096)).indexOf(needle)).toBe(8 * 28);
    fork.reset({ mode });
    // Nowhere in what is mapped, be it by the program or only near what a request had mapped; nor in the processor.
    const places: [number, number][] = [
      [playground, 2048],
      [heapStart - 4096 * 64, 256],
      [fork.symbol("data_value") - 64 * 4096, 5000],
      [fork.symbol("change") - 64 * 4096, 128],
      ...Array.from({ length: 20 }, (_, index): [number, number] => [far + index * 0x4000_0000, 32]),
    ];
    let looked = 0;
    for (const [start, pages] of places) {
      for (let page = 0; page < pages; page++) {
        try {
          const bytes = Buffer.from(fork.memory.read(Math.floor(start / 4096) * 4096 + page * 4096, 4096));
          looked++;
          expect(bytes.indexOf(needle)).toBe(-1);
        } catch (error) {
          if (!PristineError.is(error, "BAD_ADDRESS")) throw error;
        }
      }
    }
    expect(looked).toBeGreaterThan(1000);
    const area = fork.memory.allocate(8192, { align: 64 });
    fork.fn("legacy_vectors", { args: ["ptr"] })(area);
    expect(Buffer.from(fork.memory.read(area, 512)).indexOf(needle)).toBe(-1);
    fork.reset();
  }
});

test("10,000 good and bad calls in turn leak nothing", async () => {
  using image = await functions();
  using fork = image.fork({ timeout: 2_000 });
  const counter = counterOf(fork);
  const nothing = fork.fn("read_null", { returns: "i32" });
  const first = counter();
  fork.reset();
  const round = () => {
    expect(counter()).toBe(first);
    fork.reset();
    try {
      nothing();
    } catch (error) {
      if (!PristineError.is(error, "GUEST_FAULT")) throw error;
    }
    fork.reset();
  };
  for (let index = 0; index < 200; index++) round();
  Bun.gc(true);
  const [descriptors, memory] = [openDescriptors(), rss()];
  for (let index = 0; index < 5_000 * scale; index++) round();
  Bun.gc(true);
  expect(openDescriptors()).toBe(descriptors);
  expect(rss() - memory).toBeLessThan(24 * 2 ** 20);
}, 240_000);

test("1,000 forks of one snapshot: few have a VM, an idle one costs little", async () => {
  using image = await functions();
  const warm = image.fork();
  counterOf(warm)();
  warm.close();
  const before = rss();
  const descriptors = openDescriptors();
  const forks = Array.from({ length: 1_000 * scale }, () => image.fork());
  const first = counterOf(forks[0] as Fork)();
  for (const fork of forks.slice(1)) expect(counterOf(fork)()).toBe(first);
  expect(liveVms()).toBeLessThanOrEqual(18);
  expect((rss() - before) / forks.length).toBeLessThan(0.8 * 2 ** 20);
  // Each goes on where it was, whether it kept its VM or not.
  for (const fork of forks) expect(counterOf(fork)()).toBe((first as number) + 1);
  for (const fork of forks) {
    fork.reset();
    expect(counterOf(fork)()).toBe(first);
  }
  for (const fork of forks) fork.close();
  expect(openDescriptors()).toBeLessThanOrEqual(descriptors + 60);
}, 240_000);
