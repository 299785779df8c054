/** The shim of handlers in Node. */
import { onUncaught, openDescriptor } from "./descriptor.ts";
import { serve } from "./serve.ts";

const [channel, handler] = process.argv.slice(2) as [string, string];
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
await serve({ ...openDescriptor(channel), collect, onUncaught, renew: () => {} }, handler);
