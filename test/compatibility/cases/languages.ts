/** Interpreters. Longer programs lie in `programs/`. */
import { type Case, noProcesses, program, type Row } from "../case.ts";

const c = (code: string, options: Row[1]): Row => [["-c", code], options];

const python = program("python3.11-minimal", "/usr/bin/python3.11", [
  c("print(1)", { name: "python -c 'print(1)'", light: true }),
  c("import sys; sys.stderr.write('to standard error\\n'); sys.exit(300 % 256)", { name: "exit status" }),
  c("import sys; sys.exit('a message')", { name: "exit with a message" }),
  c("def f(): return {}['missing']\nf()", { name: "uncaught exception" }),
  c("import argparse; p = argparse.ArgumentParser(prog='tool'); p.add_argument('--n', type=int); p.parse_args(['--n', 'x'])", {
    name: "argparse error",
  }),
  c("import sys; print(sum(map(int, sys.stdin)))", { name: "lines of standard input", stdin: "1\n20\n300\n" }),
  c("print(input('name: ') + '!')", { name: "input", stdin: "someone\n" }),
  c("if", { name: "syntax error" }),
  c("import ctypes; ctypes.string_at(0)", { name: "segmentation fault" }),
  c("import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)", { name: "faulthandler", unstableStderr: true }),
  c("import os; os.abort()", { name: "abort" }),
  c("import os, signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL); r, w = os.pipe(); os.close(r); os.write(w, b'x')", {
    name: "broken pipe",
  }),
  c("import time, signal, os; signal.alarm(1); time.sleep(10)", { name: "ended by an alarm" }),
  c("x = bytearray(200_000_000); x[::4096] = b'x' * len(x[::4096]); print(x.count(b'x'))", { name: "200 MB of memory" }),
  c("try:\n  x = ' ' * (1 << 45)\nexcept MemoryError: print('no memory')", { name: "memory that cannot be had" }),
  c("import gc\nfor i in range(5):\n  a = [[] for _ in range(100000)]\n  a.append(a); del a\nprint(gc.collect() >= 0)", {
    name: "garbage collection",
  }),
  c("import os; print('before', flush=True); os.environ['B'] = '2'; os.execvp('printenv', ['printenv', 'B'])", { name: "execvp" }),
  c(
    "import os, sys; r, w = os.pipe(); os.set_inheritable(r, True); os.write(w, b'kept'); os.close(w); os.execv(sys.executable, ['python', '-c', f'import os; print(os.read({r}, 9))'])",
    { name: "execv with a pipe" },
  ),
  c("import os; pid = os.fork(); os._exit(0) if pid == 0 else print(os.waitpid(pid, 0)[1])", {
    name: "fork",
    difference: noProcesses,
  }),
  c("import subprocess; print(subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout)", {
    name: "subprocess",
    difference: noProcesses,
  }),
  c("import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[0])", {
    name: "listening socket",
  }),
  [["programs/text.py"]],
  [["programs/arithmetic.py"]],
  [["-m", "json.tool", "data.json"]],
  [["-m", "py_compile", "programs/text.py"], { env: { PYTHONDONTWRITEBYTECODE: "" }, writes: true }],
  [["-m", "missing_module"]],
  [["missing.py"]],
  [["-"], { name: "program of standard input", stdin: "for i in range(3):\n  print(i)\n" }],
]);

const pythonLibrary = program("libpython3.11-stdlib", "/usr/bin/python3.11", [
  [["programs/hashes.py"]],
  [["programs/database.py"], { writes: true }],
  [["programs/maps.py"], { writes: true }],
  [["programs/signals.py"]],
  [["programs/files.py", "many"], { writes: true }],
  [["programs/identity.py"]],
  [["programs/tests.py"]],
  [["programs/system.py", "argument"]],
  [["-m", "zipfile", "-c", "archive.zip", "folder/", "csv"], { writes: true }],
  [["-m", "tarfile", "-l", "missing.tar"]],
  [["programs/asyncio_sleeps.py"]],
  [["programs/threads.py"]],
]);

