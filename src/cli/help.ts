/** `--help` and `--version`. */

const commands = `pristine: run unmodified Linux executables inside tiny KVM virtual machines

  pristine run     [options] [--] PROGRAM [ARGUMENT…]   run a program; streams and exit status pass through
  pristine serve   [options] [--] PROGRAM [ARGUMENT…]   run an HTTP server; every request gets a fresh copy of it
  pristine snapshot [options] -o FILE [--] PROGRAM …    boot a program until it is ready, and save it
  pristine resume  [options] FILE                       go on from a saved snapshot; a server's serves
  pristine record  [options] FILE                       the same, and keeps in it which pages requests use
  pristine inspect [--json] FILE                        what a snapshot holds
  pristine doctor  [--json] [--selftest]                what this machine offers, what is missing, how to mend it
  pristine help    [COMMAND]                            this text, or a command's options
  pristine --version

Examples
  pristine run /bin/busybox echo hello
  pristine run --allow-read=/etc /bin/busybox cat /etc/hostname
  pristine serve --allow-read --allow-listen=127.0.0.1:8000 deno serve main.ts
  pristine doctor
`;

const run = `pristine run [options] [--] PROGRAM [ARGUMENT…]

Options end at the first word that does not start with "-", or at "--"; everything after is the program's.
Optional values are given with "=" only. Without permissions a program can compute, and use its standard streams.

Permissions
  --allow-read[=PATH,…]     read files (everything, or those paths and beneath)
  --allow-write[=PATH,…]    write, make and remove files
  --allow-env[=NAME,GLOB…]  pass variables of this environment on
  --allow-connect[=HOST:PORT,…] connect to those addresses (HOST alone: every port)
  --allow-listen[=HOST:PORT,…]  serve on those addresses of the host
  --allow-net[=HOST:PORT,…]     both
  -A, --allow-all           all of these; the program sees the host's files with your rights
  --deny-read[=…] and so on win over what is allowed
  -v, --volume HOST:GUEST[:ro|rw]   show a host path at another place (ro unless it says rw)
Program
  -e, --env NAME=VALUE | NAME   set a variable, or pass one on
  --env-file FILE               variables from a file
  -w, --cwd PATH                working directory
  --remote NAME=PROGRAM[,shared|fork|pool][,exitless]
                                a program whose functions it calls (pristine_import("NAME:FUNCTION")), booted first with the
                                same permissions: one for all forks (shared), one for each, or a few; exitless: called
                                without exits where that can be (docs/remotes.md)
Limits
  --memory SIZE             ceiling of its memory, such as 64MiB (default 512MiB)
  --timeout DURATION        such as 500ms, 5s, 1m (default none)
  --cpu-timeout DURATION    the same for CPU time
  --jail[=strict]           in a process of its own behind a second wall: as much of it as the host permits, or all of it
Looking inside
  --trace[=FILE]            system calls, one a line, in strace's format
  --verbose                 name the flag for each access that was refused; registers of a fatal fault
  --quiet                   no report of a fatal fault

Exit status: the program's own; 128+N if signal N ended it; 124 time limit; 137 out of memory; 125 Pristine failed or was
misused; 126 not executable; 127 not found.

Examples
  pristine run ./server --port 80           --port is the program's
  pristine run --allow-read=/usr,/etc -- /bin/busybox ls /etc
  pristine run --memory 64MiB --timeout 5s ./untrusted < input
  pristine run --allow-read --allow-listen=127.0.0.1:8000 deno serve --host 127.0.0.1 main.ts
`;

const serve = `pristine serve [options] [--] PROGRAM [ARGUMENT…]

Runs an HTTP server inside a machine until it listens, warms it with requests, and freezes it. Every request on the host's
socket then gets a fork of the frozen server, which is put back behind it: no request sees what another has left.

Where it serves
  The program listens inside its machine, at any TCP port and without a permission; nobody on the host can reach it there.
  --allow-listen=HOST:PORT      serve on that address of the host (HOST alone: with the program's port; port 0: any free one)
  --allow-listen=unix:/path     serve on a Unix socket
  Without it, or without a value: on the address that the program itself listens at.
Forks and requests
  --forks N                     requests at the same time, each on a native thread (default 4); others wait in a queue
  --warmup N                    requests for / before the freeze (default 20), at the best of whose last instants it is frozen
  --timeout DURATION            for each request, its whole answer included (default 5s); then 504
  --cpu-timeout DURATION        the same for CPU time (default none)
  --memory SIZE                 ceiling of the server's memory and of each fork's (default 512MiB)
  --reset auto|rewrite|full     how forks are put back (default auto)
  --reset-limit SIZE            private memory from which auto drops all of it (default 64MiB)
  --jail[=strict]               forks in processes of their own behind a second wall (docs/jail.md); the banner tells what there is
  --per request|connection      a fork for each request (default), or one for all requests of a connection: not behind a proxy,
                                which sends many users on one
Looking at it
  --metrics HOST:PORT           a live page at /, Prometheus' text at /metrics
  --json                        a line of JSON for each request and event on standard output; the program's goes to standard error
  --verbose                     a line for each request, and for each access that was refused
  --quiet                       no messages
Permissions, volumes, environment, working directory and --remote are those of "run", but for --deny-listen.

Status of answers: the server's own; 500 fault, or the server exited; 502 malformed answer; 503 queue full or draining; 504 time
limit; 501 WebSocket.
A first SIGINT or SIGTERM takes no more requests and waits for those under way (exit status 0), a second ends at once (128+N).
Exit status otherwise: the program's own if it ends before it listens (125 if that is 0); 124 it did not listen within a minute;
125 Pristine failed or was misused, or the address is in use; 126 not executable; 127 not found.

Examples
  pristine serve --allow-read --allow-listen=127.0.0.1:8000 deno serve main.ts
  pristine serve --allow-read=/usr,/lib,/app -w /app --timeout 1s --forks 8 python3 server.py
  pristine serve --allow-read --metrics 127.0.0.1:9090 --json node server.js
`;

