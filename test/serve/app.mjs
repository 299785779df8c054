// The same in Node: connections are kept, and answers may come in pieces.
import { createServer } from "node:http";

let calls = 0;
createServer(async (request, response) => {
  calls++;
  const { pathname, search } = new URL(request.url, "http://localhost");
  if (pathname === "/exit") process.exit(3);
  if (pathname === "/abort") process.abort();
  if (pathname === "/hang") return;
  if (pathname === "/nap") await new Promise((resolve) => setTimeout(resolve, 20));
  response.setHeader("x-calls", calls);
  if (pathname === "/pieces") {
    for (let piece = 0; piece < 5; piece++) {
      response.write(`${piece}${"p".repeat(10_000)}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    response.end();
  } else if (pathname === "/broken") {
    response.write("the beginning");
    setTimeout(() => process.exit(3), 200);
  } else {
    let body = "";
    for await (const piece of request) body += piece;
    response.end(`${search.slice(1)} ${body}`);
  }
}).listen(8000, "127.0.0.1");
