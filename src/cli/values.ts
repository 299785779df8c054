/** Values of options that are words or numbers. */
import { type Given, nearest, UsageError } from "./grammar.ts";

export function text(given: Given, name: string): string | undefined {
  return given.get(name)?.[0] as string | undefined;
}

export function count(given: Given, name: string, least: number): number | undefined {
  const value = text(given, name);
  if (value === undefined) return undefined;
  if (/^\d{1,6}$/.test(value) && Number(value) >= least) return Number(value);
  throw new UsageError(`${value} is not a number for --${name}`, `give --${name} a whole number of at least ${least}`);
}

export function choice<T extends string>(given: Given, name: string, words: readonly T[]): T | undefined {
  const value = text(given, name);
  if (value === undefined || words.includes(value as T)) return value as T | undefined;
  const like = nearest(value, words);
  throw new UsageError(`--${name} is not ${value}`, like ? `did you mean ${like}?` : `give one of ${words.join(", ")}`);
}
