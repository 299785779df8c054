// bun examples/react/main.ts: pages rendered by React in forks, static files by Bun itself.
import { resolve } from "node:path";
import { isolate } from "pristine-vm";

const here = import.meta.dir;
await using pages = await isolate({
  program: process.execPath,
  args: ["app.tsx"],
  cwd: here,
  env: { NODE_ENV: "production" },
  memory: "2GiB",
  timeout: 2_000,
  // It warms what the just-in-time compiler and React keep: all forks begin with that.
  warmup: 50,
  permissions: { read: [resolve(here, "../.."), "/usr", "/lib", "/lib64", "/etc"] },
});

using server = Bun.serve({
  hostname: "127.0.0.1",
  port: process.env.PORT ?? 8080,
  routes: { "/robots.txt": new Response("User-agent: *\n") },
  fetch: pages.fetch,
});
console.log(`React on ${server.url}: try ${server.url}?name=you`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
