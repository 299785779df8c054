/** `Machine`: one virtual machine running one Linux executable. */

import type { Spawn } from "bun";
import { badOption, closedError, PristineError } from "./errors.ts";
import { completion } from "./events.ts";
import {
  check,
  core,
  createMachine,
  encode,
  lastError,
  machineBlock,
  machineError,
  machineReport,
  resultText,
  sealWorker,
  startWorker,
} from "./ffi/library.ts";
import {
  addresses,
  CallFrame,
  Counters as CountersLayout,
  errorCodes,
  limits,
  MachineBlock,
  MachineState,
  StopReason,
} from "./ffi/table.ts";
import { type CallTarget, type Compiled, compile, inferType, narrow } from "./functions.ts";
import { cacheFolders } from "./layers.ts";
import { Memory } from "./memory.ts";
import { addressOf, resolveNetwork } from "./network.ts";
import {
  type CorePermissions,
  guestEnvironment,
  parseArguments,
  parseMemory,
  parsePermissions,
  parseTimeout,
  parseVolumes,
} from "./options.ts";
import { callers, connect, connectAll, type Remote } from "./remote.ts";
import { signalByName, signalByNumber } from "./signals.ts";
import type { Snapshot } from "./snapshot.ts";
import { closeStreams, openStreams, type PipedOutput, pipedOutput } from "./stdio.ts";
import type {
  Address,
  Args,
  BootOptions,
  ConnectOptions,
  Counters,
  ExitStop,
  GuestFunction,
  JailOption,
  JailPart,
  ReadTo,
  Result,
  Signature,
  Stop,
  WaitOptions,
  WriteTo,
} from "./types.ts";

const defaultTimeoutMs = 5_000;
const abortedStatus = -(errorCodes.indexOf("ABORTED") + 1);
const interruptAbort = 1;
/** @internal Ends a step between two instructions; the machine can go on. */
export const interruptPause = 2;
const untilCodes = { exit: 0, listen: 1, ready: 2 } as const;
const untilIdle = 3;
const untilRest = 4;
const untilAnswer = 5;

const emptyFunction = compile({});

const stateNames = Object.fromEntries(Object.entries(MachineState).map(([name, value]) => [value, name])) as Record<
  number,
  Machine["state"]
>;

/** @internal The core's handle of a machine that is open. */
export let handleOf: (machine: Machine) => number;

/** @internal How a step of a machine that serves a connection ended. */
export type Step = { readonly reason: "idle" | "paused" } | Stop;

/**
 * @internal Runs a machine until all its threads sleep and it has something for a connection of the embedder's, until it is
 * paused, or until it ends.
 */
export let stepOf: (machine: Machine, timeout: number, signal?: AbortSignal) => Promise<Step>;

/**
 * @internal As `stepOf` and `restOf`, on this thread and for `budget` milliseconds at most, behind which it is paused; until "answer"
 * it is so too as soon as the guest has sent something. Nothing else runs here meanwhile, and nothing is spent on the way to another
 * thread and back.
 */
export let stepHere: (machine: Machine, until: "answer" | "rest", budget: number, timeout: number) => Step;

/** @internal Runs a machine until all its threads sleep. */
export let restOf: (machine: Machine, timeout: number) => Promise<Step>;

/** The number of a signal given by name or number. */
function signalNumber(signal: NodeJS.Signals | number): number {
  const number = typeof signal === "number" ? signal : signalByName(signal);
  if (Number.isInteger(number) && number >= 1 && number <= 64) return number;
  throw badOption("signal", `${signal} is not a signal`, 'use a name such as "SIGTERM" or a number from 1 to 64');
}

interface Timeouts {
  wall: number;
  cpu: number;
}

/** @internal What a machine is made from: its handle in the core and what JavaScript holds of it. */
export interface Inner {
  readonly handle: number;
  readonly block: DataView<ArrayBuffer>;
  readonly sink: WriteTo<"pipe"> | undefined;
  readonly timeouts: Timeouts;
  readonly piped: { readonly stdout: boolean; readonly stderr: boolean };
  readonly jail: readonly JailPart[];
}

