/** Debian's test suite of Python (libpython3.11-testsuite): each module natively and in a machine, test by test. */
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, PristineError } from "../../src/index.ts";

export const python = "/usr/bin/python3.11";
const suite = "/usr/lib/python3.11/test";

export type Result = "passed" | "skipped" | "failed";

/** Of one module: each test's result, and what a failure says. */
export interface Run {
  readonly results: ReadonlyMap<string, Result>;
  readonly failures: ReadonlyMap<string, string>;
  /** How it ended, if not by itself: a time-out, a signal, an error. */
  readonly end?: string;
  /** Numbers of the system calls that were answered with ENOSYS. */
  readonly unsupported?: readonly number[];
}

export const isInstalled = () => existsSync(join(suite, "test_grammar.py"));

/** All modules of tests, by name. */
export function modules(): string[] {
  return readdirSync(suite)
    .filter((name) => /^test_\w+(\.py)?$/.test(name))
    .map((name) => name.replace(/\.py$/, ""))
    .sort();
}

function parse(xml: string): Pick<Run, "results" | "failures"> {
  const results = new Map<string, Result>();
  const failures = new Map<string, string>();
  for (const [, attributes = "", body = ""] of xml.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const name = /name="([^"]*)"/.exec(attributes)?.[1] ?? "";
    const failure = /<(?:error|failure)[^>]*>([\s\S]*?)<\/(?:error|failure)>/.exec(body)?.[1];
    const result = failure !== undefined ? "failed" : body.includes("<skipped") ? "skipped" : "passed";
    // Tests of one name count once, by their worst result.
    if (results.get(name) !== "failed") results.set(name, result);
    if (failure !== undefined) failures.set(name, failure);
  }
  return { results, failures };
}

function command(module: string, folder: string): string[] {
  return ["-m", "test", "-v", "-u", "none", "--junit-xml", join(folder, "results.xml"), module];
}

const environment = (temporary: string) => ({
  ...{ LC_ALL: "C.UTF-8", TZ: "UTC", HOME: temporary, TMPDIR: temporary, PATH: "/usr/bin:/bin", PYTHONDONTWRITEBYTECODE: "1" },
});
/** Who a guest is; natively the same, if this process may. */
const guestUser = 1000;

/** Runs one with a folder of its own, and reads what it wrote there. */
async function withFolder(body: (folder: string) => Promise<string | undefined>): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "pristine-python-"));
  chmodSync(folder, 0o777);
  try {
    const end = await body(folder);
    const path = join(folder, "results.xml");
    const parsed = parse(existsSync(path) ? readFileSync(path, "utf8") : "");
    return end === undefined ? parsed : { ...parsed, end };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function runNatively(module: string, timeout: number): Promise<Run> {
  return withFolder(async (folder) => {
    const user = process.getuid?.() === 0 ? ["setpriv", `--reuid=${guestUser}`, `--regid=${guestUser}`, "--clear-groups"] : [];
    const child = Bun.spawn([...user, python, ...command(module, folder)], {
      cwd: folder,
      env: environment(folder),
      stdio: ["ignore", "ignore", "ignore"],
      timeout,
      killSignal: "SIGKILL",
    });
    await child.exited;
    return child.signalCode === null ? undefined : child.signalCode === "SIGKILL" ? "time-out" : String(child.signalCode);
  });
}

export async function runInMachine(module: string, timeout: number): Promise<Run> {
  let unsupported: number[] = [];
  const run = await withFolder(async (folder) => {
    await using vm = await Machine.boot(python, {
      args: command(module, folder),
      cwd: folder,
      // Its own temporary files are private.
      env: environment("/tmp"),
      memory: "2GiB",
      timeout,
      stdout: "ignore",
      stderr: "ignore",
      permissions: { read: ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", folder], write: [folder], listen: true, connect: true },
    });
    try {
      const stop = await vm.run();
      return stop.reason === "signal" ? String(stop.signalCode) : undefined;
    } catch (error) {
      if (!PristineError.is(error)) throw error;
      return error.code === "TIMEOUT" ? "time-out" : `${error.code}: ${error.message}`;
    } finally {
      unsupported = [...vm.counters().unsupported.keys()].sort((a, b) => a - b);
    }
  });
  return { ...run, unsupported };
}

/** Why a test that passes natively fails here, as its traceback tells. */
export function reasonOf(failure: string): string {
  if (/_fork_exec|os\.fork|forkpty|_posixsubprocess|posix_spawn|multiprocessing|os\.wait/.test(failure)) return "processes";
  const last = failure.trim().split("\n").at(-1) ?? "";
  return last
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&#x27;", "'")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&")
    .slice(0, 160);
}
