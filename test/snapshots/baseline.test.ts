/** Snapshots of machines that are shown a processor of a level of the psABI. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

setDefaultTimeout(process.env.PRISTINE_LANE === undefined ? 60_000 : 600_000);
const main = join(import.meta.dir, "../../src/cli/main.ts");
const guest = join(import.meta.dir, "../../zig-out/guests/levels");
const folder = mkdtempSync(join(tmpdir(), "pristine-baseline-"));
const file = join(folder, "level.snap");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function pristine(...words: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, main, ...words], { cwd: folder });
  return { exitCode, out: stdout.toString(), err: stderr.toString() };
}

const save = (...words: string[]) => pristine("snapshot", "--ready", "ready", ...words, "-o", file, guest);

/** What the file says that the machine has seen: CPUID's leaf 1, ecx, and XCR0 (docs/snapshot-format.md). */
function fingerprint() {
  const bytes = readFileSync(file).subarray(4096);
  return { avx: (bytes.readUInt32LE(0) >>> 28) & 1, sse42: (bytes.readUInt32LE(0) >>> 20) & 1, xcr0: Number(bytes.readBigUInt64LE(48)) };
}

test("a program is shown no more of the processor than was asked for, or told why that cannot be", () => {
  expect(save("--cpu-baseline", "x86-64-v9").err).toContain("did you mean x86-64");
  const whole = save();
  expect(whole.exitCode).toBe(0);
  const v2 = save("--cpu-baseline", "x86-64-v2");
  const cpuid = JSON.parse(pristine("doctor", "--json").out).checks.find(({ id }: { id: string }) => id === "kvm.cpuid");
  if (cpuid.detail !== "honoured") {
    expect([v2.exitCode, v2.err]).toEqual([125, expect.stringContaining("of which nothing can be hidden")]);
    return;
  }
  expect(whole.out).toBe("sse4.2 1, avx 1, avx2 1\n");
  expect([v2.exitCode, v2.out]).toEqual([0, "sse4.2 1, avx 0, avx2 0\n"]);
  expect(fingerprint()).toEqual({ avx: 0, sse42: 1, xcr0: 3 });
  expect(save("--cpu-baseline", "x86-64-v3").out).toBe("sse4.2 1, avx 1, avx2 1\n");
  expect(fingerprint()).toEqual({ avx: 1, sse42: 1, xcr0: 7 });
  expect(save("--cpu-baseline", "x86-64").out).toBe("sse4.2 0, avx 0, avx2 0\n");
  // It goes on where there is more.
  expect(pristine("resume", file)).toMatchObject({ exitCode: 0, out: "and on\n" });
});
