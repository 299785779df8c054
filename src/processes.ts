/** The processes in which a pool's forks run: this one, or workers that have the same image. */
import { closedError, PristineError } from "./errors.ts";
import { core } from "./ffi/library.ts";
import { handleOf } from "./machine.ts";
import type { Fork, Snapshot } from "./snapshot.ts";
import type { ForkOptions, JailPart } from "./types.ts";

/** Forks that one process carries well: every VM makes each change of mappings in its process a little slower. */
export const forksPerProcess = 16;

interface Process {
  readonly image: Snapshot;
  readonly forks: Set<Fork>;
}

/** How many worker processes a pool needs; 0 when it runs in this one. */
export function workersFor({ forks, jail }: { forks: number; jail: boolean }): number {
  return jail || forks > forksPerProcess ? Math.ceil(forks / forksPerProcess) : 0;
}

/** A snapshot in so many processes, the first of which has it. */
export function doubled(image: Snapshot, processes: number): Snapshot[] {
  const images = [image];
  try {
    while (images.length < processes) images.push((images[0] as Snapshot).double());
    if (processes > 0) for (const image of images) image.seal();
    return images;
  } catch (error) {
    for (const image of images) image.close();
    throw error;
  }
}

function isWorkerGone(error: unknown): boolean {
  return PristineError.is(error, "INTERNAL") && (error.details as { worker?: string }).worker === "gone";
}

export class Processes {
  #all: Process[];

  constructor(images: readonly Snapshot[]) {
    this.#all = images.map((image) => ({ image, forks: new Set() }));
  }

  /** What all forks are made of. */
  image(): Snapshot {
    const first = this.#all[0];
    if (!first) throw closedError();
    return first.image;
  }

  get jail(): readonly JailPart[] {
    return this.#all[0]?.image.jail ?? [];
  }

  /** A fork in the process that has the fewest; `undefined` when all processes have ended. */
  fork(options: ForkOptions): Fork | undefined {
    for (;;) {
      const [first, ...rest] = this.#all;
      if (!first) return undefined;
      const process = rest.reduce((least, other) => (other.forks.size < least.forks.size ? other : least), first);
      try {
        const fork = process.image.fork(options);
        process.forks.add(fork);
        return fork;
      } catch (error) {
        if (!isWorkerGone(error)) throw error;
        this.#all.splice(this.#all.indexOf(process), 1);
        process.image.close();
      }
    }
  }

  /** Whether the fork's process has not ended. */
  has(fork: Fork): boolean {
    return core().pristine_worker_gone(handleOf(fork)) === 0;
  }

  forget(fork: Fork): void {
    for (const { forks } of this.#all) forks.delete(fork);
  }

  /** In place of those that have ended. */
  replace(images: readonly Snapshot[]): void {
    this.#all = images.map((image) => ({ image, forks: new Set() }));
  }

  close(): void {
    for (const { image } of this.#all.splice(0)) image.close();
  }
}
