/** Host names in network permissions: looked up when a machine is booted, so that its guest needs no DNS for them. */
import { badOption } from "./errors.ts";
import { dns } from "./lazy.ts";
import type { CorePermissions, Grant } from "./options.ts";

/** A name and one of its addresses, for the guest's /etc/hosts. */
export interface Host {
  name: string;
  address: string;
}

/** The host name of a pattern, and what stands behind it; `undefined` if the pattern has an address, or none at all. */
function nameIn(pattern: string): { name: string; rest: string } | undefined {
  const match = /^([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)(:.*)?$/.exec(pattern);
  const name = match?.[1];
  // What has digits and dots alone is an address, or a mistake that the core tells.
  if (match === null || name === undefined || pattern.startsWith("unix:") || /^[0-9.]+$/.test(name)) return undefined;
  return { name, rest: match[2] ?? "" };
}

async function addressesOf(name: string, option: string): Promise<string[]> {
  if (name.toLowerCase() === "localhost") return ["127.0.0.1", "::1"];
  const found = await dns()
    .lookup(name, { all: true })
    .catch(() => []);
  if (found.length > 0) return [...new Set(found.map(({ address }) => address))];
  throw badOption(option, `the host ${name} has no address`, `give \`${option}\` names that can be looked up, or addresses`);
}

async function resolve(grant: Grant, option: string, hosts: Map<string, Host>): Promise<Grant> {
  const paths = await Promise.all(
    grant.paths.map(async (pattern) => {
      const named = nameIn(pattern);
      if (!named) return [pattern];
      const addresses = await addressesOf(named.name, option);
      if (named.name.toLowerCase() !== "localhost") {
        for (const address of addresses) hosts.set(`${named.name} ${address}`, { name: named.name, address });
      }
      return addresses.map((address) => (address.includes(":") ? `[${address}]` : address) + named.rest);
    }),
  );
  return { all: grant.all, paths: paths.flat() };
}

/** Permissions with addresses in the place of names, and the names for /etc/hosts. */
export async function resolveNetwork(permissions: CorePermissions): Promise<CorePermissions & { hosts: Host[] }> {
  const { connect, listen, deny } = permissions;
  const hosts = new Map<string, Host>();
  const denied = new Map<string, Host>();
  const resolved = {
    ...permissions,
    connect: await resolve(connect, "permissions.connect", hosts),
    listen: await resolve(listen, "permissions.listen", hosts),
    deny: {
      ...deny,
      connect: await resolve(deny.connect, "permissions.deny.connect", denied),
      listen: await resolve(deny.listen, "permissions.deny.listen", denied),
    },
  };
  return { ...resolved, hosts: [...hosts.values()] };
}

/** Where a machine listens, from the core's text: HOST:PORT, [HOST]:PORT or unix:NAME (an abstract one begins with @). */
export function addressOf(text: string): { host: string; port: number } | { unix: string } {
  if (text.startsWith("unix:")) return { unix: text.slice("unix:".length) };
  const colon = text.lastIndexOf(":");
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(text.slice(colon + 1)) };
}
