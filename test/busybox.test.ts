/** Debian's static busybox: each command prints and exits in a machine as it does natively. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine } from "../src/index.ts";

const busybox = "/bin/busybox";
const rseq = 334;
const there = existsSync(busybox);
let dir = "";

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "pristine-busybox-"));
  mkdirSync(join(dir, "folder/inner"), { recursive: true });
  const lines = Array.from({ length: 500 }, (_, index) => `${(index * 37) % 500} line number ${index} ${"abc".repeat(index % 5)}`);
  writeFileSync(join(dir, "text"), `${lines.join("\n")}\n`);
  writeFileSync(join(dir, "other"), `${lines.map((line) => line.replace("7", "seven")).join("\n")}\n`);
  writeFileSync(join(dir, "csv"), "a,1\nb,22\nc,333\n");
  writeFileSync(join(dir, "folder/one"), "one\n");
  writeFileSync(join(dir, "folder/inner/two"), "two\n");
  symlinkSync("folder/one", join(dir, "link"));
  chmodSync(join(dir, "folder/one"), 0o640);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const commands: [string[], string?][] = [
  [["echo", "-e", "a\\tb"]],
  [["cat", "text", "csv"]],
  [["cat", "missing"]],
  [["head", "-n", "3", "text"]],
  [["tail", "-n", "3", "text"]],
  [["tac", "csv"]],
  [["rev"], "hello\nworld\n"],
  [["wc", "text", "other"]],
  [["sort", "text"]],
  [["sort", "-n", "-r", "text"]],
  [["uniq", "-c"], "a\na\nb\n"],
  [["cut", "-d,", "-f2", "csv"]],
  [["paste", "csv", "csv"]],
  [["tr", "a-z", "A-Z"], "lower\n"],
  [["grep", "-n", "seven", "other"]],
  [["grep", "-c", "line", "text"]],
  [["grep", "nothing-like-it", "text"]],
  [["sed", "-n", "s/line/row/p", "text"]],
  [["awk", "{ n += $1 } END { print n, NR }", "text"]],
  [["awk", "-F,", '{ printf "%s=%d\\n", $1, $2 }', "csv"]],
  [["diff", "text", "other"]],
  [["cmp", "text", "other"]],
  [["md5sum", "text"]],
  [["sha1sum", "text"]],
  [["sha256sum", "text", "csv"]],
  [["sha512sum", "text"]],
  [["cksum", "text"]],
  [["base64", "csv"]],
  [["od", "-c", "csv"]],
  [["hexdump", "-C", "csv"]],
  [["xxd", "csv"]],
  [["gzip", "-c", "text"]],
  [["bzip2", "-c", "text"]],
  [["tar", "-cf", "-", "folder"]],
  [["cpio", "-o", "-H", "newc"], "csv\n"],
  [["ls", "-1", "."]],
  [["ls", "-ln", "folder"]],
  [["ls", "missing"]],
  [["find", "folder", "-type", "f"]],
  [["stat", "-c", "%s %a %F", "text", "folder", "link"]],
  [["readlink", "link"]],
  [["basename", "/a/b/c.txt", ".txt"]],
  [["dirname", "/a/b/c.txt"]],
  [["seq", "1", "3", "20"]],
  [["expr", "6", "*", "7"]],
  [["dc", "-e", "2 100 ^ p"]],
  [["factor", "360360"]],
  [["printf", "%05d %x\\n", "42", "255"]],
  [["test", "-f", "text"]],
  [["test", "-d", "text"]],
  [["true"]],
  [["false"]],
  [["fold", "-w", "10", "csv"]],
  [["expand"], "a\tb\n"],
  [["nl", "csv"]],
  [["comm", "csv", "csv"]],
  [["strings", "text"]],
  [["cal", "1", "2000"]],
  [["date", "-u", "-d", "@0"]],
  [["sh", "-c", "i=0; while [ $i -lt 50 ]; do i=$((i+1)); done; echo $i $((i % 7))"]],
  [["ash", "-c", "for f in folder/*; do [ -d $f ] && echo $f; done; read x < csv; echo $x"]],
];

for (const [words, input] of commands) {
  test.if(there)(`busybox ${words.join(" ")}`, async () => {
    const stdin = input === undefined ? ("ignore" as const) : new TextEncoder().encode(input);
    const native = Bun.spawnSync([busybox, ...words], { cwd: dir, env: {}, stdin, stderr: "pipe" });
    await using vm = await Machine.boot(busybox, {
      args: words,
      cwd: dir,
      stdin,
      stderr: "pipe",
      permissions: { read: [dir] },
      timeout: 30_000,
    });
    const [stop, out, err] = await Promise.all([vm.run(), new Response(vm.stdout).text(), new Response(vm.stderr).text()]);
    expect({ out, err, code: stop.exitCode as number | null }).toEqual({
      out: native.stdout.toString(),
      err: native.stderr.toString(),
      code: native.exitCode,
    });
    // glibc asks for rseq and goes on without it; nothing else is missing.
    expect([...vm.counters().unsupported.keys()].filter((number) => number !== rseq)).toEqual([]);
  });
}