/** @internal How machines and snapshots make each other, filled in by `snapshot.ts`, which builds on this file. */
export const snapshots: {
  create?: (handle: number, timeouts: Timeouts, jail: readonly JailPart[]) => Snapshot;
  handleOf: (snapshot: Snapshot) => number;
  inner: (handle: number, timeouts: Timeouts, piped: Inner["piped"], jail: readonly JailPart[]) => Inner;
} = {
  handleOf: () => -1,
  inner: (handle, timeouts, piped, jail) => ({ handle, block: machineBlock(handle), sink: undefined, timeouts, piped, jail }),
};

function workerOptions(
  { jail, worker }: { jail?: JailOption | undefined; worker?: boolean },
  network: Pick<CorePermissions, "connect" | "listen">,
) {
  const isGranted = ({ all, paths }: { all: boolean; paths: readonly string[] }) => all || paths.length > 0;
  return {
    jail: Boolean(jail),
    strict: jail === "strict",
    network: isGranted(network.connect) || isGranted(network.listen),
    split: worker ?? false,
  };
}

/** A program's bytes in an anonymous file, since the core reads programs from descriptors or paths. */
function imageDescriptor(image: Uint8Array): number {
  return check(core().pristine_image(image.length > 0 ? image : new Uint8Array(1), image.length));
}

/**
 * One virtual machine running one Linux executable.
 *
 * @example
 * await using vm = await Machine.boot("/bin/busybox", { args: ["echo", "hello"] });
 * const [stop, text] = await Promise.all([vm.run(), new Response(vm.stdout).text()]);
 */
export class Machine<
  Out extends Spawn.Readable = Spawn.Readable,
  Err extends Spawn.Readable = Spawn.Readable,
  In extends Spawn.Writable = Spawn.Writable,
