/**
 * Real servers in machines: they answer as natively, byte by byte; one request costs no more exits than it should; and from
 * an image of the warm server every fork answers the same, however often it is reset.
 */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Machine } from "../../src/index.ts";
import { difference } from "../../src/testing.ts";
import { answers, ask, beside, booted, Client, Folder, freePort, isWhole, native, pump, requestText } from "./harness.ts";
import { type Ask, servers } from "./server.ts";

const emulated = process.env.PRISTINE_LANE !== undefined;
setDefaultTimeout(emulated ? 900_000 : 300_000);
const rounds = Math.max(5, Math.round(200 * Number(process.env.TEST_SCALE ?? 1)));
const warmUp = 20;
const measured = 100;
const hello: Ask = { method: "GET", path: "/hello" };

/** The fewest exits of a second in which nobody asks for anything: what is left over from requests is done by then. */
async function idleExits(machine: Machine): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let second = 0; second < 3; second++) {
    const before = machine.counters().exits;
    await Bun.sleep(1000);
    least = Math.min(least, machine.counters().exits - before);
  }
  return least;
}

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

for (const server of servers) {
  if (emulated && !server.light) continue;
  const missing = folder.has(server) ? "" : ` (${server.path} is not there)`;
  describe.skipIf(missing !== "")(`${server.package}: ${server.name}${missing}`, () => {
    test("answers as natively", async () => {
      const port = await freePort();
      let expected: string[];
      {
        await using _ = await native(server, folder, port);
        expected = await answers(server, port);
      }
      await using machine = await booted(server, folder, port);
      expect(await beside(machine, () => answers(server, port))).toEqual(expected);
    });

    test("answers within its ceiling of exits", async () => {
      const port = await freePort();
      await using machine = await booted(server, folder, port);
      const costs = await beside(machine, async () => {
        const exits = async (body: () => Promise<unknown>) => {
          for (let i = 0; i < warmUp; i++) await body();
          const counts: number[] = [];
          for (let i = 0; i < measured; i++) {
            const before = machine.counters().exits;
            await body();
            counts.push(machine.counters().exits - before);
          }
          // What the request itself costs: of those to React on Node more than half can have another thread's turn or a part
          // of a collection of garbage in them.
          return counts.sort((a, b) => a - b)[measured >> 2] as number;
        };
        const connection = await exits(() => ask(port, hello));
        let kept = 0;
        if (!server.closes) {
          using client = await Client.open(port);
          const text = requestText(hello, port, false);
          kept = await exits(() => client.send(text, (received) => isWhole(received, false)));
        }
        return { connection, kept, idle: await idleExits(machine) };
      });
      if (process.env.SERVERS_VERBOSE) console.log(server.name, costs);
      expect(costs.connection).toBeLessThanOrEqual(server.exits.connection);
      expect(costs.kept).toBeLessThanOrEqual(server.exits.kept ?? 0);
      expect(costs.idle).toBeLessThanOrEqual(server.exits.idle ?? 0);
    });

    test(`answers the same from ${rounds} resets of a fork`, async () => {
      const port = await freePort();
      await using machine = await booted(server, folder, port);
      const asked = (what: Ask) => ask(port, what);
      const first = await pump(machine, asked(hello));
      for (let i = 1; i < warmUp; i++) expect(await pump(machine, asked(hello))).toBe(first);
      using image = machine.freeze();
      using fork = image.fork();
      using pristine = image.fork();
      for (let i = 0; i < rounds; i++) {
        expect(await pump(fork, asked(hello))).toBe(first);
        fork.reset();
        if (i % 50 === 0) expect(difference(fork, pristine)).toEqual([]);
      }
    });

    test("answers from three forks that share its port", async () => {
      const port = await freePort();
      await using machine = await booted(server, folder, port);
      const first = await pump(machine, ask(port, hello));
      using image = machine.freeze();
      const forks = Array.from({ length: 3 }, () => image.fork());
      const abort = new AbortController();
      const running = forks.map((fork) =>
        fork.run({ signal: abort.signal, timeout: Number.POSITIVE_INFINITY }).catch((error: unknown) => error),
      );
      try {
        const lane = async () => {
          for (let i = 0; i < Math.max(5, rounds / 20); i++) expect(await ask(port, hello)).toBe(first);
        };
        await Promise.all(Array.from({ length: 6 }, lane));
      } finally {
        abort.abort();
        await Promise.all(running);
        for (const fork of forks) fork.close();
      }
    });
  });
}
