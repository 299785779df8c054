/** Linux's signals on x86-64 by number; a table of our own, since loading Node's costs a millisecond at every start. */
const names = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGILL",
  "SIGTRAP",
  "SIGABRT",
  "SIGBUS",
  "SIGFPE",
  "SIGKILL",
  "SIGUSR1",
  "SIGSEGV",
  "SIGUSR2",
  "SIGPIPE",
  "SIGALRM",
  "SIGTERM",
  "SIGSTKFLT",
  "SIGCHLD",
  "SIGCONT",
  "SIGSTOP",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
  "SIGURG",
  "SIGXCPU",
  "SIGXFSZ",
  "SIGVTALRM",
  "SIGPROF",
  "SIGWINCH",
  "SIGIO",
  "SIGPWR",
  "SIGSYS",
] as const satisfies readonly NodeJS.Signals[];

/** The number of a signal's name; 0 if there is none of that name. */
export function signalByName(name: string): number {
  return names.indexOf(name as (typeof names)[number]) + 1;
}

/** The name of a signal; real-time signals have none and show as SIGKILL does, the nearest thing Node's types offer. */
export function signalByNumber(number: number): NodeJS.Signals {
  return names[number - 1] ?? "SIGKILL";
}
