/**
 * Runs Python's own tests natively and in machines and writes test/suites/python-results.json, from which
 * `bun scripts/compatibility.ts` makes its table: `bun scripts/python-suite.ts [MODULE…]`. Without names it goes on with
 * modules that have no result yet.
 */
import { existsSync, readFileSync } from "node:fs";
import { modules, reasonOf, runInMachine, runNatively } from "../test/suites/python.ts";
import { type ModuleResult, resultsPath } from "../test/suites/results.ts";

/** Few modules take longer natively; those are left out. */
const timeout = 60_000;
const chosen = process.argv.slice(2);
const known: ModuleResult[] = existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, "utf8")) : [];
const results = new Map(known.map((result) => [result.module, result]));

async function compare(module: string): Promise<ModuleResult> {
  const native = await runNatively(module, timeout);
  const here = await runInMachine(module, 2 * timeout);
  const wanted = [...native.results].filter(([, result]) => result === "passed").map(([name]) => name);
  const passed = wanted.filter((name) => here.results.get(name) === "passed");
  const reasons = new Map<string, number>();
  for (const name of wanted) {
    if (here.results.get(name) === "passed") continue;
    const failure = here.failures.get(name);
    const reason =
      failure !== undefined ? reasonOf(failure) : here.results.get(name) === "skipped" ? "skipped here" : (here.end ?? "did not run");
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  console.log(`${module}: system calls that are not there: ${here.unsupported?.join(" ") || "none"}`);
  for (const [name, failure] of here.failures) if (native.results.get(name) === "passed") console.error(`${name}\n${failure}`);
  return {
    module,
    native: wanted.length,
    here: passed.length,
    reasons: Object.fromEntries(reasons),
    ...(native.end ? { nativeEnd: native.end } : {}),
  };
}

const all = chosen.length > 0 ? chosen : modules().filter((module) => !results.has(module));
for (const [index, module] of all.entries()) {
  const started = performance.now();
  const result = await compare(module);
  results.set(module, result);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${index + 1}/${all.length} ${module}: ${result.here} of ${result.native} (${seconds} s) ${JSON.stringify(result.reasons)}`);
  await Bun.write(
    resultsPath,
    `${JSON.stringify(
      [...results.values()].sort((a, b) => (a.module < b.module ? -1 : 1)),
      null,
      1,
    )}\n`,
  );
}
