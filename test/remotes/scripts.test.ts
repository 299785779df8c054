/**
 * Scripts inside machines that are remotes and call remotes (`pristine-vm/guest`), in Deno, Node, Bun and Python as they are. What
 * is not installed is skipped by name. In the emulated lane, where everything takes 30 times as long, only C programs are run.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, PristineError, Snapshot } from "../../src/index.ts";
import { paths } from "../runtimes/cases.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
const patience = 60_000;
const root = mkdtempSync(join(tmpdir(), "pristine-guest-scripts-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const guest = (name: string) => join(import.meta.dir, "../../zig-out/guests", name);
const file = (name: string, text: string) => {
  writeFileSync(join(root, name), text);
  return join(root, name);
};

const built = await Bun.build({ entrypoints: [join(import.meta.dir, "../../src/guest/index.ts")], target: "node", format: "esm" });
const module = file("guest.mjs", await (built.outputs[0] as Blob).text());

const remoteScript = file(
  "remote.mjs",
  `import { exportRemote, generation, reply, wait } from ${JSON.stringify(module)};
let count = 0;
let kept;
exportRemote("upper", (request) => {
  for (let at = 0; at < request.length; at++) if (request[at] >= 97 && request[at] <= 122) request[at] -= 32;
  return request.length;
});
exportRemote("count", (request) => {
  request[0] = ++count;
  return 1;
});
exportRemote("bytes", () => new TextEncoder().encode("an answer"));
exportRemote("nothing", () => {});
exportRemote("throws", () => { throw new Error("not today"); });
exportRemote("long", (request) => new Uint8Array(request.length + 1));
exportRemote("number", () => 1000);
exportRemote("work", () => {
  for (const until = performance.now() + 1000; performance.now() < until; );
});
exportRemote("keep", (request) => { kept = request; });
exportRemote("kept", (request) => {
  request[0] = kept.length;
  return 1;
});
exportRemote("generation", (request) => new TextEncoder().encode(String(generation())));
for (;;) {
  const { request } = wait();
  request.reverse();
  reply(request.length);
}
`,
);

/** Asks for `[NAME, TEXT]`, each by a file of its own, and tells what came of it as JSON. */
const callerScript = file(
  "caller.mjs",
  `import { importRemote } from ${JSON.stringify(module)};
const args = globalThis.Deno?.args ?? process.argv.slice(2);
const answers = JSON.parse(args[0]).map(([name, text]) => {
  const ask = importRemote(name);
  if (!ask) return null;
  const buffer = new TextEncoder().encode(text);
  try {
    const result = ask(buffer);
    return [result, new TextDecoder().decode(buffer)];
  } catch (error) {
    return error.code ?? error.name;
  }
});
console.log(JSON.stringify(answers));
`,
);
const pythonScript = file(
  "caller.py",
  `import json, os, sys
def ask(name, text):
    try:
        remote = open("/pristine/remote/" + name, "r+b", buffering=0)
    except FileNotFoundError:
        return None
    buffer = bytearray(text.encode())
    try:
        result = os.write(remote.fileno(), buffer)
        for _ in range(times):
            remote.readinto(buffer)
        return [result, buffer.decode()]
    except OSError as error:
        return "EIO" if error.errno == 5 else error.errno
times = int(sys.argv[2]) if len(sys.argv) > 2 else 0
print(json.dumps([ask(name, text) for name, text in json.loads(sys.argv[1])]))
`,
);

const env = {
  NO_COLOR: "1",
  TMPDIR: "/tmp",
  HOME: "/tmp/home",
  NODE_OPTIONS: "",
  DENO_DIR: "/tmp/deno",
  DENO_NO_UPDATE_CHECK: "1",
  DENO_NO_PACKAGE_JSON: "1",
};
const common = { env, permissions: { read: true }, memory: "4GiB", stderr: "ignore", timeout: 30_000 } as const;

const denoFlags = { "in place": ["--allow-ffi"], copied: ["--allow-read=/pristine", "--allow-write=/pristine"] } as const;
type Way = keyof typeof denoFlags;
const ways = Object.keys(denoFlags) as Way[];

