/** `pristine serve` as a child process, for tests. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { paths } from "./runtimes/cases.ts";

const main = join(import.meta.dir, "../src/cli/main.ts");
const systemFolders = "/usr,/lib,/lib64,/etc";
export const python = ["/usr/bin/python3.11", "/usr/bin/python3"].find((path) => existsSync(path));
export const node = ["/usr/bin/node"].find((path) => existsSync(path));
export const folder = join(import.meta.dir, "serve");
const startedWithin = 60_000;

export interface Event {
  readonly event: string;
  readonly [key: string]: unknown;
}

/** A server under test; disposing ends it at once if it has not ended. */
export class Served implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  #out = "";
  #err = "";
  #changed: (() => void)[] = [];
  readonly #read: Promise<unknown>;

  constructor(words: readonly string[], env: Record<string, string> = {}) {
    this.#child = Bun.spawn([process.execPath, main, "serve", ...words], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const read = async (stream: ReadableStream<Uint8Array>, add: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) {
        add(decoder.decode(chunk, { stream: true }));
        for (const changed of this.#changed.splice(0)) changed();
      }
    };
    this.#read = Promise.all([
      read(this.#child.stdout, (text) => {
        this.#out += text;
      }),
      read(this.#child.stderr, (text) => {
        this.#err += text;
      }),
    ]);
  }

  get out(): string {
    return this.#out;
  }

  get err(): string {
    return this.#err;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The lines of `--json`; each must be an object with an event. */
  get events(): Event[] {
    const lines = this.#out.split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line));
  }

  /** Waits until a condition on what it has written holds. */
  async until(holds: () => boolean, what: string): Promise<void> {
    const deadline = performance.now() + startedWithin;
    while (!holds()) {
      if (this.#child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`${what}: status ${this.#child.exitCode}\n${this.#out}${this.#err}`);
      }
      await Promise.race([new Promise<void>((resolve) => this.#changed.push(resolve)), this.#child.exited, Bun.sleep(200)]);
    }
  }

  /** The URL of its banner. */
  async url(): Promise<string> {
    const banner = /serving on (\S+),/;
    await this.until(() => banner.test(this.#err), "it does not serve");
    return banner.exec(this.#err)?.[1] as string;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its exit status, once all that it wrote has been read. */
  async ended(): Promise<number> {
    const status = await this.#child.exited;
    await this.#read;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

/** Few requests of warm-up and a long time limit, unless it is said otherwise. */
function withDefaults(options: readonly string[]): string[] {
  const missing = ["--warmup=3", "--timeout=2s"].filter(
    (given) => !options.some((option) => option.startsWith(given.split("=")[0] as string)),
  );
  return [...missing, ...options];
}

/** The WSGI application of the tests, served on a free port. */
export function servePython(options: readonly string[] = []): Served {
  const words = [`--allow-read=${systemFolders},${folder}`, "--allow-listen=127.0.0.1:0", ...withDefaults(options)];
  return new Served([...words, python as string, join(folder, "app.py")]);
}

/** The server of the tests in a JavaScript runtime. */
function serveScript(command: readonly string[], options: readonly string[]): Served {
  const readable = [systemFolders, folder, dirname(command[0] as string)].join(",");
  const words = [`--allow-read=${readable}`, "--allow-listen=127.0.0.1:0", "--memory=2GiB", ...withDefaults(options)];
  return new Served([...words, ...command, join(folder, "app.mjs")]);
}

export const serveNode = (options: readonly string[] = []) => serveScript([node as string], options);
export const serveBun = (options: readonly string[] = []) => serveScript([process.execPath], options);
export const serveDeno = (options: readonly string[] = []) => serveScript([paths.deno, "run", "--allow-all"], options);
