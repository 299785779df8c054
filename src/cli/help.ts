/** `--help` and `--version`. */

const commands = `pristine: run unmodified Linux executables inside tiny KVM virtual machines

  pristine run     [options] [--] PROGRAM [ARGUMENT…]   run a program; streams and exit status pass through
  pristine doctor  [--json] [--selftest]                what this machine offers, what is missing, how to mend it
  pristine help    [COMMAND]                            this text, or a command's options
  pristine --version

Examples
  pristine run /bin/busybox echo hello
  pristine run --allow-read=/etc /bin/busybox cat /etc/hostname
  pristine doctor
`;

const run = `pristine run [options] [--] PROGRAM [ARGUMENT…]

Options end at the first word that does not start with "-", or at "--"; everything after is the program's.
Optional values are given with "=" only. Without permissions a program can compute, and use its standard streams.

Permissions
  --allow-read[=PATH,…]     read files (everything, or those paths and beneath)
  --allow-write[=PATH,…]    write, make and remove files
  --allow-env[=NAME,GLOB…]  pass variables of this environment on
  -A, --allow-all           all of these; the program sees the host's files with your rights
  --deny-read[=…] and so on win over what is allowed
  -v, --volume HOST:GUEST[:ro|rw]   show a host path at another place (ro unless it says rw)
Program
  -e, --env NAME=VALUE | NAME   set a variable, or pass one on
  --env-file FILE               variables from a file
  -w, --cwd PATH                working directory
Limits
  --memory SIZE             ceiling of its memory, such as 64MiB (default 512MiB)
  --timeout DURATION        such as 500ms, 5s, 1m (default none)
  --cpu-timeout DURATION    the same for CPU time
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
`;

const doctor = `pristine doctor [--json] [--selftest]

Each line is pass, warn or fail, with what to do. Exit status 1 if something that is needed is missing.
  --json       for programs
  --selftest   also boots machines and tries the properties everything rests on
`;

const texts: Record<string, string> = { run, doctor };

export function help(command?: string): number {
  process.stdout.write((command && texts[command]) || commands);
  return 0;
}
