/** Calling functions of a guest from TypeScript. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { Machine, PristineError } from "../src/index.ts";

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const boot = async (name = "functions", options: { timeout?: number } = {}) => {
  const vm = await Machine.boot(guest(name), { stdout: "ignore", stderr: "ignore", ...options });
  await vm.run();
  return vm;
};
const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return PristineError.is(error) ? error.code : String(error);
  }
  return "no error";
};

let vm: Machine;
beforeAll(async () => {
  vm = await boot();
});
afterAll(() => vm.close());

test("every type of argument and result", () => {
  const f = vm.fns({
    add: { args: ["i64", "i64"], returns: "i64" },
    addf: { args: ["f64", "f64"], returns: "f64" },
    addf32: { args: ["f32", "f32"], returns: "f32" },
    negate: { args: ["i32"], returns: "i32" },
    largest: { returns: "u64" },
    is_odd: { args: ["i32"], returns: "bool" },
    sum: { args: ["buffer", "u32"], returns: "i32" },
    strlen_: { args: ["cstring"], returns: "u64_fast" },
    greeting: { returns: "cstring" },
    counter_address: { returns: "ptr" },
    nothing: {},
  });
  expect(f.add(2n ** 62n, -1)).toBe(2n ** 62n - 1n);
  expect(f.add(-5, 3)).toBe(-2n);
  expect(f.addf(1.5, -3.25)).toBe(-1.75);
  expect(f.addf32(0.25, 2)).toBe(2.25);
  expect(f.negate(-(2 ** 31) + 1)).toBe(2 ** 31 - 1);
  expect(f.largest()).toBe(2n ** 64n - 1n);
  expect([f.is_odd(3), f.is_odd(4)]).toEqual([true, false]);
  expect(f.sum(new Uint8Array([250, 5, 1]), 3)).toBe(256);
  expect(f.sum(new Uint16Array([0x0101]), 2)).toBe(2);
  expect(f.strlen_("grüße")).toBe(7);
  expect(f.strlen_("")).toBe(0);
  expect(f.greeting()).toBe("grüße from the guest");
  expect(f.counter_address()).toBe(vm.symbol("counter_value"));
  expect(f.nothing()).toBeUndefined();
  expect(f.add.name).toBe("add");
  expect(f.add.address).toBe(vm.symbol("add"));
});

test("arguments beyond the registers go to the stack in order, and the stack is aligned", () => {
  const many = vm.fn("many_args", {
    args: ["i64", "i64", "i64", "i64", "i64", "i64", "i64", "i64", "f64", "f64", "f64", "f64", "f64", "f64", "f64", "f64", "f64", "f64"],
    returns: "f64",
  });
  expect(many(1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)).toBe(204 + 1000 * 385);
  const eight = vm.fn("eight_integers", { args: ["i64", "i64", "i64", "i64", "i64", "i64", "i64", "i64"], returns: "i64_fast" });
  expect(eight(1, 2, 3, 4, 5, 6, 7, 8)).toBe(204);
  expect(vm.call("stack_alignment")).toBe(8);
  expect(vm.fn("stack_alignment", { args: [], returns: "i32" })()).toBe(8);
  expect(vm.fn("use_stack", { args: ["u64"], returns: "u64_fast" })(512 * 1024)).toBe(512 * 1024);
});

test("the short form takes integers, bigints, strings and typed arrays, and refuses the rest", () => {
  expect(vm.call("add", 40, 2)).toBe(42);
  expect(vm.call("add", 2n ** 60n, 1)).toBe(2n ** 60n + 1n);
  expect(vm.call("strlen_", "twelve bytes")).toBe(12);
  expect(vm.call("sum", new Uint8Array([1, 2]), 2)).toBe(3);
  expect(codeOf(() => vm.call("add", 1.5, 2))).toBe("BAD_OPTION");
  expect(codeOf(() => vm.call("add", Number.NaN, 2))).toBe("BAD_OPTION");
  expect(codeOf(() => vm.call("add", {} as never, 2))).toBe("BAD_OPTION");
  expect(codeOf(() => vm.call("no_such_function"))).toBe("NO_SYMBOL");
  expect(codeOf(() => vm.fn("add", { args: ["i64"], returns: "i64" })(1.5))).toBe("BAD_OPTION");
  expect(codeOf(() => vm.fn("add", { args: ["nonsense" as never] }))).toBe("BAD_OPTION");
  expect(codeOf(() => (vm.fn("add", { args: ["i64", "i64"] }) as unknown as (a: number) => void)(1))).toBe("BAD_OPTION");
});

test("a call is one exit, and its data is staged without one", () => {
  const sum = vm.fn("sum", { args: ["buffer", "u32"], returns: "i32" });
  const bytes = new Uint8Array(1000).fill(1);
  sum(bytes, 1000);
  const before = vm.counters();
  for (let i = 0; i < 5; i++) expect(sum(bytes, 1000)).toBe(1000);
  const after = vm.counters();
  expect(after.exits - before.exits).toBe(5);
  expect(after.syscalls - before.syscalls).toBe(0);
  expect(codeOf(() => sum(new Uint8Array(600 * 1024), 1))).toBe("BAD_OPTION");
});

test("state of the guest lives on between calls; its heap and thread-local data work", () => {
  const first = vm.call("counter") as number;
  expect(vm.call("counter")).toBe(first + 1);
  const thread = vm.call("thread_counter") as number;
  expect(vm.call("thread_counter")).toBe(thread + 1);
  const block = vm.call("allocate", 100_000) as number;
  vm.memory.write(block, new Uint8Array(100_000).fill(2));
  expect(vm.call("sum", block, 100_000)).toBe(200_000);
  vm.call("release", block);
});

test("calls on a native thread leave the event loop free, one at a time", async () => {
  const spin = vm.fn("spin", { args: ["u64"], returns: "u64" });
  let ticks = 0;
  let counting = true;
  const count = () => {
    ticks++;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  const running = spin.async([30_000_000]);
  expect(vm.state).toBe("running");
  expect(codeOf(() => vm.call("counter"))).toBe("BUSY");
  expect(codeOf(() => vm.memory.read(vm.symbol("counter_value"), 8))).toBe("BUSY");
  const result = await running;
  counting = false;
  expect(ticks).toBeGreaterThan(10);
  expect(result).toBe(spin(30_000_000));
  expect(await Promise.all([1, 2].map(async (n) => n))).toEqual([1, 2]);
});

test("positions do not matter: the same functions in a position-independent program", async () => {
  using pie = await boot("functions-pie");
  expect(pie.call("add", 40, 2)).toBe(42);
  expect(pie.fn("greeting", { returns: "cstring" })()).toBe("grüße from the guest");
  expect(pie.call("thread_counter")).toBe(102);
});

test("a fault in a call is GUEST_FAULT with its place, and the machine needs another", async () => {
  for (const [name, signal] of [
    ["read_null", "SIGSEGV"],
    ["undefined_instruction", "SIGILL"],
    ["recurse_forever", "SIGSEGV"],
  ] as const) {
    using broken = await boot();
    let caught: unknown;
    try {
      broken.call(name);
    } catch (error) {
      caught = error;
    }
    if (!PristineError.is(caught, "GUEST_FAULT")) throw caught;
    expect(caught.details.signal).toBe(signal);
    expect(broken.state).toBe("poisoned");
    expect(codeOf(() => broken.call("counter"))).toBe("NEEDS_RESET");
    if (name === "read_null") {
      expect(caught.details.symbol).toMatch(/^read_null\+0x/);
      expect(caught.details.address).toBe(0);
      // For inspection its memory stays.
      expect(broken.memory.read(broken.symbol("counter_value"), 8).length).toBe(8);
    }
  }
});

test("an exit in a call is GUEST_EXIT with the status", async () => {
  using leaving = await boot();
  let caught: unknown;
  try {
    leaving.call("leave", 9);
  } catch (error) {
    caught = error;
  }
  expect(PristineError.is(caught, "GUEST_EXIT") && caught.details.exitCode).toBe(9);
});

test("a call ends at its time limit, on either kind of thread", async () => {
  using slow = await boot("functions", { timeout: 60 });
  expect(codeOf(() => slow.call("loop_forever"))).toBe("TIMEOUT");
  expect(slow.state).toBe("poisoned");
  using later = await boot();
  const error = await later
    .fn("loop_forever", {})
    .async([], { timeout: 50 })
    .catch((caught) => caught);
  expect(PristineError.is(error, "TIMEOUT") && error.details.kind).toBe("wall");
});

test("a call in the middle of a program leaves the program's registers and vectors alone", async () => {
  await using paused = await Machine.boot(guest("ready"), { stderr: "ignore" });
  const text = new Response(paused.stdout).text();
  expect(await paused.run({ until: "ready" })).toEqual({ reason: "ready" });
  expect(paused.state).toBe("stopped");
  const stop = await paused.run();
  expect(stop).toMatchObject({ reason: "exit", exitCode: 7 });
  const native = Bun.spawnSync([guest("ready")], { env: {} });
  expect(await text).toBe(native.stdout.toString());
});

test("a synchronous call may print more than a pipe holds", async () => {
  await using printing = await Machine.boot(guest("functions"));
  const drained = new Response(printing.stdout).text();
  await printing.run();
  await drained;
  const long = "x".repeat(100_000);
  expect(printing.call("print", long)).toBe(100_000);
});
