/** One HTTP server for Deno, Bun and Node: `/hello` is a line, all else the page. */
import { render } from "./page.mjs";

const port = Number(globalThis.process.env.PORT);
const headers = { "content-type": "text/html" };
const respond = (url) => render(url.endsWith("/hello"));

// By itself Deno tells where it listens, among the errors.
const onListen = () => {};
if (globalThis.Deno) Deno.serve({ hostname: "127.0.0.1", port, onListen }, (request) => new Response(respond(request.url), { headers }));
else if (globalThis.Bun) Bun.serve({ hostname: "127.0.0.1", port, fetch: (request) => new Response(respond(request.url), { headers }) });
else {
  const http = await import("node:http");
  http.createServer((request, response) => response.writeHead(200, headers).end(respond(request.url))).listen(port, "127.0.0.1");
}
