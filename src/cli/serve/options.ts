/** What the options of `pristine serve` mean. */
import { parseSize } from "../../options.ts";
import type { ResetMode, Size } from "../../types.ts";
import { type Given, nearest, type OptionSpec, UsageError } from "../grammar.ts";
import { type RunSettings, runOptions, settingsOf } from "../options.ts";
import { parseAddress, type Wanted, wantedAddress } from "./address.ts";

/** Of `run`'s, those that make no sense for a server that is inside its machine. */
const notServed = ["deny-listen", "trace"];

export const serveOptions: readonly OptionSpec[] = [
  ...runOptions.filter(({ name }) => !notServed.includes(name)),
  { name: "forks", arity: "required" },
  { name: "warmup", arity: "required" },
  { name: "reset", arity: "required" },
  { name: "reset-limit", arity: "required" },
  { name: "per", arity: "required" },
  { name: "metrics", arity: "required" },
  { name: "json", arity: "none" },
];

export interface ServeSettings extends RunSettings {
  address: Wanted;
  metrics: Wanted | undefined;
  forks: number | undefined;
  warmup: number | undefined;
  /** Milliseconds for each request; `undefined` is the pool's own. */
  requestTimeout: number | undefined;
  per: "request" | "connection";
  reset: ResetMode | undefined;
  resetLimit: Size | undefined;
  json: boolean;
}

function text(given: Given, name: string): string | undefined {
  return given.get(name)?.[0] as string | undefined;
}

function count(given: Given, name: string, least: number): number | undefined {
  const value = text(given, name);
  if (value === undefined) return undefined;
  if (/^\d{1,6}$/.test(value) && Number(value) >= least) return Number(value);
  throw new UsageError(`${value} is not a number for --${name}`, `give --${name} a whole number of at least ${least}`);
}

function choice<T extends string>(given: Given, name: string, words: readonly T[]): T | undefined {
  const value = text(given, name);
  if (value === undefined || words.includes(value as T)) return value as T | undefined;
  const like = nearest(value, words);
  throw new UsageError(`--${name} is not ${value}`, like ? `did you mean ${like}?` : `give one of ${words.join(", ")}`);
}

/** Checked here, since forks are made only behind the boot. */
function size(given: Given, name: string): Size | undefined {
  const value = text(given, name) as Size | undefined;
  if (value !== undefined) parseSize(value, name);
  return value;
}

export function serveSettingsOf(given: Given): ServeSettings {
  const settings = settingsOf(given);
  const metrics = text(given, "metrics");
  return {
    ...settings,
    address: wantedAddress(given.get("allow-listen") ?? []),
    metrics: metrics === undefined ? undefined : parseAddress(metrics, "give --metrics HOST:PORT, such as 127.0.0.1:9090"),
    forks: count(given, "forks", 1),
    warmup: count(given, "warmup", 0),
    requestTimeout: given.has("timeout") ? settings.timeout : undefined,
    per: choice(given, "per", ["request", "connection"]) ?? "request",
    reset: choice(given, "reset", ["auto", "rewrite", "full"]),
    resetLimit: size(given, "reset-limit"),
    json: given.has("json"),
  };
}
