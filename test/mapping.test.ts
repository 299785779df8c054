/** Mapped files: what a program sees of them, in a machine as natively, and in forks of it. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine, type Snapshot } from "../src/index.ts";
import { difference } from "../src/testing.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(240_000);

const program = join(import.meta.dir, "../zig-out/guests/mapping");
const rounds = Math.max(10, Math.round(200 * Number(process.env.TEST_SCALE ?? 1)));
let root = "";

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "pristine-mapping-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function folder(): string {
  return mkdtempSync(join(root, "run-"));
}

async function booted(dir: string): Promise<{ vm: Machine; text: string }> {
  const vm = await Machine.boot(program, { args: [dir], permissions: { read: [dir], write: [dir] }, timeout: 60_000 });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  expect(stop).toMatchObject({ reason: "exit", exitCode: 0 });
  return { vm: vm as Machine, text };
}

const natively = (dir: string) => Bun.spawnSync([program, dir], { stdout: "pipe" }).stdout.toString();

test("a program sees of mapped files what it sees natively, faults and system calls included", async () => {
  const { vm, text } = await booted(folder());
  vm.close();
  expect(text).toBe(natively(folder()));
});

describe("forks", () => {
  let dir = "";
  let image: Snapshot;
  let before: Buffer;

  beforeAll(async () => {
    dir = folder();
    const { vm } = await booted(dir);
    image = vm.freeze();
    vm.close();
    before = readFileSync(join(dir, "mapped"));
  });
  afterAll(() => image.close());

  const request = (name: "map_request" | "kept_request", mode: "rewrite" | "full" | "auto") => {
    using fork = image.fork();
    using untouched = image.fork();
    const call = fork.fn(name, { args: ["i64"], returns: "u64" });
    const first = call(0);
    fork.reset({ mode });
    for (let which = 0; which < rounds; which++) {
      const result = call(which);
      // A shared mapping's sum is in the result of every third.
      if (name === "kept_request" || which % 3 !== 0) expect(result).toBe(name === "kept_request" ? first : call_plain);
      fork.reset({ mode });
      if (which % 20 === 0) expect(difference(fork, untouched)).toEqual([]);
    }
    expect(difference(fork, untouched)).toEqual([]);
    expect(readFileSync(join(dir, "mapped")).equals(before)).toBe(true);
  };
  let call_plain = 0n;

  test.each(["rewrite", "full", "auto"] as const)("a request that maps files leaves nothing behind (%s)", (mode) => {
    using plain = image.fork();
    call_plain = plain.fn("map_request", { args: ["i64"], returns: "u64" })(1);
    request("map_request", mode);
  });

  test.each(["rewrite", "full", "auto"] as const)("a private mapping that was frozen is the same in every request (%s)", (mode) =>
    request("kept_request", mode),
  );

  test.each(["rewrite", "full", "auto"] as const)(
    "nothing of random changes to mappings is there after a reset (%s)",
    (mode) => {
      using fork = image.fork();
      using untouched = image.fork();
      const state = fork.fn("area_state", { args: [], returns: "u64" });
      const request = fork.fn("area_request", { args: ["u64"], returns: "u64" });
      const expected = state();
      const seen = new Set<bigint>();
      for (let seed = 1; seed <= rounds / 10; seed++) {
        seen.add(request(BigInt(seed)));
        fork.reset({ mode });
        expect(state(), `after the request with seed ${seed}`).toBe(expected);
        if (seed % 2 === 0) fork.reset({ mode });
        if (seed % 4 === 0) expect(difference(fork, untouched)).toEqual([]);
      }
      expect(seen.size).toBeGreaterThan(rounds / 20);
      expect(readFileSync(join(dir, "mapped")).equals(before)).toBe(true);
    },
    120_000,
  );

  test("a shared mapping that was frozen is shared with the file, by every fork and over resets", () => {
    using one = image.fork();
    using two = image.fork();
    const write = one.fn("shared_request", { args: ["i64"], returns: "u64_fast" });
    const read = two.fn("shared_request", { args: ["i64"], returns: "u64_fast" });
    write(90);
    expect(read(-1)).toBe(90);
    one.reset();
    two.reset({ mode: "full" });
    expect(write(-1)).toBe(90);
    expect(read(-1)).toBe(90);
    expect(readFileSync(join(dir, "mapped"))[39 * 4096]).toBe(90);
    write(before[39 * 4096] as number);
  });
});

test("what is frozen does not depend on its files, whatever becomes of them", async () => {
  const dir = folder();
  const file = join(dir, "mapped");
  const { vm } = await booted(dir);
  using image = vm.freeze();
  vm.close();
  using fork = image.fork();
  const kept = fork.fn("kept_request", { args: ["i64"], returns: "u64" });
  const expected = kept(1);
  fork.reset();
  truncateSync(file, 10);
  expect(kept(3)).toBe(expected);
  fork.reset();
  writeFileSync(file, "something else");
  unlinkSync(file);
  expect(kept(3)).toBe(expected);
});

test("a file cut short under a program's own code is a signal of the guest, never of the host", async () => {
  const copy = join(folder(), "program");
  writeFileSync(copy, readFileSync(program), { mode: 0o755 });
  const dir = folder();
  await using vm = await Machine.boot(copy, { args: [dir], permissions: { read: [dir], write: [dir] } });
  truncateSync(copy, 4096);
  const stop = await vm.run();
  expect(stop).toMatchObject({ reason: "signal", signalCode: "SIGBUS" });
  // Its memory can still be looked at.
  expect(() => vm.memory.read(vm.symbol("map_request"), 16)).toThrow();
});

test("views of private mappings keep their bytes when the file is cut; shared mappings give none", async () => {
  const dir = folder();
  const { vm } = await booted(dir);
  const pointer = vm.symbol("kept_private");
  const address = Number(new DataView(vm.memory.read(pointer, 8).buffer).getBigUint64(0, true));
  const view = vm.memory.view(address + 8192, 4096);
  expect(view[0]).toBe("c".charCodeAt(0));
  truncateSync(join(dir, "mapped"), 0);
  expect(view[0]).toBe("c".charCodeAt(0));
  view[0] = 65;
  expect(vm.memory.read(address + 8192, 1)[0]).toBe(65);
  const shared = Number(new DataView(vm.memory.read(vm.symbol("kept_shared"), 8).buffer).getBigUint64(0, true));
  expect(() => vm.memory.view(shared, 4096)).toThrow();
  vm.close();
});

test("a file larger than the machine's memory can be gone through", async () => {
  const dir = folder();
  const large = join(dir, "large");
  const pages = 4096;
  const bytes = new Uint8Array(pages * 4096);
  let sum = 0n;
  for (let page = 0; page < pages; page++) bytes[page * 4096] = (page * 7) % 251;
  for (let at = 0; at < 2 * pages; at++) sum = BigInt.asUintN(64, sum * 31n + BigInt(bytes[(at % pages) * 4096] as number));
  writeFileSync(large, bytes);
  await using vm = await Machine.boot(program, {
    args: [dir],
    permissions: { read: [dir], write: [dir] },
    memory: "6MiB",
    timeout: 60_000,
  });
  const [stop] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  expect(stop.exitCode).toBe(0);
  expect(vm.fn("sum_pages", { args: ["cstring"], returns: "u64" })(large)).toBe(sum);
});

test.each([0, 1])("a guest cannot put a file under a view whose memory it has given up (shared: %d)", async (shared) => {
  const dir = folder();
  const { vm } = await booted(dir);
  const views = vm.memory.views(vm.symbol("viewed"), 4 << 20);
  for (const view of views) view.fill(7);
  expect(vm.fn("file_under_view", { args: ["i64"], returns: "u64" })(shared)).not.toBe(0n);
  expect(readFileSync(join(dir, "mapped"))).toHaveLength(0);
  // What the guest has taken back may have changed, but to touch it is no signal.
  for (const view of views) {
    for (let at = 0; at < view.length; at += 4096) view[at] = (view[at] as number) + 1;
  }
  expect(views[0]?.[0]).toBe(8);
  vm.close();
});

describe("what a guest may take of the host", () => {
  const errnoOf = (result: bigint) => Number(result >> 32n);
  const countOf = (result: bigint) => Number(result & 0xffffffffn);
  const hostMappings = () => readFileSync("/proc/self/maps", "utf8").split("\n").length;
  const hostDescriptors = () => readdirSync("/proc/self/fd").length;
  const [ENOMEM, ENFILE, EINVAL] = [12, 23, 22];
  let image: Snapshot;

  beforeAll(async () => {
    const { vm } = await booted(folder());
    image = vm.freeze();
    vm.close();
  });
  afterAll(() => image.close());

  test("descriptors: files that only mappings keep are as many as limits say", () => {
    using fork = image.fork({ timeout: 60_000 });
    const before = hostDescriptors();
    const result = fork.fn("map_many_files", { args: ["i64"], returns: "u64" })(6000);
    expect(errnoOf(result)).toBe(ENFILE);
    expect(countOf(result)).toBeWithin(4000, 4200);
    expect(hostDescriptors() - before).toBeLessThan(4200);
    fork.reset();
    // What was open of others may be closed meanwhile.
    expect(hostDescriptors()).toBeLessThanOrEqual(before);
  }, 60_000);

  test("mappings: shared ones are as many as limits say, however they are taken apart", () => {
    using fork = image.fork({ timeout: 60_000 });
    const before = hostMappings();
    const result = fork.fn("share_many_pages", { args: ["i64"], returns: "u64" })(6000);
    expect(errnoOf(result)).toBe(ENOMEM);
    expect(countOf(result)).toBeWithin(1000, 2100);
    expect(hostMappings() - before).toBeLessThan(4500);
    fork.reset();
    expect(() => fork.call("split_shared", 64)).toThrow();
    expect(hostMappings() - before).toBeLessThan(9000);
    fork.reset();
    expect(hostMappings() - before).toBeLessThan(50);
    expect(fork.fn("map_request", { args: ["i64"], returns: "u64" })(1)).toBeGreaterThan(0n);
  }, 60_000);

  test("an offset that no file has ends in an error", () => {
    using fork = image.fork();
    const result = fork.fn("far_offset", { args: [], returns: "u64" })();
    expect([countOf(result), errnoOf(result)]).toEqual([2, EINVAL]);
  });
});

test("machines with mapped files leave no descriptor and no mapping behind", async () => {
  const counts = () => [
    readdirSync("/proc/self/fd").length,
    readFileSync("/proc/self/maps", "utf8")
      .split("\n")
      .filter((line) => line.includes("/mapped")).length,
  ];
  const dir = folder();
  const round = async () => {
    const { vm } = await booted(dir);
    using image = vm.freeze();
    using fork = image.fork();
    fork.call("map_request", 3);
    vm.close();
  };
  // The first leaves spare virtual machines, which are kept.
  await round();
  const start = counts();
  for (let done = 0; done < 10; done++) await round();
  expect(counts()).toEqual(start);
  expect(existsSync(join(dir, "mapped"))).toBe(true);
}, 120_000);
