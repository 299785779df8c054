/** What a jail came to, in words. */
import type { JailOption, JailPart } from "../types.ts";
import { type Given, UsageError } from "./grammar.ts";

export function jailOf(given: Given): JailOption {
  const value = given.get("jail")?.[0];
  if (value === undefined || value === true) return value === true;
  if (value === "strict") return value;
  throw new UsageError(`--jail is not ${value}`, "give --jail, or --jail=strict to run with all of it or not at all");
}

const told = ({ part, detail }: JailPart) => (detail ? `${part} (${detail})` : part);

/** One line: what there is, and what the host did not permit. */
export function jailLine(parts: readonly JailPart[]): string {
  const there = parts.filter(({ done }) => done).map(told);
  const missing = parts.filter(({ done }) => !done).map(told);
  return `jail: ${there.join(", ")}${missing.length > 0 ? `; not permitted here: ${missing.join(", ")}` : ""}`;
}

export function isWhole(parts: readonly JailPart[]): boolean {
  return parts.every(({ done }) => done);
}
