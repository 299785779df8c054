/** The round trips that calls between machines are compared with: every case is measured, and nothing keeps computing behind it. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Load, loads, remotes, roundTrips, under } from "../bench/remotes.ts";

const program = join(import.meta.dir, "../zig-out/bin/pristine-pingpong");

/** Processes of the program that are alive, with their parents. */
function alive(): { pid: number; parent: number }[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const text = readFileSync(`/proc/${entry}/stat`, "utf8");
      const [state, parent] = text.slice(text.lastIndexOf(")") + 2).split(" ");
      const isOurs = text.includes("(pristine-pingpo)") && state !== "Z" && state !== "X";
      return isOurs ? [{ pid: Number(entry), parent: Number(parent) }] : [];
    } catch {
      return [];
    }
  });
}

async function gone(pids: readonly number[]): Promise<boolean> {
  for (let left = 100; left > 0; left--) {
    if (!alive().some(({ pid }) => pids.includes(pid))) return true;
    await Bun.sleep(20);
  }
  return false;
}

test.each([...loads])(
  "every way answers with every size, %s, and the callee has what the caller wrote",
  async (load: Load) => {
    // A sum that is not the caller's ends the program with another status, which is thrown here.
    const rows = await under(load, () => roundTrips(20, 200));
    expect(rows.map(({ way, bytes }) => `${way} ${bytes}`)).toEqual(
      ["Unix socket", "pair of pipes", "futex pair, shared memory"].flatMap((way) => [`${way} 8`, `${way} ${2 ** 20}`]),
    );
    for (const { n, p50, p99, p999, min } of rows) {
      expect(n).toBeWithin(1, 21);
      expect(min).toBeGreaterThan(0);
      expect([min, p50, p99, p999]).toEqual([min, p50, p99, p999].sort((a, b) => a - b));
    }
  },
  60_000,
);

test("the benchmark has all of them for programs too", async () => {
  const findings = await remotes(true);
  const trips = findings.filter(({ times }) => times !== undefined);
  // Three ways between processes and three between machines, each with two sizes, idle and busy.
  expect(trips).toHaveLength(2 * 2 * 6);
  for (const { value, times } of trips) expect(times?.p50).toBeCloseTo(value * 1000, 0);
  // The others are calls beside two raw exits: what each costs in exits is certain, whatever the time.
  expect(findings.flatMap(({ exits }) => exits ?? [])).toEqual([2, 2, 0]);
}, 60_000);

test.each(["its input ends", "it is killed"])("processes that compute are gone when %s", async (how) => {
  const spinning = Bun.spawn([program, "spin", "3"], { stdin: "pipe", stdout: "pipe" });
  await spinning.stdout.getReader().read();
  const spinners = alive().filter(({ parent }) => parent === spinning.pid);
  expect(spinners).toHaveLength(3);
  if (how === "it is killed") spinning.kill("SIGKILL");
  else spinning.stdin.end();
  await spinning.exited;
  expect(await gone(spinners.map(({ pid }) => pid))).toBe(true);
});

test("callees are gone when their caller is killed, and the caller ends when a callee is", async () => {
  for (const whom of ["caller", "callee"]) {
    const asking = Bun.spawn([program, "trips", "10000000", "60000"], { stdout: "ignore", stderr: "ignore" });
    let callees: number[] = [];
    while (callees.length < 6) {
      callees = alive().flatMap(({ pid, parent }) => (parent === asking.pid ? [pid] : []));
      await Bun.sleep(5);
    }
    process.kill(whom === "caller" ? asking.pid : (callees[0] as number), "SIGKILL");
    expect(await asking.exited).not.toBe(0);
    expect(await gone(callees)).toBe(true);
  }
}, 20_000);

test.each([[[]], [["spin"]], [["spin", "0"]], [["trips", "1"]], [["jump", "1", "1"]]])("%j is answered with the usage", (words) => {
  const done = Bun.spawnSync([program, ...words], { stdin: "ignore" });
  expect(done.exitCode).toBe(2);
  expect(done.stderr.toString()).toContain("usage: pristine-pingpong");
});
