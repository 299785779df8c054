/** docs/compatibility.md, made from the cases and the versions that ran. */
import { join } from "node:path";
import type { Case } from "./case.ts";

export const documentPath = join(import.meta.dir, "../../docs/compatibility.md");

const intro = `# Compatibility

\`\`\`sh
bun test test/compatibility        # runs all of this
bun scripts/compatibility.ts       # runs it, and writes this page
\`\`\`

Each command below is a real program of Debian 12. It runs natively and in a machine, from the same folder with the same
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
`;
}

/** The page without versions, which change with Debian's updates. */
export function withoutVersions(page: string): string {
  return page.replace(/^(\| [^|]+ \|) [^|]* (\| \d+ of \d+ \|)/gm, "$1 $2");
}