async function bootRemote(way: Way): Promise<Machine> {
  const args = ["run", "--no-prompt", ...denoFlags[way], remoteScript];
  const remote = await Machine.boot(paths.deno, { ...common, remote: true, args, stdout: "ignore" });
  expect(await remote.run({ until: "ready" })).toEqual({ reason: "ready" });
  return remote;
}

type Question = [name: string, text: string];
type Answer = [result: number, text: string] | string | null;

const callers: Record<string, { path: string; args: string[] }> = {
  deno: { path: paths.deno, args: ["run", "--no-prompt", ...denoFlags.copied, callerScript] },
  node: { path: paths.node, args: [callerScript] },
  bun: { path: paths.bun, args: [callerScript] },
  python: { path: "/usr/bin/python3", args: [pythonScript] },
};

async function bootCaller(remote: Machine, name: string, questions: Question[], more: string[] = []) {
  const { path, args } = callers[name] as { path: string; args: string[] };
  const vm = await Machine.boot(path, { ...common, args: [...args, JSON.stringify(questions), ...more], stdout: "pipe" });
  vm.connect(remote, { name: "remote" });
  return vm;
}

async function ask(remote: Machine, name: string, questions: Question[]): Promise<{ answers: Answer[]; bytesCopied: number }> {
  using vm = await bootCaller(remote, name, questions);
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout as ReadableStream).text()]);
  expect(stop).toEqual({ reason: "exit", exitCode: 0, signalCode: null });
  return { answers: JSON.parse(text), bytesCopied: vm.counters().bytesCopied };
}

async function cCaller(remote: Machine): Promise<Machine> {
  const vm = await Machine.boot(guest("caller"), { stdout: "ignore" });
  vm.connect(remote, { name: "remote" });
  await vm.run({ until: "ready" });
  return vm;
}

async function failureOf(remote: Machine, question: Question): Promise<string> {
  using vm = await bootCaller(remote, "python", [question]);
  try {
    await vm.run();
    return "no error";
  } catch (error) {
    return PristineError.is(error) ? error.code : String(error);
  }
}

const missing = (name: string) => (existsSync((callers[name] as { path: string }).path) ? "" : ` (${callers[name]?.path} is not there)`);
const noPython = emulated || missing("python") !== "";

