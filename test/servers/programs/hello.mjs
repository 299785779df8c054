// One server for Deno, Bun and Node.
const port = Number(globalThis.process.env.PORT);
const headers = { "content-type": "text/plain" };

function answer(url, method, size) {
  const path = url.replace(/^http:\/\/[^/]+/, "");
  if (path === "/large") return "l".repeat(300_000);
  return `${method} ${path}${size ? ` ${size}` : ""}\n`;
}

const respond = async (request) => {
  const size = request.method === "POST" ? (await request.bytes()).length : 0;
  return new Response(answer(request.url, request.method, size), { headers });
};
if (globalThis.Deno) Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, respond);
else if (globalThis.Bun) Bun.serve({ hostname: "127.0.0.1", port, fetch: respond });
else {
  const http = await import("node:http");
  const server = http.createServer(async (request, response) => {
    let size = 0;
    for await (const chunk of request) size += chunk.length;
    response.writeHead(200, headers).end(answer(request.url, request.method, size));
  });
  server.listen(port, "127.0.0.1");
}
