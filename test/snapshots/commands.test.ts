/** `pristine snapshot`, `resume` and `inspect` as their users meet them, with the runtimes that people serve from. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { isolate, Pool, Snapshot } from "../../src/index.ts";
import { paths } from "../runtimes/cases.ts";
import { freePort } from "../servers/harness.ts";

setDefaultTimeout(120_000);
const main = join(import.meta.dir, "../../src/cli/main.ts");
const guest = (name: string) => join(import.meta.dir, "../../zig-out/guests", name);
const systemFolders = ["/usr", "/lib", "/lib64", "/etc"];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pristine-commands-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);

function pristine(...words: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, main, ...words], { cwd: folder });
  return { exitCode, out: stdout.toString(), err: stderr.toString() };
}

describe("a program", () => {
  test("is saved where it is ready, told about, and goes on", () => {
    writeFileSync(path("user"), "the embedder's own");
    const saved = pristine("snapshot", "--ready", "ready", "--user", "user", "-o", "ready.snap", guest("ready"), "an argument");
    expect(saved).toMatchObject({ exitCode: 0, out: "warming up\n" });
    expect(saved.err).toMatch(/^pristine: saved ready.snap, \d+\.\d MiB\n$/);
    const told = pristine("inspect", "ready.snap");
    expect(told).toMatchObject({ exitCode: 0, err: "" });
    expect(told.out).toContain(`${guest("ready")} an argument (stopped`);
    const facts = JSON.parse(pristine("inspect", "--json", "ready.snap").out);
    expect(facts).toMatchObject({ format: { major: 1 }, state: "stopped", userBytes: 18, threads: [{ state: "runnable" }] });
    for (const verify of ["lazy", "full", "trusted"]) {
      const resumed = pristine("resume", "--verify", verify, "ready.snap");
      expect(resumed).toEqual({ exitCode: 7, out: "registers: kept\nentry 10: 101\nimport: not there\n", err: "" });
    }
  });

  test("is searched for what it must not hold", () => {
    const env = ["-e", "TOKEN=AKIA0123456789ABCDEF"];
    expect(pristine("snapshot", "--ready", "ready", ...env, "-o", "secret.snap", guest("ready")).exitCode).toBe(0);
    const found = pristine("inspect", "--secrets", "AKIA[0-9A-Z]{16}", "secret.snap");
    expect(found.exitCode).toBe(1);
    const places = [...found.out.matchAll(/^(\w+) at (\d+): /gm)];
    expect(places.length).toBeGreaterThan(0);
    const bytes = readFileSync(path("secret.snap"));
    for (const [, , offset] of places) expect(bytes.subarray(Number(offset), Number(offset) + 20).toString()).toBe("AKIA0123456789ABCDEF");
    expect(pristine("inspect", "--secrets", "NOTHING-[0-9]+-THERE", "secret.snap")).toMatchObject({ exitCode: 0, out: "" });
  });

  test("is saved with copies of its files on request, and goes on without them", () => {
    const program = path("moved-away");
    copyFileSync(guest("ready"), program);
    const saved = pristine("snapshot", "--ready", "ready", "--copy-files", "-o", "alone.snap", program);
    expect(saved).toMatchObject({ exitCode: 0 });
    const bytes = statSync(program).size;
    rmSync(program);
    expect(JSON.parse(pristine("inspect", "--json", "alone.snap").out)).toMatchObject({
      files: [{ path: program, bytes, copied: true }],
      privateFiles: { count: 0, bytes: 0 },
    });
    expect(pristine("inspect", "alone.snap").out).toContain(`file        ${program} (${bytes} bytes, copied)\n`);
    expect(pristine("resume", "--allow-read", "alone.snap").exitCode).toBe(7);
  });

  test("that ends before, a file that is damaged, and a misuse have their statuses", () => {
    const early = pristine("snapshot", "--ready", "ready", "-o", "early.snap", guest("exit"), "3");
    expect(early.exitCode).not.toBe(0);
    expect(early.err).toContain("before it said that it is ready");
    expect(existsSync(path("early.snap"))).toBe(false);
    expect(pristine("resume", "nothing.snap").exitCode).toBe(127);
    expect(pristine("snapshot", "--ready", "exit", "-o", "cut.snap", guest("functions")).exitCode).toBe(0);
    expect(pristine("resume", "cut.snap")).toMatchObject({ exitCode: 125, err: expect.stringContaining("has ended already") });
    truncateSync(path("cut.snap"), 10_000);
    expect(pristine("resume", "cut.snap")).toMatchObject({ exitCode: 125, err: expect.stringContaining("cut short (header)") });
    expect(pristine("inspect", "cut.snap").exitCode).toBe(125);
    expect(pristine("snapshot", guest("ready")).err).toContain("give -o FILE");
    expect(pristine("snapshot", "--ready", "lisen", "-o", "x", guest("ready")).err).toContain("did you mean listen?");
    expect(pristine("resume", "--env", "A=1", "x").err).toContain("there is no option --env");
    expect(pristine("resume", "cut.snap", "more").err).toContain("more is one word too many");
  });
});

const noPython = existsSync("/usr/bin/python3") ? "" : " (/usr/bin/python3 is not there)";
test.skipIf(noPython !== "")(`a server that was saved serves on a socket${noPython}`, async () => {
  const app = join(import.meta.dir, "app.py");
  const read = `--allow-read=${[...systemFolders, import.meta.dir].join(",")}`;
  expect(pristine("snapshot", read, "--warmup", "3", "-o", "web.snap", "/usr/bin/python3", app)).toMatchObject({ exitCode: 0 });
  const port = await freePort();
  const words = ["resume", read, `--allow-listen=127.0.0.1:${port}`, "--forks", "2", "web.snap"];
  await using served = Bun.spawn([process.execPath, main, ...words], { cwd: folder, stderr: "pipe" });
  const reader = served.stderr.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toContain(`serving on http://127.0.0.1:${port}`);
  const seen = new Set<string>();
  for (let number = 0; number < 10; number++) seen.add(await (await fetch(`http://127.0.0.1:${port}/`)).text());
  expect(seen.size).toBe(10);
  served.kill("SIGTERM");
  expect(await served.exited).toBe(0);
});

test.skipIf(noPython !== "")(`what requests use is recorded, and read first${noPython}`, async () => {
  const app = join(import.meta.dir, "app.py");
  const read = `--allow-read=${[...systemFolders, import.meta.dir].join(",")}`;
  const facts = () => JSON.parse(pristine("inspect", "--json", "used.snap").out).memory as { pages: number; hotPages: number };
  const saved = pristine("snapshot", read, "--warmup", "3", "--record", "2", "-o", "used.snap", "/usr/bin/python3", app);
  const warmed = facts();
  expect(saved).toMatchObject({ exitCode: 0, err: expect.stringContaining(`has the ${warmed.hotPages} pages first that were used`) });
  expect(warmed.hotPages).toBeLessThan(warmed.pages / 3);

  const port = await freePort();
  const words = ["record", read, `--allow-listen=127.0.0.1:${port}`, "used.snap"];
  await using recorded = Bun.spawn([process.execPath, main, ...words], { cwd: folder, stderr: "pipe" });
  const reader = recorded.stderr.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toContain("serving on");
  expect((await fetch(`http://127.0.0.1:${port}/look`)).status).toBe(200);
  recorded.kill("SIGTERM");
  expect(await recorded.exited).toBe(0);
  // Another request uses other pages.
  const again = facts();
  expect(again.pages).toBe(warmed.pages);
  expect(again.hotPages).not.toBe(warmed.hotPages);
  expect(again.hotPages).toBeLessThan(again.pages / 3);

  expect(pristine("record", "s3://bucket/key").err).toContain("record a file");
  expect(pristine("record", "nowhere/used.snap").err).toContain("its folder nowhere is not there");
  expect(pristine("snapshot", "--ready", "exit", "--record", "2", "-o", "x", guest("exit")).err).toContain("only a server answers");
});

const servers = [
  { name: "deno", program: paths.deno, args: ["run", "--allow-net"], file: "deno.ts" },
  { name: "node", program: paths.node, args: [], file: "node.mjs" },
  { name: "bun", program: process.execPath, args: ["run"], file: "bun.ts" },
];
const sources: Record<string, string> = {
  "deno.ts": `let n = 0; Deno.serve({ port: 8000, hostname: "127.0.0.1", onListen() {} }, () => new Response("hello " + ++n));`,
  "node.mjs": `import http from "node:http"; let n = 0;
    http.createServer((_, response) => response.end("hello " + ++n)).listen(8000, "127.0.0.1");`,
  "bun.ts": `let n = 0; Bun.serve({ port: 8000, hostname: "127.0.0.1", fetch: () => new Response("hello " + ++n) });`,
};

/** Asks a saved server in another process, which has nothing of this one's. */
function askElsewhere(file: string, read: string[]): string[] {
  const script = `
    import { Pool, Snapshot } from ${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))};
    const image = await Snapshot.open(${JSON.stringify(file)}, { permissions: { read: ${JSON.stringify(read)} } });
    const pool = new Pool(image, { forks: 1, timeout: 20_000 });
    const answers = [];
    for (let n = 0; n < 4; n++) answers.push(await (await pool.fetch(new Request("http://x/"))).text());
    console.log(JSON.stringify(answers));
    process.exit(0);
  `;
  const child = Bun.spawnSync([process.execPath, "-e", script], { stderr: "inherit", timeout: 60_000 });
  return JSON.parse(child.stdout.toString());
}

