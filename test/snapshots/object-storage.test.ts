/** Snapshots in S3-compatible storage: an independent server of it, and one that behaves badly. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Machine, PristineError, Snapshot } from "../../src/index.ts";
import { SnapshotFile } from "./lies.ts";

setDefaultTimeout(120_000);

const root = join(import.meta.dir, "../..");
const guest = join(root, "zig-out/guests/functions");
const silent = { stdout: "ignore", stderr: "ignore" } as const;
const folder = mkdtempSync("/tmp/pristine-objects-");
const saved = join(folder, "functions.snap");
const waiting = join(folder, "ready.snap");
const keys = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
const storage = Bun.spawn([process.execPath, join(import.meta.dir, "storage.ts"), join(folder, "storage")], {
  ...{ stdout: "pipe", stderr: "inherit" },
});
let endpoint = "";
let client: Bun.S3Client;
/** More than a range, so that several are asked for. */
const user = new Uint8Array(20 * 2 ** 20 + 12_345).map((_, index) => (index * 2_654_435_761) >>> 24);

beforeAll(async () => {
  const { value } = await storage.stdout.getReader().read();
  endpoint = `http://127.0.0.1:${new TextDecoder().decode(value).trim()}`;
  client = new Bun.S3Client({ ...keys, endpoint, bucket: "snapshots" });
  await using vm = await Machine.boot(guest, { stdout: "ignore", stderr: "ignore" });
  await vm.run();
  using image = vm.freeze();
  await image.save(saved, { user });
  await client.write("apps/functions.snap", Bun.file(saved));
  await using program = await Machine.boot(join(root, "zig-out/guests/ready"), silent);
  await program.run({ until: "ready" });
  using ready = program.freeze();
  await ready.save(waiting, { user });
});

afterAll(async () => {
  storage.kill();
  await storage.exited;
  rmSync(folder, { recursive: true, force: true });
});

const permissions = { read: [join(root, "zig-out/guests")] };
const descriptors = () => readdirSync("/proc/self/fd").length;

/** Where what is not needed first begins in the file of a program that waits. */
function restAt(): number {
  const file = new SnapshotFile(readFileSync(waiting));
  return file.section("pages").offset + file.hotPages * 4096;
}

const beginOf = (request: Request): number | undefined => {
  const [, begin] = /bytes=(\d+)-/.exec(request.headers.get("range") ?? "") ?? [];
  return begin === undefined ? undefined : Number(begin);
};

/** Files without a name that are still open. */
const copies = () =>
  readdirSync("/proc/self/fd")
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return "";
      }
    })
    .filter((path) => path.includes("/pristine-") && path.includes(".snap"));

/** A server that answers for one object as it is told. */
function badly(answer: (request: Request, asked: number) => Response | Promise<Response>): Disposable & { file: Bun.S3File } {
  let asked = 0;
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 100, fetch: (request) => answer(request, ++asked) });
  const file = new Bun.S3Client({ ...keys, endpoint: server.url.origin, bucket: "bad" }).file("some.snap");
  return { file, [Symbol.dispose]: () => void server.stop(true) };
}

/** The part of the file that was asked for, as storage answers it. */
function part(request: Request, etag = '"one"', bytes = readFileSync(saved)): Response {
  const [, begin, end] = /bytes=(\d+)-(\d+)/.exec(request.headers.get("range") ?? "") ?? [];
  if (request.method === "HEAD") return new Response(null, { headers: { etag, "content-length": String(bytes.length) } });
  const piece = bytes.subarray(Number(begin), Number(end) + 1);
  return new Response(piece, { status: 206, headers: { etag, "content-range": `bytes ${begin}-${end}/${bytes.length}` } });
}

