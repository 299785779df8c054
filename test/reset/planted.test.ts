/** Faults planted into the core, one at a time: random requests must show each of them. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { PlantedFault } from "../../src/ffi/table.ts";

const root = join(import.meta.dir, "../..");

/** Faults that are none on a machine: without the vector state, or where no translation outlives its entry. */
function harmlessHere(): string[] {
  const doctor = Bun.spawnSync([process.execPath, join(root, "src/cli/main.ts"), "doctor", "--json"], { stderr: "ignore" });
  const report = doctor.stdout.toString();
  const none: string[] = [];
  if (!report.includes("AVX-512")) none.push("avx512_kept");
  if (!/up to AVX/.test(report)) none.push("avx_upper_halves_kept");
  if (!report.includes("need an event on the old page")) none.push("mapping_not_revoked", "table_frame_used_again");
  return none;
}

async function runFaults(names: string[]): Promise<Map<string, boolean>> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "planted.ts"), ...names], {
    env: { ...process.env, PRISTINE_LIBRARY: join(root, "zig-out/lib/libpristine-planted.so") },
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  const found = new Map<string, boolean>();
  for (const line of text.split("\n")) {
    if (!line.startsWith("{")) continue;
    const { name, caught, runs, by } = JSON.parse(line);
    found.set(name, caught);
    if (caught) console.log(`    ${name}: after ${runs} requests, ${String(by).slice(0, 100)}`);
  }
  return found;
}

test("every planted fault is noticed, and without one nothing is", async () => {
  const names = Object.keys(PlantedFault).filter(
    (name) => process.env.RESET_FAULTS === undefined || process.env.RESET_FAULTS.split(",").includes(name),
  );
  const halves = [names.filter((_, index) => index % 2 === 0), names.filter((_, index) => index % 2 === 1)].filter(
    (half) => half.length > 0,
  );
  const found = new Map((await Promise.all(halves.map(runFaults))).flatMap((half) => [...half]));
  const harmless = harmlessHere();
  const missed = names.filter((name) => name !== "none" && !found.get(name) && !harmless.includes(name));
  expect(missed).toEqual([]);
  if (names.includes("none")) expect(found.get("none")).toBe(false);
}, 1_200_000);
