/** What scripts inside a machine do it by, and what differs from runtime to runtime. */

/** What a caller has given a remote. */
export interface Given {
  /** The number of the exported function that is wanted; -1 if the caller has named none. */
  readonly function: number;
  readonly request: Uint8Array;
}

/** The machine's own side. */
export interface Side {
  ready(): void;
  generation(): number;
  /** Names are numbered in the order in which they come. */
  offer(name: string): void;
  /** Hands the answer over that `answer` was given, and waits for the next caller. */
  wait(): Given;
  /** What the caller of the last wait gets: a result, and bytes at the beginning of its buffer. */
  answer(result: number, bytes: Uint8Array | undefined): void;
}

/** A file, read and written as a whole. */
export interface File {
  read(into: Uint8Array): number;
  write(bytes: Uint8Array): number;
}

/** Opens a file that is there; undefined if it is not. */
export type Open = (path: string) => File | undefined;

export const paths = { guest: "/pristine/guest", remotes: "/pristine/remote/" } as const;
