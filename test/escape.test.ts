/** What a hostile guest reaches of the host's files: only what is granted, by whatever way it tries. */
import { afterAll, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const main = join(import.meta.dir, "../src/cli/main.ts");
const program = join(import.meta.dir, "../zig-out/guests/escape");
const base = mkdtempSync(join(tmpdir(), "pristine-escape-"));
const open = join(base, "open");
const closed = join(base, "closed");
afterAll(() => rmSync(base, { recursive: true, force: true }));

for (const name of ["open/sub", "open/deep/denied", "open/empty", "closed/empty", "look", "drop", "swap/deeper"])
  mkdirSync(join(base, name), { recursive: true });
for (const name of ["open/file", "look/file"]) writeFileSync(join(base, name), "inside");
for (const name of ["closed/secret", "closed/file", "open/deep/denied/secret", "drop/hidden"]) writeFileSync(join(base, name), "SECRET");
symlinkSync("../closed/secret", join(open, "relative"));
symlinkSync(join(closed, "secret"), join(open, "absolute"));
symlinkSync(closed, join(open, "folder"));
symlinkSync("sub/../file", join(open, "inside"));
symlinkSync("absolute", join(open, "chain"));
symlinkSync("loop", join(open, "loop"));
symlinkSync("../closed/created", join(open, "dangling"));
symlinkSync(join(closed, "created"), join(open, "dangling-absolute"));
symlinkSync(join(closed, "empty"), join(open, "empty-link"));
symlinkSync("/dev/zero", join(open, "device"));
Bun.spawnSync(["mkfifo", join(open, "fifo")]);
const listening = Bun.listen({ unix: join(open, "socket"), socket: { data() {} } });
afterAll(() => listening.stop(true));

const granted = [`--allow-read=${open},${base}/look`, `--allow-write=${open},${base}/drop`, `--deny-read=${open}/deep/denied`];

function attempt(what: string, options: string[] = granted): { lines: Record<string, string>; err: string } {
  const done = Bun.spawnSync([process.execPath, main, "run", "--timeout=60s", ...options, program, what, open, closed], {
    stdin: "ignore",
  });
  expect({ code: done.exitCode, err: done.exitCode === 0 ? "" : done.stderr.toString() }).toEqual({ code: 0, err: "" });
  const lines = done.stdout.toString().trimEnd().split("\n");
  expect(done.stdout.toString()).not.toContain("SECRET");
  return { lines: Object.fromEntries(lines.map((line) => line.split(": ") as [string, string])), err: done.stderr.toString() };
}

/** Everything that must stay as it is. */
const outside = () =>
  ["closed", "closed/empty", "look", "drop", "open/deep/denied"].map((name) => [
    name,
    readdirSync(join(base, name)).map((entry) => [
      entry,
      lstatSync(join(base, name, entry)).mode,
      lstatSync(join(base, name, entry)).mtimeMs,
    ]),
  ]);
const before = outside();
const unchanged = () => {
  expect(outside()).toEqual(before);
  expect(readFileSync(join(closed, "secret"), "utf8")).toBe("SECRET");
};

test("no path leads out of what is granted", () => {
  expect(attempt("paths").lines).toEqual({
    granted: "read inside",
    direct: "EACCES",
    "line feed": "EACCES",
    "dot dot": "EACCES",
    "deep dot dot": "EACCES",
    "many dot dots": "EACCES",
    "relative link": "EACCES",
    "absolute link": "EACCES",
    "link to a folder": "EACCES",
    "link to inside": "read inside",
    chain: "EACCES",
    loop: "ELOOP",
    "symlink made here": "ok",
    "through it": "EACCES",
    "relative symlink made here": "ok",
    "through that": "EACCES",
    "chdir out": "EACCES",
    "chdir in": "ok",
    "from there": "EACCES",
    "chdir through a link": "EACCES",
    long: "EACCES",
    "too long": "ENAMETOOLONG",
    "long name": "ENAMETOOLONG",
    "long symlink": "ok",
    "through the slashes": "EACCES",
  });
  unchanged();
});

test("processes and descriptors show the guest itself, never the host", () => {
  expect(attempt("processes").lines).toEqual({
    "/proc/1/root": "ENOENT",
    "/proc/N/root": "ENOENT",
    "/proc/self/root": "EACCES",
    "/proc/self/root granted": "read inside",
    chdir: "ok",
    "/proc/self/cwd": "read inside",
    "/proc/self/cwd out": "EACCES",
    "/proc/self/environ": "ENOENT",
    "/proc/self/mem": "ENOENT",
    "/proc/1/environ": "ENOENT",
    "link of a descriptor": "ok",
    "/proc/self/fd": "read inside",
    "/dev/fd": "read inside",
    "/dev/fd for writing": "ok",
    "descriptors of the host": "0",
    "a deleted file": "read still",
    "a pipe": "read piped",
    "inode of a pipe": "small",
    "a folder": "read inside",
    "a folder and out": "EACCES",
  });
  // With everything granted the host's own processes stay out of sight all the same.
  const all = attempt("processes", ["--allow-read=/usr", "-v", "/:/host:ro", "-v", `${open}:${open}:rw`]).lines;
  expect(all["/proc/1/environ"]).toBe("ENOENT");
  expect(all["/proc/N/root"]).toBe("ENOENT");
  unchanged();
});

test("O_PATH names a place and gives no access", () => {
  expect(attempt("descriptors").lines).toEqual({
    "O_PATH file": "ok",
    read: "EBADF",
    write: "EBADF",
    fstat: "ok",
    fchmod: "EBADF",
    ftruncate: "EBADF",
    lseek: "EBADF",
    dup: "ok",
    "read the copy": "EBADF",
    flags: "O_PATH",
    "O_PATH folder": "ok",
    openat: "read inside",
    "openat out": "EACCES",
    "openat a link out": "EACCES",
    getdents: "EBADF",
    fchdir: "ok",
    "from there": "read inside",
    "fstatat empty": "ok",
    "faccessat empty": "ok",
    "O_PATH link": "ok",
    "its text": "../closed/secret",
    "openat of it": "ENOENT",
    "O_PATH out": "EACCES",
    "O_PATH through a link": "EACCES",
    "O_PATH fifo": "ok",
    reopened: "read inside",
    "execveat of what may not be run": "EACCES",
    "execve by /proc": "EACCES",
    "linkat empty": "ENOENT",
  });
  unchanged();
});

test("nothing is changed outside, and no name gives a file rights it had not", () => {
  const { lines } = attempt("changes");
  expect(lines).toEqual({
    create: "ok",
    "create outside": "EACCES",
    "create through a dangling link": "EACCES",
    "create through an absolute one": "EACCES",
    "exclusive on a link": "EEXIST",
    "truncate through a link": "EACCES",
    "truncate by opening": "EACCES",
    "chmod through a link": "EACCES",
    "mkdir outside": "EACCES",
    "rename out": "EACCES",
    "rename in": "EACCES",
    "rename from what may be read only": "EACCES",
    "hard link in": "EACCES",
    "hard link of what may be read only": "EACCES",
    "hard link by a symlink": "EACCES",
    "rename what may be written only": "EACCES",
    "link what may be written only": "EACCES",
    "rename around a denial": "EACCES",
    "what is denied": "ENOENT",
    "what is denied in its place": "EACCES",
    exchange: "EACCES",
    "unlink with a slash": "ENOTDIR",
    "unlink outside": "EACCES",
    "rmdir by a link": "EACCES",
    "write what may be read only": "EACCES",
    "set-id bits": "0",
    "set-id bits by name": "0",
    "set-id bits of a folder": "0",
  });
  expect(existsSync(join(closed, "created"))).toBe(false);
  unchanged();
});

test("FIFOs, sockets and devices are refused and hold nobody up", () => {
  const { lines } = attempt("specials");
  for (const name of ["fifo", "fifo for writing", "fifo for both", "socket file"]) expect(`${name} ${lines[name]}`).toBe(`${name} EACCES`);
  for (const name of ["/dev/mem", "/dev/kvm", "/dev/sda", "mknod", "connect"]) expect(`${name} ${lines[name]}`).toMatch(/ E[A-Z]+$/);
  expect(lines["link to /dev/zero"]).toBe("ok");
  expect(lines.mkfifo).toBe("ok");
  expect(lstatSync(join(open, "fifo2")).isFIFO()).toBe(true);
  expect(existsSync(join(open, "node"))).toBe(false);
  unchanged();
});

test("links swapped under way never lead out", async () => {
  // `swap` is a folder at one moment and a link out of the granted folder at another, and so is what is in it.
  mkdirSync(join(open, "swap/deeper"), { recursive: true });
  for (const name of ["swap/file", "swap/deeper/file"]) writeFileSync(join(open, name), "inside");
  const swapper = new Worker(
    URL.createObjectURL(
      new Blob([
        `const { renameSync, symlinkSync } = require("node:fs");
        const open = ${JSON.stringify(open)};
        symlinkSync(${JSON.stringify(closed)}, open + "/evil");
        let stop = false;
        onmessage = () => { stop = true; };
        async function swap() {
          postMessage("ready");
          while (!stop) {
            for (let i = 0; i < 200; i++) {
              const name = open + (i % 2 ? "/swap" : "/swap/deeper");
              renameSync(name, open + "/aside");
              renameSync(open + "/evil", name);
              renameSync(name, open + "/evil");
              renameSync(open + "/aside", name);
            }
            await Bun.sleep(0);
          }
          postMessage("done");
        }
        swap();`,
      ]),
    ),
  );
  await new Promise((resolve) => swapper.addEventListener("message", resolve, { once: true }));
  const guest = Bun.spawn([process.execPath, main, "run", "--timeout=60s", ...granted, program, "race", open, closed], { stdin: "ignore" });
  const text = await new Response(guest.stdout).text();
  const done = new Promise((resolve) => swapper.addEventListener("message", resolve, { once: true }));
  swapper.postMessage("stop");
  await done;
  swapper.terminate();
  expect(text).toBe("outside: 0\nboth: 1\n");
  unchanged();
}, 60_000);

test("ordinary links through folders that are not granted work, with the library folders granted alone", () => {
  const programs = ["/bin/sh", "/usr/bin/awk", "/lib64/ld-linux-x86-64.so.2"].filter(existsSync);
  expect(programs.length).toBeGreaterThan(1);
  const done = Bun.spawnSync([
    process.execPath,
    main,
    "run",
    "--allow-read=/usr",
    program,
    "ordinary",
    ...programs,
    "/etc/alternatives",
    "/etc/shadow",
  ]);
  const lines = done.stdout.toString().trimEnd().split("\n");
  for (const [index, path] of programs.entries()) {
    expect(lines[index]).toStartWith(`${path}: program `);
    // Asking every folder on the way, as realpath does, is refused in /etc/alternatives: that one must not show what it holds.
    if (!readlinkSync(path, { encoding: "utf8" }).startsWith("/etc/")) expect(lines[index]).toBe(`${path}: program ${realpathSync(path)}`);
  }
  expect(lines.slice(-2)).toEqual(["/etc/alternatives: EACCES EACCES", "/etc/shadow: EACCES EACCES"]);
});

test("a refused access names the flag that would allow it, in one line", () => {
  const { err } = attempt("paths", ["--verbose", ...granted]);
  expect(err).toContain(`pristine: the guest may not read ${closed}/secret (--allow-read=${closed}/secret)\n`);
  expect(err).toContain("line?feed?[2J");
  const writes = attempt("changes", ["--verbose", ...granted]).err;
  expect(writes).toContain(`pristine: the guest may not write ${base}/look/file (--allow-write=${base}/look/file)\n`);
  for (const line of (err + writes).trimEnd().split("\n"))
    expect(line).toMatch(/^pristine: the guest may not (read|write) \/.* \(--allow-(read|write)=\/.*\)$/);
});
