/** Operations that are one exit: a call from TypeScript, a system call; and clock reads, which are none. */
import { Machine } from "../src/index.ts";
import { type Benchmark, floor, guest, interleave, leastNanoseconds } from "./rounds.ts";

/** An empty pre-bound call from TypeScript, against the raw exit. */
export const call: Benchmark = async (smoke) => {
  const repeats = smoke ? 20 : 2000;
  await using vm = await Machine.boot(guest("functions"), { stdout: "ignore" });
  await vm.run();
  const nothing = vm.fn("nothing", {});
  nothing();
  const before = vm.counters().exits;
  for (let index = 0; index < 100; index++) nothing();
  const exits = (vm.counters().exits - before) / 100;
  const least = await interleave(smoke ? 2 : 21, {
    raw: () => floor().floor_raw_exit(repeats),
    call: () => leastNanoseconds(repeats, nothing),
  });
  const ratio = least.call / least.raw;
  return [
    {
      name: "empty call from TypeScript",
      value: ratio,
      unit: "raw exits",
      floor: `raw exit ${(least.raw / 1000).toFixed(2)} µs`,
      target: "≤ 1.10",
      reached: ratio <= 1.1,
      exits,
      detail: `${(least.call / 1000).toFixed(2)} µs`,
    },
  ];
};

/**
 * Nanoseconds per operation of a guest function that does it `count` times: the difference of the least times of two
 * lengths, not the least of differences, which noise makes too small.
 */
async function perOperation(rounds: number, run: (count: number) => unknown, count: number, repeats: number, raw: () => number) {
  const least = await interleave(rounds, {
    raw,
    few: () => leastNanoseconds(repeats, () => run(1)),
    many: () => leastNanoseconds(repeats, () => run(count + 1)),
  });
  return { raw: least.raw, call: (least.many - least.few) / count };
}

/** A system call answered by the VMM, against the raw exit. */
export const systemCall: Benchmark = async (smoke) => {
  const count = smoke ? 20 : 200;
  const repeats = smoke ? 2 : 30;
  await using vm = await Machine.boot(guest("calls"), { args: ["0"], stdout: "ignore" });
  await vm.run();
  const makeCalls = vm.fn("make_calls", { args: ["u64"], returns: "u64_fast" });
  makeCalls(1);
  const before = vm.counters().exits;
  makeCalls(1001);
  const exits = (vm.counters().exits - before - 2) / 1000;
  const least = await perOperation(smoke ? 2 : 21, makeCalls, count, repeats, () => floor().floor_raw_exit(count * repeats));
  const ratio = least.call / least.raw;
  return [
    {
      name: "system call by exit",
      value: ratio,
      unit: "raw exits",
      floor: `raw exit ${(least.raw / 1000).toFixed(2)} µs`,
      target: "≤ 1.06 (aim 1.03)",
      reached: ratio <= 1.06,
      exits,
      detail: `${(least.call / 1000).toFixed(2)} µs`,
    },
  ];
};

/** A system call that the stub answers in the guest: getpid. */
export const shortCall: Benchmark = async (smoke) => {
  const count = smoke ? 200 : 20_000;
  await using vm = await Machine.boot(guest("calls"), { args: ["0"], stdout: "ignore" });
  await vm.run();
  const makeCalls = vm.fn("make_short_calls", { args: ["u64"], returns: "u64_fast" });
  makeCalls(1);
  const before = vm.counters().exits;
  makeCalls(1001);
  const exits = (vm.counters().exits - before - 1) / 1000;
  const least = await perOperation(smoke ? 2 : 21, makeCalls, count, smoke ? 1 : 3, () => floor().floor_raw_exit(smoke ? 20 : 2000));
  const microseconds = least.call / 1000;
  return [
    {
      name: "system call answered in the guest",
      value: microseconds,
      unit: "µs",
      floor: `raw exit ${(least.raw / 1000).toFixed(2)} µs`,
      target: "≤ 1.5",
      reached: microseconds <= 1.5,
      exits,
    },
  ];
};

/** Seconds of user and system time say little here: the guest program times its own reads. */
export const clock: Benchmark = async (smoke) => {
  const reads = smoke ? 20_000 : 1_000_000;
  const wall = (body: () => void) => leastNanoseconds(1, body);
  const natively = (count: number) => wall(() => Bun.spawnSync([guest("clock"), `${count}`, "only"], { stdout: "ignore" }));
  const inMachine = async (count: number) => {
    await using vm = await Machine.boot(guest("clock"), { args: [`${count}`, "only"], stdout: "ignore", timeout: 60_000 });
    const before = Bun.nanoseconds();
    await vm.run();
    return { ns: Bun.nanoseconds() - before, exits: vm.counters().exits };
  };
  const few = await inMachine(1000);
  const many = await inMachine(1000 + reads);
  const least = await interleave(smoke ? 2 : 15, {
    nativeFew: () => natively(1000),
    native: () => natively(1000 + reads),
    machineFew: async () => (await inMachine(1000)).ns,
    machine: async () => (await inMachine(1000 + reads)).ns,
  });
  const native = (least.native - least.nativeFew) / reads;
  const machine = (least.machine - least.machineFew) / reads;
  const ratio = machine / native;
  const exits = (many.exits - few.exits) / reads;
  return [
    {
      name: "clock read in the guest",
      value: ratio,
      unit: "× native",
      floor: `native round of reads ${native.toFixed(0)} ns`,
      target: "≤ 3",
      reached: ratio <= 3,
      exits,
      detail: `${machine.toFixed(0)} ns`,
    },
  ];
};
