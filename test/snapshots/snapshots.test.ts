/** Snapshots in files through the public API: what they keep, what they refuse, and that a file is whole or not there. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isolate, Machine, Pool, PristineError, Snapshot } from "../../src/index.ts";
import { hostFolder } from "../folders.ts";
import { SnapshotFile, sectionNames } from "./file.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
setDefaultTimeout(emulated ? 600_000 : 60_000);
const guest = (name: string) => join(import.meta.dir, "../../zig-out/guests", name);
const silent = { stdout: "ignore", stderr: "ignore", timeout: 60_000 } as const;
const python = "/usr/bin/python3.11";
const noPython = existsSync(python) ? "" : ` (${python} is not there)`;
const systemFolders = ["/usr", "/lib", "/lib64", "/etc"];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pristine-snapshots-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string) => join(folder, name);

async function errorOf(promise: Promise<unknown>): Promise<PristineError> {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  if (!PristineError.is(error)) throw error ?? new Error("it did not fail");
  return error;
}

async function functions(): Promise<Snapshot> {
  using vm = await Machine.boot(guest("functions"), silent);
  return vm.freeze();
}

describe("a program", () => {
  test("that has been saved has its functions, its memory and the embedder's bytes", async () => {
    using vm = await Machine.boot(guest("ready"), { ...silent, stdout: "pipe" });
    await vm.run({ until: "ready" });
    using image = vm.freeze();
    const user = crypto.getRandomValues(new Uint8Array(100_000 * 10)).subarray(0, 65_536);
    await image.save(path("ready.snap"), { user });
    using again = await Snapshot.open(path("ready.snap"));
    expect(again.user).toEqual(new Uint8Array(user));
    const texts: string[] = [];
    for (const from of [image, again]) {
      using fork = from.fork();
      expect(fork.call("entry_of", 7)).toBe(50);
      const [stop, text] = await Promise.all([fork.run(), new Response(fork.stdout).text()]);
      expect(stop).toMatchObject({ exitCode: 7 });
      texts.push(text);
    }
    expect(texts[1]).toBe(texts[0] as string);
    expect(texts[0]).toContain("registers: kept");
  });

  test("that was opened is put back as any other is", async () => {
    using image = await functions();
    await image.save(path("functions.snap"));
    using again = await Snapshot.open(path("functions.snap"));
    using fork = again.fork();
    const counter = fork.fn("counter", { returns: "u64_fast" });
    const first = counter();
    for (let round = 0; round < 20; round++) {
      expect(fork.reset().mode).toBe("rewrite");
      expect(counter()).toBe(first);
    }
    expect(fork.reset({ mode: "full" }).mode).toBe("full");
    expect(counter()).toBe(first);
  });

  test("that was beneath /tmp, of which machines have their own, needs no permission for it", async () => {
    writeFileSync(path("program"), readFileSync(guest("functions")), { mode: 0o700 });
    using vm = await Machine.boot(path("program"), silent);
    using image = vm.freeze();
    await image.save(path("tmp.snap"));
    using again = await Snapshot.open(path("tmp.snap"));
    using fork = again.fork();
    expect(fork.call("add", 2, 3)).toBe(5);
  });

  test("that was given as bytes has no file that would have to be there", async () => {
    using vm = await Machine.boot(new Uint8Array(readFileSync(guest("functions"))), silent);
    using image = vm.freeze();
    await image.save(path("bytes.snap"));
    using again = await Snapshot.open(path("bytes.snap"), { permissions: { read: true } });
    using fork = again.fork();
    expect(fork.call("add", 2, 3)).toBe(5);
  });

  test("is the same file each time, but for its clocks", async () => {
    using image = await functions();
    await image.save(path("one.snap"));
    await image.save(path("two.snap"));
    const [one, two] = [new SnapshotFile(path("one.snap")), new SnapshotFile(path("two.snap"))];
    expect(one.content("pages").equals(two.content("pages"))).toBe(true);
    expect(one.stateButClocks().equals(two.stateButClocks())).toBe(true);
  });
});

describe.skipIf(noPython !== "")(`a server${noPython}`, () => {
  const app = join(import.meta.dir, "app.py");
  const permissions = { read: [...systemFolders, import.meta.dir] };
  let pool: Pool;
  let saved: string;
  beforeAll(async () => {
    const options = { forks: 1, timeout: emulated ? 120_000 : 10_000, permissions };
    pool = await isolate({ ...options, program: python, args: [app, "a word"], env: { KEPT: "of its own" }, warmup: 2 });
    saved = path("app.snap");
    await pool.save(saved);
  });
  afterAll(() => pool?.stop());

  const ask = async <T = unknown>(from: Pool, what: string): Promise<T> =>
    (await from.fetch(new Request(`http://localhost${what}`))).json() as Promise<T>;

  test("finds all that it had: files, pipes, sockets, polls, threads, timers", async () => {
    using image = await Snapshot.open(saved, { permissions });
    await using again = new Pool(image, { forks: 1, timeout: 120_000 });
    const expected = await ask(pool, "/look");
    expect(expected).toMatchObject({ kept: "of the machine's own", pipe: "in a pipe", pair: "between sockets", ticks: true });
    for (let round = 0; round < 3; round++) expect(await ask(again, "/look")).toEqual(expected);
  });

  test("has new random numbers, the right date, and clocks that go on", async () => {
    using image = await Snapshot.open(saved, { permissions });
    await using again = new Pool(image, { forks: 2, timeout: 120_000 });
    const numbers = new Set<unknown>();
    for (let round = 0; round < 10; round++) numbers.add(await ask(again, "/")).add(await ask(pool, "/"));
    expect(numbers.size).toBe(20);
    const [date, sinceBoot, boottime] = await ask<[number, number, number]>(again, "/clocks");
    expect(Math.abs(date * 1000 - Date.now())).toBeLessThan(emulated ? 5_000 : 500);
    const [, inOriginal, originalBoottime] = await ask<[number, number, number]>(pool, "/clocks");
    // Both stand where the image stood, and boot time has gone on.
    expect(Math.abs(sinceBoot - inOriginal)).toBeLessThan(emulated ? 5 : 0.5);
    expect(Math.abs(boottime - originalBoottime)).toBeLessThan(emulated ? 10 : 1);
  });

  test("runs from memory: the file may be cut short, written over or taken away", async () => {
    const copy = path("copy.snap");
    writeFileSync(copy, readFileSync(saved));
    using image = await Snapshot.open(copy, { permissions });
    truncateSync(copy, 1000);
    writeFileSync(copy, "something else");
    rmSync(copy);
    await using again = new Pool(image, { forks: 1, timeout: 120_000 });
    expect(await ask(again, "/look")).toEqual(await ask(pool, "/look"));
  });

  test("keeps nothing of this process's environment", () => {
    process.env.PRISTINE_TEST_SECRET ??= "not for any guest";
    expect(readFileSync(saved).includes(process.env.PRISTINE_TEST_SECRET)).toBe(false);
    expect(readFileSync(saved).includes("KEPT=of its own")).toBe(true);
  });
});

describe("what a machine had of the host", () => {
  let host: string;
  beforeAll(() => {
    host = hostFolder("pristine-snapshot-");
    writeFileSync(join(host, "data"), "some data".repeat(1000));
  });
  afterAll(() => rmSync(host, { recursive: true, force: true }));

  async function reading(): Promise<void> {
    const program = `f=open("${host}/data"); f.read(5); import ctypes; ctypes.CDLL(None).syscall(0x50520001); print(f.read(4), flush=True)`;
    using vm = await Machine.boot(python, {
      ...{ args: ["-c", program], permissions: { read: [...systemFolders, host] } },
      ...{ stdout: "pipe", stderr: "inherit", timeout: 60_000 },
    });
    const stop = await vm.run({ until: "ready" });
    expect(stop.reason).toBe("ready");
    using image = vm.freeze();
    await image.save(path("reading.snap"));
  }

  test.skipIf(noPython !== "")(`is opened again if that is permitted, and if it is the same${noPython}`, async () => {
    await reading();
    const permissions = { read: [...systemFolders, host] };
    using image = await Snapshot.open(path("reading.snap"), { permissions });
    using fork = image.fork({ timeout: 60_000 });
    const [stop, text] = await Promise.all([fork.run(), new Response(fork.stdout).text()]);
    expect([stop.reason, text]).toEqual(["exit", "data\n"]);

    const denied = await errorOf(Snapshot.open(path("reading.snap"), { permissions: { read: systemFolders } }));
    expect([denied.code, denied.details]).toEqual(["DENIED", { permission: "read", resource: `${host}/data` }]);
    expect(denied.hint).toContain("--allow-read");

    const { atime, mtime } = statSync(join(host, "data"));
    utimesSync(join(host, "data"), atime, new Date(mtime.getTime() + 1000));
    const changed = await errorOf(Snapshot.open(path("reading.snap"), { permissions }));
    expect([changed.code, changed.details]).toEqual(["SNAPSHOT_INVALID", { section: "files" }]);
    rmSync(join(host, "data"));
    const gone = await errorOf(Snapshot.open(path("reading.snap"), { permissions }));
    expect([gone.code, gone.details]).toEqual(["SNAPSHOT_INVALID", { section: "files" }]);
  });

  test("a listener is bound again only where that is permitted", async () => {
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    const place = `127.0.0.1:${port}`;
    const permissions = { listen: [place] };
    {
      using vm = await Machine.boot(guest("raw-server"), { ...silent, args: [String(port)], permissions });
      expect(await vm.run({ until: "listen" })).toEqual({ reason: "listen", address: { host: "127.0.0.1", port } });
      using image = vm.freeze();
      await image.save(path("listening.snap"));
    }
    const denied = await errorOf(Snapshot.open(path("listening.snap")));
    expect([denied.code, denied.details]).toEqual(["DENIED", { permission: "listen", resource: place }]);
    using image = await Snapshot.open(path("listening.snap"), { permissions });
    using fork = image.fork({ timeout: 60_000 });
    const running = fork.run().catch(() => {});
    const response = await fetch(`http://${place}/`);
    expect(response.status).toBe(200);
    fork.close();
    await running;
  });
});

/** Whether its file system has files without a name (open(2), O_TMPFILE). */
function canBeNameless(place: string): boolean {
  const nameless = 0o20200000;
  try {
    closeSync(openSync(place, nameless | constants.O_RDWR));
    return true;
  } catch {
    return false;
  }
}

