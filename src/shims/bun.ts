/** The shim of handlers in Bun. */
import crypto from "node:crypto";
import { Store } from "./crypto.ts";
import { onUncaught, openDescriptor } from "./descriptor.ts";
import { serve } from "./serve.ts";

/** UUIDs that Bun has in store at most; small random values come from the same store. */
const stored = 128;
const uuid = crypto.randomUUID;

const store = new Store(() => {
  for (let drawn = 0; drawn < stored; drawn++) uuid();
});
store.guard(Crypto.prototype, ["randomUUID", "getRandomValues"]);
store.guard(crypto, ["randomUUID", "randomUUIDv7", "getRandomValues", "randomInt"]);
store.guard(Bun, ["randomUUIDv7"]);

const [channel, handler, file] = process.argv.slice(-3) as [string, string, string];
await serve({ ...openDescriptor(channel), collect: () => Bun.gc(true), onUncaught, stores: [store] }, handler, file);
