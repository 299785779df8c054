/** Every benchmark runs in a small size and gives sane numbers; exits per operation are exact on any machine. */
import { expect, test } from "bun:test";
import { join } from "node:path";

test("the benchmarks run, and their exits per operation hold", () => {
  const done = Bun.spawnSync([process.execPath, join(import.meta.dir, "../bench/run.ts"), "--smoke", "--json"]);
  expect(done.stderr.toString()).toBe("");
  const findings = JSON.parse(done.stdout.toString()) as { name: string; value: number; exits?: number }[];
  expect(findings.length).toBeGreaterThanOrEqual(8);
  for (const { name, value } of findings) expect(`${name}: ${Number.isFinite(value)}`).toBe(`${name}: true`);
  const exits = (name: string) => findings.find((finding) => finding.name === name)?.exits;
  expect(exits("empty call from TypeScript")).toBe(1);
  expect(exits("system call by exit")).toBe(1);
  expect(exits("system call answered in the guest")).toBe(0);
  expect(exits("clock read in the guest")).toBe(0);
}, 240_000);