> implements AsyncDisposable, Disposable
{
  /** The guest's standard input, if it was booted with `stdin: "pipe"`. */
  readonly stdin: WriteTo<In>;
  /** The guest's memory. */
  readonly memory: Memory;
  /** What the wall around its process is made of; empty without `jail`. */
  readonly jail: readonly JailPart[];

  readonly #target: CallTarget;
  readonly #timeouts: Timeouts;
  readonly #piped: Inner["piped"];
  readonly #outputs = new Map<1 | 2, PipedOutput>();
  readonly #shortForms = new Map<string, { compiled: Compiled; address: Address }>();
  #closed = false;
  #pending: ((error: unknown) => void) | undefined;
  #generation = 0;

  /** @internal */
  protected constructor({ handle, block, sink, timeouts, piped, jail }: Inner) {
    this.jail = jail;
    this.#timeouts = timeouts;
    this.#target = {
      handle,
      block,
      checkCall: () => this.#checkIdle(),
      readCString: (address) => this.memory.readCString(address),
    };
    this.memory = new Memory({ handle, checkOpen: () => this.#checkIdle() });
    this.stdin = sink as WriteTo<In>;
    this.#piped = piped;
  }

  /** The guest's standard output, if piped (the default). */
  get stdout(): ReadTo<Out> {
    return this.#output(1, this.#piped.stdout) as ReadTo<Out>;
  }

  /** The guest's standard error, if booted with `stderr: "pipe"`. */
  get stderr(): ReadTo<Err> {
    return this.#output(2, this.#piped.stderr) as ReadTo<Err>;
  }

  /** The stream of a piped output, made when it is first asked for. */
  #output(number: 1 | 2, piped: boolean): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    if (!piped) return undefined;
    let output = this.#outputs.get(number);
    if (!output) {
      // Of a closed machine nothing is left to read, and its handle may be another's by now.
      if (this.#closed) return new ReadableStream({ start: (controller) => controller.close() });
      output = pipedOutput(this.#target.handle, number);
      this.#outputs.set(number, output);
    }
    return output.stream;
  }

  /**
   * Loads a program and returns before its first instruction.
   *
   * @param program path of the executable, or its bytes
   * @throws `NOT_FOUND`, `NOT_EXECUTABLE` (with the reason), `BAD_OPTION`, `KVM_UNAVAILABLE`, `OUT_OF_MEMORY`
   */
  static async boot<In extends Spawn.Writable = "ignore", Out extends Spawn.Readable = "pipe", Err extends Spawn.Readable = "inherit">(
    program: string | URL | Uint8Array,
    options: BootOptions<In, Out, Err> = {},
  ): Promise<Machine<Out, Err, In>> {
    options.signal?.throwIfAborted();
    const path = program instanceof Uint8Array ? "(bytes)" : program instanceof URL ? Bun.fileURLToPath(program) : program;
    if (typeof path !== "string" || path === "" || path.includes("\0"))
      throw badOption("program", "the program is not a path", "give a path, a file: URL or the program's bytes");
    const timeouts = {
      wall: parseTimeout(options.timeout, "timeout", defaultTimeoutMs),
      cpu: parseTimeout(options.cpuTimeout, "cpuTimeout", Infinity),
    };
    const env = guestEnvironment(options.permissions, options.env);
    const configuration = {
      // A script's interpreter opens it by this path, wherever the guest is.
      program: path.startsWith("/") || program instanceof Uint8Array ? path : `${process.cwd()}/${path}`,
      argv: [options.argv0 ?? path, ...parseArguments(options.args)],
      env,
      cwd: options.cwd ?? "/",
      memory: parseMemory(options.memory),
      trace: options.trace ?? -1,
      verbose: options.verbose ?? false,
      volumes: parseVolumes(options.volumes),
      layers: cacheFolders(env),
      ...(await resolveNetwork(parsePermissions(options.permissions))),
      inside: options.inside ?? false,
      remote: options.remote ?? false,
    };
    const streams = openStreams(options.stdin, options.stdout, options.stderr);
    try {
      const worker = options.jail || options.worker ? startWorker(workerOptions(options, configuration)) : 0;
      const programFd = program instanceof Uint8Array ? imageDescriptor(program) : -1;
      if (programFd >= 0) streams.opened.push(programFd);
      const { stdin, stdout, stderr } = streams;
      const handle = createMachine({ ...configuration, worker, programFd, stdin, stdout, stderr });
      const isPipe = (value: Spawn.Readable | undefined, byDefault: boolean) => value === "pipe" || (value === undefined && byDefault);
      connectAll(callers.machine, handle, options.remotes);
      const piped = { stdout: isPipe(options.stdout, true), stderr: isPipe(options.stderr, false) };
      // One that will be doubled is sealed when that is done.
      const jail = options.jail && !options.worker ? (JSON.parse(sealWorker(handle)) as JailPart[]) : [];
      return new Machine<Out, Err, In>({ handle, block: machineBlock(handle), sink: streams.sink, timeouts, piped, jail });
    } catch (error) {
      await Promise.resolve(streams.sink?.end()).catch(() => {});
      throw error;
    } finally {
      closeStreams(streams);
    }
  }

  /** Where the machine is in its life. */
  get state(): "loaded" | "running" | "stopped" | "exited" | "poisoned" | "closed" {
    if (this.#closed) return "closed";
    return stateNames[this.#target.block.getUint32(MachineBlock.state, true)] ?? "poisoned";
  }

  /** @internal */
  protected checkOpen(): void {
    if (this.#closed) throw closedError();
  }

  #checkIdle(): void {
    this.checkOpen();
    if (this.#pending) throw new PristineError("BUSY", "the machine is running", "wait for the run or call under way to end", {});
  }

  /**
   * Runs the program on until it ends; with `until: "ready"` until it calls `pristine_ready()`, with `until: "listen"`
   * until it has nothing to do but to wait for connections (those that wait already are served first).
   *
   * @example
   * const stop = await machine.run({ until: "listen" });   // { reason: "listen", address: { host: "127.0.0.1", port: 8000 } }
   * @throws `TIMEOUT`, `OUT_OF_MEMORY`, `BUSY`, `CLOSED`; the signal's reason if it was aborted
   */
  run(options?: WaitOptions): Promise<ExitStop>;
  run(options: WaitOptions & { until: "listen" | "ready" }): Promise<Stop>;
  async run(options: WaitOptions & { until?: "listen" | "ready" } = {}): Promise<Stop> {
    const until = untilCodes[options.until ?? "exit"];
    if (until === undefined) throw badOption("until", `${options.until} is not a stop point`, 'use "listen" or "ready"');
    const wall = parseTimeout(options.timeout, "timeout", this.#timeouts.wall);
    await this.#wait(options.signal, (ticket) =>
      check(core().pristine_machine_run(this.#target.handle, until, wall, this.#timeouts.cpu, ticket)),
    );
    return this.#stop();
  }

  #stop(): Stop {
    return this.#step() as Stop;
  }

  #step(): Step {
    const { block } = this.#target;
    const code = block.getInt32(MachineBlock.stop_code, true);
    switch (block.getUint32(MachineBlock.stop_reason, true)) {
      case StopReason.exit:
        return { reason: "exit", exitCode: code, signalCode: null };
      case StopReason.signal:
        return { reason: "signal", exitCode: null, signalCode: signalByNumber(code) };
      case StopReason.ready:
        return { reason: "ready" };
      case StopReason.idle:
        return { reason: "idle" };
      case StopReason.paused:
        return { reason: "paused" };
      case StopReason.listen:
        check(core().pristine_machine_listener(this.#target.handle));
        return { reason: "listen", address: addressOf(resultText()) };
      default:
        throw new PristineError("INTERNAL", "the core gave no reason for the stop", "report this", {});
    }
  }

  /** Starts something on a native thread and waits for its end. */
  async #wait(signal: AbortSignal | undefined, start: (ticket: number) => void): Promise<void> {
    signal?.throwIfAborted();
    this.#checkIdle();
    const abort = () => core().pristine_machine_interrupt(this.#target.handle, interruptAbort);
    const closing = new Promise<never>((_, reject) => {
      this.#pending = reject;
    });
    // Without a close this promise is never settled, and with one the race below reports it.
    closing.catch(() => {});
    try {
      const ended = completion(start);
      signal?.addEventListener("abort", abort, { once: true });
      const status = await Promise.race([ended, closing]);
      this.#detachStaleViews();
      if (status >= 0) return;
      if (status === abortedStatus) throw signal?.aborted ? signal.reason : closedError();
      throw machineError(this.#target.handle);
    } finally {
      this.#pending = undefined;
      signal?.removeEventListener("abort", abort);
    }
  }

  #detachStaleViews(): void {
    if (this.#closed || !this.memory.hasViews) return;
    const generation = this.#target.block.getUint32(MachineBlock.generation, true);
    if (generation === this.#generation) return;
    this.#generation = generation;
    this.memory.detach();
  }

  /** Sends the guest a signal, SIGTERM if none is named. */
  kill(signal: NodeJS.Signals | number = "SIGTERM"): void {
    this.checkOpen();
    check(core().pristine_machine_signal(this.#target.handle, signalNumber(signal)));
  }

  /**
   * Binds a function of the guest. Calling it allocates nothing for numeric signatures.
   *
   * @example const add = vm.fn("add", { args: ["i32", "i32"], returns: "i32" }); add(1, 2);
   */
  fn<const S extends Signature>(name: string, signature: S): GuestFunction<S> {
    this.checkOpen();
    const address = this.symbol(name);
    const compiled = compile(signature);
    const invoke = (...args: Args<S>): Result<S> => this.#callNow(compiled, address, args) as Result<S>;
    const later = (args: Args<S>, options: WaitOptions = {}) => this.#callLater(compiled, address, args, options) as Promise<Result<S>>;
    return Object.defineProperties(invoke, {
      async: { value: later },
      address: { value: address, enumerable: true },
      name: { value: name },
    }) as GuestFunction<S>;
  }

  /** Binds several functions at once. */
  fns<const T extends Record<string, Signature>>(table: T): { readonly [K in keyof T]: GuestFunction<T[K]> } {
    return Object.fromEntries(Object.entries(table).map(([name, signature]) => [name, this.fn(name, signature)])) as {
      [K in keyof T]: GuestFunction<T[K]>;
    };
  }

  #setTimeouts(wall: number): void {
    const { block } = this.#target;
    block.setFloat64(CallFrame.timeout_ms, wall, true);
    block.setFloat64(CallFrame.cpu_timeout_ms, this.#timeouts.cpu, true);
  }

  #callNow(compiled: Compiled, address: Address, args: readonly unknown[]): unknown {
    this.#checkIdle();
    compiled.prepare(this.#target, address, args);
    this.#setTimeouts(this.#timeouts.wall);
    const status = core().pristine_call(this.#target.handle);
    this.#detachStaleViews();
    if (status < 0) throw lastError();
    return compiled.result(this.#target);
  }

  async #callLater(compiled: Compiled, address: Address, args: readonly unknown[], options: WaitOptions): Promise<unknown> {
    const wall = parseTimeout(options.timeout, "timeout", this.#timeouts.wall);
    await this.#wait(options.signal, (ticket) => {
      compiled.prepare(this.#target, address, args);
      this.#setTimeouts(wall);
      check(core().pristine_call_async(this.#target.handle, ticket));
    });
    return compiled.result(this.#target);
  }

  /**
   * Calls a function with integers, bigints, strings and typed arrays; the result is a number when it is exact as one,
   * else a bigint. Strings and typed arrays are copied to the guest's stack for the length of the call.
   *
   * @throws `BAD_OPTION` for a fraction: declare the signature with `fn`
   */
  call(name: string, ...args: (number | bigint | string | ArrayBufferView)[]): number | bigint {
    this.#checkIdle();
    const kinds = args.map(inferType);
    const key = `${name}(${kinds.join()})`;
    let form = this.#shortForms.get(key);
    if (!form) {
      form = { compiled: compile({ args: kinds, returns: "i64" }), address: this.symbol(name) };
      this.#shortForms.set(key, form);
    }
    this.#callNow(form.compiled, form.address, args);
    return narrow(this.#target.block);
  }

  /**
   * Into the guest and back, and nothing in between: one exit, the least that any call costs. For measuring.
   *
   * @throws `BUSY`, `NEEDS_RESET`, `CLOSED`
   */
  roundTrip(): void {
    this.#callNow(emptyFunction, addresses.call_return, []);
  }

  /** The address of a symbol of the program; `NO_SYMBOL` if it has none of that name. */
  symbol(name: string): Address {
    this.checkOpen();
    const bytes = encode(name);
    const address = core().pristine_symbol(this.#target.handle, bytes.length > 0 ? bytes : new Uint8Array(1), bytes.length);
    if (address < 0) throw lastError();
    return address;
  }

  /** What the machine has done so far. */
  counters(): Counters {
    this.checkOpen();
    const bytes = new Uint8Array(CountersLayout.size);
    check(core().pristine_counters(this.#target.handle, bytes));
    const view = new DataView(bytes.buffer);
    const count = (offset: number) => Number(view.getBigUint64(offset, true));
    const byNumber = (offset: number) => {
      const result = new Map<number, number>();
      for (let number = 0; number < limits.system_call_numbers; number++) {
        const calls = view.getUint32(offset + 4 * number, true);
        if (calls > 0) result.set(number, calls);
      }
      return result;
    };
    return {
      exits: count(CountersLayout.exits),
      syscalls: count(CountersLayout.syscalls),
      byNumber: byNumber(CountersLayout.by_number),
      unsupported: byNumber(CountersLayout.unsupported),
      hostCalls: count(CountersLayout.host_calls),
      faults: count(CountersLayout.faults),
      pagesTouched: count(CountersLayout.pages_touched),
      pagesCopied: count(CountersLayout.pages_copied),
      guestNanoseconds: count(CountersLayout.guest_nanoseconds),
      cycles: view.getBigUint64(CountersLayout.cycles, true),
      remoteCalls: count(CountersLayout.remote_calls),
      bytesCopied: count(CountersLayout.bytes_copied),
    };
  }

  /**
   * Lets the program call a remote by a name. To be done before it asks for the remote's functions.
   *
   * @example
   * using storage = await Machine.boot("./storage", { remote: true });
   * await storage.run({ until: "ready" });
   * machine.connect(storage, { name: "storage" });
   * @throws `BAD_OPTION`, `BUSY`, `CLOSED`, `UNSUPPORTED` for machines in worker processes
   */
  connect(remote: Machine, options?: ConnectOptions): Remote {
    this.checkOpen();
    return connect(callers.machine, this.#target.handle, remote, options, () => !this.#closed);
  }

  /** The report of the last fatal fault: what and where, then the registers; empty if there was none. */
  report(): string {
    this.checkOpen();
    return machineReport(this.#target.handle);
  }

  /**
   * An immutable image of the machine as it is now: loaded, stopped, ended, or between two calls. Memory is not copied (but
   * for a machine that was frozen before, or a fork). The machine can go on.
   *
   * @throws `BUSY` while it runs, `NEEDS_RESET` after a fault, a time-out or an abort
   */
  freeze(): Snapshot {
    this.#checkIdle();
    const create = snapshots.create;
    if (!create) throw new PristineError("INTERNAL", "snapshots were not loaded", 'import from "pristine-vm"', {});
    return create(check(core().pristine_freeze(this.#target.handle)), this.#timeouts, this.jail);
  }

  /** @internal Before a reset: nothing may run, and no view stays. An output that ended begins anew. */
  protected prepareReset(): void {
    this.#checkIdle();
    if (this.memory.hasViews) this.memory.detach();
    const ended = this.state === "exited" || this.state === "poisoned";
    for (const [number, output] of this.#outputs) {
      if (!ended && !output.ended) continue;
      output.finish();
      this.#outputs.delete(number);
    }
  }

  /** Stops the guest if it runs and frees everything; views become empty, a pending run rejects with `CLOSED`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.memory.detach();
    core().pristine_machine_interrupt(this.#target.handle, interruptAbort);
    core().pristine_machine_stop(this.#target.handle);
    for (const output of this.#outputs.values()) output.finish();
    core().pristine_machine_close(this.#target.handle);
    this.#target.block.buffer.transfer(0);
    this.#pending?.(closedError());
    if (this.stdin) Promise.resolve(this.stdin.end()).catch(() => {});
  }

  static {
    handleOf = (machine) => {
      machine.checkOpen();
      return machine.#target.handle;
    };
    const step = async (machine: Machine, until: number, timeout: number, signal?: AbortSignal) => {
      await machine.#wait(signal, (ticket) =>
        check(core().pristine_machine_run(machine.#target.handle, until, timeout, machine.#timeouts.cpu, ticket)),
      );
      return machine.#step();
    };
    stepOf = (machine, timeout, signal) => step(machine, untilIdle, timeout, signal);
    restOf = (machine, timeout) => step(machine, untilRest, timeout);
    stepHere = (machine, until, budget, timeout) => {
      machine.#checkIdle();
      const { handle } = machine.#target;
      const goal = until === "rest" ? untilRest : untilAnswer;
      const status = core().pristine_machine_run_here(handle, goal, budget, timeout, machine.#timeouts.cpu);
      machine.#detachStaleViews();
      if (status < 0) throw lastError();
      return machine.#step();
    };
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
