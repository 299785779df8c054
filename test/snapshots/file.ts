/** A snapshot's file as its specification says, read by other code than the product's (docs/snapshot-format.md). */
import { readFileSync } from "node:fs";

export const page = 4096;
export const sectionNames = ["processor", "notes", "state", "runs", "sums", "user", "contents", "pages"] as const;
export type SectionName = (typeof sectionNames)[number];

export interface Section {
  readonly offset: number;
  readonly length: number;
  readonly checksum: bigint;
}

const sectionsAt = 64;
const sectionBytes = 32;

export class SnapshotFile {
  readonly bytes: Buffer;

  constructor(path: string) {
    this.bytes = readFileSync(path);
  }

  section(name: SectionName): Section {
    const at = sectionsAt + sectionBytes * sectionNames.indexOf(name);
    const number = (offset: number) => Number(this.bytes.readBigUInt64LE(at + offset));
    return { offset: number(8), length: number(16), checksum: this.bytes.readBigUInt64LE(at + 24) };
  }

  content(name: SectionName): Buffer {
    const { offset, length } = this.section(name);
    return this.bytes.subarray(offset, offset + length);
  }

  /** The state without the table of clocks, which is its first: two counts and five numbers. */
  stateButClocks(): Buffer {
    return this.content("state").subarray(2 + 4 + 5 * 8);
  }
}
