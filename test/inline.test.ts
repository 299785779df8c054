/** Requests that come one at a time run on the thread that asks, for a moment; what takes longer goes on on another. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isolate, type Pool, type RequestReport } from "../src/index.ts";

setDefaultTimeout(120_000);

const folder = mkdtempSync("/tmp/pristine-inline-");
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const program = join(folder, "server.ts");
writeFileSync(
  program,
  `let served = 0;
  const behind = (milliseconds: number) => { const end = performance.now() + milliseconds; while (performance.now() < end) {} };
  Bun.serve({ port: 8000, hostname: "127.0.0.1", async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== "/") served++; // The warm-up asks for that.
    const milliseconds = Number(searchParams.get("ms") ?? 0);
    if (pathname === "/spin") behind(milliseconds);
    if (pathname === "/wait") await Bun.sleep(milliseconds);
    if (pathname === "/tell") setImmediate(() => console.error("behind the answer"));
    if (pathname === "/spin-behind") setImmediate(() => behind(milliseconds));
    if (pathname === "/exit-behind") setImmediate(() => process.exit(3));
    if (pathname === "/pieces") return new Response(new ReadableStream({ async pull(controller) {
      for (let piece = 0; piece < 4; piece++) { controller.enqueue("p".repeat(50_000)); await Bun.sleep(1); }
      controller.close();
    } }));
    return new Response(String(served));
  } });`,
);

const server = (options: object = {}): Promise<Pool> =>
  isolate({
    ...{ program: process.execPath, args: [program], memory: "1GiB", forks: 2, warmup: 5, timeout: 5_000 },
    ...{ permissions: { read: true }, stdout: "ignore", stderr: "ignore" },
    ...options,
  });
const at = (path: string) => new Request(`http://example.com${path}`);

/** Whether the answer was there before anything else could happen on this thread. */
async function isAtOnce(pool: Pool, path: string): Promise<boolean> {
  let others = false;
  const immediate = setImmediate(() => {
    others = true;
  });
  const response = await pool.fetch(at(path));
  clearImmediate(immediate);
  expect(await response.text()).toBe("1");
  return !others;
}

/** The forks are made ahead and warmed by requests; then all are free. */
async function settled(pool: Pool): Promise<void> {
  while (pool.metrics.state.free < 2) await pool.fetch(at("/")).then(() => Bun.sleep(1));
}

describe("a request that comes alone", () => {
  test("is answered on this thread, and each by a fresh fork", async () => {
    await using pool = await server();
    await settled(pool);
    let atOnce = 0;
    for (let request = 0; request < 20; request++) {
      if (await isAtOnce(pool, "/hello")) atOnce++;
      await Bun.sleep(20);
    }
    // A loaded host may stop this thread for longer than a request may take here.
    expect(atOnce).toBeGreaterThan(5);
  });

  test("goes on on another thread when it takes long, and this one goes on meanwhile", async () => {
    await using pool = await server();
    await settled(pool);
    for (const path of ["/spin?ms=400", "/wait?ms=400"]) {
      let ticks = 0;
      const timer = setInterval(() => ticks++, 10);
      expect(await (await pool.fetch(at(path))).text()).toBe("1");
      clearInterval(timer);
      expect(ticks).toBeGreaterThan(5);
    }
  });

  test("is ended by its time-out wherever it is", async () => {
    await using pool = await server({ timeout: 1 });
    for (const path of ["/spin?ms=4000", "/wait?ms=4000"]) expect((await pool.fetch(at(path))).status).toBe(504);
    await using longer = await server({ timeout: 100 });
    for (const path of ["/spin?ms=4000", "/wait?ms=4000"]) expect((await longer.fetch(at(path))).status).toBe(504);
    expect((await longer.fetch(at("/"))).status).toBe(200);
  });

  test("may be answered in pieces", async () => {
    await using pool = await server();
    for (let request = 0; request < 5; request++) expect((await (await pool.fetch(at("/pieces"))).text()).length).toBe(200_000);
  });
});

describe("what a server does behind its answer", () => {
  test("is done before its fork is put back", async () => {
    const log = join(folder, "log");
    const reports: RequestReport[] = [];
    {
      await using pool = await server({ stderr: Bun.file(log), onRequest: (report: RequestReport) => reports.push(report) });
      await settled(pool);
      const before = reports.length;
      for (let request = 0; request < 5; request++) expect(await (await pool.fetch(at("/tell"))).text()).toBe("1");
      while (reports.length < before + 5) await Bun.sleep(5);
    }
    expect((await Bun.file(log).text()).split("behind the answer").length - 1).toBe(5);
  });

  test("may end the program or take as long as the request may, and touches no other", async () => {
    await using pool = await server({ timeout: 300 });
    for (let round = 0; round < 3; round++) {
      for (const path of ["/exit-behind", "/spin-behind?ms=4000", "/hello"]) {
        const response = await pool.fetch(at(path));
        expect(response.status).toBe(200);
        expect(await response.text()).toBe("1");
      }
    }
  });
});

test("many at once are answered by several forks, none by a used one", async () => {
  await using pool = await server();
  const answers = await Promise.all(Array.from({ length: 200 }, async () => (await pool.fetch(at("/hello"))).text()));
  expect(new Set(answers)).toEqual(new Set(["1"]));
});
