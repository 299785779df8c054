/**
 * Random requests to a machine, and the check that a reset leaves nothing of them.
 *
 * A request is a list of changes (`guest/samples/changes.c` makes them in the guest) and of what an embedder may do
 * meanwhile. After it the fork is reset and must be the same as a fork that never ran, in two ways: by the core's records
 * and memory (`difference`), and as seen from inside, where translations that KVM remembers would show.
 */
import { lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type Fork, Machine, PristineError, type Snapshot } from "../../src/index.ts";
import { difference } from "../../src/testing.ts";
import { hostFolder } from "../folders.ts";

export const playground = 0x1000_0000_0000;
const far = 0x2000_0000_0000;
const farStep = 0x4000_0000;
const page = 4096;
/** How long a request that never ends may run. */
const loopMs = Number(process.env.RESET_TIMEOUT ?? 100);

export interface Change {
  kind: number;
  a: number;
  b: bigint;
  c: bigint;
}

/** What the embedder does between changes. */
export type Embedder = "view" | "write" | "allocate" | "signal" | "keep a view" | "text";
export type Step = { change: Change } | { embedder: Embedder; at: number };

export interface Request {
  steps: Step[];
  mode: "auto" | "rewrite" | "full";
}

// Kinds that end a request are rare, or most requests would be short.
const harmless = [
  0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 9, 10, 10, 11, 12, 12, 13, 14, 15, 19, 20, 23, 23, 24, 24, 26, 26, 27, 27, 28, 28, 29, 29,
];
const ending = [16, 17, 18, 21, 25];

const change = (kinds: number[]) =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    a: fc.oneof(fc.nat(2047), fc.nat(20), fc.constantFrom(299, 300, 320, 380, 384, 500, 511, 512, 600, 1023, 1300)),
    b: fc.oneof(fc.bigInt(0n, 63n), fc.bigInt(0n, 2n ** 63n - 1n)),
    c: fc.oneof(fc.bigInt(0n, 7n), fc.bigInt(0n, 2n ** 63n - 1n)),
  });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 30, arbitrary: change(harmless).map((change) => ({ change })) },
  { weight: 1, arbitrary: change(ending).map((change) => ({ change })) },
  {
    weight: 3,
    arbitrary: fc.record({
      embedder: fc.constantFrom<Embedder>("view", "write", "allocate", "signal", "keep a view", "text"),
      at: fc.nat(299),
    }),
  },
);

export const request: fc.Arbitrary<Request> = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 12 }),
  mode: fc.constantFrom("auto", "rewrite", "rewrite", "full"),
});

/** The guest's functions that the checks use. */
export function bind(fork: Fork) {
  return fork.fns({
    change: { args: ["u32", "u64", "u64", "u64"], returns: "i64" },
    look: { args: ["ptr", "ptr", "u32"] },
    runs: { args: ["ptr"], returns: "i32" },
    vectors: { args: ["ptr"] },
    private_sum: { returns: "i64" },
    event_sum: { returns: "i64" },
    thread_sum: { returns: "i64" },
    socket_sum: { returns: "i64" },
    layer_sum: { returns: "i64" },
  });
}

export class Subject implements Disposable {
  readonly image: Snapshot;
  /** The folder of the host over which the guest has a layer. */
  readonly #cache: string;
  readonly #cacheFacts: string;
  fork: Fork;
  /** Never runs: what every reset must lead back to. */
  readonly untouched: Fork;
  #call: ReturnType<typeof bind>;
  #lastGeneration = 0;
  /** What the image's private files come to. */
  readonly #private: string;
  /** Far pages of the request before, as `index:page`. */
  #farBefore: string[] = [];
  /** What a request saw that it should not have. */
  #seen: string[] = [];

  private constructor(image: Snapshot, cache: string) {
    this.image = image;
    this.#cache = cache;
    this.#cacheFacts = factsOf(cache);
    this.fork = image.fork({ timeout: loopMs });
    this.untouched = image.fork();
    this.#call = bind(this.fork);
    using fresh = image.fork();
    this.#private = privateFiles(bind(fresh));
  }

  static async create(): Promise<Subject> {
    const program = join(import.meta.dir, "../../zig-out/guests/changes");
    const cache = cacheFolder();
    using vm = await Machine.boot(program, {
      stdout: "ignore",
      stderr: "ignore",
      memory: "64MiB",
      timeout: 60_000,
      permissions: { read: ["/"] },
      env: { XDG_CACHE_HOME: cache },
    });
    await vm.run({ until: "ready" });
    return new Subject(vm.freeze(), cache);
  }

