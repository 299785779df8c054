/** Layers: programs' cache folders, to which a guest may write without permission and without changing the host's. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { type Fork, Machine } from "../src/index.ts";
import { cacheFolders } from "../src/layers.ts";
import { difference } from "../src/testing.ts";
import type { BootOptions } from "../src/types.ts";
import { hostFolder } from "./folders.ts";

// Where the processor is emulated all this takes some thirty times as long.
setDefaultTimeout(240_000);

const guest = join(import.meta.dir, "../zig-out/guests/layers");
const systemFolders = ["/usr", "/lib", "/lib64", "/etc"];
const MiB = 2 ** 20;

let root: string;
let cache: string;
beforeAll(() => {
  root = hostFolder("pristine-layers-");
  cache = join(root, "cache");
  furnish(cache);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What guest/samples/layers.c expects. */
function furnish(folder: string): void {
  for (const name of ["sub/deep", "tree/branch", "empty", "folder", "many", "closed"]) mkdirSync(join(folder, name), { recursive: true });
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text);
  const files = ["gone", "moved", "over", "under", "second", "linked", "timed", "cut"];
  for (const name of files) put(name, `the ${name}`);
  put("a", "first");
  put("big", "b".repeat(20_000));
  put("mapped", "mapped");
  put("sub/inner", "inner");
  put("sub/deep/leaf", "leaf");
  put("tree/one", "1");
  put("tree/branch/two", "2");
  put("folder/file", "f");
  put("closed/file", "closed");
  put("sealed", "sealed");
  put("twin-one", "twin");
  linkSync(join(folder, "twin-one"), join(folder, "twin-two"));
  for (let index = 0; index < 300; index++) put(`many/file-${index}`, String(index));
  for (const name of ["script", "second-script"]) {
    put(name, "#!/bin/sh\n");
    chmodSync(join(folder, name), 0o755);
  }
  symlinkSync("sub/inner", join(folder, "link"));
  symlinkSync("nowhere", join(folder, "dangling"));
  chmodSync(join(folder, "sealed"), 0o444);
  chmodSync(join(folder, "closed"), 0o555);
}

/** All of a folder in which a change would show, the bytes included. */
function factsOf(folder: string): string[] {
  return [".", ...(readdirSync(folder, { recursive: true }) as string[]).sort()].map((name) => {
    const path = join(folder, name);
    const found = lstatSync(path);
    const bytes = found.isFile() && found.size < MiB ? Bun.hash(readFileSync(path)) : "";
    return [name, found.mode, found.size, found.mtimeMs, found.ctimeMs, found.ino, found.nlink, bytes].join(" ");
  });
}

type Options = Omit<BootOptions, "stdin" | "stdout" | "stderr">;

async function output(args: string[], options: Options = {}, program = guest): Promise<string> {
  await using vm = await Machine.boot(program, {
    args,
    stderr: "ignore",
    timeout: 60_000,
    env: { XDG_CACHE_HOME: cache },
    permissions: { read: [root] },
    ...options,
  });
  const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
  return stop.exitCode === 0 ? text : `${text}exit ${stop.exitCode ?? stop.signalCode}\n`;
}

/** Runs `work` on a writable view of a folder of the host: an overlayfs if this user may mount one, else a copy. */
function natively(folder: string, work: (place: string, isOverlay: boolean) => string): string {
  const place = mkdtempSync(join(tmpdir(), "pristine-overlay-"));
  const [upper, scratch, merged] = ["upper", "work", "merged"].map((name) => join(place, name)) as [string, string, string];
  for (const path of [upper, scratch, merged]) mkdirSync(path);
  const options = `lowerdir=${folder},upperdir=${upper},workdir=${scratch}`;
  const isOverlay = Bun.spawnSync(["mount", "-t", "overlay", "overlay", "-o", options, merged], { stderr: "ignore" }).success;
  try {
    if (!isOverlay) cpSync(folder, merged, { recursive: true, verbatimSymlinks: true });
    return work(merged, isOverlay);
  } finally {
    if (isOverlay) Bun.spawnSync(["umount", merged]);
    rmSync(place, { recursive: true, force: true });
  }
}

const lines = (text: string) => text.trimEnd().split("\n");

