/** Compilers, linkers, version control and cryptography. */
import { type Case, noProcesses, program, programs, type Row } from "../case.ts";

/** A repository belongs to whoever made it, and a guest is user 1000 unless it may do everything. */
const gitEnvironment = {
  GIT_CONFIG_COUNT: "2",
  GIT_CONFIG_KEY_0: "safe.directory",
  GIT_CONFIG_VALUE_0: "*",
  GIT_CONFIG_KEY_1: "diff.autoRefreshIndex",
  GIT_CONFIG_VALUE_1: "false",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_PAGER: "cat",
  // Commands that only read would renew the index on the way.
  GIT_OPTIONAL_LOCKS: "0",
  GIT_AUTHOR_NAME: "A U Thor",
  GIT_AUTHOR_EMAIL: "author@example.com",
  GIT_AUTHOR_DATE: "1000000000 +0000",
  GIT_COMMITTER_NAME: "C O Mitter",
  GIT_COMMITTER_EMAIL: "c@example.com",
  GIT_COMMITTER_DATE: "1000000000 +0000",
};
const index = "repository/.git/index";
const inRepository = (words: string[], options: Row[1] = {}): Row => [
  ["-C", "repository", "--no-pager", ...words],
  { name: `git ${words.join(" ")}`, env: gitEnvironment, ...options },
];
const changing = { writes: true, unstableFiles: [index] };

const git = program("git", "/usr/bin/git", [
  inRepository(["log", "--stat", "--decorate"]),
  inRepository(["log", "--graph", "--oneline", "--all"], { light: true }),
  inRepository(["status", "--short", "--branch"]),
  inRepository(["status"]),
  inRepository(["rev-parse", "HEAD", "v1^{tree}", "--show-toplevel"]),
  inRepository(["cat-file", "-p", "HEAD^{tree}"]),
  inRepository(["cat-file", "--batch-check", "--batch-all-objects"]),
  inRepository(["hash-object", "notes"]),
  inRepository(["diff", "--no-ext-diff"]),
  inRepository(["diff", "--word-diff", "v1", "HEAD"]),
  inRepository(["ls-files", "-s", "-o"]),
  inRepository(["show", "--no-ext-diff", "HEAD"]),
  inRepository(["blame", "-l", "HEAD", "--", "notes"]),
  inRepository(["grep", "-n", "--threads=1", "first"]),
  inRepository(["branch", "-a", "-v"]),
  inRepository(["fsck", "--no-progress"], { difference: noProcesses }),
  inRepository(["describe", "--tags"]),
  inRepository(["archive", "--format=tar", "HEAD"]),
  inRepository(["config", "--list", "--local"]),
  inRepository(["rev-parse", "nothing"]),
  inRepository(["add", "."], changing),
  inRepository(["commit", "-a", "-q", "-m", "Another", "--no-verify"], { ...changing, difference: noProcesses }),
  inRepository(["checkout", "-q", "-f", "side"], changing),
  inRepository(["stash", "list"]),
  inRepository(["update-ref", "refs/heads/new", "HEAD"], { writes: true }),
  inRepository(["write-tree"], { writes: true }),
  inRepository(["tag", "v2"], { writes: true }),
  inRepository(["reset", "-q", "--hard", "v1"], changing),
  [["init", "-b", "main", "fresh"], { writes: true, env: { ...gitEnvironment } }],
  [["status"], { name: "git status outside a repository", env: { ...gitEnvironment, GIT_DISCOVERY_ACROSS_FILESYSTEM: "1" } }],
  [["nonsense"], { name: "git nonsense" }],
]);

