/** Servers and clients that are not HTTP libraries of this process: redis and its client, curl; each side in a machine. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { Machine } from "../../src/index.ts";
import { beside, booted, Folder, freePort, native, pump } from "./harness.ts";
import { type Server, servers } from "./server.ts";

setDefaultTimeout(300_000);
const rounds = Math.max(5, Math.round(200 * Number(process.env.TEST_SCALE ?? 1)));
const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

const redis: Server = {
  name: "redis",
  package: "redis-server",
  path: "/usr/bin/redis-server",
  args: (port) => ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"],
  asks: [],
  exits: { connection: 0 },
};
const nginx = servers.find((server) => server.name === "nginx") as Server;

const commands = [
  ["PING"],
  ["SET", "key", "value"],
  ["APPEND", "key", "-more"],
  ["GET", "key"],
  ["RPUSH", "list", ...Array.from({ length: 500 }, (_, i) => `item-${i}`)],
  ["LRANGE", "list", "0", "4"],
  ["ZADD", "set", "3", "c", "1", "a", "2", "b"],
  ["ZRANGE", "set", "0", "-1", "WITHSCORES"],
  ["EVAL", "local s = 0 for i = 1, 1000 do s = s + i end return s", "0"],
  ["SET", "large", "l".repeat(100_000)],
  ["STRLEN", "large"],
  ["INCR", "key"],
  ["SETEX", "short", "100", "x"],
  ["TTL", "short"],
  ["DBSIZE"],
];

interface Result {
  out: string;
  status: number | null;
}

async function runNatively(path: string, args: readonly string[]): Promise<Result> {
  const child = Bun.spawn([path, ...args], { stdin: "ignore", stdout: "pipe", stderr: "ignore", env: { HOME: "/tmp" }, timeout: 60_000 });
  const out = await new Response(child.stdout).text();
  return { out, status: await child.exited };
}

async function runInMachine(path: string, args: readonly string[], port: number): Promise<Result> {
  await using vm = await Machine.boot(path, {
    args,
    env: { HOME: "/tmp" },
    stderr: "ignore",
    timeout: 60_000,
    permissions: { read: ["/usr", "/lib", "/lib64", "/etc"], connect: [`127.0.0.1:${port}`] },
  });
  const [stop, out] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  return { out, status: stop.exitCode };
}

async function all(run: typeof runInMachine, path: string, invocations: readonly (readonly string[])[], port: number): Promise<Result[]> {
  const results: Result[] = [];
  for (const args of invocations) results.push(await run(path, args, port));
  return results;
}

/** The same client and server: both native, the server in a machine, the client in a machine. */
async function threeWays(server: Server, client: string, invocations: (port: number) => readonly (readonly string[])[]) {
  const port = await freePort();
  const ask = (run: typeof runInMachine) => all(run, client, invocations(port), port);
  let expected: Result[];
  let clientInMachine: Result[];
  {
    await using _ = await native(server, folder, port);
    expected = await ask(runNatively);
  }
  {
    await using _ = await native(server, folder, port);
    clientInMachine = await ask(runInMachine);
  }
  await using machine = await booted(server, folder, port);
  const serverInMachine = await beside(machine, () => ask(runNatively));
  return { expected, clientInMachine, serverInMachine };
}

test.skipIf(!existsSync(redis.path))("redis-server and redis-cli", async () => {
  const cli = "/usr/bin/redis-cli";
  const { expected, clientInMachine, serverInMachine } = await threeWays(redis, cli, (port) =>
    commands.map((command) => ["-p", String(port), ...command]),
  );
  expect(expected[3]).toEqual({ out: "value-more\n", status: 0 });
  expect(serverInMachine).toEqual(expected);
  expect(clientInMachine).toEqual(expected);
});

test.skipIf(!existsSync(redis.path))("a fork of a warm redis answers from the same data after every reset", async () => {
  const port = await freePort();
  await using machine = await booted(redis, folder, port);
  const cli = (...command: string[]) => runNatively("/usr/bin/redis-cli", ["-p", String(port), ...command]);
  for (const command of commands.slice(0, 11)) await pump(machine, cli(...command));
  using image = machine.freeze();
  using fork = image.fork();
  for (let round = 0; round < rounds; round++) {
    expect((await pump(fork, cli("INCR", "count"))).out).toBe("1\n");
    expect((await pump(fork, cli("GET", "key"))).out).toBe("value-more\n");
    expect((await pump(fork, cli("APPEND", "key", "!"))).out).toBe("11\n");
    fork.reset();
  }
});

test.skipIf(!existsSync(nginx.path))("nginx and curl", async () => {
  const { expected, clientInMachine, serverInMachine } = await threeWays(nginx, "/usr/bin/curl", (port) => {
    const at = (path: string) => `http://127.0.0.1:${port}${path}`;
    return [
      ["-s", at("/hello")],
      ["-s", at("/large"), at("/hello"), at("/missing")],
      ["-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{num_connects}\n", at("/large"), at("/hello")],
      ["-s", "-r", "10-19", at("/large")],
      ["-s", "-I", at("/hello"), "-o", "/dev/null", "-w", "%{content_type}\n"],
      ["-s", "-f", at("/missing")],
      ["-s", "http://127.0.0.1:1/refused"],
    ];
  });
  expect(expected[0]).toEqual({ out: "GET /hello\n", status: 0 });
  expect(serverInMachine).toEqual(expected);
  expect(clientInMachine).toEqual(expected);
});

/** Clients that keep many connections busy: their figures differ from run to run, so it counts that nothing fails. */
const storms = [
  {
    name: "redis-benchmark",
    server: redis,
    path: "/usr/bin/redis-benchmark",
    args: (port: number) => ["-p", String(port), "-n", "2000", "-c", "20", "-t", "ping,set,get,lpush,mset", "--csv"],
    passed: ({ out, status }: Result) => status === 0 && out.trim().split("\n").length === 7,
  },
  {
    name: "wrk",
    server: nginx,
    path: "/usr/bin/wrk",
    args: (port: number) => ["-t2", "-c16", "-d1s", `http://127.0.0.1:${port}/hello`],
    passed: ({ out, status }: Result) => status === 0 && /\n +\d+ requests in /.test(out) && !/Non-2xx|Socket errors/.test(out),
  },
];

for (const { name, server, path, args, passed } of storms) {
  const there = existsSync(path) && existsSync(server.path);
  test.skipIf(!there)(there ? name : `${name} (${path} is not installed)`, async () => {
    const { expected, clientInMachine, serverInMachine } = await threeWays(server, path, (port) => [args(port)]);
    for (const [who, results] of Object.entries({ expected, clientInMachine, serverInMachine })) {
      expect([who, results[0], passed(results[0] as Result)]).toEqual([who, results[0], true]);
    }
  });
}
