/** The machines of `--remote`, each ready to be called before the main program runs. */
import { endedEarly, PristineError } from "../errors.ts";
import { bootTimeoutMs } from "../http/warmup.ts";
import { Machine } from "../machine.ts";
import type { Snapshot } from "../snapshot.ts";
import type { RemoteOption } from "../types.ts";
import type { RunSettings } from "./options.ts";
import { findProgram, workingDirectory } from "./program.ts";
import type { WantedRemote } from "./remotes.ts";

/** Remotes that are ready, until they are disposed of. */
export class BootedRemotes implements Disposable {
  readonly options: Readonly<Record<string, RemoteOption>>;

  constructor(options: Readonly<Record<string, RemoteOption>>) {
    this.options = options;
  }

  /** Connects the later forks of a snapshot to them. */
  connectTo(image: Snapshot): void {
    for (const [name, { machine, ...how }] of Object.entries(this.options)) image.connect(machine, { name, ...how });
  }

  [Symbol.dispose](): void {
    for (const { machine } of Object.values(this.options)) machine.close();
  }
}

/** Whose words an error is about. */
function named(error: unknown, { name, program }: WantedRemote): unknown {
  if (!PristineError.is(error)) return error;
  const { code, message, hint, details } = error;
  return new PristineError(code, `--remote ${name}=${program}: ${message}`, hint, details, { cause: error });
}

async function boot(wanted: WantedRemote, settings: RunSettings): Promise<Machine> {
  const machine = await Machine.boot(findProgram("run", [wanted.program]), {
    ...{ remote: true, argv0: wanted.program, env: settings.env, cwd: workingDirectory(settings), memory: settings.memory },
    ...{ permissions: settings.permissions, volumes: settings.volumes, verbose: settings.verbose },
    ...{ stdin: "ignore", stdout: "inherit", stderr: "inherit", timeout: bootTimeoutMs },
  });
  try {
    const stop = await machine.run({ until: "ready" });
    if (stop.reason === "ready") return machine;
    throw endedEarly(stop, {
      ...{ who: "the remote", when: "before it was ready", report: machine.report() },
      hint: "a remote exports its functions and calls pristine_ready(), or waits by pristine_wait()",
    });
  } catch (error) {
    machine.close();
    throw error;
  }
}

/** Boots the remotes of a command line, with what it grants, and runs each until it is ready. */
export async function bootRemotes(settings: RunSettings): Promise<BootedRemotes> {
  const options: Record<string, RemoteOption> = {};
  const booted = new BootedRemotes(options);
  for (const wanted of settings.remotes) {
    try {
      options[wanted.name] = { machine: await boot(wanted, settings), mode: wanted.mode, exitless: wanted.exitless };
    } catch (error) {
      booted[Symbol.dispose]();
      throw named(error, wanted);
    }
  }
  return booted;
}