const compilers = [
  ...program("cpp-12", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1", [
    [["-E", "-quiet", "program.c"], { name: "cc1 -E" }],
    [["-quiet", "-O2", "program.c", "-o", "-"], { name: "cc1 -O2, to assembly" }],
    [["-quiet", "-g", "-Wall", "text", "-o", "out.s"], { name: "cc1 of what is not C", writes: true }],
  ]),
  ...program("g++-12", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", [
    [
      ["-quiet", "-imultiarch", "x86_64-linux-gnu", "-O1", "-o", "-", "-"],
      {
        name: "cc1plus",
        stdin: "#include <vector>\nint sum(const std::vector<int>& v) { int s = 0; for (int x : v) s += x; return s; }\n",
      },
    ],
  ]),
  ...program("gcc-12", "/usr/bin/gcc-12", [[["-###", "-S", "program.c"]]]),
  ...program("tcc", "/usr/bin/tcc", [
    [["-c", "program.c"], { writes: true }],
    [["-run", "-"], { name: "tcc -run", stdin: '#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); return 5; }\n' }],
  ]),
  ...program("nasm", "/usr/bin/nasm", [[["-f", "elf64", "programs/hello.asm", "-o", "hello.o"], { writes: true }]]),
  ...programs("binutils", "/usr/bin", [
    [["as", "-o", "out.o", "-"], { name: "as", writes: true, stdin: ".globl f\nf: mov $1, %eax\nret\n" }],
    [["ld", "-r", "-b", "binary", "csv", "-o", "out.o"], { name: "ld", writes: true }],
    [["objdump", "-d", "--stop-address=0x5000", "/usr/bin/true"]],
    [["readelf", "-W", "-l", "-d", "/usr/bin/true"]],
    [["nm", "-D", "/usr/bin/true"]],
    [["strings", "-n", "8", "/usr/bin/true"]],
    [["size", "/usr/bin/true"]],
    [["ar", "rcsD", "archive.a", "text", "csv"], { writes: true }],
  ]),
  ...program("make", "/usr/bin/make", [[["-n", "all"], { name: "make -n" }], [["nothing"]]]),
  ...program("cmake", "/usr/bin/cmake", [[["-P", "programs/work.cmake"]], [["-E", "sha256sum", "csv"]]]),
  ...program("ninja-build", "/usr/bin/ninja", [[["-t", "targets"]]]),
  ...program("xsltproc", "/usr/bin/xsltproc", [[["programs/transform.xsl", "page.xml"]]]),
];

const rust = [
  ...program("ripgrep", "/usr/bin/rg", [
    [["-j1", "-n", "--sort", "path", "line number 3\\d+ abc$", "text"], { name: "rg of one file (Rust)" }],
    [["-j1", "--sort", "path", "one", "folder", "many"], { name: "rg of folders (Rust)" }],
    [["(", "text"], { name: "rg with a wrong pattern (Rust)" }],
  ]),
  ...program("fd-find", "/usr/bin/fdfind", [[["-j1", "two", "folder"], { name: "fd (Rust)" }]]),
  ...program("hyperfine", "/usr/bin/hyperfine", [[["--version"], { name: "hyperfine --version (Rust)" }]]),
];

const openssl = program("openssl", "/usr/bin/openssl", [
  [["dgst", "-sha3-256", "noise"]],
  [["dgst", "-sha256", "-hmac", "key", "text"]],
  [["enc", "-aes-256-cbc", "-K", "00".repeat(32), "-iv", "00".repeat(16), "-in", "text"], { name: "openssl enc" }],
  [["enc", "-chacha20", "-K", "11".repeat(32), "-iv", "00".repeat(16), "-a", "-in", "csv"], { name: "openssl enc to base64" }],
  [["asn1parse", "-genstr", "UTF8:hello"]],
  [["prime", "65537"]],
  [["pkey", "-in", "missing.pem"], { unstableStderr: true }],
  [["rand", "-out", "random", "100"], { name: "openssl rand", writes: true, unstableFiles: ["random"] }],
  [["genpkey", "-algorithm", "ed25519", "-out", "key.pem"], { writes: true, unstableFiles: ["key.pem"] }],
  [["version"]],
]);

export const development: Case[] = [...git, ...compilers, ...rust, ...openssl];
