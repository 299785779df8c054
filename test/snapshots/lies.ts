/** Damage and lies for snapshot files, each the same for one seed and number: `core/saved/format.zig` has the layout. */
const page = 4096;
const groupPages = 512;
const names = ["processor", "notes", "state", "runs", "sums", "user", "contents", "pages"] as const;
export type SectionName = (typeof names)[number];
const sectionsAt = 64;
const sectionBytes = 32;
const checksumAt = page - 8;

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
  /** Where bytes that are zero and others meet in the state: where its fields are, rather than what is in them. */
  readonly #edges: readonly number[];
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
    const state = this.#bytesOf(this.section("state"));
    this.#edges = Array.from(state.keys()).filter((at) => at > 0 && (state[at] === 0) !== (state[at - 1] === 0));
  }

  section(name: SectionName): Section {
    return this.sections[names.indexOf(name)] as Section;
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
    for (let places = 1 + dice.below(dice.of([1, 1, 3])); places > 0; places--)
      this.#change(bytes, name === "state" ? this.#edges : [], dice);
    const header = this.bytes.slice(0, page);
    const view = new DataView(header.buffer);
    view.setBigUint64(section.entry + 24, checksum(bytes), true);
    if (name === "sums") view.setBigUint64(this.section("pages").entry + 24, checksum(bytes), true);
    return { about: name, patches: [this.#sealed(header), { at: section.offset, bytes }] };
  }

  #lieInHeader(dice: Dice): Lie {
    const header = this.bytes.slice(0, page);
    const fields = dice.below(3) > 0 ? sectionsAt + names.length * sectionBytes : checksumAt;
    this.#change(header.subarray(0, fields), [], dice);
    return { about: "header", patches: [this.#sealed(header)] };
  }

  /** In the memory itself, most often where the page tables are. */
  #lieInPages(dice: Dice): Lie {
    const pages = this.section("pages");
    const count = pages.length / page;
    const group = Math.floor(dice.below(dice.of([Math.min(count, 16), count])) / groupPages);
    const start = pages.offset + group * groupPages * page;
    const bytes = this.bytes.slice(start, Math.min(start + groupPages * page, pages.offset + pages.length));
    const near = bytes.subarray(0, dice.of([16 * page, bytes.length]));
    for (let places = 1 + dice.below(8); places > 0; places--) this.#change(near, [], dice);
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

  /** Other bytes in one place. */
  #change(bytes: Uint8Array, edges: readonly number[], dice: Dice): void {
    if (bytes.length === 0) return;
    const width = dice.of([1, 1, 2, 4, 4, 8]);
    const near = edges.length > 0 && dice.below(4) > 0 ? dice.of(edges) + dice.below(9) - 4 : dice.below(bytes.length);
    const at = Math.max(0, Math.min(near, bytes.length - width));
    const place = bytes.subarray(at, at + width);
    const [first = 0] = place;
    switch (dice.below(8)) {
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
        place[0] = first + dice.of([1, 1, 2, 255, 255, 254, 16, 128]);
        break;
      case 5:
        place[0] = first ^ (1 << dice.below(8));
        break;
      case 6:
        // A number that means something elsewhere.
        place.set(bytes.slice(dice.below(bytes.length - place.length + 1)).subarray(0, place.length));
        break;
      default:
        place.fill(0);
        place[dice.below(place.length)] = 1 << dice.below(8);
    }
  }
}
