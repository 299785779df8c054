/** Calls of a remote without exits: what they cost, that they are right whatever interrupts them, and who gets the remote. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectOptions, type Fork, Machine } from "../../src/index.ts";
import { areInside, bootCaller, bootRemote, errorOf, guest, invoke, letter, rejection } from "./harness.ts";

setDefaultTimeout(120_000);

/** A caller whose calls of `storage` go through a gate from the third on. */
async function bootExitless(storage: Machine, how: ConnectOptions = {}) {
  const caller = await bootCaller({});
  caller.connect(storage, { name: "storage", exitless: true, ...how });
  return caller;
}

type Caller = Machine | Fork;

/** Opens the gate: a caller that calls again keeps the remote. */
function open(caller: Caller, ...functions: string[]): void {
  for (const name of functions) caller.call("import", `storage:${name}`);
  caller.call("bind", "storage:add");
  caller.call("times", 2);
}

/** How many exits, calls and system calls something takes, without those of the function that does it. */
function costOf(caller: Caller, action: () => void) {
  const before = caller.counters();
  action();
  const after = caller.counters();
  return {
    exits: after.exits - before.exits - 1,
    calls: after.remoteCalls - before.remoteCalls,
    syscalls: after.syscalls - before.syscalls,
  };
}

describe("a call through a gate", () => {
  test("takes no exit, and has its arguments in registers and by pointer, without a copy", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "sum", "fill");
    expect(costOf(caller, () => expect(caller.call("times", 100)).toBe(4950))).toEqual({ exits: 0, calls: 100, syscalls: 0 });
    // All functions that it has asked for; only asking is a system call.
    const once = { exits: 1, calls: 1, syscalls: 1 };
    expect(costOf(caller, () => expect(invoke(caller, "storage:add", 1, 2, 3, 4, 5)).toBe(1 + 4 + 9 + 16 + 25 + 360))).toEqual(once);
    expect(costOf(caller, () => expect(caller.call("sum_own", "storage:sum", 2 ** 20)).toBe(3 * 2 ** 20))).toMatchObject({
      calls: 1,
      syscalls: 1,
    });
    invoke(caller, "storage:fill", caller.call("own_buffer"), 5000, 0x41);
    expect(caller.call("byte_at", 4999)).toBe(0x41);
    expect(caller.counters().bytesCopied).toBe(0);
  });

  test("is not there unless it is asked for, nor for a remote with more threads than one", async () => {
    using storage = await bootRemote();
    using plain = await bootCaller({ storage });
    open(plain);
    expect(costOf(plain, () => plain.call("times", 10))).toEqual({ exits: 20, calls: 10, syscalls: 10 });
    for (const how of [["threads"], ["lend", "2"]]) {
      using other = await bootRemote(...how);
      using caller = await bootExitless(other);
      open(caller);
      expect(costOf(caller, () => caller.call("times", 10)).exits).toBeGreaterThanOrEqual(20);
    }
    expect(errorOf(() => plain.connect(storage, { exitless: "yes" as unknown as boolean }))).toMatchObject({
      details: { option: "exitless" },
    });
  });

  test("becomes an ordinary one when the remote makes a system call, grows or sleeps", async () => {
    using storage = await Machine.boot(guest("remote"), { remote: true, stdout: "pipe" });
    await storage.run({ until: "ready" });
    using caller = await bootExitless(storage);
    open(caller, "print", "grow", "rest", "fill", "describe", "maps");
    invoke(caller, "storage:fill", caller.call("own_buffer"), 5, letter("X"));
    const before = storage.counters().syscalls;
    expect(costOf(caller, () => expect(invoke(caller, "storage:print", caller.call("own_buffer"), 5)).toBe(5)).calls).toBe(1);
    expect(storage.counters().syscalls).toBe(before + 1);
    const reader = storage.stdout.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("XXXXX");
    reader.releaseLock();
    for (let round = 0; round < 3; round++) {
      // Looking at the remote took the seat.
      open(caller);
      expect(invoke(caller, "storage:grow", 8)).toBeNumber();
      expect(invoke(caller, "storage:rest", 5)).toBe(0);
      expect(caller.call("describe", "storage:describe", 300_000)).toBe(300_000);
      expect(caller.call("times", 100)).toBe(4950);
    }
    expect(costOf(caller, () => caller.call("times", 100))).toEqual({ exits: 0, calls: 100, syscalls: 0 });
  });

  test("leaves nothing of the remote in registers, and the caller's own as they have to be", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "whisper");
    for (let round = 0; round < 3; round++) {
      expect(costOf(caller, () => expect(caller.call("left_behind_call", "storage:whisper")).toBe(0)).exits).toBeLessThan(3);
      expect(caller.call("left_behind", "storage:whisper")).toBe(0);
      open(caller);
      expect(caller.call("keeps_state", "storage:add")).toBe(1);
    }
  });

  test("goes on to another remote by an ordinary call", async () => {
    using storage = await bootRemote();
    using other = await bootRemote();
    storage.connect(other, { name: "other", exitless: true });
    using caller = await bootExitless(storage);
    caller.connect(other, { name: "other", exitless: true });
    open(caller, "forward");
    for (let round = 1; round <= 5; round++) {
      caller.memory.write(Number(caller.call("own_buffer")), "other:count\0");
      expect(invoke(caller, "storage:forward", caller.call("own_buffer"))).toBe(round);
      expect(caller.call("times", 10)).toBe(45);
    }
    // Two at once, each through its own.
    for (let round = 6; round < 20; round++) expect(invoke(caller, "other:count")).toBe(round);
    expect(costOf(caller, () => caller.call("times", 10)).exits).toBe(0);
    expect(costOf(caller, () => expect(invoke(caller, "other:count")).toBe(20))).toEqual({ exits: 1, calls: 1, syscalls: 1 });
  });

  test("is right whatever interrupts it: timers, other threads, and both", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller);
    expect(Number(caller.call("storm", 600, 150))).toBeGreaterThan(5);
    caller.call("begin_ticking");
    expect(Number(caller.call("storm", 600, 170))).toBeGreaterThan(5);
    expect(caller.call("times", 1000)).toBe(499_500);
  });

  test("has the remote's own clock, which goes on between calls", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "monotonic");
    let last = Number(invoke(caller, "storage:monotonic"));
    for (let round = 0; round < 5; round++) {
      await Bun.sleep(round === 0 ? 100 : 10);
      expect(costOf(caller, () => caller.call("times", 2)).exits).toBe(0);
      const now = Number(invoke(caller, "storage:monotonic"));
      expect(now - last).toBeGreaterThan(round === 0 ? 90e6 : 5e6);
      last = now;
    }
  });

  test("is given up by steps, which find it where it was", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller);
    using image = caller.freeze();
    using fork = image.fork();
    const times = fork.fn("times", { args: ["i64"], returns: "i64" });
    for (let round = 0; round < 3; round++) expect(await times.async([10_000])).toBe(49_995_000n);
    const abort = new AbortController();
    const endless = rejection(times.async([10 ** 12], { signal: abort.signal }));
    await Bun.sleep(100);
    abort.abort("enough");
    expect(await endless).toBe("enough");
    fork.reset();
    expect(fork.call("times", 10)).toBe(45);
  });

  test("leaves a program its own breakpoints", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    expect(caller.call("breakpoint")).toBe(1);
    open(caller);
    for (let round = 0; round < 3; round++) {
      expect(caller.call("times", 3)).toBe(3);
      expect(caller.call("breakpoint")).toBe(1);
    }
  });
});

