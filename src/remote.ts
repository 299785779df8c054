/** Connections: what a machine, or the forks of a snapshot, call remotes by. */
import { badOption } from "./errors.ts";
import { check, core, encode } from "./ffi/library.ts";
import { RemoteMode } from "./ffi/table.ts";
import { handleOf, type Machine } from "./machine.ts";
import type { ConnectOptions, Remotes } from "./types.ts";

/** @internal Who is connected, by its kind in the core. */
export const callers = { machine: 0, snapshot: 1 } as const;
type Kind = (typeof callers)[keyof typeof callers];

/**
 * A remote under the name by which a machine, or the forks of a snapshot, call it. Disposing of it takes the name away: forks that
 * were made before keep it.
 */
export class Remote implements Disposable {
  readonly machine: Machine;
  readonly name: string;
  readonly mode: NonNullable<ConnectOptions["mode"]>;
  readonly #leave: () => void;

  /** @internal */
  constructor(machine: Machine, name: string, mode: NonNullable<ConnectOptions["mode"]>, leave: () => void) {
    this.machine = machine;
    this.name = name;
    this.mode = mode;
    this.#leave = leave;
  }

  [Symbol.dispose](): void {
    this.#leave();
  }
}

/** @internal */
export function connect(kind: Kind, handle: number, machine: Machine, options: ConnectOptions = {}, isOpen = () => true): Remote {
  const { name = "remote", mode = "shared", forks = navigator.hardwareConcurrency, exitless = false } = options;
  const code = RemoteMode[mode];
  if (code === undefined) throw badOption("mode", `${mode} is not a way to connect`, 'use "shared", "fork" or "pool"');
  if (!Number.isInteger(forks) || forks < 1 || forks > 64)
    throw badOption("forks", `\`forks\` is ${forks}`, "give a whole number from 1 to 64");
  const bytes = encode(name);
  if (typeof exitless !== "boolean") throw badOption("exitless", `\`exitless\` is ${exitless}`, "give true or false");
  check(core().pristine_connect(kind, handle, handleOf(machine), bytes, bytes.length, code, forks, exitless ? 1 : 0));
  let left = false;
  return new Remote(machine, name, mode, () => {
    // What it was a connection of may be closed by now, and its handle another one's.
    if (!left && isOpen()) core().pristine_disconnect(kind, handle, bytes, bytes.length);
    left = true;
  });
}

/** @internal */
export function connectAll(kind: Kind, handle: number, remotes: Remotes = {}): void {
  for (const [name, remote] of Object.entries(remotes)) {
    if ("machine" in remote) connect(kind, handle, remote.machine, { ...remote, name });
    else connect(kind, handle, remote, { name });
  }
}
