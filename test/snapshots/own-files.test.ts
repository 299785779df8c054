/** Snapshots with copies of the host's files: they go on where those are missing or have changed, and without permission. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isolate, Machine, type Permissions, Pool, PristineError, Snapshot } from "../../src/index.ts";
import { inspectSnapshot } from "../../src/saved.ts";
import type { SaveOptions } from "../../src/types.ts";
import { hostFolder } from "../folders.ts";
import { SnapshotFile } from "./file.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
setDefaultTimeout(emulated ? 600_000 : 60_000);
const guest = (name: string) => join(import.meta.dir, "../../zig-out/guests", name);
const systemFolders = ["/usr", "/lib", "/lib64", "/etc"];
const python = "/usr/bin/python3.11";
const noPython = existsSync(python) ? "" : ` (${python} is not there)`;
const musl = "/lib/ld-musl-x86_64.so.1";
const noMusl = existsSync(musl) ? "" : ` (${musl} is not there)`;

let folder: string;
let host: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pristine-own-files-"));
  host = hostFolder("pristine-own-files-");
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  rmSync(host, { recursive: true, force: true });
});
const path = (name: string) => join(folder, name);
const onHost = (name: string) => join(host, name);

async function errorOf(promise: Promise<unknown>): Promise<PristineError> {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  if (!PristineError.is(error)) throw error ?? new Error("it did not fail");
  return error;
}

/** A program of Python where it is between two lists of statements. */
async function between(before: string, behind: string, permissions: Permissions = {}): Promise<Snapshot> {
  const ready = "import ctypes; ctypes.CDLL(None).syscall(0x50520001)";
  using vm = await Machine.boot(python, {
    ...{ args: ["-c", [before, ready, behind].join("\n")], stdout: "pipe", stderr: "inherit", timeout: 60_000 },
    permissions: { ...permissions, read: [...systemFolders, host] },
  });
  expect((await vm.run({ until: "ready" })).reason).toBe("ready");
  return vm.freeze();
}

/** What a program prints from where it is on. */
async function rest(image: Snapshot): Promise<string> {
  using fork = image.fork({ timeout: 60_000 });
  const [stop, text] = await Promise.all([fork.run(), new Response(fork.stdout).text()]);
  expect(stop).toMatchObject({ reason: "exit", exitCode: 0 });
  return text;
}

async function restOf(file: string, permissions: Permissions = {}): Promise<string> {
  using image = await Snapshot.open(file, { permissions });
  return await rest(image);
}

const copiedOf = (file: string) => new Map(inspectSnapshot(file).files.map(({ path, copied }) => [path, copied]));

