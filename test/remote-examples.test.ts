/** The examples of remotes: a store, a rate limiter and a database, which callers share that forget everything. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { program, script, sqliteLibrary } from "../examples/remotes/build.ts";
import { type Fork, isolate, Machine, Pool, type PristineError, type Snapshot } from "../src/index.ts";
import { hostFolder } from "./folders.ts";
import { paths } from "./runtimes/cases.ts";

setDefaultTimeout(60_000);

interface Pair extends Disposable {
  readonly remote: Machine;
  readonly image: Snapshot;
}

/** A remote that is ready, and the image of a program that is connected to it. */
async function connected(name: string, remote: Machine, client: string): Promise<Pair> {
  await remote.run({ until: "ready" });
  using caller = await Machine.boot(await program(client), { remotes: { [name]: remote } });
  expect(await caller.run({ until: "ready" })).toEqual({ reason: "ready" });
  const image = caller.freeze();
  return {
    ...{ remote, image },
    [Symbol.dispose]() {
      image.close();
      remote.close();
    },
  };
}

const bootRemote = async (name: string, options: Parameters<typeof Machine.boot>[1] = {}) =>
  await Machine.boot(await program(name), { ...options, remote: true, stdout: "inherit" });

const codeOf = (call: () => unknown): string => {
  try {
    return String(call());
  } catch (error) {
    return (error as PristineError).code;
  }
};

