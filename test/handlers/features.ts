/** A handler that uses what handlers use: types, JSON, npm packages, top-level await, and everything that is waited for. */
import { createHash } from "node:crypto";
import { openSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
// @ts-expect-error React has no types here
import { createElement } from "react";
// @ts-expect-error React has no types here
import { renderToString } from "react-dom/server";
import data from "./data.json";

interface Counted {
  readonly requests: number;
}

const ready: string = await new Promise((resolve) => setTimeout(() => resolve("awaited"), 1));
let requests = 0;

const routes: Record<string, (request: Request, url: URL) => Response | Promise<Response>> = {
  "/count": () => Response.json({ requests } satisfies Counted),
  "/module": () => Response.json({ data, ready, page: renderToString(createElement("p", null, "page")) }),
  "/echo": async (request, url) => {
    const body = new Uint8Array(await request.arrayBuffer());
    const sum = createHash("sha256").update(body).digest("hex");
    return Response.json({ method: request.method, query: url.search, header: request.headers.get("x-given"), length: body.length, sum });
  },
  "/head": () => {
    const headers = new Headers({ "x-own": "a" });
    headers.append("set-cookie", "a=1");
    headers.append("set-cookie", "b=2");
    return new Response(null, { status: 204, headers });
  },
  "/large": () => new Response("l".repeat(3_000_000)),
  "/stream": () => {
    let left = 4;
    return new Response(
      new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 30));
          controller.enqueue(new TextEncoder().encode(`${left--};`));
          if (left === 0) controller.close();
        },
      }),
    );
  },
  "/endless": () =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 5));
          controller.enqueue(new Uint8Array(1000));
        },
      }),
    ),
  "/upper": (request) => {
    const text = request.body?.pipeThrough(new TextDecoderStream()).pipeThrough(
      new TransformStream({
        transform: (piece: string, controller) => controller.enqueue(piece.toUpperCase()),
      }),
    );
    return new Response(text?.pipeThrough(new TextEncoderStream()));
  },
  "/timer": async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return new Response("timer");
  },
  "/file": async () => {
    await writeFile("/tmp/own", "written");
    return new Response(await readFile("/tmp/own", "utf8"));
  },
  "/fetch": async (_, url) => new Response(await (await fetch(url.searchParams.get("at") ?? "")).text()),
  "/read": async (_, url) => new Response(await readFile(url.searchParams.get("path") ?? "", "utf8")),
  "/worker": async () => {
    const source = "self.onmessage = ({ data }) => self.postMessage(data * 2);";
    const node = "const { parentPort } = require('node:worker_threads'); parentPort.on('message', (n) => parentPort.postMessage(n * 2));";
    const { Worker: NodeWorker } = await import("node:worker_threads");
    const isNode = !("Worker" in globalThis);
    const answer = await new Promise((resolve, reject) => {
      if (isNode) {
        const worker = new NodeWorker(node, { eval: true });
        worker.on("message", resolve).on("error", reject).postMessage(21);
      } else {
        const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, { type: "module" });
        worker.onmessage = (event) => resolve(event.data);
        worker.onerror = reject;
        worker.postMessage(21);
      }
    });
    return new Response(String(answer));
  },
  "/busy": async () => {
    const { Worker: NodeWorker } = await import("node:worker_threads");
    const source = "require('node:worker_threads').parentPort.postMessage('busy'); for (;;);";
    const worker = new NodeWorker(source, { eval: true });
    return new Response(await new Promise((resolve) => worker.on("message", resolve)));
  },
  "/env": (_, url) => new Response(process.env[url.searchParams.get("name") ?? ""] ?? "(none)"),
  "/channel": () => {
    try {
      return new Response(String(openSync("/dev/pristine", "r+")));
    } catch (error) {
      return new Response((error as { code: string }).code);
    }
  },
  "/never": () => new Promise(() => {}),
  "/where": () => Response.json({ url: import.meta.url, folder: __dirname }),
  "/throws": () => {
    throw new RangeError("thrown with a secret");
  },
  "/rejects": async () => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    throw new RangeError("rejected with a secret");
  },
  "/uncaught": () =>
    new Promise(() => {
      setTimeout(() => {
        throw new RangeError("uncaught with a secret");
      }, 1);
    }),
  "/unhandled": () =>
    new Promise(() => {
      Promise.reject(new RangeError("unhandled with a secret"));
    }),
  "/late": () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(10)),
        pull: async () => {
          await new Promise((resolve) => setTimeout(resolve, 20));
          throw new RangeError("late with a secret");
        },
      }),
    ),
  "/nothing": () => undefined as unknown as Response,
  "/exit": () => process.exit(3),
  "/loop": () => {
    for (;;);
  },
};

export default {
  fetch(request: Request): Response | Promise<Response> {
    requests++;
    const url = new URL(request.url);
    const route = routes[url.pathname];
    return route ? route(request, url) : new Response("no such route", { status: 404, statusText: "Nowhere" });
  },
};
