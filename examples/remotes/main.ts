// bun examples/remotes/main.ts: requests that forget everything, and three remotes that remember: a store, a rate limiter and
// SQLite. Each request has forks of small programs, which call the remotes as C functions, or of a handler in TypeScript, which sends
// text to the store; they have no permission at all.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Fork, isolate, Machine, Pool } from "pristine-vm";
import { program, sqliteLibrary } from "./build.ts";

const data = process.env.SQL_DIRECTORY ?? join(import.meta.dir, "../../zig-out/examples/data");
mkdirSync(data, { recursive: true });

type RemoteOptions = NonNullable<Parameters<typeof Machine.boot>[1]>;

/** Forks of a client that is connected to a remote, until both are disposed of. */
async function callers(name: string, remote: string, client: string, options: RemoteOptions = {}) {
  const machine = await Machine.boot(await program(remote), { ...options, remote: true, stdout: "inherit" });
  await machine.run({ until: "ready" });
  using first = await Machine.boot(await program(client), { remotes: { [name]: machine } });
  await first.run({ until: "ready" });
  const image = first.freeze();
  const pool = new Pool(image, { forks: 4, timeout: 2_000 });
  return {
    machine,
    use: <T>(call: (fork: Fork) => T) => pool.use(call),
    async [Symbol.asyncDispose]() {
      await pool.stop({ timeout: 1_000 });
      image.close();
      machine.close();
    },
  };
}

await using store = await callers("kv", "kv", "kv_client");
await using limiter = await callers("limiter", "limiter", "limiter_client", { args: ["5", "1"] });
await using values = await isolate(join(import.meta.dir, "handler.ts"), { remotes: { kv: store.machine }, timeout: 2_000 });
// The one machine of all that may see the directory.
await using database = existsSync(sqliteLibrary)
  ? await callers("sql", "sqlite_remote", "sql_client", { args: [data], permissions: { read: [data], write: [data] } })
  : undefined;

interface Answer {
  readonly result: number;
  readonly text: string;
}

/** Statements with the text for their first `?`, in a fork of their own. */
function sql(call: "client_exec" | "client_query", statements: string, text: string): Promise<Answer> | undefined {
  return database?.use((fork) => {
    const room = 1 << 18;
    const out = fork.memory.allocate(room);
    const number = fork.call("client_open", "guests");
    const words = call === "client_exec" ? [statements, text, Date.now(), out, room] : [statements, text, out, room];
    const bytes = fork.memory.read(out, Number(fork.call(call, number, ...words)));
    const result = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true));
    return { result, text: new TextDecoder().decode(bytes.subarray(8)) };
  });
}

await sql("client_exec", "CREATE TABLE IF NOT EXISTS guests (name TEXT, at INTEGER)", "");
const noDatabase = () => new Response(`${sqliteLibrary} is not there\n`, { status: 501 });

using server = Bun.serve({
  hostname: "127.0.0.1",
  port: process.env.PORT ?? 8080,
  routes: {
    "/visit/:name": async ({ params: { name } }) => {
      const wait = Number(await limiter.use((fork) => fork.call("client_take", name)));
      if (wait !== 0) return new Response("slowly\n", { status: 429, headers: { "retry-after": String(Math.ceil(wait / 1e9)) } });
      return new Response(`visit ${await store.use((fork) => fork.call("client_add", name, 1))} of ${name}\n`);
    },
    "/value/:key": values.fetch,
    "/guests": {
      GET: async () => {
        const rows = await sql("client_query", "SELECT name, at FROM guests WHERE name <> ? ORDER BY at DESC LIMIT 100", "");
        return rows ? new Response(rows.text, { headers: { "content-type": "application/json" } }) : noDatabase();
      },
      POST: async (request) => {
        const done = await sql("client_exec", "INSERT INTO guests VALUES (?, ?)", (await request.text()).slice(0, 200));
        if (!done) return noDatabase();
        return done.result === 1 ? new Response(null, { status: 201 }) : new Response(`${done.text}\n`, { status: 500 });
      },
    },
  },
});
console.log(`Remotes on ${server.url}: try
  curl ${server.url}visit/you, more than five times
  curl ${server.url}value/word -T README.md; curl ${server.url}value/word
  curl ${server.url}guests -d you; curl ${server.url}guests, also after this has been started again`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
