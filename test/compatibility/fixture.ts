/** The folder that commands run in: the same bytes, modes and times whenever it is made. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** 2001-09-09T01:46:40Z, the time of every file. */
const fileTime = 1_000_000_000;

/** Bytes that look random and are always the same (Numerical Recipes' linear congruence). */
export function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 12345;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

const lines = Array.from({ length: 500 }, (_, index) => `${(index * 37) % 500} line number ${index} ${"abc".repeat(index % 5)}`);

const files: Record<string, string | Uint8Array> = {
  text: `${lines.join("\n")}\n`,
  other: `${lines.map((line) => line.replace("7", "seven")).join("\n")}\n`,
  large: `${Array.from({ length: 40_000 }, (_, index) => `${(index * 7919) % 40_009} row`).join("\n")}\n`,
  csv: "a,1\nb,22\nc,333\n",
  empty: "",
  "no-newline": "the last line does not end",
  unicode: "Grüße\nnaïve café\n日本語\n🙂 smile\n",
  noise: noise(5000),
  tabs: "one\ttwo\tthree\n1\t2\t3\n",
  "data.json": `${JSON.stringify({ name: "pristine", sizes: [1, 2, 3.5], nested: { yes: true, no: null }, text: "a\nb" })}\n`,
  "config.ini": "[server]\nhost = localhost\nport = 8080\n\n[client]\nretries = 3\n",
  "program.c": "#define ANSWER 42\n/* a comment */\nint answer(int x) { return x * ANSWER + (int)sizeof(long); }\n",
  "page.xml": '<?xml version="1.0"?>\n<list><item id="1">one</item><item id="2">two &amp; more</item></list>\n',
  "changes.diff": "--- csv\n+++ csv\n@@ -1,3 +1,3 @@\n a,1\n-b,22\n+b,23\n c,333\n",
  Makefile: "$(info made of $(words a b c) words)\nNAMES := $(sort c b a)\nall: ; @:\n$(info $(NAMES:%=<%>))\n",
  "folder/one": "one\n",
  "folder/inner/two": "two\n",
  "folder/inner/.hidden": "hidden\n",
  "many/placeholder": "",
  ...Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`many/file-${index}`, `${index}\n`])),
};

function setTimes(path: string): void {
  if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) setTimes(join(path, name));
  lutimesSync(path, fileTime, fileTime);
}

function git(folder: string, ...words: string[]): void {
  const done = Bun.spawnSync(["/usr/bin/git", ...words], {
    cwd: folder,
    env: {
      ...{ HOME: folder, PATH: "/usr/bin:/bin", GIT_CONFIG_NOSYSTEM: "1", GIT_CONFIG_GLOBAL: "/dev/null" },
      ...{ GIT_AUTHOR_NAME: "A U Thor", GIT_AUTHOR_EMAIL: "author@example.com", GIT_AUTHOR_DATE: `${fileTime} +0000` },
      ...{ GIT_COMMITTER_NAME: "C O Mitter", GIT_COMMITTER_EMAIL: "c@example.com", GIT_COMMITTER_DATE: `${fileTime} +0000` },
    },
    stderr: "pipe",
  });
  if (done.exitCode !== 0) throw new Error(`git ${words.join(" ")}: ${done.stderr.toString()}`);
}

/** A repository of three commits, a branch and a tag, with a change that is not committed. */
function makeRepository(folder: string): void {
  mkdirSync(folder);
  git(folder, "init", "-q", "-b", "main");
  for (const [index, text] of ["first\n", "first\nsecond\n", "first\nsecond\nthird\n"].entries()) {
    writeFileSync(join(folder, "notes"), text);
    writeFileSync(join(folder, `file-${index}`), `${index}\n`);
    git(folder, "add", ".");
    git(folder, "commit", "-q", "-m", `Change ${index}`);
    if (index === 1) git(folder, "tag", "v1");
  }
  git(folder, "branch", "side", "v1");
  writeFileSync(join(folder, "notes"), "first\nchanged\nthird\n");
  writeFileSync(join(folder, "new"), "not added\n");
}

/** Fills a folder that is not there yet. */
export function makeFixture(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  for (const name of ["programs", "scripts"]) cpSync(join(import.meta.dir, name), join(folder, name), { recursive: true });
  symlinkSync("folder/one", join(folder, "link"));
  symlinkSync("nothing-there", join(folder, "dangling"));
  chmodSync(join(folder, "folder/one"), 0o640);
  if (existsSync("/usr/bin/git")) makeRepository(join(folder, "repository"));
  setTimes(folder);
}

/** Folders of many files, which few commands need. */
const bulky = ["many", "repository", "programs"];

/** A copy for one command; it has the bulky folders that the command names. */
export function copyFixture(from: string, to: string, args: readonly string[]): void {
  const left = bulky.filter((name) => !args.some((arg) => arg.includes(name))).map((name) => join(from, name));
  const options = { recursive: true, preserveTimestamps: true, verbatimSymlinks: true };
  cpSync(from, to, { ...options, filter: (path) => !left.includes(path) });
  // Folders get the time at which they were copied.
  setTimes(to);
}

/** What is in a folder, by path: kind, mode, and the content's hash or the link's target. */
export function contents(folder: string, unstable: readonly string[] = []): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (path: string) => {
    for (const name of readdirSync(join(folder, path)).sort()) {
      const inner = path === "" ? name : `${path}/${name}`;
      const status = lstatSync(join(folder, inner));
      const mode = (status.mode & 0o7777).toString(8);
      if (status.isSymbolicLink()) found[inner] = `link to ${readlinkSync(join(folder, inner))}`;
      else if (status.isDirectory()) {
        found[inner] = `folder ${mode}`;
        visit(inner);
      } else if (!status.isFile()) found[inner] = `special ${mode}`;
      else if (unstable.includes(inner)) found[inner] = `file ${mode}`;
      else
        found[inner] = `file ${mode} ${createHash("sha256")
          .update(readFileSync(join(folder, inner)))
          .digest("hex")}`;
    }
  };
  visit("");
  return found;
}