for (const way of emulated ? [] : ways) {
  describe(`a remote in Deno, ${way}`, () => {
    for (const name of Object.keys(callers)) {
      const skipped = missing(name);
      test.skipIf(skipped !== "")(
        `answers ${name}${skipped}`,
        async () => {
          using remote = await bootRemote(way);
          const long = "x".repeat(100_000);
          const questions: Question[] = [
            ["remote", "hello"],
            ["remote:upper", "grüße"],
            ["remote:bytes", "12345678901234"],
            ["remote:nothing", "q"],
            ["remote:throws", "q"],
            ["remote:upper", ""],
            ["remote:upper", long],
            ["remote:no-such-function", "q"],
            ["nobody", "q"],
          ];
          const { answers, bytesCopied } = await ask(remote, name, questions);
          const expected = [
            [5, "olleh"],
            [7, "GRüßE"],
            [9, "an answer01234"],
            [0, "q"],
            "EIO",
            [0, ""],
            [100_000, long.toUpperCase()],
            null,
            null,
          ];
          expect(answers).toEqual(expected as Answer[]);
          if (way === "in place") expect(bytesCopied).toBe(0);
          else expect(bytesCopied).toBeGreaterThan(200_000);
        },
        patience,
      );
    }

    test.skipIf(noPython)(
      "a call is two exits",
      async () => {
        using remote = await bootRemote(way);
        const exitsOf = async (times: number) => {
          using vm = await bootCaller(remote, "python", [["remote:upper", "q"]], [String(times)]);
          await vm.run();
          expect(vm.counters().remoteCalls).toBe(1 + times);
          return vm.counters().exits;
        };
        await exitsOf(1000);
        const few = await exitsOf(500);
        const perCall = ((await exitsOf(4500)) - few) / 4000;
        expect(perCall).toBeGreaterThan(1.8);
        expect(perCall).toBeLessThan(2.2);
      },
      patience,
    );

    test.skipIf(noPython)(
      "an answer for which there is no room ends the caller's run, and the remote stays",
      async () => {
        using remote = await bootRemote(way);
        expect(await failureOf(remote, ["remote:long", "1234"])).toBe("BAD_REPLY");
        expect(await failureOf(remote, ["remote:number", "1234"])).toBe("BAD_REPLY");
        expect((await ask(remote, "python", [["remote:upper", "still there"]])).answers).toEqual([[11, "STILL THERE"]]);
      },
      patience,
    );

    test.skipIf(noPython)(
      "what a request was is gone or kept behind the reply, and never another caller's",
      async () => {
        using remote = await bootRemote(way);
        const { answers } = await ask(remote, "python", [
          ["remote:keep", "1234567"],
          ["remote:kept", "???"],
        ]);
        expect(answers[1]).toEqual([1, `${String.fromCharCode(way === "in place" ? 0 : 7)}??`]);
      },
      patience,
    );

    test(
      "a caller that runs out of time ends a remote that has its memory, and no other",
      async () => {
        using remote = await bootRemote(way);
        using vm = await cCaller(remote);
        using image = vm.freeze();
        using hasty = image.fork({ timeout: 100 });
        expect(() => hasty.call("ask", "remote:work", 0, 10)).toThrow(expect.objectContaining({ code: "TIMEOUT" }));
        using patient = image.fork();
        const asks = () => patient.call("ask", "remote:upper", "a".charCodeAt(0), 10);
        if (way === "in place") expect(asks).toThrow(expect.objectContaining({ code: "REMOTE_FAULT" }));
        else expect(asks()).toBe(10);
      },
      patience,
    );

    test.skipIf(noPython)(
      "is frozen as it waits; forks of it go on from there",
      async () => {
        using remote = await bootRemote(way);
        await ask(remote, "python", [["remote:count", "?"]]);
        const counted = async (mode: "shared" | "fork") => {
          using vm = await bootCaller(remote, "python", [["remote:count", "?"]]);
          vm.connect(remote, { name: "remote", mode });
          const [, text] = await Promise.all([vm.run(), new Response(vm.stdout as ReadableStream).text()]);
          return (JSON.parse(text) as [number, string][])[0]?.[1]?.charCodeAt(0);
        };
        expect(await counted("fork")).toBe(2);
        expect(await counted("fork")).toBe(2);
        expect(await counted("shared")).toBe(2);
        expect(await counted("shared")).toBe(3);
        expect(await counted("fork")).toBe(4);
      },
      patience,
    );

    test(
      "callers on native threads take turns, and each gets its own answer",
      async () => {
        using remote = await bootRemote(way);
        using vm = await cCaller(remote);
        using image = vm.freeze();
        await Promise.all(
          Array.from({ length: 4 }, async (_, index) => {
            using fork = image.fork({ timeout: 20_000 });
            const ask = fork.fn("ask", { args: ["cstring", "i32", "u64"], returns: "i64_fast" });
            const letter = "a".charCodeAt(0) + index;
            for (let round = 1; round <= 50; round++) {
              expect(await ask.async(["remote:upper", letter, 100 * round])).toBe(100 * round);
              expect(fork.call("byte_at", 100 * round - 1)).toBe(letter - 32);
            }
          }),
        );
      },
      patience,
    );

    test(
      "C programs call it by name, and cannot jump into it",
      async () => {
        using remote = await bootRemote(way);
        using vm = await cCaller(remote);
        expect(vm.call("ask", "remote:upper", "a".charCodeAt(0), 300)).toBe(300);
        expect(vm.call("byte_at", 299)).toBe("A".charCodeAt(0));
        // A number is all that a C program asks for.
        expect(vm.call("ask", "remote:number", 0, 10)).toBe(1000);
        expect(vm.call("import", "remote:upper")).toBe(0);
      },
      patience,
    );
  });
}

for (const name of emulated ? [] : Object.keys(callers)) {
  test.skipIf(missing(name) !== "")(
    `${name} calls a remote in C${missing(name)}`,
    async () => {
      using remote = await Machine.boot(guest("remote"), { remote: true, args: ["wait"], stdout: "ignore" });
      const { answers, bytesCopied } = await ask(remote, name, [
        ["remote", "fill this"],
        ["remote:add", "f"],
        ["remote:nothing", "f"],
      ]);
      expect(answers).toEqual([[9, "FFFFFFFFF"], [1, "F"], null]);
      expect(bytesCopied).toBe(0);
    },
    patience,
  );
}

