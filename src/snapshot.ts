/** `Snapshot`: an immutable image of a machine, and `Fork`: a machine made from one, which can be put back to it. */
import type { Spawn } from "bun";
import { badOption, PristineError } from "./errors.ts";
import { check, core, lastError, sealWorker } from "./ffi/library.ts";
import { MachineBlock, ResetMode as ResetModes } from "./ffi/table.ts";
import { type Inner, Machine, snapshots } from "./machine.ts";
import { parseForkMemory, parseSize, parseTimeout } from "./options.ts";
import type { ForkOptions, JailPart, ResetMode, ResetReport } from "./types.ts";

const defaultResetLimit = 64 * 2 ** 20;
/** In place of an image's handle: the fork's own. */
const sameImage = 0xffff_ffff;
const modeNames = { [ResetModes.rewrite]: "rewrite", [ResetModes.full]: "full" } as const;

function modeCode(mode: ResetMode): number {
  const code = ResetModes[mode];
  if (code === undefined) throw badOption("mode", `${mode} is not a way to reset`, 'use "auto", "rewrite" or "full"');
  return code;
}

function closedSnapshot(): PristineError<"CLOSED"> {
  return new PristineError("CLOSED", "the snapshot is closed", "freeze a machine again", {});
}

/**
 * A machine made from a snapshot. It shares every page with it until it writes to it, and can be put back.
 *
 * @example
 * using fork = image.fork();
 * fork.call("handle", input);
 * fork.reset(); // as if nothing had happened
 */
export class Fork extends Machine<Spawn.Readable, Spawn.Readable, "ignore"> {
  readonly #inner: Inner;
  readonly #mode: number;
  readonly #limit: number;

  /** @internal */
  constructor(inner: Inner, options: ForkOptions) {
    super(inner);
    this.#inner = inner;
    this.#mode = modeCode(options.reset ?? "auto");
    this.#limit = options.resetLimit === undefined ? defaultResetLimit : parseSize(options.resetLimit, "resetLimit");
  }

  /**
   * Puts the fork back to the instant of its snapshot: memory, registers, open files, signal handlers, everything that
   * `docs/reset.md` lists. Views of its memory become empty.
   *
   * `rewrite` copies back the pages that differ and leaves page tables alone, so the next request has no faults; `full`
   * drops everything private. `auto` (default) rewrites, unless the request ended in a fault, a time-out or an exit, the
   * private memory exceeds `resetLimit`, or dropping it is cheaper.
   *
   * @param options.to another snapshot of the same booted machine or of a fork of it; the fork belongs to it from then on
   * @throws `BUSY` while it runs, `BAD_OPTION`, `CLOSED`
   */
  reset(options: { mode?: ResetMode; to?: Snapshot } = {}): ResetReport {
    this.prepareReset();
    const { handle, block } = this.#inner;
    const mode = options.mode === undefined ? this.#mode : modeCode(options.mode);
    const to = options.to === undefined ? sameImage : snapshots.handleOf(options.to);
    if (core().pristine_reset(handle, mode, this.#limit, to) < 0) throw lastError();
    return {
      mode: modeNames[block.getUint32(MachineBlock.reset_mode, true) as keyof typeof modeNames],
      pages: block.getUint32(MachineBlock.reset_pages, true),
      nanoseconds: block.getFloat64(MachineBlock.reset_nanoseconds, true),
    };
  }

  /** A number that no other fork has and that changes at every reset; the guest reads it with `pristine_generation()`. */
  get generation(): number {
    this.checkOpen();
    return this.#inner.block.getFloat64(MachineBlock.fork_generation, true);
  }
}

/**
 * A machine at one instant, complete and immutable. Forks of it share its memory; it lives until it is closed and its last
 * fork too.
 *
 * @example
 * await vm.run({ until: "ready" });
 * using image = vm.freeze();
 * using fork = image.fork({ timeout: 100, resetLimit: "16MiB" });
 */
export class Snapshot implements Disposable {
  readonly #handle: number;
  readonly #timeouts: Inner["timeouts"];
  #jail: Inner["jail"];
  #closed = false;

  /** @internal */
  constructor(handle: number, timeouts: Inner["timeouts"], jail: Inner["jail"]) {
    this.#handle = handle;
    this.#timeouts = timeouts;
    this.#jail = jail;
  }

  /** What the wall around its process is made of; empty without `jail`. */
  get jail(): readonly JailPart[] {
    return this.#jail;
  }

  /** @internal The same in another process, which it shares its memory with; for one in a process of its own. */
  double(): Snapshot {
    this.#checkOpen();
    return new Snapshot(check(core().pristine_worker_split(this.#handle)), this.#timeouts, this.#jail);
  }

  /** @internal Its process is not doubled any more. */
  seal(): void {
    this.#checkOpen();
    this.#jail = JSON.parse(sealWorker(this.#handle)) as JailPart[];
  }

  #checkOpen(): void {
    if (this.#closed) throw closedSnapshot();
  }

  /**
   * A machine that goes on from this instant. Its cost grows with what it writes, not with what the snapshot holds.
   *
   * @throws `BAD_OPTION` (with less memory than the snapshot uses, for example), `CLOSED`
   */
  fork(options: ForkOptions = {}): Fork {
    this.#checkOpen();
    options.signal?.throwIfAborted();
    const memory = options.memory === undefined ? core().pristine_image_memory(this.#handle) : parseForkMemory(options.memory);
    const timeouts = {
      wall: parseTimeout(options.timeout, "timeout", this.#timeouts.wall),
      cpu: parseTimeout(options.cpuTimeout, "cpuTimeout", this.#timeouts.cpu),
    };
    const handle = check(core().pristine_fork(this.#handle, memory));
    const piped = core().pristine_image_piped(this.#handle);
    return new Fork(snapshots.inner(handle, timeouts, { stdout: (piped & 1) !== 0, stderr: (piped & 2) !== 0 }, this.#jail), options);
  }

  /** Frees the snapshot as soon as no fork needs it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    core().pristine_image_close(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  static {
    snapshots.create = (handle, timeouts, jail) => new Snapshot(handle, timeouts, jail);
    snapshots.handleOf = (snapshot) => {
      snapshot.#checkOpen();
      return snapshot.#handle;
    };
  }
}
