/** What must hold on every kind of KVM: boots, calls, faults, limits, clocks and files, through the public API. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { Machine, PristineError } from "../src/index.ts";

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
// Emulation is slow; a limit here only keeps a hang from lasting for ever.
const patience = 120_000;
const relaxed = { timeout: 100_000, stderr: "ignore" } as const;

async function runGuest(name: string, args: string[] = []) {
  await using vm = await Machine.boot(guest(name), { args, ...relaxed });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  return { stop, text, counters: vm.counters() };
}

function native(name: string, args: string[] = []) {
  const done = Bun.spawnSync([guest(name), ...args], { env: {}, stdin: "ignore" });
  return { text: done.stdout.toString(), exitCode: done.exitCode, signalCode: done.signalCode ?? null };
}

// Programs whose output is the same wherever they run, so the native run says what is right.
const programs: [string, string[]][] = [
  ["hello", []],
  ["tls", []],
  ["vectors", []],
  ["segments", []],
  ["break", []],
  ["signals", []],
  ["functions", []],
  ["pie", []],
  ["sha256", ["1"]],
  ["matrix", ["2"]],
  ["sort", ["20"]],
  ["maps", ["150", "1"]],
  ["stack", ["4000"]],
  ["bare", ["x"]],
  ["ready", []],
];

for (const [name, args] of programs) {
  test(
    `${name} ${args.join(" ")} does what it does natively`,
    async () => {
      const expected = native(name, args);
      const { stop, text } = await runGuest(name, args);
      expect(text).toBe(expected.text);
      expect(stop.exitCode as number).toBe(expected.exitCode);
    },
    patience,
  );
}

// Not far-return: natively it brings QEMU's emulated kernel down, so there is nothing to compare with.
const faults = [
  "read-null",
  "write-code",
  "execute-data",
  "read-noncanonical",
  "stack-overflow",
  "divide-by-zero",
  "undefined",
  "breakpoint",
  "halt",
  "port-out",
  "interrupt-14",
  "write-msr",
];
for (const name of faults) {
  test(
    `the fault ${name} ends with the signal it has natively`,
    async () => {
      const expected = native("faults", [name]);
      const { stop } = await runGuest("faults", [name]);
      expect(stop.signalCode as string).toBe(expected.signalCode as string);
    },
    patience,
  );
}

test(
  "functions are called with integers, floats, strings and arrays, one exit each",
  async () => {
    await using vm = await Machine.boot(guest("functions"), relaxed);
    await vm.run();
    const add = vm.fn("add", { args: ["i64", "i64"], returns: "i64_fast" });
    expect(add(40, 2)).toBe(42);
    const before = vm.counters().exits;
    for (let i = 0; i < 10; i++) add(i, i);
    expect(vm.counters().exits - before).toBe(10);
    expect(vm.fn("addf", { args: ["f64", "f64"], returns: "f64" })(1.5, 2)).toBe(3.5);
    expect(vm.call("sum", new Uint8Array([1, 2, 3]), 3)).toBe(6);
    expect(await add.async([1, 2])).toBe(3);
    expect(vm.fn("largest", { returns: "u64" })()).toBe(2n ** 64n - 1n);
    // Numbers of the calls that a stub answers by itself.
    for (const result of [39, 186]) expect(add(result, 0)).toBe(result);
    expect(vm.fn("add", { args: ["u64", "u64"], returns: "u64" })(0x1234_5678_0000_0000n, 186n)).toBe(0x1234_5678_0000_00ban);
  },
  patience,
);

test(
  "a system call costs one exit",
  async () => {
    const few = (await runGuest("calls", ["100"])).counters;
    const many = (await runGuest("calls", ["1100"])).counters;
    expect(many.exits - few.exits).toBe(1000);
    expect(many.syscalls - few.syscalls).toBe(1000);
  },
  patience,
);

test(
  "the guest's stub answers getpid without an exit, with the number the VMM gives",
  async () => {
    await using vm = await Machine.boot(guest("calls"), { args: ["0"], ...relaxed });
    await vm.run();
    const before = vm.counters().exits;
    vm.call("make_short_calls", 1000);
    expect(vm.counters().exits - before).toBe(1);
    await using functions = await Machine.boot(guest("functions"), { ...relaxed, stdout: "ignore" });
    await functions.run();
    expect(functions.call("process_id")).toBe(1000);
  },
  patience,
);

test(
  "clock reads make no system call and time does not run back",
  async () => {
    const few = await runGuest("clock", ["1000"]);
    const many = await runGuest("clock", ["5000"]);
    expect(few.stop.exitCode).toBe(0);
    expect(many.stop.exitCode).toBe(0);
    // Two CPU-time clocks, which the vDSO does not have, are read a thousandth as often; all other reads make no call.
    expect(many.counters.syscalls - few.counters.syscalls).toBe(4000 / 500);
  },
  patience,
);

test(
  "an endless loop ends at its time limit and poisons the machine",
  async () => {
    await using vm = await Machine.boot(guest("endless"), { args: ["spin"], stderr: "ignore", timeout: 300 });
    const error = await vm.run().catch((caught) => caught);
    expect(PristineError.is(error, "TIMEOUT")).toBe(true);
    expect(vm.state).toBe("poisoned");
  },
  patience,
);

test(
  "memory without end stops at the ceiling",
  async () => {
    await using vm = await Machine.boot(guest("endless"), { args: ["map"], ...relaxed, memory: "32MiB" });
    const error = await vm.run().catch((caught) => caught);
    expect(PristineError.is(error, "OUT_OF_MEMORY")).toBe(true);
  },
  patience,
);

test(
  "files are closed by default and open where permitted",
  async () => {
    const folder = join(import.meta.dir, "..");
    const read = async (permissions: { read?: string[] }) => {
      await using vm = await Machine.boot(guest("files"), { args: ["read", join(folder, "LICENSE")], permissions, ...relaxed });
      return await Promise.all([vm.run(), new Response(vm.stdout).text()]);
    };
    const [denied] = await read({});
    expect(denied.exitCode).not.toBe(0);
    const [allowed, text] = await read({ read: [folder] });
    expect(allowed.exitCode).toBe(0);
    const { size } = Bun.file(join(folder, "LICENSE"));
    expect(text).toContain(`LICENSE: ${size} bytes`);
  },
  patience,
);

test(
  "views of guest memory are live and become empty at the end",
  async () => {
    const vm = await Machine.boot(guest("functions"), relaxed);
    await vm.run();
    const address = vm.memory.allocate(64);
    const view = vm.memory.view(address, 64);
    view[3] = 7;
    expect(vm.call("sum", address, 64)).toBe(7);
    vm.close();
    expect(view.length).toBe(0);
  },
  patience,
);