describe("the seat of a remote that a caller keeps", () => {
  test("is given back to another caller and to the embedder, at once and while calls go on", async () => {
    using storage = await bootRemote();
    using one = await bootExitless(storage);
    using two = await bootExitless(storage);
    for (let round = 0; round < 5; round++) {
      open(one);
      open(two);
      expect(storage.call("count")).toBe(round + 1);
    }
    const calls = [one, two].map((caller) => caller.fn("times", { args: ["i64"], returns: "i64" }));
    const running = calls.map((times) => times.async([3000], { timeout: 60_000 }));
    for (let round = 0; round < 20; round++) expect(storage.memory.readCString(storage.symbol("secret"))).toContain("secret");
    expect(await Promise.all(running)).toEqual([4_498_500n, 4_498_500n]);
    expect(one.counters().remoteCalls).toBe(3010);
  });

  test("is kept over resets in either way, and the remote's state with it", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "count");
    using image = caller.freeze();
    using fork = image.fork();
    open(fork);
    let count = 0;
    for (const mode of ["rewrite", "full", "rewrite", "full"] as const) {
      fork.reset({ mode });
      expect(costOf(fork, () => expect(fork.call("times", 10)).toBe(45)).exits).toBe(0);
      expect(costOf(fork, () => expect(invoke(fork, "storage:count")).toBe(++count))).toEqual({ exits: 1, calls: 1, syscalls: 1 });
    }
    // What it asked for behind the snapshot is forgotten with the rest, also where the number is another's then.
    const first = fork.call("import", "storage:sum");
    open(fork, "sum");
    fork.reset();
    expect(fork.call("import", "storage:monotonic")).toBe(first);
    expect(Number(invoke(fork, "storage:monotonic"))).toBeGreaterThan(0);
  });

  test("goes with a remote of its own, which a reset puts back", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", mode: "fork", exitless: true });
    using fork = image.fork();
    for (let round = 0; round < 4; round++) {
      for (let call = 1; call <= 5; call++) expect(invoke(fork, "storage:count")).toBe(call);
      open(fork);
      expect(costOf(fork, () => fork.call("times", 10)).exits).toBe(0);
      expect(invoke(fork, "storage:thread_id")).toBe(Number(storage.call("thread_id")));
      fork.reset();
    }
  });

  test("is no longer there when another remote takes the name, or the remote is closed", async () => {
    using storage = await bootRemote();
    using other = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", exitless: true });
    using fork = image.fork();
    for (let call = 1; call <= 4; call++) expect(invoke(fork, "storage:count")).toBe(call);
    image.connect(other, { name: "storage", exitless: true });
    for (let call = 1; call <= 4; call++) expect(invoke(fork, "storage:count")).toBe(call);
    expect(fork.call("probe", storage.symbol("secret"))).toBe(0);
    other.close();
    expect(errorOf(() => invoke(fork, "storage:count"))).toMatchObject({ code: "REMOTE_FAULT" });
    fork.reset();
    image.connect(storage, { name: "storage" });
    expect(invoke(fork, "storage:count")).toBe(5);
  });

  test("is taken from a caller that runs, by a replacement and by the remote's end", async () => {
    using storage = await bootRemote();
    using other = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", exitless: true });
    using fork = image.fork();
    open(fork);
    const endless = rejection(fork.fn("times", { args: ["i64"], returns: "i64" }).async([10 ** 12], { timeout: 60_000 }));
    await Bun.sleep(50);
    image.connect(other, { name: "storage", exitless: true });
    // The one before is nobody's now, also while the calls go on.
    expect(storage.call("count")).toBe(1);
    await Bun.sleep(50);
    other.close();
    expect(await endless).toMatchObject({ code: "REMOTE_FAULT" });
  });

  test("is not in snapshots", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller);
    using image = caller.freeze();
    // Freezing the remote takes the seat; freezing the caller has given it back.
    using frozen = storage.freeze();
    using fork = image.fork();
    expect(costOf(fork, () => fork.call("times", 2)).exits).toBe(4);
    expect(costOf(fork, () => fork.call("times", 2)).exits).toBe(0);
    using copy = frozen.fork();
    expect(copy.call("count")).toBe(1);
    expect(storage.call("count")).toBe(1);
  });
});

