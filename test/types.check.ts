/** Types of the public API, checked by `tsc`: nothing here runs. */
import type { Counters, ExitStop, GuestFunction, Machine, PristineError, Stop } from "../src/index.ts";
import { isolate, Machine as MachineClass } from "../src/index.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function assertType<T extends true>(): T | undefined {
  return undefined;
}

export async function streams() {
  const piped = await MachineClass.boot("x");
  assertType<Equal<typeof piped.stdout, ReadableStream<Uint8Array<ArrayBuffer>>>>();
  assertType<Equal<typeof piped.stderr, undefined>>();
  assertType<Equal<typeof piped.stdin, undefined>>();
  const other = await MachineClass.boot("x", { stdin: "pipe", stdout: "ignore", stderr: "pipe" });
  assertType<Equal<typeof other.stdin, Bun.FileSink>>();
  assertType<Equal<typeof other.stdout, undefined>>();
  assertType<Equal<typeof other.stderr, ReadableStream<Uint8Array<ArrayBuffer>>>>();
  // @ts-expect-error a size has a known unit
  await MachineClass.boot("x", { memory: "5 bananas" });
  // @ts-expect-error machines are booted, not constructed
  new MachineClass();
}

export async function stops(vm: Machine) {
  assertType<Equal<Awaited<ReturnType<typeof vm.run>>, Stop>>();
  const ended = await vm.run();
  assertType<Equal<typeof ended, ExitStop>>();
  const ready = await vm.run({ until: "ready" });
  assertType<Equal<typeof ready, Stop>>();
  // @ts-expect-error there is no such stop point
  await vm.run({ until: "later" });
}

export async function functions(vm: Machine) {
  const add = vm.fn("add", { args: ["i64", "i64"], returns: "i64" });
  assertType<Equal<typeof add, GuestFunction<{ readonly args: readonly ["i64", "i64"]; readonly returns: "i64" }>>>();
  const sum: bigint = add(1, 2n);
  const later: Promise<bigint> = add.async([1, 2], { timeout: 5 });
  const text: string = vm.fn("greeting", { returns: "cstring" })();
  const nothing: undefined = vm.fn("nothing", {})();
  const flag: boolean = vm.fns({ is_odd: { args: ["i32"], returns: "bool" } }).is_odd(1);
  // @ts-expect-error too few arguments
  add(1);
  // @ts-expect-error a string is not an integer
  add("1", 2);
  // @ts-expect-error a buffer cannot be returned
  vm.fn("x", { returns: "buffer" });
  // @ts-expect-error the short form takes no objects
  vm.call("x", {});
  return [sum, await later, text, nothing, flag];
}

export function errors(error: unknown, is: typeof PristineError.is, counters: Counters) {
  if (is(error, "TIMEOUT")) {
    const kind: "wall" | "cpu" = error.details.kind;
    // @ts-expect-error details belong to their code
    error.details.path;
    return kind;
  }
  // @ts-expect-error counters are read-only
  counters.exits = 1;
  return undefined;
}

export async function handlers() {
  await using app = await isolate("./handler.ts", { runtime: "deno", forks: 4, warmup: 0, permissions: { read: ["/data"] } });
  await using own = await isolate(new URL("file:///handler.ts"), { runtime: { path: "/opt/node", args: ["--jitless"] } });
  const handler: (request: Request) => Promise<Response> = app.fetch;
  // @ts-expect-error there is no such runtime
  isolate("./handler.ts", { runtime: "perl" });
  return [handler, own.fetch];
}
