/** Polling: what a native run sees, what it costs of the host, and what becomes of it in forks and after resets. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { Machine } from "../src/index.ts";

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const relaxed = { timeout: 60_000, stderr: "ignore", permissions: { read: ["/"] } } as const;
const patience = 120_000;

/** Runs a sample to its end; what it printed, and how many calls of the host that took. */
async function run(name: string, args: string[] = []): Promise<{ text: string; hostCalls: number }> {
  await using vm = await Machine.boot(guest(name), { args, ...relaxed });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  expect(stop.exitCode as number).toBe(0);
  return { text, hostCalls: vm.counters().hostCalls };
}

for (const name of ["events", "event-threads"]) {
  test(
    `${name} sees what it sees natively`,
    async () => {
      const native = Bun.spawnSync([guest(name)], { env: {}, stdin: "ignore" });
      expect(native.exitCode).toBe(0);
      const expected = native.stdout.toString();
      expect(expected.split("\n").length).toBeGreaterThan(10);
      expect((await run(name)).text).toBe(expected);
    },
    patience,
  );
}

test(
  "a bomb of sets within sets stays within its limits",
  async () => {
    const { text } = await run("events", ["bomb"]);
    expect(text.split("\n")).toEqual([
      "bomb: watches: 1600",
      `bomb: outermost: 16${" 1/0".repeat(16)}`,
      "bomb: refused at the end: No space left on device",
      "bomb: many watches: 1",
      "bomb: looked: 1",
      "bomb: no descriptor is left: No file descriptors available",
      "",
    ]);
  },
  patience,
);

/** Feeds a sample's standard input as it asks for more, through the pipe that it inherits. */
async function feed(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  child.stdin.write("abcdef");
  child.stdin.flush();
  let text = "";
  const decoder = new TextDecoder();
  let asked = 0;
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (asked === 0 && text.includes("more\n")) {
      asked = 1;
      await Bun.sleep(30);
      child.stdin.write("ghi");
      child.stdin.flush();
    }
    if (asked === 1 && text.includes("end\n")) {
      asked = 2;
      await Bun.sleep(30);
      child.stdin.end();
    }
  }
  expect(await child.exited).toBe(0);
  return text;
}

test(
  "edges of a stream of the host's come as they do natively",
  async () => {
    const expected = await feed([guest("events"), "stream"]);
    expect(expected).toContain("stream: more: 1");
    const cli = join(import.meta.dir, "../src/cli/main.ts");
    expect(await feed([process.execPath, cli, "run", guest("events"), "stream"])).toBe(expected);
  },
  patience,
);

test("a signal of the embedder's wakes who polls a signalfd", async () => {
  await using vm = await Machine.boot(guest("events"), { args: ["signal"], ...relaxed });
  const ended = vm.run();
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of vm.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (text === "waiting\n") {
      // It sleeps by then, as a rule; if not, it finds the signal at once.
      await Bun.sleep(50);
      vm.kill("SIGTERM");
    }
  }
  expect((await ended).exitCode as number).toBe(0);
  expect(text).toBe("waiting\nsignal: 1 1/7\nread: 128\nsignal 15, code 0\nnothing more: 0\n");
});

async function withReady(check: (vm: Machine) => void | Promise<void>): Promise<void> {
  await using vm = await Machine.boot(guest("events"), { args: ["ready"], stdout: "ignore", ...relaxed });
  await vm.run({ until: "ready" });
  await check(vm);
}

test("looking and being woken inside a machine calls no host", async () => {
  await withReady((vm) => {
    const poll = vm.fn("poll_inside", { args: ["u32"], returns: "i64" });
    poll(1);
    const before = vm.counters();
    expect(poll(100)).toBe(300n);
    const after = vm.counters();
    expect(after.hostCalls - before.hostCalls).toBe(0);
    expect(after.syscalls - before.syscalls).toBe(700);
  });
});

test("a span of a timerfd stands still in an image, a date does not; both are armed again by a reset", async () => {
  await withReady(async (vm) => {
    const arm = (machine: { call: Machine["call"] }, which: number, ms: number) => machine.call("arm_timer", which, ms) as number;
    expect(arm(vm, 0, 400)).toBe(0);
    expect(arm(vm, 1, 400)).toBe(0);
    using image = vm.freeze();
    await Bun.sleep(500);
    using fork = image.fork();
    for (let round = 0; round < 2; round++) {
      // The date has passed meanwhile; of the span next to nothing has.
      expect(fork.call("timer_expired", 1)).toBe(1);
      expect(fork.call("timer_expired", 0)).toBe(0);
      expect(fork.call("wait_for_timer", 0)).toBe(1);
      expect(fork.call("timer_expired", 0)).toBe(1);
      fork.reset();
    }
  });
});

test("a fork has sets, watches and counters of its own", async () => {
  await withReady((vm) => {
    vm.call("poll_inside", 1);
    using image = vm.freeze();
    using one = image.fork();
    using other = image.fork();
    const events = (fork: { call: Machine["call"] }) => fork.call("count_events") as number;
    expect(one.call("poke", 3)).toBe(0);
    expect(events(one)).toBe(1);
    // An edge is told once.
    expect(events(one)).toBe(0);
    expect(events(other)).toBe(0);
    one.reset();
    expect(events(one)).toBe(0);
    expect(one.call("poke", 1)).toBe(0);
    expect(events(one)).toBe(1);
    expect(events(other)).toBe(0);
  });
});