describe("the store", () => {
  const values = { missing: -1, badLength: -2, noNumber: -4 };
  const get = (fork: Fork, key: string): string | number => {
    const out = fork.memory.allocate(70_000);
    const length = Number(fork.call("client_get", key, out, 65_536));
    return length < 0 ? length : new TextDecoder().decode(fork.memory.read(out, length));
  };

  test("gets what others have set, and forgets what they have deleted", async () => {
    using store = await connected("kv", await bootRemote("kv"), "kv_client");
    await using pool = new Pool(store.image, { forks: 3 });
    expect(await pool.use((fork) => get(fork, "a"))).toBe(values.missing);
    await Promise.all(Array.from({ length: 200 }, (_, n) => pool.use((fork) => fork.call("client_set", `key ${n}`, `value ${n}`))));
    expect(await pool.use((fork) => fork.call("client_count"))).toBe(200);
    expect(await pool.use((fork) => get(fork, "key 137"))).toBe("value 137");
    await pool.use((fork) => fork.call("client_set", "key 137", "x".repeat(40_000)));
    expect(await pool.use((fork) => get(fork, "key 137"))).toBe("x".repeat(40_000));
    expect(await pool.use((fork) => fork.call("client_delete", "key 137"))).toBe(0);
    expect(await pool.use((fork) => fork.call("client_delete", "key 137"))).toBe(values.missing);
    expect(await pool.use((fork) => fork.call("client_count"))).toBe(199);
  });

  test("its callers are fresh for each request", async () => {
    using store = await connected("kv", await bootRemote("kv"), "kv_client");
    await using pool = new Pool(store.image, { forks: 2 });
    const visits = Array.from({ length: 50 }, () =>
      pool.use((fork) => [fork.call("client_add", "visits", 1), fork.call("client_calls")] as const),
    );
    const seen = await Promise.all(visits);
    expect(seen.map(([number]) => Number(number)).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
    expect(new Set(seen.map(([, calls]) => calls))).toEqual(new Set([1]));
  });

  test("is called by a server of isolate(), from more forks than one process has otherwise", async () => {
    using machine = await bootRemote("kv");
    await machine.run({ until: "ready" });
    const remotes = { kv: { machine, mode: "shared" } } as const;
    await using pool = await isolate({ program: await program("visits"), remotes, forks: 20, warmup: 2 });
    const before = Number(machine.call("count"));
    const bodies = await Promise.all(
      Array.from({ length: 40 }, async () => await (await pool.fetch(new Request("http://localhost/"))).text()),
    );
    const stored = bodies.map((body) => Number(/ here, (\d+) in the store/.exec(body)?.[1]));
    expect(new Set(stored).size).toBe(40);
    expect(before).toBe(1);
  });

  test("uses its memory again", async () => {
    using store = await connected("kv", await bootRemote("kv", { args: ["4"] }), "kv_client");
    using fork = store.image.fork();
    for (let round = 0; round < 400; round++) {
      expect(fork.call("client_set", `k${round % 7}`, String(round).padEnd((round * 977) % 60_000, "."))).toBe(0);
      if (round % 3 === 0) fork.call("client_delete", `k${(round + 2) % 7}`);
    }
    fork.call("client_set", "large", "y".repeat(60_000));
    let result = 0;
    for (let n = 0; n < 400 && result === 0; n++) result = Number(fork.call("client_set", `fill ${n}`, "z".repeat(60_000)));
    // Full, and still there.
    expect(result).toBe(-3);
    expect(fork.call("client_delete", "fill 0")).toBe(0);
    expect(fork.call("client_set", "fill again", "z".repeat(60_000))).toBe(0);
    expect(get(fork, "large")).toBe("y".repeat(60_000));
  });

  test("calls that are given up anywhere leave it whole", async () => {
    using store = await connected("kv", await bootRemote("kv"), "kv_client");
    using reader = store.image.fork();
    for (let round = 0; round < 60; round++) {
      using fork = store.image.fork({ timeout: 2 + (round % 7) });
      expect(codeOf(() => fork.call("client_storm", round))).toBe("TIMEOUT");
      expect(reader.call("client_check")).toBe(reader.call("client_count"));
    }
  });

  test("trusts no length and no pointer", async () => {
    using store = await connected("kv", await bootRemote("kv"), "kv_client");
    using fork = store.image.fork();
    const raw = (...words: (number | bigint)[]) => codeOf(() => fork.call("client_raw_set", ...words));
    const key = fork.memory.allocate(64);
    expect(raw(key, 0, key, 1)).toBe(String(values.badLength));
    expect(raw(key, 257, key, 1)).toBe(String(values.badLength));
    expect(raw(key, 4, key, 65_537)).toBe(String(values.badLength));
    expect(raw(key, -1, key, -1)).toBe(String(values.badLength));
    fork.call("client_set", "word", "no number");
    expect(fork.call("client_add", "word", 1)).toBe(values.noNumber);
    for (const [words, code] of [
      [[0x123456789000, 4, key, 1], "GUEST_FAULT"],
      [[key, 4, 0x123456789000, 60_000], "GUEST_FAULT"],
      [[0x600000000000, 4, key, 1], "DENIED"],
    ] as const) {
      expect(raw(...words)).toBe(code);
      fork.reset();
    }
    // Where it would be written is the caller's word too; the store is whole behind it.
    expect(codeOf(() => fork.call("client_raw_get", "word", 4, 0x123456789000, 100))).toBe("GUEST_FAULT");
    fork.reset();
    expect(get(fork, "word")).toBe("no number");
    expect(fork.call("client_count")).toBe(1);
  });
});

describe("the store, as scripts call it", () => {
  const folder = join(import.meta.dir, "../examples/remotes");
  const booted = async () => {
    const machine = await bootRemote("kv");
    expect(await machine.run({ until: "ready" })).toEqual({ reason: "ready" });
    return machine;
  };

  test("handlers of isolate() share it, and nothing else", async () => {
    using kv = await booted();
    await using app = await isolate(join(folder, "handler.ts"), { runtime: "bun", remotes: { kv }, forks: 3, timeout: 10_000 });
    const fetched = async (path: string, options?: RequestInit) => await app.fetch(new Request(`http://localhost${path}`, options));
    const visits = await Promise.all(
      Array.from({ length: 60 }, async () => (await (await fetched("/visit/you")).json()) as { here: number; stored: number }),
    );
    expect(visits.map(({ stored }) => stored).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n + 1));
    expect(new Set(visits.map(({ here }) => here))).toEqual(new Set([1]));

    const value = new Uint8Array(65_536).map((_, at) => at % 251);
    expect((await fetched("/value/large", { method: "PUT", body: value })).status).toBe(204);
    expect(Bun.hash(await (await fetched("/value/large")).bytes())).toBe(Bun.hash(value));
    expect((await fetched("/value/large", { method: "PUT", body: new Uint8Array(65_537) })).status).toBe(400);
    expect((await fetched("/value/none")).status).toBe(404);
    expect((await fetched(`/value/${"k".repeat(257)}`)).status).toBe(400);
    expect((await fetched("/value/visits:me", { method: "PUT", body: "no number" })).status).toBe(204);
    expect((await fetched("/visit/me")).status).toBe(409);
    expect(Bun.hash(await (await fetched("/value/large")).bytes())).toBe(Bun.hash(value));
    // Its functions are called as before, by other machines and by its embedder.
    expect(Number(kv.call("count"))).toBe(3);
  });

  test("what a text says is taken for no more than it is", async () => {
    using kv = await booted();
    using caller = await Machine.boot(await program("kv_client"), { remotes: { kv } });
    await caller.run({ until: "ready" });
    const room = 128;
    const ask = (text: string, length = room) => {
      const bytes = new Uint8Array(length);
      new TextEncoder().encodeInto(text, bytes);
      const at = caller.memory.allocate(length);
      caller.memory.write(at, bytes);
      const reply = Number(caller.call("client_text", at, length));
      return reply < 0 ? reply : new TextDecoder().decode(caller.memory.read(at, reply));
    };
    const errors = { missing: -2, invalid: -22, domain: -33, tooLong: -90 };
    const all = (text: string) => ask(text, text.length);
    expect(all("SET a 1 2\n3")).toBe("");
    expect(ask("GET a")).toBe("1 2\n3");
    expect(ask("GET a\n", 6)).toBe("1 2\n3");
    expect(all("SET a 123456789")).toBe("");
    expect(all("GET a")).toBe(errors.tooLong);
    expect(ask("ADD a 1\n")).toBe("123456790");
    expect(ask("ADD a -123456790\n")).toBe("0");
    expect(ask("ADD a 1", 17)).toBe(errors.tooLong);
    expect(ask("ADD a 999999999999999999\n", 30)).toBe("999999999999999999");
    for (const words of [
      "ADD a 1",
      "ADD a -1000000000000000000",
      "ADD a -",
      "ADD a",
      "ADD a 1x",
      "ADD  1",
      "GET",
      "GET ",
      "SET",
      "",
      "get a",
    ])
      expect([words, ask(`${words}\n`)]).toEqual([words, words === "ADD a 1" ? errors.domain : errors.invalid]);
    expect(ask("DELETE a\n")).toBe("");
    expect(ask("DELETE a\n")).toBe(errors.missing);
    expect(ask("GET a\n")).toBe(errors.missing);
    expect(ask(`GET ${"k".repeat(256)}`, 300)).toBe(errors.missing);
    expect(ask(`GET ${"k".repeat(257)}`, 300)).toBe(errors.invalid);
    expect(caller.call("client_text", 0, 0)).toBe(errors.invalid);
    expect(ask("SET b", 65_536 + 6)).toBe("");
    expect(ask("SET b", 65_536 + 7)).toBe(errors.invalid);
    expect(caller.call("client_count")).toBe(1);
  });
});

