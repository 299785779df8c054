/** `pristine snapshot`: boots a program until it is ready and saves it to one file. */
import { endedEarly } from "../errors.ts";
import { check, core } from "../ffi/library.ts";
import { CpuBaseline } from "../ffi/table.ts";
import { serverImage } from "../isolate.ts";
import { fs } from "../lazy.ts";
import { Machine } from "../machine.ts";
import { Pool } from "../pool.ts";
import { Snapshot } from "../snapshot.ts";
import type { SaveOptions } from "../types.ts";
import { type OptionSpec, split, UsageError } from "./grammar.ts";
import { type RunSettings, runOptions, settingsOf } from "./options.ts";
import { findProgram, workingDirectory } from "./program.ts";
import { type BootedRemotes, bootRemotes } from "./remote-machines.ts";
import { recordedLine } from "./resume.ts";
import { choice, count, text } from "./values.ts";

/** A fork whose pages are recorded has a fault for each. */
const recordTimeoutMs = 60_000;
/** Levels of the psABI, as the core calls them. */
const baselineNames = {
  "x86-64": "x86_64",
  "x86-64-v2": "x86_64_v2",
  "x86-64-v3": "x86_64_v3",
  "x86-64-v4": "x86_64_v4",
} as const;
const baselines = Object.keys(baselineNames) as (keyof typeof baselineNames)[];
const points = ["listen", "ready", "exit"] as const;
type Point = (typeof points)[number];

/** A jail's machines are in processes of their own, from where they are not saved yet. */
const notSaved = ["trace", "jail", "deny-listen"];

const snapshotOptions: readonly OptionSpec[] = [
  ...runOptions.filter(({ name }) => !notSaved.includes(name)),
  { name: "output", arity: "required", short: "o" },
  { name: "ready", arity: "required" },
  { name: "warmup", arity: "required" },
  { name: "user", arity: "required" },
  { name: "copy-files", arity: "none" },
  { name: "record", arity: "required" },
  { name: "cpu-baseline", arity: "required" },
];

function readUser(file: string | undefined): Uint8Array {
  if (file === undefined) return new Uint8Array(0);
  try {
    return fs().readFileSync(file);
  } catch {
    throw new UsageError(`${file} cannot be read`, "give --user a file with the bytes to keep in the snapshot");
  }
}

type Settings = RunSettings & { readonly booted: BootedRemotes };

/** A server's snapshot waits for requests; any other program stands where it said that it is ready, or has ended. */
async function imageAt(point: Point, program: string, argv: readonly string[], settings: Settings, warmup?: number): Promise<Snapshot> {
  const shared = {
    ...{ argv0: argv[0] as string, args: argv.slice(1), env: settings.env, cwd: workingDirectory(settings) },
    ...{ memory: settings.memory, volumes: settings.volumes, verbose: settings.verbose, cpuTimeout: settings.cpuTimeout },
    ...{ permissions: settings.permissions, stdout: "inherit" as const, stderr: "inherit" as const },
    remotes: settings.booted.options,
  } as const;
  if (point === "listen") return serverImage({ ...shared, program, ...(warmup === undefined ? {} : { warmup }) });
  await using machine = await Machine.boot(program, { ...shared, stdin: "inherit", timeout: settings.timeout });
  const stop = await (point === "ready" ? machine.run({ until: "ready" }) : machine.run());
  const isThere = point === "ready" ? stop.reason === "ready" : stop.reason === "exit";
  if (!isThere)
    throw endedEarly(stop, {
      ...{ who: "the program", when: point === "ready" ? "before it said that it is ready" : "by a signal", report: machine.report() },
      hint: "a program says it by pristine_ready(); for a server give --ready listen, for one that has ended --ready exit",
    });
  return machine.freeze();
}

/** Sends requests for / to forks of what was saved, and saves it again with the pages first that they used. */
async function recordRequests(output: string, requests: number, save: SaveOptions, settings: Settings): Promise<void> {
  const { permissions, volumes, verbose } = settings;
  using image = await Snapshot.open(output, { permissions, volumes, verbose, record: true });
  settings.booted.connectTo(image);
  await using pool = new Pool(image, { forks: 1, warmup: 0, timeout: recordTimeoutMs });
  for (let left = requests; left > 0; left--) {
    const answer = await pool.fetch(new Request("http://localhost/"));
    await answer.arrayBuffer();
  }
  await image.save(output, save);
}

export async function snapshot(words: readonly string[]): Promise<number> {
  const { options, rest } = split(words, snapshotOptions);
  if (options.has("help")) return (await import("./help.ts")).help("snapshot");
  const settings = settingsOf(options);
  const output = text(options, "output");
  if (output === undefined) throw new UsageError("no file is given for the snapshot", "give -o FILE");
  const baseline = choice(options, "cpu-baseline", baselines);
  if (baseline !== undefined) check(core().pristine_cpu_baseline(CpuBaseline[baselineNames[baseline]]));
  const point = choice(options, "ready", points) ?? "listen";
  const warmup = count(options, "warmup", 0);
  const requests = count(options, "record", 1);
  if (requests !== undefined && point !== "listen")
    throw new UsageError("--record sends requests, which only a server answers", "leave it out, or give --ready listen");
  const save: SaveOptions = { user: readUser(text(options, "user")), files: options.has("copy-files") ? "copy" : "refer" };
  const program = findProgram("snapshot", rest);
  using booted = await bootRemotes(settings);
  using image = await imageAt(point, program, rest, { ...settings, booted }, warmup);
  await image.save(output, save);
  if (requests !== undefined) await recordRequests(output, requests, save, { ...settings, booted });
  if (!settings.quiet) console.error(`pristine: saved ${output}, ${(fs().statSync(output).size / 2 ** 20).toFixed(1)} MiB`);
  if (requests !== undefined && !settings.quiet) console.error(`pristine: ${recordedLine(output)}`);
  return 0;
}
