/** What `--remote` means: programs whose functions the main program calls. */
import type { ConnectOptions } from "../types.ts";
import { type Given, nearest, UsageError } from "./grammar.ts";

type Mode = NonNullable<ConnectOptions["mode"]>;
const modes: readonly Mode[] = ["shared", "fork", "pool"];
const form = "give --remote NAME=PROGRAM, or NAME=PROGRAM,fork or ,pool";
/** Behind the mode, or instead of it. */
const exitlessWord = "exitless";

/** One `--remote`. */
export interface WantedRemote {
  readonly name: string;
  readonly program: string;
  readonly mode: Mode;
  readonly exitless: boolean;
}

function parse(value: string): WantedRemote {
  const [, name = "", program = "", words] = /^([^=]*)=(.*?)(?:,([a-z]*(?:,exitless)?))?$/s.exec(value) ?? [];
  const [first, second] = words?.split(",") ?? [];
  const exitless = first === exitlessWord || second === exitlessWord;
  const mode = first === undefined || first === exitlessWord ? "shared" : first;
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name))
    throw new UsageError(`--remote=${value} has no name of 1 to 64 letters, digits, ".", "_" or "-" before its "="`, form);
  if (program === "") throw new UsageError(`--remote=${value} names no program`, form);
  if (!modes.includes(mode as Mode)) {
    const known = [...modes, exitlessWord];
    const like = nearest(mode, known);
    throw new UsageError(
      `--remote=${value} is not connected by "${mode}"`,
      like ? `did you mean ${like}?` : `give one of ${known.join(", ")}`,
    );
  }
  return { name, program, mode: mode as Mode, exitless };
}

export function remotesOf(given: Given): WantedRemote[] {
  const wanted = ((given.get("remote") ?? []) as string[]).map(parse);
  const twice = wanted.find(({ name }, index) => wanted.findIndex((other) => other.name === name) < index);
  if (twice) throw new UsageError(`--remote ${twice.name} is given twice`, "give each remote a name of its own");
  if (wanted.length > 0 && given.has("jail"))
    throw new UsageError("--remote and --jail do not go together in this version", "run without --jail");
  return wanted;
}
