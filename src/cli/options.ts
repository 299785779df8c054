/** What the options of `pristine run` mean. */
import { fs, path as paths } from "../lazy.ts";
import type { JailOption, Permissions, Size, Volume } from "../types.ts";
import { type Given, type OptionSpec, parseDuration, parseList, UsageError } from "./grammar.ts";
import { jailOf } from "./jail.ts";
import { remotesOf, type WantedRemote } from "./remotes.ts";

const grants = ["read", "write", "env", "connect", "listen", "net"] as const;

export const runOptions: readonly OptionSpec[] = [
  ...grants.flatMap((name) => [
    { name: `allow-${name}`, arity: "optional", repeats: true } as const,
    { name: `deny-${name}`, arity: "optional", repeats: true } as const,
  ]),
  { name: "allow-all", arity: "none", short: "A" },
  { name: "volume", arity: "required", short: "v", repeats: true },
  { name: "env", arity: "required", short: "e", repeats: true },
  { name: "env-file", arity: "required", repeats: true },
  { name: "cwd", arity: "required", short: "w" },
  { name: "memory", arity: "required" },
  { name: "timeout", arity: "required" },
  { name: "cpu-timeout", arity: "required" },
  { name: "jail", arity: "optional" },
  { name: "remote", arity: "required", repeats: true },
  { name: "gdb", arity: "required" },
  { name: "trace", arity: "optional" },
  { name: "quiet", arity: "none" },
  { name: "verbose", arity: "none" },
  { name: "help", arity: "none", short: "h" },
];

/** Options of the contract that this version does not have yet. */
const missing = ["gdb"];

export interface RunSettings {
  permissions: Permissions | "all";
  env: Record<string, string>;
  volumes: Volume[];
  cwd: string | undefined;
  memory: Size | undefined;
  timeout: number;
  cpuTimeout: number;
  /** `true`: to standard error. */
  trace: string | true | undefined;
  quiet: boolean;
  verbose: boolean;
  jail: JailOption;
  remotes: readonly WantedRemote[];
}

function one(given: Given, name: string): string | undefined {
  const value = given.get(name)?.[0];
  return typeof value === "string" ? value : undefined;
}

/** The union of all values of one grant: everything, a list, or nothing. */
function rule(given: Given, names: readonly string[], asPaths: boolean): boolean | string[] {
  const values = names.flatMap((name) => given.get(name) ?? []);
  if (values.includes(true)) return true;
  const list = values.flatMap((value) => parseList(value as string));
  return asPaths ? list.map((path) => paths().resolve(path)) : list;
}

function rules(given: Given, prefix: "allow" | "deny"): Omit<Permissions, "deny"> {
  return {
    read: rule(given, [`${prefix}-read`], true),
    write: rule(given, [`${prefix}-write`], true),
    env: rule(given, [`${prefix}-env`], false),
    connect: rule(given, [`${prefix}-connect`, `${prefix}-net`], false),
    listen: rule(given, [`${prefix}-listen`, `${prefix}-net`], false),
  };
}

function parseVolume(text: string): Volume {
  const match = /^([^:]+):([^:]+)(?::(ro|rw))?$/.exec(text);
  if (!match) throw new UsageError(`${text} is not a volume`, "give -v HOST:GUEST, HOST:GUEST:ro or HOST:GUEST:rw");
  return { host: paths().resolve(match[1] as string), guest: match[2] as string, write: match[3] === "rw" };
}

function readEnvironment(given: Given): Record<string, string> {
  const result: Record<string, string> = {};
  for (const file of given.get("env-file") ?? []) {
    let text: string;
    try {
      text = fs().readFileSync(file as string, "utf8");
    } catch {
      throw new UsageError(`${file} cannot be read`, "give --env-file a file with lines NAME=VALUE");
    }
    for (const line of text.split("\n")) {
      const match = /^\s*(?:export\s+)?([^#=\s]+)\s*=\s*(.*?)\s*$/.exec(line);
      if (match) result[match[1] as string] = (match[2] as string).replace(/^(["'])(.*)\1$/, "$2");
    }
  }
  for (const entry of (given.get("env") ?? []) as string[]) {
    const equals = entry.indexOf("=");
    const name = equals < 0 ? entry : entry.slice(0, equals);
    const value = equals < 0 ? process.env[name] : entry.slice(equals + 1);
    if (value !== undefined) result[name] = value;
  }
  return result;
}

export function settingsOf(given: Given): RunSettings {
  for (const name of missing) {
    if (given.has(name)) throw new UsageError(`--${name} is not in this version`, `run without --${name}`);
  }
  const timeout = one(given, "timeout");
  const cpuTimeout = one(given, "cpu-timeout");
  const trace = given.get("trace")?.[0];
  return {
    permissions: given.has("allow-all")
      ? { read: true, write: true, env: true, connect: true, listen: true, deny: rules(given, "deny") }
      : { ...rules(given, "allow"), deny: rules(given, "deny") },
    env: readEnvironment(given),
    volumes: ((given.get("volume") ?? []) as string[]).map(parseVolume),
    cwd: one(given, "cwd"),
    memory: one(given, "memory") as Size | undefined,
    timeout: timeout === undefined ? Number.POSITIVE_INFINITY : parseDuration(timeout, "timeout"),
    cpuTimeout: cpuTimeout === undefined ? Number.POSITIVE_INFINITY : parseDuration(cpuTimeout, "cpu-timeout"),
    trace,
    quiet: given.has("quiet"),
    verbose: given.has("verbose"),
    jail: jailOf(given),
    remotes: remotesOf(given),
  };
}
