/** What the last run of Python's tests came to, module by module. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const resultsPath = join(import.meta.dir, "python-results.json");

export interface ModuleResult {
  readonly module: string;
  /** Tests that pass natively, and of those the ones that pass in a machine. */
  readonly native: number;
  readonly here: number;
  /** Why others do not, and how many. */
  readonly reasons: Readonly<Record<string, number>>;
  /** How the native run ended, if not by itself. */
  readonly nativeEnd?: string;
}

export function pythonResults(): ModuleResult[] {
  return existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, "utf8")) : [];
}
