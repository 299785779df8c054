/** Forks and resets, against the bare ioctls, a copy of the same pages, native fork() and other ways to isolate a request. */
import { type Fork, Machine, type Snapshot } from "../src/index.ts";
import { type Benchmark, type Finding, floor, guest, interleave, leastNanoseconds } from "./rounds.ts";

/** What the peer needs on such a machine, in raw exits of its own run, so that it can be set beside another machine's figures. */
const peer = { rawExit: 25.3, forkInExits: 15.9, resetFixed: 5.4, resetPage: 0.13 };

async function functionsImage(): Promise<Snapshot> {
  await using vm = await Machine.boot(guest("functions"), { stdout: "ignore" });
  await vm.run();
  return vm.freeze();
}

async function pagesImage(): Promise<Snapshot> {
  await using vm = await Machine.boot(guest("changes"), { stdout: "ignore", stderr: "ignore", memory: "64MiB" });
  await vm.run({ until: "ready" });
  return vm.freeze();
}

const dirtyOf = (fork: Fork) => fork.fn("dirty", { args: ["u32", "u32", "u64"] });
const scatteredOf = (fork: Fork) => fork.fn("dirty_every", { args: ["u32", "u32", "u64"] });
const micro = (ns: number) => `${(ns / 1000).toFixed(ns < 100_000 ? 1 : 0)} µs`;

/** Making a fork and disposing of it, with and without a call in between. */
export const forkDispose: Benchmark = async (smoke) => {
  using image = await functionsImage();
  const repeats = smoke ? 2 : 20;
  const cycle = () => {
    const fork = image.fork();
    fork.call("counter");
    fork.close();
  };
  const least = await interleave(smoke ? 2 : 21, {
    raw: () => floor().floor_raw_exit(repeats * 10),
    sequence: () => floor().floor_ioctl_sequence(repeats),
    idle: () => leastNanoseconds(repeats, () => image.fork().close()),
    called: () => leastNanoseconds(repeats, cycle),
  });
  const inExits = least.called / least.raw;
  const aim = 0.6 * peer.forkInExits;
  const bare = least.called / least.sequence;
  return [
    {
      name: "fork, one call, dispose",
      value: bare,
      unit: "× bare ioctls",
      floor: `bare ioctls ${micro(least.sequence)}`,
      target: "≤ 1.30",
      reached: bare <= 1.3,
      detail: micro(least.called),
    },
    {
      name: "the same in raw exits (the peer, without a call: 15.9)",
      value: inExits,
      unit: "raw exits",
      floor: `raw exit ${micro(least.raw)}`,
      target: `≤ ${aim.toFixed(1)}`,
      reached: inExits <= aim,
    },
    {
      name: "fork and dispose, never run",
      value: least.idle / least.raw,
      unit: "raw exits",
      floor: `raw exit ${micro(least.raw)}`,
      target: `≤ ${aim.toFixed(1)}`,
      reached: least.idle / least.raw <= aim,
      detail: micro(least.idle),
    },
  ];
};

/** A guest's first write to a page of a fork, beyond what a later write costs. */
export const firstWrite: Benchmark = async (smoke) => {
  using image = await pagesImage();
  const pages = smoke ? 100 : 1000;
  let exits = 0;
  let cold = Number.POSITIVE_INFINITY;
  let warm = Number.POSITIVE_INFINITY;
  const least = await interleave(smoke ? 2 : 15, {
    raw: () => floor().floor_raw_exit(200),
    copy: () => floor().floor_copy_pages(pages, 1, 5),
    both: () => {
      using fork = image.fork();
      const dirty = dirtyOf(fork);
      dirty(0, 1, 1n);
      const before = fork.counters().exits;
      const start = Bun.nanoseconds();
      dirty(1, pages, 1n);
      cold = Math.min(cold, Bun.nanoseconds() - start);
      exits = fork.counters().exits - before - 1;
      warm = Math.min(
        warm,
        leastNanoseconds(3, () => dirty(1, pages, 2n)),
      );
      return cold;
    },
  });
  const each = (cold - warm) / pages / 1000;
  return [
    {
      name: "first write to a page of a fork (the peer: 51 µs)",
      value: each,
      unit: "µs",
      floor: `copy of a page ${(least.copy / pages).toFixed(0)} ns`,
      target: "≤ 5",
      reached: each <= 5,
      exits: exits / pages,
      detail: `${(each / (least.raw / 1000)).toFixed(2)} raw exits`,
    },
  ];
};

