/** Runs a case natively and in a machine, from the same folder with the same variables, and tells how they differ. */
import { existsSync, rmSync } from "node:fs";
import { join, normalize } from "node:path";
import { Machine } from "../../src/index.ts";
import type { Case } from "./case.ts";
import { contents, copyFixture } from "./fixture.ts";

/** What a run came to. Bytes are shown as Latin-1, so that no two streams look alike that are not. */
export interface Outcome {
  stdout: string;
  stderr: string;
  exitCode: number | null;
  signalCode: NodeJS.Signals | number | null;
  /** What is in the folder afterwards, of commands that write. */
  files: Record<string, string>;
}

type Streams = Omit<Outcome, "files">;

export interface Folders {
  /** The fixture; commands that only read run here. */
  readonly fixture: string;
  /** Where each command that writes finds its copy; both runs have it at the same path. */
  readonly work: string;
}

/** Beyond any case's need; a limit here only keeps a hang from lasting for ever. */
const timeoutMs = 100_000;
/** The host's programs and what they load. */
const systemFolders = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];

function environment(entry: Case, folder: string): Record<string, string> {
  return { LC_ALL: "C", TZ: "UTC", HOME: folder, TMPDIR: folder, PATH: "/usr/bin:/bin", PYTHONDONTWRITEBYTECODE: "1", ...entry.env };
}

/** The program's own path if it lies in the folder. */
export function programPath(entry: Case, folder: string): string {
  return entry.path.startsWith("./") ? join(folder, entry.path) : normalize(entry.path);
}

export function isInstalled(entry: Case, folder: string): boolean {
  return existsSync(programPath(entry, folder)) && (entry.needs === undefined || existsSync(entry.needs));
}

/** Runs `body` in the case's folder, and looks at what is in it afterwards if the case writes. */
async function inFolder(entry: Case, folders: Folders, body: (folder: string) => Promise<Streams>): Promise<Outcome> {
  if (!entry.writes) return { ...(await body(folders.fixture)), files: {} };
  rmSync(folders.work, { recursive: true, force: true });
  copyFixture(folders.fixture, folders.work, entry.args);
  const outcome = await body(folders.work);
  return { ...outcome, files: contents(folders.work, entry.unstableFiles) };
}

const latin1 = (bytes: ArrayBuffer) => Buffer.from(bytes).toString("latin1");
const input = (entry: Case) => (entry.stdin === undefined ? ("ignore" as const) : new TextEncoder().encode(entry.stdin));

export function runNatively(entry: Case, folders: Folders): Promise<Outcome> {
  return inFolder(entry, folders, async (folder) => {
    const child = Bun.spawn([programPath(entry, folder), ...entry.args], {
      cwd: folder,
      env: environment(entry, folder),
      stdin: input(entry),
      stdout: "pipe",
      stderr: "pipe",
      timeout: timeoutMs,
    });
    const [stdout, stderr] = await Promise.all([new Response(child.stdout).arrayBuffer(), new Response(child.stderr).arrayBuffer()]);
    await child.exited;
    return { stdout: latin1(stdout), stderr: latin1(stderr), exitCode: child.exitCode, signalCode: child.signalCode };
  });
}

export interface MachineOutcome {
  outcome: Outcome;
  /** Numbers of the system calls that were answered with ENOSYS. */
  unsupported: number[];
}

export async function runInMachine(entry: Case, folders: Folders): Promise<MachineOutcome> {
  let unsupported: number[] = [];
  const outcome = await inFolder(entry, folders, async (folder) => {
    await using vm = await Machine.boot(programPath(entry, folder), {
      args: entry.args,
      cwd: folder,
      env: environment(entry, folder),
      stdin: input(entry),
      stderr: "pipe",
      memory: entry.memory,
      permissions: {
        read: [...systemFolders, ...(entry.read ?? []), folder, programPath(entry, folder)],
        write: entry.writes ? [folder] : [],
        listen: entry.loopback ? ["127.0.0.1"] : [],
        connect: entry.loopback ? ["127.0.0.1"] : [],
      },
      timeout: timeoutMs,
    });
    const [stop, stdout, stderr] = await Promise.all([
      vm.run(),
      new Response(vm.stdout).arrayBuffer(),
      new Response(vm.stderr).arrayBuffer(),
    ]);
    unsupported = [...vm.counters().unsupported.keys()];
    return { stdout: latin1(stdout), stderr: latin1(stderr), exitCode: stop.exitCode, signalCode: stop.signalCode };
  });
  return { outcome, unsupported };
}

/** What of an outcome is compared. */
export function comparable(entry: Case, outcome: Outcome): Outcome {
  return entry.unstableStderr ? { ...outcome, stderr: "" } : outcome;
}
