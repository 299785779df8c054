/** Debian's packages that the tests of real programs need; `packages.txt` is the one list of them, which CI installs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runtimeCases } from "../runtimes/cases.ts";
import { clientPackages, servers } from "../servers/server.ts";
import { cases } from "./cases.ts";

/** npm's, which `npm ci` installs. */
const fromNpm = ["bun", "deno", "esbuild"];
/** What compiles the programs of `default-jre-headless`. */
const compilers = ["default-jdk-headless"];
const suites = ["libpython3.11-testsuite"];

/** What the tests need, sorted. */
export function needed(): string[] {
  const all = [...[...cases, ...runtimeCases, ...servers].map((entry) => entry.package), ...clientPackages, ...compilers, ...suites];
  return [...new Set(all)].filter((name) => !fromNpm.includes(name)).sort();
}

export function packages(): string[] {
  return readFileSync(join(import.meta.dir, "packages.txt"), "utf8")
    .trim()
    .split("\n");
}

/** Debian's or npm's version of each package that is installed. */
export function versions(): Map<string, string> {
  const done = Bun.spawnSync(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", ...packages()], { stderr: "ignore" });
  const npm = JSON.parse(readFileSync(join(import.meta.dir, "../../package.json"), "utf8")).devDependencies as Record<string, string>;
  const debian = done.stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => line.split(" ", 2) as [string, string]);
  return new Map([...debian, ["deno", npm["@deno/linux-x64-glibc"] ?? ""], ["bun", npm.bun ?? ""], ["esbuild", npm.esbuild ?? ""]]);
}