describe.skipIf(noPython !== "")(`a file in the middle of being read${noPython}`, () => {
  const bytes = Array.from({ length: 3000 }, (_, number) => `line ${number}\n`).join("");
  const before = () => `import os; f = open("${onHost("data")}", "rb", buffering=0); f.read(7)`;
  const behind =
    "print(f.read(6), f.tell(), os.fstat(f.fileno()).st_size, int(os.fstat(f.fileno()).st_mtime), hash(f.read()) and f.tell(), f.name)";
  const permissions = () => ({ read: [...systemFolders, host] });
  let expected: string;
  beforeAll(async () => {
    writeFileSync(onHost("data"), bytes);
    utimesSync(onHost("data"), 1_000_000_000, 1_000_000_000);
    using image = await between(before(), behind);
    await image.save(path("refers.snap"));
    await image.save(path("copies.snap"), { files: "copy" });
    expected = await rest(image);
    expect(expected).toBe(`b'line 1' 13 ${bytes.length} 1000000000 ${bytes.length} ${onHost("data")}\n`);
  });

  test("is the same while it is there unchanged", async () => {
    expect(await restOf(path("refers.snap"), permissions())).toBe(expected);
    expect(await restOf(path("copies.snap"), permissions())).toBe(expected);
    expect(await restOf(path("copies.snap"))).toBe(expected);
    expect(copiedOf(path("refers.snap")).get(onHost("data"))).toBe(false);
    expect(copiedOf(path("copies.snap")).get(onHost("data"))).toBe(true);
    expect([...copiedOf(path("copies.snap")).values()]).not.toContain(false);
    expect(inspectSnapshot(path("copies.snap")).privateFiles).toEqual({ count: 0, bytes: 0 });
    for (const verify of ["full", "trusted"] as const) {
      using image = await Snapshot.open(path("copies.snap"), { verify });
      expect(await rest(image)).toBe(expected);
    }
  });

  test("is what it was once it has changed, and is gone", async () => {
    writeFileSync(onHost("data"), bytes.toUpperCase());
    expect((await errorOf(Snapshot.open(path("refers.snap"), { permissions: permissions() }))).code).toBe("SNAPSHOT_INVALID");
    expect(await restOf(path("copies.snap"), permissions())).toBe(expected);
    rmSync(onHost("data"));
    expect((await errorOf(Snapshot.open(path("refers.snap"), { permissions: permissions() }))).code).toBe("SNAPSHOT_INVALID");
    expect(await restOf(path("copies.snap"), permissions())).toBe(expected);
    expect(await restOf(path("copies.snap"))).toBe(expected);
  });

  test("stays copied when the snapshot is saved again", async () => {
    {
      using image = await Snapshot.open(path("copies.snap"));
      await image.save(path("again.snap"));
    }
    const [first, again] = [new SnapshotFile(path("copies.snap")), new SnapshotFile(path("again.snap"))];
    expect(again.content("contents").equals(first.content("contents"))).toBe(true);
    expect(again.stateButClocks().equals(first.stateButClocks())).toBe(true);
    expect(await restOf(path("again.snap"))).toBe(expected);
  });

  test("is refused where a byte of its copy is another one", async () => {
    const damaged = readFileSync(path("copies.snap"));
    const { offset, length } = new SnapshotFile(path("copies.snap")).section("contents");
    damaged[offset + length - 1] = (damaged[offset + length - 1] as number) ^ 1;
    writeFileSync(path("damaged.snap"), damaged);
    expect((await errorOf(Snapshot.open(path("damaged.snap")))).details).toEqual({ section: "contents" });
  });

  test("leaves nothing open", async () => {
    const open = () => readdirSync("/proc/self/fd").length;
    await restOf(path("copies.snap"));
    const before = open();
    for (let round = 0; round < 3; round++) await restOf(path("copies.snap"));
    expect(open()).toBe(before);
  });
});

describe.skipIf(noMusl !== "")(`a program that is linked dynamically${noMusl}`, () => {
  test("goes on from copies of itself and its libraries", async () => {
    const program = onHost("sort");
    copyFileSync(guest("sort-dynamic"), program);
    chmodSync(program, 0o755);
    {
      using vm = await Machine.boot(program, { args: ["20"], stdout: "pipe", stderr: "inherit", timeout: 60_000 });
      using image = vm.freeze();
      await image.save(path("sort-refers.snap"));
      await image.save(path("sort.snap"), { files: "copy" });
    }
    const expected = Bun.spawnSync([program, "20"]).stdout.toString();
    renameSync(program, `${program}-elsewhere`);
    for (const permissions of [{}, { read: true }]) expect(await restOf(path("sort.snap"), permissions)).toBe(expected);
    expect(copiedOf(path("sort.snap"))).toEqual(new Map([program, realpathSync(musl)].map((file) => [file, true])));
    const changed = await errorOf(Snapshot.open(path("sort-refers.snap"), { permissions: { read: true } }));
    expect([changed.code, changed.details]).toEqual(["SNAPSHOT_INVALID", { section: "files" }]);
  });
});