const python = "/usr/bin/python3";
// Runtimes take too long where processors are emulated.
const noCache =
  process.env.PRISTINE_LANE !== undefined
    ? " (emulated)"
    : [python, paths.deno].flatMap((path) => (existsSync(path) ? [] : ` (${path} is not there)`)).join("");

describe.skipIf(noCache !== "")(`the cache in Deno${noCache}`, () => {
  const client = join(import.meta.dir, "../examples/remotes/client.py");

  async function serving(words: string[] = []) {
    const args = ["run", "--no-prompt", "--allow-read=/pristine", "--allow-write=/pristine", await script("cache"), ...words];
    const env = { NO_COLOR: "1", HOME: "/tmp/home", DENO_DIR: "/tmp/deno", DENO_NO_UPDATE_CHECK: "1", DENO_NO_PACKAGE_JSON: "1" };
    const permissions = { read: true } as const;
    const cache = await Machine.boot(paths.deno, { remote: true, args, env, permissions, memory: "4GiB" });
    expect(await cache.run({ until: "ready" })).toEqual({ reason: "ready" });
    const app = await isolate({ program: python, args: [client], permissions, remotes: { cache }, forks: 3, timeout: 10_000 });
    const fetched = async (path: string, options?: RequestInit) => await app.fetch(new Request(`http://localhost${path}`, options));
    return {
      fetched,
      put: async (path: string, body: string | Uint8Array<ArrayBuffer>) =>
        (await fetched(path, { method: "PUT", body, headers: { "content-length": String(body.length) } })).status,
      numbers: async () => (await (await fetched("/")).json()) as Record<string, number>,
      async [Symbol.asyncDispose]() {
        await app.stop();
        cache.close();
      },
    };
  }

  test("what one request of a Python server has put there, another gets", async () => {
    await using server = await serving();
    const { requests } = await server.numbers();
    const keys = Array.from({ length: 20 }, (_, n) => `/key%20${n}`);
    expect(await Promise.all(keys.map((key) => server.put(key, `value of ${key}`)))).toEqual(keys.map(() => 204));
    const values = await Promise.all(keys.map(async (key) => await (await server.fetched(key)).text()));
    expect(values).toEqual(keys.map((key) => `value of ${key}`));
    expect((await server.fetched("/nobody")).status).toBe(404);
    expect((await server.fetched("/key", { method: "PUT", body: "of no length" })).status).toBe(411);
    // Its forks have counted nothing, the cache has.
    expect(await server.numbers()).toMatchObject({ requests: requests as number, entries: 20, hits: 20, misses: 1 });
  });

  test("entries end when their time is over", async () => {
    await using server = await serving();
    expect(await server.put("/short?seconds=2", "gone")).toBe(204);
    expect(await server.put("/long?seconds=60", "kept")).toBe(204);
    expect(await (await server.fetched("/short")).text()).toBe("gone");
    await Bun.sleep(2_010);
    expect((await server.fetched("/short")).status).toBe(404);
    expect(await (await server.fetched("/long")).text()).toBe("kept");
    for (const seconds of ["-1", "1e9", "86401", "soon", ""]) expect(await server.put(`/bad?seconds=${seconds || "%20"}`, "x")).toBe(400);
    expect(await server.numbers()).toMatchObject({ entries: 1 });
  });

  test("a value for which a buffer is too small is asked for again, and one beyond the bound is refused", async () => {
    await using server = await serving();
    const value = new Uint8Array(65_536).map((_, at) => at % 251);
    expect(await server.put("/large", value)).toBe(204);
    expect(Bun.hash(await (await server.fetched("/large")).bytes())).toBe(Bun.hash(value));
    expect(await server.put("/large", new Uint8Array(65_537))).toBe(413);
    expect(Bun.hash(await (await server.fetched("/large")).bytes())).toBe(Bun.hash(value));
    expect(await server.put(`/${"k".repeat(257)}`, "x")).toBe(400);
  });

  test("when it is full, what was not used for the longest time makes room", async () => {
    await using server = await serving(["1"]);
    const value = new Uint8Array(65_536);
    for (let n = 0; n < 30; n++) {
      expect(await server.put(`/key-${n}`, value)).toBe(204);
      expect((await server.fetched("/key-0")).status).toBe(200);
    }
    const { entries, bytes } = await server.numbers();
    expect(entries).toBe(15);
    expect(bytes).toBeLessThanOrEqual(1024 * 1024);
    expect((await server.fetched("/key-16")).status).toBe(200);
    expect((await server.fetched("/key-15")).status).toBe(404);
  });
});

