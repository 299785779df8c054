/** `pristine resume` and `record`: go on from a saved snapshot; a server's serves. */
import { dirname } from "node:path";
import { fs } from "../lazy.ts";
import { Pool } from "../pool.ts";
import { inspectSnapshot } from "../saved.ts";
import { Snapshot } from "../snapshot.ts";
import { type Given, type OptionSpec, split, UsageError } from "./grammar.ts";
import { bootRemotes } from "./remote-machines.ts";
import { goOn } from "./run.ts";
import { checkFree, servePool } from "./serve/front.ts";
import { type ServeSettings, serveOptions, serveSettingsOf } from "./serve/options.ts";
import { Reporter } from "./serve/reporter.ts";
import { choice } from "./values.ts";

/** The machine was booted long ago; its snapshot is in this process. */
const notResumed = ["env", "env-file", "cwd", "warmup", "jail", "allow-env", "deny-env"];

const sharedOptions: readonly OptionSpec[] = [
  ...serveOptions.filter(({ name }) => !notResumed.includes(name)),
  { name: "deny-listen", arity: "optional", repeats: true },
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

/** The words of both: the settings, and the file. */
function parse(command: "resume" | "record", given: Given, rest: readonly string[]): { settings: ServeSettings; file: string } {
  const settings = serveSettingsOf(given);
  const [file, more] = rest;
  if (file === undefined) throw new UsageError("no snapshot is given", `pristine ${command} [options] FILE`);
  if (more !== undefined) throw new UsageError(`${more} is one word too many`, "the program has its arguments already");
  return { settings, file };
}

/** Serves, or runs the program to its end; the exit status. */
async function use(image: Snapshot, settings: ServeSettings, began: number): Promise<number> {
  const { permissions } = settings;
  // A server's address is served on by this process.
  const isServed = image.serving !== undefined && permissions !== "all";
  using booted = await bootRemotes(isServed ? { ...settings, permissions: { ...permissions, listen: false } } : settings);
  booted.connectTo(image);
  if (image.serving) return await serveImage(image, settings, began);
  const { timeout, cpuTimeout, memory } = settings;
  using fork = image.fork({ timeout, cpuTimeout, memory });
  return await goOn(fork, settings);
}

export async function resume(words: readonly string[]): Promise<number> {
  const { options, rest } = split(words, [...sharedOptions, { name: "verify", arity: "required" }]);
  if (options.has("help")) return (await import("./help.ts")).help("resume");
  const { settings, file } = parse("resume", options, rest);
  const verify = choice(options, "verify", ["lazy", "full", "trusted"] as const) ?? "lazy";
  const began = performance.now();
  const { permissions, volumes, verbose } = settings;
  using image = await Snapshot.open(file, { permissions, volumes, verbose, verify });
  return await use(image, settings, began);
}

/** Told before anything is recorded that could not be written. */
function checkWritable(file: string): void {
  const folder = dirname(file);
  try {
    fs().accessSync(folder, fs().constants.W_OK);
  } catch {
    throw new UsageError(`${file} cannot be written back`, `its folder ${folder} is not there, or is not yours to write to; record a copy`);
  }
}

/** Goes on as `resume` does, and writes back which pages were used. */
export async function record(words: readonly string[]): Promise<number> {
  const { options, rest } = split(words, sharedOptions);
  if (options.has("help")) return (await import("./help.ts")).help("record");
  const { settings, file } = parse("record", options, rest);
  if (file.startsWith("s3://")) throw new UsageError(`${file} cannot be written back`, "record a file, and put that into the storage");
  checkWritable(file);
  // A link stays one.
  const target = fs().existsSync(file) ? fs().realpathSync(file) : file;
  const began = performance.now();
  const { permissions, volumes, verbose } = settings;
  using image = await Snapshot.open(file, { permissions, volumes, verbose, record: true });
  const status = await use(image, settings, began);
  await image.save(target, { user: image.user });
  if (!settings.quiet) console.error(`pristine: ${recordedLine(file)}`);
  return status;
}

/** What a recording came to. */
export function recordedLine(file: string): string {
  const { pages, hotPages } = inspectSnapshot(file).memory;
  return `${file} has the ${hotPages} pages first that were used, of ${pages}`;
}
