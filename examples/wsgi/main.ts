// bun examples/wsgi/main.ts: a Python application behind Bun, beside routes of Bun's own.
import { isolate } from "pristine-vm";

const here = import.meta.dir;
await using python = await isolate({
  program: "/usr/bin/python3",
  args: ["app.py"],
  cwd: here,
  timeout: 2_000,
  stderr: "ignore",
  permissions: { read: [here, "/usr", "/lib", "/lib64", "/etc"] },
});

using server = Bun.serve({
  hostname: "127.0.0.1",
  port: process.env.PORT ?? 8080,
  routes: { "/": new Response("Bun itself; Python is at /py/\n"), "/py/*": (request) => python.fetch(request) },
});
console.log(`Python on ${server.url}py/: try ${server.url}py/?user=you, then ${server.url}py/`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
