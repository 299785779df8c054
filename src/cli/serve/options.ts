/** What the options of `pristine serve` mean. */
import { parseSize } from "../../options.ts";
import type { ResetMode, Size } from "../../types.ts";
import type { Given, OptionSpec } from "../grammar.ts";
import { type RunSettings, runOptions, settingsOf } from "../options.ts";
import { choice, count, text } from "../values.ts";
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
