/** The shim of handlers in Node. OpenSSL's generator, which knows no forks, is replaced by the processor's (`handler/runtime.ts`). */
import crypto from "node:crypto";
import { Store } from "./crypto.ts";
import { onUncaught, openDescriptor } from "./descriptor.ts";
import { serve } from "./serve.ts";

/** UUIDs that Node has in store at most. */
const storedIds = 128;
/** Integers that it has in store at most. */
const storedIntegers = 1024;
const { randomUUID, randomInt } = crypto;
const integerMax = 2 ** 48 - 1;

const ids = new Store(() => {
  for (let drawn = 0; drawn < storedIds; drawn++) randomUUID();
});
ids.guard(Crypto.prototype, ["randomUUID"]);
ids.guard(crypto, ["randomUUID"]);
const integers = new Store(() => {
  for (let drawn = 0; drawn < storedIntegers; drawn++) randomInt(integerMax);
});
integers.guard(crypto, ["randomInt"]);

const [channel, handler, file] = process.argv.slice(2) as [string, string, string];
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
await serve({ ...openDescriptor(channel), collect, onUncaught, stores: [ids, integers] }, handler, file);
