/** Files by way of node:fs, as Node and Bun have it. */
import { openSync, readSync, writeSync } from "node:fs";
import type { File } from "./side.ts";

export function open(path: string): File | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r+");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
  return {
    read: (into) => readSync(fd, into, 0, into.length, null),
    write: (bytes) => writeSync(fd, bytes, 0, bytes.length, null),
  };
}
