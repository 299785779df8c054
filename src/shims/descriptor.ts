/** The channel's descriptor by way of node:fs, as Node and Bun have it. */
import { openSync, read, readSync, writeSync } from "node:fs";
import type { Descriptor } from "./channel.ts";

export function openDescriptor(path: string): Descriptor {
  const fd = openSync(path, "r+");
  return {
    read: (into) => readSync(fd, into, 0, into.length, null),
    readLater: (into) =>
      new Promise((resolve, reject) => {
        read(fd, into, 0, into.length, null, (error, count) => (error ? reject(error) : resolve(count)));
      }),
    write: (bytes) => writeSync(fd, bytes, 0, bytes.length, null),
  };
}

/** Errors that nobody catches, as Node and Bun tell of them. */
export function onUncaught(report: (error: unknown) => void): void {
  process.on("uncaughtException", report);
  process.on("unhandledRejection", report);
}
