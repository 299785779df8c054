/** Dynamic programs, scripts, and programs that make way for others. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, type Permissions, PristineError } from "../src/index.ts";
import { difference } from "../src/testing.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(240_000);

const guests = join(import.meta.dir, "../zig-out/guests");
const python = "/usr/bin/python3";
const rounds = Math.max(5, Math.round(200 * Number(process.env.TEST_SCALE ?? 1)));
const system: Permissions = { read: ["/usr", "/lib", "/lib64", "/bin", "/etc"] };
let dir = "";

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "pristine-exec-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Done {
  stop: { exitCode: number | null; signalCode: string | null };
  out: string;
  err: string;
}

async function run(
  program: string,
  args: string[],
  permissions: Permissions | "all" = {},
  env: Record<string, string> = {},
): Promise<Done> {
  await using vm = await Machine.boot(program, { args, permissions, env, stderr: "pipe", timeout: 60_000 });
  const [stop, out, err] = await Promise.all([vm.run(), new Response(vm.stdout).text(), new Response(vm.stderr).text()]);
  return { stop, out, err };
}

function script(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return path;
}

async function failure(action: Promise<unknown>): Promise<PristineError> {
  try {
    await action;
  } catch (error) {
    if (PristineError.is(error)) return error;
    throw error;
  }
  throw new Error("nothing failed");
}

describe("dynamic programs", () => {
  test("start without any permission, and can read nothing else", async () => {
    expect((await run("/bin/true", [])).stop.exitCode).toBe(0);
    expect(await run("/bin/echo", ["hello"])).toMatchObject({ out: "hello\n", err: "" });
    const secret = join(dir, "secret");
    writeFileSync(secret, "secret");
    const done = await run("/bin/cat", [secret, "/etc/shadow", "/usr/lib/os-release"]);
    expect(done.out).toBe("");
    // In a private directory what is hidden is not there.
    expect(done.err.match(/Permission denied|secret: No such file or directory/g)).toHaveLength(3);
    expect(done.stop.exitCode).toBe(1);
  });

  const libc = "/lib/x86_64-linux-gnu/libc.so.6";
  test.if(existsSync(libc))("may read themselves, their loader and the libraries they name, and no other library", async () => {
    const loader = "/lib64/ld-linux-x86-64.so.2";
    const done = await run("/bin/sha256sum", ["/proc/self/exe", libc, loader, "/usr/lib/x86_64-linux-gnu/libm.so.6"]);
    const native = Bun.spawnSync(["/bin/sha256sum", "/bin/sha256sum", libc, loader]).stdout.toString();
    expect(done.out).toBe(native.replace("/bin/sha256sum", "/proc/self/exe"));
    expect(done.err).toContain("libm.so.6: Permission denied");
  });

  test("a loader or library that is denied keeps them from starting, with a clear error", async () => {
    const error = await failure(Machine.boot("/bin/true", { permissions: { deny: { read: ["/usr", "/lib", "/lib64"] } } }));
    expect(error.code).toBe("NOT_EXECUTABLE");
    expect(error.message).toContain("dynamic loader");
    expect(error.hint).toContain("--deny-read");
  });

  test("see their own name, arguments and mappings in /proc/self", async () => {
    const done = await run("/bin/cat", ["/proc/self/cmdline", "/proc/self/comm", "/proc/self/maps"], system);
    expect(done.out).toStartWith("/bin/cat\0/proc/self/cmdline\0/proc/self/comm\0/proc/self/maps\0cat\n");
    expect(done.out).toMatch(/r-xp 0000[0-9a-f]+ \S+ \d+ +(\/usr)?\/bin\/cat\n/);
    expect(done.out).toMatch(/libc\.so\.6\n/);
    expect(done.out).toContain("[stack]");
  });

  test("a library in the program's own run path is found without a permission", async () => {
    const zig = join(import.meta.dir, "../node_modules/.bin/zig");
    const [library, program] = [join(dir, "lib/libown.so"), join(dir, "runpath")];
    mkdirSync(join(dir, "lib"), { recursive: true });
    writeFileSync(join(dir, "own.c"), "int own(void) { return 42; }\n");
    writeFileSync(join(dir, "main.c"), 'int own(void); void start(void) { __asm__ volatile("syscall" ::"a"(231l), "D"((long)own())); }\n');
    const compile = (...words: string[]) => {
      const done = Bun.spawnSync([zig, "cc", "-target", "x86_64-linux-gnu", "-nostdlib", "-fPIC", ...words], { cwd: dir, stderr: "pipe" });
      expect(done.exitCode, done.stderr.toString()).toBe(0);
    };
    compile("-shared", "-Wl,-soname,libown.so", "-o", library, "own.c");
    const loader = "-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2";
    compile("-o", program, "main.c", "-Llib", "-lown", "-Wl,-rpath,$ORIGIN/lib", "-Wl,-e,start", loader);
    expect((await run(program, [])).stop.exitCode).toBe(42);
    // A file that is no shared object is not given away by a name in a program.
    writeFileSync(library, "not a library");
    const refused = await run(program, []);
    expect(refused.err).toContain("libown.so");
    expect(refused.stop.exitCode).toBe(127);
  }, 60_000);
});

describe("scripts", () => {
  test("run by the interpreter in their first line, with its argument, without any permission", async () => {
    const path = script("plain", '#!/bin/sh -e\necho "$0 $1"; false; echo not reached\n');
    const done = await run(path, ["argument"]);
    expect(done.out).toBe(`${path} argument\n`);
    expect(done.stop.exitCode).toBe(1);
  });

  test("a script's interpreter may be a script, but not without end", async () => {
    const first = script("first", "#!/bin/sh\necho first: $1 $2\n");
    const second = script("second", `#!${first} option\n`);
    expect((await run(second, ["x"], { read: [dir] })).out).toBe(`first: option ${second}\n`);
    const loop = join(dir, "loop");
    script("loop", `#!${loop}\n`);
    expect((await failure(Machine.boot(loop))).message).toContain("too many scripts");
  });

  test("five may lead to a program, as on Linux, whoever starts them", async () => {
    script("chain1", "#!/bin/echo\n");
    for (let depth = 2; depth <= 6; depth++) script(`chain${depth}`, `#!${join(dir, `chain${depth - 1}`)}\n`);
    const [most, tooMany] = [join(dir, "chain5"), join(dir, "chain6")];
    const native = Bun.spawnSync([most]).stdout.toString();
    expect(native.split(" ")).toHaveLength(5);
    expect((await run(most, [], { read: [dir] })).out).toBe(native);
    expect((await failure(Machine.boot(tooMany))).message).toContain("too many scripts");
    const readable = { read: [...(system.read as string[]), dir] };
    expect((await run("/bin/sh", ["-c", `exec ${most}`], readable)).out).toBe(native);
    expect((await run("/bin/sh", ["-c", `exec ${tooMany}`], readable)).err).not.toBe("");
  });

  test("#!/usr/bin/env finds the interpreter on the guest's PATH", async () => {
    const path = script("env", "#!/usr/bin/env sh\necho by env: $1\n");
    const done = await run(path, ["yes"], { read: ["/usr", "/bin", "/lib", "/lib64", dir] }, { PATH: "/usr/bin:/bin" });
    expect(done).toMatchObject({ out: "by env: yes\n", err: "" });
  });

  test("a script from bytes, and one without an interpreter, say so", async () => {
    expect((await failure(Machine.boot(new TextEncoder().encode("#!/bin/sh\n")))).message).toContain("a script must be a file");
    expect((await failure(Machine.boot(script("none", "#!\n")))).message).toContain("names no interpreter");
    expect((await failure(Machine.boot(script("relative", "#!sh\n")))).message).toContain("absolute path");
  });
});

/** A static program of one page of code that ends with 42, and further segments; `tableAt` is where its headers are. */
function writeElf(name: string, more: { vaddr: bigint; memsz: bigint }[], tableAt = 64): string {
  const code = [0xb8, 0xe7, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05];
  const head = Buffer.alloc(4096);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  head.writeUInt16LE(2, 16);
  head.writeUInt16LE(62, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(0x400800n, 24);
  head.writeBigUInt64LE(BigInt(tableAt), 32);
  for (const [value, at] of [
    [64, 52],
    [56, 54],
    [1 + more.length, 56],
  ] as const)
    head.writeUInt16LE(value, at);
  head.set(code, 0x800);
  const table = Buffer.alloc(56 * (1 + more.length));
  const segments = [{ vaddr: 0x400000n, memsz: 4096n, filesz: 4096n, flags: 5 }, ...more.map((one) => ({ ...one, filesz: 0n, flags: 6 }))];
  for (const [index, { vaddr, memsz, filesz, flags }] of segments.entries()) {
    const at = index * 56;
    table.writeUInt32LE(1, at);
    table.writeUInt32LE(flags, at + 4);
    for (const [value, offset] of [
      [vaddr, 16],
      [vaddr, 24],
      [filesz, 32],
      [memsz, 40],
      [4096n, 48],
    ] as const)
      table.writeBigUInt64LE(value, at + offset);
  }
  const path = join(dir, name);
  const fd = openSync(path, "w", 0o755);
  writeSync(fd, head, 0, head.length, 0);
  writeSync(fd, table, 0, table.length, tableAt);
  closeSync(fd);
  return path;
}

describe("programs nobody's linker makes", () => {
  test("a segment where the stack has to be is refused, by the machine and by execve", async () => {
    const path = writeElf("under-stack", [{ vaddr: 0x7fffbffe0000n, memsz: 0x4000n }]);
    expect((await failure(Machine.boot(path))).code).toBe("OUT_OF_MEMORY");
    const done = await run("/bin/sh", ["-c", `exec ${path}`], { read: [...(system.read as string[]), dir] });
    expect(done.stop).toMatchObject({ signalCode: "SIGKILL" });
  });

  test("headers at the end of a large file cost no more than their own pages", async () => {
    const path = writeElf("far-headers", [], 1024 ** 3);
    const before = process.resourceUsage().maxRSS;
    expect((await run(path, [])).stop.exitCode).toBe(42);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(200 * 1024);
  });
});

describe("execve", () => {
  test("another program takes the place, with its arguments and environment", async () => {
    const done = await run("/bin/sh", ["-c", 'exec /usr/bin/env -i A=1 "B=two words" /usr/bin/env'], system);
    expect(done).toMatchObject({ out: "A=1\nB=two words\n", err: "" });
  });

  test("a static program is started by a dynamic one and the other way round", async () => {
    const done = await run("/bin/sh", ["-c", `exec ${guests}/args one two`], { read: [...(system.read as string[]), guests] });
    expect(done.out).toContain("argv[2] two");
  });

  test("errors are the kernel's own", async () => {
    const text = script("text", "no program\n");
    chmodSync(text, 0o644);
    const folder = join(dir, "folder");
    mkdirSync(folder, { recursive: true });
    symlinkSync("/etc/shadow", join(dir, "outside"));
    const tried = async (path: string) => (await run("/bin/sh", ["-c", `exec ${path}`], { read: [...(system.read as string[]), dir] })).err;
    expect(await tried(join(dir, "missing"))).toContain("not found");
    for (const path of [text, folder, join(dir, "outside")]) expect(await tried(path)).toContain("Permission denied");
    expect(await tried(script("noformat", "\x7fELF nothing"))).toMatch(/Exec format error|not found/);
    // What is not granted is refused; beneath /tmp, which is the machine's own, it is not there.
    expect((await run("/bin/sh", ["-c", `exec ${guests}/hello`], system)).err).toMatch(/Permission denied|not found/);
  });

  test("descriptors marked so are closed, others and what is ignored stay", async () => {
    const done = await run(
      "/bin/sh",
      ["-c", "exec 7</dev/null; trap '' USR1; exec /bin/sh -c 'kill -USR1 $$; [ -e /proc/self/fd/7 ] || :; cat <&7 && echo open'"],
      system,
    );
    expect(done.out.length + done.err.length).toBeGreaterThan(0);
  });
});

test.if(existsSync(python))("a script that was named by a descriptor is found through it", async () => {
  const path = script("by-descriptor", "#!/bin/echo\n");
  const code = `import os; fd = os.open('${path}', os.O_RDONLY); os.set_inheritable(fd, True); os.execve(fd, ['x', 'y'], {})`;
  const done = await run(python, ["-c", code], { read: [...(system.read as string[]), dir] });
  expect(done.out).toMatch(/^\/dev\/fd\/\d+ y\n$/);
});

test("a fork that runs another program can go back to any snapshot of its machine", async () => {
  await using vm = await Machine.boot("/bin/sh", { args: ["-c", "exec /bin/echo other"], permissions: system });
  using first = vm.freeze();
  using second = vm.freeze();
  using fork = first.fork();
  using untouched = second.fork();
  expect((await fork.run()).exitCode).toBe(0);
  fork.reset({ to: second });
  expect(difference(fork, untouched)).toEqual([]);
  expect((await fork.run()).exitCode).toBe(0);
});

test("an image frozen before its program execs is the same in every fork and after every reset", async () => {
  await using vm = await Machine.boot("/bin/sh", {
    args: ["-c", "exec /bin/echo by another program"],
    permissions: system,
    timeout: 60_000,
  });
  using image = vm.freeze();
  using fork = image.fork();
  using untouched = image.fork();
  for (let round = 0; round < Math.min(20, rounds); round++) {
    const [stop, text] = await Promise.all([fork.run(), new Response(fork.stdout).text()]);
    expect(stop).toMatchObject({ reason: "exit", exitCode: 0 });
    expect(text).toBe("by another program\n");
    fork.reset({ mode: (["auto", "rewrite", "full"] as const)[round % 3] as "auto" });
    expect(difference(fork, untouched)).toEqual([]);
  }
}, 120_000);

test.if(existsSync(python))(
  "python3: the same bytes in every one of 200 requests",
  async () => {
    const code =
      "import json,os,re,sys; os.mkdir('/tmp/x'); print(json.dumps({'n': len(re.findall('a', 'banana'))}), os.listdir('/tmp'), sys.flags.hash_randomization)";
    await using vm = await Machine.boot(python, { args: ["-c", code], permissions: system, env: { LC_ALL: "C" }, timeout: 120_000 });
    using image = vm.freeze();
    using fork = image.fork({ memory: "256MiB", timeout: 120_000 });
    using untouched = image.fork({ memory: "256MiB", timeout: 120_000 });
    for (let round = 0; round < rounds; round++) {
      const [stop, text] = await Promise.all([fork.run(), new Response(fork.stdout).text()]);
      expect(stop).toMatchObject({ reason: "exit", exitCode: 0 });
      expect(text).toBe("{\"n\": 3} ['x'] 1\n");
      fork.reset({ mode: (["auto", "rewrite", "full"] as const)[round % 3] as "auto" });
      if (round % 20 === 0) expect(difference(fork, untouched)).toEqual([]);
    }
    expect(readFileSync("/proc/self/maps", "utf8")).toContain("libpristine");
  },
  120_000,
);
