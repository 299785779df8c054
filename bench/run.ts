/**
 * `npm run bench [-- --json] [--smoke] [--document] [NAME…]`: Pristine against what KVM itself costs, and against native processes.
 */

import { wholeCommands } from "./commands.ts";
import { writeDocument } from "./document.ts";
import { call, clock, shortCall, systemCall } from "./exits.ts";
import { firstWrite, forkDispose, full, others, rewrite, subsets, together } from "./forks.ts";
import { alternatives, handlers, isolation } from "./isolation.ts";
import { compute, idle, lifeCycle, start } from "./programs.ts";
import { remotes } from "./remotes.ts";
import type { Benchmark, Finding } from "./rounds.ts";
import { servers } from "./servers.ts";
import { snapshots } from "./snapshots.ts";

const benchmarks: Record<string, Benchmark> = {
  call,
  "system-call": systemCall,
  "short-call": shortCall,
  clock,
  compute,
  start,
  commands: wholeCommands,
  "life-cycle": lifeCycle,
  idle,
  fork: forkDispose,
  "first-write": firstWrite,
  rewrite,
  subsets,
  full,
  together,
  others,
  servers,
  isolation,
  handlers,
  alternatives,
  snapshots,
  remotes,
};

/** Those with a page of their own. */
const pages: Record<string, Finding["page"]> = {
  isolation: "isolation",
  handlers: "isolation",
  alternatives: "isolation",
  snapshots: "snapshots",
};

const words = process.argv.slice(2);
const json = words.includes("--json");
const smoke = words.includes("--smoke");
const names = words.filter((word) => !word.startsWith("--"));
for (const name of names) {
  if (!(name in benchmarks)) {
    console.error(`there is no benchmark ${name}; there are ${Object.keys(benchmarks).join(", ")}`);
    process.exit(2);
  }
}

const findings: Finding[] = [];
for (const [name, benchmark] of Object.entries(benchmarks)) {
  if (names.length > 0 && !names.includes(name)) continue;
  if (!json) console.error(`measuring ${name}`);
  const found = await benchmark(smoke);
  const page = pages[name];
  findings.push(...(page ? found.map((finding): Finding => ({ ...finding, page })) : found));
}
if (words.includes("--document")) await writeDocument(findings);
if (json) console.log(JSON.stringify(findings, null, 2));
else {
  console.log(
    Bun.inspect.table(
      findings.map(({ name, value, unit, floor, target, reached, exits, detail }) => ({
        benchmark: name,
        figure: `${value.toFixed(3)} ${unit}`,
        floor,
        target,
        reached: reached ? "yes" : "no",
        exits: exits === undefined ? "" : exits,
        detail: detail ?? "",
      })),
    ),
  );
}
process.exit(0);
