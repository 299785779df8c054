/** Threads that a remote lends to its callers: as many calls at once. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Fork, Machine } from "../../src/index.ts";
import { areInside, bootCaller, bootRemote, letter, rejection } from "./harness.ts";

setDefaultTimeout(60_000);

describe("threads that a remote lends to its callers", () => {
  const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
  type Invoke = (name: string, ...args: number[]) => Promise<bigint>;

  /** So many callers of a remote that lends so many threads. */
  async function several(threads: number, callers: number, body: (calls: Invoke[], remote: Machine, forks: Fork[]) => Promise<void>) {
    using storage = await bootRemote("lend", `${threads}`);
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    const forks = Array.from({ length: callers }, () => image.fork({ timeout: 10_000 }));
    try {
      const calls = forks.map((fork): Invoke => {
        const invoke = fork.fn("invoke", signature);
        return (name, ...args) => invoke.async([name, ...[...args, 0, 0, 0, 0, 0].slice(0, 5)] as Parameters<typeof invoke>);
      });
      await body(calls, storage, forks);
    } finally {
      for (const fork of forks) fork.close();
    }
  }

  test("have as many calls at once, and no more", async () => {
    await several(2, 4, async (calls) => {
      await Promise.all(calls.map((call) => call("storage:meet", 2, 2000)));
      expect(await (calls[0] as Invoke)("storage:meet", 1, 0)).toBe(2n);
    });
    await several(0, 3, async (calls) => {
      await Promise.all(calls.map((call) => call("storage:meet", 2, 50)));
      expect(await (calls[0] as Invoke)("storage:meet", 1, 0)).toBe(1n);
    });
  });

  test("serve as many resume calls at once, again and again", async () => {
    using storage = await bootRemote("wait", "2");
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    const forks = [image.fork({ timeout: 10_000 }), image.fork({ timeout: 10_000 }), image.fork({ timeout: 10_000 })];
    const asks = forks.map((fork) => fork.fn("ask", { args: ["cstring", "i32", "u64"], returns: "i64_fast" }));
    const [one, two] = asks as [(typeof asks)[0], (typeof asks)[0]];
    expect(await Promise.all([one, two].map((ask) => ask.async(["storage", letter("b"), 8])))).toEqual([2, 2]);
    for (let round = 0; round < 20; round++) {
      const sums = await Promise.all(asks.map((ask, index) => ask.async(["storage", letter("s"), 8 + index])));
      expect(sums).toEqual([8, 9, 10].map((bytes) => bytes * letter("s")));
    }
    // Functions are called on them as well.
    expect(
      await Promise.all(forks.slice(0, 2).map((fork) => fork.fn("invoke", signature).async(["storage:meet", 3, 20, 0, 0, 0]))),
    ).toEqual([2n, 2n]);
    for (const fork of forks) fork.close();
  });

  test("wait for each other's locks, which are never lost", async () => {
    await several(3, 3, async (calls) => {
      const rounds = 200;
      await Promise.all(calls.map((call) => call("storage:count_locked", rounds)));
      expect(await (calls[1] as Invoke)("storage:count_locked", 0)).toBe(BigInt(3 * rounds));
    });
  });

  test("wake each other", async () => {
    await several(3, 3, async ([one, two, three]) => {
      for (let round = 1; round <= 20; round++) {
        const awaited = Promise.all([one?.("storage:await_signal", round), two?.("storage:await_signal", round)]);
        await Bun.sleep(5);
        expect(await three?.("storage:signal_waiting")).toBe(BigInt(round));
        expect(await awaited).toEqual([BigInt(round), BigInt(round)]);
      }
    });
  });

  test("share memory that grows while all of them run", async () => {
    await several(3, 3, async (calls) => {
      const before = await Promise.all(calls.map((call) => call("storage:grow", 30)));
      expect(before).toEqual(Array.from({ length: 3 }, () => BigInt((29 * 30) / 2)));
    });
  });

  test("see nothing of another's caller, and their callers nothing of them", async () => {
    await several(2, 2, async ([one, two], storage, [first, second]) => {
      const [own, other] = [first, second].map((fork) => Number((fork as Fork).call("own_buffer")));
      (second as Fork).memory.write(other as number, "of the second caller");
      // Both buffers lie at one address, each in its own machine.
      expect(own).toBe(other);
      const [sum, filled] = await Promise.all([one?.("storage:sum", own as number, 20), two?.("storage:fill", other as number, 20, 1)]);
      expect([sum, filled]).toEqual([0n, 20n]);
      expect((first as Fork).call("byte_at", 0)).toBe(0);
      expect((second as Fork).call("byte_at", 0)).toBe(1);
      for (const fork of [first, second]) expect((fork as Fork).call("probe", storage.symbol("secret"))).toBe(0);
    });
  });

  test("are put back when a call on them fails, and are fewer when one ends", async () => {
    await several(2, 2, async ([one, two], _, [first]) => {
      const resting = two?.("storage:rest", 100);
      expect(await rejection(one?.("storage:crash") as Promise<bigint>)).toMatchObject({ code: "REMOTE_FAULT" });
      first?.reset();
      expect(await one?.("storage:count")).toBe(1n);
      expect(await resting).toBe(0n);
      expect(await rejection(one?.("storage:end_thread") as Promise<bigint>)).toMatchObject({ code: "REMOTE_FAULT" });
      first?.reset();
      for (let round = 2; round < 6; round++) expect(await one?.("storage:count")).toBe(BigInt(round));
      await Promise.all([one?.("storage:meet", 2, 30), two?.("storage:meet", 2, 30)]);
      expect(await one?.("storage:meet", 1, 0)).toBe(1n);
    });
  });

  test("end together when the remote exits, or is closed", async () => {
    await several(3, 3, async ([one, two, three], storage) => {
      const before = storage.counters().syscalls;
      const ended = Promise.all([
        rejection(one?.("storage:spin") as Promise<bigint>),
        rejection(two?.("storage:rest", 9000) as Promise<bigint>),
      ]);
      await areInside(storage, before, 2);
      expect(await rejection(three?.("storage:leave", 1) as Promise<bigint>)).toMatchObject({ code: "REMOTE_FAULT" });
      for (const error of await ended) expect(error).toMatchObject({ code: "REMOTE_FAULT" });
    });
    await several(3, 2, async ([one, two], storage) => {
      const before = storage.counters().syscalls;
      const ended = Promise.all([
        rejection(one?.("storage:spin") as Promise<bigint>),
        rejection(two?.("storage:rest", 9000) as Promise<bigint>),
      ]);
      await areInside(storage, before, 2);
      storage.close();
      for (const error of await ended) expect(error).toMatchObject({ code: "REMOTE_FAULT" });
    });
  });

  test("are used by the embedder's calls in turn, and are there in forks of the remote", async () => {
    await several(2, 2, async ([one, two], storage, [first, second]) => {
      const before = storage.counters().syscalls;
      const resting = Promise.all([one?.("storage:rest", 50), two?.("storage:rest", 50)]);
      await areInside(storage, before, 2);
      expect(storage.call("count")).toBe(1);
      expect(await resting).toEqual([0n, 0n]);
      using frozen = storage.freeze();
      using copy = frozen.fork();
      for (const fork of [first, second]) fork?.connect(copy, { name: "storage" });
      await Promise.all([one?.("storage:meet", 2, 2000), two?.("storage:meet", 2, 2000)]);
      expect(await one?.("storage:meet", 1, 0)).toBe(2n);
      expect(storage.call("meet", 1, 0)).toBe(1);
    });
  });
});
