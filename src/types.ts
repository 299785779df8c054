/** The types of the public API that are not classes. */
import type { Spawn } from "bun";
import type { PristineError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import type { Remote } from "./remote.ts";

/** Bytes as a number, or text in binary units: `"512MiB"`, `"512M"` (the same), `"4096"`. */
export type Size = number | `${number}${"" | "K" | "M" | "G" | "KiB" | "MiB" | "GiB"}`;
/** A guest-virtual address; 47 bits, so always a safe integer. */
export type Address = number;

export type ArgType = "i32" | "u32" | "i64" | "u64" | "i64_fast" | "u64_fast" | "f32" | "f64" | "bool" | "ptr" | "cstring" | "buffer";
export type ReturnType = Exclude<ArgType, "buffer"> | "void";

interface ArgOf {
  i32: number;
  u32: number;
  i64: bigint | number;
  u64: bigint | number;
  i64_fast: number | bigint;
  u64_fast: number | bigint;
  f32: number;
  f64: number;
  bool: boolean;
  ptr: Address | null;
  cstring: string;
  buffer: ArrayBufferView;
}

interface ReturnOf {
  i32: number;
  u32: number;
  i64: bigint;
  u64: bigint;
  i64_fast: number | bigint;
  u64_fast: number | bigint;
  f32: number;
  f64: number;
  bool: boolean;
  ptr: Address | null;
  cstring: string;
  void: undefined;
}

/** Types of a guest function's parameters and result, as in bun:ffi; System V ABI. */
export interface Signature {
  readonly args?: readonly ArgType[];
  readonly returns?: ReturnType;
}
type ArgsOf<T extends readonly ArgType[]> = { -readonly [I in keyof T]: ArgOf[T[I]] };
export type Args<S extends Signature> = S["args"] extends readonly ArgType[] ? ArgsOf<S["args"]> : [];
export type Result<S extends Signature> = S["returns"] extends ReturnType ? ReturnOf[S["returns"]] : undefined;

export interface WaitOptions {
  /** Wall-clock milliseconds; `Infinity` for no limit. */
  timeout?: number | undefined;
  /** Ends the wait: the promise rejects with `signal.reason`, the machine is poisoned. */
  signal?: AbortSignal | undefined;
}

/** A function of the guest, bound once. */
export interface GuestFunction<S extends Signature> {
  /** Calls it on this thread and waits. */
  (...args: Args<S>): Result<S>;
  /** Calls it on a native thread; the event loop stays free. */
  async(args: Args<S>, options?: WaitOptions): Promise<Result<S>>;
  readonly address: Address;
  readonly name: string;
}

/** Why a run ended. */
export type Stop =
  | { reason: "exit"; exitCode: number; signalCode: null }
  | { reason: "signal"; exitCode: null; signalCode: NodeJS.Signals }
  | { reason: "listen"; address: { host: string; port: number } | { unix: string } }
  | { reason: "ready" };
export type ExitStop = Extract<Stop, { reason: "exit" | "signal" }>;

export type ReadTo<T> = T extends "pipe" ? ReadableStream<Uint8Array<ArrayBuffer>> : undefined;
export type WriteTo<T> = T extends "pipe" ? Bun.FileSink : undefined;

/** What the guest may reach. Default: nothing. `true` is everything, a list is those and what is beneath. */
export interface Permissions {
  read?: boolean | readonly string[];
  write?: boolean | readonly string[];
  /** Names, or patterns with `*`, of this process's environment that the guest gets. */
  env?: boolean | readonly string[];
  /** Where it may connect and send to: `HOST:PORT`, `HOST`, `:PORT`, `NETWORK/BITS`, `[::1]:80`, `unix:/path` (docs/network.md). */
  connect?: boolean | readonly string[];
  /** Where it may listen, and bind a port that it names. */
  listen?: boolean | readonly string[];
  /** Wins over what is allowed. */
  deny?: Omit<Permissions, "deny">;
}

/** A host folder or file shown at another place of the guest; it grants by itself. */
export interface Volume {
  host: string;
  guest: string;
  write?: boolean;
  /** @internal What is shown: a descriptor of this process, for a file that has no path; `host` is but its name. */
  fd?: number;
}

export interface BootOptions<
  In extends Spawn.Writable = "ignore",
  Out extends Spawn.Readable = "pipe",
  Err extends Spawn.Readable = "inherit",
> extends WaitOptions {
  /** Arguments behind the program's name. */
  args?: readonly string[];
  /** The program's own name (`argv[0]`); its path if not given. */
  argv0?: string | undefined;
  env?: Record<string, string | undefined>;
  /** The guest's working directory; default `/`. */
  cwd?: string | undefined;
  /** Ceiling of the guest's memory, not a commitment; 256 KiB to 1 TiB, default 512 MiB. */
  memory?: Size | undefined;
  /** CPU milliseconds for each run or call; default no limit. */
  cpuTimeout?: number;
  /**
   * Other machines may be connected to it and call its functions (docs/remotes.md). The program must be position-independent, its
   * memory is 16 GiB at most.
   */
  remote?: boolean;
  /** Remotes that it calls, by name. */
  remotes?: Remotes | undefined;
  permissions?: Permissions | "all";
  volumes?: readonly Volume[];
  stdin?: In;
  stdout?: Out;
  stderr?: Err;
  /** A host descriptor that gets one line for each system call, in strace's format. */
  trace?: number;
  /** Names each refused access and the flag that would allow it, on standard error. */
  verbose?: boolean | undefined;
  /**
   * Runs the machine, its snapshots and their forks in a process of its own, behind a second wall (docs/jail.md): as much of
   * it as the host permits, or with `"strict"` all of it.
   */
  jail?: JailOption | undefined;
  /** @internal In a process of its own, which may be doubled. */
  worker?: boolean;
  /** @internal TCP servers listen inside the machine, where the embedder connects to them. */
  inside?: boolean;
}

export type JailOption = boolean | "strict";

/** One part of a jail, and whether the host permitted it. */
export interface JailPart {
  readonly part: "no_new_privs" | "limits" | "namespaces" | "landlock" | "seccomp";
  readonly done: boolean;
  /** What it consists of, or why it is not there. */
  readonly detail: string;
}

export type ResetMode = "auto" | "rewrite" | "full";

/** What a reset came to. */
export interface ResetReport {
  /** How it was done. */
  readonly mode: "rewrite" | "full";
  /** Pages that differed and were copied back (`rewrite`), or private pages that were dropped (`full`). */
  readonly pages: number;
  readonly nanoseconds: number;
}

export interface ForkOptions extends WaitOptions {
  /** Ceiling of the fork's memory; the frozen machine's if not given. */
  memory?: Size | undefined;
  /** CPU milliseconds for each run or call. */
  cpuTimeout?: number;
  /** Private memory beyond which `auto` drops everything instead of copying back; default 64 MiB. */
  resetLimit?: Size | undefined;
  /** How `reset()` works unless told otherwise; default `auto`. */
  reset?: ResetMode;
  /** Remotes that it calls, by name, beside those of its snapshot. */
  remotes?: Remotes | undefined;
}

/** A remote, and how it is connected. */
export type RemoteOption = { readonly machine: Machine } & Omit<ConnectOptions, "name">;
export type Remotes = Readonly<Record<string, Machine | Remote | RemoteOption>>;

/** How a remote is connected. */
export interface ConnectOptions {
  /** What callers know it by: `pristine_import("NAME:FUNCTION")`; default `remote`. */
  name?: string;
  /**
   * `shared` (default): one remote for all, whose state stays when its callers are reset. `fork`: each caller has a fork of the
   * remote as it is now, which is reset with it. `pool`: so many forks of it as `forks` says, of which each caller gets one.
   */
  mode?: "shared" | "fork" | "pool";
  /** Forks of a `pool`, 1 to 64; default the number of processors. */
  forks?: number;
  /**
   * Lets a caller that calls functions of the remote again and again keep it, and call them without exits to the host: the root
   * table is switched by the guest's own ring 0. For callers and remotes of one tenant (docs/remotes.md says what is trusted); a
   * call that cannot go so is an ordinary one. Default `false`.
   */
  exitless?: boolean;
}

/** How a snapshot is saved. */
export interface SaveOptions extends WaitOptions {
  /** The embedder's own bytes, 64 MiB at most. */
  user?: Uint8Array;
  /**
   * What becomes of the host's files that the machine has open or mapped. `"refer"` (default): they are opened again by their
   * paths, and must be the same. `"copy"`: those that it only reads are in the snapshot, 4 GiB at most, which then needs neither
   * them nor a permission for them; whoever has the snapshot has their bytes. Copies stay copies when it is saved again.
   */
  files?: "refer" | "copy";
}

/** How a saved snapshot is opened. */
export interface OpenOptions extends WaitOptions, Pick<BootOptions, "permissions" | "volumes" | "verbose"> {
  /**
   * When checksums are compared. `"lazy"` (default): of what the machine needs at once before it is opened, of every other page
   * before its first use; forks of a file that turns out damaged then end with `SNAPSHOT_INVALID`. `"full"`: all first.
   * `"trusted"`: none but the header's, for files that nobody else can write.
   */
  verify?: "lazy" | "full" | "trusted";
  /**
   * Records which pages forks use, which slows them down; `save` writes them first into its file, and ends the recording. All
   * checksums are compared first, whatever `verify` says.
   */
  record?: boolean;
}

/** What became of one request. */
export interface RequestReport {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  /** 499: the client left before the answer. */
  status: number;
  /** Until the head of the answer, the wait for a fork included. */
  milliseconds: number;
  /** What went wrong; for an answer whose head was out already, what broke it off. */
  error?: unknown;
  /** How its fork was put back; missing if it had none, or the fork was lost. */
  reset?: ResetReport | undefined;
}

/** How a pool of forks works. */
export interface PoolOptions extends ForkOptions {
  /** Forks at most, each on a native thread while it runs; default 4. */
  forks?: number;
  /** Requests that may wait for a fork; beyond them 503. Default 1024. */
  queue?: number;
  /** Runs the forks behind a second wall (docs/jail.md); the snapshot's machine must have been booted so. */
  jail?: JailOption | undefined;
  /** `"connection"`: requests of one connection share a fork; they come by the pool's `listener`. Default `"request"`. */
  per?: "request" | "connection" | undefined;
  /**
   * Requests for `/` that warm the server before it is frozen; default 20. Each new fork is warmed by one more, whose answer nobody
   * gets; 0 is none at all.
   */
  warmup?: number;
  /** Answers in the pool's place when something went wrong. */
  onError?: (error: PristineError, request: Request) => Response | Promise<Response> | undefined;
  /** Told of each request once it is answered and its fork is back, for logs. It must not throw. */
  onRequest?: (report: RequestReport) => void;
}

/** What a pool's machine is booted with. */
export type MachineOptions = Pick<
  BootOptions<"ignore", Spawn.Readable, Spawn.Readable>,
  "permissions" | "env" | "cwd" | "volumes" | "stdout" | "stderr" | "verbose" | "jail"
>;

export type RuntimeName = "bun" | "deno" | "node";

/** A JavaScript runtime by its name, or an executable of one and the arguments before the program. */
export type RuntimeOption = RuntimeName | { path: string; args?: readonly string[] };

export type HandlerOptions = PoolOptions &
  MachineOptions & {
    /** What the handler runs in; the Bun of this process by default. */
    runtime?: RuntimeOption;
  };

/** What a machine has done so far. */
export interface Counters {
  /** Exits of the virtual CPU to the host: what operations cost on any machine. */
  readonly exits: number;
  /** System calls that reached the host; getpid, gettid and clock reads are answered in the guest. */
  readonly syscalls: number;
  /** System calls by Linux's number. */
  readonly byNumber: ReadonlyMap<number, number>;
  /** Calls answered with ENOSYS. */
  readonly unsupported: ReadonlyMap<number, number>;
  /** Host system calls made for the guest. */
  readonly hostCalls: number;
  readonly faults: number;
  readonly pagesTouched: number;
  readonly pagesCopied: number;
  readonly guestNanoseconds: number;
  readonly cycles: bigint;
  /** Calls of remotes. */
  readonly remoteCalls: number;
  /** Bytes that were copied between the machine and remotes: 0, but for scripts that cannot see their caller's memory. */
  readonly bytesCopied: number;
}

/** A view of guest memory that tells when it is no longer valid. */
export interface Lease extends Disposable {
  /** The bytes; throws `STALE_VIEW` when the memory is gone. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly stale: boolean;
  release(): void;
}
