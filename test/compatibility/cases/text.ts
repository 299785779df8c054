/** Tools for text and files outside coreutils. */
import { type Case, noProcesses, program, programs } from "../case.ts";

const grep = program("grep", "/usr/bin/grep", [
  [["-n", "seven", "other"], { light: true }],
  [["-rc", "one", "folder"]],
  [["-P", "(?<=line )number \\d{2}5 ", "text"]],
  [["-E", "-o", "(abc){3,}", "text"]],
  [["-i", "ÜßE", "unicode"], { env: { LC_ALL: "C.UTF-8" } }],
  [["nothing-like-it", "text"]],
  [["x", "missing"]],
  [["-c", "", "noise"]],
]);

const sed = program("sed", "/usr/bin/sed", [
  [["-n", "s/line/row/p", "text"], { light: true }],
  [["-E", "s/([0-9]+) line/<\\1>/;5q", "text"]],
  [["-i", "s/a/A/g", "csv"], { writes: true }],
  [["-f", "missing"]],
  [["1!G;h;$!d"], { name: "sed that reverses lines", stdin: "a\nb\nc\n" }],
]);

const awk = [
  ...program("gawk", "/usr/bin/gawk", [
    [["{ n += $1; s[$1 % 7]++ } END { print n, NR; for (i = 0; i < 7; i++) print i, s[i] }", "text"], { name: "gawk sums and arrays" }],
    [['BEGIN { printf "%s %.10g %s\\n", strftime("%F", 0, 1), sin(1), gensub(/b/, "X", "g", "abcb") }'], { name: "gawk functions" }],
    [['BEGIN { while ((getline line < "csv") > 0) print toupper(line); exit 3 }'], { name: "gawk getline and exit" }],
    [["-M", "BEGIN { print 2 ^ 200 }"], { name: "gawk bignum" }],
    [['BEGIN { print "b\\na" | "sort" }'], { name: "gawk writing to a command", difference: noProcesses }],
  ]),
  ...program("mawk", "/usr/bin/mawk", [
    [["-F,", '{ printf "%s=%d\\n", $1, $2 }', "csv"], { name: "mawk fields" }],
    [["BEGIN { for (i = 0; i < 100000; i++) s += i; print s }"], { name: "mawk loop" }],
  ]),
];

const archives = [
  ...program("tar", "/usr/bin/tar", [
    [["-cf", "-", "--numeric-owner", "folder", "link"], { name: "tar to standard output" }],
    [["-cvf", "archive.tar", "--sort=name", "folder", "csv"], { writes: true }],
    [["-tf", "missing.tar"]],
    [["-czf", "archive.tar.gz", "folder"], { name: "tar through gzip", writes: true, difference: noProcesses }],
  ]),
  ...program("gzip", "/usr/bin/gzip", [
    [["-c", "-9", "text"]],
    [["-n", "large"], { writes: true }],
    [["-d"], { name: "gzip of what is none", stdin: "not compressed" }],
  ]),
  ...program("bzip2", "/usr/bin/bzip2", [[["-c", "large"]]]),
  ...program("xz-utils", "/usr/bin/xz", [[["-c", "-T1", "large"]], [["-T1", "text"], { writes: true }], [["-T2", "-c", "large"]]]),
  ...program("zstd", "/usr/bin/zstd", [[["--single-thread", "--no-asyncio", "-q", "-c", "large"]]]),
  ...program("lz4", "/usr/bin/lz4", [[["-q", "-c", "large"]]]),
  ...program("brotli", "/usr/bin/brotli", [[["-c", "text"]]]),
  ...program("zip", "/usr/bin/zip", [[["-X", "-r", "archive.zip", "folder"], { writes: true }]]),
  ...program("cpio", "/usr/bin/cpio", [[["-o", "-H", "newc", "--reproducible", "-R", "0:0"], { stdin: "csv\nfolder\n" }]]),
];

