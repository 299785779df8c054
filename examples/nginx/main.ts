// bun examples/nginx/main.ts: nginx with static files; a request that breaks it breaks one fork.
import { isolate } from "pristine-vm";

const here = import.meta.dir;
await using nginx = await isolate({
  program: "/usr/sbin/nginx",
  // Paths in the configuration are relative to the prefix.
  args: ["-p", `${here}/`, "-c", "nginx.conf", "-e", "stderr"],
  cwd: here,
  timeout: 2_000,
  permissions: { read: [here, "/usr", "/lib", "/lib64", "/etc"] },
});

using server = Bun.serve({ hostname: "127.0.0.1", port: process.env.PORT ?? 8080, fetch: nginx.fetch });
console.log(`nginx on ${server.url}`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
