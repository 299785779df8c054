// A page that React makes anew for every request; bundled for Deno, Bun and Node.
import { createElement as e } from "react";
import { renderToString } from "react-dom/server";

const port = Number(globalThis.process.env.PORT);
const headers = { "content-type": "text/html" };

function Row({ index, path }) {
  return e("tr", { className: index % 2 ? "odd" : "even" }, e("td", null, index), e("td", null, `${path} <${"x".repeat(index % 7)}>`));
}
const page = (path) => {
  const rows = Array.from({ length: 200 }, (_, index) => e(Row, { key: index, index, path }));
  return `<!doctype html>${renderToString(e("table", null, e("tbody", null, rows)))}`;
};
const respond = (request) => new Response(page(new URL(request.url).pathname), { headers });
if (globalThis.Deno) Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, respond);
else if (globalThis.Bun) Bun.serve({ hostname: "127.0.0.1", port, fetch: respond });
else {
  const http = await import("node:http");
  http.createServer((request, response) => response.writeHead(200, headers).end(page(request.url))).listen(port, "127.0.0.1");
}
