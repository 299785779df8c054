/** A handler that tries to keep something for the next request in every way it knows, and tells what it finds of the last one. */
import { mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { Worker } from "node:worker_threads";

/** What it finds, before it leaves its own. */
type Attempt = () => unknown;

const world = globalThis as Record<string, unknown>;
const require = createRequire("/tmp/handler.js");
let variable = 0;
const list: number[] = [];
const cache = new Map<string, string>();
class Counter {
  #hidden = 0;
  next(): number {
    return this.#hidden++;
  }
}
const counter = new Counter();
const buffer = new SharedArrayBuffer(8);
const port = 8123;

/** A module with one page of memory, which is exported as `m`. */
const wasm = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 0, 1, 7, 5, 1, 1, 109, 2, 0]);
const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm));
const linear = instance.exports.m as WebAssembly.Memory;

function attempt<T>(body: () => T): T | string {
  try {
    return body();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** Leaves a text in an object, and answers what was there. */
function leave(holder: Record<string, unknown>): unknown {
  const found = holder.kept ?? "none";
  holder.kept = "kept";
  return found;
}

/** Whether somebody answers at the port that an earlier request listened at. */
function answersAt(): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => resolve("nobody"));
    socket.on("data", (bytes) => resolve(String(bytes)));
  });
}

const attempts: Record<string, Attempt> = {
  "a module's variable": () => variable++,
  "a module's list": () => list.push(1),
  "a module's map": () => [cache.size, cache.set("key", "value")].slice(0, 1),
  "a private field": () => counter.next(),
  "a global": () => leave(world),
  "a global that was deleted": () => [typeof world.structuredClone, delete world.structuredClone][0],
  "a prototype": () => {
    const found = ({} as Record<string, unknown>).polluted ?? "none";
    Object.defineProperty(Object.prototype, "polluted", { value: "polluted", configurable: true });
    return found;
  },
  "a replaced builtin": () => {
    const found = Array.prototype.map.name;
    Array.prototype.map = function evil() {
      return [];
    };
    return found;
  },
  "JSON.stringify": () => {
    const found = JSON.stringify.name;
    const own = JSON.stringify;
    JSON.stringify = function stolen(value: unknown) {
      return own(value);
    } as typeof JSON.stringify;
    return found;
  },
  "the handler's own name for Math.random": () => {
    const found = Math.random() === 4;
    Math.random = () => 4;
    return found;
  },
  "the modules' cache": () => {
    mkdirSync("/tmp/modules", { recursive: true });
    const before = attempt(() => readdirSync("/tmp/modules").length);
    writeFileSync("/tmp/modules/counted.cjs", "exports.count = 0;");
    const counted = require("/tmp/modules/counted.cjs") as { count: number };
    return [before, counted.count++];
  },
  "a property of a builtin module": () => leave(require("node:path")),
  "the environment": () => leave(process.env),
  "the working directory": () => {
    const found = process.cwd();
    process.chdir("/tmp");
    return found;
  },
  "the listeners of the process": () => {
    const found = process.listenerCount("kept");
    process.on("kept", () => {});
    return found;
  },
  "a file": () => [attempt(() => readFileSync("/tmp/kept", "utf8")), writeFileSync("/tmp/kept", "kept")][0],
  "a folder": () => [attempt(() => readdirSync("/tmp/folder").length), attempt(() => mkdirSync("/tmp/folder/in", { recursive: true }))][0],
  "an open file": () => {
    const found = attempt(() => readdirSync("/proc/self/fd").length);
    for (let i = 0; i < 20; i++) openSync("/dev/null", "r");
    // How many a runtime has is its own, but not more from request to request.
    return found;
  },
  "WebAssembly's memory": () => {
    const bytes = new Uint8Array(linear.buffer);
    const found = [bytes.length, bytes[100]];
    bytes[100] = 1;
    linear.grow(1);
    return found;
  },
  "shared memory": () => Atomics.add(new Int32Array(buffer), 0, 1),
  "a timer": async () => {
    const found = world.ticks ?? 0;
    setInterval(() => {
      world.ticks = ((world.ticks as number | undefined) ?? 0) + 1;
    }, 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    return found;
  },
  "a promise that is pending": async () => {
    const found = world.later ?? "none";
    void new Promise((resolve) => setTimeout(resolve, 2)).then(() => {
      world.later = "later";
    });
    return found;
  },
  "a server": async () => {
    const found = await answersAt();
    if (found !== "nobody") return found;
    const server = createServer((socket) => socket.end("still here"));
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const now = await answersAt();
    return [found, now];
  },
  "a worker": async () => {
    const channel = new BroadcastChannel("kept");
    const answer = (milliseconds: number) =>
      new Promise((resolve) => {
        channel.onmessage = (event: { data: unknown }) => resolve(event.data);
        channel.postMessage("who is there?");
        setTimeout(() => resolve("nobody"), milliseconds);
      });
    const found = await answer(Number(process.env.PATIENCE_MS));
    const source =
      "const { parentPort } = require('node:worker_threads'); const c = new BroadcastChannel('kept'); c.onmessage = () => c.postMessage('a worker'); parentPort.postMessage('up');";
    const worker = new Worker(source, { eval: true });
    await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
    return found;
  },
};

export default async (request: Request): Promise<Response> => {
  const url = new URL(request.url);
  const name = decodeURIComponent(url.pathname.slice(1));
  if (name === "") return Response.json(Object.keys(attempts));
  // Builtins may be replaced behind it.
  const { stringify } = JSON;
  let found = await attempts[name]?.();
  // What it leaves is there as long as nothing is put back.
  if (url.search === "?twice") {
    await new Promise((resolve) => setTimeout(resolve, 20));
    found = await attempts[name]?.();
  }
  return new Response(stringify(found ?? null));
};
