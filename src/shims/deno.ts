/** The shim of handlers in Deno. */
import crypto from "node:crypto";
import { promisify } from "node:util";
import { replace, Store, uuidOf } from "./crypto.ts";
import { serve } from "./serve.ts";

interface DenoFile {
  readSync(into: Uint8Array): number | null;
  read(into: Uint8Array): Promise<number | null>;
  writeSync(bytes: Uint8Array): number;
}

declare const Deno: { args: string[]; openSync(path: string, options: { read: boolean; write: boolean }): DenoFile };

const [channel, handler, file] = Deno.args as [string, string, string];
const descriptor = Deno.openSync(channel, { read: true, write: true });

/** A thread's generator takes new entropy when it has given 64 KiB; what it has in store then is less than another KiB. */
const reseedBytes = 64 * 1024;
const storedBytes = 1024;
const discarded = new Uint8Array(reseedBytes);
const draw = globalThis.crypto.getRandomValues.bind(globalThis.crypto);

const store = new Store(() => {
  draw(discarded);
  draw(discarded.subarray(storedBytes));
});

function onUncaught(report: (error: unknown) => void): void {
  addEventListener("error", (event) => {
    event.preventDefault();
    report((event as ErrorEvent).error);
  });
  addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    report((event as Event & { reason: unknown }).reason);
  });
}

/**
 * Threads of the runtime's have generators of their own, that nothing can reach: what would draw there is done on this thread, and
 * tells of it later.
 */
function hereInstead(name: string, withoutCallback: string): void {
  const here = (crypto as unknown as Record<string, (...args: unknown[]) => unknown>)[withoutCallback];
  const elsewhere = (crypto as unknown as Record<string, (...args: unknown[]) => unknown>)[name];
  if (!here || !elsewhere) return;
  const instead = (...args: unknown[]) => {
    const callback = args.at(-1);
    if (typeof callback !== "function") return elsewhere(...args);
    const result = here(...args.slice(0, -1));
    const isPair = typeof result === "object" && result !== null && "publicKey" in result && "privateKey" in result;
    setImmediate(() => (isPair ? callback(null, result.publicKey, result.privateKey) : callback(null, result)));
  };
  if (promisify.custom in elsewhere)
    Object.defineProperty(instead, promisify.custom, { value: async (...args: unknown[]) => here(...args) });
  replace(crypto, name, instead);
}

hereInstead("randomBytes", "randomBytes");
hereInstead("randomFill", "randomFillSync");
hereInstead("randomInt", "randomInt");
hereInstead("generateKey", "generateKeySync");
hereInstead("generateKeyPair", "generateKeyPairSync");
hereInstead("generatePrime", "generatePrimeSync");

const isClass = (name: string) => /^[A-Z]/.test(name);
store.guard(
  crypto,
  Object.keys(crypto).filter((name) => !isClass(name) && name !== "randomUUID"),
);
for (const made of [crypto.ECDH, crypto.DiffieHellman, crypto.Sign] as { prototype: object }[])
  store.guard(made.prototype, ["generateKeys", "sign"]);
store.guard(Crypto.prototype, ["getRandomValues"]);
// UUIDs come from another generator with a store too large to be thrown away.
replace(Crypto.prototype, "randomUUID", function (this: Crypto) {
  return uuidOf(this.getRandomValues(new Uint8Array(16)));
});
replace(crypto, "randomUUID", () => globalThis.crypto.randomUUID());
store.guard(SubtleCrypto.prototype, ["generateKey", "encrypt", "sign", "wrapKey"]);

await serve(
  {
    read: (into) => descriptor.readSync(into) ?? 0,
    readLater: async (into) => (await descriptor.read(into)) ?? 0,
    write: (bytes) => descriptor.writeSync(bytes),
    collect: (globalThis as { gc?: () => void }).gc ?? (() => {}),
    onUncaught,
    stores: [store],
  },
  handler,
  file,
);