test("a program does the same in a layer as on Linux's overlayfs, and the host's folder stays as it is", async () => {
  const before = factsOf(cache);
  const native = natively(cache, (place) => Bun.spawnSync([guest, "all", place], { timeout: 20_000 }).stdout.toString());
  expect(lines(native).length).toBeGreaterThan(200);
  expect(native).toEndWith('chdir(".."): 0\n');
  expect(lines(await output(["all", cache]))).toEqual(lines(native));
  expect(factsOf(cache)).toEqual(before);
});

const overlayLines = [
  'link("twin-one", "third") || unlink("third"): 0',
  'rename("folder", "renamed"): EXDEV',
  'syscall(SYS_renameat2, AT_FDCWD, "folder", AT_FDCWD, "a", 2): EXDEV',
  'chmod("folder", 0700): 0',
  'rename("folder", "renamed"): EXDEV',
  "pread(reads, bytes, sizeof bytes - 1, 0): 3",
  "new",
  'a: "new"',
  'twin-one: "changed"',
  'twin-two: "twin"',
  "links 1",
];

test("a folder that shows the host's is not renamed, and only one of two names of a file is copied, as on overlayfs", async () => {
  const before = factsOf(cache);
  natively(cache, (place, isOverlay) => {
    if (isOverlay) expect(lines(Bun.spawnSync([guest, "overlay", place]).stdout.toString())).toEqual(overlayLines);
    return "";
  });
  expect(lines(await output(["overlay", cache]))).toEqual(overlayLines);
  expect(factsOf(cache)).toEqual(before);
});

test("permission bits of the host's files hold for the guest's user", async () => {
  expect(lines(await output(["modes", cache]))).toEqual([
    'open("sealed", O_WRONLY): EACCES',
    'open("sealed", O_RDONLY | O_TRUNC): EACCES',
    'access("sealed", W_OK): EACCES',
    'truncate("sealed", 0): EACCES',
    'sealed: "sealed"',
    'open("closed/file", O_WRONLY): open',
    'open("closed/new", O_WRONLY | O_CREAT, 0600): EACCES',
    'unlink("closed/file"): EACCES',
    'rename("closed/file", "taken"): EACCES',
    'rename("a", "closed/file"): EACCES',
    'mkdir("closed/inner", 0700): EACCES',
    'unlink("closed/none"): ENOENT',
    'chmod("sealed", 0600): 0',
    'sealed: "opened"',
    'chmod("closed", 0700): 0',
    'unlink("closed/file"): 0',
    'rmdir("closed"): 0',
    'rename(base, "x") && errno == EBUSY: 1',
    "rmdir(base) && errno == EBUSY: 1",
  ]);
});

test("what is copied is bounded, and what is only read is never copied", async () => {
  const folder = join(root, "large");
  mkdirSync(folder);
  for (const [name, size] of [
    ["huge", 65 * MiB],
    ["half", 40 * MiB],
    ["other-half", 40 * MiB],
    ["a", 1],
  ] as const) {
    writeFileSync(join(folder, name), "");
    truncateSync(join(folder, name), size);
  }
  const before = factsOf(folder);
  expect(lines(await output(["fill", folder], { env: { XDG_CACHE_HOME: folder } }))).toEqual([
    "free 64",
    'open("huge", O_RDWR): ENOSPC',
    'chmod("huge", 0600): ENOSPC',
    'link("huge", "huge-link"): ENOSPC',
    'rename("huge", "other"): ENOSPC',
    'open("huge", O_RDONLY): open',
    "read(fd, block, sizeof block): 65536",
    "free 64",
    'open("half", O_RDWR): open',
    "free 24",
    'open("other-half", O_RDWR): ENOSPC',
    'open("other-half", O_RDWR | O_TRUNC): open',
    'unlink("huge"): 0',
    'unlink("half"): 0',
    "free 64",
    "more than 1000 links: 1, then ENOSPC",
    'unlink("a"): ENOSPC',
    'unlink("a"): 0',
  ]);
  expect(factsOf(folder)).toEqual(before);
});

const refusedLines = [
  'a: "first"',
  'open("a", O_RDWR): EACCES',
  'open("new", O_RDWR | O_CREAT, 0600): EACCES',
  'mkdir("folder", 0700): EACCES',
  'unlink("a"): EACCES',
  'rename("a", "b"): EACCES',
  'chmod("a", 0600): EACCES',
  'access("a", W_OK): EACCES',
];