test.skipIf(noPython !== "")(`a file that is mapped has what was not touched yet only in a copy${noPython}`, async () => {
  writeFileSync(onHost("library"), Buffer.alloc(40 * 2 ** 20, "some bytes of it"));
  const mapped = `f = open("${onHost("library")}", "rb"); m = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)`;
  // The mapping has a descriptor of its own, too.
  const before = `import mmap, os; ${mapped}; f.close(); os.closerange(3, 100); m[0]`;
  {
    using image = await between(before, "print(m[0:10], m[35 * 2**20:35 * 2**20 + 10])");
    await image.save(path("library-refers.snap"));
    await image.save(path("library.snap"), { files: "copy" });
  }
  rmSync(onHost("library"));
  expect(await restOf(path("library.snap"))).toBe("b'some bytes' b'some bytes'\n");
  // The rest of what it has mapped is there.
  using image = await Snapshot.open(path("library-refers.snap"), { permissions: { read: systemFolders } });
  using fork = image.fork({ timeout: 60_000 });
  expect(await fork.run()).toMatchObject({ reason: "signal", signalCode: "SIGBUS" });
});

describe.skipIf(noPython !== "")(`what a machine may do to a file${noPython}`, () => {
  test("decides: one that is open for writing is opened again by its path, by all of its descriptors", async () => {
    writeFileSync(onHost("log"), "a line\n");
    const before = `f = open("${onHost("log")}", "r"); f.read(2); g = open("${onHost("log")}", "a")`;
    const behind = 'g.write("another\\n"); g.close(); print(repr(f.read()))';
    const permissions = { read: [host], write: [host] };
    {
      using image = await between(before, behind, { write: [host] });
      await image.save(path("log.snap"), { files: "copy" });
    }
    expect(copiedOf(path("log.snap")).get(onHost("log"))).toBe(false);
    const denied = await errorOf(Snapshot.open(path("log.snap")));
    expect([denied.code, denied.details]).toEqual(["DENIED", { permission: "read", resource: onHost("log") }]);
    expect(await restOf(path("log.snap"), permissions)).toBe("'line\\nanother\\n'\n");
    expect(readFileSync(onHost("log"), "utf8")).toBe("a line\nanother\n");
  });

  test("ends at its copy, which is one for all forks", async () => {
    writeFileSync(onHost("kept"), "as it was");
    const attempts = [
      'os.open(f"/proc/self/fd/{f.fileno()}", os.O_RDWR)',
      'os.write(os.open(f"/proc/self/fd/{f.fileno()}", os.O_WRONLY | os.O_TRUNC), b"X")',
      'os.write(os.open(f"/proc/self/fd/{f.fileno()}", os.O_RDWR), b"X")',
      "os.write(f.fileno(), b'X')",
      "os.ftruncate(f.fileno(), 1)",
      "os.posix_fallocate(f.fileno(), 0, 100)",
      "mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)",
    ];
    const tries = attempts.map((attempt) => `try: ${attempt}\nexcept OSError: pass`);
    const before = `import os, mmap; f = open("${onHost("kept")}", "rb", buffering=0)`;
    const behind = [
      ...tries,
      "print(os.pread(f.fileno(), 100, 0))",
      "m = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ); print(m[:])",
    ];
    {
      using image = await between(before, behind.join("\n"));
      await image.save(path("kept.snap"), { files: "copy" });
    }
    rmSync(onHost("kept"));
    using image = await Snapshot.open(path("kept.snap"), { permissions: { read: true, write: true } });
    for (let round = 0; round < 2; round++) expect(await rest(image)).toBe("b'as it was'\nb'as it was'\n");
  });

  test("and a shared mapping that only reads shows the copy, touched before or not", async () => {
    const pages = 40;
    const bytes = Buffer.alloc(pages * 4096 - 100).map((_, at) => at / 4096 + 1);
    writeFileSync(onHost("mapped"), bytes);
    const before = `import mmap; f = open("${onHost("mapped")}", "rb"); m = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ); f.close(); m[8192:20000]`;
    const behind = `import hashlib; print(hashlib.md5(m).hexdigest(), len(m))`;
    const expected = `${new Bun.CryptoHasher("md5").update(bytes).digest("hex")} ${bytes.length}\n`;
    {
      using image = await between(`import hashlib; hashlib.md5(b"")\n${before}`, behind);
      await image.save(path("mapped-refers.snap"));
      await image.save(path("mapped.snap"), { files: "copy" });
    }
    expect(copiedOf(path("mapped-refers.snap")).get(onHost("mapped"))).toBe(false);
    expect(copiedOf(path("mapped.snap")).get(onHost("mapped"))).toBe(true);
    writeFileSync(onHost("mapped"), "something else");
    using image = await Snapshot.open(path("mapped.snap"));
    expect(await rest(image)).toBe(expected);
    // A fork that has looked at it, frozen and saved in its turn.
    using fork = image.fork({ timeout: 60_000 });
    using frozen = fork.freeze();
    await frozen.save(path("mapped-again.snap"));
    expect(await restOf(path("mapped-again.snap"))).toBe(expected);
  });
});

