/** Private files: what a guest may write without any permission, and that nothing of it outlives its machine. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { type Fork, Machine, type Snapshot } from "../src/index.ts";
import { difference } from "../src/testing.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(240_000);

const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);
const openDescriptors = () => readdirSync("/proc/self/fd").length;
/** Private files of which this process holds the bytes: all, and those that this file's tests have made. */
const allContents = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("pristine-private");
    } catch {
      return false;
    }
  }).length;
let contentsBefore = 0;
const privateContents = () => allContents() - contentsBefore;

const tmpfsMagic = 0x01021994;
const hasTmpfs = existsSync("/dev/shm") && statfsSync("/dev/shm").type === tmpfsMagic;

let shown: string;
let hidden: string;
beforeAll(() => {
  contentsBefore = allContents();
  shown = mkdtempSync("/tmp/pristine-shown-");
  writeFileSync(join(shown, "file"), "the host's");
  hidden = mkdtempSync("/tmp/pristine-hidden-");
  writeFileSync(join(hidden, "file"), "a secret");
});
afterAll(() => {
  for (const path of [shown, hidden]) rmSync(path, { recursive: true, force: true });
});

async function output(args: string[], options: object = {}, program = "private"): Promise<string> {
  // From bytes: the path of a program that lies beneath /tmp itself would be seen there.
  await using vm = await Machine.boot(new Uint8Array(readFileSync(guest(program))), {
    args,
    stderr: "ignore",
    timeout: 60_000,
    ...options,
  });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  return stop.exitCode === 0 ? text : `${text}exit ${stop.exitCode}\n`;
}