test("where writing is denied there is no layer, and where it is permitted the host's folder is written", async () => {
  const folder = join(root, "plain");
  mkdirSync(folder);
  writeFileSync(join(folder, "a"), "first");
  const before = factsOf(folder);
  const env = { XDG_CACHE_HOME: folder };
  for (const denied of [[folder], [root], true])
    expect(lines(await output(["denied", folder], { env, permissions: { read: [root], deny: { write: denied } } }))).toEqual(refusedLines);
  // Denied beneath a layer: the rest of it is one.
  mkdirSync(join(folder, "part"));
  writeFileSync(join(folder, "part/a"), "first");
  const permissions = { read: [root], deny: { write: [join(folder, "part")] } };
  expect(lines(await output(["denied", join(folder, "part")], { env, permissions }))).toEqual(refusedLines);
  expect(await output(["make", folder], { env, permissions })).toContain('/made: "made"');
  rmSync(join(folder, "part"), { recursive: true });
  expect(factsOf(folder).slice(1)).toEqual(before.slice(1));
  expect(await output(["make", folder], { env, permissions: { read: [root], write: [folder] } })).toContain('/made: "made"');
  expect(readFileSync(join(folder, "made"), "utf8")).toBe("made");
});

test("of the host a layer shows what may be read, and nothing else", async () => {
  const before = factsOf(cache);
  const paths = [cache, join(cache, "a"), join(cache, "sub"), join(cache, "sub/inner"), join(cache, "tree/one")];
  const seen = async (permissions: object) =>
    lines(await output(["cat", ...paths], { permissions })).map((line) => line.replaceAll(`${cache}`, "C"));
  expect(await seen({})).toEqual([
    "C: EISDIR",
    "list C: [. 4] [.. 4]",
    "C/a: ENOENT",
    "list C/a: ENOENT",
    "C/sub: ENOENT",
    "list C/sub: ENOENT",
    "C/sub/inner: ENOENT",
    "list C/sub/inner: ENOENT",
    "C/tree/one: ENOENT",
    "list C/tree/one: ENOENT",
  ]);
  expect(await seen({ read: [join(cache, "sub/inner"), join(cache, "a")] })).toEqual([
    "C: EISDIR",
    "list C: [. 4] [.. 4] [a 8] [sub 4]",
    'C/a: "first"',
    "list C/a: ENOTDIR",
    "C/sub: EISDIR",
    "list C/sub: [. 4] [.. 4] [inner 8]",
    'C/sub/inner: "inner"',
    "list C/sub/inner: ENOTDIR",
    "C/tree/one: ENOENT",
    "list C/tree/one: ENOENT",
  ]);
  const denied = await seen({ read: [root], deny: { read: [join(cache, "sub"), join(cache, "a")] } });
  expect(denied[1]).toContain("[tree 4]");
  expect(denied[1]).not.toContain("[sub 4]");
  expect(denied.slice(2)).toEqual([
    "C/a: ENOENT",
    "list C/a: ENOENT",
    "C/sub: ENOENT",
    "list C/sub: ENOENT",
    "C/sub/inner: ENOENT",
    "list C/sub/inner: ENOENT",
    'C/tree/one: "1"',
    "list C/tree/one: ENOTDIR",
  ]);
  expect(factsOf(cache)).toEqual(before);
});

test("the environment says which folders have layers, those that the host does not have included", async () => {
  expect(cacheFolders(["HOME=/h"])).toEqual(["/h/.cache", "/h/.npm", "/h/.bun/install/cache"]);
  expect(cacheFolders(["HOME=/h", "XDG_CACHE_HOME=/x", "DENO_DIR=/d", "npm_config_cache=/n", "BUN_INSTALL_CACHE_DIR=/b"])).toEqual([
    "/x",
    "/d",
    "/n",
    "/b",
  ]);
  expect(cacheFolders(["XDG_CACHE_HOME=relative", "DENO_DIR=./d", "HOME="]).sort()).toEqual(
    ["", homedir()].flatMap((home) => [`${home}/.bun/install/cache`, `${home}/.cache`, `${home}/.npm`]).sort(),
  );
  const home = join(root, "nobody");
  const made = async (folders: string[], options: Options) =>
    expect(lines(await output(["make", ...folders], options))).toEqual(
      folders.flatMap((path) => [`${path}: stat(words[i], &found): 0`, `${path}/made: "made"`]),
    );
  await made([`${home}/.cache`, `${home}/.npm`, `${home}/.bun/install/cache`, "/nowhere/at/all"], {
    env: { HOME: home, DENO_DIR: "/nowhere/at/all" },
    permissions: {},
  });
  // Without HOME: the made-up user's home, and the host user's.
  await made(["/.cache", "/.npm", join(homedir(), ".cache")], { env: {}, permissions: {} });
  expect(existsSync(home)).toBe(false);
  expect(existsSync("/.cache/made")).toBe(false);
  const other = await output(["make", `${home}/.config`], { env: { HOME: home }, permissions: {} });
  expect(other).toContain("EACCES");
});

