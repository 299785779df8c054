/** Starts servers natively and in machines, asks them, and tells what they answer, byte by byte. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import { buildSync } from "esbuild";
import { Machine } from "../../src/index.ts";
import type { Ask, Server } from "./server.ts";

const systemFolders = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];
const patienceMs = 60_000;

/** The folder that servers run in, with what they serve and the ones that are compiled. */
export class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "pristine-servers-"));

  constructor() {
    cpSync(join(import.meta.dir, "programs"), this.path, { recursive: true });
    writeFileSync(join(this.path, "files/large"), "l".repeat(300_000));
    mkdirSync(join(this.path, "home"));
    if (process.env.PRISTINE_LANE !== undefined) return;
    const bundled = buildSync({
      ...{ entryPoints: [join(import.meta.dir, "programs/page.mjs")], outfile: join(this.path, "page.mjs"), allowOverwrite: true },
      ...{ bundle: true, platform: "node", format: "esm", define: { "process.env.NODE_ENV": '"production"' } },
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    });
    if (bundled.errors.length > 0) throw new Error("the page could not be bundled");
    this.#compile("go", ["build", "-o", "hello-go", "hello.go"]);
    this.#compile("rustc", ["-O", "-o", "hello-rust", "hello.rs"]);
  }

  #compile(compiler: string, args: readonly string[]): void {
    const path = Bun.which(compiler);
    if (!path) return;
    const env = { ...process.env, GOCACHE: join(this.path, "cache"), GOFLAGS: "-mod=mod" };
    const done = Bun.spawnSync([path, ...args], { cwd: this.path, env, stderr: "pipe" });
    if (done.exitCode !== 0) throw new Error(`${compiler} ${args.join(" ")}: ${done.stderr.toString()}`);
  }

  program(server: Server): string {
    return server.path.startsWith("./") ? join(this.path, server.path) : server.path;
  }

  has(server: Server): boolean {
    return existsSync(this.program(server));
  }

  /** Files that name the port. */
  prepare(port: number): void {
    const template = readFileSync(join(import.meta.dir, "programs/nginx.conf"), "utf8");
    writeFileSync(join(this.path, "nginx.conf"), template.replaceAll("@PORT@", String(port)).replaceAll("@FOLDER@", this.path));
  }

  environment(server: Server, port: number): Record<string, string> {
    return {
      ...{
        LC_ALL: "C.UTF-8",
        TZ: "UTC",
        PATH: "/usr/bin:/bin",
        HOME: "/tmp/pristine-home",
        TMPDIR: "/tmp",
        PORT: String(port),
        NO_COLOR: "1",
      },
      ...{ PYTHONDONTWRITEBYTECODE: "1", PYTHONUNBUFFERED: "1", DENO_NO_UPDATE_CHECK: "1", DENO_DIR: "/tmp/pristine-deno" },
      ...server.env,
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
    for (const name of ["home", "deno", "nginx-body", "nginx-proxy", "nginx-fastcgi", "nginx-uwsgi", "nginx-scgi", "nginx.pid"])
      rmSync(`/tmp/pristine-${name}`, { recursive: true, force: true });
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** One connection. */
export class Client implements Disposable {
  #socket: Socket | undefined;
  #received = "";
  #ended = false;
  #changed: (() => void) | undefined;

  static async open(port: number): Promise<Client> {
    const self = new Client();
    const end = () => {
      self.#ended = true;
      self.#changed?.();
    };
    const data = (_: Socket, bytes: Buffer) => {
      self.#received += bytes.toString("latin1");
      self.#changed?.();
    };
    self.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: { data, end, close: end, error: end, drain: () => self.#flush() },
    });
    return self;
  }

  #unsent = Buffer.alloc(0);

  #flush(): void {
    const sent = this.#socket?.write(this.#unsent) ?? 0;
    this.#unsent = this.#unsent.subarray(Math.max(0, sent));
  }

  /** Sends text and waits until what has come is complete, or the connection is closed. */
  async send(text: string, isComplete: (received: string) => boolean): Promise<string> {
    this.#unsent = Buffer.from(text, "latin1");
    this.#flush();
    const timer = setTimeout(() => this.#socket?.terminate(), patienceMs);
    while (!isComplete(this.#received)) {
      if (this.#ended) break;
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    clearTimeout(timer);
    const received = this.#received;
    this.#received = "";
    return received;
  }

  get ended(): boolean {
    return this.#ended;
  }

  [Symbol.dispose](): void {
    this.#socket?.end();
  }
}

/** Whether an answer to a request is there as a whole; one without a length is when the connection ends. */
export function isWhole(text: string, isHead: boolean): boolean {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return false;
  if (isHead) return true;
  const fields = text.slice(0, head);
  const length = /\r\ncontent-length: *(\d+)/i.exec(fields)?.[1];
  if (length !== undefined) return text.length >= head + 4 + Number(length);
  return /\r\ntransfer-encoding: *chunked/i.test(fields) && text.endsWith("0\r\n\r\n");
}

export function requestText({ method, path, body }: Ask, port: number, closes: boolean): string {
  const length = body === undefined ? "" : `Content-Length: ${body.length}\r\n`;
  const connection = closes ? "Connection: close\r\n" : "";
  return `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${length}${connection}\r\n${body ?? ""}`;
}

/** What differs from second to second. */
export function withoutDates(answer: string): string {
  return answer.replace(/\r\n(date): [^\r]+/gi, "\r\n$1: now");
}

/** One request on a connection of its own. */
export async function ask(port: number, what: Ask, closes = true): Promise<string> {
  using client = await Client.open(port);
  return withoutDates(await client.send(requestText(what, port, closes), (text) => !closes && isWhole(text, what.method === "HEAD")));
}

/** All requests of a server, each on a connection of its own, then all on one if it keeps them. */
export async function answers(server: Server, port: number): Promise<string[]> {
  const all: string[] = [];
  for (const what of server.asks) all.push(await ask(port, what));
  if (server.closes) return all;
  using client = await Client.open(port);
  for (const what of server.asks) {
    all.push(withoutDates(await client.send(requestText(what, port, false), (text) => isWhole(text, what.method === "HEAD"))));
  }
  return all;
}

async function untilUp(port: number, hasEnded: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !hasEnded(); tries++) {
    try {
      using _ = await Client.open(port);
      return;
    } catch {
      await Bun.sleep(20);
    }
  }
  throw new Error("the server does not listen");
}

/** A server process of the host's own. */
export async function native(server: Server, folder: Folder, port: number): Promise<AsyncDisposable> {
  folder.prepare(port);
  const child = Bun.spawn([folder.program(server), ...server.args(port, folder.path)], {
    cwd: folder.path,
    env: folder.environment(server, port),
    stdio: ["ignore", "ignore", "ignore"],
  });
  await untilUp(port, () => child.exitCode !== null);
  return {
    // The next server may want its port.
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** A machine whose server waits for connections. */
export async function booted(server: Server, folder: Folder, port: number): Promise<Machine> {
  folder.prepare(port);
  const machine = await Machine.boot(folder.program(server), {
    args: server.args(port, folder.path),
    cwd: folder.path,
    env: folder.environment(server, port),
    memory: "2GiB",
    stdout: "ignore",
    stderr: process.env.SERVERS_VERBOSE ? "inherit" : "ignore",
    timeout: patienceMs,
    permissions: { read: [...systemFolders, folder.path, folder.program(server)], listen: [`127.0.0.1:${port}`] },
  });
  try {
    const stop = await machine.run({ until: "listen" });
    if (stop.reason !== "listen") throw new Error(`the server has ended: ${JSON.stringify(stop)}`);
    return machine;
  } catch (error) {
    machine.close();
    throw error;
  }
}

/** Runs a machine from stop to stop until `work` is done: it stops where all its threads sleep and one waits for connections. */
export async function pump<T>(machine: Machine, work: Promise<T>): Promise<T> {
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  done.catch(() => {});
  while (!over) {
    const stop = await machine.run({ until: "listen" });
    if (stop.reason !== "listen") throw new Error(`the server has ended: ${JSON.stringify(stop)}`);
    // What the client is to send next is in the event loop of this thread.
    await Promise.race([done, Bun.sleep(0)]);
  }
  return done;
}

/** Lets a machine run beside `work`, without stops; the machine can only be closed afterwards. */
export async function beside<T>(machine: Machine, work: () => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const running = machine.run({ signal: abort.signal, timeout: Number.POSITIVE_INFINITY });
  const ended = running.then((stop) => {
    throw new Error(`the server has ended: ${JSON.stringify(stop)}`);
  });
  ended.catch(() => {});
  try {
    return await Promise.race([work(), ended]);
  } finally {
    abort.abort();
    await running.catch(() => {});
  }
}