describe("a caller that keeps a remote", () => {
  const signature = { args: ["cstring", "i64", "i64", "i64", "i64", "i64"], returns: "i64" } as const;

  test("gives it up to a chain of its own calls", async () => {
    using storage = await bootRemote();
    using other = await bootRemote();
    storage.connect(other, { name: "other" });
    using caller = await bootExitless(storage);
    caller.connect(other, { name: "other", exitless: true });
    for (let round = 1; round <= 3; round++) {
      open(caller);
      caller.call("bind", "other:add");
      caller.call("times", 2);
      caller.memory.write(Number(caller.call("own_buffer")), "other:count\0");
      expect(invoke(caller, "storage:forward", caller.call("own_buffer"))).toBe(round);
    }
  });

  test("gives it up while it waits for another one, or is in it", async () => {
    using one = await bootRemote();
    using two = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(one, { name: "one", exitless: true });
    image.connect(two, { name: "two", exitless: true });
    const [first, second] = [image.fork({ timeout: 30_000 }), image.fork({ timeout: 30_000 })];
    const forward = async (fork: Fork, names: string[]) => {
      for (let round = 0; round < 100; round++) {
        for (const name of names) await fork.fn("invoke", signature).async([`${name}:add`, 1, 0, 0, 0, 0]);
      }
    };
    await Promise.all([forward(first, ["one", "one", "one", "two"]), forward(second, ["two", "two", "two", "one"])]);
    first.call("bind", "one:add");
    first.call("times", 3);
    const before = two.counters().syscalls;
    const resting = first.fn("invoke", signature).async(["two:rest", 3000, 0, 0, 0, 0]);
    await areInside(two, before);
    expect(one.call("count")).toBe(1);
    one.close();
    expect(two.counters().syscalls).toBe(before + 1);
    await resting;
    first.close();
    second.close();
  });

  test("lets signals reach it, while calls go on and between them", async () => {
    for (const running of [true, false]) {
      using storage = await bootRemote();
      using caller = await bootExitless(storage);
      open(caller);
      const endless = running
        ? rejection(caller.fn("times", { args: ["i64"], returns: "i64" }).async([10 ** 12], { timeout: 60_000 }))
        : undefined;
      await Bun.sleep(20);
      storage.kill("SIGTERM");
      const error = endless ? await endless : errorOf(() => caller.call("times", 1));
      expect(error).toMatchObject({ code: "REMOTE_FAULT", message: expect.stringContaining("signal 15") });
    }
  });

  test("finds the functions that it asks for behind each reset", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", exitless: true });
    using fork = image.fork();
    for (const names of [["add"], ["add"], ["sum", "add"], ["ends", "add"], ["add"]]) {
      open(fork, ...names);
      expect(costOf(fork, () => expect(fork.call("times", 100)).toBe(4950)).exits).toBe(0);
      fork.reset();
    }
  });

  test("calls nothing that a remote which was reset does not offer any more", async () => {
    using booted = await bootRemote();
    using image = booted.freeze();
    using storage = image.fork();
    storage.call("offers_late", 0);
    using caller = await bootExitless(storage);
    open(caller, "late");
    expect(Number(invoke(caller, "storage:late"))).toBeGreaterThan(0);
    storage.reset();
    // As many functions as before, of which one has another name.
    storage.call("offers_late", 1);
    open(caller);
    caller.call("times", 2);
    expect(errorOf(() => invoke(caller, "storage:late"))).toMatchObject({
      code: "REMOTE_FAULT",
      message: expect.stringContaining("not offered"),
    });
  });

  test("is asked for it while the remote stands at a breakpoint of its own", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "breaks");
    caller.call("bind", "storage:breaks");
    const running = caller.fn("times", { args: ["i64"], returns: "i64" }).async([400], { timeout: 60_000 });
    for (let round = 0; round < 200; round++) {
      expect(storage.memory.readCString(storage.symbol("secret"))).toContain("secret");
      await Bun.sleep(0);
    }
    expect(await running).toBe(400n);
  });

  test("believes no remote how often it was called", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "claims");
    for (const claim of [-2, -2, 2 ** 40, 2 ** 52]) {
      expect(invoke(caller, "storage:claims", claim)).toBe(0);
      expect(caller.counters().remoteCalls).toBeLessThan(2 ** 40);
    }
    expect(caller.call("times", 10)).toBe(45);
  });

  test("outlives a remote whose stack is a file that is cut short", async () => {
    const folder = mkdtempSync(join(tmpdir(), "exitless-"));
    const path = join(folder, "stack");
    const permissions = { read: [folder], write: [folder] };
    using storage = await Machine.boot(guest("remote"), { remote: true, permissions, stdout: "ignore", stderr: "ignore" });
    await storage.run({ until: "ready" });
    using caller = await bootExitless(storage);
    caller.memory.write(Number(caller.call("own_buffer")), `${path}\0`);
    expect(invoke(caller, "storage:stack_on_file", caller.call("own_buffer"))).toBe(1);
    open(caller);
    expect(caller.call("times", 10)).toBe(45);
    truncateSync(path, 0);
    // Its own run is right still; the next call meets the remote's fault.
    expect(caller.call("byte_at", 5000)).toBe(0);
    expect(errorOf(() => caller.call("times", 1)).code).toBe("REMOTE_FAULT");
    rmSync(folder, { recursive: true });
  });
});

