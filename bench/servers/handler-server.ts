/** A Bun server with a handler: `inline`, `isolated`, isolated in a `jail`, or in forks that are never put back (`kept`). */
import { join } from "node:path";
import { Fork, isolate } from "../../src/index.ts";

process.env.NODE_ENV = "production";
const path = join(import.meta.dir, "handler.mjs");
const mode = process.argv[2];
// The same way through the pool, but for the reset.
if (mode === "kept") Fork.prototype.reset = () => ({ mode: "rewrite", pages: 0, nanoseconds: 0 });
const app =
  mode === "inline" ? undefined : await isolate(path, { forks: 2, warmup: 50, jail: mode === "jail", env: { NODE_ENV: "production" } });
const fetch = app ? app.fetch : ((await import(path)) as { default: (request: Request) => Response }).default;
Bun.serve({ hostname: "127.0.0.1", port: Number(process.env.PORT), fetch, development: false });