test.if(hasTmpfs)("a program does the same in a private directory as in Linux's tmpfs", async () => {
  const directory = mkdtempSync("/dev/shm/pristine-native-");
  try {
    const native = Bun.spawnSync([guest("private"), "all", directory], { timeout: 20_000 }).stdout.toString();
    expect(native.split("\n").length).toBeGreaterThan(200);
    expect(native).toEndWith("rmdir(base): 0\n");
    for (const place of ["/tmp", "/var/tmp", "/dev/shm"]) expect(await output(["all", place])).toBe(native);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("permission bits hold for the guest's user", async () => {
  expect((await output(["modes", "/tmp"])).split("\n")).toEqual([
    'chmod("secret", 0): 0',
    'open("secret", O_RDONLY): EACCES',
    'access("secret", R_OK): EACCES',
    'truncate("secret", 0): EACCES',
    'chmod("secret", 0400): 0',
    'secret: "secret"',
    'open("secret", O_WRONLY): EACCES',
    'open("secret", O_RDONLY | O_TRUNC): EACCES',
    'mkdir("closed", 0500): 0',
    'mkdir("closed/inner", 0700): EACCES',
    'open("closed/file", O_WRONLY | O_CREAT, 0600): EACCES',
    'rename("secret", "closed/secret"): EACCES',
    'chmod("closed", 0200): 0',
    "closed/none: EACCES",
    "list closed: EACCES",
    'chdir("closed"): EACCES',
    'rename(".", "elsewhere") && errno == EBUSY: 1',
    "rmdir(base) && errno == EBUSY: 1",
    "unlink(base) && (errno == EBUSY || errno == EISDIR): 1",
    'chmod("closed", 0700): 0',
    'unlink("secret"): 0',
    'rmdir("closed"): 0',
    "",
  ]);
});

test("content is bounded: beyond 64 MiB there is no room, and what is removed and closed gives room", async () => {
  expect((await output(["fill", "/tmp"])).split("\n")).toEqual([
    "67108864 bytes, then ENOSPC",
    "ftruncate(fd, total + 1): ENOSPC",
    "fallocate(fd, 0, total, 1): ENOSPC",
    'pwrite(fd, "x", 1, total - 1): 1',
    "free 0",
    "ftruncate(fd, total - 8192): 0",
    "pwrite(fd, block, sizeof block, total - 8192): 8192",
    'unlink("full"): 0',
    "free while open 0",
    "free 67108864",
    "",
  ]);
  expect(privateContents()).toBe(0);
});

test("files and the host's descriptors for them are bounded", async () => {
  const text = await output(["many", "/var/tmp"]);
  const files = Number(/^(\d+) files, 1024 with content, then ENOSPC\n/.exec(text)?.[1]);
  // Beside the three folders there may be layers over programs' caches.
  expect(files).toBeLessThanOrEqual(16_381);
  expect(files).toBeGreaterThan(16_300);
  expect(text).toContain('mkdir("folder", 0700): ENOSPC\nsymlink("x", "link"): ENOSPC\nmkdir("folder", 0700): 0\n');
  expect(privateContents()).toBe(0);
}, 60_000);

const overlay = (options: object) => output(["overlay", "/tmp", basename(shown), basename(hidden)], options);
const withNames = (text: string) => text.replaceAll(basename(shown), "SHOWN").replaceAll(basename(hidden), "HIDDEN").split("\n");

test("what the permissions show of the host is there, to be read; all else is the guest's own", async () => {
  const text = withNames(await overlay({ permissions: { read: [shown] } }));
  expect(text).toEqual([
    "list .: [. 4] [.. 4] [SHOWN 4]",
    'SHOWN/file: "the host\'s"',
    "open(file, O_WRONLY): EACCES",
    "open(other, O_WRONLY | O_CREAT, 0600): EACCES",
    "mkdir(shown, 0700): EEXIST",
    "unlink(file): EACCES",
    "chmod(file, 0600): EACCES",
    "mkdir(other, 0700): EACCES",
    'own: "private"',
    'rename("own", other): EXDEV',
    'rename(file, "own"): EXDEV',
    'link(file, "linked"): EXDEV',
    'symlink(file, "to the host"): 0',
    'to the host: "the host\'s"',
    "HIDDEN/file: ENOENT",
    "HIDDEN: ENOENT",
    "mkdir(hidden, 0700): 0",
    'HIDDEN/file: "mine"',
    "list .: [. 4] [.. 4] [own 8] [HIDDEN 4] [SHOWN 4] [to the host 10]",
    "",
  ]);
  expect(readdirSync(shown)).toEqual(["file"]);
  expect(readFileSync(join(hidden, "file"), "utf8")).toBe("a secret");
});

test("without any permission nothing of the host's /tmp can be seen", async () => {
  const text = withNames(await overlay({}));
  expect(text[0]).toBe("list .: [. 4] [.. 4]");
  expect(text[1]).toBe("SHOWN/file: ENOENT");
  expect(text).toContain('HIDDEN/file: "mine"');
  expect(existsSync("/tmp/own")).toBe(false);
});

test("what may be written on the host is the host's, and so is a volume", async () => {
  const granted = mkdtempSync("/tmp/pristine-granted-");
  mkdirSync(join(granted, "closed"));
  try {
    const file = join(granted, "file");
    const options = { permissions: { write: [granted], deny: { write: [join(granted, "closed")] } } };
    expect(await output(["write", file, "by the guest"], options, "files")).toBe(`${file}: wrote 12 bytes\n`);
    expect(readFileSync(file, "utf8")).toBe("by the guest");
    const closed = join(granted, "closed/file");
    expect(await output(["write", closed, "x"], options, "files")).toBe(`${closed}: Permission denied\nexit 1\n`);
    const volumes = [{ host: granted, guest: "/tmp/volume", write: true }];
    expect(await output(["append", "/tmp/volume/file", ", twice"], { volumes }, "files")).toBe("/tmp/volume/file: wrote 7 bytes\n");
    expect(readFileSync(file, "utf8")).toBe("by the guest, twice");
    const readOnly = [{ host: granted, guest: "/tmp/volume" }];
    expect(await output(["write", "/tmp/volume/file", "x"], { volumes: readOnly }, "files")).toContain("denied");
    const single = [{ host: file, guest: "/shown/elsewhere", write: true }];
    expect(await output(["append", "/shown/elsewhere", "!"], { volumes: single }, "files")).toBe("/shown/elsewhere: wrote 1 bytes\n");
    expect(readFileSync(file, "utf8")).toBe("by the guest, twice!");
    expect(await output(["write", "/shown/elsewhere/in", "x"], { volumes: single }, "files")).toContain("Not a directory");
    const singleReadOnly = [{ host: file, guest: "/shown/elsewhere" }];
    expect(await output(["append", "/shown/elsewhere", "x"], { volumes: singleReadOnly }, "files")).toContain("denied");
    expect(await output(["read", "/shown/elsewhere"], { volumes: singleReadOnly }, "files")).toContain("20 bytes");
    const everything = { permissions: { read: true, write: true } };
    expect(await output(["write", file, "by all means"], everything, "files")).toBe(`${file}: wrote 12 bytes\n`);
    expect(readFileSync(file, "utf8")).toBe("by all means");
  } finally {
    rmSync(granted, { recursive: true, force: true });
  }
});

test("a machine may start in a private directory, and paths lead there by any way", async () => {
  const options = { cwd: "/tmp" };
  expect(await output(["write", "here", "x"], options, "files")).toBe("here: wrote 1 bytes\n");
  expect(await output(["list", "../tmp/./"], options, "files")).toBe(".\n..\n");
  expect(await output(["stat", "/tmp", "/var/tmp/", "/dev/shm"], {}, "files")).toBe(
    ["/tmp", "/var/tmp/", "/dev/shm"].map((path) => `${path}: directory, mode 1777, 0 bytes\n`).join(""),
  );
  expect(await output(["stat", "/var/spool"], {}, "files")).toContain("Permission denied");
});

test("two machines share nothing", async () => {
  const name = "/tmp/only-mine";
  await using one = await Machine.boot(guest("changes"), { stdout: "ignore", stderr: "ignore", timeout: 60_000 });
  await using other = await Machine.boot(guest("changes"), { stdout: "ignore", stderr: "ignore", timeout: 60_000 });
  await one.run({ until: "ready" });
  await other.run({ until: "ready" });
  const before = sumOf(other);
  changeOf(one)(23, 0, 5n, 0n);
  changeOf(one)(23, 3, 3n, 0n);
  expect(sumOf(one)).not.toBe(before);
  expect(sumOf(other)).toBe(before);
  expect(existsSync(name)).toBe(false);
  expect(existsSync("/dev/shm/room")).toBe(false);
});

const sumOf = (machine: Machine | Fork) => BigInt(machine.fn("private_sum", { returns: "i64" })() as number | bigint);
const changeOf = (machine: Machine | Fork) => machine.fn("change", { args: ["u32", "u64", "u64", "u64"], returns: "i64" });

/** An image with six private files with content, two of them open, one without a name. */
async function imageWithFiles(): Promise<Snapshot> {
  using vm = await Machine.boot(guest("changes"), { stdout: "ignore", stderr: "ignore", timeout: 60_000 });
  await vm.run({ until: "ready" });
  return vm.freeze();
}

test("200 forks and resets: each begins with the image's files, and none leaves anything", async () => {
  const image = await imageWithFiles();
  const contents = privateContents();
  expect(contents).toBe(6);
  const untouched = image.fork();
  const expected = sumOf(untouched);
  const fork = image.fork();
  expect(sumOf(fork)).toBe(expected);
  fork.reset();
  untouched.reset();
  const descriptors = openDescriptors();
  const seen = new Set<bigint>();
  for (let round = 0; round < 200; round++) {
    const change = changeOf(fork);
    for (let step = 0; step < 4; step++) change(23, (round * 4 + step) % 15, BigInt(round * 0x10203 + step), 0n);
    // Reading them again must show what this round did.
    seen.add(sumOf(fork));
    fork.reset({ mode: (["auto", "rewrite", "full"] as const)[round % 3] as "auto" });
    expect(difference(fork, untouched)).toEqual([]);
    expect(sumOf(fork)).toBe(expected);
    fork.reset();
    expect(privateContents()).toBe(contents);
  }
  expect(seen.size).toBeGreaterThan(100);
  expect(openDescriptors()).toBeLessThanOrEqual(descriptors + 4);
  for (const one of [fork, untouched]) one.close();
  image.close();
  expect(privateContents()).toBe(0);
});

test("forks hold descriptors only for files that they have written", async () => {
  using image = await imageWithFiles();
  const forks = Array.from({ length: 200 }, () => image.fork());
  for (const fork of forks) sumOf(fork);
  expect(privateContents()).toBe(6);
  for (const fork of forks.slice(0, 10)) changeOf(fork)(23, 0, 5n, 0n);
  expect(privateContents()).toBe(16);
  // A freeze of a fork that has written shares what it has.
  using second = (forks[0] as Fork).freeze();
  using ofSecond = second.fork();
  expect(sumOf(ofSecond)).toBe(sumOf(forks[0] as Fork));
  expect(sumOf(ofSecond)).not.toBe(sumOf(forks[100] as Fork));
  expect(privateContents()).toBe(16);
  changeOf(forks[0] as Fork)(23, 0, 0x77n, 0n);
  expect(sumOf(ofSecond)).not.toBe(sumOf(forks[0] as Fork));
  expect(privateContents()).toBe(17);
  for (const fork of forks) fork.close();
  expect(privateContents()).toBe(7);
});

const mappedLines = [
  "ftruncate(mapped_file, FAR + PAGE): 0",
  "pread(mapped_file, &byte, 1, 0): 1",
  "byte == 's': 1",
  'pwrite(mapped_file, "w", 1, 1): 1',
  "shared[1] == 'w': 1",
  'pwrite(mapped_file, "t", 1, FAR + 7): 1',
  'other: "other"',
  "ftruncate(fd, PAGE): 0",
  "nameless[0] == 'n': 1",
  "",
];

/** A machine that has run to its end with shared mappings of two private files, one of them without a name. */
async function mappingMachine(): Promise<Machine> {
  const vm = await Machine.boot(guest("private"), { args: ["mapped", "/tmp"], stderr: "ignore", timeout: 60_000 });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  expect(stop).toMatchObject({ reason: "exit", exitCode: 0 });
  expect(text.split("\n")).toEqual(mappedLines);
  return vm as Machine;
}

const call = (machine: Machine | Fork, name: "mapped_request" | "mapped_bytes") =>
  machine.fn(name, { args: ["i64"], returns: "i64_fast" }) as (value: number) => number;
const seenOf = (value: number) => value | ((value + 1) << 8) | ((value + 2) << 16);
const low = (value: number) => value % 2 ** 24;

test("what is mapped shared when a machine is frozen is each fork's own, and a reset restores it", async () => {
  const vm = await mappingMachine();
  const image = vm.freeze();
  const one = image.fork();
  const two = image.fork();
  const untouched = image.fork();
  const original = call(untouched, "mapped_request")(-1);
  // The bytes from before are there, touched page or not.
  expect(Math.floor(original / 2 ** 24)).toBe("s".charCodeAt(0) + "t".charCodeAt(0) * 256);
  expect(low(original)).toBe(0);
  untouched.reset();
  for (const mode of ["rewrite", "full", "auto"] as const) {
    expect(low(call(one, "mapped_request")(10))).toBe(seenOf(10));
    expect(call(two, "mapped_request")(-1)).toBe(original);
    expect(low(call(two, "mapped_request")(20))).toBe(seenOf(20));
    expect(low(call(one, "mapped_request")(-1))).toBe(seenOf(10));
    expect(call(one, "mapped_bytes")(30)).toBe(30 | (30 << 8));
    expect(call(two, "mapped_bytes")(-1)).toBe(0);
    expect(low(call(two, "mapped_request")(-1))).toBe(seenOf(20));
    expect(call(untouched, "mapped_request")(-1)).toBe(original);
    untouched.reset();
    for (const fork of [one, two]) {
      fork.reset({ mode });
      expect(difference(fork, untouched)).toEqual([]);
      expect(call(fork, "mapped_request")(-1)).toBe(original);
      expect(call(fork, "mapped_bytes")(-1)).toBe(0);
      fork.reset({ mode });
    }
  }
  // The machine itself goes on sharing with its file, and no fork learns of it; nor do forks of a fork.
  expect(low(call(vm, "mapped_request")(40))).toBe(seenOf(40));
  expect(call(vm, "mapped_bytes")(-1)).toBe(40 | (41 << 8));
  expect(call(one, "mapped_request")(-1)).toBe(original);
  call(one, "mapped_request")(50);
  const second = one.freeze();
  call(one, "mapped_request")(60);
  const grandchild = second.fork();
  expect(low(call(grandchild, "mapped_request")(-1))).toBe(seenOf(50));
  for (const made of [grandchild, second, one, two, untouched, image, vm]) made.close();
  expect(privateContents()).toBe(0);
});

test("a frozen machine's shared mapping is the fork's own even after the machine has changed the file", async () => {
  const vm = await mappingMachine();
  const image = vm.freeze();
  // Both pages, one of which no fork has touched yet.
  call(vm, "mapped_request")(70);
  call(vm, "mapped_bytes")(71);
  const fork = image.fork();
  expect(low(call(fork, "mapped_request")(-1))).toBe(0);
  expect(call(fork, "mapped_bytes")(-1)).toBe(0);
  const again = vm.freeze();
  const late = again.fork();
  expect(call(late, "mapped_bytes")(-1)).toBe(71 | (71 << 8));
  expect(low(call(late, "mapped_request")(-1))).toBe(71 | (71 << 8) | (72 << 16));
  for (const made of [late, again, fork, image, vm]) made.close();
  expect(privateContents()).toBe(0);
});

test("a program in a private directory can be started once it may be, and is held to the size of files", async () => {
  expect((await output(["exec", "/tmp"])).split("\n")).toEqual([
    "length > 0 && write(to, copied, (size_t)length) == length: 1",
    'execv("copy", list): EACCES',
    'chmod("copy", 0700): 0',
    "write(fd, bytes, sizeof bytes): 100",
    "write(fd, bytes, 1): EFBIG",
    "ftruncate(fd, 101): EFBIG",
    'truncate("limited", 101): EFBIG',
    "fallocate(fd, 0, 0, 101): EFBIG",
    "ftruncate(fd, 100): 0",
    "",
  ]);
  expect(privateContents()).toBe(0);
});

test("nothing of a machine is left on the host", async () => {
  const before = ["/tmp", "/var/tmp", "/dev/shm"].map((path) => (existsSync(path) ? readdirSync(path).join() : ""));
  await output(["fill", "/tmp"]);
  const descriptors = openDescriptors();
  for (let round = 0; round < 5; round++) await output(["all", "/dev/shm"]);
  expect(openDescriptors()).toBeLessThanOrEqual(descriptors + 4);
  expect(privateContents()).toBe(0);
  expect(statSync(shown).isDirectory()).toBe(true);
  const after = ["/tmp", "/var/tmp", "/dev/shm"].map((path) => (existsSync(path) ? readdirSync(path).join() : ""));
  // Others may work on this host meanwhile: only names of the guest's own count.
  for (const name of ["full", "work", "own", "room"]) expect(after.some((names) => names.split(",").includes(name))).toBe(false);
  expect(before.length).toBe(after.length);
});
