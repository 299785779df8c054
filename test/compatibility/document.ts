/** docs/compatibility.md, made from the cases, the servers, and the last run of Python's own tests. */
import { join } from "node:path";
import { type Server, servers } from "../servers/server.ts";
import { type ModuleResult, pythonResults } from "../suites/results.ts";
import type { Case } from "./case.ts";

export const documentPath = join(import.meta.dir, "../../docs/compatibility.md");

const intro = `# Compatibility

\`\`\`sh
bun test test/compatibility test/runtimes test/servers   # runs what this page lists, but for Python's own tests
bun scripts/compatibility.ts                             # runs it, and writes this page
bun scripts/python-suite.ts                              # runs Python's own tests, which takes hours
\`\`\`

Each command below is a real program of Debian 12 or npm. It runs natively and in a machine, from the same folder with the same
variables, and must print the same bytes to standard output and standard error, end with the same status or signal, and leave
the same files behind. Nothing of it is stubbed, and no program is treated in a way of its own.
`;

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", "↵");
}

function code(text: string): string {
  return text.includes("`") ? `\`\` ${cell(text)} \`\`` : `\`${cell(text)}\``;
}

function byPackage(cases: readonly Case[]): [string, Case[]][] {
  const groups = Map.groupBy(cases, (entry) => entry.package);
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

function serverSection(all: readonly Server[]): string {
  const rows = all.map(({ name, package: from, exits }) => `| ${name} | ${from} | ${exits.kept ?? "closes it"} | ${exits.connection} |`);
  return `## Servers

Each answers the same requests with the same bytes as a native process of it (but for the date), and does so again from every
reset of a fork of its warm image. Exits are ceilings that a test holds for the lower quartile of requests (others have a part
of a collection of garbage in them). Redis and \`redis-cli\`, nginx and \`curl\` are tried with either side in a machine.

| server | package | exits of a request on a kept connection | and of one on its own |
|---|---|---|---|
${rows.join("\n")}
`;
}

function pythonSection(results: readonly ModuleResult[]): string {
  if (results.length === 0) return "";
  const sum = (pick: (result: ModuleResult) => number) => results.reduce((total, result) => total + pick(result), 0);
  const differing = results.filter((result) => result.here < result.native);
  const reasons = (result: ModuleResult) =>
    Object.entries(result.reasons)
      .sort(([, a], [, b]) => b - a)
      .map(([reason, count]) => `${count}: ${cell(reason)}`)
      .join("; ");
  const rows = differing.map((result) => `| ${result.module} | ${result.native} | ${result.here} | ${reasons(result)} |`);
  return `## Python's own tests

\`libpython3.11-testsuite\`, without resources (\`-u none\`): of ${sum((result) => result.native)} tests in ${results.length} modules that pass natively
${sum((result) => result.here)} pass in a machine. In ${results.length - differing.length} modules all of them do. Modules that take a minute natively are left out, and so
are those of which nothing passes. "Processes" are what a machine does not have; a module or class that needs them at its start did
not run, or waits for them until its time is over. The others:

| module | natively | here | why |
|---|---|---|---|
${rows.join("\n")}
`;
}

/** The page; `versions` has Debian's version of each package. */
export function render(cases: readonly Case[], versions: ReadonlyMap<string, string>): string {
  const groups = byPackage(cases);
  const differing = cases.filter((entry) => entry.difference !== undefined);
  const rows = groups.map(([name, entries]) => {
    const same = entries.filter((entry) => entry.difference === undefined);
    const list = same.map((entry) => code(entry.name)).join(" · ");
    return `| ${name} | ${versions.get(name) ?? ""} | ${same.length} of ${entries.length} | ${list} |`;
  });
  const differences = differing.map((entry) => `| ${entry.package} | ${code(entry.name)} | ${cell(entry.difference as string)} |`);
  return `${intro}
${cases.length} commands of ${groups.length} packages; ${cases.length - differing.length} do the same in a machine, ${differing.length} do not.

## What differs, and why

| package | command | reason |
|---|---|---|
${differences.join("\n")}

## What was run

| package | version | the same | commands |
|---|---|---|---|
${rows.join("\n")}

${serverSection(servers)}
${pythonSection(pythonResults())}`;
}

/** The page without versions, which change with Debian's updates. */
export function withoutVersions(page: string): string {
  return page.replace(/^(\| [^|]+ \|) [^|]* (\| \d+ of \d+ \|)/gm, "$1 $2");
}
