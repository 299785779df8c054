/** The command line as a user meets it: streams, exit statuses, messages. */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const main = join(import.meta.dir, "../src/cli/main.ts");
const guest = (name: string) => join(import.meta.dir, "../zig-out/guests", name);

interface Done {
  code: number;
  out: string;
  err: string;
}

function pristine(words: string[], options: { input?: string; env?: Record<string, string>; cwd?: string } = {}): Done {
  const done = Bun.spawnSync([process.execPath, main, ...words], {
    stdin: options.input === undefined ? "ignore" : new TextEncoder().encode(options.input),
    env: { ...process.env, ...options.env },
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
  return { code: done.exitCode, out: done.stdout.toString(), err: done.stderr.toString() };
}

function folder(): string & Disposable {
  const path = mkdtempSync(join(tmpdir(), "pristine-cli-"));
  return Object.assign(path, { [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }) as string & Disposable;
}

test("a program's streams and exit status pass through", () => {
  expect(pristine(["run", guest("hello")])).toEqual({ code: 0, out: "Hello from a static program\n", err: "" });
  expect(pristine(["run", guest("upper")], { input: "abc\n" }).out).toBe("ABC\n");
  expect(pristine(["run", guest("exit"), "37"]).code).toBe(37);
});

test("a signal that ends the program is 128 + its number, with a report", () => {
  const fault = pristine(["run", guest("faults"), "write-null"]);
  expect(fault.code).toBe(139);
  expect(fault.err).toMatch(/^pristine: SIGSEGV at write_null\+0x[0-9a-f]+ = 0x[0-9a-f]+: write to 0x0, not mapped/m);
  expect(pristine(["run", "--quiet", guest("faults"), "write-null"]).err).not.toContain("pristine:");
  expect(pristine(["run", "--verbose", guest("faults"), "write-null"]).err).toContain("rip");
  expect(pristine(["run", guest("exit"), "abort"]).code).toBe(134);
});

test("limits have exit statuses of their own", () => {
  const slow = pristine(["run", "--timeout", "200ms", guest("endless"), "spin"]);
  expect(slow.code).toBe(124);
  expect(slow.err).toContain("timeout");
  const large = pristine(["run", "--memory=16MiB", guest("endless"), "map"]);
  expect(large.code).toBe(137);
  expect(large.err).toContain("memory");
});

test("what cannot be run is 126 or 127 with the reason", () => {
  const dir = mkdtempSync(join(tmpdir(), "pristine-cli-"));
  try {
    const text = join(dir, "text");
    writeFileSync(text, "just text");
    const cases: [string, number, RegExp][] = [
      ["/nowhere/program", 127, /no such file/],
      ["no-such-program-on-path", 127, /not found on PATH/],
      [dir, 126, /directory/],
      [text, 126, /execute permission/],
      ["/dev/null", 126, /regular file/],
    ];
    for (const [program, code, reason] of cases) {
      const done = pristine(["run", program]);
      expect(done.code).toBe(code);
      expect(done.err).toMatch(reason);
    }
    chmodSync(text, 0o755);
    expect(pristine(["run", text])).toMatchObject({ code: 126, err: expect.stringContaining("not an ELF") });
    writeFileSync(text, "");
    expect(pristine(["run", text])).toMatchObject({ code: 126, err: expect.stringContaining("empty") });
    writeFileSync(text, "#!\necho no\n");
    expect(pristine(["run", text])).toMatchObject({ code: 126, err: expect.stringContaining("names no interpreter") });
    writeFileSync(text, "#!/nowhere/interpreter\n");
    expect(pristine(["run", text])).toMatchObject({ code: 127, err: expect.stringContaining("/nowhere/interpreter") });
    writeFileSync(text, readFileSync(guest("hello")).subarray(0, 900));
    expect(pristine(["run", text])).toMatchObject({ code: 126, err: expect.stringContaining("truncated") });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("misuse is 125 with a hint", () => {
  const cases: [string[], string][] = [
    [["run"], "no program"],
    [["run", "--allow-reed", "x"], "did you mean --allow-read?"],
    [["run", "--allow-read", "/usr", "x"], "did you mean --allow-read=/usr?"],
    [["run", "--timeout", "5", "x"], "unit"],
    [["run", "--memory", "lots", guest("hello")], "not a size"],
    [["run", "--memory", "1KiB", guest("hello")], "memory"],
    [["run", "--memory=100000GiB", guest("hello")], "memory"],
    [["run", "--cwd", "/nowhere", guest("hello")], "cwd"],
    [["run", "--jail=hard", guest("hello")], "--jail is not hard"],
    [["run", "--quiet=yes", guest("hello")], "takes no value"],
    [["run", "--memory"], "needs a value"],
    [["rum"], "did you mean `pristine run`?"],
    [["bench", "x"], "not in this version"],
  ];
  for (const [words, hint] of cases) {
    const done = pristine(words);
    expect(`${words.join(" ")}: ${done.code}`).toBe(`${words.join(" ")}: 125`);
    expect(done.err).toContain(hint);
    expect(done.out).toBe("");
  }
});

test("the program's own options are never ours", () => {
  const done = pristine(["run", guest("args"), "--allow-read", "--", "-A", "--memory=1"]);
  expect(done.code).toBe(0);
  for (const word of ["--allow-read", "--", "-A", "--memory=1"]) expect(done.out).toContain(word);
});

test("the environment reaches the guest only by permission", () => {
  const env = { PRISTINE_ONE: "1", PRISTINE_TWO: "2" };
  expect(pristine(["run", guest("args")], { env }).out).not.toContain("PRISTINE_ONE");
  expect(pristine(["run", "--allow-env=PRISTINE_*", "--deny-env=PRISTINE_TWO", guest("args")], { env }).out).toContain("PRISTINE_ONE=1");
  expect(pristine(["run", "--allow-env=PRISTINE_*", "--deny-env=PRISTINE_TWO", guest("args")], { env }).out).not.toContain("PRISTINE_TWO");
  const given = pristine(["run", "-e", "X=y", "-e", "PRISTINE_ONE", guest("args")], { env }).out;
  expect(given).toContain("X=y");
  expect(given).toContain("PRISTINE_ONE=1");
});

test("files: closed by default, open where allowed, and no way out of it", () => {
  using dir = folder();
  mkdirSync(join(dir, "open/deep"), { recursive: true });
  writeFileSync(join(dir, "open/a"), "inside");
  writeFileSync(join(dir, "secret"), "outside");
  symlinkSync("../secret", join(dir, "open/up"));
  symlinkSync(join(dir, "secret"), join(dir, "open/absolute"));
  symlinkSync(join(dir, "open/a"), join(dir, "open/deep/in"));
  const read = (options: string[], path: string) => pristine(["run", ...options, guest("files"), "read", join(dir, path)]);
  const allow = [`--allow-read=${dir}/open`];
  expect(read([], "open/a").code).not.toBe(0);
  expect(read(allow, "open/a").out).toContain("6 bytes");
  expect(read(allow, "open/deep/in").out).toContain("6 bytes");
  for (const path of ["secret", "open/../secret", "open/up", "open/absolute", "open/deep/../../secret"]) {
    expect(read(allow, path).out).not.toContain("7 bytes");
  }
  const denied = pristine(["run", "--verbose", ...allow, guest("files"), "read", join(dir, "secret")]);
  expect(denied.err).toContain(`--allow-read=${dir}/secret`);
  expect(read([...allow, `--deny-read=${dir}/open/a`], "open/a").code).not.toBe(0);
  const write = (options: string[]) => pristine(["run", ...options, guest("files"), "write", join(dir, "open/new"), "text"]);
  expect(write(allow).code).not.toBe(0);
  expect(write([...allow, `--allow-write=${dir}/open`]).code).toBe(0);
  expect(readFileSync(join(dir, "open/new"), "utf8")).toBe("text");
  const mounted = pristine(["run", "-v", `${dir}/open:/mnt`, guest("files"), "read", "/mnt/a"]);
  expect(mounted.out).toContain("6 bytes");
});

test("--trace has one line for each call, as strace writes it", () => {
  using dir = folder();
  const file = join(dir, "trace");
  pristine(["run", `--trace=${file}`, guest("hello")]);
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(lines.at(-1)).toBe("exit_group(0) = ?");
  for (const line of lines) expect(line).toMatch(/^\w+\(.*\) = (\?|-?\d+|0x[0-9a-f]+|-1 E[A-Z0-9]+ \(.+\))$/);
  expect(pristine(["run", "--trace", guest("hello")]).err).toContain("exit_group(0) = ?");
});

test("a first SIGTERM is the guest's, a second ends the machine", async () => {
  const start = (what: string) =>
    Bun.spawn([process.execPath, main, "run", "--trace", guest("endless"), what], { stdout: "ignore", stderr: "pipe", stdin: "ignore" });
  // The trace shows that the program runs.
  const running = async (child: ReturnType<typeof start>) => {
    for await (const chunk of child.stderr) if (new TextDecoder().decode(chunk).includes("arch_prctl")) break;
  };
  const first = start("sleep");
  await running(first);
  first.kill("SIGTERM");
  expect(await first.exited).toBe(143);
});

test.if(existsSync("/bin/busybox"))("a second signal ends the machine, although the guest ignores it", async () => {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    const script = 'trap "" INT TERM; echo ready; while :; do :; done';
    const child = Bun.spawn([process.execPath, main, "run", "/bin/busybox", "sh", "-c", script], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });
    for await (const chunk of child.stdout) if (new TextDecoder().decode(chunk).includes("ready")) break;
    child.kill(signal);
    // It ignores the first: it still runs a while later.
    await Bun.sleep(100);
    expect(child.exitCode).toBeNull();
    child.kill(signal);
    expect(await child.exited).toBe(code);
  }
});

test("a closed pipe ends a program that writes without end", async () => {
  const done = Bun.spawnSync([
    "sh",
    "-c",
    `"${process.execPath}" "${main}" run "${guest("endless")}" write | head -c 10 > /dev/null; echo \${PIPESTATUS:-done}`,
  ]);
  expect(done.stdout.toString()).toContain("done");
}, 30_000);

test("doctor says what this machine offers, for people and for programs", () => {
  const text = pristine(["doctor"]);
  const json = JSON.parse(pristine(["doctor", "--json", "--selftest"]).out);
  expect(text.code).toBe(0);
  for (const line of text.out.trimEnd().split("\n")) expect(line).toMatch(/^(pass|warn|fail) /);
  expect(json.ok).toBe(true);
  const ids = json.checks.map((check: { id: string }) => check.id);
  for (const id of [
    "bun",
    "library",
    "kvm.device",
    "kvm.open",
    "kvm.kind",
    "kvm.exit",
    "kernel.memfd",
    "kernel.openat2",
    "selftest.protection",
  ])
    expect(ids).toContain(id);
});

const setpriv = Bun.which("setpriv");
// A user who may not open the device stands for a machine without it; becoming one needs root and util-linux's setpriv.
test.if(process.getuid?.() === 0 && setpriv !== null)("without KVM every entry point says so and how to mend it", () => {
  const dropped = [setpriv as string, "--reuid=65534", "--regid=65534", "--clear-groups"];
  const library = join(import.meta.dir, "../zig-out/lib/libpristine.so");
  const script = `import { Machine } from ${JSON.stringify(join(import.meta.dir, "../src/index.ts"))};
    try { await Machine.boot(${JSON.stringify(guest("hello"))}); } catch (e) { console.log(e.code, "|", e.hint); }`;
  const done = Bun.spawnSync([...dropped, process.execPath, "-e", script], {
    env: { ...process.env, PRISTINE_LIBRARY: library, HOME: "/tmp" },
  });
  expect(done.stdout.toString()).toMatch(/^KVM_UNAVAILABLE \| .+/);
  const run = Bun.spawnSync([...dropped, process.execPath, main, "run", guest("hello")], { env: { ...process.env, HOME: "/tmp" } });
  expect(run.exitCode).toBe(125);
  expect(run.stderr.toString()).toContain("/dev/kvm");
  const doctor = Bun.spawnSync([...dropped, process.execPath, main, "doctor"], { env: { ...process.env, HOME: "/tmp" } });
  expect(doctor.exitCode).toBe(1);
  expect(doctor.stdout.toString()).toMatch(/^fail .*\/dev\/kvm/m);
});

test("help has examples, the version is the package's", () => {
  expect(pristine(["--help"]).out).toContain("Examples");
  for (const flag of ["--allow-read", "--allow-connect", "--allow-listen", "--allow-net"])
    expect(pristine(["run", "--help"]).out).toContain(flag);
  expect(pristine(["--version"]).out.trim()).toBe(JSON.parse(readFileSync(join(import.meta.dir, "../package.json"), "utf8")).version);
});