describe("a snapshot in object storage", () => {
  test("is opened as its file would be, and nothing of it is left", async () => {
    const before = descriptors();
    {
      using image = await Snapshot.open(client.file("apps/functions.snap"), { permissions });
      expect(image.user).toEqual(user);
      using fork = image.fork();
      expect(fork.call("add", 40, 2)).toBe(42);
    }
    // Only what the library has open from its first use on.
    using again = await Snapshot.open(client.file("apps/functions.snap"), { permissions, verify: "trusted" });
    expect(again.user).toEqual(user);
    expect(descriptors() - before).toBeLessThan(20);
    expect(readdirSync("/tmp").filter((name) => name.startsWith("pristine-") && name.endsWith(".snap"))).toEqual([]);
  });

  test("is named by its address, with the environment's credentials, also on the command line", async () => {
    const environment = { S3_ENDPOINT: endpoint, S3_ACCESS_KEY_ID: keys.accessKeyId, S3_SECRET_ACCESS_KEY: keys.secretAccessKey };
    const run = async (...words: string[]) => {
      const child = Bun.spawn([process.execPath, ...words], {
        cwd: root,
        env: { ...process.env, ...environment },
        stdout: "pipe",
        stderr: "pipe",
      });
      return [await new Response(child.stdout).text(), await new Response(child.stderr).text(), await child.exited] as const;
    };
    const address = "s3://snapshots/apps/functions.snap";
    const [shown, , status] = await run("src/cli/main.ts", "inspect", "--json", address);
    expect(status).toBe(0);
    expect(JSON.parse(shown)).toMatchObject({ userBytes: user.length, command: [guest] });
    const program = `import { Snapshot } from "pristine-vm"; using image = await Snapshot.open(new URL("${address}"), { permissions: "all" });
      console.log(image.fork().call("add", 40, 2));`;
    expect(await run("-e", program)).toEqual(["42\n", "", 0]);
    const [, missing, code] = await run("src/cli/main.ts", "resume", "s3://snapshots/none.snap");
    expect([missing, code]).toEqual([expect.stringContaining("there is no snapshot s3://snapshots/none.snap"), 127]);
  });

  test("that is not there, no snapshot, refused or out of reach is an error that says so", async () => {
    await client.write("text", "x".repeat(100_000));
    await client.write("short", "x");
    const open = (file: Bun.S3File | string) => Snapshot.open(file, { permissions });
    expect(open(client.file("none"))).rejects.toMatchObject({ code: "NOT_FOUND", details: { path: "s3://snapshots/none" } });
    for (const name of ["text", "short"])
      expect(open(client.file(name))).rejects.toMatchObject({ code: "SNAPSHOT_INVALID", details: { section: "header" } });
    expect(open("s3://bucket")).rejects.toMatchObject({ code: "BAD_OPTION" });
    const nowhere = new Bun.S3Client({ ...keys, endpoint: "http://127.0.0.1:1", bucket: "b" });
    expect(open(nowhere.file("some"))).rejects.toMatchObject({ code: "BAD_OPTION", hint: expect.stringContaining("S3_ENDPOINT") });
    using refusing = badly(() => new Response("<Error><Code>AccessDenied</Code></Error>", { status: 403 }));
    expect(open(refusing.file)).rejects.toMatchObject({ code: "BAD_OPTION" });
  });

  test("whose bytes were changed on the way, or which was replaced meanwhile, is refused", async () => {
    /** At the latest when all of it is needed. */
    const refusal = async (file: Bun.S3File, verify?: "full" | "trusted") => {
      try {
        using image = await Snapshot.open(file, { permissions, ...(verify && { verify }) });
        await image.save(join(folder, "again.snap"));
      } catch (error) {
        return [PristineError.is(error) && error.code, (error as PristineError<"SNAPSHOT_INVALID">).details.section];
      }
      return undefined;
    };
    for (const [name, verify] of [["user"], ["pages"], ["pages", "full"]] as const) {
      const changed = readFileSync(saved);
      const { offset, length } = new SnapshotFile(changed).section(name);
      changed.writeUInt8(changed.readUInt8(offset + length - 50) ^ 1, offset + length - 50);
      using lying = badly((request) => part(request, '"one"', changed));
      expect(await refusal(lying.file, verify)).toEqual(["SNAPSHOT_INVALID", name]);
    }
    using moving = badly((request, asked) => part(request, `"${asked}"`));
    // While it is opened, or behind.
    expect(String(await refusal(moving.file))).toMatch(/^SNAPSHOT_INVALID,(header|pages)$/);
    for (const verify of ["full", "trusted"] as const) expect(await refusal(moving.file, verify)).toEqual(["SNAPSHOT_INVALID", "header"]);
    using short = badly((request) => (request.method === "HEAD" ? part(request) : new Response("PRISTINE", { status: 206 })));
    expect(Snapshot.open(short.file, { permissions })).rejects.toMatchObject({ code: "SNAPSHOT_INVALID" });
  });

  test("is opened when what is needed first is there, and its forks wait for what they need of the rest", async () => {
    const { promise: wanted, resolve: go } = Promise.withResolvers<void>();
    const asked: number[] = [];
    using slow = badly(async (request) => {
      const begin = beginOf(request);
      if (begin !== undefined) asked.push(begin);
      if (begin === restAt()) await wanted;
      return part(request, '"one"', readFileSync(waiting));
    });
    using image = await Snapshot.open(slow.file, { permissions, timeout: 20_000 });
    expect(image.user).toEqual(user);
    // This thread serves it, so that it may not wait itself.
    using early = image.fork({ timeout: 200 });
    const error = await early.run().catch((error) => error);
    expect(error).toMatchObject({ code: "TIMEOUT", details: { milliseconds: 200 } });
    using fork = image.fork({ timeout: 20_000 });
    setTimeout(go, 100);
    expect(await fork.run()).toMatchObject({ reason: "exit", exitCode: 7 });
    await image.save(join(folder, "whole.snap"), { user });
    expect(asked).toEqual([...asked].sort((one, other) => one - other));
    expect(asked.at(-1)).toBe(restAt());
    expect(readFileSync(join(folder, "whole.snap")).length).toBe(readFileSync(waiting).length);
    await Bun.sleep(100);
    expect(copies()).toEqual([]);
  });

  test("stays whole for its forks when it is closed, and is left alone when nobody has it any more", async () => {
    using slow = badly(async (request) => {
      if (beginOf(request) === restAt()) await Bun.sleep(300);
      return part(request, '"one"', readFileSync(waiting));
    });
    const image = await Snapshot.open(slow.file, { permissions });
    using fork = image.fork({ timeout: 20_000 });
    image.close();
    expect(await fork.run()).toMatchObject({ reason: "exit", exitCode: 7 });

    using never = badly((request) =>
      beginOf(request) === restAt() ? new Promise(() => {}) : part(request, '"one"', readFileSync(waiting)),
    );
    (await Snapshot.open(never.file, { permissions })).close();
    await Bun.sleep(200);
    expect(copies()).toEqual([]);
  });

  test("whose rest the storage refuses is told of as that", async () => {
    using refusing = badly((request) =>
      beginOf(request) === restAt() ? new Response("AccessDenied", { status: 403 }) : part(request, '"one"', readFileSync(waiting)),
    );
    using image = await Snapshot.open(refusing.file, { permissions });
    const error = await image.save(join(folder, "never.snap")).catch((error) => error);
    expect([error.code, error.message]).toEqual(["BAD_OPTION", expect.stringContaining("403")]);
  });

  test("that is refused before the core sees it is not fetched to its end", async () => {
    const { promise: never } = Promise.withResolvers<Response>();
    using slow = badly((request) => (beginOf(request) ? never : part(request, '"one"', readFileSync(waiting))));
    const missing = { permissions, volumes: [{ host: join(folder, "missing"), guest: "/data" }] };
    const error = await Snapshot.open(slow.file, missing).catch((error) => error);
    expect([error.code, error.details]).toEqual(["BAD_OPTION", { option: "volumes" }]);
    expect(copies()).toEqual([]);
  });

  test("is asked for again where a connection broke", async () => {
    let broken = 0;
    using breaking = badly((request) => {
      if (request.method === "HEAD" || broken >= 2) return part(request);
      broken++;
      return new Response(new ReadableStream({ start: (controller) => controller.error(new Error("gone")) }), { status: 206 });
    });
    using image = await Snapshot.open(breaking.file, { permissions });
    expect([image.user.length, broken]).toEqual([user.length, 2]);
  });

  test("is not waited for by who has left, nor for longer than he wants to", async () => {
    const before = descriptors();
    const hanging = () =>
      badly(async (request) => {
        if (request.method !== "HEAD" && !request.headers.get("range")?.includes("bytes=0-4095")) await Bun.sleep(60_000);
        return part(request);
      });
    using one = hanging();
    expect(Snapshot.open(one.file, { permissions, timeout: 200 })).rejects.toMatchObject({
      code: "TIMEOUT",
      details: { milliseconds: 200 },
    });
    expect(Snapshot.open(one.file, { permissions, signal: AbortSignal.abort(new Error("left before")) })).rejects.toThrow("left before");
    const leaving = new AbortController();
    const opening = Snapshot.open(one.file, { permissions, signal: leaving.signal });
    setTimeout(() => leaving.abort(new Error("left")), 200);
    expect(opening).rejects.toThrow("left");
    await opening.catch(() => {});
    expect(descriptors() - before).toBeLessThan(20);
  });
});
