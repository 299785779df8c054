/**
 * The command line's own grammar: options end at the first word that does not start with `-`, or at `--`; everything after
 * that is the program's. Optional values are given with `=` only, required ones with `=` or as the next word.
 */

import { fs } from "../lazy.ts";

/** What follows an option's name. */
export type Arity = "none" | "optional" | "required";

export interface OptionSpec {
  readonly name: string;
  readonly arity: Arity;
  readonly short?: string;
  /** May be given several times. */
  readonly repeats?: boolean;
}

/** A misuse of the command line; printed as `pristine: <message> (<hint>)`. */
export class UsageError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** An option as it was given: `true` without a value. */
export type Given = ReadonlyMap<string, readonly (string | true)[]>;

export interface Split {
  readonly options: Given;
  /** The program and its arguments, untouched. */
  readonly rest: readonly string[];
}

/** Number of single-letter edits between two words. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** The word most like `wanted`, if any is like it at all. */
export function nearest(wanted: string, words: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(wanted.length / 3));
  const [best] = words.map((word) => ({ word, edits: distance(wanted, word) })).sort((x, y) => x.edits - y.edits);
  return best && best.edits <= limit ? best.word : undefined;
}

function unknown(word: string, specs: readonly OptionSpec[]): UsageError {
  const name = word.replace(/^-+/, "").replace(/=.*$/s, "");
  const like = nearest(
    name,
    specs.map((spec) => spec.name),
  );
  return new UsageError(`there is no option ${word.replace(/=.*$/s, "")}`, like ? `did you mean --${like}?` : "see `pristine help`");
}

/** Splits words into options and the rest. */
export function split(words: readonly string[], specs: readonly OptionSpec[]): Split {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const byShort = new Map(specs.flatMap((spec) => (spec.short ? [[spec.short, spec] as const] : [])));
  const options = new Map<string, (string | true)[]>();
  let lastBare: OptionSpec | undefined;
  let index = 0;
  while (index < words.length) {
    const word = words[index] as string;
    if (word === "--") return { options, rest: words.slice(index + 1) };
    if (!word.startsWith("-") || word === "-") break;
    index++;
    const long = /^--([^=]+)(?:=(.*))?$/s.exec(word);
    const short = /^-([A-Za-z])(?:=?(.+))?$/s.exec(word);
    const spec = long ? byName.get(long[1] as string) : short ? byShort.get(short[1] as string) : undefined;
    if (!spec) throw unknown(word, specs);
    let value: string | true | undefined = long ? long[2] : short?.[2];
    if (spec.arity === "none") {
      if (value !== undefined) throw new UsageError(`--${spec.name} takes no value`, `give just --${spec.name}`);
      value = true;
    } else if (spec.arity === "optional") value ??= true;
    else if (value === undefined) {
      if (index >= words.length) throw new UsageError(`--${spec.name} needs a value`, `give --${spec.name}=VALUE`);
      value = words[index++] as string;
    }
    const before = options.get(spec.name);
    if (before && !spec.repeats) throw new UsageError(`--${spec.name} is given twice`, "give it once");
    options.set(spec.name, [...(before ?? []), value]);
    lastBare = value === true && spec.arity === "optional" ? spec : undefined;
  }
  const rest = words.slice(index);
  // `--allow-read /usr prog` would make a folder the program; nobody means that.
  if (lastBare && rest.length > 1 && rest[0]?.startsWith("/") && isFolder(rest[0])) {
    throw new UsageError(`${rest[0]} is a folder, not a program`, `did you mean --${lastBare.name}=${rest[0]}?`);
  }
  return { options, rest };
}

function isFolder(path: string): boolean {
  return fs().statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration with a unit. */
export function parseDuration(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (!match) throw new UsageError(`${text} is not a duration`, `give --${option} with a unit: 500ms, 5s, 1m`);
  return Number(match[1]) * (durationUnits[match[2] as string] as number);
}

/** A list in one value: `a,b`. */
export function parseList(text: string): string[] {
  return text.split(",").filter((part) => part !== "");
}
