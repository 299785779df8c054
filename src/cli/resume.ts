/** `pristine resume`: goes on from a saved snapshot; a server's serves. */
import { Pool } from "../pool.ts";
import { Snapshot } from "../snapshot.ts";
import { type OptionSpec, split, UsageError } from "./grammar.ts";
import { goOn } from "./run.ts";
import { checkFree, servePool } from "./serve/front.ts";
import { type ServeSettings, serveOptions, serveSettingsOf } from "./serve/options.ts";
import { Reporter } from "./serve/reporter.ts";
import { choice } from "./values.ts";

/** The machine was booted long ago; its snapshot is in this process. */
const notResumed = ["env", "env-file", "cwd", "warmup", "jail", "allow-env", "deny-env"];

const resumeOptions: readonly OptionSpec[] = [
  ...serveOptions.filter(({ name }) => !notResumed.includes(name)),
  { name: "deny-listen", arity: "optional", repeats: true },
  { name: "verify", arity: "required" },
];

async function serveImage(image: Snapshot, settings: ServeSettings, began: number): Promise<number> {
  checkFree(settings.address);
  using reporter = new Reporter(settings);
  await using pool = new Pool(image, {
    ...{ timeout: settings.requestTimeout, cpuTimeout: settings.cpuTimeout, memory: settings.memory },
    ...{ resetLimit: settings.resetLimit, per: settings.per },
    ...(settings.reset === undefined ? {} : { reset: settings.reset }),
    ...(settings.forks === undefined ? {} : { forks: settings.forks }),
    onRequest: (report) => reporter.request(report),
  });
  return await servePool(pool, settings, reporter, began);
}

export async function resume(words: readonly string[]): Promise<number> {
  const { options, rest } = split(words, resumeOptions);
  if (options.has("help")) return (await import("./help.ts")).help("resume");
  const settings = serveSettingsOf(options);
  const [file, more] = rest;
  if (file === undefined) throw new UsageError("no snapshot is given", "pristine resume [options] FILE");
  if (more !== undefined) throw new UsageError(`${more} is one word too many`, "the program has its arguments already");
  const verify = choice(options, "verify", ["full", "trusted"] as const) ?? "full";
  const began = performance.now();
  const { permissions, volumes, verbose } = settings;
  using image = await Snapshot.open(file, { permissions, volumes, verbose, verify });
  if (image.serving) return await serveImage(image, settings, began);
  const { timeout, cpuTimeout, memory } = settings;
  using fork = image.fork({ timeout, cpuTimeout, memory });
  return await goOn(fork, settings);
}