test("a layer is found behind links, and none is where a volume or a private directory is", async () => {
  const real = join(root, "real-home");
  mkdirSync(join(real, ".cache"), { recursive: true });
  writeFileSync(join(real, ".cache/a"), "first");
  const home = join(root, "linked-home");
  symlinkSync("real-home", home);
  const before = factsOf(real);
  const options = { env: { HOME: home }, permissions: { read: [real] } };
  expect(await output(["make", `${home}/.cache`, `${real}/.cache`, `${home}/.npm`], options)).not.toContain("EACCES");
  expect(lines(await output(["cat", `${home}/.cache/a`], options))[0]).toBe(`${home}/.cache/a: "first"`);
  // A volume shows what it shows.
  const volumes = [{ host: join(cache, "sub"), guest: join(real, ".cache") }];
  expect(await output(["make", `${real}/.cache`], { ...options, volumes })).toContain("EACCES");
  const inside = [{ host: join(cache, "sub"), guest: join(real, ".cache/of/volume") }];
  expect(lines(await output(["cat", `${real}/.cache/of/volume/inner`], { ...options, volumes: inside }))[0]).toEndWith('"inner"');
  expect(factsOf(real)).toEqual(before);
  const mounts = await output(["cat", "/proc/mounts"], {
    env: { XDG_CACHE_HOME: "/tmp/own", DENO_DIR: "/dev", HOME: `${root}/a b` },
    permissions: {},
  });
  expect(mounts).toContain(`overlay ${root}/a\\040b/.npm overlay rw`);
  expect(mounts).not.toContain("/tmp/own");
  expect(mounts).not.toContain("overlay /dev");
});

test("each fork has its own changes, and a reset takes them back", async () => {
  const folder = join(root, "forked");
  mkdirSync(join(folder, "folder"), { recursive: true });
  for (const name of ["host-0", "host-1", "host-2", "folder/host-0", "folder/host-1"]) writeFileSync(join(folder, name), `of ${name}`);
  const before = factsOf(folder);
  await using vm = await Machine.boot(join(import.meta.dir, "../zig-out/guests/changes"), {
    stdout: "ignore",
    env: { XDG_CACHE_HOME: folder },
    permissions: { read: [folder, "/usr"] },
    timeout: 60_000,
  });
  await vm.run({ until: "ready" });
  const image = vm.freeze();
  const bind = (fork: Fork) => fork.fns({ change: { args: ["u32", "u64", "u64", "u64"], returns: "i64" }, layer_sum: { returns: "i64" } });
  const [one, two, untouched] = [image.fork(), image.fork(), image.fork()];
  const expected = bind(untouched).layer_sum();
  untouched.reset();
  const seen = new Set([expected]);
  for (let round = 0; round < 100; round++) {
    for (let step = 0; step < 3; step++) bind(one).change(29, (round + step * 5) % 12, BigInt(round * 0x3071 + step * 0x107), 0n);
    seen.add(bind(one).layer_sum());
    if (round % 25 === 0) {
      expect(bind(two).layer_sum()).toBe(expected);
      two.reset();
    }
    one.reset({ mode: (["auto", "rewrite", "full"] as const)[round % 3] as "auto" });
    expect(difference(one, untouched)).toEqual([]);
    expect(bind(one).layer_sum()).toBe(expected);
    one.reset();
  }
  expect(seen.size).toBeGreaterThan(40);
  for (const fork of [one, two, untouched]) fork.close();
  image.close();
  expect(factsOf(folder)).toEqual(before);
});

const script = `
  const fs = require("fs");
  const folder = process.env.XDG_CACHE_HOME;
  fs.mkdirSync(folder + "/made/deep", { recursive: true });
  fs.writeFileSync(folder + "/made/deep/file", "x");
  fs.appendFileSync(folder + "/a", "!");
  fs.cpSync(folder + "/tree", folder + "/copied", { recursive: true });
  fs.rmSync(folder + "/tree", { recursive: true });
  fs.renameSync(folder + "/moved", folder + "/sub/moved");
  console.log(fs.readdirSync(folder).sort().join(), fs.readFileSync(folder + "/a", "utf8"), fs.readdirSync(folder + "/copied", { recursive: true }).sort().join());`;
