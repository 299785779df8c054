/** `pristine serve --per connection`: state lasts as long as a client's connection, is nobody else's, and no fork is lost to it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { node, python, type Served, serveNode, servePython } from "./serving.ts";

setDefaultTimeout(120_000);

interface Answer {
  readonly status: number;
  readonly calls: number;
}

const requestFor = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;

/** What has come as a whole of answers with a length or in chunks. */
function answersIn(received: string): Answer[] {
  const answers: Answer[] = [];
  for (let rest = received; ; ) {
    const head = rest.indexOf("\r\n\r\n");
    if (head < 0) return answers;
    const heads = rest.slice(0, head);
    const length = /content-length: (\d+)/i.exec(heads)?.[1];
    const isChunked = /transfer-encoding: chunked/i.test(heads);
    const last = rest.indexOf("0\r\n\r\n", head + 4);
    const end = isChunked ? (last < 0 ? Number.POSITIVE_INFINITY : last + 5) : head + 4 + Number(length ?? 0);
    if (rest.length < end) return answers;
    answers.push({ status: Number(heads.split(" ")[1]), calls: Number(/x-calls: (\d+)/i.exec(heads)?.[1]) });
    rest = rest.slice(end);
  }
}

/** A connection that is kept. */
async function connection(url: string) {
  const { hostname, port } = new URL(url);
  let received = "";
  let closed = false;
  let changed = () => {};
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data: (_, bytes) => {
        received += bytes.toString("latin1");
        changed();
      },
      close: () => {
        closed = true;
        changed();
      },
    },
  });
  /** Sends so many requests at once; their answers, or those that came before the connection ended. */
  const askAll = async (...paths: string[]): Promise<Answer[]> => {
    received = "";
    socket.write(paths.map(requestFor).join(""));
    while (answersIn(received).length < paths.length && !closed) await new Promise<void>((resolve) => (changed = resolve));
    return answersIn(received);
  };
  return {
    askAll,
    ask: async (path: string) => (await askAll(path))[0] ?? { status: 0, calls: 0 },
    send: (text: string) => socket.write(text),
    received: () => received,
    end: () => socket.end(),
    leave: () => socket.terminate(),
    isClosed: () => closed,
  };
}

async function until(holds: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) return true;
    await Bun.sleep(25);
  }
  return false;
}

/** Waits until all of so many forks are made and free, as they are when nobody has one. */
async function allFree(served: Served, forks: number): Promise<boolean> {
  await served.until(() => /metrics on \S+/.test(served.err), "there are no metrics");
  const page = /metrics on (\S+)/.exec(served.err)?.[1] as string;
  return until(async () => {
    const { forks: now } = (await (await fetch(`${page}metrics.json`)).json()) as { forks: { free: number; queued: number } };
    return now.free === forks && now.queued === 0;
  });
}

async function drained(served: Served): Promise<number> {
  served.kill("SIGTERM");
  return served.ended();
}

const options = (forks: number) => ["--per=connection", `--forks=${forks}`, "--metrics=127.0.0.1:0"];

