/** Pools: each use has a fork of its own that is put back; servers behind `fetch` are never believed. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { gatheredMax } from "../src/http/wire.ts";
import { isolate, Machine, Pool, type PristineError } from "../src/index.ts";

setDefaultTimeout(120_000);

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const server = (options: object = {}) =>
  isolate({ program: guest("raw-server"), args: ["8000"], forks: 2, timeout: 2_000, memory: "64MiB", stdout: "ignore", ...options });
const at = (path: string, init?: RequestInit) => new Request(`http://example.com${path}`, init);

async function functions(options: object = {}): Promise<Pool> {
  const vm = await Machine.boot(guest("functions"), { stdout: "ignore", stderr: "ignore" });
  await vm.run();
  const image = vm.freeze();
  vm.close();
  return new Pool(image, options);
}

describe("a pool of functions", () => {
  test("gives each use a fork that no one else has, and puts it back", async () => {
    await using pool = await functions({ forks: 3 });
    const counter = pool.fn("counter", { returns: "u64_fast" });
    const counts = await Promise.all(Array.from({ length: 30 }, () => counter()));
    expect(new Set(counts).size).toBe(1);
    let busy = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 12 }, () =>
        pool.use(async () => {
          most = Math.max(most, ++busy);
          await Bun.sleep(5);
          busy--;
        }),
      ),
    );
    expect(most).toBe(3);
  });

  test("is not told about connections by fetch", async () => {
    let error: PristineError | undefined;
    await using pool = await server({
      per: "connection",
      warmup: 0,
      onError: (one: PristineError) => {
        error = one;
      },
    });
    expect((await pool.fetch(at("/"))).status).toBe(501);
    expect(error?.hint).toContain("pool.listener");
  });

  test("serves in the order of asking, refuses what the queue cannot take, forgets who has left", async () => {
    await using pool = await functions({ forks: 1, queue: 2 });
    const order: number[] = [];
    let release = () => {};
    const first = pool.use(() => new Promise<void>((resolve) => (release = resolve)));
    const leaves = new AbortController();
    const left = pool.use(() => order.push(0), { signal: leaves.signal });
    const second = pool.use(() => order.push(1));
    expect(pool.use(() => 2)).rejects.toMatchObject({ code: "BUSY" });
    leaves.abort(new Error("left"));
    expect(left).rejects.toThrow("left");
    const third = pool.use(() => order.push(2));
    release();
    await Promise.all([first, second, third]);
    expect(order).toEqual([1, 2]);
  });

  test("goes on after faults, and after what a use throws", async () => {
    await using pool = await functions({ forks: 1 });
    const fault = pool.fn("read_null", { returns: "i32" });
    expect(fault()).rejects.toMatchObject({ code: "GUEST_FAULT" });
    expect(pool.use(() => Promise.reject(new Error("mine")))).rejects.toThrow("mine");
    expect(await pool.fn("add", { args: ["i64", "i64"], returns: "i64_fast" })(40, 2)).toBe(42);
  });

  test("stops when its uses are done, and takes no more", async () => {
    const pool = await functions({ forks: 1 });
    const done: string[] = [];
    const slow = pool.use(async () => {
      await Bun.sleep(50);
      done.push("use");
    });
    await pool.stop();
    done.push("stopped");
    await slow;
    expect(done).toEqual(["use", "stopped"]);
    expect(pool.use(() => 1)).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("has no server behind fetch", async () => {
    await using pool = await functions();
    expect((await pool.fetch(at("/"))).status).toBe(501);
  });
});

describe("a server", () => {
  test("answers every request as its first", async () => {
    await using web = await server();
    for (let i = 0; i < 50; i++) {
      const response = await web.fetch(at("/count"));
      expect([response.status, await response.text()]).toEqual([200, "1"]);
    }
    expect(web.metrics.resets.full).toBe(0);
  });

  test("has its forks ready, each behind a request, before anybody asks, and again when one has failed", async () => {
    await using web = await server({ forks: 3 });
    const privatePages = async () => {
      for (let tries = 0; web.metrics.state.free < 3 && tries < 1000; tries++) await Bun.sleep(5);
      expect(web.metrics.state).toEqual({ forks: 3, free: 3, queued: 0, limit: 3 });
      return Promise.all([0, 1, 2].map(() => web.use(async (fork) => fork.counters().pagesTouched)));
    };
    expect(Math.min(...(await privatePages()))).toBeGreaterThan(0);
    expect((await web.fetch(at("/fault"))).status).toBe(500);
    expect(web.metrics.resets.full).toBe(1);
    expect(Math.min(...(await privatePages()))).toBeGreaterThan(0);
    expect([...web.metrics.byStatus]).toEqual([[500, 1]]);
  });

  test("has no request that nobody sent without a warm-up", async () => {
    await using web = await server({ forks: 2, warmup: 0, connection: "fresh" });
    for (let tries = 0; web.metrics.state.free < 2 && tries < 1000; tries++) await Bun.sleep(5);
    const exits = await Promise.all([0, 1].map(() => web.use(async (fork) => fork.counters().exits)));
    expect(exits).toEqual([0, 0]);
  });

  test("whose threads wait for each other's turn gets on, on whatever thread of the host", async () => {
    await using web = await server({ timeout: 30_000 });
    for (let i = 0; i < 3; i++) expect(await (await web.fetch(at("/turns"))).text()).toBe("done");
  });

  test("takes three exits for a request on a connection that is kept", async () => {
    await using web = await server({ forks: 1 });
    await (await web.fetch(at("/"))).text();
    const exits = () => web.use((fork) => fork.counters().exits);
    const counts: number[] = [];
    for (let i = 0; i < 21; i++) {
      const before = await exits();
      await (await web.fetch(at("/"))).text();
      counts.push((await exits()) - before);
    }
    // A host that stops this thread in the middle of one makes it go on on another, which is one more.
    expect(counts.sort((a, b) => a - b)[10]).toBeLessThanOrEqual(3);
  });

  for (const connection of ["kept", "fresh"] as const) {
    test(`passes bodies of every size and kind (${connection})`, async () => {
      await using web = await server({ connection });
      for (const size of [0, 1, 1000, 70_000, gatheredMax, gatheredMax + 1, 1_000_000]) {
        const body = new Uint8Array(size).map((_, index) => index * 7);
        const response = await web.fetch(at("/echo", { method: "POST", body, headers: { "content-length": String(size) } }));
        expect(Bun.hash(await response.arrayBuffer())).toBe(Bun.hash(body));
        const chunked = await web.fetch(at("/echo", { method: "POST", body: new Blob([body]).stream() }));
        expect(Bun.hash(await chunked.arrayBuffer())).toBe(Bun.hash(body));
      }
      const pieces = ["one ", "two ", "three"];
      const stream = new ReadableStream({
        async pull(controller) {
          await Bun.sleep(10);
          const piece = pieces.shift();
          if (piece) controller.enqueue(new TextEncoder().encode(piece));
          else controller.close();
        },
      });
      const response = await web.fetch(at("/echo", { method: "POST", body: stream }));
      expect(await response.text()).toBe("one two three");
    });
  }

  test("is passed on as it answers: heads, none, early ones, bodies that the end ends", async () => {
    await using web = await server();
    const head = await web.fetch(at("/head", { method: "HEAD" }));
    expect([head.status, head.headers.get("content-length"), head.headers.get("x-twice")]).toEqual([200, "1000", "a, b"]);
    const empty = await web.fetch(at("/empty"));
    expect([empty.status, await empty.text()]).toEqual([204, ""]);
    expect(await (await web.fetch(at("/early"))).text()).toBe("late");
    expect(await (await web.fetch(at("/to-the-end"))).text()).toBe("until the end");
    expect((await web.fetch(at("/nothing-here"))).status).toBe(404);
  });

  test("streams: pieces arrive while it goes on", async () => {
    await using web = await server();
    const response = await web.fetch(at("/slow"));
    const pieces: string[] = [];
    for await (const piece of response.body as ReadableStream<Uint8Array>) pieces.push(new TextDecoder().decode(piece));
    expect(pieces.join("")).toBe("0;1;2;3;4;");
    expect(pieces.length).toBeGreaterThan(2);
  });

  for (const path of ["/garbage", "/two-lengths", "/both", "/bad-chunk", "/upgrade", "/header", "/close"]) {
    test(`that answers wrongly is 502: ${path}`, async () => {
      const seen: string[] = [];
      await using web = await server({
        onError: (error: PristineError) => {
          seen.push(error.code);
        },
      });
      const response = await web.fetch(at(path));
      const text = await response.text().catch(() => "broken off");
      expect(path === "/bad-chunk" ? [502, 200] : [502]).toContain(response.status);
      if (response.status === 200) expect(text).toBe("broken off");
      else expect(seen).toEqual(["BAD_REPLY"]);
      expect(await (await web.fetch(at("/count"))).text()).toBe("1");
    });
  }

  test("that breaks off, or says more than it was asked, gives nobody else anything", async () => {
    await using web = await server({ forks: 1 });
    expect((await web.fetch(at("/short"))).status).toBe(502);
    expect(await (await web.fetch(at("/two-answers"))).text()).toBe("abc");
    expect(await (await web.fetch(at("/"))).text()).toBe("hello");
  });

  test("that ends, faults or never answers is one request's 500 or 504", async () => {
    const seen: string[] = [];
    await using web = await server({
      timeout: 150,
      onError: (error: PristineError) => {
        seen.push(error.code);
      },
    });
    const status = async (path: string) => (await web.fetch(at(path))).status;
    expect(await Promise.all(["/exit", "/fault", "/spin", "/sleep", "/"].map(status))).toEqual([500, 500, 504, 504, 200]);
    expect(seen.sort()).toEqual(["GUEST_EXIT", "GUEST_FAULT", "TIMEOUT", "TIMEOUT"]);
    for (let i = 0; i < 10; i++) expect(await status("/")).toBe(200);
    expect(await (await web.fetch(at("/count"))).text()).toBe("1");
  });

  test("refuses with 503 what its queue cannot take, and what comes when it has stopped", async () => {
    const web = await server({ forks: 1, queue: 1 });
    for (let tries = 0; web.metrics.state.free < 1 && tries < 1000; tries++) await Bun.sleep(5);
    const ask = async () => {
      const answer = await web.fetch(at("/slow"));
      // Its fork is free when all of it has been taken.
      await answer.text();
      return answer.status;
    };
    expect(await Promise.all(Array.from({ length: 5 }, ask))).toEqual([200, 200, 503, 503, 503]);
    await web.stop();
    expect((await web.fetch(at("/"))).status).toBe(503);
  });

  test("whose client leaves does not go on for it", async () => {
    await using web = await server({ forks: 1, timeout: 30_000 });
    const leaves = new AbortController();
    const asked = web.fetch(at("/sleep", { signal: leaves.signal }));
    setTimeout(() => leaves.abort(), 50);
    expect((await asked).status).toBe(499);
    const slow = await web.fetch(at("/slow"));
    await slow.body?.cancel();
    expect(await (await web.fetch(at("/count"))).text()).toBe("1");
  });

  test("is answered for by onError, and refuses what it cannot pass on", async () => {
    await using web = await server({ onError: (error: PristineError) => new Response(error.code, { status: 599 }) });
    const failed = await web.fetch(at("/exit"));
    expect([failed.status, await failed.text()]).toEqual([599, "GUEST_EXIT"]);
    expect(await (await web.fetch(at("/", { headers: { upgrade: "websocket" } }))).text()).toBe("UNSUPPORTED");
  });

  test("that does not listen is an error at once", async () => {
    expect(isolate({ program: "/bin/true" })).rejects.toMatchObject({ code: "GUEST_EXIT" });
  });

  test("is served by Bun.serve to many clients, each of whom gets what is meant for him", async () => {
    await using web = await server({ forks: 4 });
    using http = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: web.fetch });
    const ask = async (index: number) => (await fetch(new URL("/echo", http.url), { method: "POST", body: `body ${index}` })).text();
    const texts = await Promise.all(Array.from({ length: 300 }, (_, index) => ask(index)));
    expect(texts).toEqual(Array.from({ length: 300 }, (_, index) => `body ${index}`));
  });
});
