/** A few modules of Python's own tests: all that pass natively pass in a machine. `scripts/python-suite.ts` runs all modules. */
import { expect, test } from "bun:test";
import { isInstalled, runInMachine, runNatively } from "./python.ts";

const timeout = 100_000;

for (const module of [
  "test_threading_local",
  "test_sched",
  "test_epoll",
  "test_asyncgen",
  "test_fileio",
  "test_file",
  "test_memoryio",
  "test_zlib",
  "test_context",
]) {
  test.skipIf(!isInstalled())(
    isInstalled() ? module : `${module} (libpython3.11-testsuite is not installed)`,
    async () => {
      const native = await runNatively(module, timeout);
      const here = await runInMachine(module, timeout);
      expect(native.results.size).toBeGreaterThan(0);
      expect(here.end).toBeUndefined();
      const wanted = [...native.results].filter(([, result]) => result === "passed").map(([name]) => name);
      expect(wanted.filter((name) => here.results.get(name) !== "passed")).toEqual([]);
    },
    3 * timeout,
  );
}
