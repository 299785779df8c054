/** What benchmarks of HTTP servers share: runtimes, native servers, a client, and how its times are told. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Socket } from "bun";
import { build } from "esbuild";
import { root } from "./rounds.ts";

export interface Runtime {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export function runtimes(): Runtime[] {
  const deno = join(root, "node_modules/@deno/linux-x64-glibc/deno");
  const all = [
    { name: "deno", path: deno, args: ["run", "--allow-net", "--allow-env"] },
    { name: "bun", path: process.execPath, args: [] },
    { name: "node", path: "/usr/bin/node", args: [] },
  ];
  return all.filter(({ path }) => existsSync(path));
}

export const environment = (port: number) => ({ PORT: String(port), TZ: "UTC", HOME: "/tmp", DENO_NO_UPDATE_CHECK: "1" });

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** One kept-alive connection that sends a request and waits for its whole answer. */
export class Client {
  #socket: Socket | undefined;
  #waiting: ((text: string) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #received = "";

  static async open(port: number): Promise<Client> {
    const self = new Client();
    const fail = (error?: Error) => self.#failed?.(error ?? new Error("the server closed the connection"));
    self.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data: (_, bytes) => self.#take(bytes), close: () => fail(), error: (_, error) => fail(error) },
    });
    return self;
  }

  #take(bytes: Buffer): void {
    this.#received += bytes.toString("latin1");
    const head = this.#received.indexOf("\r\n\r\n");
    if (head < 0) return;
    const length = /content-length: (\d+)/i.exec(this.#received.slice(0, head))?.[1];
    const complete = length ? this.#received.length >= head + 4 + Number(length) : this.#received.endsWith("\r\n0\r\n\r\n");
    if (!complete) return;
    const text = this.#received;
    this.#received = "";
    // A failure is answered sooner than a page.
    if (text.startsWith("HTTP/1.1 200 ")) this.#waiting?.(text);
    else this.#failed?.(new Error(`the server answered ${text.slice(0, head)}`));
  }

  request(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = resolve;
      this.#failed = reject;
      this.#socket?.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    });
  }

  close(): void {
    this.#failed = undefined;
    this.#socket?.end();
  }
}

/** Waits until a process that was started as a server takes connections. */
async function untilUp(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      const client = await Client.open(port);
      client.close();
      return;
    } catch (cause) {
      const command = child.spawnargs.join(" ");
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${command} ended with ${child.exitCode ?? child.signalCode} before it served`, { cause });
      // A loaded host takes its time to boot, warm and freeze a server.
      if (tries > 6000) throw new Error(`${command} does not serve`, { cause });
      await Bun.sleep(10);
    }
  }
}

/** A process that serves at a port, once it does. */
export async function serverProcess(command: readonly string[], port: number, env: Runtime["env"] = {}) {
  const [path, ...args] = command as [string, ...string[]];
  const child = spawn(path, args, { env: { ...process.env, ...environment(port), ...env }, stdio: ["ignore", "ignore", "inherit"] });
  await untilUp(port, child);
  return { port, pid: child.pid as number, [Symbol.dispose]: () => child.kill("SIGKILL") };
}

/** A server process of the host's own. */
export async function native(runtime: Runtime, program: string) {
  return serverProcess([runtime.path, ...runtime.args, program], await freePort(), runtime.env);
}

export function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] as number;
}

/** Requests a second over several connections at once. */
export async function throughput(port: number, path: string, milliseconds: number): Promise<number> {
  const clients = await Promise.all(Array.from({ length: 8 }, () => Client.open(port)));
  const end = performance.now() + milliseconds;
  let done = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() < end) {
        await client.request(path).catch((cause: unknown) => {
          throw new Error(`${path} at port ${port}, after ${done} requests`, { cause });
        });
        done++;
      }
    }),
  );
  for (const client of clients) client.close();
  return (done / milliseconds) * 1000;
}

/** p50, p90 and p99. */
export const microseconds = (sorted: readonly number[]) => [0.5, 0.9, 0.99].map((part) => percentile(sorted, part).toFixed(0)).join(" / ");

/** Runs `body` with the server of bench/servers as one file, which is not in /tmp, of which a guest has one of its own. */
export async function withProgram<T>(entry: string, body: (path: string) => Promise<T>): Promise<T> {
  const program = join(root, "node_modules/.cache", `pristine-${process.pid}-${entry}.mjs`);
  try {
    await build({
      entryPoints: [join(root, "bench/servers", `${entry}.mjs`)],
      bundle: true,
      format: "esm",
      platform: "neutral",
      mainFields: ["module", "main"],
      external: ["node:*"],
      define: { "process.env.NODE_ENV": '"production"' },
      outfile: program,
    });
    return await body(program);
  } finally {
    rmSync(program, { force: true });
  }
}
