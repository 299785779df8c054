/** Threads: what a native run does, how processes of several threads end, and what becomes of threads in forks and resets. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { Machine, type PristineError } from "../src/index.ts";
import { difference } from "../src/testing.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(600_000);

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);

/** What it does natively. */
function natively(name: string, args: string[]) {
  const done = Bun.spawnSync([guest(name), ...args], { env: {}, stdin: "ignore", stderr: "ignore", timeout: 60_000 });
  return { text: done.stdout.toString(), exitCode: done.exitCode, signalCode: (done.signalCode ?? null) as NodeJS.Signals | null };
}

async function inMachine(name: string, args: string[]) {
  await using vm = await Machine.boot(guest(name), { args, stderr: "ignore", timeout: 500_000 });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  return { text, exitCode: stop.exitCode, signalCode: stop.signalCode };
}

describe("samples do what they do natively", () => {
  for (const name of ["threads", "futexes", "thread-signals", "thread-ends", "preemption"]) {
    test(name, async () => {
      const expected = natively(name, []);
      expect(expected.text).not.toContain("WRONG");
      expect(expected.exitCode).toBe(0);
      expect(await inMachine(name, [])).toEqual({ ...expected, exitCode: 0 });
    });
  }
});

describe("a process of several threads ends", () => {
  const ends = [
    ["main-leaves", "when the last thread has ended"],
    ["main-status", "with the status of the last"],
    ["group", "when one calls exit_group, whatever the others do"],
    ["group-from-spinning", "when one calls exit_group and the first spins"],
    ["return", "when main returns"],
    ["fault", "by a thread's fault"],
    ["abort", "by a thread's abort"],
    ["signal", "by a signal"],
    ["kill", "by SIGKILL"],
    ["exec", "by a thread's execve, and the other program begins with one"],
  ] as const;
  for (const [name, how] of ends) {
    test(how, async () => {
      const { exitCode, ...expected } = natively("thread-ends", [name]);
      expect(await inMachine("thread-ends", [name])).toEqual({ ...expected, exitCode: expected.signalCode ? null : exitCode });
    });
  }
});

describe("threads in the middle of everything", () => {
  const lines = async (machine: Machine) => {
    const [stop, text] = await Promise.all([machine.run(), new Response(machine.stdout).text()]);
    return { text, exitCode: stop.exitCode };
  };

  test("go on in the machine, in every fork, after every reset, and in forks of forks", async () => {
    const { text } = natively("thread-image", []);
    expect(text).not.toContain("WRONG");
    const expected = { text, exitCode: 0 };
    await using vm = await Machine.boot(guest("thread-image"), { timeout: 500_000 });
    expect((await vm.run({ until: "ready" })).reason).toBe("ready");
    using image = vm.freeze();
    using pristine = image.fork();
    expect(await lines(vm)).toEqual(expected);
    for (let one = 0; one < 3; one++) {
      using fork = image.fork();
      for (const mode of ["auto", "rewrite", "full"] as const) {
        expect(await lines(fork)).toEqual(expected);
        fork.reset({ mode });
        expect(difference(fork, pristine)).toEqual([]);
      }
      // Ended by force, at another place each time.
      const error = await fork.run({ timeout: 10 + 10 * one }).catch((failure: unknown) => failure);
      expect((error as PristineError).code).toBe("TIMEOUT");
      fork.reset();
      expect(difference(fork, pristine)).toEqual([]);
      using again = fork.freeze();
      using second = again.fork();
      expect(await lines(second)).toEqual(expected);
    }
  });

  test("go on in forks that run at the same time", async () => {
    const { text } = natively("thread-image", []);
    await using vm = await Machine.boot(guest("thread-image"), { timeout: 500_000 });
    await vm.run({ until: "ready" });
    using image = vm.freeze();
    const forks = Array.from({ length: 8 }, () => image.fork());
    try {
      for (const done of await Promise.all(forks.map(lines))) expect(done).toEqual({ text, exitCode: 0 });
    } finally {
      for (const fork of forks) fork.close();
    }
  });
});