const snapshot = `pristine snapshot [options] -o FILE [--] PROGRAM [ARGUMENT…]

Boots a program until it is ready and saves it: its memory, threads, open files and private files, in one file that is there
whole or not at all. What the file reveals: everything the program had in memory (docs/snapshots.md).

  -o, --output FILE             the snapshot
  --ready listen|ready|exit     when: it waits for connections and has been warmed (default), it has called pristine_ready(),
                                or it has ended, for its functions to be called
  --warmup N                    requests for / before the freeze of a server (default 20)
  --record N                    then N requests for / of a server are recorded: the pages that they use are read first, and a
                                first answer waits for no other ("record" does it with real requests)
  --cpu-baseline NAME           show the program no more of the processor than x86-64, x86-64-v2, x86-64-v3 or x86-64-v4 has, so that
                                it goes on wherever that is there (hardware virtualization alone: software KVM hides nothing)
  --user FILE                   bytes to keep in the snapshot for whoever opens it, up to 64 MiB
  --copy-files                  keep copies of the files that the program has open or mapped and only reads, up to 4 GiB: it then
                                goes on where they are missing or have changed, and without permission to read them
Permissions, volumes, environment, working directory, --remote, limits and messages are those of "run".

Exit status: 0 when it is saved; the program's own if it ends before; otherwise as "run".

Examples
  pristine snapshot --allow-read -o web.snap deno serve main.ts
  pristine snapshot --ready ready -o calc.snap ./calculator
`;

const resume = `pristine resume [options] FILE

Goes on from a snapshot. One of a server serves as "pristine serve" does; any other program runs on, with this command's
standard streams, to its end.
The file grants nothing: what the program had open of the host is opened again under the permissions given here, and must be
the same, but for files of which it has copies. Its processor must have all that the one had where the snapshot was taken.
s3://BUCKET/KEY in place of FILE is fetched from object storage, with the credentials of S3_ENDPOINT, S3_ACCESS_KEY_ID and so on.

  --verify lazy|full|trusted    compare what is needed at once first, and all else before its first use (default), compare all
                                first, or believe a file that nobody else can write
  --allow-read and so on, -v, --remote
                                as for "run"; remotes are not in the file
  --allow-listen, --forks, --timeout, --memory, --reset, --reset-limit, --per, --metrics, --json, --verbose, --quiet
                                as for "serve"

Exit status: as "serve" or "run"; 125 also for a snapshot that is damaged or does not fit this machine.

Examples
  pristine resume --allow-listen=127.0.0.1:8000 web.snap
  pristine resume calc.snap < input
`;

const record = `pristine record [options] FILE

Goes on from a snapshot as "resume" does, and at the end writes back which pages were used, all requests together: they are then
the first in the file, in the order of their first use, and the only ones that "resume" reads before it goes on. Send what real
clients send, and end it with SIGINT or SIGTERM. Recording makes the first use of each page slow.
Its options are those of "resume", but for --verify: all checksums are compared first.

Examples
  pristine record --allow-read --allow-listen=127.0.0.1:8000 web.snap
`;

const inspect = `pristine inspect [--json] [--secrets PATTERN] FILE

Tells what a snapshot holds: program, memory, threads, open files, and which files of the host it refers to or has copies of.
  --json                        for programs
  --secrets PATTERN             where in it the regular expression is found: sections and places in the file (1000 at most);
                                exit status 1 if it is

Examples
  pristine inspect web.snap
  pristine inspect --secrets 'AKIA[0-9A-Z]{16}' web.snap
`;

const doctor = `pristine doctor [--json] [--selftest]

Each line is pass, warn or fail, with what to do. Exit status 1 if something that is needed is missing.
  --json       for programs
  --selftest   also boots machines and tries the properties everything rests on
`;

const texts: Record<string, string> = { run, serve, snapshot, resume, record, inspect, doctor };

export function help(command?: string): number {
  process.stdout.write((command && texts[command]) || commands);
  return 0;
}
