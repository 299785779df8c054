// Deno.serve or Bun.serve, and fetch to it in the same process.
declare const Bun: { serve(options: object): { port: number; stop(force: boolean): Promise<void> } } | undefined;
declare const Deno: { serve(options: object, handler: Handler): { addr: { port: number }; shutdown(): Promise<void> } };
type Handler = (request: Request) => Response | Promise<Response>;

const handler: Handler = async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/throw") throw new Error("on purpose");
  if (pathname === "/large") return new Response(new Uint8Array(2_000_000).fill(108));
  if (pathname === "/stream")
    return new Response(
      new ReadableStream({
        async start(controller) {
          for (let i = 0; i < 5; i++) {
            controller.enqueue(new TextEncoder().encode(`part ${i};`));
            await new Promise((resolve) => setTimeout(resolve, 2));
          }
          controller.close();
        },
      }),
    );
  if (request.method === "POST") return Response.json({ size: (await request.bytes()).length }, { status: 201 });
  return new Response(`hello ${pathname}`);
};

const [port, stop] =
  typeof Bun === "undefined"
    ? (() => {
        const server = Deno.serve(
          { port: 0, hostname: "127.0.0.1", onListen() {}, onError: () => new Response("failed", { status: 500 }) },
          handler,
        );
        return [server.addr.port, () => server.shutdown()] as const;
      })()
    : (() => {
        const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: handler, error: () => new Response("failed", { status: 500 }) });
        return [server.port, () => server.stop(true)] as const;
      })();
const ask = (path: string, options?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, options);

for (let i = 0; i < 50; i++) if ((await (await ask(`/${i}`)).text()) !== `hello /${i}`) console.log("wrong", i);
console.log(await (await ask("/stream")).text());
console.log((await (await ask("/large")).bytes()).length);
const posted = await ask("/", { method: "POST", body: new Uint8Array(500_000) });
console.log(posted.status, await posted.json());
const failed = await ask("/throw");
console.log(failed.status, await failed.text());
const many = await Promise.all(Array.from({ length: 40 }, async (_, i) => (await ask(`/p${i}`)).text()));
console.log(many.every((text, i) => text === `hello /p${i}`));
const controller = new AbortController();
const aborted = ask("/stream", { signal: controller.signal });
controller.abort();
console.log(
  await aborted.then(
    () => "answered",
    (error: Error) => error.name,
  ),
);
await stop();
console.log(
  await ask("/").then(
    () => "answered",
    (error: Error) => error.constructor.name,
  ),
);
