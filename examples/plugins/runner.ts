// Runs inside the machine: takes a plugin's TypeScript, runs it on an input, and answers what it returns.
const transpiler = new Bun.Transpiler({ loader: "ts" });
const AsyncFunction = (async () => {}).constructor as new (...words: string[]) => (...values: unknown[]) => Promise<unknown>;

Bun.serve({
  hostname: "127.0.0.1",
  port: 3000,
  async fetch(request) {
    if (request.method !== "POST") return new Response("ready");
    const { source, input } = (await request.json()) as { source: string; input: unknown };
    try {
      const body = transpiler.transformSync(`export default async (input: any) => {\n${source}\n}`).replace("export default", "return");
      const plugin = await new AsyncFunction(body)();
      return Response.json({ result: await (plugin as (input: unknown) => unknown)(input) });
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 422 });
    }
  },
});
