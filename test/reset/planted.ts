/**
 * For a child process with the planted build of the core: switches on one fault after the other and looks whether random
 * requests show it. Prints one line of JSON for each.
 */
import fc from "fast-check";
import { core } from "../../src/ffi/library.ts";
import { PlantedFault } from "../../src/ffi/table.ts";
import { request, Subject } from "./model.ts";

const runsMax = Number(process.env.RESET_FAULT_RUNS ?? 1_500);
const only = process.argv.slice(2);

async function caught(fault: number, seed: number): Promise<{ runs: number; by: string } | undefined> {
  if (core().pristine_plant(fault) !== 1) throw new Error("this build has no planted faults");
  let runs = 0;
  let by = "";
  const subject = await Subject.create();
  const start = subject.checkImage();
  if (start.length > 0) return { runs, by: start[0] as string };
  try {
    fc.assert(
      fc.property(request, (one) => {
        runs++;
        subject.run(one);
        const wrong = subject.check(one, true);
        if (wrong.length > 0) throw new Error(wrong[0]);
      }),
      { numRuns: runsMax, seed, endOnFailure: true },
    );
    return undefined;
  } catch (error) {
    by = String((error as Error).cause ?? error).split("\n")[0] ?? "";
    return { runs, by };
  } finally {
    // What a fault has done to the machines is not to meet the next one.
    core().pristine_plant(PlantedFault.none);
    subject.close();
  }
}

for (const [name, fault] of Object.entries(PlantedFault)) {
  if (only.length > 0 && !only.includes(name)) continue;
  const found = await caught(fault, 1);
  console.log(JSON.stringify({ name, caught: found !== undefined, ...found }));
}
