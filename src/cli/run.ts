/** `pristine run`: one program, its streams and its exit status. */
import { PristineError } from "../errors.ts";
import { fs } from "../lazy.ts";
import { Machine } from "../machine.ts";
import { signalByName } from "../signals.ts";
import { split, UsageError } from "./grammar.ts";
import { isWhole, jailLine } from "./jail.ts";
import { type RunSettings, runOptions, settingsOf } from "./options.ts";
import { findProgram, workingDirectory } from "./program.ts";
import { say, status } from "./status.ts";

/** The first SIGINT or SIGTERM is the guest's, the second ends the machine. */
function forwardSignals(machine: Machine): void {
  let received = 0;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      received++;
      if (received === 1 && machine.state === "running") machine.kill(signal);
      else process.exit(128 + signalByName(signal));
    });
  }
}

/** clone, fork, vfork and clone3, which answer ENOSYS. */
const processCalls = [56, 57, 58, 435];

/** Whether the program asked for what no machine has: it may have failed for that. */
function startedProcesses(machine: Machine): boolean {
  const { unsupported } = machine.counters();
  return processCalls.some((number) => unsupported.has(number));
}

/** Runs the program; the process's exit status. */
export async function run(words: readonly string[]): Promise<number> {
  const { options, rest } = split(words, runOptions);
  if (options.has("help")) return (await import("./help.ts")).help("run");
  const settings = settingsOf(options);
  const program = findProgram("run", rest);
  const trace = settings.trace === undefined ? -1 : settings.trace === true ? 2 : fs().openSync(settings.trace, "w");
  try {
    using remotes = settings.remotes.length > 0 ? await (await import("./remote-machines.ts")).bootRemotes(settings) : undefined;
    await using machine = await Machine.boot(program, {
      args: rest.slice(1),
      argv0: rest[0] as string,
      env: settings.env,
      cwd: workingDirectory(settings),
      memory: settings.memory,
      timeout: settings.timeout,
      cpuTimeout: settings.cpuTimeout,
      permissions: settings.permissions,
      volumes: settings.volumes,
      verbose: settings.verbose,
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
      trace,
      jail: settings.jail,
      remotes: remotes?.options,
    });
    if (!settings.quiet && (settings.verbose ? machine.jail.length > 0 : !isWhole(machine.jail)))
      console.error(`pristine: ${jailLine(machine.jail)}`);
    return await goOn(machine, settings);
  } finally {
    if (trace > 2) fs().closeSync(trace);
  }
}

/** Runs a machine to its end; the process's exit status. */
export async function goOn(machine: Machine, settings: Pick<RunSettings, "quiet" | "verbose">): Promise<number> {
  forwardSignals(machine);
  const stop = await machine.run();
  if (stop.reason === "exit") {
    if (stop.exitCode !== 0 && !settings.quiet && startedProcesses(machine))
      say("the program tried to start another process, which this version does not have", "run what it would start by itself");
    return stop.exitCode;
  }
  const report = machine.report();
  if (report !== "" && !settings.quiet)
    say(settings.verbose ? report.trimEnd() : (report.split("\n", 1)[0] as string), "the fault is in the program");
  return 128 + signalByName(stop.signalCode);
}

/** The exit status for an error, printed. */
export function statusOf(error: unknown): number {
  if (error instanceof UsageError) {
    say(error.message, error.hint);
    return status.failed;
  }
  if (!PristineError.is(error)) {
    say(error instanceof Error ? error.message : String(error), "report this");
    return status.failed;
  }
  say(error.message, error.hint);
  switch (error.code) {
    case "NOT_FOUND":
      return status.notFound;
    case "NOT_EXECUTABLE":
      return status.notExecutable;
    case "TIMEOUT":
      return status.timeout;
    case "OUT_OF_MEMORY":
      return status.outOfMemory;
    default:
      return status.failed;
  }
}
