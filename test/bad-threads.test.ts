/** Threads that take what there is without end, or change what others use: limits hold, and the process and its machines live. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Machine, PristineError } from "../src/index.ts";
import { difference } from "../src/testing.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(600_000);

const guest = join(import.meta.dir, "../zig-out/guests/bad-threads");

async function run(how: string, timeout = 500_000) {
  await using vm = await Machine.boot(guest, { args: [how], stderr: "ignore", timeout, permissions: { read: ["/dev"] } });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  return { text, exitCode: stop.exitCode, signalCode: stop.signalCode };
}

async function codeOf(action: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof action === "function" ? action() : action);
  } catch (error) {
    if (PristineError.is(error)) return error.code;
    throw error;
  }
  return "none";
}

const openDescriptors = () => readdirSync("/proc/self/fd").length;
/** What the host has set aside for this process's threads of other kinds does not change with a guest's. */
const hostThreads = () => readdirSync("/proc/self/task").length;

test("threads without end are refused at a limit, and can all be made again", async () => {
  const threads = hostThreads();
  expect(await run("bomb")).toEqual({
    text: "threads end at a limit: ok\nall of them come back: ok\n",
    exitCode: 0,
    signalCode: null,
  });
  // They are the guest's alone; runs have threads of the host's, a few.
  expect(hostThreads()).toBeLessThanOrEqual(threads + 4);
});

for (const [how, what] of [
  ["storm", "a storm of signals between threads passes"],
  ["changing", "arguments that another thread changes meanwhile are answered with a result or an errno"],
  ["unmap", "memory and descriptors that are taken away under calls that wait"],
  ["wakes", "ten thousand wake-ups"],
] as const) {
  test(what, async () => {
    const native = Bun.spawnSync([guest, how], { env: {}, stdin: "ignore", stderr: "ignore" }).stdout.toString();
    expect(native).toContain("ok");
    expect(native).not.toContain("WRONG");
    expect(await run(how)).toEqual({ text: native, exitCode: 0, signalCode: null });
  });
}

test("a thread whose stack is gone is a fault of the process", async () => {
  expect(await run("stack")).toEqual({ text: "", exitCode: null, signalCode: "SIGSEGV" });
});

test("threads that spin, and threads that all wait, end at the time-out", async () => {
  for (const how of ["spin", "deadlock"]) {
    const started = performance.now();
    expect(await codeOf(run(how, 300))).toBe("TIMEOUT");
    expect(performance.now() - started).toBeLessThan(30_000);
  }
});

test("all waiting costs no CPU time", async () => {
  await using vm = await Machine.boot(guest, { args: ["deadlock"], stderr: "ignore", timeout: 500 });
  const before = process.cpuUsage();
  expect(await codeOf(vm.run())).toBe("TIMEOUT");
  const used = process.cpuUsage(before);
  if (process.env.PRISTINE_LANE === undefined) expect((used.user + used.system) / 1000).toBeLessThan(250);
});

test("threads that spin end when the machine is closed or the run is aborted", async () => {
  const vm = await Machine.boot(guest, { args: ["spin"], stderr: "ignore", timeout: 60_000 });
  const closed = codeOf(vm.run());
  await Bun.sleep(20);
  vm.close();
  expect(await closed).toBe("CLOSED");
  await using other = await Machine.boot(guest, { args: ["spin"], stderr: "ignore", timeout: 60_000 });
  const reason = new Error("enough");
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 20);
  expect(await other.run({ signal: controller.signal }).catch((error: unknown) => error)).toBe(reason);
});

test("threads that a request leaves behind are gone after a reset", async () => {
  await using vm = await Machine.boot(guest, { stderr: "ignore", stdout: "ignore", timeout: 60_000 });
  expect((await vm.run()).exitCode).toBe(0);
  using image = vm.freeze();
  using fork = image.fork({ timeout: 60_000 });
  using pristine = image.fork();
  let before = 0;
  for (let round = 0; round < 5; round++) {
    expect(fork.call("leave_threads", 50)).toBe(50);
    expect(difference(fork, pristine)).not.toEqual([]);
    fork.reset();
    expect(difference(fork, pristine)).toEqual([]);
    if (round === 0) before = openDescriptors();
  }
  expect(openDescriptors()).toBe(before);
});
