/** Calls of remotes that fail: each is its caller's error, and the remote is as it was, or is said to be no more. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Fork, Machine } from "../../src/index.ts";
import { stepHere } from "../../src/machine.ts";
import { areInside, bootCaller, bootRemote, errorOf, guest, invoke, quiet, rejection } from "./harness.ts";

setDefaultTimeout(60_000);

describe("a call that fails", () => {
  test.each([
    ["the remote faults", "REMOTE_FAULT", (fork: Fork) => invoke(fork, "storage:crash")],
    ["a pointer leads nowhere", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:sum", 0x1234_5678_9000, 8)],
    ["a pointer is null", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:sum", 0, 8)],
    [
      "a buffer runs out of the caller's memory",
      "GUEST_FAULT",
      (fork: Fork) => invoke(fork, "storage:fill", fork.call("map_read_only"), 8, 1),
    ],
    ["a buffer is not the caller's to write", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:fill", fork.symbol("main"), 8, 1)],
    ["a pointer is of the monitor's own", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:fill", 0x7fff_c000_3000, 8, 1)],
    ["a pointer is no address at all", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:sum", 0x8000_0000_0000_0000n, 8)],
    ["it takes too long", "TIMEOUT", (fork: Fork) => invoke(fork, "storage:spin")],
    ["it sleeps too long", "TIMEOUT", (fork: Fork) => invoke(fork, "storage:rest", 10_000)],
  ] as const)("is its caller's error, and the remote can be called again: %s", async (_, code, action) => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using fork = image.fork({ timeout: 200 });
    for (let round = 1; round <= 3; round++) {
      const error = errorOf(() => action(fork));
      expect(error.code).toBe(code);
      if (code !== "TIMEOUT") expect(error.message).toContain('"storage"');
      expect(fork.state).toBe("poisoned");
      fork.reset();
      expect(invoke(fork, "storage:count")).toBe(round);
      expect(fork.call("probe", storage.symbol("secret"))).toBe(0);
    }
    expect(storage.call("count")).toBe(4);
  });

  test.each([
    ["exits", (fork: Fork) => invoke(fork, "storage:leave", 3)],
    ["has no memory left", (fork: Fork) => invoke(fork, "storage:eat")],
  ] as const)("is the end of a remote that %s, until another takes its place", async (_, action) => {
    using storage = await Machine.boot(guest("remote"), { remote: true, memory: "16MiB", ...quiet });
    await storage.run({ until: "ready" });
    using caller = await bootCaller({ storage });
    invoke(caller, "storage:count");
    using image = caller.freeze();
    using fork = image.fork();
    expect(errorOf(() => action(fork))).toMatchObject({ code: "REMOTE_FAULT", details: { remote: "storage" } });
    fork.reset();
    expect(errorOf(() => invoke(fork, "storage:count")).hint).toContain("boot another one");
    fork.reset();
    using other = await bootRemote();
    image.connect(other, { name: "storage" });
    expect(invoke(fork, "storage:count")).toBe(1);
  });

  test("that calls back into its chain is refused", async () => {
    using storage = await bootRemote();
    storage.connect(storage, { name: "itself" });
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using fork = image.fork();
    const name = Number(fork.call("own_buffer"));
    fork.memory.write(name, "itself:count\0");
    expect(errorOf(() => invoke(fork, "storage:forward", name))).toMatchObject({ code: "DENIED", details: { resource: "itself" } });
    fork.reset();
    expect(invoke(fork, "storage:count")).toBe(1);
  });

  test("is refused where two remotes would wait for each other", async () => {
    using storage = await bootRemote();
    using other = await bootRemote();
    storage.connect(other, { name: "other" });
    other.connect(storage, { name: "storage" });
    using caller = await bootCaller({ storage, other });
    using image = caller.freeze();
    const signature = { args: ["cstring", "cstring", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    for (let round = 0; round < 3; round++) {
      using one = image.fork({ timeout: 20_000 });
      using two = image.fork({ timeout: 20_000 });
      const ends = await Promise.allSettled([
        one.fn("invoke", signature).async(["storage:forward_later", "other:count", 300, 0, 0, 0]),
        two.fn("invoke", signature).async(["other:forward_later", "storage:count", 300, 0, 0, 0]),
      ]);
      const refused = ends.filter(({ status }) => status === "rejected");
      expect(refused).toMatchObject([{ reason: { code: "DENIED" } }]);
    }
  });

  test("is ended by an abort, also while it waits for its turn", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using first = image.fork({ timeout: 20_000 });
    using second = image.fork({ timeout: 20_000 });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const [one, two] = [new AbortController(), new AbortController()];
    const before = storage.counters().syscalls;
    const resting = rejection(first.fn("invoke", signature).async(["storage:rest", 15_000, 0, 0, 0, 0], { signal: one.signal }));
    await areInside(storage, before);
    const queued = rejection(second.fn("invoke", signature).async(["storage:count", 0, 0, 0, 0, 0], { signal: two.signal }));
    await Bun.sleep(50);
    two.abort("two");
    expect(await queued).toBe("two");
    one.abort("one");
    expect(await resting).toBe("one");
    first.reset();
    expect(invoke(first, "storage:count")).toBe(1);
  });

  test("is not ended by what ends a run of the remote's own", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const abort = new AbortController();
    const before = storage.counters().syscalls;
    const resting = caller.fn("invoke", signature).async(["storage:rest", 400, 0, 0, 0, 0]);
    await areInside(storage, before);
    const running = rejection(storage.run({ until: "ready", signal: abort.signal }));
    await Bun.sleep(50);
    abort.abort();
    expect(await running).toBe(abort.signal.reason);
    expect(await resting).toBe(0n);
    expect(await rejection(storage.fn("spin", { args: [], returns: "i64" }).async([], { timeout: 50 }))).toMatchObject({ code: "TIMEOUT" });
    expect(invoke(caller, "storage:count")).toBe(1);
  });

  test("during which a pause was asked for ends in one", async () => {
    using storage = await bootRemote();
    using caller = await Machine.boot(guest("caller"), { remotes: { storage }, args: ["storage:rest"], ...quiet });
    await caller.run({ until: "ready" });
    for (let round = 0; round < 2; round++) expect(stepHere(caller, "rest", 20, 5000)).toEqual({ reason: "paused" });
  });

  test("finds the remotes that a remote had when it began, also when they are taken away meanwhile", async () => {
    using storage = await bootRemote();
    using middle = await bootRemote();
    using caller = await bootCaller({ middle });
    caller.memory.write(Number(caller.call("own_buffer")), "storage:rest\0");
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const connection = middle.connect(storage, { name: "storage" });
    const call = caller.fn("invoke", signature).async(["middle:forward", Number(caller.call("own_buffer")), 300, 0, 0, 0]);
    await Bun.sleep(50);
    const began = Date.now();
    connection[Symbol.dispose]();
    expect(Date.now() - began).toBeGreaterThan(100);
    expect(await call).toBe(0n);
  });

  test("lets a step of the remote's own wait no longer than its budget", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const before = storage.counters().syscalls;
    const resting = caller.fn("invoke", signature).async(["storage:rest", 600, 0, 0, 0, 0]);
    await areInside(storage, before);
    const began = Date.now();
    expect(stepHere(storage, "rest", 50, 5000)).toEqual({ reason: "paused" });
    expect(Date.now() - began).toBeLessThan(300);
    expect(await resting).toBe(0n);
  });

  test("may end the remote while a run of its own waits for its turn", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const leaving = rejection(caller.fn("invoke", signature).async(["storage:leave_later", 200, 0, 0, 0, 0]));
    await Bun.sleep(50);
    const running = rejection(storage.run({ until: "ready" }));
    expect(await leaving).toMatchObject({ code: "REMOTE_FAULT" });
    expect(await running).toMatchObject({ code: "REMOTE_FAULT" });
  });

  test("is not made again at an address that a guest has made up", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using first = image.fork({ timeout: 20_000 });
    using second = image.fork({ timeout: 200 });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const call = Number(second.call("import", "storage:count"));
    const before = storage.counters().syscalls;
    const resting = first.fn("invoke", signature).async(["storage:rest", 1000, 0, 0, 0, 0]);
    await areInside(storage, before);
    const stub = 0x7fff_c000_2000;
    // Where system calls enter ring 0 the stub leads nowhere.
    expect(["TIMEOUT", "GUEST_FAULT"]).toContain(errorOf(() => second.call("crafted", call, stub, 0)).code);
    expect(await resting).toBe(0n);
  });

  test("is left in the queue by a caller that is closed", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using first = image.fork({ timeout: 20_000 });
    const second = image.fork({ timeout: 20_000 });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const before = storage.counters().syscalls;
    const resting = first.fn("invoke", signature).async(["storage:rest", 300, 0, 0, 0, 0]);
    await areInside(storage, before);
    const queued = rejection(second.fn("invoke", signature).async(["storage:count", 0, 0, 0, 0, 0]));
    await Bun.sleep(20);
    second.close();
    expect(await queued).toMatchObject({ code: "CLOSED" });
    expect(await resting).toBe(0n);
    expect(invoke(first, "storage:count")).toBe(1);
  });

  test("is ended when the remote is closed, which keeps its memory until its callers have let go", async () => {
    const storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using fork = image.fork({ timeout: 20_000 });
    const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;
    const before = storage.counters().syscalls;
    const resting = rejection(fork.fn("invoke", signature).async(["storage:rest", 15_000, 0, 0, 0, 0]));
    await areInside(storage, before);
    storage.close();
    expect(await resting).toMatchObject({ code: "REMOTE_FAULT" });
    fork.reset();
    expect(fork.call("import", "storage:count")).toBe(0);
    expect(fork.call("byte_at", 0)).toBe(0);
  });
});
