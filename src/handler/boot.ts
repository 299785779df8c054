/** Boots a runtime with a handler in it, warms it, and brings it to the point where it is frozen. */
import type { Spawn } from "bun";
import { endedEarly, PristineError } from "../errors.ts";
import { check, core } from "../ffi/library.ts";
import { livingImage } from "../freezing.ts";
import { bootTimeoutMs, idle, warmUp } from "../http/warmup.ts";
import { fs } from "../lazy.ts";
import { handleOf, Machine, stepOf } from "../machine.ts";
import type { Serving } from "../pool.ts";
import type { Snapshot } from "../snapshot.ts";
import type { BootOptions, Volume } from "../types.ts";
import { bundleHandler, bundleShim } from "./bundle.ts";
import { channelPort, type Told, toGuest } from "./kinds.ts";
import { Positions } from "./positions.ts";
import { opensslConfiguration, opensslPath, type Runtime, shown } from "./runtime.ts";
import { emptyFrame, FrameWire, handlerFailed, Readiness, type Tell } from "./wire.ts";

export { runtimeOf } from "./runtime.ts";

const channelPath = "/dev/pristine";
/** Runtimes reserve much more than they use. */
const memoryDefault = "2GiB";
/** Of the requests of the warm-up, those behind the collection of garbage. */
const lastRequests = 2;
const receiveBytes = 64 * 1024;
const beforeServing = {
  who: "the runtime",
  when: "before it served",
  hint: "see its standard error, or run the handler without Pristine",
};

/** What a machine with a handler is made from. */
export interface HandlerBoot
  extends Pick<
    BootOptions<"ignore", Spawn.Readable, Spawn.Readable>,
    "verbose" | "env" | "cwd" | "memory" | "permissions" | "volumes" | "stdout" | "stderr" | "signal" | "jail" | "worker" | "remotes"
  > {
  readonly file: string;
  readonly runtime: Runtime;
  readonly warmup: number;
}

/** The handler failed: its error is the cause, with positions in the user's files. */
function teller(positions: Positions): Tell {
  return (told: Told) => handlerFailed(told, positions.inStack(told.stack));
}

/** Files that are in memory alone, shown in the machine. */
class ShownFiles implements Disposable {
  readonly volumes: Volume[] = [];

  add(guest: string, text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.volumes.push({ host: guest, guest, fd: check(core().pristine_image(bytes, bytes.length)) });
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.volumes) fs().closeSync(fd as number);
  }
}

export async function bootHandler(options: HandlerBoot): Promise<{ image: Snapshot; serving: Serving }> {
  const { file, runtime } = options;
  const [bundle, shim] = await Promise.all([bundleHandler(file, runtime.name, runtime.handler), bundleShim(runtime.name)]);
  const tell = teller(new Positions(bundle, runtime.handler));
  using files = new ShownFiles();
  files.add(shown.shim, shim);
  files.add(shown.handler, bundle);
  files.add(opensslPath, opensslConfiguration);
  const machine = await Machine.boot(runtime.path, {
    args: [...runtime.args, channelPath, runtime.handler, file],
    env: { ...runtime.env, ...options.env },
    cwd: options.cwd,
    memory: options.memory ?? memoryDefault,
    permissions: options.permissions,
    volumes: [...(options.volumes ?? []), ...files.volumes],
    stdin: "ignore",
    stdout: options.stdout ?? "inherit",
    stderr: options.stderr ?? "inherit",
    timeout: bootTimeoutMs,
    verbose: options.verbose,
    inside: true,
    jail: options.jail,
    worker: options.worker ?? false,
    remotes: options.remotes,
  });
  try {
    const connection = await untilReady(machine, tell, options.signal);
    const last = Math.min(options.warmup, lastRequests);
    await warmUpTimes(machine, connection, tell, options.warmup - last, true);
    await settle(machine, connection, tell);
    // What the first requests behind a collection cost is not to be every fork's.
    await warmUpTimes(machine, connection, tell, last, false);
    await idle(machine);
    const wire = (request: Request) => new FrameWire(request, tell, false);
    const goOn = async () => {
      await warmUpTimes(machine, connection, tell, 1, false);
      await idle(machine);
    };
    // Without a warm-up nobody wants a request, not even in a fork.
    const image = options.warmup === 0 ? machine.freeze() : await livingImage(machine, { connection, port: channelPort, wire }, goOn);
    return { image, serving: { address: { unix: channelPath }, port: channelPort, connection, wire } };
  } finally {
    machine.close();
  }
}

/** Runs the machine until the shim says that it waits; the number of its connection. */
async function untilReady(machine: Machine, tell: Tell, signal?: AbortSignal): Promise<number> {
  const readiness = new Readiness(tell);
  for (;;) {
    const step = await stepOf(machine, bootTimeoutMs, signal);
    const opened = core().pristine_connection_open(handleOf(machine), channelPort);
    if (opened >= 0) take(machine, opened, readiness);
    if (readiness.isReady) return opened;
    if (step.reason !== "idle") throw endedEarly(step, beforeServing);
  }
}

function take(machine: Machine, connection: number, readiness: Readiness): void {
  const bytes = new Uint8Array(receiveBytes);
  for (;;) {
    const count = core().pristine_connection_receive(handleOf(machine), connection, bytes, receiveBytes);
    if (count <= 0) return;
    readiness.feed(bytes.subarray(0, count));
  }
}

async function warmUpTimes(machine: Machine, connection: number, tell: Tell, count: number, hasTurns: boolean): Promise<void> {
  const wire = (request: Request) => new FrameWire(request, tell, hasTurns);
  for (let done = 0; done < count; done++) {
    try {
      await warmUp(machine, { connection, port: channelPort, wire });
    } catch (error) {
      // A handler may well refuse such a request; that warms it too.
      if (!(error instanceof PristineError && error.cause instanceof Error) || machine.state !== "stopped") throw error;
    }
  }
}

/** Collects garbage, and leaves the machine where the next request is waited for. */
async function settle(machine: Machine, connection: number, tell: Tell): Promise<void> {
  const frame = emptyFrame(toGuest.settle);
  check(core().pristine_connection_send(handleOf(machine), connection, frame, frame.length));
  const readiness = new Readiness(tell);
  while (!readiness.isReady) {
    const step = await stepOf(machine, bootTimeoutMs);
    take(machine, connection, readiness);
    if (step.reason !== "idle" && !readiness.isReady) throw endedEarly(step, beforeServing);
  }
}
