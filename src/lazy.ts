/** Node's modules that only some paths need: loading `node:fs` alone takes longer than booting a machine. */
export function fs(): typeof import("node:fs") {
  return require("node:fs");
}

export function path(): typeof import("node:path") {
  return require("node:path");
}