describe("a call through a gate that fails", () => {
  test.each([
    ["the remote faults", "REMOTE_FAULT", (fork: Fork) => invoke(fork, "storage:crash")],
    ["a pointer leads nowhere", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:sum", 0x1234_5678_9000, 8)],
    ["a pointer is no address at all", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:sum", 0x8000_0000_0000_0000n, 8)],
    ["a buffer is not the caller's to write", "GUEST_FAULT", (fork: Fork) => invoke(fork, "storage:fill", fork.symbol("main"), 8, 1)],
    ["an address lies in a remote", "DENIED", (fork: Fork) => invoke(fork, "storage:fill", 0x6000_0000_0000 + 0x1000, 8, 1)],
    ["the sixth of them does", "DENIED", (fork: Fork) => fork.call("call_with_sixth", "storage:add", 0x67ff_ffff_ffff)],
    ["it takes too long", "TIMEOUT", (fork: Fork) => invoke(fork, "storage:spin")],
    ["it sleeps too long", "TIMEOUT", (fork: Fork) => invoke(fork, "storage:rest", 10_000)],
  ] as const)("is its caller's error, and the remote can be called again: %s", async (_, code, action) => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "crash", "sum", "fill", "spin", "rest", "count");
    using image = caller.freeze();
    using fork = image.fork({ timeout: 200 });
    for (let round = 1; round <= 3; round++) {
      open(fork);
      expect(errorOf(() => action(fork)).code).toBe(code);
      expect(fork.state).toBe("poisoned");
      fork.reset();
      expect(invoke(fork, "storage:count")).toBe(round);
      expect(fork.call("probe", storage.symbol("secret"))).toBe(0);
    }
    expect(storage.call("count")).toBe(4);
  });

  test("is the end of a remote that exits", async () => {
    using storage = await bootRemote();
    using caller = await bootExitless(storage);
    open(caller, "leave");
    using image = caller.freeze();
    using fork = image.fork();
    open(fork);
    expect(errorOf(() => invoke(fork, "storage:leave", 3))).toMatchObject({ code: "REMOTE_FAULT", details: { remote: "storage" } });
    fork.reset();
    expect(errorOf(() => fork.call("times", 1)).hint).toContain("boot another one");
  });
});

