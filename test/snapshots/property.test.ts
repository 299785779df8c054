/** Machines in random states, saved and opened again: nothing of them is lost, and nothing has changed. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { type Fork, PristineError, Snapshot } from "../../src/index.ts";
import { bind, lookInside, type Request, request, Subject } from "../reset/model.ts";
import { SnapshotFile } from "./file.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
const runs = Number(process.env.SNAPSHOT_RUNS ?? (emulated ? 10 : 80));
const seed = process.env.SNAPSHOT_SEED ? Number(process.env.SNAPSHOT_SEED) : Date.now() & 0x7fff_ffff;
const permissions = { read: ["/"] };

/** Where two texts of bytes differ first, with what is around it. */
function firstDifference(one: Buffer, other: Buffer): string {
  const at = one.findIndex((byte, index) => byte !== other[index]);
  if (at < 0) return one.length === other.length ? "none" : `${one.length} and ${other.length} bytes`;
  const around = (bytes: Buffer) => bytes.subarray(Math.max(0, at - 48), at + 16).toString("hex");
  return `at ${at} of ${one.length} (${other.length}): ${around(one)} and ${around(other)}`;
}

/** What a fork looks like from inside; a request may have left it so that it faults on the way, which must then be the same. */
function seenFrom(fork: Fork, one: Request): string[] {
  try {
    // The last line has the private files with their times of access, which a look moves on to its own date, and the blocks that
    // holes do not take. Their names, times and bytes are compared in the files.
    return lookInside(fork, bind(fork), one).slice(0, -1);
  } catch (error) {
    if (!PristineError.is(error)) throw error;
    return [error.message];
  }
}

test(`${runs} machines, each saved behind a random request, go on as they would have`, async () => {
  const folder = mkdtempSync(join(tmpdir(), "pristine-snapshots-"));
  const [first, second] = [join(folder, "first.snap"), join(folder, "second.snap")];
  using subject = await Subject.create();
  let saved = 0;
  const property = fc.asyncProperty(request, async (one) => {
    const ended = subject.run(one);
    try {
      if (ended) return;
      using image = subject.fork.freeze();
      await image.save(first);
      using again = await Snapshot.open(first, { permissions });
      await again.save(second);
      const [before, after] = [new SnapshotFile(first), new SnapshotFile(second)];
      expect(firstDifference(before.stateButClocks(), after.stateButClocks())).toBe("none");
      for (const name of ["runs", "sums", "contents", "notes", "processor", "pages"] as const)
        expect(`${name}: ${firstDifference(before.content(name), after.content(name))}`).toBe(`${name}: none`);
      using original = image.fork({ timeout: 60_000 });
      using reopened = again.fork({ timeout: 60_000 });
      expect(seenFrom(reopened, one)).toEqual(seenFrom(original, one));
      saved++;
    } finally {
      // Also behind a failure, which is shrunk from here on.
      subject.check(one, false);
    }
  });
  console.log(`    seed ${seed}`);
  try {
    await fc.assert(property, { numRuns: runs, seed, endOnFailure: emulated });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  // The test would prove nothing if most requests ended at once.
  expect(saved).toBeGreaterThan(runs / 3);
}, 900_000);
