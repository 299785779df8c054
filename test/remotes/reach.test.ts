/** What a caller can reach of a remote: nothing but what it offers. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Machine } from "../../src/index.ts";
import { bootCaller, bootRemote, errorOf, invoke, letter } from "./harness.ts";

setDefaultTimeout(60_000);

describe("what a caller can reach", () => {
  /** Of every page of the remote's that is mapped, and of its whole window in large steps. */
  function reached(caller: Machine, maps: string): number {
    let count = 0;
    for (const line of maps.trim().split("\n")) {
      const [start, end] = (line.split(" ")[0] as string).split("-").map((part) => Number.parseInt(part, 16)) as [number, number];
      count += Number(caller.call("probe_range", start, Math.min(end, start + 2 ** 20), 4096));
      expect(caller.call("probe", start)).toBe(0);
      expect(caller.call("jump_faults", start)).toBe(1);
    }
    const window = 2 ** 39;
    const base = Math.floor(Number.parseInt(maps, 16) / window) * window;
    return count + Number(caller.call("probe_range", base, base + window, 2 ** 32));
  }

  test.each(["call", "exitless call", "resume"] as const)("is nothing of the remote, after the first %s and after 150", async (way) => {
    using storage = await bootRemote(way === "resume" ? "wait" : "call");
    using caller = await bootCaller({});
    caller.connect(storage, { name: "storage", exitless: way === "exitless call" });
    const buffer = Number(caller.call("own_buffer"));
    const mapsOf = () => {
      const length =
        way === "resume" ? caller.call("ask", "storage", letter("m"), 2 ** 16) : invoke(caller, "storage:maps", buffer, 2 ** 16);
      return caller.memory.readCString(buffer, 2 ** 20).slice(0, Number(length));
    };
    const maps = mapsOf();
    expect(maps).toContain("[stack]");
    expect(reached(caller, maps)).toBe(0);
    for (let round = 0; round < 150; round++) {
      if (way === "resume") caller.call("ask", "storage", letter("s"), 8);
      else invoke(caller, "storage:count");
      expect(caller.call("probe", storage.symbol("secret"))).toBe(0);
    }
    expect(reached(caller, maps)).toBe(0);
    using image = caller.freeze();
    using fork = image.fork();
    for (let round = 0; round < 3; round++) {
      if (way !== "resume") for (let calls = 0; calls < 3; calls++) invoke(fork, "storage:count");
      expect(reached(fork, maps)).toBe(0);
      fork.reset();
    }
  });

  test("is not the place of remotes either: nothing can be mapped there", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    const secret = storage.symbol("secret");
    expect(caller.call("map_at", secret - (secret % 4096))).toBe(-12);
    expect(caller.call("map_at", 0x5fff_ffff_f000)).toBe(0x5fff_ffff_f000);
    expect(caller.call("map_at", 0x6800_0000_0000)).toBe(0x6800_0000_0000);
    // Its own calls mean nothing to a machine that is no remote.
    for (const number of [0x50520003, 0x50520005, 0x50520006, 0x50520008]) expect(caller.call("raw", number, 1, 2, 3)).toBe(-38);
    expect(caller.call("raw", 0x50530000 + 200, 1, 2, 3)).toBe(-38);
  });

  test("is refused when it is an address in a remote", async () => {
    using storage = await bootRemote();
    using caller = await bootCaller({ storage });
    using image = caller.freeze();
    using fork = image.fork();
    const error = errorOf(() => invoke(fork, "storage:fill", storage.symbol("secret"), 8, 0));
    expect(error).toMatchObject({ code: "DENIED", details: { permission: "remote", resource: "storage" } });
    expect(storage.memory.readCString(storage.symbol("secret"))).toContain("own secret");
  });
});
