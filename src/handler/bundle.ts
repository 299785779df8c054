/** A handler and all it imports as one module, and the shim that it runs in. */
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BuildFailure, BuildOptions, Message, Plugin } from "esbuild";
import { PristineError } from "../errors.ts";
import type { RuntimeName } from "../types.ts";

/** From this file, or from the command's bundle, to the package: both are two folders down. */
const shimFolder = join(import.meta.dir, "../../src/shims");

const conditions: Record<RuntimeName, string[]> = { bun: ["bun", "node"], deno: ["deno", "node"], node: ["node"] };

/** The lowest versions of the language that the runtimes have. */
const common: BuildOptions = {
  bundle: true,
  write: false,
  format: "esm",
  platform: "node",
  target: "es2023",
  logLevel: "silent",
};

/** Modules of the runtimes' own; a bundle imports them where it runs. */
const external = ["bun", "bun:*", "node:*"];

/**
 * `node:crypto` as the object that `require` gives, for imports by name too: the shim has wrapped its functions, and names that a
 * runtime exports are not bound to it.
 */
const wrappedCrypto: Plugin = {
  name: "wrapped node:crypto",
  setup(build) {
    build.onResolve({ filter: /^(node:)?crypto$/ }, ({ namespace }) =>
      namespace === "wrapped" ? { path: "node:crypto", external: true } : { path: "node:crypto", namespace: "wrapped" },
    );
    build.onLoad({ filter: /.*/, namespace: "wrapped" }, () => ({ contents: 'module.exports = require("node:crypto");' }));
  },
};

async function build(options: BuildOptions): Promise<string> {
  // Loaded when it is needed: nothing else needs it.
  const esbuild = await import("esbuild");
  try {
    const { outputFiles } = await esbuild.build({ ...common, ...options });
    return (outputFiles as { text: string }[])[0]?.text ?? "";
  } catch (cause) {
    throw failure(cause as Partial<BuildFailure> & Error);
  }
}

function failure(cause: Partial<BuildFailure> & Error): PristineError<"BUNDLE_FAILED"> {
  const [first, ...others] = cause.errors ?? [];
  if (!first) return new PristineError("BUNDLE_FAILED", `the handler cannot be bundled: ${cause.message}`, "see the cause", {}, { cause });
  const more = others.length > 0 ? ` (and ${others.length} more)` : "";
  const hint = first.location ? `change ${placeOf(first)}: ${first.location.lineText.trim()}` : "see the cause";
  return new PristineError("BUNDLE_FAILED", `the handler cannot be bundled: ${placeOf(first)}: ${first.text}${more}`, hint, {}, { cause });
}

function placeOf({ location }: Message): string {
  return location ? `${location.file}:${location.line}:${location.column + 1}` : "esbuild";
}

/**
 * Bundles a handler for a runtime; `path` is where the bundle will be, for its source map. What a module says of its own place is
 * the handler's: that is where files beside it are.
 */
export function bundleHandler(file: string, runtime: RuntimeName, path: string): Promise<string> {
  const folder = JSON.stringify(dirname(file));
  const name = JSON.stringify(file);
  return build({
    entryPoints: [file],
    outfile: path,
    sourcemap: "inline",
    sourcesContent: false,
    conditions: conditions[runtime],
    external,
    plugins: [wrappedCrypto],
    define: {
      ...{ "import.meta.url": JSON.stringify(pathToFileURL(file).href), "import.meta.filename": name, "import.meta.dirname": folder },
      ...{ "import.meta.path": name, "import.meta.dir": folder, __filename: name, __dirname: folder },
    },
  });
}

/** The shim of a runtime. */
export function bundleShim(runtime: RuntimeName): Promise<string> {
  return build({ entryPoints: [join(shimFolder, `${runtime}.ts`)], external });
}
