/** The examples, each started with its one command. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sqliteLibrary } from "../examples/remotes/build.ts";
import { paths } from "./runtimes/cases.ts";
import { freePort } from "./servers/harness.ts";

setDefaultTimeout(120_000);
const folder = join(import.meta.dir, "../examples");

/** An example that runs, until it is disposed of. */
async function started(name: string): Promise<{ url: string } & AsyncDisposable> {
  const port = await freePort();
  const child = Bun.spawn([process.execPath, join(folder, name, "main.ts")], {
    env: { ...process.env, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let shown = "";
  for await (const chunk of child.stdout) {
    shown += new TextDecoder().decode(chunk);
    if (shown.includes(`:${port}/`)) break;
  }
  if (!shown.includes(`:${port}/`)) throw new Error(`${name} did not start: ${shown}${await new Response(child.stderr).text()}`);
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
    },
  };
}

const json = async (url: string, init?: RequestInit): Promise<unknown> => (await fetch(url, init)).json();
const text = async (url: string): Promise<string> => (await fetch(url)).text();

function example(name: string, program: string, body: (url: string) => Promise<void>): void {
  const missing = existsSync(program) ? "" : ` (${program} is not there)`;
  test.skipIf(missing !== "")(`${name}${missing}`, async () => {
    await using running = await started(name);
    await body(running.url);
  });
}

example("hono", paths.bun, async (url) => {
  for (const name of ["first", "second"]) expect(await json(`${url}/visit/${name}`)).toEqual({ visitors: [name] });
  expect(await json(`${url}/echo`, { method: "POST", body: '{"a":[1]}' })).toEqual({ a: [1] });
  expect((await fetch(`${url}/crash`)).status).toBe(500);
  expect(await text(url)).toBe("hello");
});

example("react", paths.bun, async (url) => {
  const pages = [await text(`${url}/?name=you`), await text(`${url}/?name=me`)];
  expect(pages[0]).toContain("<li>plum</li>");
  // Both say the same number: each was rendered by a process as it was frozen.
  expect(pages[0]?.replace("you", "me")).toBe(pages[1] as string);
  expect(await text(`${url}/robots.txt`)).toBe("User-agent: *\n");
});

example("plugins", paths.bun, async (url) => {
  const run = (source: string, input: unknown = null) => json(url, { method: "POST", body: JSON.stringify({ source, input }) });
  expect(await run("const sum: number = input.a + input.b; return sum", { a: 40, b: 2 })).toEqual({ result: 42 });
  expect(await run("for (;;);")).toEqual({ error: "the plugin took too long" });
  expect(await run("process.exit(1)")).toEqual({ error: "the plugin ended its process" });
  expect(await run("Array.prototype.map = () => 1; globalThis.left = 1; return 1")).toEqual({ result: 1 });
  expect(await run("return [typeof globalThis.left, [1].map((n) => n + 1)]")).toEqual({ result: ["undefined", [2]] });
  expect(await run("return await fetch('http://1.1.1.1/').then(() => 'out', () => 'in')")).toEqual({ result: "in" });
  const files = [join(folder, "plugins/runner.ts"), join(folder, "../package.json")];
  const seen = "const { existsSync } = await import('node:fs'); return input.map((path) => existsSync(path))";
  expect(await run(seen, files)).toEqual({ result: [true, false] });
  expect(await run("let text = 'x'; for (;;) text += text")).toHaveProperty("error");
  expect(await run("syntax error")).toHaveProperty("error");
});

example("wsgi", "/usr/bin/python3", async (url) => {
  expect(await text(`${url}/py/?user=one`)).toBe("/py/ {'user': 'one'}\n");
  expect(await text(`${url}/py/`)).toBe("/py/ {}\n");
  expect(await text(url)).toStartWith("Bun itself");
});

example("deno", paths.deno, async (url) => {
  const first = (await json(`${url}/a`)) as { pathname: string; requests: number };
  expect(first.pathname).toBe("/a");
  expect(await json(`${url}/b`)).toEqual({ pathname: "/b", requests: first.requests });
});

example("nginx", "/usr/sbin/nginx", async (url) => {
  expect(await text(url)).toContain("A static page.");
  expect(await text(`${url}/agent`)).toStartWith("Bun/");
  expect((await fetch(`${url}/missing`)).status).toBe(404);
});

example("remotes", paths.bun, async (url) => {
  const visits = await Promise.all(Array.from({ length: 8 }, () => fetch(`${url}/visit/you`)));
  const granted = visits.filter(({ status }) => status === 200);
  expect(granted.length).toBeGreaterThanOrEqual(5);
  const counted = await Promise.all(granted.map((answer) => answer.text()));
  expect(counted.toSorted()).toEqual(granted.map((_, index) => `visit ${index + 1} of you\n`));
  const refused = visits.find(({ status }) => status === 429);
  if (granted.length < 8) expect(refused?.headers.get("retry-after")).toBe("1");
  expect((await fetch(`${url}/value/word`, { method: "PUT", body: "by a handler" })).status).toBe(204);
  expect(await (await fetch(`${url}/value/word`)).text()).toBe("by a handler");
  const guest = crypto.randomUUID();
  const posted = await fetch(`${url}/guests`, { method: "POST", body: guest });
  const seen = await fetch(`${url}/guests`);
  // Without Debian's SQLite there is no database.
  expect([posted.status, seen.status]).toEqual(existsSync(sqliteLibrary) ? [201, 200] : [501, 501]);
  if (seen.ok) expect(((await seen.json()) as { name: string }[]).map(({ name }) => name)).toContain(guest);
});

const demo = join(import.meta.dir, "../scripts/demo.ts");

test("the demo sends its requests, prints what became of them, and ends", async () => {
  const child = Bun.spawn([process.execPath, demo, "--once", "--requests=200"], {
    env: { ...process.env, PORT: "0", METRICS_PORT: "0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const shown = await new Response(child.stdout).text();
  expect(shown).toMatch(/^ {2}requests +200 in /m);
  expect(shown).toMatch(/^ {2}answered +194 with 200, 4 that failed with 500, 2 that hung with 504 /m);
  expect(shown).toMatch(/^ {2}found of others +0$/m);
  expect(shown).toContain("No request saw anything of another, and none was lost.");
  expect(await child.exited).toBe(0);
});

test.each(["0", "-5", "x", "1.5"])("the demo does not take %s for a number of requests", async (number) => {
  const child = Bun.spawn([process.execPath, demo, "--once", `--requests=${number}`], { stdio: ["ignore", "pipe", "pipe"] });
  expect(await new Response(child.stderr).text()).toContain("give it a whole number of at least 1");
  expect(await child.exited).toBe(125);
});

test("the demo serves its handler and its page until a signal", async () => {
  const child = Bun.spawn([process.execPath, demo], {
    env: { ...process.env, PORT: "0", METRICS_PORT: "0" },
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    let shown = "";
    for await (const chunk of child.stdout) {
      shown += new TextDecoder().decode(chunk);
      if (shown.includes("Ctrl-C")) break;
    }
    const [app, page] = [...shown.matchAll(/^ {2}(http:\S+)/gm)].map(([, url]) => url as string);
    for (const name of ["first", "second"]) expect(await json(`${app}keep/${name}`)).toEqual({ kept: name, found: [] });
    expect((await fetch(`${app}fail`)).status).toBe(500);
    expect(await text(`${page}metrics`)).toContain('pristine_requests_total{status="500"} 1');
  } finally {
    child.kill("SIGTERM");
  }
  expect(await child.exited).toBe(0);
});
