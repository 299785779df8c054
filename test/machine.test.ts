/** Machines: life, memory, streams, waiting, limits. */
import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, PristineError } from "../src/index.ts";

const root = join(import.meta.dir, "..");
const guest = (name: string) => join(root, "zig-out/guests", name);
const quiet = { stderr: "ignore" } as const;
const failure = async (action: Promise<unknown>): Promise<PristineError> => {
  try {
    await action;
  } catch (error) {
    if (PristineError.is(error)) return error;
    throw error;
  }
  throw new Error("nothing failed");
};

test("boot loads, run goes to the end, and the states say so", async () => {
  const vm = await Machine.boot(guest("hello"), quiet);
  expect(vm.state).toBe("loaded");
  expect(vm.counters().exits).toBe(0);
  expect(await vm.run()).toEqual({ reason: "exit", exitCode: 0, signalCode: null });
  expect(vm.state).toBe("exited");
  expect((await failure(vm.run())).code).toBe("GUEST_EXIT");
  expect(await new Response(vm.stdout).text()).toBe("Hello from a static program\n");
  vm.close();
  vm.close();
  expect(vm.state).toBe("closed");
  expect((await failure(vm.run())).code).toBe("CLOSED");
  expect(() => vm.symbol("main")).toThrow("closed");
});

test("a program may be a path, a URL or bytes", async () => {
  const bytes = new Uint8Array(readFileSync(guest("hello")));
  for (const program of [guest("hello"), new URL(`file://${guest("hello")}`), bytes]) {
    await using vm = await Machine.boot(program, { ...quiet, stdout: "ignore" });
    expect((await vm.run()).exitCode).toBe(0);
  }
});