  /** Runs a request; true if it ended early, by a fault, an exit or a time-out. */
  run(request: Request): boolean {
    const farNow = new Set<string>();
    this.#seen = [];
    const early = this.#steps(request, farNow);
    this.#farBefore = [...farNow];
    return early;
  }

  /** Maps a far page, with page tables of its own, and looks where the request before had one. */
  #mapFar({ a, b, c }: Change, mapped: Set<string>): void {
    mapped.add(`${a % 48}:${b % 16n}`);
    this.#call.change(12, a, b, c);
    for (const other of this.#farBefore) {
      if (mapped.has(other)) continue;
      const [index, page] = other.split(":") as [string, string];
      const found = BigInt.asUintN(64, this.#call.change(22, Number(index), BigInt(page), 0n));
      if (found !== 0xdeadn)
        this.#seen.push(`during a request: 0x${found.toString(16)} at far page ${other}, which only the request before mapped`);
    }
  }

  #steps(request: Request, farNow: Set<string>): boolean {
    for (const one of request.steps) {
      try {
        if ("change" in one && one.change.kind === 12) this.#mapFar(one.change, farNow);
        else if ("change" in one) this.#call.change(one.change.kind, one.change.a, one.change.b, one.change.c);
        else this.#embed(one.embedder, one.at);
      } catch (error) {
        if (PristineError.is(error, "BAD_ADDRESS") || PristineError.is(error, "BAD_OPTION")) continue;
        if (!PristineError.is(error)) throw error;
        // Reported by the check, which then goes on with another fork.
        if (!["GUEST_FAULT", "GUEST_EXIT", "TIMEOUT", "OUT_OF_MEMORY"].includes(error.code))
          this.#seen.push(`during a request: ${error.code} ${error.message}`);
        return true;
      }
    }
    return false;
  }

  #embed(what: Embedder, at: number): void {
    const address = playground + at * page;
    const { memory } = this.fork;
    if (what === "view") memory.view(address, 64).fill(at);
    else if (what === "write") memory.write(address + 128, new Uint8Array([1, 2, 3, at]));
    else if (what === "allocate") memory.write(memory.allocate(1 + at * 500), "the embedder's own");
    else if (what === "signal") this.fork.kill("SIGWINCH");
    else if (what === "text") this.fork.call("change", 13, 0, at, `a text of the embedder's, ${at}`);
    else memory.lease(address, page);
  }

  /** Resets and compares; what is wrong, a line each. A fork with which something is wrong is replaced, so that a failure can be shrunk. */
  check(request: Request, inside: boolean): string[] {
    const wrong = this.#resetAndCompare(request, inside);
    if (wrong.length > 0) {
      this.fork.close();
      this.fork = this.image.fork({ timeout: loopMs });
      this.#call = bind(this.fork);
      this.#farBefore = [];
    }
    return wrong;
  }

  #resetAndCompare(request: Request, inside: boolean): string[] {
    this.fork.reset({ mode: request.mode });
    const wrong = [...this.#seen, ...difference(this.fork, this.untouched)];
    if (this.fork.generation === this.#lastGeneration) wrong.push("the generation is the same");
    this.#lastGeneration = this.fork.generation;
    if (!inside || wrong.length > 0) return wrong;
    using fresh = this.image.fork({ timeout: 5_000 });
    const seen = this.#lookPatiently(request);
    const expected = lookInside(fresh, bind(fresh), request);
    for (const [index, text] of expected.entries()) {
      if (seen[index] !== text) wrong.push(`from inside: ${seen[index]} instead of ${text}`);
    }
    // A fork that wrote to the image itself would have changed it for both.
    if (expected.at(-1) !== this.#private) wrong.push("the image's private files have changed");
    if (factsOf(this.#cache) !== this.#cacheFacts) wrong.push("the host's folder beneath the layer has changed");
    this.fork.reset();
    return wrong;
  }

  /** The time limit is for requests that never end; a busy machine may need longer than that for a look, but not each time. */
  #lookPatiently(request: Request): string[] {
    for (let tries = 1; ; tries++) {
      try {
        return lookInside(this.fork, this.#call, request);
      } catch (error) {
        if (tries === 4 || !PristineError.is(error, "TIMEOUT")) throw error;
        this.fork.reset();
      }
    }
  }

  /** What must hold of a fork that has just been made. */
  checkImage(): string[] {
    using fresh = this.image.fork();
    const wiped = fresh.call("wiped_value");
    return wiped === 0 ? [] : [`a page with MADV_WIPEONFORK has ${wiped} in a fork`];
  }

  [Symbol.dispose](): void {
    this.close();
  }

  close(): void {
    this.fork.close();
    this.untouched.close();
    this.image.close();
    rmSync(this.#cache, { recursive: true, force: true });
  }
}

/** All that changes of a host folder would show in. */
function factsOf(folder: string): string {
  return [".", ...(readdirSync(folder, { recursive: true }) as string[]).sort()]
    .map((name) => {
      const { mode, size, mtimeMs, ctimeMs, ino, nlink } = lstatSync(join(folder, name));
      return [name, mode, size, mtimeMs, ctimeMs, ino, nlink].join();
    })
    .join("\n");
}

/** What change_layer.c says that the host has there. */
function cacheFolder(): string {
  const folder = hostFolder("pristine-layer-");
  mkdirSync(join(folder, "folder"));
  for (let index = 0; index < 5; index++) writeFileSync(join(folder, `host-${index}`), `of the host's ${index}`.repeat(20 * index + 1));
  for (let index = 0; index < 3; index++) writeFileSync(join(folder, `folder/host-${index}`), `further in ${index}`);
  symlinkSync("folder/host-0", join(folder, "link"));
  return folder;
}

/** Pages that a request named or may have reached, and some that it has not. */
function pagesOf(request: Request): number[] {
  const pages = new Set<number>(
    [0, 150, 299, 300, 345, 380, 385, 500, 600, 1099, 1100, 1300, 1307, 2047].map((n) => playground + n * page),
  );
  for (const one of request.steps) {
    if (!("change" in one)) continue;
    const { kind, a, b } = one.change;
    const first = a % 2048;
    for (const offset of [0, 1, Number(b % 600n), Number(b % 64n)]) pages.add(playground + ((first + offset) % 2048) * page);
    if (kind === 19) pages.add(playground + Number(b % 2048n) * page);
    if (kind === 12) {
      // The request's own, and its neighbours whose tables may have had the same frames.
      for (const index of [a % 48, (a + 1) % 48]) pages.add(far + index * farStep + Number(b % 16n) * page);
    }
  }
  return [...pages];
}

function privateFiles(call: ReturnType<typeof bind>): string {
  const sums = [call.private_sum(), call.layer_sum()].map((sum) => BigInt.asUintN(64, sum).toString(16));
  return `private files ${sums.join(", a layer ")}`;
}

export function lookInside(fork: Fork, call: ReturnType<typeof bind>, request: Request): string[] {
  const lines: string[] = [];
  const area = fork.memory.allocate(8192, { align: 64 });
  call.vectors(area);
  const vectors = fork.memory.read(area, 2696);
  // Which parts the processor counts as in use (XSTATE_BV, Intel SDM volume 1, 13.6) depends on who loaded them; what they hold does not.
  vectors.fill(0, 512, 520);
  lines.push(`vectors ${Bun.hash(vectors).toString(16)}`);
  const pages = pagesOf(request);
  const addresses = fork.memory.allocate(pages.length * 16);
  fork.memory.write(addresses, new BigUint64Array(pages.map(BigInt)));
  call.look(addresses, addresses + pages.length * 8, pages.length);
  const answers = new BigUint64Array(fork.memory.read(addresses + pages.length * 8, pages.length * 8).buffer);
  pages.forEach((address, index) => {
    lines.push(`${address.toString(16)}: ${(answers[index] as bigint).toString(16)}`);
  });
  lines.push(`events ${BigInt.asUintN(64, call.event_sum()).toString(16)}`);
  lines.push(`threads ${BigInt.asUintN(64, call.thread_sum()).toString(16)}`);
  lines.push(`sockets ${BigInt.asUintN(64, call.socket_sum()).toString(16)}`);
  for (const index of [600, 10]) lines.push(`runs ${index}: ${call.runs(playground + index * page)}`);
  lines.push(privateFiles(call));
  return lines;
}
