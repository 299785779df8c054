/** Debian's packages that the cases need; `packages.txt` is the one list of them, which CI installs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export function packages(): string[] {
  return readFileSync(join(import.meta.dir, "packages.txt"), "utf8")
    .trim()
    .split("\n");
}

/** Debian's version of each package that is installed. */
export function versions(): Map<string, string> {
  const done = Bun.spawnSync(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", ...packages()], { stderr: "ignore" });
  return new Map(
    done.stdout
      .toString()
      .trim()
      .split("\n")
      .map((line) => line.split(" ", 2) as [string, string]),
  );
}