test.skipIf(noPython)("a sum is no number of bytes, and a fault of the remote ends the caller's run", async () => {
  using remote = await Machine.boot(guest("remote"), { remote: true, args: ["wait"], stdout: "ignore" });
  expect(await failureOf(remote, ["remote", "sum"])).toBe("BAD_REPLY");
  expect(await failureOf(remote, ["remote", "crash"])).toBe("REMOTE_FAULT");
  expect(await failureOf(remote, ["remote", "fill"])).toBe("no error");
});

test("a call by a file keeps the caller's vector registers", async () => {
  using remote = await Machine.boot(guest("remote"), { remote: true, args: ["wait"], stdout: "ignore" });
  using vm = await cCaller(remote);
  expect(vm.call("keeps_vectors", "/pristine/remote/remote")).toBe(1);
  expect(vm.call("keeps_vectors", "/pristine/remote/nobody")).toBe(-2);
});

test("a remote that waits by a file keeps its vector registers, and is frozen, forked and saved as it waits", async () => {
  const asks = async (remote: Machine) => {
    using vm = await cCaller(remote);
    for (const [length, copied] of [
      [100, 101],
      // There is no room for so much: the remote gets the length alone.
      [10_000, 1],
    ] as const) {
      const before = vm.counters().bytesCopied;
      expect(vm.call("ask", "remote", "?".charCodeAt(0), length)).toBe(1);
      expect(String.fromCharCode(vm.call("byte_at", 0) as number)).toBe("k");
      expect(vm.counters().bytesCopied - before).toBe(copied);
    }
  };
  using remote = await Machine.boot(guest("remote"), { remote: true, args: ["file"], stdout: "ignore" });
  await asks(remote);
  await asks(remote);
  using image = remote.freeze();
  using fork = image.fork();
  await asks(fork);
  await image.save(join(root, "remote.snap"));
  using opened = await Snapshot.open(join(root, "remote.snap"));
  using again = opened.fork();
  await asks(again);
});

test.skipIf(emulated || missing("node") !== "")(
  "ready() is the point to freeze, and generation() differs in every fork",
  async () => {
    const script = file(
      "ready.mjs",
      `import { generation, importRemote, ready } from ${JSON.stringify(module)};
const before = generation();
ready();
console.log(JSON.stringify([before, generation(), importRemote("nobody")]));`,
    );
    using vm = await Machine.boot(paths.node, { ...common, args: [script], stdout: "pipe" });
    expect(await vm.run({ until: "ready" })).toEqual({ reason: "ready" });
    using image = vm.freeze();
    const told = async () => {
      using fork = image.fork();
      const [, text] = await Promise.all([fork.run(), new Response(fork.stdout as ReadableStream).text()]);
      return JSON.parse(text) as [number, number, null];
    };
    const [first, second] = [await told(), await told()];
    expect(first[0]).toBe(second[0]);
    expect(new Set([first[0], first[1], second[1]]).size).toBe(3);
    expect(first[2]).toBeNull();
  },
  patience,
);

test.skipIf(emulated || missing("node") !== "")("outside a machine nothing happens, and nobody can be a remote", () => {
  const script = file(
    "outside.mjs",
    `import { exportRemote, generation, importRemote, ready } from ${JSON.stringify(module)};
ready();
let failure;
try { exportRemote("x", () => {}); } catch (error) { failure = error.message; }
console.log(JSON.stringify([generation(), importRemote("x"), failure]));`,
  );
  for (const path of [paths.node, paths.bun]) {
    const { stdout } = Bun.spawnSync([path, script]);
    expect(JSON.parse(stdout.toString())).toEqual([0, null, "only inside a machine can a script be a remote"]);
  }
});

test.skipIf(emulated)("runtimes that are not position-independent are no remotes", async () => {
  const failure = await Machine.boot(paths.bun, { ...common, remote: true }).catch((error) => error);
  expect(failure).toMatchObject({ code: "BAD_OPTION" });
});