describe("who goes to a gate in other ways", () => {
  test.each(["ordinarily", "through a gate"] as const)("is ended if it is a remote that was called %s", async (how) => {
    using storage = await bootRemote();
    using other = await bootRemote();
    using caller = await bootCaller({});
    caller.connect(other, { name: "other", exitless: true });
    caller.connect(storage, { name: "storage", exitless: how === "through a gate" });
    using image = caller.freeze();
    using fork = image.fork();
    fork.call("bind", "other:count");
    fork.call("times", 3);
    for (const name of ["trespasses", "add"]) fork.call("import", `storage:${name}`);
    if (how === "through a gate") open(fork);
    // The first function that was asked for is the other remote's.
    const error = errorOf(() => invoke(fork, "storage:trespasses", 0));
    expect(["REMOTE_FAULT", "GUEST_FAULT"]).toContain(error.code);
    fork.reset();
    expect(Number(invoke(fork, "other:count"))).toBeGreaterThan(3);
    expect(fork.call("probe", other.symbol("secret"))).toBe(0);
    // Where it was caught it is no more, so that its functions are not there.
    if (how === "ordinarily") expect(invoke(fork, "storage:count")).toBe(-1000);
  });

  const code = { start: 0x7fff_c000_21b0, end: 0x7fff_c000_2390 };

  test.each(["without a remote", "with an open gate"] as const)("gets no further than a call does: %s", async (how) => {
    using storage = await bootRemote();
    using caller = how === "without a remote" ? await bootCaller({}) : await bootExitless(storage);
    if (how !== "without a remote") open(caller);
    // Numbers of functions that are there, that are not, and that are none.
    for (const number of [0n, 32n * 200n, 32n * 255n, 0xffff_ffff_ffff_fff0n]) {
      caller.call("enter_everywhere", code.start, code.end, number);
      expect(caller.call("probe", storage.symbol("secret"))).toBe(0);
    }
    expect(storage.memory.readCString(storage.symbol("secret"))).toContain("own secret");
    caller.connect(storage, { name: "storage", exitless: true });
    open(caller);
    expect(caller.call("times", 10)).toBe(45);
  });
});
