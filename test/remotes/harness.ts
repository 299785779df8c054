/** What the tests of remotes share: a remote and a caller of the samples, and errors as values. */
import { expect } from "bun:test";
import { join } from "node:path";
import { Machine, PristineError, type Remote } from "../../src/index.ts";

export const guest = (name: string) => join(import.meta.dir, "../../zig-out/guests", name);
export const letter = (text: string) => text.charCodeAt(0);
export const quiet = { stdout: "ignore", stderr: "ignore" } as const;

export async function bootRemote(...args: string[]) {
  const remote = await Machine.boot(guest("remote"), { remote: true, args, ...quiet });
  expect(await remote.run({ until: "ready" })).toEqual({ reason: "ready" });
  return remote;
}

export async function bootCaller(remotes: Record<string, Machine | Remote>) {
  const caller = await Machine.boot(guest("caller"), { remotes, ...quiet });
  await caller.run({ until: "ready" });
  return caller;
}

/** Calls a function of a remote, as `NAME:FUNCTION`, by the caller's own function for that. */
export const invoke = (machine: Machine, name: string, ...args: (number | bigint)[]) =>
  machine.call("invoke", name, ...[...args, 0, 0, 0, 0, 0].slice(0, 5));

export const errorOf = (action: () => unknown): PristineError => {
  try {
    action();
  } catch (error) {
    if (PristineError.is(error)) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
};

/** Waits until so many calls have got into a remote behind `before`, each of which makes it sleep first. */
export async function areInside(remote: Machine, before: number, calls = 1): Promise<void> {
  while (remote.counters().syscalls < before + calls) await Bun.sleep(1);
}

export const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "nothing was thrown",
    (error) => error,
  );