describe.each(servers)("$name", ({ name, program, args, file }) => {
  const isThere = existsSync(program);
  test.skipIf(!isThere)(`serves from a file as from memory${isThere ? "" : ` (${program} is not there)`}`, async () => {
    writeFileSync(path(file), sources[file] as string);
    const read = [...systemFolders, folder, dirname(program)];
    const options = { program, args: [...args, path(file)], permissions: { read }, memory: "2GiB", forks: 1, timeout: 20_000 } as const;
    await using pool = await isolate({ ...options, env: { HOME: "/tmp", DENO_NO_UPDATE_CHECK: "1" } });
    await pool.save(path(`${name}.snap`));
    const answer = await (await pool.fetch(new Request("http://x/"))).text();
    expect(answer).toMatch(/^hello \d+$/);
    expect(askElsewhere(path(`${name}.snap`), read)).toEqual([answer, answer, answer, answer]);
  });
});

test("a handler that was saved answers, with new random numbers, and tells its errors", async () => {
  writeFileSync(
    path("handler.ts"),
    `export default (request: Request) => {
      if (request.url.endsWith("/throw")) throw new RangeError("out of range");
      return new Response(crypto.randomUUID());
    };`,
  );
  await using pool = await isolate(path("handler.ts"), { forks: 1, timeout: 20_000 });
  await pool.save(path("handler.snap"));
  using image = await Snapshot.open(path("handler.snap"));
  const errors: string[] = [];
  await using again = new Pool(image, {
    ...{ forks: 1, timeout: 20_000 },
    onError: (error) => {
      errors.push(String((error.cause as Error)?.message));
      return undefined;
    },
  });
  const seen = new Set<string>();
  for (const from of [pool, again, pool, again]) seen.add(await (await from.fetch(new Request("http://x/"))).text());
  expect(seen.size).toBe(4);
  expect((await again.fetch(new Request("http://x/throw"))).status).toBe(500);
  expect(errors).toEqual(["out of range"]);
});
