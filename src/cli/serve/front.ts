/** A pool on the host's sockets: where it listens, and how it is drained. */
import { fs } from "../../lazy.ts";
import { metricsHandler } from "../../metrics-page.ts";
import type { Pool } from "../../pool.ts";
import { signalByName } from "../../signals.ts";
import { jailLine } from "../jail.ts";
import { type Address, addressError, resolveAddress, urlOf, type Wanted } from "./address.ts";
import type { Front } from "./by-connection.ts";
import type { ServeSettings } from "./options.ts";
import type { Reporter } from "./reporter.ts";

/** The longest that Bun lets a connection be silent, in seconds. */
const idleMaxSeconds = 255;
/** What a client may take to send the rest of its request, in seconds. */
const idleLeastSeconds = 30;
const pollMs = 5;

type Handler = (request: Request, server: Bun.Server<undefined>) => Response | Promise<Response>;

function listen(address: Address, option: string, fetch: Handler, timeout = 0): Bun.Server<undefined> {
  const seconds = Math.max(idleLeastSeconds, Math.ceil(timeout / 1000) + 5);
  const isLong = seconds > idleMaxSeconds;
  // An answer may be silent for as long as its time limit allows.
  const handler: Handler = isLong
    ? (request, server) => {
        server.timeout(request, 0);
        return fetch(request, server);
      }
    : fetch;
  const common = { fetch: handler, development: false } as const;
  try {
    return "unix" in address
      ? Bun.serve({ ...common, unix: address.unix })
      : Bun.serve({ ...common, hostname: address.host, port: address.port, idleTimeout: isLong ? idleMaxSeconds : seconds });
  } catch (error) {
    throw addressError(error, address, option);
  }
}

/** Tells that an address is taken before the program is booted rather than behind it. */
export function checkFree(wanted: Wanted): void {
  if ("unix" in wanted) {
    if (fs().existsSync(wanted.unix)) throw addressError({ code: "EADDRINUSE" }, wanted, "allow-listen");
    return;
  }
  if (wanted.host === undefined || wanted.port === undefined) return;
  listen({ host: wanted.host, port: wanted.port }, "allow-listen", () => new Response()).stop(true);
}

/** Resolves at the first SIGINT or SIGTERM; a second ends the process at once. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let received = 0;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        received++;
        if (received > 1) process.exit(128 + signalByName(signal));
        resolve(signal);
      });
    }
  });
}

/** The server that gives each request a fork, also those of one connection. */
function listenByRequest(address: Address, pool: Pool, timeout: number | undefined): Front {
  let draining = false;
  const handler: Handler = (request) => {
    if (!draining) return pool.fetch(request);
    return new Response(null, { status: 503, headers: { connection: "close" } });
  };
  const server = listen(address, "allow-listen", handler, timeout);
  return {
    port: server.port,
    async drain() {
      draining = true;
      server.stop();
      await pool.stop();
      // What their clients have not taken yet.
      while (server.pendingRequests > 0) await Bun.sleep(pollMs);
      await server.stop(true);
    },
  };
}

async function listenFor(pool: Pool, address: Address, settings: ServeSettings): Promise<Front> {
  if (settings.per === "request") return listenByRequest(address, pool, settings.requestTimeout);
  const { listenByConnection } = await import("./by-connection.ts");
  const front = await listenByConnection(address, "allow-listen", pool.listener);
  return {
    port: front.port,
    async drain() {
      await Promise.all([pool.stop(), front.drain()]);
    },
  };
}

/** Serves until a signal; the exit status. */
export async function servePool(pool: Pool, settings: ServeSettings, reporter: Reporter, began: number): Promise<number> {
  const stopped = stopSignal();
  const address = resolveAddress(settings.address, pool.address);
  const front = await listenFor(pool, address, settings);
  const actual = "unix" in address ? address : { ...address, port: front.port as number };
  const page = settings.metrics && metricsServer(settings.metrics, pool);
  const url = urlOf(actual);
  const bootMs = Math.round(performance.now() - began);
  reporter.event("serving", { url, milliseconds: bootMs, metrics: page?.url.href }, `serving on ${url}, a fork for each ${settings.per}`);
  if (settings.per === "connection")
    reporter.event(
      "warning",
      { per: "connection" },
      "--per connection: what a request leaves behind, the next one on its connection finds; a proxy in front sends many users on one",
    );
  if (pool.jail.length > 0) reporter.event("jail", { parts: pool.jail }, jailLine(pool.jail));
  if (page) reporter.event("metrics", { url: page.url.href }, `metrics on ${page.url.href}`);
  reporter.start(() => pool.metrics.state);
  const signal = await stopped;
  const { forks, free, queued } = pool.metrics.state;
  reporter.event("draining", { signal, requests: forks - free + queued }, `${signal}: no more requests; ${signal} again ends at once`);
  await front.drain();
  await page?.stop(true);
  if ("unix" in actual) fs().rmSync(actual.unix, { force: true });
  reporter.event("stopped", { requests: pool.metrics.latency.count });
  return 0;
}

function metricsServer(wanted: Wanted, pool: Pool): Bun.Server<undefined> {
  const address = resolveAddress({ host: "127.0.0.1", port: 0, ...wanted }, undefined);
  return listen(address, "metrics", metricsHandler(pool.metrics));
}
