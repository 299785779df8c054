/** Resets after random requests: a fork must come back as if nothing had happened. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { request, Subject } from "./model.ts";

// More on demand: RESET_RUNS=20000 RESET_SEED=… bun test test/reset/property.test.ts
const runs = Number(process.env.RESET_RUNS ?? 3_000);
const seed = process.env.RESET_SEED ? Number(process.env.RESET_SEED) : Date.now() & 0x7fff_ffff;
// A look from inside costs as much as ten requests.
const insideEvery = 4;

test(`${runs} random requests, each put back`, async () => {
  using subject = await Subject.create();
  let count = 0;
  let early = 0;
  let failed = false;

  const property = fc.property(request, (one) => {
    if (subject.run(one)) early++;
    count++;
    // While a failure is shrunk, every request is looked at from inside.
    const wrong = subject.check(one, failed || count % insideEvery === 0);
    failed ||= wrong.length > 0;
    if (wrong.length > 0) throw new Error(wrong.slice(0, 20).join("\n"));
  });
  console.log(`    seed ${seed}`);
  fc.assert(property, { numRuns: runs, seed, interruptAfterTimeLimit: 300_000, markInterruptAsFailure: true });
  // The test would prove nothing if most requests ended at once.
  expect(early).toBeLessThan(runs / 2);
  expect(early).toBeGreaterThan(0);
}, 600_000);
