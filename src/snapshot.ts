/** `Snapshot`: an immutable image of a machine, and `Fork`: a machine made from one, which can be put back to it. */
import type { Spawn } from "bun";
import { badOption, PristineError } from "./errors.ts";
import { check, core, lastError, sealWorker } from "./ffi/library.ts";
import { MachineBlock, ResetMode as ResetModes, SavedFiles, Verify as Verifies } from "./ffi/table.ts";
import { type Inner, Machine, snapshots } from "./machine.ts";
import { resolveNetwork } from "./network.ts";
import { objectOf, openObject } from "./object-storage.ts";
import { parseForkMemory, parsePermissions, parseSize, parseTimeout, parseVolumes } from "./options.ts";
import type { Serving } from "./pool.ts";
import { callers, connect, connectAll, type Remote } from "./remote.ts";
import { type Notes, openImage, saveImage } from "./saved.ts";
import type { ConnectOptions, ForkOptions, JailPart, OpenOptions, ResetMode, ResetReport, SaveOptions, WaitOptions } from "./types.ts";

const standardStreams = { stdin: 0, stdout: 1, stderr: 2 } as const;
const defaultTimeoutMs = 5_000;
const defaultResetLimit = 64 * 2 ** 20;
/** In place of an image's handle: the fork's own. */
const sameImage = 0xffff_ffff;
const modeNames = { [ResetModes.rewrite]: "rewrite", [ResetModes.full]: "full" } as const;

function modeCode(mode: ResetMode): number {
  const code = ResetModes[mode];
  if (code === undefined) throw badOption("mode", `${mode} is not a way to reset`, 'use "auto", "rewrite" or "full"');
  return code;
}

function pathOf(file: string | URL): string {
  const path = file instanceof URL ? Bun.fileURLToPath(file) : file;
  if (typeof path !== "string" || path === "" || path.includes("\0"))
    throw badOption("path", "the snapshot's file is not a path", "give a path, a file: URL, or for `Snapshot.open` s3://BUCKET/KEY");
  return path.startsWith("/") ? path : `${process.cwd()}/${path}`;
}

/** How a saved machine waits: what cannot be saved, for handlers the way their requests travel, is made anew. */
async function servingOf({ wire, ...serving }: NonNullable<Notes["serving"]>): Promise<Serving> {
  if (wire === undefined) return serving;
  const { plainWire } = await import("./handler/wire.ts");
  return { ...serving, wire: plainWire };
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
  /** The embedder's own bytes that were saved with it; empty if it was not opened from a file. */
  readonly user: Uint8Array<ArrayBuffer>;
  #serving: Serving | undefined;
  #jail: Inner["jail"];
  #closed = false;

  /** @internal */
  constructor(handle: number, timeouts: Inner["timeouts"], jail: Inner["jail"], user: Uint8Array<ArrayBuffer> = new Uint8Array(0)) {
    this.#handle = handle;
    this.#timeouts = timeouts;
    this.#jail = jail;
    this.user = user;
  }

  /**
   * Opens a snapshot that was saved. The file grants nothing: what the machine had open of the host is opened again under
   * `permissions`, and must be the same, but for files of which it has copies. Files that are only mapped and may not be read are what the snapshot has of them.
   * Its standard streams are this process's.
   *
   * @example
   * using image = await Snapshot.open("app.snap", { permissions: { listen: ["127.0.0.1:8000"] } });
   * await using pool = new Pool(image); // a server's snapshot serves at once
   * @param file - a path, or an object in S3-compatible storage: `s3://BUCKET/KEY` with the credentials of the environment
   * (S3_ENDPOINT, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_REGION), or a file of a `Bun.S3Client`. It is open when what it needs first is there.
   * @throws `NOT_FOUND`; `SNAPSHOT_INVALID` for a file that is damaged or needs files that have changed, `SNAPSHOT_MISMATCH` where the
   * processor lacks what the machine has seen, `DENIED` for what it has open and is not permitted
   */
  static async open(file: string | URL | Bun.S3File, options: OpenOptions = {}): Promise<Snapshot> {
    const { verify = "lazy", record = false } = options;
    if ("env" in options) throw badOption("env", "a saved machine has its environment already", "give `env` to what is saved");
    if (!["lazy", "full", "trusted"].includes(verify))
      throw badOption("verify", `\`verify\` is ${verify}`, 'use "lazy", "full" or "trusted"');
    const settings = {
      ...{ argv: [], volumes: parseVolumes(options.volumes), verbose: options.verbose ?? false },
      ...standardStreams,
      ...(await resolveNetwork(parsePermissions(options.permissions))),
    };
    const how = Verifies[record ? "recording" : verify];
    const object = objectOf(file);
    if (object === undefined) return await Snapshot.#openAt({ ...settings, program: pathOf(file as string | URL) }, how, options);
    return await openObject(object, options, (program, source, waits) => Snapshot.#openAt({ ...settings, program, source }, how, waits));
  }

  static async #openAt(configuration: object, verify: number, options: WaitOptions): Promise<Snapshot> {
    const { handle, user, notes } = await openImage(configuration, verify, options);
    const { serving, timeouts } = notes;
    const wall = timeouts === undefined ? defaultTimeoutMs : (timeouts.wall ?? Infinity);
    const snapshot = new Snapshot(handle, { wall, cpu: timeouts?.cpu ?? Infinity }, [], user);
    if (serving) snapshot.#serving = await servingOf(serving);
    return snapshot;
  }

  /**
   * Saves the snapshot to one file, which is there whole or not at all: a file that was there before stays until the new one
   * is on the disk.
   *
   * @example
   * await image.save("app.snap", { user: new TextEncoder().encode("version 3") });
   * await image.save("alone.snap", { files: "copy" }); // goes on where the files that it reads are not there, or are others
   * @throws `NOT_FOUND` when the folder is not there, `BAD_OPTION`, `UNSUPPORTED` for a machine in a worker process, `CLOSED`
   */
  async save(file: string | URL, options: SaveOptions = {}): Promise<void> {
    this.#checkOpen();
    const { user = new Uint8Array(0), files = "refer" } = options;
    if (!(user instanceof Uint8Array)) throw badOption("user", "`user` is no Uint8Array", "give bytes, up to 64 MiB");
    if (!Object.hasOwn(SavedFiles, files)) throw badOption("files", `\`files\` is ${files}`, 'use "refer" or "copy"');
    const serving = this.#serving && { ...this.#serving, wire: this.#serving.wire && ("frames" as const) };
    const notes = { serving, timeouts: this.#timeouts };
    await saveImage(this.#handle, { path: pathOf(file), user, files: SavedFiles[files], notes }, options);
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
    connectAll(callers.machine, handle, options.remotes);
    return new Fork(snapshots.inner(handle, timeouts, { stdout: (piped & 1) !== 0, stderr: (piped & 2) !== 0 }, this.#jail), options);
  }

  /**
   * Lets forks made from now on call a remote by a name. Put behind a name that is there already, it takes the place of the one
   * before, for forks that are there too.
   *
   * @example
   * image.connect(storage, { name: "storage", mode: "shared" });
   * @throws `BAD_OPTION`, `BUSY` while the remote runs, `CLOSED`, `UNSUPPORTED` for machines in worker processes
   */
  connect(remote: Machine, options?: ConnectOptions): Remote {
    this.#checkOpen();
    return connect(callers.snapshot, this.#handle, remote, options, () => !this.#closed);
  }

  /** @internal How its machine waits for requests, if it does. */
  get serving(): Serving | undefined {
    return this.#serving;
  }

  /** @internal */
  set serving(serving: Serving | undefined) {
    this.#serving = serving;
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
