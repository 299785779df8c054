/** Where the values of a saved machine are: what `core/saved/records.zig` writes, by how many bytes each value has. */

type Shape =
  | number
  | "text"
  | readonly Shape[]
  | { list: Shape }
  | { maybe: Shape }
  | { times: number; of: Shape }
  | { choice: readonly Shape[] };

/** One value: where it is in the state, and its bytes. */
export interface Value {
  readonly at: number;
  readonly width: number;
}

const list = (shape: Shape): Shape => ({ list: shape });
const maybe = (shape: Shape): Shape => ({ maybe: shape });
const times = (count: number, of: Shape): Shape => ({ times: count, of });
const choice = (...shapes: Shape[]): Shape => ({ choice: shapes });

const registers = 144;
const vectors = 4096;
const fault = [1, 4, 8, 1, 8];
const segments = [8, 8];
const queue = list([1, 1, 1, 4, 8, 8]);
const timer = [1, 1, 1, 1, 1, 4, 8, 8, 8, 8, 4];
const ip = [16, 2, 4];
const address = choice([], [], ip, [108, 1, 8]);
const piece = ["text", 4, address, 12, list(4)] as const;
const options = [times(29, 4), 4, 8, maybe(8), maybe(8)];
const deadline = [1, 1, 8];
const call = [8, times(6, 8), 4, maybe(deadline), 8, maybe([8, 4, 1]), 8, maybe(4)];
const watch = [4, 4, 4, 8, 8, 8, 1, 1, 1];
const folder = ["text", 8, maybe(8)] as const;
const text = ["text", 8] as const;
const kind = choice(1, 1, [4, 8], folder, 1, text, text, [4, 8], [4, 8], 4, 4, [list(watch), 4, 8], [8, 1], [1, 1, 8, 8, 1, 8], 8, 4);
const time = [8, 4];

const kernel: Shape = [
  ...[[times(65, 32), 8, queue, 8], times(35, timer), 4, 1, times(4, 4), [1, 1, 4], 4, maybe(segments), segments, times(16, 16)],
  ...[times(4, 1), 8, "text" as const, 4, 4, times(6, 8), 2, 4, list("text"), list("text"), 8, 8, 8, 4, 8],
  ...[maybe(1), list(["text", 8]), list("text")],
];
const thread: Shape = [
  ...[4, 1, 8, 8, registers, segments, vectors, [8, queue, 8, 24, maybe(fault), maybe(8)], call, maybe([8, 8])],
  ...[1, 8, 8, 16, 8],
];
const socket: Shape = [
  ...[2, 1, 2, 8, 1, 1, address, 1, 1, address, maybe(4), list(piece), times(16, ip), 1, list(4), 4, 1, maybe(4), [1, 1]],
  ...[2, 1, maybe(12), options, 1, 1, 1, 4, 4],
];
const node: Shape = [1, 4, 4, 4, 4, 8, times(3, time), 4, maybe(4), 8, "text", list(["text", 4, 8]), 8, 1, maybe([4, 4, 8])];

const tables: Record<string, Shape> = {
  clock: times(5, 8),
  machine: [times(5, 8), 4, times(4, 1), fault, 4, 8, 8, registers, times(4, 1), times(3, 8)],
  program: [4, times(4, 8), "text", "text", list([4, 2, 1, 1, 8, 8])],
  kernel,
  threads: thread,
  contents: 8,
  files: ["text", maybe(4), 8, 8, 4],
  pipes: ["text", 4, 8, 8],
  sockets: socket,
  descriptions: [kind, 4, "text", 8, 8],
  slots: [maybe(4), 1],
  nodes: node,
  vmas: [8, 8, 1, 1, 1, 1, maybe(4), 8, 1, 1],
  windows: [8, 4, maybe(4), list([2, 2, 4])],
  tables: [8, 4],
  blocks: [1, 64],
  pieces: [4, 4, 4, 8, 1],
  written: [4, 4],
};

class Walk {
  readonly #view: DataView;
  at = 0;
  found: Value[] = [];

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A value, which is answered if others hang on it. */
  take(width: number): number {
    const { at } = this;
    if (at + width > this.#view.byteLength) throw new RangeError(`the state ends before ${at + width}`);
    if (width > 0) this.found.push({ at, width });
    this.at += width;
    if (width === 1) return this.#view.getUint8(at);
    return width === 4 ? this.#view.getUint32(at, true) : 0;
  }

  over(shape: Shape): void {
    if (typeof shape === "number") this.take(shape);
    else if (shape === "text") this.take(this.take(4));
    else if ("list" in shape) for (let left = this.take(4); left > 0; left--) this.over(shape.list);
    else if ("maybe" in shape) {
      if (this.take(1) === 1) this.over(shape.maybe);
    } else if ("times" in shape) for (let left = shape.times; left > 0; left--) this.over(shape.of);
    else if ("choice" in shape) this.over(shape.choice[this.take(1)] ?? []);
    else for (const part of shape) this.over(part);
  }
}

/** The values of each table, with the numbers of its fields and rows in front. */
export function valuesOf(state: Uint8Array): ReadonlyMap<string, readonly Value[]> {
  const walk = new Walk(state);
  const all = Object.entries(tables).map(([name, row]) => {
    walk.found = [];
    walk.take(2);
    for (let rows = walk.take(4); rows > 0; rows--) walk.over(row);
    return [name, walk.found] as const;
  });
  if (walk.at !== state.length) throw new RangeError(`the state goes on behind ${walk.at}`);
  return new Map(all);
}
