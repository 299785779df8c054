/** Real programs cost no more exits and faults than they should, in a machine and as the whole command. */
import { afterAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CommandRunner, commands, countedExits } from "../bench/commands.ts";

const megabytes = 10;
const patience = 60_000;
const runner = new CommandRunner(megabytes);
afterAll(() => runner[Symbol.dispose]());

for (const command of commands(megabytes)) {
  const there = existsSync(command.path);
  const title = there ? command.name : `${command.name} (${command.path} is not installed)`;

  test.skipIf(!there)(
    title,
    async () => {
      const { counters } = await runner.inMachine(command);
      expect(countedExits(command, counters)).toBeLessThanOrEqual(command.exits);
      expect(counters.faults).toBeLessThanOrEqual(command.faults);
      // Every exit is a system call, a fault, or a turn of another thread's.
      expect(counters.exits).toBeLessThanOrEqual(counters.syscalls + counters.faults + 2 + (command.turns ?? 0));
    },
    patience,
  );

  test.skipIf(!there)(
    `${title}, by pristine run`,
    () => {
      const trace = join(runner.folder, "trace");
      runner.byCommand(command, `--trace=${trace}`);
      const lines = readFileSync(trace, "utf8").trimEnd().split("\n");
      const reads = command.piped === undefined ? 0 : lines.filter((line) => line.startsWith("read(")).length;
      expect(lines.length).toBeGreaterThan(10);
      expect(lines.length - reads).toBeLessThanOrEqual(command.exits);
    },
    patience,
  );
}
