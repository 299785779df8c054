/** Real programs of Debian: a machine of this process, and the whole command `pristine run`, against the native process. */
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine } from "../src/index.ts";
import type { Counters } from "../src/types.ts";
import { type Benchmark, type Finding, interleave, root } from "./rounds.ts";

const megabyte = 1_000_000;
/** Linux's number of read. */
const readNumber = 0;
/** What programs read of the host besides their own folder. */
const systemFolders = ["/usr", "/lib", "/lib64", "/bin", "/etc"];

/** One program, as it is measured. */
export interface Command {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  /** Megabytes of zeros on standard input, by a pipe. */
  readonly piped?: number;
  /** The most exits that a run may have (without reads of a pipe, which its writer decides) and the most faults. */
  readonly exits: number;
  readonly faults: number;
  /** How often its threads may be made to take turns, which is an exit too. */
  readonly turns?: number;
}

const deno = join(root, "node_modules/@deno/linux-x64-glibc/deno");

const readInput = "import sys\nn = 0\nwhile b := sys.stdin.buffer.read1(1 << 16): n += len(b)\nprint(n)";
const readFile = "n = 0\nwith open('zeros', 'rb', 0) as f:\n  while b := f.read(1 << 20): n += len(b)\nprint(n)";
const loop = "local x = 0 for i = 1, 5e7 do x = (x + i) % 7 end print(x)";

/** The commands; `megabytes` is what the two that read much are given. */
export function commands(megabytes: number): Command[] {
  const python = "/usr/bin/python3.11";
  const [exits, faults] = [480, 45];
  return [
    { name: "true", path: "/bin/true", args: [], exits: 50, faults: 15 },
    { name: "ls of a folder", path: "/bin/ls", args: ["many"], exits: 110, faults: 25 },
    { name: "python3 -c 'print(1)'", path: python, args: ["-c", "print(1)"], exits, faults },
    { name: "lua5.4 -e", path: "/usr/bin/lua5.4", args: ["-e", "print(1 + 1)"], exits: 110, faults: 25 },
    { name: "git log", path: "/usr/bin/git", args: ["-C", "repository", "--no-pager", "log"], exits: 300, faults: 35 },
    { name: `python reading ${megabytes} MB of a pipe`, path: python, args: ["-c", readInput], piped: megabytes, exits, faults },
    { name: `python reading ${megabytes} MB of a file`, path: python, args: ["-c", readFile], exits: exits + 1.5 * megabytes, faults },
    { name: "a loop of luajit", path: "/usr/bin/luajit", args: ["-e", loop], exits: 110, faults: 25 },
    { name: "deno eval", path: deno, args: ["eval", "console.log(6 * 7)"], exits: 900, faults: 140, turns: 200 },
    { name: "bun -e", path: process.execPath, args: ["-e", "console.log(6 * 7)"], exits: 320, faults: 70, turns: 60 },
    { name: "node -e", path: "/usr/bin/node", args: ["-e", "console.log(6 * 7)"], exits: 900, faults: 140, turns: 200 },
  ];
}

/** What a run's exits are held against. */
export function countedExits(command: Command, counters: Counters): number {
  return command.piped === undefined ? counters.exits : counters.exits - (counters.byNumber.get(readNumber) ?? 0);
}

