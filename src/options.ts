/** Checks of what callers give, and its translation for the core. Every bad value is `BAD_OPTION` naming the option. */
import { badOption } from "./errors.ts";
import { limits } from "./ffi/table.ts";
import type { Permissions, Size, Volume } from "./types.ts";

const units: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes of a size: a whole number, or text such as `"512MiB"`. */
export function parseSize(size: Size, option: string): number {
  if (typeof size === "number") {
    if (Number.isFinite(size) && size >= 0) return Math.floor(size);
  } else {
    const match = /^(\d+(?:\.\d+)?)(K|M|G|KiB|MiB|GiB)?$/.exec(size);
    if (match) return Math.floor(Number(match[1]) * (units[match[2] ?? ""] as number));
  }
  throw badOption(option, `${JSON.stringify(size)} is not a size`, `give \`${option}\` as bytes or as text like "512MiB"`);
}

/** A machine's memory ceiling in bytes. */
export function parseMemory(size: Size | undefined): number {
  if (size === undefined) return limits.memory_default_bytes;
  const bytes = parseSize(size, "memory");
  if (bytes >= limits.memory_min_bytes && bytes <= limits.memory_max_bytes) return bytes;
  throw badOption("memory", `a machine cannot have ${bytes} bytes of memory`, 'give `memory` (--memory) a size from "256KiB" to "1024GiB"');
}

/** A fork's memory ceiling in bytes; the core knows the least it must be. */
export function parseForkMemory(size: Size): number {
  return parseSize(size, "memory");
}

/** Milliseconds of a limit; `Infinity` is none. */
export function parseTimeout(milliseconds: number | undefined, option: string, fallback: number): number {
  if (milliseconds === undefined) return fallback;
  if (typeof milliseconds === "number" && milliseconds >= 0) return milliseconds;
  throw badOption(option, `${milliseconds} is not a number of milliseconds`, `give \`${option}\` as milliseconds, or Infinity`);
}

/** A list of things that are granted, or all of them. */
export interface Grant {
  all: boolean;
  paths: string[];
}

function grant(value: boolean | readonly string[] | undefined, option: string): Grant {
  if (value === undefined || value === false) return { all: false, paths: [] };
  if (value === true) return { all: true, paths: [] };
  if (!Array.isArray(value) || value.some((entry) => typeof entry !== "string" || entry === "" || entry.includes("\0"))) {
    throw badOption(
      `permissions.${option}`,
      "a permission is a boolean or a list of texts",
      `give \`permissions.${option}\` as true or as a list such as ["/usr"]`,
    );
  }
  return { all: false, paths: [...value] };
}

const kinds = ["read", "write", "connect", "listen"] as const;
type Grants = Record<(typeof kinds)[number], Grant>;

/** Permissions as the core wants them. */
export interface CorePermissions extends Grants {
  deny: Grants;
}

function grants(permissions: Omit<Permissions, "deny">, prefix: string): Grants {
  return Object.fromEntries(kinds.map((kind) => [kind, grant(permissions[kind], prefix + kind)])) as Grants;
}

export function parsePermissions(permissions: Permissions | "all" | undefined): CorePermissions {
  const given: Permissions =
    permissions === "all" ? { read: true, write: true, env: true, connect: true, listen: true } : (permissions ?? {});
  if (typeof given !== "object" || given === null) {
    throw badOption("permissions", 'permissions are an object or "all"', 'give `permissions` as { read: ["/usr"] } or "all"');
  }
  return { ...grants(given, ""), deny: grants(given.deny ?? {}, "deny.") };
}

/** Whether a name fits a pattern in which `*` stands for any text. */
function fits(name: string, pattern: string): boolean {
  const expression = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${expression.join(".*")}$`).test(name);
}

function allowsName(rule: boolean | readonly string[] | undefined, name: string): boolean {
  if (rule === undefined || typeof rule === "boolean") return rule === true;
  return rule.some((pattern) => fits(name, pattern));
}

/** The guest's environment: what is permitted of this process's, then what is given. */
export function guestEnvironment(
  permissions: Permissions | "all" | undefined,
  given: Record<string, string | undefined> | undefined,
): string[] {
  const rules: Permissions = permissions === "all" ? { env: true } : (permissions ?? {});
  const result = new Map<string, string>();
  if (rules.env) {
    for (const [name, value] of Object.entries(process.env)) {
      if (value !== undefined && allowsName(rules.env, name) && !allowsName(rules.deny?.env, name)) result.set(name, value);
    }
  }
  for (const [name, value] of Object.entries(given ?? {})) {
    if (name === "" || name.includes("=") || name.includes("\0") || value?.includes("\0")) {
      throw badOption("env", `${JSON.stringify(name)} cannot be an environment variable`, "names have no = and no NUL, values no NUL");
    }
    if (value === undefined) result.delete(name);
    else result.set(name, value);
  }
  return [...result].map(([name, value]) => `${name}=${value}`);
}

/** Arguments as the guest gets them. */
export function parseArguments(args: readonly string[] | undefined): string[] {
  return (args ?? []).map((argument) => {
    if (typeof argument === "string" && !argument.includes("\0")) return argument;
    throw badOption("args", "an argument is not a text without NUL", "give `args` as a list of strings");
  });
}

export function parseVolumes(volumes: readonly Volume[] | undefined): { host: string; guest: string; write: boolean; fd: number }[] {
  if (volumes !== undefined && !Array.isArray(volumes))
    throw badOption("volumes", "`volumes` is no array", 'give an array such as [{ host: "/srv/data", guest: "/data" }]');
  return (volumes ?? []).map((volume) => {
    const { host, guest, write, fd = -1 } = volume ?? {};
    if (typeof host !== "string" || typeof guest !== "string")
      throw badOption("volumes", "a volume has no `host` or no `guest`", 'give both, such as { host: "/srv/data", guest: "/data" }');
    if (host.startsWith("/") && guest.startsWith("/")) return { host, guest, write: write === true, fd };
    throw badOption("volumes", `the volume ${host}:${guest} has a relative path`, "give absolute paths for host and guest");
  });
}
