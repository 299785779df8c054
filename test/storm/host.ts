/** A server of Bun's with a pool behind it, in a process of its own: `host.ts RUNTIME|python PATH TIMEOUT FORKS`. */
import { join } from "node:path";
import { isolate } from "../../src/index.ts";
import type { RuntimeName } from "../../src/types.ts";
import { folder } from "../serving.ts";

const [name, path, limit, forks] = process.argv.slice(2) as [RuntimeName | "python", string, string, string];
const shared = { timeout: Number(limit), forks: Number(forks), stdout: "ignore", stderr: "ignore" } as const;
const pool =
  name === "python"
    ? await isolate({
        ...shared,
        program: path,
        args: [join(folder, "app.py")],
        permissions: { read: ["/usr", "/lib", "/lib64", "/etc", folder] },
      })
    : await isolate(join(import.meta.dir, "handler.ts"), { ...shared, runtime: name === "deno" ? { path } : name });
const web = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: pool.fetch });
const control = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: () => {
    Bun.gc(true);
    return Response.json(pool.metrics);
  },
});
console.log(JSON.stringify({ url: web.url.origin, control: control.url.origin }));
process.on("SIGTERM", async () => {
  await Promise.all([web.stop(), control.stop()]);
  await pool.stop();
  process.exit(0);
});
