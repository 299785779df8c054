/** The program of a command: its file, and the folder that it starts in. */
import { PristineError } from "../errors.ts";
import { path } from "../lazy.ts";
import type { Permissions } from "../types.ts";
import { UsageError } from "./grammar.ts";
import type { RunSettings } from "./options.ts";

/** The file of the program that a command's words name: a path, or a name on PATH. @throws UsageError, `NOT_FOUND` */
export function findProgram(command: string, [name]: readonly string[]): string {
  if (name === undefined) throw new UsageError("no program is given", `pristine ${command} [options] PROGRAM [ARGUMENT…]`);
  if (name.startsWith("/")) return name;
  if (name.includes("/")) return path().resolve(name);
  const found = Bun.which(name);
  if (found) return found;
  throw new PristineError("NOT_FOUND", `${name}: not found on PATH`, "give a path, such as ./program", { path: name });
}

function readsEverywhere(permissions: Permissions | "all"): boolean {
  return permissions === "all" || permissions.read === true;
}

/** The guest's working directory: what is asked for, else the caller's if it may be read, else the root. */
export function workingDirectory(settings: RunSettings): string {
  if (settings.cwd !== undefined) return path().resolve(settings.cwd);
  const here = process.cwd();
  const { permissions } = settings;
  if (readsEverywhere(permissions)) return here;
  const readable = (permissions as Permissions).read;
  const covered =
    Array.isArray(readable) && readable.some((folder) => here === folder || here.startsWith(folder === "/" ? "/" : `${folder}/`));
  return covered ? here : "/";
}
