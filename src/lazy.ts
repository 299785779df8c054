/** Node's modules that only some paths need: loading `node:fs` alone takes longer than booting a machine. */
export function fs(): typeof import("node:fs") {
  return require("node:fs");
}

export function dns(): typeof import("node:dns/promises") {
  return require("node:dns/promises");
}

export function os(): typeof import("node:os") {
  return require("node:os");
}

export function path(): typeof import("node:path") {
  return require("node:path");
}
