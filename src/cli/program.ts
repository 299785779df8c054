/** The program of a command: its file, and the folder that it starts in. */
import { path } from "../lazy.ts";
import type { Permissions } from "../types.ts";
import type { RunSettings } from "./options.ts";

/** The file of a program as it was typed: a path, or a name on PATH. */
export function findProgram(name: string): string | undefined {
  if (!name.includes("/")) return Bun.which(name) ?? undefined;
  return name.startsWith("/") ? name : path().resolve(name);
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
