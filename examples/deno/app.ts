// A Deno server: `deno run --allow-net app.ts` runs it by itself.
let requests = 0;

// @ts-expect-error: Deno's types are not Bun's.
Deno.serve({ hostname: "127.0.0.1", port: 8000, onListen() {} }, (request: Request) => {
  requests++;
  const { pathname } = new URL(request.url);
  return Response.json({ pathname, requests });
});
