/** The shim of handlers in Bun. */
import { onUncaught, openDescriptor } from "./descriptor.ts";
import { serve } from "./serve.ts";

const [channel, handler] = process.argv.slice(-2) as [string, string];
await serve({ ...openDescriptor(channel), collect: () => Bun.gc(true), onUncaught, renew: () => {} }, handler);
