/** Machines in worker processes: what they do is the same, what is around them is told, and their end is nobody else's. */
import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isolate, type JailPart, Machine, Pool, PristineError } from "../src/index.ts";
import { paths } from "./runtimes/cases.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
setDefaultTimeout(emulated ? 900_000 : 120_000);
const timeout = emulated ? 60_000 : 5_000;
const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const cli = join(import.meta.dir, "../src/cli/main.ts");
const quiet = { stdout: "ignore", stderr: "ignore" } as const;
const at = (path: string, init?: RequestInit) => new Request(`http://example.com${path}`, init);

/** The worker processes of this one, doubles included. */
function workers(): number[] {
  const parents = new Map<number, number>();
  const names = new Map<number, string>();
  for (const entry of readdirSync("/proc")) {
    try {
      const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${entry}/stat`, "utf8")) ?? [];
      if (rest === undefined || rest.startsWith("Z")) continue;
      parents.set(Number(entry), Number(rest.split(" ")[1]));
      names.set(Number(entry), name as string);
    } catch {}
  }
  const isOurs = (pid: number): boolean => pid === process.pid || (parents.has(pid) && isOurs(parents.get(pid) as number));
  return [...names].filter(([pid, name]) => name === "pristine-worker" && isOurs(pid)).map(([pid]) => pid);
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !condition(); tries++) await Bun.sleep(25);
  expect(condition()).toBe(true);
}

// Those of the test before may not have ended yet.
beforeEach(() => until(() => workers().length === 0));

const partOf = (parts: readonly JailPart[], name: JailPart["part"]) => parts.find(({ part }) => part === name);

describe("a machine in a jail", () => {
  test("tells what there is around it, and its process has it", async () => {
    await using vm = await Machine.boot(guest("ready"), { jail: true, ...quiet });
    expect(vm.jail.map(({ part }) => part)).toEqual(["no_new_privs", "limits", "namespaces", "landlock", "seccomp"]);
    const [pid] = workers();
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(partOf(vm.jail, "no_new_privs")?.done).toBe(/^NoNewPrivs:\t1$/m.test(status));
    expect(partOf(vm.jail, "seccomp")?.done).toBe(/^Seccomp:\t2$/m.test(status));
    expect(status).toMatch(/^CapEff:\t0{16}$/m);
    const sameUser = readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync("/proc/self/ns/user");
    expect(partOf(vm.jail, "namespaces")?.done).toBe(!sameUser);
    expect(readFileSync(`/proc/${pid}/limits`, "utf8")).toMatch(/^Max core file size +0 +0 /m);
    // Nothing of this process's environment is in it.
    expect(readFileSync(`/proc/${pid}/environ`, "utf8")).toBe("");
  });

  test("does what it does without: streams, files, status, calls, forks, resets", async () => {
    {
      const boot = async (jail: boolean) => {
        await using vm = await Machine.boot(guest("words"), { stdin: "pipe", stderr: "pipe", jail, timeout });
        vm.stdin.write("one two two\n");
        vm.stdin.end();
        return await Promise.all([vm.run(), new Response(vm.stdout).text(), new Response(vm.stderr).text()]);
      };
      expect(await boot(true)).toEqual(await boot(false));
    }
    await using vm = await Machine.boot(guest("functions"), { jail: true, ...quiet, timeout });
    await vm.run();
    expect(vm.call("add", 40, 2)).toBe(42);
    const sum = vm.fn("sum", { args: ["buffer", "u32"], returns: "i32" });
    expect(sum(new Uint8Array([1, 2, 3]), 3)).toBe(6);
    expect(await sum.async([new Uint8Array([4, 5]), 2])).toBe(9);
    using image = vm.freeze();
    using fork = image.fork();
    const before = fork.call("counter");
    expect(fork.call("counter")).toBe(Number(before) + 1);
    expect(fork.reset().mode).toBe("rewrite");
    expect(fork.call("counter")).toBe(before);
    expect(fork.counters().exits).toBeGreaterThan(0);
    expect(() => fork.call("read_null")).toThrow(expect.objectContaining({ code: "GUEST_FAULT" }));
    expect(fork.state).toBe("poisoned");
    fork.reset();
    expect(fork.call("counter")).toBe(before);
  });

  test("its memory is read and written in copies of any size, and not viewed", async () => {
    await using vm = await Machine.boot(guest("functions"), { jail: true, ...quiet, memory: "64MiB", timeout });
    await vm.run();
    const bytes = new Uint8Array(5 * 2 ** 20 + 7).map((_, index) => (index * 31) % 251);
    const address = vm.memory.allocate(bytes.length);
    vm.memory.write(address, bytes);
    expect(Bun.hash(vm.memory.read(address, bytes.length))).toBe(Bun.hash(bytes));
    expect(() => vm.memory.read(8, 16)).toThrow(expect.objectContaining({ code: "BAD_ADDRESS" }));
    expect(() => vm.memory.view(address, 8)).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
  });

  test("errors are those of a machine without", async () => {
    const code = (promise: Promise<unknown>) =>
      promise.then(
        () => "none",
        (error: PristineError) => error.code,
      );
    expect(await code(Machine.boot("/nowhere/at/all", { jail: true }))).toBe("NOT_FOUND");
    expect(await code(Machine.boot(guest("hello"), { jail: true, stdin: 987 as never }))).toBe("BAD_OPTION");
    expect(await code(Machine.boot(guest("hello"), { jail: true, args: Array.from({ length: 30 }, () => "x".repeat(100_000)) }))).toBe(
      "BAD_OPTION",
    );
    await using vm = await Machine.boot(guest("threads"), { args: ["spin"], jail: true, ...quiet, timeout: 100 });
    expect(["TIMEOUT", "none"]).toContain(await code(vm.run()));
    const image = (await Machine.boot(guest("ready"), quiet)).freeze();
    expect(() => new Pool(image, { jail: true })).toThrow(expect.objectContaining({ code: "BAD_OPTION" }));
    image.close();
  });

  test("what was under way ends with an error when its process is killed, and what follows too", async () => {
    await using vm = await Machine.boot(guest("ready"), { jail: true, ...quiet });
    const image = vm.freeze();
    const fork = image.fork({ timeout: Number.POSITIVE_INFINITY });
    const stop = fork.run();
    process.kill(workers()[0] as number, "SIGKILL");
    const error = await stop.catch((error: unknown) => error);
    if (error instanceof PristineError) expect(error.code).toBe("INTERNAL");
    await until(() => workers().length === 0);
    expect(() => image.fork()).toThrow(expect.objectContaining({ code: "INTERNAL" }));
    expect(() => fork.reset()).toThrow(PristineError);
    fork.close();
    image.close();
  });

  test("200 of them leave no process and no descriptor behind", async () => {
    const descriptors = () => readdirSync("/proc/self/fd").length;
    const one = async () => {
      await using vm = await Machine.boot(guest("ready"), { jail: true, ...quiet });
      await vm.run({ until: "ready" });
    };
    const rounds = emulated ? 5 : 200;
    await one();
    await until(() => workers().length === 0);
    const before = descriptors();
    for (let round = 0; round < rounds; round++) await one();
    await until(() => workers().length === 0);
    await until(() => descriptors() <= before);
  });
});

describe("pools in worker processes", () => {
  const handler = join(import.meta.dir, "handlers", "counts.ts");
  const installed = [
    { name: "bun", path: process.execPath },
    { name: "deno", path: paths.deno },
    { name: "node", path: paths.node },
  ] as const;
  for (const { name, path } of installed) {
    const missing = existsSync(path) ? "" : ` (${path} is not there)`;
    test.skipIf(missing !== "")(`a handler in ${name}, in a jail: each request begins at the image${missing}`, async () => {
      await using pool = await isolate(handler, { runtime: name === "deno" ? { path } : name, jail: true, forks: 2, warmup: 3, timeout });
      expect(partOf(pool.jail, "seccomp")?.done).toBe(true);
      for (let index = 0; index < 20; index++) {
        const response = await pool.fetch(at("/", { method: "POST", body: `body ${index}` }));
        expect(await response.text()).toBe(`4 body ${index}`);
      }
    });
  }

  test("40 forks are in three processes that share one boot, and all serve", async () => {
    await using pool = await isolate({
      program: guest("raw-server"),
      args: ["8000"],
      forks: 40,
      timeout,
      memory: "64MiB",
      stdout: "ignore",
    });
    expect(pool.jail).toEqual([]);
    expect(workers().length).toBe(3);
    const answers = await Promise.all(Array.from({ length: 200 }, async () => (await pool.fetch(at("/"))).status));
    expect(answers.every((status) => status === 200)).toBe(true);
    expect(pool.metrics.state.forks).toBeGreaterThan(16);
  });

  test("go on when their processes are killed: by one boot for all", async () => {
    await using pool = await isolate(handler, { jail: true, forks: 20, warmup: 3, timeout });
    const ask = async () => {
      const response = await pool.fetch(at("/", { method: "POST", body: "x" }));
      return response.status === 200 ? await response.text() : response.status;
    };
    for (let round = 0; round < (emulated ? 1 : 3); round++) {
      await Promise.all(Array.from({ length: 10 }, ask));
      const old = workers();
      expect(old.length).toBe(2);
      const answers = Array.from({ length: 30 }, ask);
      for (const pid of old) process.kill(pid, "SIGKILL");
      // Those that had begun are lost, and no others.
      for (const answer of await Promise.all(answers)) expect(["4 x", 500]).toContain(answer);
      await until(() => workers().every((pid) => !old.includes(pid)));
      expect(await Promise.all(Array.from({ length: 10 }, ask))).toEqual(Array.from({ length: 10 }, () => "4 x"));
    }
  });

  test("the permissions of a pool are those of its jail", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pristine-jail-"));
    try {
      writeFileSync(join(folder, "shown"), "shown");
      const host = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("from the host") });
      await using pool = await isolate(join(import.meta.dir, "handlers", "reaches.ts"), {
        jail: true,
        forks: 1,
        timeout,
        permissions: { read: [folder], write: [folder], connect: [`127.0.0.1:${host.port}`] },
      });
      const of = async (path: string) => (await pool.fetch(at(path))).text();
      expect(await of(`/read${folder}/shown`)).toBe("shown");
      expect(await of(`/write${folder}/made`)).toBe("written");
      expect(readFileSync(join(folder, "made"), "utf8")).toBe("made by the guest");
      expect(await of("/read/etc/shadow")).toMatch(/^(ENOENT|EACCES)$/);
      expect(await of(`/fetch/${host.port}`)).toBe("from the host");
      await host.stop(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the command line", () => {
  const pristine = (...words: string[]) => {
    const done = Bun.spawnSync([process.execPath, cli, ...words], { stdin: "ignore" });
    return { code: done.exitCode, out: done.stdout.toString(), errors: done.stderr.toString() };
  };

  test("run --jail runs the same, and --verbose tells what is around it", () => {
    const plain = pristine("run", guest("hello"));
    expect(pristine("run", "--jail", guest("hello")).out).toBe(plain.out);
    expect(pristine("run", "--jail", "--verbose", guest("hello")).errors).toMatch(/^pristine: jail: no_new_privs, /);
    const strict = pristine("run", "--jail=strict", guest("hello"));
    // All of it, or a refusal that names what is missing.
    if (strict.code === 0) expect(strict.out).toBe(plain.out);
    else expect(strict.errors).toMatch(/the jail is not whole: \w+/);
  });

  test("serve --jail tells what is around it", async () => {
    const server = Bun.spawn([process.execPath, cli, "serve", "--jail", "--allow-listen=127.0.0.1:0", guest("raw-server"), "8000"], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    let text = "";
    const decoder = new TextDecoder();
    const reader = server.stderr.getReader();
    while (!/jail: .*\n/.test(text)) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value);
    }
    const url = /http:\/\/[\d.:]+/.exec(text)?.[0] as string;
    expect((await fetch(url)).status).toBe(200);
    expect(text).toMatch(/jail: no_new_privs/);
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
  });
});
