/**
 * Real programs of Debian do the same in a machine as natively: output, status, and the files they leave behind.
 *
 * A program that is not installed is skipped by name. In the emulated lane, where everything takes 30 times as long, only
 * the light cases are there.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runtimeCases } from "../runtimes/cases.ts";
import { cases } from "./cases.ts";
import { documentPath, render, withoutVersions } from "./document.ts";
import { contents, makeFixture } from "./fixture.ts";
import { needed, packages } from "./packages.ts";
import { comparable, isInstalled, runInMachine, runNatively } from "./run.ts";

const patience = 120_000;
const emulated = process.env.PRISTINE_LANE !== undefined;

/** System calls that are not there, and that programs which do the same go on without. */
const dispensable = new Map([
  [330, "pkey_alloc"],
  [334, "rseq"],
]);

const root = mkdtempSync(join(tmpdir(), "pristine-compatibility-"));
const folders = { fixture: join(root, "fixture"), work: join(root, "work") };
makeFixture(folders.fixture);
const atFirst = contents(folders.fixture);
afterAll(() => rmSync(root, { recursive: true, force: true }));

for (const entry of cases) {
  if (emulated && !entry.light) continue;
  const there = isInstalled(entry, folders.fixture);
  const title = there ? `${entry.package}: ${entry.name}` : `${entry.package}: ${entry.name} (${entry.path} is not installed)`;
  test.skipIf(!there)(
    title,
    async () => {
      const expected = comparable(entry, await runNatively(entry, folders));
      const { outcome, unsupported } = await runInMachine(entry, folders);
      if (entry.difference !== undefined) {
        if (!entry.dependsOnHost) expect(comparable(entry, outcome)).not.toEqual(expected);
        return;
      }
      expect(comparable(entry, outcome)).toEqual(expected);
      expect(unsupported.filter((number) => !dispensable.has(number))).toEqual([]);
    },
    patience,
  );
}

describe("the comparison", () => {
  const cat = cases.find((entry) => entry.path === "/usr/bin/cat" && entry.args[0] === "missing");
  const cp = cases.find((entry) => entry.path === "/usr/bin/cp" && entry.args[0] === "-a");
  if (!cat || !cp) throw new Error("cases that are compared with others are gone");

  test(
    "sees other output, another status and other files",
    async () => {
      const missing = await runNatively(cat, folders);
      const { outcome } = await runInMachine({ ...cat, args: ["csv"] }, folders);
      expect(outcome.stdout).not.toBe(missing.stdout);
      expect(outcome.stderr).not.toBe(missing.stderr);
      expect(outcome.exitCode).not.toBe(missing.exitCode);
      const copied = await runNatively(cp, folders);
      const other = await runInMachine({ ...cp, args: ["-a", "many", "copy"] }, folders);
      expect(other.outcome.files).not.toEqual(copied.files);
    },
    patience,
  );

  test("left the folder of commands that only read as it was", () => {
    expect(contents(folders.fixture)).toEqual(atFirst);
  });
});

describe("the table of cases", () => {
  test("names each command once, and every package that is needed", () => {
    const names = cases.map((entry) => `${entry.package}: ${entry.name}`);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
    expect(packages()).toEqual(needed());
  });

  test("is what docs/compatibility.md tells; bun scripts/compatibility.ts writes it", () => {
    expect(withoutVersions(readFileSync(documentPath, "utf8"))).toBe(withoutVersions(render([...cases, ...runtimeCases], new Map())));
  });
});
