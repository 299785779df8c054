/** What of a snapshot's file is read before it goes on, what behind, and what was recorded to be read first. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Fork, Machine, PristineError, Snapshot } from "../../src/index.ts";
import { inspectSnapshot } from "../../src/saved.ts";
import { SnapshotFile as WholeFile } from "./file.ts";
import { asOlderVersion, SnapshotFile } from "./lies.ts";

setDefaultTimeout(process.env.PRISTINE_LANE === undefined ? 60_000 : 600_000);
const guest = (name: string) => join(import.meta.dir, "../../zig-out/guests", name);
const permissions = { read: [join(import.meta.dir, "../../zig-out/guests")] };
const folder = mkdtempSync(join(tmpdir(), "pristine-loading-"));
const [plain, recorded] = [join(folder, "plain.snap"), join(folder, "recorded.snap")];
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What requests do. */
function use(fork: Fork): void {
  expect(fork.call("add", 2, 3)).toBe(5);
  fork.call("counter");
}

beforeAll(async () => {
  await using machine = await Machine.boot(guest("functions"), { stdout: "ignore", stderr: "ignore" });
  using image = machine.freeze();
  await image.save(plain);
  using recording = await Snapshot.open(plain, { permissions, record: true });
  for (let requests = 2; requests > 0; requests--) {
    using fork = recording.fork();
    use(fork);
    fork.reset();
  }
  await recording.save(recorded);
});

/** The frames of the pages, in the order of the file. */
function framesOf(path: string): number[] {
  const file = new SnapshotFile(new Uint8Array(readFileSync(path)));
  const { offset, length } = file.section("runs");
  const runs = new Uint32Array(file.bytes.slice(offset, offset + length).buffer);
  const frames: number[] = [];
  for (let at = 0; at < runs.length; at += 2)
    for (let index = 0; index < (runs[at + 1] as number); index++) frames.push((runs[at] as number) + index);
  return frames;
}

describe("a recording", () => {
  test("puts what was used first, and loses nothing", () => {
    const [before, after] = [inspectSnapshot(plain).memory, inspectSnapshot(recorded).memory];
    expect(after.pages).toBe(before.pages);
    // Tables alone are hot where nothing has been asked yet; the calls used the page of their code.
    expect(after.hotPages).toBeGreaterThan(before.hotPages);
    expect(after.hotPages).toBeLessThan(after.pages);
    const [one, other] = [framesOf(plain), framesOf(recorded)];
    expect(other).not.toEqual(one);
    expect(new Set(other)).toEqual(new Set(one));
    expect(other.slice(0, before.hotPages)).toEqual(one.slice(0, before.hotPages));
  });

  test("lets a fork do what was done without a fault more than in memory, also once it was put back", async () => {
    await using machine = await Machine.boot(guest("functions"), { stdout: "ignore", stderr: "ignore" });
    using inMemory = machine.freeze();
    using image = await Snapshot.open(recorded, { permissions });
    const costs = [inMemory, image].map((from) => {
      using fork = from.fork();
      return [0, 1].map(() => {
        const before = fork.counters();
        expect(fork.call("add", 2, 3)).toBe(5);
        const { exits, faults } = fork.counters();
        fork.reset();
        return [exits - before.exits, faults - before.faults];
      });
    });
    expect(costs[1]).toEqual(costs[0] as number[][]);
  });

  test("sees each first use, and goes on for all forks until it is saved", async () => {
    using recording = await Snapshot.open(recorded, { permissions, record: true });
    const faultsOfCall = () => {
      using fork = recording.fork();
      const before = fork.counters().faults;
      use(fork);
      return fork.counters().faults - before;
    };
    // A fork finds what another has used without a fault of its own only when the tables lead there again.
    const first = faultsOfCall();
    expect(faultsOfCall()).toBe(first);
    await recording.save(join(folder, "again.snap"));
    expect(faultsOfCall()).toBeLessThan(first);
    expect(framesOf(join(folder, "again.snap"))).toEqual(framesOf(recorded));
  });

  test("of nothing leaves the file as it was", async () => {
    using recording = await Snapshot.open(recorded, { permissions, record: true });
    await recording.save(join(folder, "same.snap"));
    expect(framesOf(join(folder, "same.snap"))).toEqual(framesOf(recorded));
    // What is written, too.
    const [one, other] = [recorded, join(folder, "same.snap")].map((path) => new WholeFile(path).stateButClocks());
    expect((one as Buffer).equals(other as Buffer)).toBe(true);
    expect(inspectSnapshot(join(folder, "same.snap")).memory).toEqual(inspectSnapshot(recorded).memory);
  });
});

