/** HTTP servers of Deno, Bun and Node: in a machine, and as native processes beside it. */
import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Socket } from "bun";
import { build } from "esbuild";
import { type Fork, Machine } from "../src/index.ts";
import { type Benchmark, type Finding, root } from "./rounds.ts";

interface Runtime {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
}

function runtimes(): Runtime[] {
  const deno = join(root, "node_modules/@deno/linux-x64-glibc/deno");
  const all = [
    { name: "deno", path: deno, args: ["run", "--allow-net", "--allow-env"] },
    { name: "bun", path: process.execPath, args: [] },
    { name: "node", path: "/usr/bin/node", args: [] },
  ];
  return all.filter(({ path }) => existsSync(path));
}

const environment = (port: number) => ({ PORT: String(port), TZ: "UTC", HOME: "/tmp", DENO_NO_UPDATE_CHECK: "1" });

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** One kept-alive connection that sends a request and waits for its whole answer. */
class Client {
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
    this.#waiting?.(text);
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

async function untilUp(port: number): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      const client = await Client.open(port);
      client.close();
      return;
    } catch (error) {
      if (tries > 500) throw error;
      await Bun.sleep(10);
    }
  }
}

/** A server process of the host's own. */
async function native(runtime: Runtime, program: string) {
  const port = await freePort();
  const child = spawn(runtime.path, [...runtime.args, program], { env: { ...process.env, ...environment(port) }, stdio: "ignore" });
  await untilUp(port);
  return { port, [Symbol.dispose]: () => child.kill("SIGKILL") };
}

/** Lets machines run until they are disposed of. */
class Running implements Disposable {
  readonly #abort = new AbortController();
  readonly #machines: Machine[] = [];

  start(machine: Machine): void {
    this.#machines.push(machine);
    machine.run({ signal: this.#abort.signal, timeout: Number.POSITIVE_INFINITY }).catch(() => {});
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
    for (const machine of this.#machines) machine.close();
  }
}

async function booted(runtime: Runtime, program: string) {
  const port = await freePort();
  const machine = await Machine.boot(runtime.path, {
    args: [...runtime.args, program],
    env: environment(port),
    memory: "2GiB",
    stdout: "ignore",
    stderr: "ignore",
    permissions: { read: true, listen: [`127.0.0.1:${port}`] },
  });
  await machine.run({ until: "listen", timeout: 60_000 });
  return { port, machine };
}

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] as number;
}

/** Latencies in microseconds of requests that take turns, block by block. */
async function latencies(ports: readonly number[], path: string, count: number): Promise<number[][]> {
  const clients = await Promise.all(ports.map((port) => Client.open(port)));
  const all: number[][] = ports.map(() => []);
  const block = 20;
  for (const client of clients) for (let warm = 0; warm < count / 4; warm++) await client.request(path);
  for (let done = 0; done < count; done += block) {
    for (const [index, client] of clients.entries()) {
      for (let one = 0; one < block; one++) {
        const start = Bun.nanoseconds();
        await client.request(path);
        all[index]?.push((Bun.nanoseconds() - start) / 1000);
      }
    }
  }
  for (const client of clients) client.close();
  return all.map((one) => one.sort((a, b) => a - b));
}

/** Requests a second over several connections at once. */
async function throughput(port: number, path: string, milliseconds: number): Promise<number> {
  const clients = await Promise.all(Array.from({ length: 8 }, () => Client.open(port)));
  const end = performance.now() + milliseconds;
  let done = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() < end) {
        await client.request(path);
        done++;
      }
    }),
  );
  for (const client of clients) client.close();
  return (done / milliseconds) * 1000;
}

const microseconds = (sorted: readonly number[]) => [0.5, 0.9, 0.99].map((part) => percentile(sorted, part).toFixed(0)).join(" / ");

async function measure(runtime: Runtime, program: string, smoke: boolean): Promise<Finding[]> {
  using host = await native(runtime, program);
  const { port, machine } = await booted(runtime, program);
  const findings: Finding[] = [];
  using image = machine.freeze();
  {
    using running = new Running();
    running.start(machine);
    for (const path of ["/hello", "/page"]) {
      const before = machine.counters();
      const count = smoke ? 20 : path === "/hello" ? 1000 : 300;
      const [inside, outside] = (await latencies([port, host.port], path, count)) as [number[], number[]];
      const exits = (machine.counters().exits - before.exits) / (count * 1.25);
      findings.push({
        name: `${runtime.name} ${path}: p50 in a machine / native`,
        value: percentile(inside, 0.5) / percentile(outside, 0.5),
        unit: "",
        floor: "the same server as a native process",
        target: "reported",
        reached: true,
        exits: Math.round(exits * 10) / 10,
        detail: `p50 / p90 / p99 in us: ${microseconds(inside)}; native ${microseconds(outside)}`,
      });
    }
  }
  findings.push(await manyAtOnce(runtime, image, port, host.port, smoke ? 100 : 1500));
  return findings;
}

async function manyAtOnce(
  runtime: Runtime,
  image: { fork(): Fork },
  port: number,
  nativePort: number,
  milliseconds: number,
): Promise<Finding> {
  const outside = await throughput(nativePort, "/hello", milliseconds);
  const rates: number[] = [];
  for (const forks of [1, 2]) {
    using running = new Running();
    for (let index = 0; index < forks; index++) running.start(image.fork());
    rates.push(await throughput(port, "/hello", milliseconds));
  }
  const [one, two] = rates as [number, number];
  return {
    name: `${runtime.name} /hello: requests a second on one fork / native`,
    value: one / outside,
    unit: "",
    floor: "the same server as a native process",
    target: "reported",
    reached: true,
    detail: `one fork ${one.toFixed(0)}/s, two forks ${two.toFixed(0)}/s, native ${outside.toFixed(0)}/s; 8 connections, their client in this process`,
  };
}

export const servers: Benchmark = async (smoke) => {
  // Not in /tmp, of which a guest has one of its own.
  const program = join(root, "node_modules/.cache", `pristine-servers-${process.pid}.mjs`);
  try {
    await build({
      entryPoints: [join(root, "bench/servers/serve.mjs")],
      bundle: true,
      format: "esm",
      platform: "neutral",
      mainFields: ["module", "main"],
      external: ["node:*"],
      define: { "process.env.NODE_ENV": '"production"' },
      outfile: program,
    });
    const findings: Finding[] = [];
    for (const runtime of runtimes()) findings.push(...(await measure(runtime, program, smoke)));
    return findings;
  } finally {
    rmSync(program, { force: true });
  }
};
