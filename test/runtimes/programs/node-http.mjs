// A server and its client in one process: keep-alive, posts, streams, an error, an ended connection.

import { once } from "node:events";
import http from "node:http";

const server = http.createServer(async (request, response) => {
  if (request.url === "/stream") {
    for (let i = 0; i < 5; i++) {
      response.write(`part ${i};`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    response.end();
  } else if (request.url === "/large") response.end(Buffer.alloc(2_000_000, "l"));
  else if (request.url === "/gone") request.socket.destroy();
  else if (request.method === "POST") {
    let size = 0;
    for await (const chunk of request) size += chunk.length;
    response.writeHead(201, { "x-size": String(size) }).end();
  } else response.end(`hello ${request.url}`);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address();
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function ask(path, options = {}, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, path, agent, ...options }, async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      resolve({
        status: response.statusCode,
        headers: response.headers,
        text: Buffer.concat(chunks).toString(),
        port: request.socket.localPort,
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

const ports = new Set();
for (let i = 0; i < 50; i++) {
  const answer = await ask(`/${i}`);
  ports.add(answer.port);
  if (answer.text !== `hello /${i}`) console.log("wrong", answer);
}
console.log("connections", ports.size);
console.log((await ask("/stream")).text);
console.log((await ask("/large")).text.length);
console.log((await ask("/", { method: "POST" }, Buffer.alloc(500_000))).headers["x-size"]);
await ask("/gone").catch((error) => console.log(error.code));
const many = await Promise.all(Array.from({ length: 40 }, (_, i) => ask(`/p${i}`, { agent: undefined })));
console.log(
  many.every((answer, i) => answer.text === `hello /p${i}`),
  new Set(many.map((answer) => answer.port)).size,
);
const text = await (await fetch(`http://127.0.0.1:${port}/fetch`)).text();
console.log(text);
agent.destroy();
server.closeAllConnections();
server.close();
await once(server, "close");
await ask("/closed").catch((error) => console.log(error.code));
