/** `pristine-vm/bench`: what it counts is exact, what it computes from samples is right. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { formatReport, guestBench, isBimodal, percentile } from "../src/bench.ts";
import { Machine, PristineError } from "../src/index.ts";

test("percentiles come from the samples, and two groups are told from one", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  expect([0.5, 0.9, 0.99, 1].map((part) => percentile(hundred, part))).toEqual([50, 90, 99, 100]);
  expect(percentile([7], 0.9)).toBe(7);
  expect(isBimodal(hundred)).toBe(false);
  expect(isBimodal(hundred.map((value) => (value <= 50 ? 100 + value : 300 + value)))).toBe(true);
  // A few outliers are no second group.
  expect(isBimodal(hundred.map((value) => (value <= 95 ? 100 + value : 10_000)))).toBe(false);
});

test("every sample starts from the snapshot, and exits, faults and pages are counted", async () => {
  await using vm = await Machine.boot(join(import.meta.dir, "../zig-out/guests/functions"), { stdout: "ignore" });
  await vm.run();
  using image = vm.freeze();
  const first = image.fork().call("counter");
  const tasks = {
    add: { signature: { args: ["i64", "i64"], returns: "i64_fast" }, args: [40, 2] },
    count: { symbol: "counter", signature: { returns: "u64_fast" } },
    getpid: { symbol: "process_id" },
  } as const;
  const report = await guestBench(image, tasks, { rounds: 4, samples: 5 });
  expect(report.results.map(({ name }) => name)).toEqual(["add", "count", "getpid"]);
  for (const result of report.results) {
    expect(result.samples).toBe(20);
    expect(result.exits).toBe(1);
    expect(result.faults).toBe(0);
    expect(result.min).toBeLessThanOrEqual(result.p50);
    expect(result.p50).toBeLessThanOrEqual(result.p90);
    expect(result.p90).toBeLessThanOrEqual(result.p99);
    expect(result.min).toBeGreaterThan(report.floor.min * 0.5);
    expect(result.cycles).toBeGreaterThan(0);
  }
  // The counter's page is put back each time, and nothing else but the call's stack.
  expect(report.results[1]?.pages).toBeGreaterThanOrEqual(1);
  expect(image.fork().call("counter")).toBe(first);
  const text = formatReport(report, report);
  expect(text).toContain("0.0 %");
  expect(text).toContain("p90");
  expect(guestBench(image, { missing: {} })).rejects.toThrow(PristineError);
  expect(guestBench(image, tasks, { rounds: 0 })).rejects.toThrow("nothing would be measured");
});
