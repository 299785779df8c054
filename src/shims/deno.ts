/** The shim of handlers in Deno. */
import { serve } from "./serve.ts";

interface DenoFile {
  readSync(into: Uint8Array): number | null;
  read(into: Uint8Array): Promise<number | null>;
  writeSync(bytes: Uint8Array): number;
}

declare const Deno: { args: string[]; openSync(path: string, options: { read: boolean; write: boolean }): DenoFile };

const [channel, handler] = Deno.args as [string, string];
const file = Deno.openSync(channel, { read: true, write: true });

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

await serve(
  {
    read: (into) => file.readSync(into) ?? 0,
    readLater: async (into) => (await file.read(into)) ?? 0,
    write: (bytes) => file.writeSync(bytes),
    collect: (globalThis as { gc?: () => void }).gc ?? (() => {}),
    onUncaught,
    renew: () => {},
  },
  handler,
);
