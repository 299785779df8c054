/** `pristine serve` as its users meet it: on a real socket, with the exit statuses and messages of the contract. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./servers/harness.ts";
import { folder, node, python, Served, serveNode, servePython } from "./serving.ts";

setDefaultTimeout(120_000);
const noPython = python === undefined ? " (python3 is not there)" : "";
const noNode = node === undefined ? " (node is not there)" : "";
const withPython = test.skipIf(noPython !== "");
const withNode = test.skipIf(noNode !== "");

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);

/** One that never listens; it waits for its minute beside the other tests. */
let silent: Served;
beforeAll(() => {
  silent = new Served(["--quiet", guest("endless"), "sleep"]);
});
afterAll(() => silent[Symbol.asyncDispose]());

async function text(url: string, init?: RequestInit): Promise<string> {
  const response = await fetch(url, init);
  return `${response.status} ${await response.text()}`;
}

withPython(`answers on a real socket, each request from a state of its own${noPython}`, async () => {
  await using served = servePython();
  const url = await served.url();
  const seen = new Set<string | null>();
  for (let number = 0; number < 20; number++) {
    const response = await fetch(`${url}/echo?${number}`, { method: "POST", body: `body ${number}` });
    expect(await response.text()).toBe(`${number} body ${number}`);
    seen.add(response.headers.get("x-calls"));
  }
  // The counter never leaves the value that it had in the image.
  expect([...seen]).toHaveLength(1);
  for (let number = 0; number < 3; number++) expect(await text(`${url}/write`)).toBe("200 1 ");
});

withPython(`what goes wrong has the statuses of the contract, and a line of its own${noPython}`, async () => {
  // Little memory, so that filling it takes no time.
  await using served = servePython(["--memory=128MiB"]);
  const url = await served.url();
  expect(await text(`${url}/exit`)).toBe("500 ");
  expect(await text(`${url}/abort`)).toBe("500 ");
  expect(await text(`${url}/malformed`)).toBe("502 ");
  expect(await text(`${url}/fill`)).toStartWith("500 ");
  const began = performance.now();
  expect(await text(`${url}/hang`)).toBe("504 ");
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(await text(url, { headers: { upgrade: "websocket", connection: "upgrade" } })).toStartWith("501");
  expect(await text(`${url}/echo?after`)).toBe("200 after ");
  for (const line of [
    "GET /exit 500 (the server exited with status 3",
    "GET /abort 500 (the server was ended by SIGABRT",
    "GET /malformed 502 (the server's answer is malformed",
    "GET /hang 504 (the server took longer than 2000 ms",
  ]) {
    expect(served.err).toContain(`pristine: ${line}`);
  }
});

withNode(`answers of Node in pieces, one that breaks off, and an exit${noNode}`, async () => {
  await using served = serveNode();
  const url = await served.url();
  const calls = new Set<string | null>();
  for (let number = 0; number < 10; number++) {
    const response = await fetch(`${url}/echo?${number}`, { method: "POST", body: "b" });
    expect(await response.text()).toBe(`${number} b`);
    calls.add(response.headers.get("x-calls"));
  }
  expect(calls.size).toBe(1);
  expect((await text(`${url}/pieces`)).length).toBe("200 ".length + 5 * 10_001);
  expect(await text(`${url}/exit`)).toBe("500 ");
  expect(await text(`${url}/hang`)).toBe("504 ");
  await expect(text(`${url}/broken`)).rejects.toThrow();
  expect(await text(`${url}/echo?after`)).toBe("200 after ");
});

withPython(`clients that leave within their request cost nobody else anything${noPython}`, async () => {
  await using served = servePython(["--forks=2"]);
  const url = await served.url();
  const { hostname, port } = new URL(url);
  for (const header of ["content-length: 10", "content-length: 1000000", "transfer-encoding: chunked"]) {
    for (const delay of [0, 5, 20, 80]) {
      const socket = connect(Number(port), hostname);
      socket.write(`POST /echo HTTP/1.1\r\nhost: x\r\n${header}\r\n\r\n1\r\na\r\n`);
      await Bun.sleep(delay);
      socket.destroy();
      expect(await text(`${url}/echo?after`, { signal: AbortSignal.timeout(20_000) })).toBe("200 after ");
    }
  }
  served.kill("SIGTERM");
  expect(await served.ended()).toBe(0);
});

