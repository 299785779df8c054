/** Whole programs: CPU-bound work, starting the command, making and ending machines, and what an idle one holds. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Machine } from "../src/index.ts";
import { type Benchmark, type Finding, floor, guest, interleave, root } from "./rounds.ts";

/** CPU-bound programs of about 0.3 s, against the same program as a native process. */
export const compute: Benchmark = async (smoke) => {
  const programs: [string, string[]][] = smoke
    ? [["matrix", ["2"]]]
    : [
        ["matrix", []],
        ["sha256", []],
        ["sort", []],
      ];
  const findings: Finding[] = [];
  for (const [name, args] of programs) {
    let exits = 0;
    const least = await interleave(smoke ? 2 : 15, {
      native: () => {
        const before = Bun.nanoseconds();
        Bun.spawnSync([guest(name), ...args], { stdout: "ignore" });
        return Bun.nanoseconds() - before;
      },
      machine: async () => {
        const before = Bun.nanoseconds();
        await using vm = await Machine.boot(guest(name), { args, stdout: "ignore", timeout: 60_000 });
        await vm.run();
        const ns = Bun.nanoseconds() - before;
        exits = vm.counters().exits;
        return ns;
      },
    });
    const ratio = least.machine / least.native;
    findings.push({
      name: `${name}, start to end`,
      value: ratio,
      unit: "× native",
      floor: `native process ${(least.native / 1e6).toFixed(1)} ms`,
      target: "≤ 1.03",
      reached: ratio <= 1.03,
      exits,
      detail: `${(least.machine / 1e6).toFixed(1)} ms`,
    });
  }
  return findings;
};

/** `pristine run` of a static hello, against an empty script under Bun. */
export const start: Benchmark = async (smoke) => {
  const main = join(root, "dist/cli/main.js");
  const empty = join(root, "bench/empty.ts");
  const spawn = (words: string[]) => {
    const before = Bun.nanoseconds();
    Bun.spawnSync([process.execPath, ...words], { stdout: "ignore", stdin: "ignore" });
    return Bun.nanoseconds() - before;
  };
  const least = await interleave(smoke ? 2 : 21, {
    empty: () => spawn([empty]),
    run: () => spawn([main, "run", guest("hello")]),
  });
  const ratio = least.run / least.empty;
  return [
    {
      name: "pristine run of a static hello",
      value: ratio,
      unit: "× empty script",
      floor: `empty script ${(least.empty / 1e6).toFixed(1)} ms`,
      target: "≤ 2",
      reached: ratio <= 2,
      detail: `${(least.run / 1e6).toFixed(1)} ms`,
    },
  ];
};

/** Making, running and ending a small machine, against the bare ioctl sequence and the raw exit. */
export const lifeCycle: Benchmark = async (smoke) => {
  const repeats = smoke ? 2 : 20;
  let exits = 0;
  const least = await interleave(smoke ? 2 : 21, {
    raw: () => floor().floor_raw_exit(repeats * 10),
    sequence: () => floor().floor_ioctl_sequence(repeats),
    machine: async () => {
      let shortest = Number.POSITIVE_INFINITY;
      for (let index = 0; index < repeats; index++) {
        const before = Bun.nanoseconds();
        const vm = await Machine.boot(guest("calls"), { args: ["0"], stdout: "ignore", stderr: "ignore" });
        await vm.run();
        if (index === 0) exits = vm.counters().exits;
        vm.close();
        shortest = Math.min(shortest, Bun.nanoseconds() - before);
      }
      return shortest;
    },
  });
  const ratio = least.machine / least.sequence;
  const inExits = least.machine / least.raw;
  return [
    {
      name: "boot, run and dispose of a small machine",
      value: ratio,
      unit: "× bare ioctls",
      floor: `bare ioctls ${(least.sequence / 1000).toFixed(0)} µs`,
      target: "≤ 1.30",
      reached: ratio <= 1.3,
      exits,
      detail: `${(least.machine / 1000).toFixed(0)} µs`,
    },
    {
      name: "the same in raw exits",
      value: inExits,
      unit: "raw exits",
      floor: `raw exit ${(least.raw / 1000).toFixed(2)} µs`,
      target: "< 25.2",
      reached: inExits < 25.2,
    },
  ];
};

function memory(): { pss: number; kernel: number } {
  const number = (text: string, name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
  const own = readFileSync("/proc/self/smaps_rollup", "utf8");
  const system = readFileSync("/proc/meminfo", "utf8");
  return {
    pss: number(own, "Pss"),
    kernel: number(system, "Slab") + number(system, "VmallocUsed") + number(system, "PageTables") + number(system, "KernelStack"),
  };
}

/** What one idle small machine holds: the process's share and the kernel's own, over machines held open together. */
export const idle: Benchmark = async (smoke) => {
  const count = smoke ? 3 : 24;
  const measure = async () => {
    Bun.gc(true);
    const before = memory();
    const machines: Machine[] = [];
    for (let index = 0; index < count; index++) {
      const vm = await Machine.boot(guest("calls"), { args: ["0"], stdout: "ignore", stderr: "ignore" });
      await vm.run();
      machines.push(vm);
    }
    const after = memory();
    for (const vm of machines) vm.close();
    return (after.pss - before.pss + after.kernel - before.kernel) / 1024 / count;
  };
  await measure();
  // The median: other processes change the system's figures both ways, so the least would be too little.
  const samples: number[] = [];
  for (let round = 0; round < (smoke ? 1 : 7); round++) samples.push(await measure());
  const mebibytes = samples.sort((a, b) => a - b)[samples.length >> 1] as number;
  return [
    {
      name: "memory of an idle small machine",
      value: mebibytes,
      unit: "MiB",
      floor: "process (Pss) and kernel (slab, vmalloc, page tables)",
      target: "≤ 3",
      reached: mebibytes <= 3,
    },
  ];
};