const sizes = [1, 16, 113, 580, 4096];

/** A rewriting reset by the number of pages the request wrote, against copying as many pages. */
export const rewrite: Benchmark = async (smoke) => {
  using image = await pagesImage();
  const findings: Finding[] = [];
  const raw = floor().floor_raw_exit(smoke ? 20 : 2000);
  const scale = raw / 1000 / peer.rawExit;
  for (const pages of smoke ? sizes.slice(0, 3) : sizes) {
    using fork = image.fork({ resetLimit: "256MiB" });
    const dirty = dirtyOf(fork);
    const scattered = scatteredOf(fork);
    let value = 0n;
    const resetAfter = (request: () => void, times: number) => {
      let shortest = Number.POSITIVE_INFINITY;
      for (let time = 0; time < times; time++) {
        request();
        const before = Bun.nanoseconds();
        fork.reset({ mode: "rewrite" });
        shortest = Math.min(shortest, Bun.nanoseconds() - before);
      }
      return shortest;
    };
    const times = smoke ? 3 : pages > 1000 ? 6 : 30;
    const step = Math.max(1, Math.floor(4200 / pages));
    const runs = await interleave(smoke ? 2 : 9, {
      copy: () => floor().floor_copy_pages(pages, 1, times),
      same: () => resetAfter(() => dirty(0, pages, ++value), times),
    });
    const spread = await interleave(smoke ? 2 : 5, {
      copy: () => floor().floor_copy_pages(pages, step, times),
      copyNew: () => floor().floor_copy_new_pages(pages, 3),
      same: () => resetAfter(() => scattered(step, pages, ++value), times),
      cold: () => {
        using fresh = image.fork({ resetLimit: "256MiB" });
        dirtyOf(fresh)(0, pages, 1n);
        const before = Bun.nanoseconds();
        fresh.reset({ mode: "rewrite" });
        return Bun.nanoseconds() - before;
      },
    });
    const before = fork.counters();
    dirty(0, pages, ++value);
    const after = fork.counters();
    const exits = after.exits - before.exits - 1 + after.faults - before.faults;
    const theirs = (peer.resetFixed + peer.resetPage * pages) * 1000 * scale;
    const report = (name: string, ns: number, copy: number) => {
      const ratio = ns / copy;
      findings.push({
        name: `${name}, ${pages} page${pages > 1 ? "s" : ""}`,
        value: ratio,
        unit: "× copy",
        floor: `copy of the pages ${micro(copy)}`,
        target: pages >= 113 ? "≤ 1.30" : `ahead of ${micro(theirs)}`,
        reached: pages >= 113 ? ratio <= 1.3 : ns <= theirs,
        exits,
        detail: `${micro(ns)} (the peer's, scaled to this machine: ${micro(theirs)})`,
      });
    };
    report("rewriting reset", runs.same, runs.copy);
    report("the same, scattered pages", spread.same, spread.copy);
    report("the same, first reset of a fork", spread.cold, spread.copyNew);
  }
  return findings;
};

/** Requests that each write another part of a large set. */
export const subsets: Benchmark = async (smoke) => {
  using image = await pagesImage();
  using fork = image.fork({ resetLimit: "256MiB" });
  const dirty = dirtyOf(fork);
  const pages = 113;
  let seed = 1;
  const resets: number[] = [];
  for (let round = 0; round < (smoke ? 20 : 400); round++) {
    seed = (seed * 48271) % 2147483647;
    dirty(seed % 4000, pages, BigInt(round));
    resets.push(fork.reset({ mode: "auto" }).nanoseconds);
  }
  const typical = resets.slice(resets.length / 2).sort((a, b) => a - b)[Math.floor(resets.length / 4)] as number;
  const copy = floor().floor_copy_pages(pages, 1, 20);
  return [
    {
      name: "rewriting reset, 113 pages at another place each time (median)",
      value: typical / copy,
      unit: "× copy",
      floor: `copy of the pages ${micro(copy)}`,
      target: "≤ 1.30",
      reached: typical / copy <= 1.3,
      detail: micro(typical),
    },
  ];
};

