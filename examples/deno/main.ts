// bun examples/deno/main.ts: a Deno server of which every request gets a fresh copy.
import { resolve } from "node:path";
import { isolate } from "pristine-vm";

const here = import.meta.dir;
const deno = Bun.which("deno") ?? resolve(here, "../../node_modules/@deno/linux-x64-glibc/deno");
await using app = await isolate({
  program: deno,
  args: ["run", "--allow-net", "--no-check", "app.ts"],
  cwd: here,
  env: { DENO_DIR: "/tmp/deno", DENO_NO_UPDATE_CHECK: "1", DENO_NO_PACKAGE_JSON: "1" },
  memory: "4GiB",
  timeout: 2_000,
  permissions: { read: [here, deno, "/usr", "/lib", "/lib64", "/etc"] },
});

using server = Bun.serve({ hostname: "127.0.0.1", port: process.env.PORT ?? 8080, fetch: app.fetch });
console.log(`Deno on ${server.url}`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