const find = program("findutils", "/usr/bin/find", [
  [[".", "-name", "*o*", "-not", "-path", "./repository/*"], { light: true }],
  [["many", "-type", "f", "-size", "3c"]],
  [["folder", "-printf", "%p %s %m %y %T@\\n"]],
  [["folder", "-depth", "-delete"], { writes: true }],
  [["missing"]],
]);

const difference = [
  ...program("diffutils", "/usr/bin/diff", [
    [["text", "other"]],
    [["-u", "--label=a", "--label=b", "text", "other"]],
    [["-r", "folder", "many"]],
    [["text", "text"]],
    [["text", "missing"]],
  ]),
  ...program("diffutils", "/usr/bin/cmp", [[["-l", "text", "other"]]]),
  ...program("patch", "/usr/bin/patch", [[["-p0", "-i", "changes.diff"], { writes: true }]]),
];

const others = [
  ...program("xxd", "/usr/bin/xxd", [[["noise"]], [["-r", "-p"], { stdin: "48656c6c6f0a" }]]),
  ...program("file", "/usr/bin/file", [[["text", "noise", "empty", "link", "folder", "data.json", "program.c", "/bin/ls"]]]),
  ...program("jq", "/usr/bin/jq", [
    [["."], { name: "jq .", stdin: '{"b":1,"a":[1,2,{"c":null}]}' }],
    [["-r", ".sizes | map(. * 2) | @csv", "data.json"]],
    [[".missing[]", "data.json"]],
    [["."], { name: "jq of what is no JSON", stdin: "{" }],
  ]),
  ...program("bc", "/usr/bin/bc", [[["-l"], { name: "bc -l", stdin: "scale=40\n4*a(1)\n2^200\n" }]]),
  ...program("dc", "/usr/bin/dc", [[["-e", "2 300 ^ p 10 k 2 v p"]]]),
  ...program("m4", "/usr/bin/m4", [[[], { name: "m4", stdin: "define(`twice', `$1$1')twice(ab) eval(7 * 6) len(`word')\n" }]]),
  ...program("ed", "/usr/bin/ed", [
    [["-s", "csv"], { name: "ed that edits", stdin: "2s/22/23/\n$a\nd,4444\n.\nw\n,p\nq\n", writes: true }],
  ]),
  ...program("datamash", "/usr/bin/datamash", [[["-t,", "sum", "2", "mean", "2"], { stdin: "a,1\nb,22\n" }]]),
  ...program("libxml2-utils", "/usr/bin/xmllint", [[["--xpath", "//item[@id=2]/text()", "page.xml"]], [["--format", "page.xml"]]]),
  ...program("gettext", "/usr/bin/msgfmt", [[["--version"]]]),
  ...programs("bsdextrautils", "/usr/bin", [
    [["hexdump", "-C", "noise"]],
    [["column", "-t", "-s,", "csv"]],
    [["col", "-b"], { stdin: "a\bb\n" }],
  ]),
  ...programs("util-linux", "/usr/bin", [
    [["rev", "csv"]],
    [["prlimit", "--nofile=64", "bash", "-c", "ulimit -n"]],
    [["taskset", "-c", "0", "echo", "on one processor"]],
    [["setarch", "-R", "uname", "-m"]],
    [["setsid", "--help"]],
    [["namei", "link"]],
    [["flock", "csv", "-c", "true"], { writes: true, difference: noProcesses }],
    [["getopt", "-o", "ab:", "--", "-a", "-b", "x", "rest"]],
  ]),
  ...programs("libc-bin", "/usr/bin", [
    [["iconv", "-f", "UTF-8", "-t", "UTF-16BE", "unicode"]],
    [["getent", "passwd", "root"]],
    [["getconf", "PAGESIZE"]],
    [["locale"]],
    [["ldd", "/bin/ls"], { difference: noProcesses }],
  ]),
  ...program("libc-bin", "/sbin/ldconfig", [[["-p"], { name: "ldconfig -p (static)", light: true }]]),
  ...program("libc6", "/lib64/ld-linux-x86-64.so.2", [[["/bin/echo", "through", "the", "loader"]]]),
];

export const text: Case[] = [...grep, ...sed, ...awk, ...archives, ...find, ...difference, ...others];
