/** `isolate()`: a server of which every request gets a fresh copy. */
import { badOption, endedEarly, PristineError } from "./errors.ts";
import { check, core } from "./ffi/library.ts";
import { bestImage, instantsFor, requestsBetween } from "./freezing.ts";
import { bootTimeoutMs, idle, warmUp } from "./http/warmup.ts";
import { path } from "./lazy.ts";
import { handleOf, Machine, restOf } from "./machine.ts";
import { forksDefault, type Origin, Pool, positive } from "./pool.ts";
import { doubled, workersFor } from "./processes.ts";
import type { Snapshot } from "./snapshot.ts";
import "./snapshot.ts";
import type { HandlerOptions, MachineOptions, PoolOptions } from "./types.ts";

const warmupDefault = 20;
const beforeListening = {
  who: "the server",
  when: "before it listened",
  hint: "run it by itself; `verbose` (--verbose) tells what was refused to it",
};

export type ServerOptions = PoolOptions &
  MachineOptions & {
    argv0?: string | undefined;
    program: string;
    args?: readonly string[];
    /** The port at which it listens inside its machine; without it, the first at which it does. */
    port?: number;
    /** A connection that is there already (default), or a new one for each request. */
    connection?: "kept" | "fresh";
  };

/**
 * Bundles a module whose default export is `(request: Request) => Response | Promise<Response>`, or an object with such a function
 * `fetch`, loads it in an unmodified JavaScript runtime, warms it with requests, and freezes it; every request to the pool's
 * `fetch` gets a fork of it. It has the permissions that it is given, none by default.
 *
 * @example
 * await using app = await isolate("./handler.ts", { runtime: "deno", timeout: 1_000 });
 * Bun.serve({ fetch: app.fetch });
 * @throws `BUNDLE_FAILED`, `NOT_FOUND`; `GUEST_EXIT` when the module cannot be loaded, with its error as the cause
 */
export function isolate(handler: string | URL, options?: HandlerOptions): Promise<Pool>;
/**
 * Boots an HTTP server until it listens, warms it with requests, and freezes it; every request to the pool's `fetch` gets a fork
 * of it. The server listens inside its machine and needs no `listen` permission.
 *
 * @example
 * await using web = await isolate({ program: "/usr/bin/python3", args: ["server.py"], permissions: { read: true } });
 * Bun.serve({ fetch: web.fetch });
 */
export function isolate(server: ServerOptions): Promise<Pool>;
export function isolate(given: string | URL | ServerOptions, options: HandlerOptions = {}): Promise<Pool> {
  if (typeof given === "string" || given instanceof URL) return isolateHandler(given, options);
  return isolateServer(given);
}

async function isolateHandler(handler: string | URL, options: HandlerOptions): Promise<Pool> {
  // Servers need none of it.
  const { bootHandler, runtimeOf } = await import("./handler/boot.ts");
  const file = handler instanceof URL ? Bun.fileURLToPath(handler) : path().resolve(handler);
  const { permissions, env, cwd, memory, volumes, stdout, stderr, signal, verbose, jail, remotes } = options;
  const runtime = runtimeOf(options.runtime);
  const warmup = warmupOf(options);
  return poolOf(options, async (workers) => {
    const { image, serving } = await bootHandler({
      ...{ file, runtime, warmup, permissions, env, cwd, memory, volumes, stdout, stderr, signal, verbose, jail, remotes },
      worker: workers > 0,
    });
    return { images: doubled(image, workers), serving };
  });
}

/** A pool of what `make` boots, in so many worker processes; it boots it again when they have ended. */
async function poolOf(options: PoolOptions & MachineOptions, make: (workers: number) => Promise<Origin>): Promise<Pool> {
  const { remotes = {}, ...ofForks } = options;
  const forks = positive(options.forks, forksDefault, "forks");
  // Remotes are called in this process only.
  const workers = Object.keys(remotes).length > 0 && !options.jail ? 0 : workersFor({ forks, jail: Boolean(options.jail) });
  const origin = await make(workers);
  for (const image of origin.images) image.serving = origin.serving;
  // Its machine was connected before it ran, and its forks are as it was.
  return new Pool(origin.images[0] as Snapshot, ofForks, origin, workers > 0 ? () => make(workers) : undefined);
}

