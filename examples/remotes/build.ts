/** Compiles the C programs of these examples with the Zig that builds the project, and bundles scripts. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const zig = join(root, "node_modules/.bin/zig");
const target = join(root, "zig-out/examples");
const flags = ["-O2", "-g0", "-std=gnu17", "-Wall", "-Wextra", "-fno-sanitize=all"];
/** A remote is position-independent; one file without libraries is best linked statically. */
const linked = {
  static: ["-target", "x86_64-linux-musl", "-static", "-fPIE", "-pie"],
  // With libraries of the host's, whose C library may be newer than the one that Zig knows.
  dynamic: ["-target", "x86_64-linux-gnu", "-Wl,--allow-shlib-undefined", "-fPIE", "-pie"],
};

/** Where Debian has SQLite's library; no headers are needed. */
export const sqliteLibrary = "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0";

async function compile(name: string, link: keyof typeof linked, libraries: readonly string[] = []): Promise<string> {
  mkdirSync(target, { recursive: true });
  const output = join(target, name);
  const words = ["cc", ...linked[link], ...flags, join(import.meta.dir, `${name}.c`), ...libraries, "-o", output];
  const child = Bun.spawn([zig, ...words], { stdout: "inherit", stderr: "pipe" });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`${name}.c could not be compiled: ${said}`);
  return output;
}

const compiled = new Map<string, Promise<string>>();

/** The path of a program of this folder, compiled once. */
export function program(name: string): Promise<string> {
  const made = compiled.get(name) ?? (name === "sqlite_remote" ? compile(name, "dynamic", [sqliteLibrary]) : compile(name, "static"));
  compiled.set(name, made);
  return made;
}

/** The path of a script of this folder as one file, with `pristine-vm/guest` in it. */
export async function script(name: string): Promise<string> {
  const { outputs } = await Bun.build({ entrypoints: [join(import.meta.dir, `${name}.ts`)], target: "node", format: "esm" });
  const output = join(target, `${name}.mjs`);
  await Bun.write(output, outputs[0] as Blob);
  return output;
}