const scriptAnswer = (names: string[]) =>
  `${[...names.filter((name) => name !== "tree" && name !== "moved"), "copied", "made"].sort().join()} first! branch,branch/two,one\n`;

const python = `
import os, shutil, tempfile
folder = os.environ["XDG_CACHE_HOME"]
os.makedirs(folder + "/made/deep", exist_ok=True)
with tempfile.NamedTemporaryFile("w", dir=folder + "/made", delete=False) as file: file.write("x")
os.replace(file.name, folder + "/made/deep/file")
open(folder + "/a", "a").write("!")
shutil.copytree(folder + "/tree", folder + "/copied")
shutil.rmtree(folder + "/tree")
shutil.move(folder + "/moved", folder + "/sub/moved")
inside = sorted(os.path.relpath(os.path.join(at, name), folder + "/copied") for at, folders, files in os.walk(folder + "/copied") for name in folders + files)
print(",".join(sorted(os.listdir(folder))), open(folder + "/a").read(), ",".join(inside))`;

const database =
  "pragma journal_mode=wal; create table t(a); insert into t values(1),(2); delete from t where a = 1; select sum(a) from t;";

const programs: { name: string; path: string | null; args: string[]; read?: string[]; expected: (names: string[]) => string }[] = [
  { name: "node", path: Bun.which("node"), args: ["-e", script], expected: scriptAnswer },
  { name: "bun", path: process.execPath, args: ["-e", script], expected: scriptAnswer },
  { name: "python3", path: existsSync("/usr/bin/python3") ? "/usr/bin/python3" : null, args: ["-c", python], expected: scriptAnswer },
  {
    name: "busybox",
    path: Bun.which("busybox"),
    args: [
      "sh",
      "-c",
      "cd $XDG_CACHE_HOME; echo more >> a; echo new > sub/new; read line < a; echo $line; for name in sub/*; do echo $name; done",
    ],
    expected: () => "firstmore\nsub/deep\nsub/inner\nsub/new\n",
  },
  {
    name: "sqlite3",
    path: Bun.which("sqlite3"),
    args: ["{cache}/new.db", database],
    expected: () => "wal\n2\n",
  },
];

for (const { name, path, args, expected } of programs) {
  test.skipIf(path === null)(
    `${name} writes to its cache, and the host's stays as it is${path ? "" : ` (${name} is not there)`}`,
    async () => {
      const before = factsOf(cache);
      const words = args.map((word) => word.replace("{cache}", cache));
      const permissions = { read: [root, ...systemFolders, join(path as string, "../..")] };
      expect(await output(words, { permissions }, path as string)).toBe(expected(readdirSync(cache)));
      expect(factsOf(cache)).toEqual(before);
    },
  );
}

test("sqlite3 writes to a database of the host's in a layer", async () => {
  const sqlite = Bun.which("sqlite3");
  if (!sqlite) return;
  const folder = join(root, "database");
  mkdirSync(folder);
  const path = join(folder, "host.db");
  expect(Bun.spawnSync([sqlite, path, database]).stdout.toString()).toBe("wal\n2\n");
  const before = factsOf(folder);
  const options = { env: { XDG_CACHE_HOME: folder }, permissions: { read: [root, ...systemFolders] } };
  expect(await output([path, "insert into t values(5); select sum(a) from t; vacuum; pragma integrity_check;"], options, sqlite)).toBe(
    "7\nok\n",
  );
  expect(factsOf(folder)).toEqual(before);
});

const deno = [join(import.meta.dir, "../node_modules/@deno/linux-x64-glibc/deno")].find(existsSync) ?? null;
test.skipIf(deno === null)(`deno keeps its caches in the machine${deno ? "" : " (deno is not there)"}`, async () => {
  const home = join(root, "deno-home");
  mkdirSync(home);
  const code = 'const folder = Deno.env.get("HOME") + "/.cache/deno"; console.log([...Deno.readDirSync(folder)].length > 0);';
  const permissions = { read: [root, ...systemFolders, join(deno as string, "../..")] };
  expect(await output(["eval", code], { env: { HOME: home, DENO_NO_UPDATE_CHECK: "1" }, permissions }, deno as string)).toBe("true\n");
  expect(readdirSync(home)).toEqual([]);
});
