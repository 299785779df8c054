/**
 * Programs of Node, Deno, Bun, Python, Go, Rust, Java and others that have threads and sockets do the same in a machine as
 * natively: output and status. One that is not installed, or whose compiler is not, is skipped by name. In the emulated lane,
 * where everything takes 30 times as long, only the light ones are run.
 */
import { afterAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { comparable, isInstalled, runInMachine, runNatively } from "../compatibility/run.ts";
import { compiled, runtimeCases } from "./cases.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
const patience = emulated ? 600_000 : 120_000;
const root = mkdtempSync(join(tmpdir(), "pristine-runtimes-"));
const folders = { fixture: join(root, "programs"), work: join(root, "work") };
cpSync(join(import.meta.dir, "programs"), folders.fixture, { recursive: true });
for (const name of ["react", "react-dom", "scheduler"]) {
  cpSync(join(import.meta.dir, "../../node_modules", name), join(folders.fixture, "node_modules", name), { recursive: true });
}
for (const { output, compiler, args } of emulated ? [] : compiled) {
  const path = Bun.which(compiler);
  if (!path) continue;
  const done = Bun.spawnSync([path, ...args], {
    cwd: folders.fixture,
    env: { ...process.env, GOCACHE: join(root, "cache"), GOFLAGS: "-mod=mod" },
    stderr: "pipe",
  });
  if (done.exitCode !== 0 || !existsSync(join(folders.fixture, output)))
    throw new Error(`${compiler} ${args.join(" ")}: ${done.stderr.toString()}`);
}
/** What native runs leave in the host's /tmp; machines have one of their own. */
const leftBehind = ["/tmp/pristine-home", "/tmp/pristine-deno", "/tmp/pristine-bundle.mjs", "/tmp/pristine-wal.db"];
afterAll(() => {
  for (const path of [root, ...leftBehind]) rmSync(path, { recursive: true, force: true });
});

/** System calls that are not there, and that programs which do the same go on without. */
const dispensable = new Set([334 /* rseq */, 425 /* io_uring_setup */, 324 /* membarrier */, 330 /* pkey_alloc */, 435 /* clone3 */]);

for (const entry of runtimeCases) {
  if (emulated && !entry.light) continue;
  const missing = isInstalled(entry, folders.fixture) ? "" : ` (${entry.path} is not there)`;
  test.skipIf(missing !== "")(
    `${entry.package}: ${entry.name}${missing}`,
    async () => {
      const expected = comparable(entry, await runNatively(entry, folders));
      for (const path of leftBehind) rmSync(path, { recursive: true, force: true });
      const { outcome, unsupported } = await runInMachine(entry, folders);
      expect(comparable(entry, outcome)).toEqual(expected);
      expect(unsupported.filter((number) => !dispensable.has(number))).toEqual([]);
    },
    patience,
  );
}

test("the table names each program once", () => {
  const names = runtimeCases.map((entry) => `${entry.package}: ${entry.name}`);
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
});
