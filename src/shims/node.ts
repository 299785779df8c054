/** The shim of handlers in Node. OpenSSL's generator, which knows no forks, is replaced by the processor's (`handler/runtime.ts`). */
import crypto from "node:crypto";
import { findSourceMap } from "node:module";
import { pathToFileURL } from "node:url";
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
/** Node reads a source map at the first error; that shall not be in a fork, each time anew. */
const loaded = (bundle: string) => void findSourceMap(pathToFileURL(bundle).href)?.findEntry(0, 0);

await serve({ ...openDescriptor(channel), collect, onUncaught, loaded, stores: [ids, integers] }, handler, file);
