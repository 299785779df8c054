/** A Bun server with a handler: `inline`, `isolated`, or isolated in a `jail`. */
import { join } from "node:path";
import { isolate } from "../../src/index.ts";

process.env.NODE_ENV = "production";
const path = join(import.meta.dir, "handler.mjs");
const mode = process.argv[2];
const app =
  mode === "inline" ? undefined : await isolate(path, { forks: 2, warmup: 50, jail: mode === "jail", env: { NODE_ENV: "production" } });
const fetch = app ? app.fetch : ((await import(path)) as { default: (request: Request) => Response }).default;
Bun.serve({ hostname: "127.0.0.1", port: Number(process.env.PORT), fetch, development: false });