/** A folder with what the commands read, and a way to run each. */
export class CommandRunner implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "pristine-commands-"));
  readonly #environment: Record<string, string>;

  constructor(megabytes: number) {
    this.#environment = { LC_ALL: "C", TZ: "UTC", HOME: this.folder, PATH: "/usr/bin:/bin", GIT_CONFIG_NOSYSTEM: "1" };
    mkdirSync(join(this.folder, "many"));
    for (let index = 0; index < 60; index++) writeFileSync(join(this.folder, "many", `file-${index}`), "");
    writeFileSync(join(this.folder, "zeros"), new Uint8Array(megabytes * megabyte));
    this.#makeRepository();
  }

  #makeRepository(): void {
    const repository = join(this.folder, "repository");
    mkdirSync(repository);
    writeFileSync(join(this.folder, ".gitconfig"), "[safe]\n\tdirectory = *\n[user]\n\tname = Someone\n\temail = someone@example.com\n");
    if (!existsSync("/usr/bin/git")) return;
    const git = (...words: string[]) => spawnSync("/usr/bin/git", words, { cwd: repository, env: this.#environment });
    git("init", "-q");
    for (let index = 0; index < 20; index++) {
      writeFileSync(join(repository, "file"), `${index}\n`);
      git("add", "file");
      git("commit", "-q", "-m", `Change ${index}`);
    }
    git("gc", "-q");
  }

  /** Opens standard input: nothing, or a pipe that another process fills. */
  #input(command: Command): { descriptor: number; close: () => void } {
    if (command.piped === undefined) {
      const descriptor = openSync("/dev/null", "r");
      return { descriptor, close: () => closeSync(descriptor) };
    }
    const fifo = join(this.folder, "fifo");
    if (!existsSync(fifo)) spawnSync("/usr/bin/mkfifo", [fifo]);
    const writer = Bun.spawn(["/bin/sh", "-c", `exec dd if=zeros of=fifo bs=1000000 count=${command.piped} status=none`], {
      cwd: this.folder,
    });
    const descriptor = openSync(fifo, "r");
    return {
      descriptor,
      close: () => {
        closeSync(descriptor);
        writer.kill();
      },
    };
  }

  #timed(command: Command, words: readonly string[]): number {
    const input = this.#input(command);
    const before = Bun.nanoseconds();
    const done = Bun.spawnSync(words as string[], {
      cwd: this.folder,
      env: this.#environment,
      stdin: input.descriptor,
      stdout: "ignore",
      stderr: "inherit",
    });
    const ns = Bun.nanoseconds() - before;
    input.close();
    if (done.exitCode !== 0) throw new Error(`${words.join(" ")} ended with ${done.exitCode ?? done.signalCode}`);
    return ns;
  }

  /** Nanoseconds of the native process. */
  natively(command: Command): number {
    return this.#timed(command, [command.path, ...command.args]);
  }

  /** Nanoseconds of the whole command, with more options if there are any. */
  byCommand(command: Command, ...options: string[]): number {
    const allowed = `--allow-read=${[...systemFolders, this.folder].join(",")}`;
    const environment = Object.keys(this.#environment).flatMap((name) => ["-e", name]);
    return this.#timed(command, [
      process.execPath,
      join(root, "dist/cli/main.js"),
      "run",
      ...options,
      allowed,
      ...environment,
      command.path,
      ...command.args,
    ]);
  }

  /** One run in a machine of this process. */
  async inMachine(command: Command): Promise<{ ns: number; counters: Counters }> {
    const input = this.#input(command);
    try {
      const before = Bun.nanoseconds();
      await using vm = await Machine.boot(command.path, {
        args: command.args,
        cwd: this.folder,
        env: this.#environment,
        stdin: input.descriptor,
        stdout: "ignore",
        permissions: { read: [...systemFolders, this.folder] },
        timeout: 120_000,
      });
      const stop = await vm.run();
      const ns = Bun.nanoseconds() - before;
      if (stop.exitCode !== 0) throw new Error(`${command.name} ended with ${stop.exitCode ?? stop.signalCode}`);
      return { ns, counters: vm.counters() };
    } finally {
      input.close();
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const milliseconds = (ns: number) => `${(ns / 1e6).toFixed(1)} ms`;

/** Whole runs of real programs. */
export const wholeCommands: Benchmark = async (smoke) => {
  const megabytes = smoke ? 1 : 100;
  using runner = new CommandRunner(megabytes);
  const findings: Finding[] = [];
  for (const command of commands(megabytes)) {
    if (!existsSync(command.path) || (smoke && command.name.includes("loop"))) continue;
    let counters: Counters | undefined;
    const least = await interleave(smoke ? 1 : 15, {
      native: () => runner.natively(command),
      machine: async () => {
        const run = await runner.inMachine(command);
        counters = run.counters;
        return run.ns;
      },
      command: () => runner.byCommand(command),
    });
    if (!counters) throw new Error("the machine was not measured");
    const { exits, faults } = counters;
    const reached = countedExits(command, counters) <= command.exits && faults <= command.faults;
    for (const [name, ns] of [
      [command.name, least.machine],
      [`${command.name}, by pristine run`, least.command],
    ] as const) {
      findings.push({
        name,
        value: ns / least.native,
        unit: "× native",
        floor: `native process ${milliseconds(least.native)}`,
        target: `≤ ${command.exits} exits${command.piped === undefined ? "" : " but for reads"}, ≤ ${command.faults} faults`,
        reached,
        exits,
        detail: `${milliseconds(ns)}, ${faults} faults`,
      });
    }
  }
  return findings;
};