describe.skipIf(noPython !== "")(`a server${noPython}`, () => {
  test("that was saved with copies answers without any permission", async () => {
    const app = join(import.meta.dir, "app.py");
    const ask = async (from: Pool) => (await from.fetch(new Request("http://localhost/look"))).json();
    const options = { forks: 1, timeout: emulated ? 120_000 : 10_000, permissions: { read: [...systemFolders, import.meta.dir] } };
    await using pool = await isolate({ ...options, program: python, args: [app, "a word"], warmup: 2 });
    await pool.save(path("server.snap"), { files: "copy" });
    const expected = await ask(pool);
    using image = await Snapshot.open(path("server.snap"));
    await using again = new Pool(image, { forks: 1, timeout: 120_000 });
    for (let round = 0; round < 2; round++) expect(await ask(again)).toEqual(expected);
  });
});

describe.skipIf(noPython !== "")(`copies are refused${noPython}`, () => {
  const holding = (name: string) => between(`f = open("${onHost(name)}", "rb")`, "pass");

  test("where they are asked for by another word", async () => {
    using vm = await Machine.boot(guest("functions"), { stdout: "ignore", stderr: "ignore" });
    using image = vm.freeze();
    for (const files of ["all", "toString", null, true]) {
      const error = await errorOf(image.save(path("never.snap"), { files } as unknown as SaveOptions));
      expect([error.code, error.details]).toEqual(["BAD_OPTION", { option: "files" }]);
    }
    expect(existsSync(path("never.snap"))).toBe(false);
  });

  test("of more than 4 GiB", async () => {
    writeFileSync(onHost("large"), "");
    truncateSync(onHost("large"), 4 * 2 ** 30);
    using image = await holding("large");
    const error = await errorOf(image.save(path("never.snap"), { files: "copy" }));
    expect([error.code, error.details]).toEqual(["BAD_OPTION", { option: "files" }]);
    expect(error.message).toContain("more than 4 GiB");
    expect(error.hint).toContain('`files: "refer"`');
    await image.save(path("large.snap"));
    expect(existsSync(path("never.snap"))).toBe(false);
  });

  test("of a file that changes meanwhile, and not waited for by who has left", async () => {
    writeFileSync(onHost("growing"), "");
    truncateSync(onHost("growing"), 200 * 2 ** 20);
    using image = await holding("growing");
    const timer = setInterval(() => appendFileSync(onHost("growing"), "more"), 2);
    const error = await errorOf(image.save(path("never.snap"), { files: "copy" })).finally(() => clearInterval(timer));
    expect([error.code, error.details]).toEqual(["BAD_OPTION", { option: "files" }]);
    expect(error.message).toContain(`it has changed meanwhile or cannot be read: ${onHost("growing")}`);
    const leaving = new AbortController();
    const saved = image.save(path("never.snap"), { files: "copy", signal: leaving.signal });
    setTimeout(() => leaving.abort("enough"), 5);
    await expect(saved).rejects.toBe("enough");
    expect(existsSync(path("never.snap"))).toBe(false);
  });
});