describe("damage that is met late", () => {
  const damaged = join(folder, "damaged.snap");
  const forked = async (): Promise<Snapshot> => {
    const bytes = readFileSync(plain);
    const { offset, length } = new SnapshotFile(new Uint8Array(bytes)).section("pages");
    // All pages of the last group, so that whatever is used of it is damaged.
    for (let at = offset + length - 4096; at >= offset + inspectSnapshot(plain).memory.hotPages * 4096; at -= 4096)
      bytes.writeUInt8(bytes.readUInt8(at + 100) ^ 1, at + 100);
    writeFileSync(damaged, bytes);
    return await Snapshot.open(damaged, { permissions });
  };
  const refusal = (what: () => unknown): unknown => {
    try {
      return what();
    } catch (error) {
      return PristineError.is(error, "SNAPSHOT_INVALID") ? error.details.section : error;
    }
  };

  test("is nobody's to see, and what cannot be is an error that says so", async () => {
    using image = await forked();
    using fork = image.fork();
    const address = fork.symbol("counter_value") as number;
    expect(refusal(() => fork.memory.read(address, 8))).toBe("pages");
    expect(refusal(() => fork.call("add", 2, 3))).toBe("pages");
    using other = image.fork();
    expect(refusal(() => other.freeze())).toBe("pages");
    expect(refusal(() => other.memory.view(address, 8))).toBe("pages");
    // Others have nothing to do with it.
    using whole = await Snapshot.open(plain, { permissions });
    using sound = whole.fork();
    expect(sound.call("add", 2, 3)).toBe(5);
  });
});

test("a fork of a fork that was frozen while it was recorded or loaded has all of its memory", async () => {
  for (const options of [{ record: true }, { verify: "lazy" }] as const) {
    // Its program may not be read, so that it cannot come from its file again.
    using image = await Snapshot.open(plain, { permissions: {}, ...options });
    using fork = image.fork();
    if (!("record" in options)) fork.call("counter");
    using again = fork.freeze();
    using another = again.fork();
    expect(another.call("counter")).toEqual(fork.call("counter"));
    expect(another.call("add", 7, 8)).toBe(15);
    await again.save(join(folder, "frozen.snap"));
    using opened = await Snapshot.open(join(folder, "frozen.snap"), { permissions: {} });
    using last = opened.fork();
    expect(last.call("add", 7, 8)).toBe(15);
  }
});

test.each(["lazy", "full", "trusted"] as const)("a file of version 1.0 goes on (%s)", async (verify) => {
  const old = join(folder, "old.snap");
  writeFileSync(old, asOlderVersion(new SnapshotFile(new Uint8Array(readFileSync(recorded)))));
  expect(inspectSnapshot(old)).toMatchObject({ format: { major: 1, minor: 0 }, memory: { hotPages: 0 } });
  using image = await Snapshot.open(old, { permissions, verify });
  using fork = image.fork();
  expect(fork.call("add", 2, 3)).toBe(5);
  // And is saved as this version's.
  await image.save(join(folder, "newer.snap"));
  expect(inspectSnapshot(join(folder, "newer.snap")).format.minor).toBeGreaterThan(0);
});
