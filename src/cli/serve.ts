/** `pristine serve`: an HTTP server of which every request gets a fork that is put back behind it. */
import { PristineError } from "../errors.ts";
import { isolate } from "../isolate.ts";
import type { Pool } from "../pool.ts";
import { signalByName } from "../signals.ts";
import { split } from "./grammar.ts";
import { findProgram, workingDirectory } from "./program.ts";
import { type BootedRemotes, bootRemotes } from "./remote-machines.ts";
import { checkFree, servePool } from "./serve/front.ts";
import { type ServeSettings, serveOptions, serveSettingsOf } from "./serve/options.ts";
import { Reporter } from "./serve/reporter.ts";
import { say, status } from "./status.ts";

const standardError = 2;

/** Who listens inside a machine needs no permission, and is not to take the address that the host serves on. */
function insideOnly(permissions: ServeSettings["permissions"]): ServeSettings["permissions"] {
  return permissions === "all" ? permissions : { ...permissions, listen: false };
}

function boot(
  program: string,
  argv: readonly string[],
  settings: ServeSettings & { booted: BootedRemotes },
  reporter: Reporter,
): Promise<Pool> {
  return isolate({
    program,
    argv0: argv[0] as string,
    args: argv.slice(1),
    env: settings.env,
    cwd: workingDirectory(settings),
    volumes: settings.volumes,
    memory: settings.memory,
    permissions: insideOnly(settings.permissions),
    verbose: settings.verbose,
    // Standard output is for the lines of JSON then.
    stdout: settings.json ? standardError : "inherit",
    stderr: "inherit",
    timeout: settings.requestTimeout,
    cpuTimeout: settings.cpuTimeout,
    reset: settings.reset,
    resetLimit: settings.resetLimit,
    forks: settings.forks,
    warmup: settings.warmup,
    jail: settings.jail,
    per: settings.per,
    remotes: settings.booted.options,
    onRequest: (report) => reporter.request(report),
  });
}

/** The exit status of a program that never came to serve; `undefined` for any other error. */
function statusOfEnded(error: unknown): number | undefined {
  if (PristineError.is(error, "GUEST_EXIT")) return error.details.exitCode || status.failed;
  if (PristineError.is(error, "GUEST_FAULT")) return 128 + signalByName(error.details.signal);
  return undefined;
}

export async function serve(words: readonly string[]): Promise<number> {
  const { options, rest: argv } = split(words, serveOptions);
  if (options.has("help")) return (await import("./help.ts")).help("serve");
  const settings = serveSettingsOf(options);
  const program = findProgram("serve", argv);
  checkFree(settings.address);
  using booted = await bootRemotes({ ...settings, permissions: insideOnly(settings.permissions) });
  using reporter = new Reporter(settings);
  const began = performance.now();
  // While it boots there is nothing to drain.
  const leave = (signal: NodeJS.Signals) => process.exit(128 + signalByName(signal));
  process.on("SIGINT", leave).on("SIGTERM", leave);
  let pool: Pool;
  try {
    pool = await boot(program, argv, { ...settings, booted }, reporter);
  } catch (error) {
    const ended = statusOfEnded(error);
    if (ended === undefined) throw error;
    say((error as PristineError).message, (error as PristineError).hint);
    return ended;
  } finally {
    process.off("SIGINT", leave).off("SIGTERM", leave);
  }
  try {
    return await servePool(pool, settings, reporter, began);
  } finally {
    pool.close();
  }
}
