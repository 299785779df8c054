// bun examples/hono/main.ts: a Hono app of which every request gets a fresh copy.
import { isolate } from "pristine-vm";

const here = import.meta.dir;
await using app = await isolate({
  program: process.execPath,
  args: ["app.ts"],
  cwd: here,
  memory: "2GiB",
  timeout: 2_000,
  // The app, its modules, and what Bun itself needs.
  permissions: { read: [here, `${here}/../../node_modules`, `${here}/../../package.json`, "/usr", "/lib", "/lib64", "/etc"] },
});

const server = Bun.serve({ hostname: "127.0.0.1", port: process.env.PORT ?? 8080, fetch: app.fetch });
console.log(`Hono on ${server.url}: try ${server.url}visit/you, more than once`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
