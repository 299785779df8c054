// bun examples/hono/main.ts: a Hono app of which every request gets a fresh copy.
import { resolve } from "node:path";
import { isolate } from "pristine-vm";

const here = import.meta.dir;
await using app = await isolate({
  program: process.execPath,
  args: ["app.ts"],
  cwd: here,
  memory: "2GiB",
  timeout: 2_000,
  // The folder with the app and its node_modules, and what Bun itself needs.
  permissions: { read: [resolve(here, "../.."), "/usr", "/lib", "/lib64", "/etc"] },
});

using server = Bun.serve({ hostname: "127.0.0.1", port: process.env.PORT ?? 8080, fetch: app.fetch });
console.log(`Hono on ${server.url}: try ${server.url}visit/you, more than once`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
