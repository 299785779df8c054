/** Exit statuses and messages of the command line. */
import { fs } from "../lazy.ts";

export const status = { timeout: 124, failed: 125, notExecutable: 126, notFound: 127, outOfMemory: 137 } as const;

/** A message on standard error: `pristine: <what> (<hint>)`. */
export function say(what: string, hint: string): void {
  try {
    fs().writeSync(2, hint === "" ? `pristine: ${what}\n` : `pristine: ${what} (${hint})\n`);
  } catch {
    // Standard error is gone: there is nobody to tell.
  }
}
