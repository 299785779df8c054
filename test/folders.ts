/** Folders for tests of what a guest finds on the host: outside those of which every machine has its own. */
import { accessSync, constants, mkdtempSync } from "node:fs";
import { join } from "node:path";

const own = ["/tmp", "/var/tmp", "/dev/shm"];

/** A new folder of the host's that the guest's private directories do not hide. */
export function hostFolder(prefix: string): string {
  for (const folder of [join(import.meta.dir, "../zig-out"), process.env.HOME ?? "", "/run", "/var/lib", "/opt"]) {
    if (!folder.startsWith("/") || own.some((path) => `${folder}/`.startsWith(`${path}/`))) continue;
    try {
      accessSync(folder, constants.W_OK);
      return mkdtempSync(join(folder, prefix));
    } catch {}
  }
  throw new Error("no folder for tests can be written outside /tmp");
}
