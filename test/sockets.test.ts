/** Sockets of guests: inside the machine as natively, and the host's network by permission. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { lookup } from "node:dns/promises";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import type { TCPSocketListener, udp } from "bun";
import { type BootOptions, type Fork, Machine, type Permissions, PristineError } from "../src/index.ts";
import { difference } from "../src/testing.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(240_000);

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const hostSockets = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;

type Options = BootOptions<"ignore", "pipe", "inherit">;
const boot = (args: (string | number)[], options: Options = {}) =>
  Machine.boot(guest("sockets"), { args: args.map(String), timeout: 60_000, ...options });

/** What a guest prints, and its host calls while it runs. */
async function run(args: (string | number)[], options: Options = {}): Promise<{ text: string; hostCalls: number }> {
  await using vm = await boot(args, options);
  const before = vm.counters().hostCalls;
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  const hostCalls = vm.counters().hostCalls - before;
  return { text: stop.exitCode === 0 ? text : `${text}exit ${stop.exitCode} ${stop.signalCode}\n`, hostCalls };
}

/**
 * What the program prints natively, when two runs agree: a host that is busy may deliver late what its own loopback delivers at once
 * otherwise. What differs from run to run is no standard to be measured by.
 */
async function natively(args: (string | number)[]): Promise<string> {
  let last: string | undefined;
  for (let tries = 0; tries < 6; tries++) {
    const native = Bun.spawn([guest("sockets"), ...args.map(String)], { stdout: "pipe", timeout: 20_000 });
    const [text, status] = await Promise.all([new Response(native.stdout).text(), native.exited]);
    const told = `${text}exit ${status}\n`;
    if (told === last) return status === 0 ? text : told;
    last = told;
  }
  throw new Error(`${args.join(" ")} prints something else natively each time: ${last}`);
}

const output = async (args: (string | number)[], options: Options = {}) => (await run(args, options)).text;
const linesOf = (text: string) => text.trimEnd().split("\n");

/** Connects to a guest's server on the host's network, sends, and answers all that comes until its end. */
function ask(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = "";
    Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (socket) => void socket.write(text),
        data: (socket, bytes) => {
          got += bytes.toString();
          if (got.length === text.length) socket.end();
        },
        close: () => resolve(got),
        error: (_, error) => reject(error),
      },
    }).catch(reject);
  });
}

/** The host's servers: one that echoes, one that never reads, one that resets. */
let echo: TCPSocketListener<undefined>;
let deaf: Server;
let udpEcho: udp.Socket<"buffer">;
beforeAll(async () => {
  echo = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    allowHalfOpen: true,
    socket: {
      data: (socket, bytes) => void socket.write(bytes),
      end: (socket) => void socket.end(),
    },
  });
  deaf = createServer((socket) => socket.pause().on("error", () => {}));
  await new Promise<void>((resolve) => deaf.listen(0, "127.0.0.1", resolve));
  udpEcho = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: { data: (socket, bytes, port, address) => void socket.send(bytes, port, address) },
  });
});
afterAll(() => {
  echo.stop(true);
  deaf.close();
  udpEcho.close();
});
const deafPort = () => (deaf.address() as { port: number }).port;

const parts = ["pairs", "tcp", "udp", "six", "errors", "options", "names", "full", "messages", "rights"];

