/** Positions in a bundle as those in the user's files. */
import { SourceMap } from "node:module";
import { dirname, join } from "node:path";

const inlineMap = /\n\/\/# sourceMappingURL=data:application\/json;base64,([A-Za-z0-9+/=]+)\s*$/;

export class Positions {
  readonly #map: SourceMap | undefined;
  readonly #place: RegExp;
  readonly #folder: string;

  /** `path` is the bundle's place in the machine, against which its sources are named. */
  constructor(bundle: string, path: string) {
    const encoded = inlineMap.exec(bundle)?.[1];
    this.#map = encoded === undefined ? undefined : new SourceMap(JSON.parse(Buffer.from(encoded, "base64").toString()));
    this.#folder = dirname(path);
    this.#place = new RegExp(`(?:file://)?${RegExp.escape(path)}:(\\d+):(\\d+)`, "g");
  }

  /** A stack in which places in the bundle are those in its sources. Places that a runtime has told so already stay. */
  inStack(stack: string): string {
    return stack.replace(this.#place, (place, line: string, column: string) => {
      const entry = this.#map?.findEntry(Number(line) - 1, Number(column) - 1);
      if (!entry || !("originalSource" in entry) || !entry.originalSource) return place;
      return `${join(this.#folder, entry.originalSource)}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
    });
  }
}
