/** The JavaScript runtimes that handlers run in: where each is, and how it is started. */
import { basename } from "node:path";
import { badOption, PristineError } from "../errors.ts";
import { fs } from "../lazy.ts";
import type { RuntimeName, RuntimeOption } from "../types.ts";

export interface Runtime {
  readonly name: RuntimeName;
  readonly path: string;
  /** Before what the shim gets. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Where it loads the handler from. */
  readonly handler: string;
}

/** Where the configuration of Node's OpenSSL is in a machine. */
export const opensslPath = "/pristine-openssl.cnf";

/** OpenSSL's generator is in the program's memory, the same in each fork; the processor's own has no state. */
export const opensslConfiguration = `nodejs_conf = pristine
[pristine]
engines = engines
[engines]
rdrand = rdrand
[rdrand]
engine_id = rdrand
default_algorithms = RAND
init = 1
`;

/** Files that every machine of a handler is shown. */
export const shown = { shim: "/pristine-shim.mjs", handler: "/pristine-handler.mjs" } as const;

/** Bun lists the folder of each module, which the machine's root does not allow: it runs copies in the machine's own /tmp. */
const copies = { shim: "/tmp/pristine/shim.mjs", handler: "/tmp/pristine/handler.mjs" } as const;
const copyAndRun = `
const fs = require("node:fs");
fs.mkdirSync("/tmp/pristine");
fs.copyFileSync("${shown.shim}", "${copies.shim}");
fs.copyFileSync("${shown.handler}", "${copies.handler}");
await import("${copies.shim}");
`;

/** Everything that runtimes keep goes to the machine's own files. */
const commonEnv = { HOME: "/tmp", TMPDIR: "/tmp", PATH: "/usr/bin:/bin", TZ: "UTC" };

interface Known {
  readonly args: readonly string[];
  readonly program: readonly string[];
  readonly handler: string;
  readonly env: Readonly<Record<string, string>>;
}

const fromFile = { program: [shown.shim], handler: shown.handler };

const known: Record<RuntimeName, Known> = {
  bun: {
    args: ["--no-install", "--config=/dev/null"],
    program: ["-e", copyAndRun],
    handler: copies.handler,
    env: { BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0", DO_NOT_TRACK: "1" },
  },
  deno: {
    ...fromFile,
    args: ["run", "--allow-all", "--no-config", "--no-lock", "--no-npm", "--no-remote", "--no-prompt", "--quiet", "--v8-flags=--expose-gc"],
    env: { DENO_DIR: "/tmp/deno", DENO_NO_UPDATE_CHECK: "1", DENO_NO_PACKAGE_JSON: "1" },
  },
  node: { ...fromFile, args: ["--expose-gc", "--enable-source-maps", "--no-warnings", `--openssl-config=${opensslPath}`], env: {} },
};

function isName(name: string): name is RuntimeName {
  return Object.hasOwn(known, name);
}

/** The package that has Deno's executable for this machine, as npm installs it. */
const denoPackage = "@deno/linux-x64-glibc/deno";

function find(name: RuntimeName): string {
  if (name === "bun") return process.execPath;
  const inPath = Bun.which(name);
  if (inPath) return inPath;
  if (name === "deno") {
    for (const from of [process.cwd(), import.meta.dir]) {
      try {
        return Bun.resolveSync(denoPackage, from);
      } catch {}
    }
  }
  throw new PristineError("NOT_FOUND", `there is no ${name} in PATH`, `install ${name}, or give \`runtime\` as { path: "/…/${name}" }`, {
    path: name,
  });
}

/** The processor's own generator, which Node needs in place of OpenSSL's. */
function hasProcessorRandom(): boolean {
  return /^flags\s*:.*\brdrand\b/m.test(fs().readFileSync("/proc/cpuinfo", "latin1"));
}

function made(name: RuntimeName, path: string, args: readonly string[]): Runtime {
  if (name === "node" && !hasProcessorRandom())
    throw new PristineError("UNSUPPORTED", "this processor has no RDRAND, without which Node's random numbers repeat", "use bun or deno", {
      feature: "node",
    });
  const { program, handler, env } = known[name];
  return { name, path, args: [...args, ...program], env: { ...commonEnv, ...env }, handler };
}

export function runtimeOf(option: RuntimeOption = "bun"): Runtime {
  if (typeof option === "string") {
    if (!isName(option)) throw badOption("runtime", `${option} is no runtime`, 'give `runtime` as "bun", "deno", "node" or { path, args }');
    return made(option, find(option), known[option].args);
  }
  const { path, args } = option;
  if (typeof path !== "string" || !fs().existsSync(path))
    throw new PristineError("NOT_FOUND", `there is no runtime at ${path}`, "give `runtime` the path of an executable", {
      path: String(path),
    });
  // Which shim fits is told by the name, as the system finds programs.
  const name = (["deno", "node"] as const).find((known) => basename(path).startsWith(known)) ?? "bun";
  return made(name, path, args ?? known[name].args);
}