const perl = [
  ...program("perl-base", "/usr/bin/perl", [
    [["-ne", '$n += $1 while /(\\d+)/g; END { print "$n\\n" }', "text"], { name: "perl -ne" }],
    [["-i", "-pe", "s/a/A/", "csv"], { name: "perl -i", writes: true }],
    [["-e", "die qq(the end\\n)"], { name: "perl die" }],
    [
      ["-e", "print join(',', map { $_ ** 2 } grep { $_ % 2 } 1 .. 9), qq(\\n); printf '%s', scalar reverse 'abc'"],
      { name: "perl lists", light: true },
    ],
    [["-e", "exec { '/bin/echo' } 'echo', 'from perl'"], { name: "perl exec" }],
    [["-e", "my @a = map { { n => $_ } } 1 .. 200000; print scalar(@a)"], { name: "perl memory" }],
    [["-e", "print `echo x`"], { name: "perl backticks", difference: noProcesses }],
  ]),
  ...program("perl", "/usr/bin/perl", [[["programs/work.pl"]]]),
];

const lua = [
  ...program("lua5.4", "/usr/bin/lua5.4", [
    [["-e", "print(1 + 1, _VERSION)"], { name: "lua -e", light: true }],
    [["programs/work.lua"], { writes: true }],
    [["-e", "error('uncaught')"], { name: "lua error" }],
    [["-e", "local function f() return f() + 1 end f()"], { name: "lua stack overflow" }],
  ]),
  ...program("luajit", "/usr/bin/luajit", [
    [["-e", "print(jit.version_num, bit.bxor(5, 3))"], { name: "luajit -e" }],
    [["programs/work.lua"], { writes: true }],
    [["programs/loop.lua"]],
  ]),
];

const others = [
  ...program("ruby3.1", "/usr/bin/ruby3.1", [
    [["-e", "puts 1 + 1"], { name: "ruby -e" }],
    [["programs/work.rb"]],
    [["-e", "raise 'uncaught'"], { name: "ruby exception" }],
    [["-e", "puts `echo x`"], { name: "ruby backticks", difference: noProcesses }],
  ]),
  ...program("php8.2-cli", "/usr/bin/php8.2", [
    [["-n", "-r", "echo 1 + 1, PHP_EOL;"], { name: "php -r" }],
    [["programs/work.php"]],
    [["-r", "throw new Exception('uncaught');"], { name: "php exception" }],
  ]),
  ...program("tcl8.6", "/usr/bin/tclsh8.6", [[["programs/work.tcl"]]]),
  ...program("guile-3.0", "/usr/bin/guile-3.0", [
    [["--no-auto-compile", "programs/work.scm"]],
    [["-c", "(display (+ 1 2))"], { name: "guile -c" }],
  ]),
  ...program("nodejs", "/usr/bin/node", [[["programs/work.js"]]]),
  ...program("sqlite3", "/usr/bin/sqlite3", [
    [
      [":memory:", "create table t (a, b); insert into t values (1, 'x'), (2, 'y'); select sum(a), group_concat(b) from t;"],
      { name: "sqlite3 in memory" },
    ],
    [
      [
        "file.db",
        "create table t (a); with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) insert into t select i * i from n; create index x on t (a); select count(*), max(a) from t; pragma integrity_check;",
      ],
      { name: "sqlite3 in a file, with a rollback journal", writes: true },
    ],
    [
      [
        "wal.db",
        "pragma journal_mode = wal; create table t (a); insert into t values (1), (2); pragma wal_checkpoint; begin; insert into t values (3); rollback; select * from t;",
      ],
      { name: "sqlite3 with a write-ahead log", writes: true },
    ],
    [["-csv", ":memory:", ".import csv t", "select * from t;"], { name: "sqlite3 import" }],
    [[":memory:", "select * from missing;"], { name: "sqlite3 error" }],
    [["-json", ":memory:", "select json_extract('{\"a\":[1,2]}', '$.a[1]') as x, sqrt(2) as r;"], { name: "sqlite3 json" }],
  ]),
];

export const languages: Case[] = [...python, ...pythonLibrary, ...perl, ...lua, ...others];