function warmupOf({ warmup = warmupDefault }: PoolOptions): number {
  if (Number.isInteger(warmup) && warmup >= 0) return warmup;
  throw badOption("warmup", `\`warmup\` is ${warmup}`, "give `warmup` a whole number of at least 0");
}

function isolateServer(options: ServerOptions): Promise<Pool> {
  return poolOf(options, (workers) => bootServer(options, workers));
}

/** @internal The image of a server that waits for requests, for who saves it. */
export async function serverImage(options: ServerOptions): Promise<Snapshot> {
  const { images, serving } = await bootServer(options, 0);
  const image = images[0] as Snapshot;
  image.serving = serving;
  return image;
}

async function bootServer(options: ServerOptions, workers: number): Promise<Origin> {
  const machine = await Machine.boot(options.program, {
    args: options.args,
    argv0: options.argv0,
    env: options.env,
    cwd: options.cwd,
    memory: options.memory,
    permissions: options.permissions,
    volumes: options.volumes,
    verbose: options.verbose,
    stdin: "ignore",
    stdout: options.stdout ?? "inherit",
    stderr: options.stderr ?? "inherit",
    timeout: bootTimeoutMs,
    inside: true,
    jail: options.jail,
    worker: workers > 0,
    remotes: options.remotes,
  });
  try {
    const stop = await machine.run({ until: "listen", signal: options.signal });
    if (stop.reason !== "listen") throw endedEarly(stop, { ...beforeListening, report: machine.report() });
    if (!("port" in stop.address) && options.port === undefined)
      throw new PristineError("UNSUPPORTED", `the server listens at unix:${stop.address.unix}`, "let it listen on a TCP port", {
        feature: "unix",
      });
    const port = options.port ?? ("port" in stop.address ? stop.address.port : 0);
    const warmup = warmupOf(options);
    const instants = instantsFor(warmup);
    const ahead = (instants - 1) * requestsBetween;
    let least = Number.POSITIVE_INFINITY;
    const warm = async (requests: number, connection: number) => {
      for (let left = requests; left > 0; left--) least = Math.min(least, await warmUp(machine, { connection, port }));
    };
    await warm(warmup - ahead, 0);
    const connection = options.connection === "fresh" ? 0 : await keptConnection(machine, port);
    await idle(machine);
    const serving = { connection, port };
    const goOn = async () => {
      await warm(requestsBetween, connection);
      await idle(machine);
    };
    const image =
      warmup === 0
        ? machine.freeze()
        : await bestImage(
            {
              ...{ machine, serving, goOn },
              get least() {
                return least;
              },
            },
            instants,
          );
    // What the machine had of the host is not needed while its image is doubled.
    machine.close();
    return { images: doubled(image, workers), serving: { address: stop.address, port, connection } };
  } finally {
    machine.close();
  }
}

/** A connection that the server has accepted, has answered on once, and on which it waits; 0 if it does not keep any. */
async function keptConnection(machine: Machine, port: number): Promise<number> {
  const handle = handleOf(machine);
  const connection = check(core().pristine_connection_open(handle, port));
  try {
    await warmUp(machine, { connection, port });
  } catch {
    core().pristine_connection_end(handle, connection, 1);
    return 0;
  }
  // A server that has ended the connection keeps none.
  const left = core().pristine_connection_receive(handle, connection, new Uint8Array(1), 1);
  if (left === 0) return connection;
  core().pristine_connection_end(handle, connection, 1);
  await restOf(machine, bootTimeoutMs);
  return 0;
}