withPython(`SIGTERM lets requests under way and in the queue end, and takes no more${noPython}`, async () => {
  await using served = servePython(["--forks=1"]);
  const url = await served.url();
  const slow = Promise.all(["one", "two", "three"].map((name) => text(`${url}/slow?${name}`)));
  await Bun.sleep(100);
  served.kill("SIGTERM");
  await served.until(() => served.err.includes("no more requests"), "it does not drain");
  await expect(fetch(`${url}/echo`)).rejects.toThrow();
  expect(await slow).toEqual(["200 one ", "200 two ", "200 three "]);
  expect(await served.ended()).toBe(0);
});

withPython(`clients that keep their connections and ask on do not keep it from ending${noPython}`, async () => {
  await using served = servePython();
  const url = await served.url();
  const came = new Map<string, number>();
  let over = false;
  const client = async () => {
    while (!over) {
      const told = await text(`${url}/echo?1`).catch(() => "refused");
      came.set(told, (came.get(told) ?? 0) + 1);
      if (told === "refused") await Bun.sleep(5);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  await Bun.sleep(300);
  served.kill("SIGTERM");
  expect(await served.ended()).toBe(0);
  over = true;
  await Promise.all(clients);
  for (const told of came.keys()) expect(["200 1 ", "503 ", "refused"]).toContain(told);
  expect(came.get("200 1 ")).toBeGreaterThan(0);
});

withPython(`a second signal ends it at once${noPython}`, async () => {
  await using served = servePython();
  const url = await served.url();
  const hanging = fetch(`${url}/hang`).catch(() => undefined);
  await Bun.sleep(100);
  served.kill("SIGINT");
  await served.until(() => served.err.includes("no more requests"), "it does not drain");
  served.kill("SIGINT");
  expect(await served.ended()).toBe(130);
  await hanging;
});

withPython(`a signal while it boots ends it${noPython}`, async () => {
  const forever = "import time\nwhile True: time.sleep(1)";
  await using served = new Served(["--allow-read", "--json", python as string, "-c", forever]);
  await Bun.sleep(500);
  served.kill("SIGTERM");
  expect(await served.ended()).toBe(143);
  expect(served.err).toBe("");
});

withPython(`--json writes a line for each request and event, and nothing else${noPython}`, async () => {
  await using served = servePython(["--json"]);
  await served.until(() => served.events.some(({ event }) => event === "serving"), "it does not serve");
  const url = served.events.find(({ event }) => event === "serving")?.url as string;
  await text(`${url}/echo?1`);
  await text(`${url}/print`);
  await text(`${url}/exit`);
  served.kill("SIGTERM");
  expect(await served.ended()).toBe(0);
  const requests = served.events.filter(({ event }) => event === "request");
  expect(requests).toMatchObject([
    { method: "GET", path: "/echo?1", status: 200, reset: {} },
    { path: "/print", status: 200, reset: {} },
    { path: "/exit", status: 500, error: { code: "GUEST_EXIT" }, reset: { mode: "full" } },
  ]);
  for (const { time, milliseconds, reset } of requests) {
    const { mode, pages } = reset as { mode: string; pages: number };
    expect(mode).toMatch(/^(rewrite|full)$/);
    expect(pages).toBeGreaterThan(0);
    expect(new Date(time as string).getTime()).toBeGreaterThan(0);
    expect(milliseconds).toBeGreaterThan(0);
  }
  expect(served.events.map(({ event }) => event)).toEqual(["serving", "request", "request", "request", "draining", "stopped"]);
  expect(served.err).toBe("a line of the program's\n");
});

withPython(`no terminal, no status line; --quiet says nothing, --verbose has a line for each request${noPython}`, async () => {
  await using quiet = servePython(["--quiet"]);
  await using verbose = servePython(["--verbose"]);
  const url = await verbose.url();
  await text(`${url}/echo?1`);
  // The status line is drawn twice a second.
  await Bun.sleep(700);
  verbose.kill("SIGTERM");
  expect(await verbose.ended()).toBe(0);
  expect(verbose.err).toMatch(/GET \/echo\?1 200 [\d.]+ ms, (rewrite|full) of \d+ pages in \d+ µs/);
  expect(verbose.err).not.toContain("\r");
  quiet.kill("SIGTERM");
  await quiet.ended();
  expect(quiet.out + quiet.err).toBe("");
});

const script = Bun.which("script");
withPython.skipIf(!script)(`a terminal has a status line${noPython}${script ? "" : " (script is not there)"}`, async () => {
  const port = await freePort();
  const main = join(import.meta.dir, "../src/cli/main.ts");
  const command = `${process.execPath} ${main} serve --allow-read --allow-listen=127.0.0.1:${port} --warmup=1 ${python} ${folder}/app.py`;
  const child = Bun.spawn([script as string, "-qfec", command, "/dev/null"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  let shown = "";
  for await (const chunk of child.stdout) {
    shown += new TextDecoder().decode(chunk);
    if (shown.includes("serving on")) fetch(`http://127.0.0.1:${port}/`).catch(() => {});
    if (/p50 [\d.]+ ms/.test(shown)) break;
  }
  child.kill("SIGTERM");
  await child.exited;
  expect(shown.replaceAll("\x1b[K", "")).toMatch(/\r[\d.]+ requests\/s · [0-4] of 4 forks busy/);
});

withPython(`the metrics are Prometheus' text, and a page${noPython}`, async () => {
  await using served = servePython(["--metrics=127.0.0.1:0"]);
  const url = await served.url();
  await served.until(() => /metrics on \S+/.test(served.err), "there are no metrics");
  const metrics = /metrics on (\S+)/.exec(served.err)?.[1] as string;
  await Promise.all(Array.from({ length: 8 }, (_, number) => text(`${url}/echo?${number}`)));
  await text(`${url}/exit`);
  const prometheus = await fetch(`${metrics}metrics`);
  expect(prometheus.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
  const lines = await prometheus.text();
  expect(lines).toContain('pristine_requests_total{status="200"} 8\n');
  expect(lines).toContain('pristine_failures_total{code="GUEST_EXIT"} 1\n');
  const page = await fetch(metrics);
  expect(page.headers.get("content-type")).toStartWith("text/html");
  expect(await page.text()).not.toMatch(/(src|href)="(?!data:)|https?:\/\//);
  expect(await (await fetch(`${metrics}metrics.json`)).json()).toMatchObject({ requests: { "200": 8, "500": 1 } });
});

withPython(`serves where the program listens, or on a Unix socket${noPython}`, async () => {
  const port = await freePort();
  const read = `--allow-read=/usr,/lib,/lib64,/etc,${folder}`;
  {
    await using served = new Served([read, "-e", `PORT=${port}`, "--warmup=1", python as string, join(folder, "app.py")]);
    expect(await served.url()).toBe(`http://127.0.0.1:${port}`);
    expect(await text(`http://127.0.0.1:${port}/echo?own`)).toBe("200 own ");
  }
  const directory = mkdtempSync(join(tmpdir(), "pristine-serve-"));
  try {
    const unix = join(directory, "socket");
    await using served = new Served([read, `--allow-listen=unix:${unix}`, "--warmup=1", python as string, join(folder, "app.py")]);
    expect(await served.url()).toBe(`unix:${unix}`);
    expect(await text("http://localhost/echo?unix", { unix } as RequestInit)).toBe("200 unix ");
    served.kill("SIGTERM");
    expect(await served.ended()).toBe(0);
    expect(existsSync(unix)).toBe(false);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("misuse and failure have the exit statuses of the contract, and a hint", async () => {
  using taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const cases: [string[], number, string][] = [
    [[], 125, "no program"],
    [[`--allow-listen=127.0.0.1:${taken.port}`, guest("hello")], 125, "in use already (end what listens there"],
    [[`--allow-listen=unix:${import.meta.path}`, guest("hello")], 125, "is there already (end what serves there and remove the file"],
    [["--allow-listen=127.0.0.1:1,127.0.0.1:2", guest("hello")], 125, "several addresses"],
    [["--allow-listen=10.0.0.0/8", guest("hello")], 125, "not an address"],
    [["--forks=0", guest("hello")], 125, "--forks"],
    [["--reset=none", guest("hello")], 125, "--reset"],
    [["--per=client", guest("hello")], 125, "give one of request, connection"],
    [["--fork=1", guest("hello")], 125, "did you mean --forks?"],
    [["--reset-limit=much", guest("hello")], 125, "not a size"],
    [["no-such-program-on-path"], 127, "not found"],
    [["/nowhere/program"], 127, "no such file"],
    [["/etc/hostname"], 126, "cannot be run"],
    [[guest("exit"), "37"], 37, "exited with status 37 before it listened"],
    [[guest("hello")], 125, "exited with status 0 before it listened"],
    [[guest("faults"), "write-null"], 139, "ended by SIGSEGV before it listened"],
    [["--memory=16MiB", guest("endless"), "map"], 137, "memory"],
  ];
  for (const [words, status, hint] of cases) {
    await using served = new Served(words);
    expect(`${words.join(" ")}: ${await served.ended()}`).toBe(`${words.join(" ")}: ${status}`);
    expect(served.err).toContain(hint);
  }
});

for (const per of ["request", "connection"]) {
  withNode(`a body of more than 128 MiB is 413 and costs nobody else anything, per ${per}${noNode}`, async () => {
    await using served = serveNode([`--per=${per}`, "--forks=1", "--timeout=60s"]);
    const url = await served.url();
    expect(await statusOfBody(url, `content-length: ${128 * 2 ** 20 + 1}`, [])).toBe(413);
    const chunk = Buffer.concat([Buffer.from("100000\r\n"), Buffer.alloc(2 ** 20), Buffer.from("\r\n")]);
    expect(await statusOfBody(url, "transfer-encoding: chunked", Array(129).fill(chunk))).toBe(413);
    expect(await text(`${url}/echo?after`)).toBe("200 after ");
    served.kill("SIGTERM");
    expect(await served.ended()).toBe(0);
  });
}

for (const warmup of [0, 3, 20]) {
  withPython(`the image has had the requests of the warm-up and no others: ${warmup}${noPython}`, async () => {
    await using served = servePython([`--warmup=${warmup}`, "--forks=2"]);
    const url = await served.url();
    const seen = new Set<number>();
    for (let number = 0; number < 6; number++) seen.add(Number((await fetch(`${url}/echo`)).headers.get("x-calls")));
    const [calls, ...others] = seen;
    expect(others).toEqual([]);
    // One more was for the connection that would be kept, and this one is the last.
    const most = warmup + 2;
    // From 10 on the best of several instants is frozen, two requests apart.
    expect(warmup < 10 ? [most] : [most - 6, most - 4, most - 2, most]).toContain(calls as number);
  });
}

test("a program that does not listen within a minute is 124", async () => {
  expect(await silent.ended()).toBe(124);
  expect(silent.err).toContain("60000 ms");
});

/** The status for a request with such a body; a server may answer and close before it has read all of it. */
async function statusOfBody(url: string, header: string, pieces: readonly Uint8Array[]): Promise<number> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const answered = new Promise<number>((resolve, reject) => {
    socket.once("data", (bytes) => resolve(Number(bytes.toString("latin1").split(" ")[1])));
    socket.once("error", reject).once("close", () => reject(new Error("closed without an answer")));
  });
  // Whoever has the answer needs no more.
  let isAnswered = false;
  answered.then(
    () => (isAnswered = true),
    () => (isAnswered = true),
  );
  socket.write(`POST /echo HTTP/1.1\r\nhost: x\r\n${header}\r\n\r\n`);
  for (const piece of pieces) {
    if (isAnswered) break;
    if (!socket.write(piece)) await Promise.race([new Promise<void>((resolve) => socket.once("drain", resolve)), answered.catch(() => {})]);
  }
  try {
    return await answered;
  } finally {
    socket.destroy();
  }
}
