// bun examples/plugins/main.ts: runs TypeScript that strangers send. A plugin may loop, eat memory, exit or change every
// prototype: it has a fork of its own, without files and network, for 250 ms and with 1 GiB, and nobody comes after it.
import { isolate, type PristineError } from "pristine-vm";

const here = import.meta.dir;
const meanings: Partial<Record<PristineError["code"], [status: number, text: string]>> = {
  TIMEOUT: [408, "the plugin took too long"],
  OUT_OF_MEMORY: [413, "the plugin used too much memory"],
  GUEST_EXIT: [422, "the plugin ended its process"],
  GUEST_FAULT: [422, "the plugin ended its process"],
};

await using plugins = await isolate({
  program: process.execPath,
  args: ["runner.ts"],
  cwd: here,
  memory: "1GiB",
  timeout: 250,
  permissions: { read: [here, "/usr", "/lib", "/lib64"] },
  onError(error) {
    const [status, text] = meanings[error.code] ?? [500, "the plugin could not be run"];
    return Response.json({ error: text }, { status });
  },
});

using server = Bun.serve({ hostname: "127.0.0.1", port: process.env.PORT ?? 8080, fetch: plugins.fetch });
console.log(`Plugins on ${server.url}: try
  curl ${server.url} -H content-type:application/json -d '{"source":"return input.a + input.b","input":{"a":40,"b":2}}'
  curl ${server.url} -H content-type:application/json -d '{"source":"for (;;);"}'`);
await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