/** A full reset with the request that follows, and pays for it. */
export const full: Benchmark = async (smoke) => {
  using image = await pagesImage();
  const raw = floor().floor_raw_exit(smoke ? 20 : 2000);
  const findings: Finding[] = [];
  for (const [pages, aim] of [
    [113, 600],
    [580, 3500],
  ] as const) {
    using fork = image.fork();
    const dirty = dirtyOf(fork);
    let value = 0n;
    const least = await interleave(smoke ? 2 : 15, {
      cycle: () => {
        dirty(0, pages, ++value);
        const before = Bun.nanoseconds();
        fork.reset({ mode: "full" });
        dirty(0, pages, ++value);
        return Bun.nanoseconds() - before;
      },
    });
    const theirs = pages === 113 ? 5_800 : 29_800;
    findings.push({
      name: `full reset and the next request, ${pages} pages (the peer: ${theirs / 1000} ms)`,
      value: least.cycle / 1000,
      unit: "µs",
      floor: `raw exit ${micro(raw)}`,
      target: `≤ ${aim}`,
      reached: least.cycle / 1000 <= aim,
      detail: `${(least.cycle / raw).toFixed(1)} raw exits`,
    });
  }
  return findings;
};

/** Call and reset in one process, and in two at once. */
export const together: Benchmark = async (smoke) => {
  const rounds = smoke ? 50 : 3000;
  const spawn = () => Bun.spawn([process.execPath, new URL("./cycles.ts", import.meta.url).pathname, `${rounds}`], { stdout: "pipe" });
  const one = async () => Number(await new Response(spawn().stdout).text());
  const two = async () => {
    const both = [spawn(), spawn()];
    const times = await Promise.all(both.map(async (child) => Number(await new Response(child.stdout).text())));
    return Math.max(...times);
  };
  const least = await interleave(smoke ? 1 : 5, { one, two });
  const ratio = least.two / least.one;
  return [
    {
      name: "call and reset of 113 pages in two processes at once",
      value: ratio,
      unit: "× alone",
      floor: `alone ${micro(least.one)}`,
      target: "≤ 1.3",
      reached: ratio <= 1.3,
      detail: `${micro(least.two)} (medians)`,
    },
  ];
};

/** What else isolates a request: a native fork(), a Worker, a process; beside a fork's call with its reset. */
export const others: Benchmark = async (smoke) => {
  using image = await functionsImage();
  using fork = image.fork();
  const counter = fork.fn("counter", { returns: "u64_fast" });
  const forker = (args: string[]) => Number(Bun.spawnSync([guest("forker"), ...args]).stdout.toString());
  const worker = () =>
    new Promise<number>((resolve, reject) => {
      const before = Bun.nanoseconds();
      const one = new Worker(new URL("./worker.ts", import.meta.url).href);
      one.onerror = (event) => reject(new Error(event.message));
      one.onmessage = () => {
        one.terminate();
        resolve(Bun.nanoseconds() - before);
      };
      one.postMessage(1);
    });
  const least = await interleave(smoke ? 1 : 9, {
    cycle: () =>
      leastNanoseconds(smoke ? 5 : 200, () => {
        counter();
        fork.reset();
      }),
    native: () => forker(["16"]),
    worker,
    process: () => leastNanoseconds(1, () => Bun.spawnSync([guest("hello")], { stdout: "ignore" })),
  });
  const line = (name: string, ns: number): Finding => ({
    name: `${name}, against a call and a reset`,
    value: ns / least.cycle,
    unit: "×",
    floor: `call and reset ${micro(least.cycle)}`,
    target: "> 1",
    reached: ns > least.cycle,
    detail: micro(ns),
  });
  return [
    line("native fork() and wait, 16 MiB", least.native),
    line("a Bun Worker for each request", least.worker),
    line("a process for each request", least.process),
  ];
};
