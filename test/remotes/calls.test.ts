/** Calls of a remote's functions, and of one that waits: what they cost, and what they leave. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Machine } from "../../src/index.ts";
import { bootCaller, bootRemote, errorOf, guest, invoke, letter, quiet } from "./harness.ts";

setDefaultTimeout(60_000);

describe("a call", () => {
  test("has its arguments in registers and by pointer, in two exits, without a copy", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    expect(invoke(caller, "storage:add", 1, 2, 3, 4, 5)).toBe(1 + 4 + 9 + 16 + 25 + 360);
    expect(caller.call("sum_own", "storage:sum", 8)).toBe(24);
    expect(caller.call("sum_own", "storage:sum", 2 ** 20)).toBe(3 * 2 ** 20);
    expect(invoke(caller, "storage:fill", caller.call("own_buffer"), 5000, 0x41)).toBe(5000);
    expect(caller.call("byte_at", 4999)).toBe(0x41);
    expect(caller.call("byte_at", 5000)).toBe(3);
    caller.call("bind", "storage:add");
    caller.call("times", 1);
    const before = caller.counters();
    caller.call("times", 100);
    const after = caller.counters();
    expect(after.exits - before.exits).toBe(2 * 100 + 1);
    expect(after.remoteCalls - before.remoteCalls).toBe(100);
    expect(after.syscalls - before.syscalls).toBe(100);
    expect(after.bytesCopied).toBe(0);
    expect(after.hostCalls).toBe(before.hostCalls);
  });

  test("makes system calls of the remote's own, on its caller's memory", async () => {
    using storage = await Machine.boot(guest("remote"), { remote: true, stdout: "pipe" });
    await storage.run({ until: "ready" });
    using caller = await bootCaller({ storage });
    invoke(caller, "storage:fill", caller.call("own_buffer"), 5, letter("X"));
    expect(invoke(caller, "storage:print", caller.call("own_buffer"), 5)).toBe(5);
    const reader = storage.stdout.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("XXXXX");
    reader.releaseLock();
    expect(invoke(caller, "storage:rest", 5)).toBe(0);
    expect(storage.counters().syscalls).toBeGreaterThan(0);
  });

  test("gives the caller memory of its own for an answer", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    for (const bytes of [1, 100, 4096, 300_000]) expect(caller.call("describe", "storage:describe", bytes)).toBe(bytes);
    // More than the caller may have.
    expect(caller.call("describe", "storage:describe", 2 ** 40)).toBe(-1);
  });

  test("leaves nothing of the remote in registers, and the caller's own as they have to be", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    for (let round = 0; round < 3; round++) {
      expect(caller.call("left_behind", "storage:whisper")).toBe(0);
      expect(caller.call("keeps_state", "storage:add")).toBe(1);
    }
  });

  test("finds all threads of its caller standing still, while those of the remote go on", async () => {
    using storage = await bootRemote("threads");
    using caller = await bootCaller({ storage });
    expect(caller.call("threads_during", "storage:watch", 30)).toBe(0);
    const before = Number(invoke(caller, "storage:ticked"));
    invoke(caller, "storage:rest", 100);
    expect(Number(invoke(caller, "storage:ticked"))).toBeGreaterThan(before);
  });

  test("may go on into a function that looks for more arguments than it is given", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    expect(invoke(caller, "storage:process_id")).toBeGreaterThan(0);
    expect(storage.call("process_id")).toBeGreaterThan(0);
  });

  test("tells each thread of the remote its own number", async () => {
    using storage = await bootRemote();
    for (let round = 0; round < 2; round++) {
      using caller = await bootCaller({ storage });
      expect(invoke(caller, "storage:asks_ids")).toBe(1);
    }
  });

  test("goes from remote to remote, with the first caller's memory", async () => {
    using storage = await bootRemote();
    using middle = await bootRemote();
    middle.connect(storage, { name: "storage" });
    using caller = await bootCaller({ middle });
    caller.memory.write(Number(caller.call("own_buffer")), "storage:count\0");
    expect(invoke(caller, "middle:forward", caller.call("own_buffer"))).toBe(1);
    expect(invoke(caller, "middle:forward", caller.call("own_buffer"))).toBe(2);
    expect(storage.call("count")).toBe(3);
    // What was shown beside the one in the middle is not shown to the first.
    expect(caller.call("probe", storage.symbol("secret"))).toBe(0);
    expect(caller.call("probe", middle.symbol("secret"))).toBe(0);
  });

  test("may be given what lies in the remote that makes it", async () => {
    using storage = await bootRemote();
    using middle = await bootRemote();
    middle.connect(storage, { name: "storage" });
    using caller = await bootCaller({ middle });
    caller.memory.write(Number(caller.call("own_buffer")), "storage:sum\0");
    expect(invoke(caller, "middle:forward_own", caller.call("own_buffer"))).toBe(
      new TextEncoder().encode("the remote").reduce((sum, byte) => sum + byte, 0),
    );
  });

  test("shows a remote in the middle no other one, also when that one has taken the place of another", async () => {
    using storage = await bootRemote();
    using middle = await bootRemote();
    middle.connect(storage, { name: "storage", mode: "fork" });
    using caller = await bootCaller({ middle });
    using other = await bootCaller({ middle });
    const secret = Number(storage.symbol("secret")) - 0x6000_0000_0000;
    const call = (machine: Machine, name: string) => {
      const at = Number(machine.call("own_buffer"));
      machine.memory.write(at, `${name}\0`);
      return invoke(machine, "middle:forward_then_peek", at, secret);
    };
    for (let round = 0; round < 2; round++) expect(call(caller, "storage:count")).toBe(-1);
    // The fork that the one in the middle calls has ended: the next call makes another.
    expect(errorOf(() => call(other, "storage:leave")).code).toBe("REMOTE_FAULT");
    for (let round = 0; round < 2; round++) expect(call(caller, "storage:count")).toBe(-1);
  });

  test("has the remote's own clock, whoever calls", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    let last = 0;
    for (let round = 0; round < 3; round++) {
      await Bun.sleep(20);
      using fork = image.fork();
      for (const now of [
        Number(invoke(fork, "storage:monotonic")),
        Number(invoke(caller, "storage:monotonic")),
        Number(storage.call("monotonic")),
      ]) {
        expect(now).toBeGreaterThan(last);
        last = now;
      }
    }
  });
});

describe("a remote that waits", () => {
  test("has its caller's buffer until it replies, in two exits, without a copy", async () => {
    using storage = await bootRemote("wait");
    using caller = await bootCaller({ storage });
    expect(caller.call("ask", "storage", letter("s"), 1000)).toBe(1000 * letter("s"));
    expect(caller.call("ask", "storage", letter("f"), 2 ** 20)).toBe(2 ** 20);
    expect(caller.call("byte_at", 2 ** 20 - 1)).toBe(letter("F"));
    const before = caller.counters();
    for (let round = 0; round < 50; round++) caller.call("ask", "storage", letter("f"), 8);
    const after = caller.counters();
    expect(after.exits - before.exits).toBe(50 * 3);
    expect(after.remoteCalls - before.remoteCalls).toBe(50);
    expect(after.bytesCopied).toBe(0);
  });

  test("leaves its caller what the x87 unit had", async () => {
    using storage = await bootRemote("wait");
    using caller = await bootCaller({ storage });
    expect(caller.call("resume_beside_x87", "storage", caller.call("own_buffer"), 8)).toBe(4875);
  });

  test("begins with its first resume call, whatever its caller's bases are", async () => {
    using storage = await Machine.boot(guest("remote"), { remote: true, args: ["wait"], ...quiet });
    using caller = await bootCaller({ storage });
    expect(caller.call("resume_without_base", "storage", caller.call("own_buffer"), 8)).toBe(1);
  });

  test("refuses buffers that are not the caller's to write", async () => {
    using storage = await bootRemote("wait");
    using caller = await bootCaller({ storage });
    const buffer = Number(caller.call("own_buffer"));
    const efault = -14;
    expect(caller.call("resume", "storage", 0, 8)).toBe(efault);
    expect(caller.call("resume", "storage", 0x1234_5678_9000, 8)).toBe(efault);
    expect(caller.call("resume", "storage", storage.symbol("secret"), 8)).toBe(efault);
    expect(caller.call("resume", "storage", -8, 16)).toBe(efault);
    expect(caller.call("resume", "storage", buffer, -1)).toBe(efault);
    expect(caller.call("resume", "storage", buffer, 2 ** 46)).toBe(efault);
    expect(caller.call("resume", "storage", caller.call("map_read_only"), 8)).toBe(efault);
    expect(caller.call("resume", "nobody", buffer, 8)).toBe(-2);
    expect(caller.call("resume", "storage:nothing", buffer, 8)).toBe(-2);
    expect(caller.call("resume", "x".repeat(500), buffer, 8)).toBe(-36);
    expect(caller.call("ask", "storage", letter("s"), 3)).toBe(3 * letter("s"));
  });

  // Where functions of headers are not inlined, their frames are overwritten by what comes behind them.
  test.each(["remote", "remote-unoptimized"])("is put back to its wait when a call of it fails: %s", async (program) => {
    using storage = await Machine.boot(guest(program), { remote: true, args: ["wait"], ...quiet });
    await storage.run({ until: "ready" });
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using fork = image.fork({ timeout: 150 });
    for (const [what, code] of [
      ["c", "REMOTE_FAULT"],
      ["l", "TIMEOUT"],
      ["o", "TIMEOUT"],
      ["p", "GUEST_FAULT"],
    ] as const) {
      expect(errorOf(() => fork.call("ask", "storage", letter(what), 8)).code).toBe(code);
      fork.reset();
      expect(fork.call("ask", "storage", letter("s"), 8)).toBe(8 * letter("s"));
    }
    // What it had replied by then is not the next one's, which gets no reply.
    expect(errorOf(() => fork.call("ask", "storage", letter("q"), 8)).code).toBe("TIMEOUT");
    fork.reset();
    expect(fork.call("ask", "storage", letter("n"), 8)).toBe(0);
    expect(errorOf(() => fork.call("ask", "storage", letter("x"), 8)).code).toBe("REMOTE_FAULT");
    fork.reset();
    expect(errorOf(() => fork.call("ask", "storage", letter("s"), 8)).hint).toContain("boot another one");
  });
});
