/** `--remote` of the command line: programs whose functions the main program calls. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program } from "../examples/remotes/build.ts";
import { freePort } from "./servers/harness.ts";

setDefaultTimeout(60_000);
const main = join(import.meta.dir, "../src/cli/main.ts");
const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const [kv, client, visits] = await Promise.all(["kv", "kv_client", "visits"].map(program));
const store = `--remote=kv=${kv}`;
const folder = mkdtempSync(join(tmpdir(), "pristine-remote-"));
afterAll(() => rmSync(folder, { recursive: true }));

function pristine(...words: (string | undefined)[]) {
  const done = Bun.spawnSync([process.execPath, main, ...(words as string[])], { stdin: "ignore" });
  return { code: done.exitCode, out: done.stdout.toString(), err: done.stderr.toString() };
}

test("a program calls a remote of the command line", () => {
  for (const mode of ["", ",shared", ",fork", ",pool", ",exitless", ",fork,exitless"])
    expect(pristine("run", `${store}${mode}`, client, "add", "n", "5")).toEqual({ code: 0, out: "5\n", err: "" });
  expect(pristine("run", store, "--remote", `other=${guest("remote")}`, client, "count").out).toBe("0\n");
  expect(pristine("run", client, "count")).toMatchObject({ code: 1, err: expect.stringContaining('no store is connected as "kv"') });
});

test("misuse names the flag, with the exit status of what is wrong", () => {
  const cases: [string[], number, string][] = [
    [["kv"], 125, "--remote=kv has no name"],
    [[`a:b=${kv}`], 125, `--remote=a:b=${kv} has no name of 1 to 64 letters`],
    [["kv="], 125, "--remote=kv= names no program"],
    [[`kv=${kv},forc`], 125, "did you mean fork?"],
    [[`kv=${kv},exitles`], 125, "did you mean exitless?"],
    [[`kv=${kv},any,exitless`], 125, "give one of shared, fork, pool, exitless"],
    [[`kv=${kv}`, `kv=${kv},fork`], 125, "--remote kv is given twice"],
    [["kv=/nowhere/kv"], 127, "--remote kv=/nowhere/kv: /nowhere/kv: no such file"],
    [["kv=no-such-program"], 127, "--remote kv=no-such-program: no-such-program: not found on PATH"],
    [["kv=/dev/null"], 126, "--remote kv=/dev/null: "],
    [[`kv=${guest("remote-fixed")}`], 125, "link it as a position-independent executable"],
    [[`kv=${guest("functions-pie")}`], 125, "before it was ready (a remote exports its functions and calls pristine_ready()"],
  ];
  for (const [remotes, code, message] of cases) {
    const done = pristine("run", ...remotes.map((remote) => `--remote=${remote}`), client, "count");
    expect(done.err).toContain(message);
    expect([remotes, done.code]).toEqual([remotes, code]);
  }
  expect(pristine("run", "--jail", store, client, "count").err).toContain("--remote and --jail do not go together");
});

/** A server of the command line's, until it is ended; the bodies of so many requests to it. */
async function served(words: (string | undefined)[], requests: number): Promise<string[]> {
  const port = await freePort();
  const [command, ...rest] = words as string[];
  const listen = `--allow-listen=127.0.0.1:${port}`;
  const child = Bun.spawn([process.execPath, main, command as string, listen, "--quiet", "--forks=2", ...rest], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const bodies: string[] = [];
  try {
    const patience = performance.now() + 30_000;
    while (bodies.length < requests) {
      const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
      if (answer) bodies.push(await answer.text());
      else if (performance.now() > patience || child.exitCode !== null) throw new Error("the server does not answer");
      else await Bun.sleep(20);
    }
  } finally {
    child.kill("SIGTERM");
  }
  expect(await child.exited).toBe(0);
  return bodies;
}

/** What the server had in its own memory, always the same, and the numbers that the store had, which grow. */
function checkVisits(bodies: readonly string[]): void {
  const seen = bodies.map((body) => /^(\d+) here, (\d+) in the store\n$/.exec(body)?.slice(1).map(Number) ?? []);
  const own = seen.map(([here]) => here);
  const stored = seen.map(([, number]) => number as number);
  expect(new Set(own).size).toBe(1);
  expect(new Set(stored).size).toBe(bodies.length);
  expect(stored).toEqual(stored.toSorted((a, b) => a - b));
}

test("a served program's requests share a remote, and nothing else", async () => {
  checkVisits(await served(["serve", "--warmup=3", store, visits], 12));
  checkVisits(await served(["serve", "--warmup=3", `${store},exitless`, visits], 12));
});

test("a fork for each caller forgets with it", async () => {
  const bodies = await served(["serve", "--warmup=0", `${store},fork`, visits], 6);
  // The server had a request before it was frozen; the forks of the store are as it was connected.
  expect(new Set(bodies)).toEqual(new Set(["2 here, 1 in the store\n"]));
});

test("a snapshot is made with a remote, keeps none, and is resumed with one again", async () => {
  const file = join(folder, "visits.snap");
  expect(pristine("snapshot", "--quiet", "--warmup=3", store, "-o", file, visits)).toEqual({ code: 0, out: "", err: "" });
  checkVisits(await served(["resume", store, file], 6));
  const lost = await served(["resume", file], 1);
  expect(lost).toEqual([""]);
});

test("a program that is ready goes on with what resume connects", () => {
  const file = join(folder, "client.snap");
  const caller = guest("caller");
  expect(pristine("snapshot", "--quiet", "--ready=ready", `--remote=storage=${guest("remote")}`, "-o", file, caller).code).toBe(0);
  expect(pristine("resume", "--timeout=200ms", "--remote=storage=/nowhere", file)).toMatchObject({ code: 127 });
  expect(pristine("resume", "--timeout=200ms", `--remote=storage=${guest("remote")}`, file)).toMatchObject({ code: 124 });
});
