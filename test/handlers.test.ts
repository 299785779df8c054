/** Handlers in each runtime that is installed: what they get and give, how they fail, what a request costs, what is renewed. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gatheredMax } from "../src/http/wire.ts";
import { isolate, Machine, type Pool, PristineError } from "../src/index.ts";
import { paths } from "./runtimes/cases.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
setDefaultTimeout(emulated ? 900_000 : 120_000);
const draws = Math.max(20, Math.round(1000 * Number(process.env.TEST_SCALE ?? 1)));
const dearDraws = Math.max(3, Math.round(20 * Number(process.env.TEST_SCALE ?? 1)));
/** Exits of a request to a handler that answers at once: the read of the next request, which is also the answer. */
const exitsMax = 1;

const folder = mkdtempSync(join(tmpdir(), "pristine-handlers-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const handler = (name: string) => join(import.meta.dir, "handlers", name);

function written(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** A handler that goes on when it has answered. */
const behind = (trace: string) => `import { appendFileSync } from "node:fs";
const done = (text: string) => appendFileSync(${JSON.stringify(trace)}, text + "\\n");
export default async (request: Request) => {
  done("handler");
  const timer = new Promise<void>((resolve) => setTimeout(() => { done("timer"); resolve(); }, 20));
  if (request.url.endsWith("/waits")) await timer;
  setTimeout(() => done("behind"), 20);
  return new Response("answer");
};
`;

const installed = [
  { name: "bun", path: process.execPath },
  { name: "deno", path: paths.deno },
  { name: "node", path: paths.node },
] as const;

for (const { name, path } of installed) {
  const missing = existsSync(path) ? "" : ` (${path} is not there)`;
  describe.skipIf(missing !== "")(`${name}${missing}`, () => {
    const runtime = name === "deno" ? { path } : name;
    const errors: PristineError[] = [];
    let pool: Pool;
    let host: ReturnType<typeof Bun.serve>;
    beforeAll(async () => {
      host = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("from the host") });
      pool = await isolate(handler("features.ts"), {
        runtime,
        forks: 2,
        timeout: emulated ? 60_000 : 2_000,
        env: { GIVEN: "given" },
        permissions: { connect: [`127.0.0.1:${host.port}`] },
        onError: (error) => {
          errors.push(error);
          return undefined;
        },
      });
    });
    afterAll(async () => {
      await pool?.stop();
      await host?.stop(true);
    });
    const ask = (target: string, init?: RequestInit) => pool.fetch(new Request(`http://example.com${target}`, init));
    const text = async (target: string, init?: RequestInit) => {
      const response = await ask(target, init);
      expect(response.status).toBe(200);
      return response.text();
    };
    const json = async (target: string, init?: RequestInit) => JSON.parse(await text(target, init));

    test("has types, JSON, packages and top-level await", async () => {
      expect(await json("/module")).toEqual({ data: { answer: 42 }, ready: "awaited", page: "<p>page</p>" });
    });

    test("gets the request", async () => {
      for (const length of [0, 5, 40_000, gatheredMax, gatheredMax + 1, 2_000_000]) {
        const body = new Uint8Array(length).fill(7);
        const sum = new Bun.CryptoHasher("sha256").update(body).digest("hex");
        const asked = { method: "POST", body, headers: { "x-given": "é", "content-length": String(length) } };
        expect(await json("/echo?a=b%20c", asked)).toEqual({ method: "POST", query: "?a=b%20c", header: "é", length, sum });
      }
      const streamed = new ReadableStream({
        async start(controller) {
          for (let i = 0; i < 10; i++) {
            await Bun.sleep(2);
            controller.enqueue(new Uint8Array(1000).fill(i));
          }
          controller.close();
        },
      });
      expect(await json("/echo", { method: "PUT", body: streamed })).toMatchObject({ method: "PUT", length: 10_000 });
    });

    test("gives its response", async () => {
      const head = await ask("/head");
      expect([head.status, head.headers.get("x-own"), head.headers.getSetCookie()]).toEqual([204, "a", ["a=1", "b=2"]]);
      const missing = await ask("/nowhere");
      expect([missing.status, missing.statusText, await missing.text()]).toEqual([404, "Nowhere", "no such route"]);
      expect(await text("/large")).toBe("l".repeat(3_000_000));
    });

    test("streams its response as it comes", async () => {
      const began = performance.now();
      const response = await ask("/stream");
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const first = await reader.read();
      const firstAt = performance.now() - began;
      let rest = new TextDecoder().decode(first.value);
      expect(rest).toBe("4;");
      for (let step = await reader.read(); !step.done; step = await reader.read()) rest += new TextDecoder().decode(step.value);
      expect(rest).toBe("4;3;2;1;");
      // Three more pieces take 30 ms each.
      expect(performance.now() - began - firstAt).toBeGreaterThan(60);
    });

    test("answers while the request's body still comes", async () => {
      let go = () => {};
      const more = new Promise<void>((resolve) => {
        go = resolve;
      });
      const body = new ReadableStream({
        async start(controller) {
          controller.enqueue(new TextEncoder().encode("one "));
          await more;
          controller.enqueue(new TextEncoder().encode("two"));
          controller.close();
        },
      });
      const response = await ask("/upper", { method: "POST", body });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      expect(new TextDecoder().decode((await reader.read()).value)).toBe("ONE ");
      go();
      expect(new TextDecoder().decode((await reader.read()).value)).toBe("TWO");
      expect((await reader.read()).done).toBe(true);
    });

    test("waits for timers, files, workers and the network", async () => {
      expect(await text("/timer")).toBe("timer");
      expect(await text("/file")).toBe("written");
      expect(await text("/worker")).toBe("42");
      expect(await text(`/fetch?at=http://127.0.0.1:${host.port}/`)).toBe("from the host");
    });

    test("answers though another thread never rests", async () => {
      for (let i = 0; i < 3; i++) expect(await text("/busy")).toBe("busy");
    });

    test("has the environment and the permissions that it is given", async () => {
      expect(await text("/env?name=GIVEN")).toBe("given");
      expect(await text("/env?name=SHELL")).toBe("(none)");
      const secret = written("secret", "of the host");
      expect((await ask(`/read?path=${secret}`)).status).toBe(500);
      await using granted = await isolate(handler("features.ts"), { runtime, warmup: 0, permissions: { read: [folder] } });
      expect(await (await granted.fetch(new Request(`http://x/read?path=${secret}`))).text()).toBe("of the host");
    });

    test("has the channel for itself", async () => {
      expect(await text("/channel")).toBe("EBUSY");
    });

    test("is told that it lies where its file does", async () => {
      expect(await json("/where")).toEqual({
        url: Bun.pathToFileURL(handler("features.ts")).href,
        folder: join(import.meta.dir, "handlers"),
      });
    });

    const failures: [path: string, message: string, named: string][] = [
      ["/throws", "thrown with a secret", '"/throws": () => {'],
      ["/rejects", "rejected with a secret", '"/rejects": async'],
      ["/uncaught", "uncaught with a secret", '"/uncaught": () =>'],
      ["/unhandled", "unhandled with a secret", '"/unhandled": () =>'],
    ];
    test.each(failures)("%s is 500, and onError knows where", async (target, message, near) => {
      errors.length = 0;
      const response = await ask(target);
      expect([response.status, await response.text()]).toEqual([500, ""]);
      const [error] = errors;
      expect(PristineError.is(error, "GUEST_EXIT")).toBe(true);
      const cause = error?.cause as Error;
      expect([cause.name, cause.message]).toEqual(["RangeError", message]);
      const place = new RegExp(`${RegExp.escape(handler("features.ts"))}:(\\d+):\\d+`).exec(cause.stack ?? "");
      const lines = (await Bun.file(handler("features.ts")).text()).split("\n");
      const line = Number(place?.[1]);
      const began = lines.findIndex((text) => text.includes(near)) + 1;
      expect(line).toBeGreaterThanOrEqual(began);
      expect(line).toBeLessThanOrEqual(began + 4);
    });

    test("fails in other ways, and the pool goes on", async () => {
      errors.length = 0;
      expect((await ask("/nothing")).status).toBe(500);
      expect(((errors[0] as PristineError).cause as Error).message).toContain("in place of a Response");
      expect((await ask("/exit")).status).toBe(500);
      expect(errors[1]).toMatchObject({ code: "GUEST_EXIT", details: { exitCode: 3 } });
      if (!emulated) {
        expect((await ask("/loop")).status).toBe(504);
        expect(errors[2]?.code).toBe("TIMEOUT");
        expect((await ask("/never")).status).toBe(504);
        expect(errors[3]?.code).toBe("TIMEOUT");
      }
      const late = await ask("/late");
      // A head that has not gone out when the handler fails never does.
      if (late.status === 200) expect(late.text()).rejects.toThrow("late with a secret");
      else expect(late.status).toBe(500);
      for (let i = 0; i < 4; i++) expect(await text("/timer")).toBe("timer");
    });

    test("ends with its client", async () => {
      const client = new AbortController();
      const response = await ask("/endless", { signal: client.signal });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      client.abort();
      expect(
        (async () => {
          while (!(await reader.read()).done);
        })(),
      ).rejects.toThrow();
      for (let i = 0; i < 4; i++) expect(await text("/timer")).toBe("timer");
    });

    test("has seen the requests of the warm-up, and none without", async () => {
      expect(await json("/count")).toEqual({ requests: 21 });
      expect(await json("/count")).toEqual({ requests: 21 });
      await using cold = await isolate(handler("features.ts"), { runtime, warmup: 0 });
      for (let i = 0; i < 2; i++) expect(await (await cold.fetch(new Request("http://x/count"))).json()).toEqual({ requests: 1 });
    });

    test(`costs ${exitsMax} exits when it answers at once`, async () => {
      const file = written("hello.ts", "export default async (request: Request) => new Response(request.url + (await request.text()));");
      await using hello = await isolate(file, { runtime, forks: 1 });
      // One that does not tell its length is there as soon as one that does.
      for (const body of [undefined, " and a body"]) {
        const counts: number[] = [];
        for (let i = 0; i < 60; i++) {
          const before = await hello.use((fork) => fork.counters().exits);
          const request = new Request(`http://x/${i}`, body === undefined ? {} : { method: "POST", body });
          expect(request.headers.has("content-length")).toBe(false);
          expect(await (await hello.fetch(request)).text()).toBe(`http://x/${i}${body ?? ""}`);
          counts.push((await hello.use((fork) => fork.counters().exits)) - before);
        }
        // The first ones have the faults of a new fork, and now and then another thread of the runtime has a turn.
        const [median] = counts.sort((a, b) => a - b).slice(counts.length >> 1);
        expect([body, Math.max(median as number, exitsMax)]).toEqual([body, exitsMax]);
      }
    });

    test(`gives ${draws} requests as many random numbers of each kind`, async () => {
      await using random = await isolate(handler("random.ts"), { runtime, forks: 2, timeout: 60_000 });
      const seen = new Map<string, Set<string>>();
      const drawAll = async (query: string, count: number) => {
        for (let i = 0; i < count; i++) {
          const response = await random.fetch(new Request(`http://x/${query}`));
          expect(response.status).toBe(200);
          for (const [kind, drawn] of Object.entries((await response.json()) as Record<string, string>)) {
            if (!seen.has(kind)) seen.set(kind, new Set());
            seen.get(kind)?.add(drawn);
          }
        }
      };
      await drawAll("", draws);
      for (const [kind, drawn] of seen) expect([kind, drawn.size]).toEqual([kind, draws]);
      const kinds = [...seen.keys()];
      // Each once more as the first of its request, which renews what is in store.
      for (const kind of kinds) await drawAll(`?kind=${encodeURIComponent(kind)}`, dearDraws);
      for (const kind of kinds) expect([kind, seen.get(kind)?.size]).toEqual([kind, draws + dearDraws]);
      seen.clear();
      await drawAll("?dear", dearDraws);
      for (const [kind, drawn] of seen) expect([kind, drawn.size]).toEqual([kind, dearDraws]);
    });

    test("does nothing behind the last byte of its answer", async () => {
      const trace = written(`trace-${name}`, "");
      const file = written(`behind-${name}.ts`, behind(trace));
      await using late = await isolate(file, {
        runtime,
        forks: 1,
        warmup: 0,
        timeout: emulated ? 60_000 : 5_000,
        permissions: { read: [trace], write: [trace] },
      });
      const done = async (path: string) => {
        writeFileSync(trace, "");
        expect(await (await late.fetch(new Request(`http://x${path}`))).text()).toBe("answer");
        await Bun.sleep(200);
        return readFileSync(trace, "utf8").split("\n").filter(Boolean);
      };
      for (let round = 0; round < 3; round++) {
        expect(await done("/at-once")).toEqual(["handler"]);
        // The same timer, of a handler that answers only behind it.
        expect(await done("/waits")).toEqual(["handler", "timer"]);
      }
    });

    test("says what is wrong with a module that cannot be loaded", async () => {
      const early = await isolate(handler("throws-early.ts"), { runtime }).catch((error) => error);
      expect(PristineError.is(early, "GUEST_EXIT")).toBe(true);
      expect((early.cause as Error).message).toBe("too many");
      expect((early.cause as Error).stack).toContain(`${handler("throws-early.ts")}:4:`);
      const none = await isolate(handler("no-handler.ts"), { runtime }).catch((error) => error);
      expect((none.cause as Error).message).toContain("default export");
    });
  });
}

test("a module that cannot be bundled is named with its line", async () => {
  const file = written("broken.ts", "export default () => {\n  const x = ;\n};\n");
  const syntax = await isolate(file).catch((error) => error);
  expect(PristineError.is(syntax, "BUNDLE_FAILED")).toBe(true);
  expect(syntax.message).toMatch(/broken\.ts:2:13/);
  expect(syntax.hint).toContain("const x = ;");
  const imports = await isolate(written("imports.ts", 'import "./nowhere.ts";\n')).catch((error) => error);
  expect(imports.message).toMatch(/imports\.ts:1:8: Could not resolve "\.\/nowhere\.ts"/);
  expect((await isolate(join(folder, "missing.ts")).catch((error) => error)).code).toBe("BUNDLE_FAILED");
});

test("options that are none are refused", async () => {
  const file = handler("no-handler.ts");
  expect(isolate(file, { runtime: "perl" as "bun" })).rejects.toMatchObject({ code: "BAD_OPTION", details: { option: "runtime" } });
  expect(isolate(file, { runtime: { path: "/nowhere/node" } })).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(isolate(file, { warmup: -1 })).rejects.toMatchObject({ code: "BAD_OPTION", details: { option: "warmup" } });
});

test("a machine without a handler has no channel", async () => {
  const open = 'require("node:fs").openSync("/dev/pristine")';
  await using machine = await Machine.boot(process.execPath, { args: ["-e", open], memory: "2GiB", stderr: "pipe" });
  const [stop, told] = await Promise.all([machine.run(), new Response(machine.stderr).text()]);
  expect(stop).toMatchObject({ reason: "exit", exitCode: 1 });
  expect(told).toContain("ENXIO");
});

test("nothing is left on the host", async () => {
  const listed = () => readdirSync(tmpdir()).filter((name) => /pristine-(shim|handler|openssl)|^deno$|^pristine$/.test(name));
  const before = listed();
  const file = written("short.ts", "export default () => new Response('short');");
  await using pool = await isolate(file, { warmup: 0 });
  expect(await (await pool.fetch(new Request("http://x/"))).text()).toBe("short");
  expect(listed()).toEqual(before);
});

test("an answer of a length that cannot be is an error of the handler's own", async () => {
  await using pool = await isolate(handler("forges.ts"), { forks: 1, warmup: 0, timeout: emulated ? 60_000 : 2_000 });
  const ask = async (path: string) => (await pool.fetch(new Request(`http://x${path}`))).text();
  expect(JSON.parse(await ask("/forge"))).toEqual(["EINVAL", "EINVAL", "EINVAL", "EINVAL"]);
  expect(await ask("/")).toBe("good");
});
