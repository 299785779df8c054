/** HTTP servers of Deno, Bun and Node: in a machine, and as native processes beside it. */
import { type Fork, Machine } from "../src/index.ts";
import {
  Client,
  environment,
  freePort,
  microseconds,
  native,
  percentile,
  type Runtime,
  runtimes,
  throughput,
  withProgram,
} from "./http.ts";
import type { Benchmark, Finding } from "./rounds.ts";

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

export const servers: Benchmark = (smoke) =>
  withProgram("serve", async (program) => {
    const findings: Finding[] = [];
    for (const runtime of runtimes()) findings.push(...(await measure(runtime, program, smoke)));
    return findings;
  });
