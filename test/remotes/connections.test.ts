/** Connections to remotes: shared, forked and pooled; replaced, frozen and saved. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, Pool, Snapshot } from "../../src/index.ts";
import { bootCaller, bootRemote, errorOf, guest, invoke, letter, quiet, rejection } from "./harness.ts";

const folder = mkdtempSync(join(tmpdir(), "remotes-"));
afterAll(() => rmSync(folder, { recursive: true }));
setDefaultTimeout(60_000);

describe("connections", () => {
  test("shared: the remote's state outlives the resets of its callers, which take turns", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", mode: "shared" });
    await using pool = new Pool(image, { forks: 4 });
    const results = await Promise.all(Array.from({ length: 64 }, () => pool.use((fork) => Number(invoke(fork, "storage:count")))));
    expect(results.sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, index) => index + 1));
    expect(storage.call("count")).toBe(65);
  });

  test("shared, from native threads", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    caller.call("bind", "storage:count");
    using image = caller.freeze();
    const forks = Array.from({ length: 4 }, () => image.fork());
    const times = forks.map((fork) => fork.fn("times", { args: ["i64"], returns: "i64" }));
    await Promise.all(times.map((call) => call.async([200])));
    // Meanwhile its embedder looks at it, in turn as well.
    const running = times.map((call) => call.async([200]));
    for (let round = 0; round < 20; round++) expect(storage.memory.readCString(storage.symbol("secret"))).toContain("secret");
    const own = Number(storage.call("count"));
    expect(own).toBeGreaterThan(800);
    await Promise.all(running);
    expect(storage.call("count")).toBe(4 * 400 + 2);
    for (const fork of forks) fork.close();
  });

  test("fork: each caller has its own, which is reset with it", async () => {
    using storage = await bootRemote();
    storage.call("count");
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", mode: "fork" });
    using one = image.fork();
    using two = image.fork();
    expect([invoke(one, "storage:count"), invoke(one, "storage:count"), invoke(two, "storage:count")]).toEqual([2, 3, 2]);
    for (let round = 0; round < 3; round++) {
      one.reset();
      expect(invoke(one, "storage:count")).toBe(2);
    }
    expect(errorOf(() => invoke(one, "storage:leave", 1)).code).toBe("REMOTE_FAULT");
    one.reset();
    expect(invoke(one, "storage:count")).toBe(2);
    expect(storage.call("count")).toBe(2);
  });

  test("pool: callers are spread over forks, whose state stays", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage", mode: "pool", forks: 2 });
    using one = image.fork();
    using two = image.fork();
    using three = image.fork();
    expect([invoke(one, "storage:count"), invoke(two, "storage:count"), invoke(three, "storage:count")]).toEqual([1, 1, 2]);
    one.reset();
    expect(invoke(one, "storage:count")).toBe(3);
  });

  test("what a reset forgets, and what it does not", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    const first = caller.call("import", "storage:add");
    using image = caller.freeze();
    using fork = image.fork();
    expect(fork.call("import", "storage:add")).toBe(first);
    const second = fork.call("import", "storage:sum");
    expect(second).not.toBe(first);
    fork.reset();
    expect(fork.call("import", "storage:count")).toBe(second);
    expect(invoke(fork, "storage:count")).toBe(1);
    fork.reset({ mode: "full" });
    expect(invoke(fork, "storage:count")).toBe(2);
  });

  test("another remote takes the place of one, which may be frozen and saved", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    image.connect(storage, { name: "storage" });
    using fork = image.fork();
    for (let round = 1; round <= 5; round++) expect(invoke(fork, "storage:count")).toBe(round);
    using frozen = storage.freeze();
    await frozen.save(join(folder, "storage.snap"));
    expect(invoke(fork, "storage:count")).toBe(6);
    using again = await Snapshot.open(join(folder, "storage.snap"));
    using revived = again.fork();
    image.connect(revived, { name: "storage" });
    expect(invoke(fork, "storage:count")).toBe(6);
    expect(invoke(fork, "storage:count")).toBe(7);
    expect(fork.call("probe", storage.symbol("secret"))).toBe(0);
    using copy = frozen.fork();
    image.connect(copy, { name: "storage" });
    expect(invoke(fork, "storage:count")).toBe(6);
    // The one before has its own state still.
    expect(revived.call("count")).toBe(8);
    expect(storage.call("count")).toBe(7);
    // A machine that has asked for functions of remotes can be saved too; its connections are made again.
    using asked = fork.freeze();
    await asked.save(join(folder, "caller.snap"));
    using opened = await Snapshot.open(join(folder, "caller.snap"));
    using lonely = opened.fork();
    expect(
      errorOf(() => lonely.call("resume", "storage", lonely.call("own_buffer"), 8) === -2 && lonely.call("call_bound", 1, 1)).code,
    ).toBe("GUEST_FAULT");
    opened.connect(copy, { name: "storage" });
    using connected = opened.fork();
    expect(invoke(connected, "storage:count")).toBe(7);
  });

  test("a reset to another snapshot brings the names and the connections of that one", async () => {
    using storage = await bootRemote();
    using other = await bootRemote();
    using caller = await bootCaller({ storage });
    using base = caller.freeze();
    const imported = (name: string) => {
      using fork = base.fork();
      const address = Number(fork.call("import", name));
      return { image: fork.freeze(), address };
    };
    const [adds, counts] = [imported("storage:add"), imported("storage:count")];
    using first = adds.image;
    using second = counts.image;
    expect(adds.address).toBe(counts.address);
    second.connect(other, { name: "other" });
    using fork = first.fork();
    fork.call("bind", "storage:add");
    expect(fork.call("call_bound", 1, 1)).toBe(3);
    fork.reset({ to: second });
    fork.call("bind", "storage:count");
    expect(fork.call("call_bound", 1, 1)).toBe(1);
    expect(invoke(fork, "other:count")).toBe(1);
    fork.reset({ to: first });
    expect(invoke(fork, "other:count")).toBe(-1000);
  });

  test("a remote that is reset has nothing of its old page tables, whoever calls it", async () => {
    const memory = "256MiB";
    using booted = await Machine.boot(guest("remote"), { remote: true, memory, ...quiet });
    await booted.run({ until: "ready" });
    using image = booted.freeze();
    using storage = image.fork();
    using caller = await bootCaller({ storage });
    // Tables in frames that others had before, which takes more than a fork keeps.
    for (let round = 0; round < 4; round++) {
      expect(invoke(caller, "storage:tables", 900, round % 2)).toBe(0);
      storage.reset();
    }
  });

  test("those that call each other are gone when they are closed", async () => {
    const mapped = () => readFileSync("/proc/self/maps", "utf8").split("pristine-guest").length;
    const before = mapped();
    for (let round = 0; round < 3; round++) {
      using one = await bootRemote();
      using other = await bootRemote();
      one.connect(one, { name: "itself" });
      one.connect(other, { name: "other" });
      other.connect(one, { name: "other" });
    }
    expect(mapped()).toBe(before);
  });

  test("a name that was taken away is nobody's for those who come later", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    const connection = image.connect(storage, { name: "storage" });
    using before = image.fork();
    connection[Symbol.dispose]();
    using after = image.fork();
    expect(invoke(before, "storage:count")).toBe(1);
    expect(invoke(after, "storage:count")).toBe(-1000);
    using own = image.fork({ remotes: { storage } });
    expect(invoke(own, "storage:count")).toBe(2);
  });

  test("one whose caller is closed takes nothing away from those who come after it", async () => {
    using storage = await bootRemote();
    const first = await bootCaller({});
    const connection = first.connect(storage, { name: "storage" });
    first.close();
    using second = await bootCaller({ storage });
    connection[Symbol.dispose]();
    expect(invoke(second, "storage:count")).toBe(1);
  });

  test("bad ones are refused with the mend", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({});
    using image = caller.freeze();
    expect(await rejection(Machine.boot(guest("remote-fixed"), { remote: true }))).toMatchObject({
      code: "BAD_OPTION",
      details: { option: "remote" },
      hint: expect.stringContaining("-pie"),
    });
    expect(errorOf(() => image.connect(caller, { name: "x" }))).toMatchObject({
      code: "BAD_OPTION",
      hint: expect.stringContaining("remote: true"),
    });
    for (const name of ["", "a:b", "x".repeat(65), "ä"]) expect(errorOf(() => image.connect(storage, { name })).code).toBe("BAD_OPTION");
    expect(errorOf(() => image.connect(storage, { mode: "none" as "fork" })).code).toBe("BAD_OPTION");
    expect(errorOf(() => image.connect(storage, { mode: "pool", forks: 0 })).code).toBe("BAD_OPTION");
    const closed = await bootRemote();
    closed.close();
    expect(errorOf(() => image.connect(closed)).code).toBe("CLOSED");
    using jailed = await Machine.boot(guest("caller"), { jail: true, ...quiet });
    expect(errorOf(() => jailed.connect(storage)).code).toBe("UNSUPPORTED");
  });

  test("two remotes are called beside each other", async () => {
    using storage = await bootRemote();
    using other = await bootRemote("wait");
    using caller = await bootCaller({ storage, other });
    for (let round = 1; round <= 5; round++) {
      expect(invoke(caller, "storage:count")).toBe(round);
      expect(caller.call("ask", "other", letter("s"), 10)).toBe(10 * letter("s"));
      expect(caller.call("probe", storage.symbol("secret")) || caller.call("probe", other.symbol("secret"))).toBe(0);
    }
  });
});
