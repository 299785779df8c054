/** Where programs keep caches: folders for which a machine has a private layer where it may not write. */
import { os } from "./lazy.ts";

/** The home that the made-up /etc/passwd gives the guest's user, without its last slash. */
const madeUpHome = "";

function isAbsolute(path: string | undefined): path is string {
  return path?.startsWith("/") === true;
}

/**
 * The cache folders of an environment of lines `NAME=VALUE`, as Deno, npm, Bun and whoever follows the XDG base directories
 * find them. A guest without HOME asks for its user's home: the made-up one, or the host's where it may read that.
 */
export function cacheFolders(environment: readonly string[]): string[] {
  const values = new Map(environment.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  const home = values.get("HOME");
  const homes = isAbsolute(home) ? [home] : [madeUpHome, process.env.HOME ?? os().homedir()];
  /** A folder by its own variable, else by its place in each home. */
  const folder = (name: string, inHome: string) => {
    const value = values.get(name);
    return isAbsolute(value) ? [value] : homes.map((path) => `${path}/${inHome}`);
  };
  const deno = values.get("DENO_DIR");
  return [
    ...folder("XDG_CACHE_HOME", ".cache"),
    ...(isAbsolute(deno) ? [deno] : []),
    ...folder("npm_config_cache", ".npm"),
    ...folder("BUN_INSTALL_CACHE_DIR", ".bun/install/cache"),
  ];
}