describe("a file", () => {
  test("that is not there, no snapshot, or a folder is an error that says so", async () => {
    expect((await errorOf(Snapshot.open(path("nothing.snap")))).code).toBe("NOT_FOUND");
    writeFileSync(path("text"), "no snapshot at all");
    expect((await errorOf(Snapshot.open(path("text")))).details).toEqual({ section: "header" });
    expect((await errorOf(Snapshot.open(folder))).code).toMatch(/BAD_OPTION|SNAPSHOT_INVALID/);
    using image = await functions();
    expect((await errorOf(image.save(path("no/such/folder.snap")))).code).toBe("NOT_FOUND");
    expect((await errorOf(image.save(folder))).code).toBe("BAD_OPTION");
    const withEnvironment = { env: { A: "1" } } as object;
    expect((await errorOf(Snapshot.open(path("text"), withEnvironment))).details).toEqual({ option: "env" });
    const large = new Uint8Array(64 * 2 ** 20 + 1);
    expect((await errorOf(image.save(path("large.snap"), { user: large }))).details).toEqual({ option: "user" });
    expect(existsSync(path("large.snap"))).toBe(false);
  });

  test("that is refused, however far it was read, leaves nothing open", async () => {
    using image = await functions();
    await image.save(path("functions.snap"), { user: new Uint8Array(10_000) });
    const whole = readFileSync(path("functions.snap"));
    const open = () => readdirSync("/proc/self/fd").length;
    const refuse = async () => {
      await errorOf(Snapshot.open(path("nothing.snap")));
      for (const name of sectionNames) {
        const { offset, length } = new SnapshotFile(path("functions.snap")).section(name);
        if (length === 0) continue;
        const damaged = Buffer.from(whole);
        damaged[offset] = (damaged[offset] as number) ^ 1;
        writeFileSync(path("damaged.snap"), damaged);
        expect((await errorOf(Snapshot.open(path("damaged.snap")))).code).toBe("SNAPSHOT_INVALID");
      }
    };
    await refuse();
    const before = open();
    for (let round = 0; round < 5; round++) await refuse();
    expect(open()).toBe(before);
  });

  test("that cannot be written whole leaves the old one as it was, and nothing beside it", async () => {
    const place = mkdtempSync(join(folder, "full-"));
    const file = join(place, "kept.snap");
    using image = await functions();
    await image.save(file);
    const before = readFileSync(file);
    const script = `
      import { Machine } from ${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))};
      using vm = await Machine.boot(${JSON.stringify(guest("functions"))}, { stdout: "ignore", stderr: "ignore" });
      using image = vm.freeze();
      Bun.spawnSync(["prlimit", "--pid", String(process.pid), "--fsize=4194304"]);
      await image.save(${JSON.stringify(file)}, { user: new Uint8Array(8 * 2 ** 20) }).catch((error) => console.log(error.code, error.hint));
    `;
    // A limit on the size of files is what a full disk is.
    const child = Bun.spawnSync([process.execPath, "-e", script], { stderr: "inherit" });
    expect(child.stdout.toString()).toContain("a file that was there before is unchanged");
    expect(readFileSync(file).equals(before)).toBe(true);
    expect(readdirSync(place)).toEqual(["kept.snap"]);
    if (process.getuid?.() !== 0) {
      chmodSync(place, 0o500);
      expect((await errorOf(image.save(file))).code).toBe("BAD_OPTION");
      chmodSync(place, 0o700);
    }
  });

  test("is whole at every instant, whenever whoever writes it is killed", async () => {
    const place = mkdtempSync(join(folder, "killed-"));
    const file = join(place, "kept.snap");
    const script = `
      import { Machine } from ${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))};
      using vm = await Machine.boot(${JSON.stringify(guest("functions"))}, { stdout: "ignore", stderr: "ignore" });
      using image = vm.freeze();
      console.log("ready");
      for (let number = 0; ; number++) await image.save(${JSON.stringify(file)}, { user: new Uint8Array(2 ** 20).fill(number) });
    `;
    using image = await functions();
    await image.save(file, { user: new Uint8Array(2 ** 20).fill(255) });
    for (let round = 0; round < (emulated ? 3 : 12); round++) {
      const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
      await child.stdout.getReader().read();
      await Bun.sleep(Math.random() * 60);
      child.kill("SIGKILL");
      await child.exited;
      using whole = await Snapshot.open(file);
      expect(new Set(whole.user).size).toBe(1);
      using fork = whole.fork();
      expect(fork.call("add", 2, 3)).toBe(5);
    }
    // What was being written when its writer was killed has no name, where files can be without one: whatever was left between its
    // two names is whole. Elsewhere it has one that says what it is.
    for (const name of readdirSync(place).filter((name) => name !== "kept.snap")) {
      expect(name).toStartWith(".pristine-");
      if (!canBeNameless(place)) continue;
      using left = await Snapshot.open(join(place, name));
      expect(new Set(left.user).size).toBe(1);
    }
  });

  test("is not waited for by who has left", async () => {
    using image = await functions();
    await image.save(path("functions.snap"));
    await expect(image.save(path("never.snap"), { signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
    expect(existsSync(path("never.snap"))).toBe(false);
    await expect(Snapshot.open(path("functions.snap"), { signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
    const leaving = new AbortController();
    const opened = Snapshot.open(path("functions.snap"), { signal: leaving.signal });
    leaving.abort("enough");
    await expect(opened).rejects.toBe("enough");
  });
});