test("what cannot be booted says why", async () => {
  const dir = mkdtempSync(join(tmpdir(), "pristine-boot-"));
  const elf = readFileSync(guest("hello"));
  const variant = (change: (bytes: Buffer) => void) => {
    const copy = Buffer.from(elf);
    change(copy);
    return new Uint8Array(copy);
  };
  try {
    const cases: [string | Uint8Array, string, RegExp][] = [
      ["/nowhere", "NOT_FOUND", /no such file/],
      [dir, "NOT_EXECUTABLE", /directory/],
      [new Uint8Array(0), "NOT_EXECUTABLE", /empty/],
      [new Uint8Array([1, 2, 3]), "NOT_EXECUTABLE", /ELF/],
      [variant((b) => b.writeUInt8(1, 4)), "NOT_EXECUTABLE", /32-bit/],
      [variant((b) => b.writeUInt16LE(183, 18)), "NOT_EXECUTABLE", /AArch64/i],
      [new Uint8Array(elf.subarray(0, 2000)), "NOT_EXECUTABLE", /truncated/],
    ];
    for (const [program, code, message] of cases) {
      const error = await failure(Machine.boot(program));
      expect(`${code}: ${error.message}`).toMatch(message);
      expect(error.code).toBe(code as never);
      expect(error.hint).not.toBe("");
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("absurd options are BAD_OPTION with the option's name", async () => {
  const cases: [object, string][] = [
    [{ memory: "1KiB" }, "memory"],
    [{ memory: "100000GiB" }, "memory"],
    [{ memory: "much" }, "memory"],
    [{ memory: Number.NaN }, "memory"],
    [{ timeout: -1 }, "timeout"],
    [{ timeout: "5s" }, "timeout"],
    [{ args: [1] }, "args"],
    [{ args: ["a\0b"] }, "args"],
    [{ args: ["x".repeat(200_000)] }, "args"],
    [{ env: { "A=B": "c" } }, "env"],
    [{ cwd: "/nowhere" }, "cwd"],
    [{ cwd: "relative" }, "cwd"],
    [{ stdin: 987 }, "stdin"],
    [{ stdout: 987 }, "stdout"],
    [{ permissions: { read: "/usr" } }, "permissions.read"],
    [{ permissions: { read: ["relative"] } }, "permissions"],
    [{ volumes: [{ host: "/nowhere/x", guest: "/y" }] }, "volumes"],
    [{ volumes: [{ from: "/usr", to: "/y" }] }, "volumes"],
    [{ volumes: [null] }, "volumes"],
    [{ volumes: { "/usr": "/y" } }, "volumes"],
  ];
  for (const [options, option] of cases) {
    const error = await failure(Machine.boot(guest("hello"), { ...quiet, ...options }));
    expect(`${JSON.stringify(options).slice(0, 60)} ${error.code}`).toBe(`${JSON.stringify(options).slice(0, 60)} BAD_OPTION`);
    expect((error as PristineError<"BAD_OPTION">).details.option).toBe(option);
  }
});

test("many arguments arrive, too many are refused as Linux refuses them", async () => {
  const many = Array.from({ length: 100_000 }, (_, index) => `${index}`);
  await using vm = await Machine.boot(guest("args"), { args: many, ...quiet });
  const [stop, text] = await Promise.all([vm.run({ timeout: 60_000 }), new Response(vm.stdout).text()]);
  expect(stop.exitCode).toBe(0);
  expect(text.split("\n").length).toBeGreaterThan(100_000);
  expect(text).toContain("99999");
  const huge = await failure(
    Machine.boot(guest("hello"), { env: { BIG: "x".repeat(100_000), ...Object.fromEntries(many.map((n) => [`V${n}`, "y".repeat(100)])) } }),
  );
  expect(huge.code).toBe("BAD_OPTION");
});

test("small machines run, and one too small for its program says so", async () => {
  await using small = await Machine.boot(guest("hello"), { memory: "1MiB", stdout: "ignore", ...quiet });
  expect((await small.run()).exitCode).toBe(0);
  const tight = Machine.boot(guest("hello"), { memory: "256KiB", args: Array.from({ length: 10 }, () => "x".repeat(60_000)), ...quiet });
  expect((await failure(tight)).code).toBe("OUT_OF_MEMORY");
});

test("a program whose ceiling cannot hold even the code it runs is told so, and does not fetch the same pages for ever", async () => {
  await using vm = await Machine.boot(process.execPath, { args: ["--version"], memory: "1MiB", timeout: 60_000, ...quiet });
  const error = await failure(vm.run());
  expect(error.code).toBe("OUT_OF_MEMORY");
  expect(error.message).toContain("1024 KiB");
  expect(vm.counters().faults).toBeLessThan(10_000);
});

for (const what of ["heap", "map"]) {
  test(`a guest that takes memory without end by ${what} stops at its ceiling`, async () => {
    await using vm = await Machine.boot(guest("endless"), { args: [what], memory: "48MiB", timeout: 30_000, ...quiet });
    const error = await failure(vm.run());
    expect(error.code).toBe("OUT_OF_MEMORY");
    expect(vm.state).toBe("poisoned");
    expect(vm.counters().pagesTouched).toBeLessThanOrEqual((48 * 2 ** 20) / 4096 + 64);
  });
}

test("a signal that ends the guest is its stop; kill delivers, SIG_DFL or not", async () => {
  await using fault = await Machine.boot(guest("faults"), { args: ["write-null"], ...quiet });
  expect(await fault.run()).toEqual({ reason: "signal", exitCode: null, signalCode: "SIGSEGV" });
  expect(fault.report()).toMatch(/^SIGSEGV at write_null\+0x/);
  for (const what of ["spin", "sleep", "pause", "calls"]) {
    await using vm = await Machine.boot(guest("endless"), { args: [what], stdout: "ignore", ...quiet });
    const running = vm.run({ timeout: 30_000 });
    while (vm.counters().exits < 2) await Bun.sleep(1);
    await Bun.sleep(5);
    vm.kill("SIGTERM");
    expect(await running).toEqual({ reason: "signal", exitCode: null, signalCode: "SIGTERM" });
  }
  await using vm = await Machine.boot(guest("hello"));
  expect(() => vm.kill(99)).toThrow("signal");
});

test("an aborted signal ends a run with its reason, an already aborted one starts nothing", async () => {
  await using vm = await Machine.boot(guest("endless"), { args: ["spin"], ...quiet });
  const controller = new AbortController();
  const running = vm.run({ signal: controller.signal });
  setTimeout(() => controller.abort(new Error("enough")), 20);
  expect(running).rejects.toThrow("enough");
  await running.catch(() => {});
  expect(vm.state).toBe("poisoned");
  await using untouched = await Machine.boot(guest("hello"), quiet);
  expect(untouched.run({ signal: AbortSignal.abort(new Error("before")) })).rejects.toThrow("before");
  await Bun.sleep(1);
  expect(untouched.state).toBe("loaded");
  expect(untouched.counters().exits).toBe(0);
  expect(Machine.boot(guest("hello"), { signal: AbortSignal.abort(new Error("never")) })).rejects.toThrow("never");
});

test("closing in mid-run stops it and the run rejects with CLOSED", async () => {
  for (const what of ["spin", "sleep", "read", "calls"]) {
    const vm = await Machine.boot(guest("endless"), { args: [what], stdin: "pipe", stdout: "ignore", ...quiet });
    const running = failure(vm.run({ timeout: 60_000 }));
    while (vm.counters().exits < 2) await Bun.sleep(1);
    expect(vm.state).toBe("running");
    vm.close();
    expect((await running).code).toBe("CLOSED");
  }
});

test("CPU time has its own limit: a sleeper keeps it, a spinner does not", async () => {
  await using sleeper = await Machine.boot(guest("sleeps"), { args: ["150"], cpuTimeout: 100, stdout: "ignore", ...quiet });
  expect((await sleeper.run()).exitCode).toBe(0);
  await using spinner = await Machine.boot(guest("endless"), { args: ["spin"], cpuTimeout: 50, ...quiet });
  const error = await failure(spinner.run());
  expect((error as PristineError<"TIMEOUT">).details.kind).toBe("cpu");
});

test("standard input: nothing, text, a file, a blob, a stream, a pipe", async () => {
  const dir = mkdtempSync(join(tmpdir(), "pristine-stdin-"));
  writeFileSync(join(dir, "input"), "from a file");
  const upper = async (stdin: unknown) => {
    await using vm = await Machine.boot(guest("upper"), { stdin: stdin as "ignore", ...quiet });
    const [, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
    return text;
  };
  try {
    expect(await upper("ignore")).toBe("");
    expect(await upper(new TextEncoder().encode("bytes"))).toBe("BYTES");
    expect(await upper(Bun.file(join(dir, "input")))).toBe("FROM A FILE");
    expect(await upper(new Blob(["from a blob"]))).toBe("FROM A BLOB");
    expect(await upper(new Response("from a stream").body)).toBe("FROM A STREAM");
    const large = "ab".repeat(300_000);
    expect(await upper(new TextEncoder().encode(large))).toBe(large.toUpperCase());
    await using vm = await Machine.boot(guest("upper"), { stdin: "pipe", ...quiet });
    const done = Promise.all([vm.run(), new Response(vm.stdout).text()]);
    vm.stdin.write("one ");
    await vm.stdin.flush();
    vm.stdin.write("two");
    await vm.stdin.end();
    expect((await done)[1]).toBe("ONE TWO");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("standard output: a file, and a pipe larger than its buffer that is read slowly", async () => {
  const dir = mkdtempSync(join(tmpdir(), "pristine-stdout-"));
  try {
    const path = join(dir, "out");
    await using vm = await Machine.boot(guest("hello"), { stdout: Bun.file(path), ...quiet });
    await vm.run();
    expect(readFileSync(path, "utf8")).toBe("Hello from a static program\n");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  await using echo = await Machine.boot(guest("upper"), { stdin: new TextEncoder().encode("q".repeat(3_000_000)), ...quiet });
  const running = echo.run({ timeout: 30_000 });
  let bytes = 0;
  for await (const chunk of echo.stdout) {
    bytes += chunk.length;
    if (bytes % 7 === 0) await Bun.sleep(1);
  }
  expect(bytes).toBe(3_000_000);
  expect((await running).exitCode).toBe(0);
});

test("a reader that goes away is SIGPIPE for the guest; one that never reads holds nothing up", async () => {
  await using vm = await Machine.boot(guest("endless"), { args: ["write"], ...quiet });
  const running = vm.run({ timeout: 30_000 });
  const reader = vm.stdout.getReader();
  await reader.read();
  await reader.cancel();
  expect(await running).toEqual({ reason: "signal", exitCode: null, signalCode: "SIGPIPE" });
  const unread = await Machine.boot(guest("endless"), { args: ["write"], ...quiet });
  const stuck = failure(unread.run({ timeout: 30_000 }));
  while (unread.counters().syscalls < 20) await Bun.sleep(1);
  unread.close();
  expect((await stuck).code).toBe("CLOSED");
});

test("memory: views are live, copies are copies, bad ranges are BAD_ADDRESS", async () => {
  const vm = await Machine.boot(guest("functions"), { stdout: "ignore", ...quiet });
  await vm.run();
  const at = vm.memory.allocate(10_000, { align: 4096 });
  expect(at % 4096).toBe(0);
  const view = vm.memory.view(at, 10_000);
  view.fill(3);
  expect(vm.call("sum", at, 10_000)).toBe(30_000);
  vm.call("fill", at, 10_000);
  expect(view[1]).toBe(10);
  const copy = vm.memory.read(at, 4);
  view[0] = 99;
  expect(copy[0]).toBe(3);
  vm.memory.write(at, "text\0");
  expect(vm.memory.readCString(at)).toBe("text");
  expect(vm.memory.views(at, 10_000).reduce((total, piece) => total + piece.length, 0)).toBe(10_000);
  using lease = vm.memory.lease(at, 16);
  expect(lease.bytes[0]).toBe("t".charCodeAt(0));
  for (const [address, length] of [
    [0, 8],
    [8, 1],
    [0x123456789000, 16],
    [2 ** 47, 1],
    [-1, 4],
    [at, 2 ** 40],
    [Number.NaN, 1],
    [at, -1],
  ] as const) {
    for (const action of [() => vm.memory.view(address, length), () => vm.memory.views(address, length)]) {
      let caught: unknown;
      try {
        action();
      } catch (error) {
        caught = error;
      }
      expect(`${address} ${length} ${(caught as PristineError).code}`).toBe(`${address} ${length} BAD_ADDRESS`);
    }
  }
  expect(() => vm.memory.readCString(at + 20_000_000)).toThrow();
  expect(() => vm.memory.allocate(0)).toThrow();
  expect(() => vm.memory.allocate(16, { align: 3 })).toThrow("power of two");
  vm.close();
  expect(view.length).toBe(0);
  expect(view[0]).toBeUndefined();
  expect(lease.stale).toBe(true);
  expect(() => lease.bytes).toThrow("gone");
});

test("2,000 machines made and disposed leave nothing behind", () => {
  // In a process of its own: what leaks there is counted there.
  const script = `
    import { Machine } from ${JSON.stringify(join(root, "src/index.ts"))};
    import { readdirSync, readFileSync } from "node:fs";
    const usage = () => ({ fds: readdirSync("/proc/self/fd").length, maps: readFileSync("/proc/self/maps", "utf8").split("\\n").length,
      tasks: readdirSync("/proc/self/task").length, rss: Number(/VmRSS:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) });
    const one = async (run) => { const vm = await Machine.boot(${JSON.stringify(guest("bare"))}, { stdin: run ? "pipe" : "ignore", stderr: "ignore" });
      if (run) { await Promise.all([vm.run(), new Response(vm.stdout).text()]); vm.call("twice", 4); vm.memory.view(vm.memory.allocate(64), 64); }
      vm.close(); };
    for (let i = 0; i < 200; i++) await one(i % 2 === 0);
    Bun.gc(true); const before = usage();
    for (let i = 0; i < 2000; i++) await one(i % 2 === 0);
    Bun.gc(true); await Bun.sleep(50); console.log(JSON.stringify({ before, after: usage() }));`;
  const done = Bun.spawnSync([process.execPath, "-e", script], { stderr: "inherit" });
  const { before, after } = JSON.parse(done.stdout.toString());
  expect(after.fds).toBeLessThanOrEqual(before.fds + 4);
  expect(after.maps).toBeLessThanOrEqual(before.maps + 40);
  expect(after.tasks).toBeLessThanOrEqual(before.tasks + 4);
  expect(after.rss).toBeLessThanOrEqual(before.rss + 64 * 1024);
}, 120_000);

test("a guest that only computes makes no call of the host, one that uses files does", async () => {
  for (const [name, argument] of [
    ["matrix", "5"],
    ["sha256", "1"],
    ["sort", "100"],
  ] as const) {
    await using vm = await Machine.boot(guest(name), { args: [argument], timeout: 60_000 });
    await Promise.all([vm.run(), new Response(vm.stdout).text()]);
    expect({ name, calls: vm.counters().hostCalls }).toEqual({ name, calls: 0 });
  }
  await using vm = await Machine.boot(guest("functions"), { stdout: "ignore", timeout: 60_000 });
  await vm.run();
  const before = vm.counters().hostCalls;
  for (let index = 0; index < 100; index++) vm.call("add", index, 1);
  expect(vm.counters().hostCalls).toBe(before);
  await using reader = await Machine.boot("/bin/cat", { args: ["/etc/passwd"], permissions: { read: ["/etc"] }, timeout: 60_000 });
  await Promise.all([reader.run(), new Response(reader.stdout).text()]);
  expect(reader.counters().hostCalls).toBeGreaterThan(0);
});

test("several machines run at once and do not see each other", async () => {
  const vms = await Promise.all(Array.from({ length: 8 }, () => Machine.boot(guest("functions"), { stdout: "ignore", ...quiet })));
  await Promise.all(vms.map((vm) => vm.run()));
  const counters = await Promise.all(
    vms.map((vm, index) =>
      vm
        .fn("counter", { returns: "u64_fast" })
        .async([])
        .then(async (first) => [index, first]),
    ),
  );
  expect(new Set(counters.map(([, first]) => first)).size).toBe(1);
  for (const vm of vms) vm.close();
});

test("the process ends by itself when nothing is under way, and stays while something is", () => {
  const script = (body: string) => `import { Machine } from ${JSON.stringify(join(root, "src/index.ts"))}; ${body}`;
  const run = (body: string) => Bun.spawnSync([process.execPath, "-e", script(body)], { timeout: 20_000 });
  const open = run(`const vm = await Machine.boot(${JSON.stringify(guest("hello"))}); await vm.run(); console.log("done");`);
  expect(open.exitCode).toBe(0);
  expect(open.stdout.toString()).toContain("done");
  const waits = run(
    `Machine.boot(${JSON.stringify(guest("sleeps"))}, { args: ["200"], stdout: "ignore" }).then((vm) => vm.run()).then((stop) => console.log(stop.exitCode));`,
  );
  expect(waits.stdout.toString().trim()).toBe("0");
});

test("every fault of the list ends as it does natively, and none hurts the host", async () => {
  const list = Bun.spawnSync([guest("faults"), "--list"])
    .stdout.toString()
    .trim()
    .split("\n");
  expect(list.length).toBeGreaterThan(50);
  for (const line of list) {
    const name = line.split(/\s+/)[0] as string;
    const native = Bun.spawnSync([guest("faults"), name], { env: {}, stdout: "ignore", stderr: "ignore" });
    await using vm = await Machine.boot(guest("faults"), { args: [name], stdout: "ignore", ...quiet });
    const stop = await vm.run();
    expect(`${name}: ${stop.signalCode}`).toBe(`${name}: ${native.signalCode}`);
  }
}, 60_000);

test("the library and the table belong together", () => {
  const table = readFileSync(join(root, "src/ffi/table.ts"), "utf8");
  expect(readdirSync(join(root, "zig-out/lib"))).toContain("libpristine.so");
  expect(table).toContain("export const ABI_VERSION");
  const script = `process.env.PRISTINE_LIBRARY = ${JSON.stringify(join(root, "zig-out/lib/libpristine-floor.so"))};
    const { Machine } = await import(${JSON.stringify(join(root, "src/index.ts"))});
    try { await Machine.boot("/bin/true"); } catch (e) { console.log(e.code); }`;
  expect(Bun.spawnSync([process.execPath, "-e", script]).stdout.toString().trim()).toBe("ABI_MISMATCH");
});