describe("the limiter", () => {
  test("forks together get exactly the burst, and tokens come back", async () => {
    using limiter = await connected("limiter", await bootRemote("limiter", { args: ["20", "4"] }), "limiter_client");
    await using pool = new Pool(limiter.image, { forks: 4 });
    const ask = (who: string) => pool.use((fork) => [Number(fork.call("client_take", who)), Number(fork.call("client_asked"))]);
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask("one")));
    // A slow machine gives back a token or two meanwhile.
    const refilled = Math.floor(((performance.now() - began) / 1000) * 4);
    const granted = answers.filter(([wait]) => wait === 0).length;
    expect(granted).toBeGreaterThanOrEqual(20);
    expect(granted).toBeLessThanOrEqual(20 + refilled);
    // Nobody remembers that others have asked.
    expect(new Set(answers.map(([, asked]) => asked))).toEqual(new Set([1]));
    const waits = answers.map(([wait]) => wait as number).filter((wait) => wait > 0);
    expect(Math.max(...waits)).toBeLessThanOrEqual(250_000_000);
    expect((await ask("another"))[0]).toBe(0);
    const [wait] = await ask("one");
    await Bun.sleep((wait as number) / 1e6 + 5);
    expect((await ask("one"))[0]).toBe(0);
  });

  test("a flood of keys opens no gate", async () => {
    using limiter = await connected("limiter", await bootRemote("limiter", { args: ["1", "0.1", "64"] }), "limiter_client");
    using fork = limiter.image.fork();
    let granted = 0;
    for (let n = 0; n < 500; n++) if (fork.call("client_take", `key ${n}`) === 0) granted++;
    expect(granted).toBeLessThanOrEqual(64);
    for (let n = 0; n < 500; n++) expect(Number(fork.call("client_take", `key ${n}`))).toBeGreaterThan(0);
    expect(fork.call("client_take_bytes", 0x1000, 300)).toBe(-1);
    expect(codeOf(() => fork.call("client_take_bytes", 0x123456789000, 8))).toBe("GUEST_FAULT");
  });

  test("limits that make no sense end it before it is ready", async () => {
    for (const args of [["0"], ["1", "0"], ["x"], ["1", "1", "2"]]) {
      using remote = await Machine.boot(await program("limiter"), { remote: true, args, stderr: "ignore" });
      expect(await remote.run({ until: "ready" })).toMatchObject({ reason: "exit", exitCode: 1 });
    }
  });
});

