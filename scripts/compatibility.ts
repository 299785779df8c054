/** Runs all commands of the compatibility run and writes docs/compatibility.md: `bun scripts/compatibility.ts`. */
import { cases } from "../test/compatibility/cases.ts";
import { documentPath, render } from "../test/compatibility/document.ts";
import { versions } from "../test/compatibility/packages.ts";
import { runtimeCases } from "../test/runtimes/cases.ts";

const tests = Bun.spawnSync(
  [process.execPath, "test", "test/compatibility", "test/runtimes", "test/servers", "-t", "^(?!the table of cases)"],
  {
    cwd: `${import.meta.dir}/..`,
    stdout: "inherit",
    stderr: "inherit",
  },
);
if (tests.exitCode !== 0) {
  console.error("the page stays as it is: what it would say does not hold");
  process.exit(1);
}
await Bun.write(documentPath, render([...cases, ...runtimeCases], versions()));
