/** Requests of pools that call remotes: a call cannot be paused, so that slow ones keep off JavaScript's thread. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { isolate, type Machine, type Pool } from "../../src/index.ts";
import { bootRemote, guest } from "./harness.ts";

setDefaultTimeout(120_000);

const server = (storage: Machine) =>
  isolate({ program: guest("raw-server"), remotes: { storage }, forks: 2, timeout: 20_000, memory: "64MiB", stdout: "ignore" });

/** A request that comes alone: its answer, whether that was there before anything else could happen on this thread, and how often something did. */
async function ask(pool: Pool, path: string) {
  while (pool.metrics.state.free < 2) await Bun.sleep(1);
  let [turns, atOnce] = [0, true];
  const timer = setInterval(() => turns++, 5);
  const immediate = setImmediate(() => {
    atOnce = false;
  });
  const response = await pool.fetch(new Request(`http://example.com${path}`));
  clearInterval(timer);
  clearImmediate(immediate);
  return { text: await response.text(), atOnce, turns };
}

/** How many of some requests were answered at once. */
async function atOnce(pool: Pool, path: string, requests: number): Promise<number> {
  let count = 0;
  for (let request = 0; request < requests; request++) if ((await ask(pool, path)).atOnce) count++;
  return count;
}

/** This thread goes on meanwhile. More requests than those for which none is tried on it behind one that took long. */
async function asideOf(pool: Pool, path: string): Promise<void> {
  for (let request = 0; request < 8; request++) {
    const { text, turns } = await ask(pool, path);
    expect(text).toBe("0");
    expect(turns).toBeGreaterThan(3);
  }
}

describe("a request on JavaScript's thread", () => {
  test.each([
    ["a call", [], "/call/rest/300", "/call/add/1"],
    ["a resume", ["wait"], "/resume/r", "/resume/s"],
  ])("goes on on another for %s that takes long, and not for a quick one", async (_, words, slow, quick) => {
    using storage = await bootRemote(...words);
    await using pool = await server(storage);
    await asideOf(pool, slow);
    await atOnce(pool, quick, 40);
    expect(await atOnce(pool, quick, 40)).toBeGreaterThan(5);
    // A resume that names no function is judged by the one before.
    if (words.length === 0) await asideOf(pool, slow);
  });

  test("tells functions of one remote apart", async () => {
    using storage = await bootRemote();
    await using pool = await server(storage);
    let quick = 0;
    for (let round = 0; round < 8; round++) {
      expect((await ask(pool, "/call/rest/300")).turns).toBeGreaterThan(3);
      for (let request = 0; request < 40; request++) if ((await ask(pool, "/call/add/7")).atOnce) quick++;
    }
    expect(quick).toBeGreaterThan(20);
  });
});