for (const [name, path, serve] of [
  ["python", python, servePython],
  ["node", node, serveNode],
] as const) {
  const missing = path === undefined ? ` (${name} is not there)` : "";
  describe.skipIf(missing !== "")(`${name}${missing}`, () => {
    test("state lasts as long as the connection, and is nobody else's", async () => {
      await using served = serve(options(3));
      const url = await served.url();
      await served.until(() => served.err.includes("a proxy in front sends many users on one"), "it does not warn");
      const first = await connection(url);
      const { calls } = await first.ask("/echo");
      expect((await first.ask("/echo")).calls).toBe(calls + 1);
      const second = await connection(url);
      expect((await second.ask("/echo")).calls).toBe(calls);
      expect((await first.ask("/echo")).calls).toBe(calls + 2);
      first.end();
      second.end();
      for (let round = 0; round < 20; round++) {
        const next = await connection(url);
        expect((await next.ask("/echo")).calls).toBe(calls);
        next.end();
      }
      expect(await allFree(served, 3)).toBe(true);
      expect(await drained(served)).toBe(0);
    });

    test("requests that are sent at once are answered in turn by one fork, which is put back", async () => {
      await using served = serve(options(2));
      const url = await served.url();
      expect(await allFree(served, 2)).toBe(true);
      for (let round = 0; round < 5; round++) {
        const client = await connection(url);
        const answers = await client.askAll("/echo?1", "/echo?2", "/echo?3");
        const first = answers[0]?.calls as number;
        expect(answers).toEqual([0, 1, 2].map((more) => ({ status: 200, calls: first + more })));
        client.end();
        const leaves = await connection(url);
        leaves.send(["/hang", "/echo", "/echo"].map(requestFor).join(""));
        await Bun.sleep(20);
        leaves.leave();
      }
      expect(await allFree(served, 2)).toBe(true);
      expect(await drained(served)).toBe(0);
    });
  });
}

const withPython = test.skipIf(python === undefined);

withPython("with more connections than forks the longest silent one ends; failures end their own", async () => {
  await using served = servePython(options(2));
  const url = await served.url();
  expect(await allFree(served, 2)).toBe(true);
  const [a, b, c] = await Promise.all([connection(url), connection(url), connection(url)]);
  const { calls } = await a.ask("/echo");
  await b.ask("/echo");
  expect((await c.ask("/echo")).calls).toBe(calls);
  expect(await until(() => a.isClosed())).toBe(true);
  expect([b.isClosed(), c.isClosed()]).toEqual([false, false]);
  expect((await b.ask("/exit")).status).toBe(500);
  expect(await until(() => b.isClosed())).toBe(true);
  expect((await c.ask("/echo")).calls).toBe(calls + 1);
  expect(await drained(served)).toBe(0);
});

withPython("a fork that is only being warmed costs no silent client its own", async () => {
  for (let round = 0; round < 3; round++) {
    await using served = servePython(options(2));
    const url = await served.url();
    const [first, second] = await Promise.all([connection(url), connection(url)]);
    const { calls } = await first.ask("/echo");
    expect((await second.ask("/echo")).calls).toBe(calls);
    expect((await first.ask("/echo")).calls).toBe(calls + 1);
    expect([first.isClosed(), second.isClosed()]).toEqual([false, false]);
  }
});

withPython("a client may be silent for longer than the five seconds of node:http", async () => {
  await using served = servePython(options(2));
  const url = await served.url();
  const client = await connection(url);
  const { calls } = await client.ask("/echo");
  await Bun.sleep(8_000);
  expect((await client.ask("/echo")).calls).toBe(calls + 1);
  client.end();
  expect(await drained(served)).toBe(0);
});

withPython("50 connections at once, each from a state of its own, with two forks", async () => {
  await using served = servePython(options(2));
  const url = await served.url();
  const clients = await Promise.all(Array.from({ length: 50 }, () => connection(url)));
  const answers = await Promise.all(clients.map((client) => client.ask("/nap")));
  expect(answers.map(({ status }) => status)).toEqual(clients.map(() => 200));
  expect(new Set(answers.map(({ calls }) => calls)).size).toBe(1);
  for (const client of clients) client.end();
  expect(await allFree(served, 2)).toBe(true);
  expect(await drained(served)).toBe(0);
});

withPython("a client that leaves within its request gives its fork up at once", async () => {
  await using served = servePython([...options(1), "--timeout=60s"]);
  const url = await served.url();
  for (let round = 0; round < 3; round++) {
    const leaving = await connection(url);
    leaving.send(requestFor("/hang"));
    await Bun.sleep(100);
    leaving.leave();
    // Far less than the time limit of the request that was left.
    expect(await allFree(served, 1)).toBe(true);
    const next = await connection(url);
    expect((await next.ask("/echo")).status).toBe(200);
    next.end();
  }
  expect(await drained(served)).toBe(0);
});