test.each(parts)("%s: every call comes to what it does natively, and what is inside the machine asks nothing of the host", async (part) => {
  const directory = mkdtempSync("/tmp/pristine-native-");
  try {
    const expected = await natively([part, directory]);
    expect(expected).not.toContain("\nexit ");
    expect(linesOf(expected).length).toBeGreaterThan(10);
    const before = hostSockets();
    const { text, hostCalls } = await run([part, "/tmp"]);
    expect(text).toBe(expected);
    // In these files are opened, or a time is waited for.
    if (!["errors", "messages", "names", "options"].includes(part)) expect(hostCalls).toBe(0);
    expect(hostSockets()).toBeLessThanOrEqual(before);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("threads wait for bytes, room, connections, times and epoll as natively", async () => {
  const expected = Bun.spawnSync([guest("sockets-threads")], { timeout: 20_000 }).stdout.toString();
  expect(linesOf(expected).length).toBeGreaterThan(20);
  const before = hostSockets();
  await using vm = await Machine.boot(guest("sockets-threads"), { timeout: 60_000 });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  expect(text).toBe(expected);
  expect(stop.exitCode).toBe(0);
  expect(hostSockets()).toBeLessThanOrEqual(before);
});

test("a client of the host's network does what it does natively", async () => {
  const args = ["client", "127.0.0.1", echo.port, "hello there"];
  const expected = await natively(args);
  expect(expected).toContain('got 11 "hello there"');
  expect(await output(args, { permissions: { connect: [`127.0.0.1:${echo.port}`] } })).toBe(expected);
});

test("a server of the host's network takes connections from the host and from itself", async () => {
  await using vm = await boot(["serve", "127.0.0.1", 0, 2], { permissions: { listen: ["127.0.0.1:*"] } });
  const running = vm.run();
  const reader = vm.stdout.getReader();
  const first = new TextDecoder().decode((await reader.read()).value);
  const port = Number(/port (\d+)/.exec(first)?.[1]);
  for (let index = 0; index < 2; index++) {
    expect(await ask(port, "over the host")).toBe("over the host");
  }
  expect(await running).toMatchObject({ exitCode: 0 });
});

test("datagrams go to the host's network and come back", async () => {
  const args = ["udp", "127.0.0.1", udpEcho.port, "hello"];
  const native = Bun.spawn([guest("sockets"), ...args.map(String)], { stdout: "pipe" });
  const expected = await new Response(native.stdout).text();
  expect(expected).toContain('got 5 "hello"');
  expect(await output(args, { permissions: { connect: [`127.0.0.1:${udpEcho.port}`] } })).toBe(expected);
});

test("a datagram server answers the host", async () => {
  await using vm = await boot(["udp-serve", "127.0.0.1", 0, 2], { permissions: { listen: true } });
  const running = vm.run();
  const reader = vm.stdout.getReader();
  let text = "";
  while (!/port \d+/.test(text)) text += new TextDecoder().decode((await reader.read()).value);
  const port = Number(/port (\d+)/.exec(text)?.[1]);
  for (const size of [3, 1400]) {
    const got = await new Promise<number>((resolve) => {
      Bun.udpSocket({
        socket: {
          data(socket, bytes) {
            socket.close();
            resolve(bytes.length);
          },
        },
      }).then((socket) => socket.send(Buffer.alloc(size), port, "127.0.0.1"));
    });
    expect(got).toBe(size);
  }
  expect(await running).toMatchObject({ exitCode: 0 });
});

test("who sends to one that never reads is told to wait", async () => {
  const text = await output(["flood", "127.0.0.1", deafPort()], { permissions: { connect: true } });
  expect(linesOf(text)).toEqual(["flood: EAGAIN, bounded: 1", "poll(&one, 1, 0): 0"]);
});

test("sockets of a machine are bounded, and so is what all of them hold", async () => {
  expect(linesOf(await output(["many"], { memory: "64MiB" }))).toEqual([
    "setrlimit(RLIMIT_NOFILE, &limit): 0",
    "2048 sockets, then ENFILE",
    "bounded: 1",
    "socket(AF_INET, SOCK_STREAM, 0): ENFILE",
    "close(last): 0",
    "socket(AF_INET, SOCK_STREAM, 0): open",
  ]);
});

// Permissions

const places: [string, string, number][] = [
  ["connect", "127.0.0.1", 9],
  ["connect", "127.0.0.1", 10],
  ["connect", "::1", 9],
  ["connect", "::ffff:127.0.0.1", 9],
  ["connect", "0.0.0.0", 9],
  ["connect", "::", 9],
  ["connect", "127.9.9.9", 9],
  ["connect", "203.0.113.5", 9],
  ["send", "127.0.0.1", 9],
  ["send", "::ffff:127.0.0.1", 9],
];

async function tried(permissions: Permissions, list: [string, string, number][] = places): Promise<string[]> {
  const lines = linesOf(await output(["try", ...list.flat()], { permissions }));
  expect(lines.length).toBe(list.length);
  return lines.flatMap((line) => (line.endsWith(": tried") ? [line.slice(0, -7)] : []));
}
const of = (list: [string, string, number][]) => list.map((entry) => entry.join(" "));

test("connections need a grant that covers where they lead", async () => {
  const loopback = [
    "connect 127.0.0.1 9",
    "connect ::ffff:127.0.0.1 9",
    "connect 0.0.0.0 9",
    "send 127.0.0.1 9",
    "send ::ffff:127.0.0.1 9",
  ];
  expect(await tried({})).toEqual([]);
  expect(await tried({ connect: false, listen: true })).toEqual([]);
  expect(await tried({ connect: true })).toEqual(of(places));
  expect(await tried({ connect: ["127.0.0.1:9"] })).toEqual(loopback);
  expect(await tried({ connect: ["[::ffff:127.0.0.1]:9"] })).toEqual(loopback);
  expect(await tried({ connect: ["127.0.0.1"] })).toEqual([loopback[0], "connect 127.0.0.1 10", ...loopback.slice(1)] as string[]);
  expect(await tried({ connect: ["[::1]:9"] })).toEqual(["connect ::1 9", "connect :: 9"]);
  expect(await tried({ connect: ["203.0.113.0/24:9"] })).toEqual(["connect 203.0.113.5 9"]);
  expect(await tried({ connect: ["203.0.113.0/30:9"] })).toEqual([]);
  expect((await tried({ connect: [":9"] })).length).toBe(places.length - 1);
  expect(await tried({ connect: ["*:10"] })).toEqual(["connect 127.0.0.1 10"]);
  expect(await tried({ connect: ["localhost:9"] })).toEqual([
    ...loopback.slice(0, 1),
    "connect ::1 9",
    loopback[1],
    loopback[2],
    "connect :: 9",
    ...loopback.slice(3),
  ] as string[]);
});

test("a denial wins, and there is no way round it by another spelling", async () => {
  const left = ["connect 127.0.0.1 10", "connect 203.0.113.5 9"];
  expect(await tried({ connect: true, deny: { connect: ["127.0.0.1:9"] } })).toEqual(left);
  expect(await tried({ connect: true, deny: { connect: ["localhost:9"] } })).toEqual(left);
  expect(await tried({ connect: true, deny: { connect: ["[::ffff:127.0.0.1]:9"] } })).toEqual(left);
  expect(await tried({ connect: true, deny: { connect: [":9"] } })).toEqual(["connect 127.0.0.1 10"]);
  expect(await tried({ connect: [":9"], deny: { connect: true } })).toEqual([]);
  expect(await tried({ connect: true, deny: { connect: ["203.0.113.0/24"] } })).toEqual(
    of(places).filter((place) => !place.includes("203")),
  );
});

test("listening needs a grant, but for a free port on the loopback network, which is the machine's own", async () => {
  const list: [string, string, number][] = [
    ["listen", "127.0.0.1", 0],
    ["listen", "::1", 0],
    ["listen", "0.0.0.0", 0],
    ["listen", "127.0.0.1", 18999],
    ["listen", "0.0.0.0", 18999],
    ["listen", "::", 18999],
    ["udp-listen", "127.0.0.1", 0],
    ["udp-listen", "0.0.0.0", 0],
    ["udp-listen", "127.0.0.1", 18999],
    ["udp-listen", "203.0.113.5", 0],
  ];
  // The last is no address of the host, which is told with and without a permission.
  const free = ["listen 127.0.0.1 0", "listen ::1 0", "udp-listen 127.0.0.1 0", "udp-listen 0.0.0.0 0", "udp-listen 203.0.113.5 0"];
  expect(await tried({}, list)).toEqual(free);
  expect(await tried({ connect: true }, list)).toEqual(free);
  expect(await tried({ listen: true }, list)).toEqual(of(list));
  const own = ["listen 127.0.0.1 18999", "udp-listen 127.0.0.1 18999"];
  expect((await tried({ listen: ["127.0.0.1:18999"] }, list)).sort()).toEqual([...free, ...own].sort());
  expect((await tried({ listen: [":18999"] }, list)).length).toBe(9);
  expect((await tried({ listen: true, deny: { listen: ["127.0.0.1:18999"] } }, list)).sort()).toEqual(free.toSorted());
});

test("a server on a private port is found by its own machine alone", async () => {
  await using vm = await boot(["serve", "127.0.0.1", 0, 1]);
  const running = vm.run({ timeout: 1_000 }).catch((error) => error);
  const reader = vm.stdout.getReader();
  const port = Number(/port (\d+)/.exec(new TextDecoder().decode((await reader.read()).value))?.[1]);
  expect(port).toBeGreaterThan(1023);
  const refused = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).then(
    () => false,
    () => true,
  );
  expect(refused).toBe(true);
  expect(PristineError.is(await running)).toBe(true);
});

test("what is no pattern, and a host that there is not, are bad options", async () => {
  for (const connect of ["1.2.3.4:99999", "1.2.3.4:x", "[::1", "no-such-host.invalid:80", "unix:relative", "1.2.3.4/40"]) {
    const error = await boot(["hosts"], { permissions: { connect: [connect] } }).then(
      () => undefined,
      (reason) => reason,
    );
    expect([connect, PristineError.is(error) && error.code]).toEqual([connect, "BAD_OPTION"]);
  }
});

test("--verbose says which option would allow what was refused", () => {
  const command = [process.execPath, join(import.meta.dir, "../src/cli/main.ts"), "run", "--verbose", guest("sockets"), "try"];
  const { stderr } = Bun.spawnSync([
    ...command,
    "connect",
    "203.0.113.5",
    "80",
    "listen",
    "0.0.0.0",
    "80",
    "connect",
    "::ffff:10.0.0.1",
    "443",
  ]);
  const told = stderr.toString();
  expect(told).toContain("pristine: the guest may not connect to 203.0.113.5:80 (--allow-connect=203.0.113.5:80)");
  expect(told).toContain("pristine: the guest may not listen at 0.0.0.0:80 (--allow-listen=0.0.0.0:80)");
  expect(told).toContain("--allow-connect=10.0.0.1:443");
});

test("a name of a grant is in the guest's /etc/hosts", async () => {
  expect(await output(["hosts"])).toBe("127.0.0.1\tlocalhost pristine\n::1\tlocalhost\n");
  expect(await output(["hosts"], { permissions: { connect: ["localhost:80"] } })).toBe("127.0.0.1\tlocalhost pristine\n::1\tlocalhost\n");
});

const ownName = hostname();
const ownAddresses = await lookup(ownName, { all: true }).catch(() => []);

test.skipIf(ownAddresses.length === 0 || ownName === "localhost")("a name of a grant is looked up at boot", async () => {
  const text = await output(["hosts"], { permissions: { connect: [`${ownName}:80`, `${ownName}:81`] } });
  const lines = linesOf(text).slice(2);
  expect(lines.toSorted()).toEqual([...new Set(ownAddresses.map(({ address }) => `${address}\t${ownName}`))].toSorted());
  const place: [string, string, number] = ["connect", (ownAddresses[0] as { address: string }).address, 81];
  expect(await tried({ connect: [`${ownName}:81`] }, [place])).toEqual(of([place]));
  expect(await tried({ connect: [`${ownName}:80`] }, [place])).toEqual([]);
  expect(await tried({ connect: true, deny: { connect: [ownName] } }, [place])).toEqual([]);
});

test("sockets of the host's files need a grant of their path", async () => {
  const directory = mkdtempSync("/var/tmp/pristine-unix-");
  const path = join(directory, "socket");
  const server = createServer((socket) => socket.on("error", () => {}).end());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    const read = { read: [directory] };
    expect(linesOf(await output(["try", "unix", path, 0], { permissions: read }))).toEqual(["unix: EACCES"]);
    expect(linesOf(await output(["try", "unix", path, 0], { permissions: { ...read, connect: [":80"] } }))).toEqual(["unix: EACCES"]);
    for (const connect of [[`unix:${path}`], [`unix:${directory}`], true]) {
      expect(linesOf(await output(["try", "unix", path, 0], { permissions: { ...read, connect } }))).toEqual(["unix: connected"]);
    }
    // The grant of a path is enough to find it.
    expect(linesOf(await output(["try", "unix", path, 0], { permissions: { connect: [`unix:${path}`] } }))).toEqual(["unix: connected"]);
    const denied = { ...read, connect: true, deny: { connect: [`unix:${directory}`] } };
    expect(linesOf(await output(["try", "unix", path, 0], { permissions: denied }))).toEqual(["unix: EACCES"]);
  } finally {
    server.close();
    rmSync(directory, { recursive: true, force: true });
  }
});

// Freezing

async function rest(fork: Fork | Machine): Promise<string> {
  const [, text] = await Promise.all([fork.run(), new Response(fork.stdout as ReadableStream).text()]);
  return text;
}

test("sockets inside a machine are frozen with what is on its way in them", async () => {
  await using vm = await boot(["inside"]);
  expect((await vm.run({ until: "ready" })).reason).toBe("ready");
  using image = vm.freeze();
  const expected = Bun.spawnSync([guest("sockets"), "inside"]).stdout.toString();
  const whole = await rest(vm);
  expect(whole).toBe(expected);
  using fork = image.fork();
  using untouched = image.fork();
  const behind = whole.slice(whole.indexOf('recv(s[1], 100, 0): 3 "one"'));
  for (let round = 0; round < 5; round++) {
    expect(difference(fork, untouched)).toEqual([]);
    expect(await rest(fork)).toBe(behind);
    expect(difference(fork, untouched)).not.toEqual([]);
    fork.reset({ mode: round % 2 ? "full" : "rewrite" });
  }
  expect(difference(fork, untouched)).toEqual([]);
});

test("a connection of the host is reset in forks, which may connect anew", async () => {
  const before = hostSockets();
  {
    await using vm = await boot(["frozen", "127.0.0.1", echo.port], { permissions: { connect: true } });
    await vm.run({ until: "ready" });
    using image = vm.freeze();
    using fork = image.fork();
    using untouched = image.fork();
    for (let round = 0; round < 3; round++) {
      expect(linesOf(await rest(fork))).toEqual([
        "ready fd: in out rdhup hup err",
        "recv(fd, 100, MSG_DONTWAIT): ECONNRESET",
        'recv(fd, 100, MSG_DONTWAIT): 0 ""',
        'send(fd, "x", 1, MSG_NOSIGNAL): EPIPE',
        "peer of fd: ENOTCONN",
        'sendto(udp, "again", 5, 0, (void *)&place, length): 5',
        'write(fd, "after", 5): 5',
        'recv(fd, 5, MSG_WAITALL): 5 "after"',
      ]);
      fork.reset();
      expect(difference(fork, untouched)).toEqual([]);
    }
    // The machine itself still has its own.
    expect(linesOf(await rest(vm)).slice(2, 4)).toEqual(["ready fd: out", "recv(fd, 100, MSG_DONTWAIT): EAGAIN"]);
  }
  await Bun.sleep(20);
  expect(hostSockets()).toBe(before);
});

test("forks accept from one listener of the host, and a reset closes what they accepted", async () => {
  await using vm = await boot(["frozen-listener", "127.0.0.1", 0, 1], { permissions: { listen: true } });
  await vm.run({ until: "ready" });
  using image = vm.freeze();
  const reader = vm.stdout.getReader();
  const port = Number(/port (\d+)/.exec(new TextDecoder().decode((await reader.read()).value))?.[1]);
  using fork = image.fork();
  using untouched = image.fork();
  for (let round = 0; round < 3; round++) {
    const running = fork.run();
    expect(await ask(port, "to a fork")).toBe("to a fork");
    await running;
    fork.reset();
    expect(difference(fork, untouched)).toEqual([]);
  }
});

test("a server that waits for connections is frozen, and a fork of it answers each in turn", async () => {
  await using vm = await boot(["serve", "127.0.0.1", 0, 3], { permissions: { listen: true } });
  const stop = await vm.run({ until: "listen" });
  if (stop.reason !== "listen" || !("port" in stop.address)) throw new Error("it does not listen");
  const { port } = stop.address;
  using image = vm.freeze();
  using fork = image.fork();
  using untouched = image.fork();
  const before = hostSockets();
  for (let round = 0; round < 5; round++) {
    let answer: string | undefined;
    const asked = ask(port, "to a server").then((text) => {
      answer = text;
    });
    // A run ends at once while nobody has come.
    while (answer === undefined) {
      await fork.run({ until: "listen" });
      await Bun.sleep(1);
    }
    await asked;
    expect(answer).toBe("to a server");
    fork.reset({ mode: round % 2 ? "full" : "rewrite" });
    expect(difference(fork, untouched)).toEqual([]);
  }
  expect(hostSockets()).toBeLessThanOrEqual(before);
});
