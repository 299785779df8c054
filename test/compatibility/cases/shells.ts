/** Shells, with builtins alone: a machine has no child processes yet. */
import { type Case, noProcesses, program, type Row } from "../case.ts";

/** What any POSIX shell does by itself. */
const posix: Row[] = [
  [["-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo $i $((i % 7)) $((i << 3 ^ 5))"], { name: "loop and arithmetic" }],
  [["-c", "for f in folder/* m*/file-1?; do [ -d $f ] && echo folder $f || echo $f; done"], { name: "globs" }],
  [["-c", 'while IFS=, read -r a b; do echo "$b:$a"; done < csv'], { name: "read of a file" }],
  [["-c", 'read a b; echo "$b $a"; read c; echo "$? $c"'], { name: "read of a pipe", stdin: "one two three\nno newline" }],
  [["-c", "x=path/to/file.tar.gz; echo ${x##*/} ${x%%.*} ${x%.gz} ${#x} ${y:-none} ${x:+set}"], { name: "expansions" }],
  [["-c", "trap 'echo bye' EXIT; trap 'echo caught' USR1; kill -USR1 $$; echo after; exit 3"], { name: "traps" }],
  [["-c", "kill -TERM $$; echo not reached"], { name: "ended by a signal" }],
  [["-c", 'while read x; do echo "<$x>"; done <<END\none $((1+1))\ntwo\nEND'], { name: "here-document" }],
  [
    ["-c", "echo to a file > new; echo more >> new; read x < new; echo $x >&2; set -C; echo no > new"],
    { name: "redirections", writes: true },
  ],
  [["-c", "f() { local v=$1; [ $v -le 1 ] && return 1; f $((v - 1)); echo $v; }; f 50; echo $?"], { name: "recursion" }],
  [["-c", 'case abc in a*c) echo match;; *) echo none;; esac; set -- x y z; shift; echo $# $1 "$*"'], { name: "case and positions" }],
  [["-c", "cd folder/inner && pwd && cd .. && pwd; cd nowhere; echo $?"], { name: "cd" }],
  [["-c", "umask 027; umask; ulimit -n >/dev/null && echo limits; type cd"], { name: "umask and ulimit" }],
  [["-c", "set -u; echo $undefined"], { name: "undefined variable" }],
  [["-c", "A=1; export A; exec 3<csv; exec /bin/busybox env -u PATH /bin/busybox cat /dev/fd/3"], { name: "exec" }],
  [["-c", "exec ./scripts/script.sh a b"], { name: "exec of a script" }],
  [["-c", "exec nothing-like-it; echo not reached"], { name: "exec of nothing" }],
  [["-c", "if; then"], { name: "syntax error" }],
  [["-c", "/nowhere/program"], { name: "program that is not there", difference: noProcesses }],
  [["-c", "echo a | read x; echo $(echo b)"], { name: "pipe and substitution", difference: noProcesses }],
];

const bash: Row[] = [
  [
    ["-c", 'a=(5 3 9); a+=(1); for i in "${!a[@]}"; do echo $i=${a[i]}; done; declare -A m=([x]=1 [y]=2); echo ${m[y]} ${#m[@]}'],
    { name: "arrays" },
  ],
  [["-c", "mapfile -t lines < csv; printf '%s|' \"${lines[@]}\"; printf -v v %04d 7; echo $v"], { name: "mapfile and printf -v" }],
  [
    ["-c", "[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo ${BASH_REMATCH[@]}; x=hello; echo ${x^^} ${x/l/L} ${x:1:3} {1..5}"],
    { name: "expressions" },
  ],
  [["-c", "shopt -s globstar extglob\necho folder/** @(csv|text)"], { name: "globstar" }],
  [["-c", "read -t 0.05 x < /dev/zero; exec 3<csv; read -u 3 y; echo $y; exec 3<&-"], { name: "descriptors" }],
  [["-c", "set -e; trap 'echo line $LINENO' ERR; false; echo not reached"], { name: "errexit and trap ERR" }],
  [
    ["-c", "fib() { (( $1 < 2 )) && r=$1 || { fib $(( $1 - 1 )); local a=$r; fib $(( $1 - 2 )); r=$(( a + r )); }; }; fib 12; echo $r"],
    { name: "fib" },
  ],
  [["-c", "exec -a another dash -c 'echo $0'"], { name: "exec -a" }],
  [["--version"]],
];

const named = (rows: Row[], shell: string): Row[] =>
  rows.map(([args, options]) => [args, options?.name ? { ...options, name: `${shell}: ${options.name}` } : options] as const);

/** Scripts with an interpreter line; `scripts/` has them. */
const scripts = [
  ...program("dash", "./scripts/script.sh", [[["one", "two words"], { name: "#!/bin/dash script", light: true }]]),
  ...program("bash", "./scripts/script-env.sh", [[["argument"], { name: "#!/usr/bin/env bash script" }]]),
  ...program("python3.11-minimal", "./scripts/script.py", [[["x"], { name: "#!/usr/bin/python3.11 -E script" }]]),
  ...program("busybox-static", "./scripts/script-static.sh", [[[], { name: "#!/bin/busybox sh script" }]]),
  ...program("perl-base", "./scripts/script.pl", [[["a", "b"], { name: "#!/usr/bin/perl -w script" }]]),
  ...program("mawk", "./scripts/script.awk", [[["csv"], { name: "#!/usr/bin/mawk -f script" }]]),
  ...program("debianutils", "./scripts/script-nested", [[["deep"], { name: "#! line that names another script" }]]),
];

export const shells: Case[] = [
  ...program("dash", "/usr/bin/dash", named(posix, "dash")),
  ...program("bash", "/usr/bin/bash", named([...posix, ...bash], "bash")),
  ...scripts,
];
