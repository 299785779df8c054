/**
 * Nothing of a request is there in the next one: handlers in each runtime that is installed, and an ordinary server, try to keep
 * something in every way they know. Within one request they do find it.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isolate, type Pool, type PristineError } from "../src/index.ts";
import { paths } from "./runtimes/cases.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
setDefaultTimeout(emulated ? 900_000 : 120_000);
const rounds = 4;
const timeout = emulated ? 120_000 : 10_000;
const files = join(import.meta.dir, "isolation");
const python = "/usr/bin/python3.11";
const systemFolders = ["/usr", "/lib", "/lib64", "/etc"];

const isolated = [
  { name: "bun", path: process.execPath },
  { name: "deno", path: paths.deno },
  { name: "node", path: paths.node },
  { name: "wsgiref", path: python },
] as const;

type Name = (typeof isolated)[number]["name"];

function poolOf(name: Name, path: string, warmup: number): Promise<Pool> {
  // So that a failure says what it was.
  const onError = (error: PristineError) => Response.json(`${error.message} ${JSON.stringify(error.details)}`, { status: 500 });
  const shared = { forks: 1, timeout, warmup, permissions: {}, onError };
  if (name === "wsgiref") {
    const permissions = { read: [...systemFolders, files] };
    return isolate({
      ...shared,
      program: path,
      args: [join(files, "app.py")],
      permissions,
      env: { PYTHONDONTWRITEBYTECODE: "1", LC_ALL: "C.UTF-8" },
    });
  }
  // For an answer of a worker that should not be there.
  const env = { PATIENCE_MS: emulated ? "2000" : "20" };
  return isolate(join(files, "handler.ts"), { ...shared, env, runtime: name === "deno" ? { path } : name });
}

/** What each attempt finds if the machine has never run one. */
const clean: Record<string, unknown> = {
  ...{ "a module's variable": 0, "a module's list": 1, "a module's map": [0], "a private field": 0, "a global": "none" },
  ...{ "a global that was deleted": "function", "a prototype": "none", "a replaced builtin": "map", "JSON.stringify": "stringify" },
  ...{ "the handler's own name for Math.random": false, "the modules' cache": [0, 0], "a property of a builtin module": "none" },
  ...{
    "the environment": "none",
    "the working directory": "/",
    "the listeners of the process": 0,
    "a file": "ENOENT",
    "a folder": "ENOENT",
  },
  ...{ "WebAssembly's memory": [65536, 0], "shared memory": 0, "a timer": 0, "a promise that is pending": "none" },
  ...{ "a server": ["nobody", "still here"], "a worker": "nobody" },
};
const cleanPython: Record<string, unknown> = {
  ...{ "a variable": 1, "a dictionary": 0, "a class": 1, default: 1, "a builtin": "len", "a module": false, "the environment": null },
  ...{ "the working directory": "/", "a file": 2, "a thread": [0, 1], "a server": ["nobody", "still here"], "the recursion limit": 1000 },
  ...{ "the umask": 0o022, "a thread local": null },
};
/** Attempts of which it is not known what they find, but always the same. */
const constant = new Set(["an open file", "a path", "a seed"]);

for (const { name, path } of isolated) {
  const missing = existsSync(path) ? "" : ` (${path} is not there)`;
  describe.skipIf(missing !== "")(`${name}${missing}`, () => {
    const expected = name === "wsgiref" ? cleanPython : clean;
    let pool: Pool;
    beforeAll(async () => {
      pool = await poolOf(name, path, 5);
    });
    afterAll(() => pool?.stop());
    const ask = async (attempt: string, query = "") => {
      const response = await pool.fetch(new Request(`http://127.0.0.1/${encodeURIComponent(attempt)}${query}`));
      return [response.status, await response.json().catch(() => "no JSON")];
    };

    test("makes all the attempts that are expected here", async () => {
      const [, names] = await ask("");
      expect((names as string[]).filter((attempt) => !constant.has(attempt)).sort()).toEqual(Object.keys(expected).sort());
    });

    test.each(Object.entries(expected))("keeps nothing in %s", async (attempt, found) => {
      for (let round = 0; round < rounds; round++) expect(await ask(attempt)).toEqual([200, found]);
      const [status, foundAgain] = await ask(attempt, "?twice");
      expect(status).toBe(200);
      expect(foundAgain).not.toEqual(found);
    });

    test.each([...constant])("keeps nothing in %s", async (attempt) => {
      if (!((await ask(""))[1] as string[]).includes(attempt)) return;
      const first = await ask(attempt);
      expect(first[0]).toBe(200);
      for (let round = 1; round < rounds; round++) expect(await ask(attempt)).toEqual(first);
    });
  });
}
