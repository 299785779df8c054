/**
 * Runs the tests and closes with one plain line: `N passed, N failed, N skipped`.
 *
 * First the core's unit tests (a program of their own), then Bun's. `--lane=NAME` says which virtual machine this is for
 * and chooses the files: emulation is some 30 times slower, so its lane has the core's tests and the capabilities that
 * depend on the kind of KVM. Other words go to `bun test`.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = join(import.meta.dir, "..");
/** What depends on how the processor translates addresses, traps and switches, and how requests go through all of it. */
const processorFiles = [
  "test/lane.test.ts",
  "test/mapping.test.ts",
  "test/exec.test.ts",
  "test/fork.test.ts",
  "test/reset/property.test.ts",
  "test/reset/planted.test.ts",
  "test/threads.test.ts",
  "test/bad-threads.test.ts",
  "test/pool.test.ts",
  "test/remotes/calls.test.ts",
  "test/remotes/reach.test.ts",
  "test/remotes/failures.test.ts",
  "test/remotes/threads.test.ts",
  "test/remotes/connections.test.ts",
  "test/snapshots/baseline.test.ts",
  "test/snapshots/loading.test.ts",
  "test/snapshots/property.test.ts",
  "test/snapshots/snapshots.test.ts",
];
/** These compute for long and are bound to no time: beside the others they take a processor that those leave idle. */
const besideOthers = [...new Bun.Glob("test/{reset,compatibility,runtimes,snapshots}/**/*.test.ts").scanSync({ cwd: root })];
const laneFiles: Record<string, string[]> = {
  // The other lane has the longer list without it.
  "amdv-shadow": [...processorFiles, "test/isolation.test.ts"],
  amdv: [
    ...processorFiles,
    "test/compatibility/compatibility.test.ts",
    "test/events.test.ts",
    "test/jail.test.ts",
    "test/sockets.test.ts",
    "test/runtimes/runtimes.test.ts",
    "test/servers/servers.test.ts",
  ],
};
/** Less of what is many times the same where each takes 30 times as long, and the faults that have to do with the kind of KVM. */
const laneFaults = [
  "none",
  "vectors_not_loaded",
  "mxcsr_kept",
  "avx_upper_halves_kept",
  "fs_base_kept",
  "gs_base_kept",
  "page_forgotten",
  "touched_set_not_renewed",
  "zero_page_kept",
  "table_entry_kept",
  "mapping_not_revoked",
  "table_frame_used_again",
  "image_range_not_mapped_again",
  "window_kept",
];
const emulated = {
  RESET_RUNS: "200",
  RESET_TIMEOUT: "1500",
  TEST_SCALE: "0.1",
  RESET_FAULTS: laneFaults.join(","),
  RESET_FAULT_RUNS: "150",
};
/** Faults of translations show on shadow paging; with nested paging each request takes twice as long. */
const nestedFaults = ["none", "avx_upper_halves_kept", "fs_base_kept", "page_forgotten", "table_entry_kept", "window_kept"];
const laneEnvironment: Record<string, Record<string, string>> = {
  amdv: { ...emulated, RESET_FAULTS: nestedFaults.join(",") },
  "amdv-shadow": emulated,
};

const words = process.argv.slice(2);
const lane = words.find((word) => word.startsWith("--lane="))?.slice("--lane=".length);
const others = words.filter((word) => !word.startsWith("--lane="));

function add(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The core's unit tests, as the build installed them. */
async function coreTests(): Promise<Counts> {
  const tests = Bun.spawn([join(root, "zig-out/bin/core-tests")], { cwd: root, stdout: "inherit", stderr: "pipe" });
  const text = await new Response(tests.stderr).text();
  process.stderr.write(text);
  const code = await tests.exited;
  const all = /All (\d+) tests passed/.exec(text);
  const some = /(\d+) passed; (\d+) skipped; (\d+) failed/.exec(text);
  if (all && code === 0) return { passed: Number(all[1]), failed: 0, skipped: 0 };
  if (some) return { passed: Number(some[1]), skipped: Number(some[2]), failed: Number(some[3]) };
  // It ended without a summary: that is a failure, whatever its status.
  return { passed: 0, failed: 1, skipped: 0 };
}

/** @param aside - what it prints is kept, and told once it has ended */
async function bunTests(files: string[], aside = false): Promise<Counts> {
  const report = join(root, aside ? "junit-aside.xml" : "junit.xml");
  rmSync(report, { force: true });
  const tests = Bun.spawn([process.execPath, "test", "--reporter=junit", `--reporter-outfile=${report}`, ...files], {
    cwd: root,
    env: { ...process.env, ...(lane ? laneEnvironment[lane] : {}) },
    stdout: aside ? "pipe" : "inherit",
    stderr: aside ? "pipe" : "inherit",
  });
  const texts = [tests.stdout, tests.stderr].map((stream) => (stream ? new Response(stream).text() : ""));
  const code = await tests.exited;
  for (const text of await Promise.all(texts)) process.stderr.write(text);
  const xml = await Bun.file(report)
    .text()
    .catch(() => "");
  rmSync(report, { force: true });
  const count = (name: string) => Number(new RegExp(`<testsuites[^>]* ${name}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const [total, failures, skipped] = [count("tests"), count("failures"), count("skipped")];
  // A crash leaves no report, and a failure outside a test counts nowhere but in the status.
  return { passed: total - failures - skipped, failed: failures || (code === 0 ? 0 : 1), skipped };
}

/** All that there is: in two processes, since nearly all of it uses one processor at a time. */
async function allTests(): Promise<Counts> {
  const all = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: root })].sort();
  const aside = bunTests(besideOthers, true);
  const front = await bunTests(all.filter((file) => !besideOthers.includes(file)));
  return add(front, await aside);
}

const files = lane === undefined ? [] : laneFiles[lane];
if (!files) {
  console.error(`there is no lane ${lane}; known: ${Object.keys(laneFiles).join(", ")}`);
  process.exit(2);
}
let counts: Counts = others.length > 0 ? { passed: 0, failed: 0, skipped: 0 } : await coreTests();
counts = add(counts, files.length + others.length === 0 ? await allTests() : await bunTests([...files, ...others]));
console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed > 0 ? 1 : 0);
