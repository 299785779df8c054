/** Where `pristine serve` serves: the address of `--allow-listen`, or that of the program. */
import type { Permissions, Stop } from "../../types.ts";
import { UsageError } from "../grammar.ts";

export type Address = { readonly host: string; readonly port: number } | { readonly unix: string };
/** What is left open is the program's. */
export type Wanted = { readonly host?: string; readonly port?: number } | { readonly unix: string };

const form = "give one address: --allow-listen=HOST:PORT or --allow-listen=unix:/path";

/** The address of a `HOST:PORT`, `HOST`, `:PORT` or `unix:/path`. */
export function parseAddress(text: string, hint = form): Wanted {
  if (text.startsWith("unix:")) return { unix: text.slice("unix:".length) };
  const match = /^(\[[0-9A-Fa-f:.]+\]|\*|[A-Za-z0-9._-]*)(?::(\d{1,5}|\*))?$/.exec(text);
  const bare = /^[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,}$/.test(text);
  if (!match && !bare) throw new UsageError(`${text} is not an address to serve on`, hint);
  if (!match) return { host: text };
  const [, name = "", digits] = match;
  const port = digits === undefined || digits === "*" ? undefined : Number(digits);
  if (port !== undefined && port > 65_535) throw new UsageError(`${text} has no port from 0 to 65535`, hint);
  const host = name === "" || name === "*" ? "0.0.0.0" : name.replace(/^\[|\]$/g, "");
  return port === undefined ? { host } : { host, port };
}

/** The address that the permissions ask for. */
export function wantedAddress(permissions: Permissions | "all"): Wanted {
  const listen = permissions === "all" ? true : (permissions.listen ?? false);
  if (typeof listen === "boolean" || listen.length === 0) return {};
  if (listen.length > 1) throw new UsageError("--allow-listen names several addresses", form);
  return parseAddress(listen[0] as string);
}

/** The address to serve on, once the program listens. */
export function resolveAddress(wanted: Wanted, own: Extract<Stop, { reason: "listen" }>["address"] | undefined): Address {
  if ("unix" in wanted) return wanted;
  const { host, port } = own && "port" in own ? own : { host: "127.0.0.1", port: 0 };
  return { host: wanted.host ?? host, port: wanted.port ?? port };
}

export function textOf(address: Address): string {
  if ("unix" in address) return `unix:${address.unix}`;
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

/** A URL at which people reach it; of every address, the loopback one. */
export function urlOf(address: Address): string {
  if ("unix" in address) return `unix:${address.unix}`;
  const host = address.host === "0.0.0.0" || address.host === "::" ? "localhost" : address.host;
  return `http://${textOf({ host, port: address.port })}`;
}

/** Why an address could not be had, as a misuse of the command line. */
export function addressError(error: unknown, address: Address, option: string): UsageError {
  const where = textOf(address);
  switch ((error as { code?: string }).code) {
    case "EADDRINUSE":
      return "unix" in address
        ? new UsageError(`${where} is there already`, `end what serves there and remove the file, or give another --${option}`)
        : new UsageError(`${where} is in use already`, `end what listens there, or give another port: --${option}=HOST:PORT`);
    case "EACCES":
      return new UsageError(`${where} may not be listened on`, `give a port from 1024 on, or a path you may write: --${option}`);
    default:
      return new UsageError(`${where} cannot be listened on: ${(error as Error).message}`, `give another --${option}`);
  }
}