const missing = existsSync(sqliteLibrary) ? "" : ` (${sqliteLibrary} is not there)`;

describe.skipIf(missing !== "")(`the database${missing}`, () => {
  const folder = hostFolder("pristine-sql-");
  afterAll(() => rmSync(folder, { recursive: true }));

  const bootDatabase = async () =>
    await connected(
      "sql",
      await bootRemote("sqlite_remote", { args: [folder], permissions: { read: [folder], write: [folder] } }),
      "sql_client",
    );

  interface Told {
    result: number;
    text: string;
  }
  const told = (fork: Fork, call: (out: number, room: number) => unknown): Told => {
    const room = 1 << 16;
    const out = fork.memory.allocate(room) as number;
    const bytes = fork.memory.read(out, Number(call(out, room)));
    const result = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true));
    return { result, text: new TextDecoder().decode(bytes.subarray(8)) };
  };
  const exec = (fork: Fork, db: number, sql: string, text = "", number = 0) =>
    told(fork, (out, room) => fork.call("client_exec", db, sql, text, number, out, room));
  const query = (fork: Fork, db: number, sql: string, text = "") =>
    told(fork, (out, room) => fork.call("client_query", db, sql, text, out, room));
  const open = (fork: Fork, name: string) => Number(fork.call("client_open", name));

  test("keeps what callers without permission commit, over its own end", async () => {
    {
      using sql = await bootDatabase();
      using fork = sql.image.fork();
      const db = open(fork, "people");
      expect(db).toBe(1);
      expect(
        exec(fork, db, "CREATE TABLE people (name TEXT, age INTEGER, photo BLOB); INSERT INTO people VALUES (?, ?, x'00ff')", 'é"\n', 7),
      ).toEqual({
        ...{ result: 1, text: "" },
      });
      fork.reset();
      expect(exec(fork, db, "INSERT INTO people (name, age) VALUES (?, ?)", "'; DROP TABLE people; --", 1234567890123).result).toBe(1);
      expect(existsSync(join(folder, "people.db"))).toBe(true);
    }
    using sql = await bootDatabase();
    using fork = sql.image.fork();
    const rows = query(fork, open(fork, "people"), "SELECT *, 0.5 AS half, 9e999 AS endless FROM people WHERE name <> ?", "");
    expect(rows.result).toBe(2);
    expect(JSON.parse(rows.text)).toEqual([
      { name: 'é"\n', age: 7, photo: "00ff", half: 0.5, endless: null },
      { name: "'; DROP TABLE people; --", age: 1234567890123, photo: null, half: 0.5, endless: null },
    ]);
  });

  test("a call is one transaction, all of it or nothing", async () => {
    using sql = await bootDatabase();
    using fork = sql.image.fork();
    const db = open(fork, "whole");
    exec(fork, db, "CREATE TABLE t (n INTEGER PRIMARY KEY)");
    const broken = exec(fork, db, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)");
    expect(broken).toEqual({ result: -19, text: "UNIQUE constraint failed: t.n" });
    expect(query(fork, db, "SELECT count(*) AS n FROM t").text).toBe('[{"n":0}]');
    expect(exec(fork, db, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); DELETE FROM t").result).toBe(4);
  });

  test("statements reach nothing but the database", async () => {
    using sql = await bootDatabase();
    using fork = sql.image.fork();
    const db = open(fork, "narrow");
    exec(fork, db, "CREATE TABLE t (n)");
    const denied = [
      "ATTACH 'people.db' AS other",
      "BEGIN",
      "COMMIT",
      "SAVEPOINT s",
      "PRAGMA journal_mode=DELETE",
      "PRAGMA writable_schema=1",
    ];
    for (const statement of denied) expect([statement, exec(fork, db, statement).text]).toEqual([statement, "not authorized"]);
    for (const statement of ["VACUUM INTO 'copy.db'", "SELECT load_extension('x')", "nonsense"])
      expect(exec(fork, db, statement).result).toBeLessThan(0);
    for (const statement of ["INSERT INTO t VALUES (1)", "SELECT 1; SELECT 2"])
      expect(query(fork, db, statement)).toEqual({ result: -1003, text: "a query is one statement, which reads" });
    for (const name of ["../people", "", "a".repeat(33), "a.b"]) expect(open(fork, name)).toBe(-1000);
    expect(query(fork, 99, "SELECT 1").result).toBe(-1001);
    expect(query(fork, db, "SELECT zeroblob(9000000) AS b").result).toBeLessThan(0);
    expect(query(fork, db, "SELECT zeroblob(4000000) AS b").result).toBe(-1004);
    expect(query(fork, db, "SELECT count(*) AS n FROM t").text).toBe('[{"n":0}]');
  });

  test("pointers in a caller's structures lead to the caller's memory, or nowhere", async () => {
    using sql = await bootDatabase();
    using fork = sql.image.fork();
    const db = open(fork, "pointers");
    // All windows of remotes.
    for (let at = 0x600000000000; at < 0x680000000000; at += 0x8000000000) expect(fork.call("client_point", db, at, 100)).toBe(-1002);
    expect(fork.call("client_point", db, 0x5ffffffffff0, 100)).toBe(-1002);
    expect(fork.call("client_point", db, 0x1000, 2 ** 40)).toBe(-1000);
    expect(codeOf(() => fork.call("client_point", db, 0x123456789000, 100))).toBe("GUEST_FAULT");
    fork.reset();
    expect(query(fork, db, "SELECT 1 AS one").text).toBe('[{"one":1}]');
  });

  test("a call that is given up leaves the database whole, and one that does not end is ended", async () => {
    using sql = await bootDatabase();
    using fork = sql.image.fork({ timeout: 100 });
    const db = open(fork, "late");
    const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    expect(codeOf(() => query(fork, db, endless))).toBe("TIMEOUT");
    fork.reset();
    using patient = sql.image.fork({ timeout: 20_000 });
    expect(query(patient, db, "SELECT 1 AS one")).toEqual({ result: 1, text: '[{"one":1}]' });
    expect(query(patient, db, endless)).toEqual({ result: -9, text: "interrupted" });
  });

  test("commits that were answered are there after a kill in the middle of many", async () => {
    const script = `
      import { Machine } from ${JSON.stringify(join(import.meta.dir, "../src/index.ts"))};
      const [remote, client, folder] = process.argv.slice(1);
      const sql = await Machine.boot(remote, { remote: true, args: [folder], permissions: { read: [folder], write: [folder] } });
      await sql.run({ until: "ready" });
      const caller = await Machine.boot(client, { remotes: { sql }, timeout: Infinity });
      await caller.run({ until: "ready" });
      const db = caller.call("client_open", "killed");
      const out = caller.memory.allocate(4096);
      caller.call("client_exec", db, "CREATE TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY, t TEXT)", "", 0, out, 4096);
      let next = Number(process.argv[4]);
      for (;;) {
        next = Number(caller.call("client_fill", db, next, 5));
        require("node:fs").writeSync(1, next + "\\n");
      }`;
    const files = await Promise.all([program("sqlite_remote"), program("sql_client")]);
    let committed = 0;
    for (const commits of [40, 90, 160]) {
      const child = Bun.spawn([process.execPath, "-e", script, ...files, folder, String(committed)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let shown = "";
      for await (const chunk of child.stdout) {
        shown += new TextDecoder().decode(chunk);
        if (shown.split("\n").length > commits / 5) child.kill("SIGKILL");
      }
      await child.exited;
      const said = Number(shown.trimEnd().split("\n").at(-1));
      using sql = await bootDatabase();
      using fork = sql.image.fork({ timeout: 30_000 });
      const db = open(fork, "killed");
      expect(query(fork, db, "PRAGMA integrity_check").text).toBe('[{"integrity_check":"ok"}]');
      const [{ n, last }] = JSON.parse(query(fork, db, "SELECT count(*) AS n, max(n) AS last FROM numbers").text);
      expect(n).toBeGreaterThanOrEqual(said);
      expect(last).toBe(n - 1);
      committed = n;
    }
  });

  test("a remote that is closed in the middle of commits is booted again under the same name", async () => {
    using first = await bootDatabase();
    await using pool = new Pool(first.image, { forks: 2, timeout: 30_000 });
    const db = await pool.use((fork) => open(fork, "closed"));
    await pool.use((fork) => exec(fork, db, "CREATE TABLE numbers (n INTEGER PRIMARY KEY, t TEXT)"));
    const filling = pool.use((fork) => fork.fn("client_fill", { args: ["i64", "i64", "i64"], returns: "i64" }).async([db, 0n, 1_000_000n]));
    const ended = filling.then(
      () => "done",
      (error: PristineError) => error.code,
    );
    await Bun.sleep(500);
    first.remote.close();
    expect(await ended).toBe("REMOTE_FAULT");
    using second = await bootRemote("sqlite_remote", { args: [folder], permissions: { read: [folder], write: [folder] } });
    await second.run({ until: "ready" });
    first.image.connect(second, { name: "sql" });
    expect(await pool.use((fork) => query(fork, open(fork, "closed"), "PRAGMA integrity_check").text)).toBe('[{"integrity_check":"ok"}]');
    const counted = await pool.use((fork) => query(fork, db, "SELECT count(*) > 0 AS many FROM numbers").text);
    expect(counted).toBe('[{"many":1}]');
  });
});
