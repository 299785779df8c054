/** Damage and lies for snapshot files, each the same for one seed and number: `core/saved/format.zig` has the layout. */
import { type Value, valuesOf } from "./state.ts";

const page = 4096;
const groupPages = 512;
const names = ["processor", "notes", "state", "runs", "sums", "user", "contents", "pages"] as const;
export type SectionName = (typeof names)[number];
const sectionsAt = 64;
const sectionBytes = 32;
const checksumAt = page - 8;
const minorAt = 18;
const hotPagesAt = 48;

export interface Section {
  readonly name: SectionName;
  /** Of its description in the header. */
  readonly entry: number;
  readonly offset: number;
  readonly length: number;
}

/** Bytes that a file has instead of its own. */
export interface Patch {
  readonly at: number;
  readonly bytes: Uint8Array;
}

export interface Lie {
  readonly about: SectionName | "header";
  readonly patches: readonly Patch[];
}

/** Numbers that look random, and are the same for one seed. */
export class Dice {
  #state: number;

  constructor(seed: number, number: number) {
    this.#state = Number(Bun.hash.xxHash3(`${seed}/${number}`) & 0xffff_ffffn);
  }

  /** Below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

export const checksum = (bytes: Uint8Array): bigint => Bun.hash.xxHash3(bytes) as bigint;

/** A snapshot's file. */
export class SnapshotFile {
  readonly bytes: Uint8Array;
  readonly sections: readonly Section[];
  /** What the state consists of, by table. */
  readonly #values: readonly (readonly Value[])[];
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.sections = names.map((name, index) => {
      const entry = sectionsAt + index * sectionBytes;
      return {
        name,
        entry,
        offset: Number(this.#view.getBigUint64(entry + 8, true)),
        length: Number(this.#view.getBigUint64(entry + 16, true)),
      };
    });
    this.#values = [...valuesOf(this.#bytesOf(this.section("state"))).values()];
  }

  section(name: SectionName): Section {
    return this.sections[names.indexOf(name)] as Section;
  }

  /** How many of the pages are read before the machine goes on. */
  get hotPages(): number {
    return Number(this.#view.getBigUint64(hotPagesAt, true));
  }

  #bytesOf({ offset, length }: Section): Uint8Array {
    return this.bytes.subarray(offset, offset + length);
  }

  /** What must be named when a byte is damaged; none if the byte means nothing. */
  ownerOf(at: number): SectionName | "header" | undefined {
    if (at < page) return "header";
    return this.sections.find(({ offset, length }) => at >= offset && at < offset + length)?.name;
  }

  /** Whether checksums are what the tests take them for. */
  isConsistent(): boolean {
    const sums = this.#bytesOf(this.section("sums"));
    const isWhole = (section: Section) =>
      checksum(section.name === "pages" ? sums : this.#bytesOf(section)) === this.#view.getBigUint64(section.entry + 24, true);
    return this.sections.every(isWhole) && checksum(this.bytes.subarray(0, checksumAt)) === this.#view.getBigUint64(checksumAt, true);
  }

  /** A flipped bit in a section, or anywhere. */
  flip(dice: Dice): Patch {
    const where = dice.of(["anywhere", "header", ...names] as const);
    let [from, length] = [0, this.bytes.length];
    if (where === "header") length = page;
    else if (where !== "anywhere" && this.section(where).length > 0) ({ offset: from, length } = this.section(where));
    const at = from + dice.below(length);
    return { at, bytes: Uint8Array.of((this.bytes[at] as number) ^ (1 << dice.below(8))) };
  }

  /** Something that was never saved, under checksums that are right. */
  lie(dice: Dice): Lie {
    const roll = dice.below(100);
    if (roll < 76) return this.#lieIn("state", dice);
    if (roll < 80) return this.#lieInHeader(dice);
    if (roll < 88) return this.#lieIn("runs", dice);
    if (roll < 90) return this.#lieIn("sums", dice);
    if (roll < 93) return this.#lieIn("notes", dice);
    if (roll < 95) return this.#lieIn("processor", dice);
    return this.#lieInPages(dice);
  }

  #lieIn(name: SectionName, dice: Dice): Lie {
    const section = this.section(name);
    const bytes = this.#bytesOf(section).slice();
    // Mostly in a value of a table: names and registers, which are most of the bytes, are a few values among many.
    const isBlind = name !== "state" || dice.below(6) === 0;
    for (let places = 1 + dice.below(dice.of([1, 1, 3])); places > 0; places--) {
      if (isBlind) this.#change(bytes, dice);
      else this.#changeValue(bytes, dice.of(this.#values), dice);
    }
    const header = this.bytes.slice(0, page);
    const view = new DataView(header.buffer);
    view.setBigUint64(section.entry + 24, checksum(bytes), true);
    if (name === "sums") view.setBigUint64(this.section("pages").entry + 24, checksum(bytes), true);
    return { about: name, patches: [this.#sealed(header), { at: section.offset, bytes }] };
  }

  #lieInHeader(dice: Dice): Lie {
    const header = this.bytes.slice(0, page);
    const fields = dice.below(3) > 0 ? sectionsAt + names.length * sectionBytes : checksumAt;
    this.#change(header.subarray(0, fields), dice);
    return { about: "header", patches: [this.#sealed(header)] };
  }

  /** In the memory itself, most often where the page tables are. */
  #lieInPages(dice: Dice): Lie {
    const pages = this.section("pages");
    const count = pages.length / page;
    const hot = this.hotPages;
    const at = dice.below(dice.of([Math.min(count, 16), count]));
    // What is hot is in groups of its own.
    const [begin, end] = at < hot ? [0, hot] : [hot, count];
    const inPart = Math.floor((at - begin) / groupPages);
    const group = (at < hot ? 0 : Math.ceil(hot / groupPages)) + inPart;
    const start = pages.offset + (begin + inPart * groupPages) * page;
    const bytes = this.bytes.slice(start, Math.min(start + groupPages * page, pages.offset + end * page));
    const near = bytes.subarray(0, dice.of([16 * page, bytes.length]));
    for (let places = 1 + dice.below(8); places > 0; places--) this.#change(near, dice);
    const sumsSection = this.section("sums");
    const sums = this.#bytesOf(sumsSection).slice();
    new DataView(sums.buffer).setBigUint64(group * 8, checksum(bytes), true);
    const header = this.bytes.slice(0, page);
    for (const { entry } of [sumsSection, pages]) new DataView(header.buffer).setBigUint64(entry + 24, checksum(sums), true);
    return { about: "pages", patches: [this.#sealed(header), { at: sumsSection.offset, bytes: sums }, { at: start, bytes }] };
  }

  #sealed(header: Uint8Array): Patch {
    new DataView(header.buffer).setBigUint64(checksumAt, checksum(header.subarray(0, checksumAt)), true);
    return { at: 0, bytes: header };
  }

  /** Other bytes somewhere. */
  #change(bytes: Uint8Array, dice: Dice): void {
    if (bytes.length === 0) return;
    const width = Math.min(dice.of([1, 1, 2, 4, 4, 8]), bytes.length);
    const at = dice.below(bytes.length - width + 1);
    this.#replace(bytes.subarray(at, at + width), bytes.slice(dice.below(bytes.length - width + 1)).subarray(0, width), dice);
  }

  /** Another value of one that is in a table. */
  #changeValue(bytes: Uint8Array, table: readonly Value[], dice: Dice): void {
    const { at, width } = dice.of(table);
    const alike = dice.of(table.filter((other) => other.width === width));
    const place = bytes.subarray(at, at + width);
    const other = bytes.slice(alike.at, alike.at + width);
    const from = dice.below(Math.max(0, width - 8) + 1);
    this.#replace(place.subarray(from, from + 8), other.subarray(from, from + 8), dice);
  }

  /** Numbers at the ends of what there is, near the one that is there, or of something else. */
  #replace(place: Uint8Array, other: Uint8Array, dice: Dice): void {
    const view = new DataView(place.buffer, place.byteOffset, place.length);
    switch (dice.below(9)) {
      case 0:
        for (const index of place.keys()) place[index] = dice.below(256);
        break;
      case 1:
        place.fill(0);
        break;
      case 2:
        place.fill(0xff);
        break;
      case 3:
        // The largest number with a sign.
        place.fill(0xff);
        place[place.length - 1] = 0x7f;
        break;
      case 4:
        place.fill(0);
        place[0] = 1 + dice.below(8);
        break;
      case 5: {
        const step = dice.of([1, -1, 2, -2, 16, -16]);
        if (place.length === 8) view.setBigUint64(0, view.getBigUint64(0, true) + BigInt(step), true);
        else if (place.length === 4) view.setUint32(0, view.getUint32(0, true) + step, true);
        else place[0] = view.getUint8(0) + step;
        break;
      }
      case 6:
        place[dice.below(place.length)] = 1 << dice.below(8);
        break;
      case 7:
        place.fill(0);
        place[dice.below(place.length)] = 1 << dice.below(8);
        break;
      default:
        // A number that means something elsewhere.
        place.set(other);
    }
  }
}

/** The same machine as version 1.0 has saved it: without hot pages, and in the order of the frames. */
export function asOlderVersion(file: SnapshotFile): Uint8Array {
  const [runs, sums, pages] = (["runs", "sums", "pages"] as const).map((name) => file.section(name)) as [Section, Section, Section];
  const words = new Uint32Array(file.bytes.slice(runs.offset, runs.offset + runs.length).buffer);
  const places: { frame: number; at: number }[] = [];
  for (let run = 0; run < words.length; run += 2)
    for (let index = 0; index < (words[run + 1] as number); index++)
      places.push({ frame: (words[run] as number) + index, at: pages.offset + places.length * page });
  places.sort((one, other) => one.frame - other.frame);
  const bytes = file.bytes.slice();
  const newRuns: number[] = [];
  for (const [index, { frame, at }] of places.entries()) {
    bytes.set(file.bytes.subarray(at, at + page), pages.offset + index * page);
    const [first, count] = newRuns.slice(-2) as [number, number];
    if (newRuns.length > 0 && first + count === frame) newRuns[newRuns.length - 1] = count + 1;
    else newRuns.push(frame, 1);
  }
  const newSums: bigint[] = [];
  for (let at = 0; at < pages.length; at += groupPages * page)
    newSums.push(checksum(bytes.subarray(pages.offset + at, pages.offset + Math.min(pages.length, at + groupPages * page))));
  const view = new DataView(bytes.buffer);
  const write = ({ entry, offset }: Section, content: Uint8Array) => {
    bytes.set(content, offset);
    view.setBigUint64(entry + 16, BigInt(content.length), true);
    view.setBigUint64(entry + 24, checksum(content), true);
  };
  write(runs, new Uint8Array(new Uint32Array(newRuns).buffer));
  write(sums, new Uint8Array(new BigUint64Array(newSums).buffer));
  view.setBigUint64(pages.entry + 24, view.getBigUint64(sums.entry + 24, true), true);
  view.setUint16(minorAt, 0, true);
  view.setBigUint64(hotPagesAt, 0n, true);
  view.setBigUint64(checksumAt, checksum(bytes.subarray(0, checksumAt)), true);
  return bytes;
}
