/**
 * A handler that keeps nothing between requests, with a store that does: `isolate("./handler.ts", { remotes: { kv } })`.
 *
 *     GET  /visit/NAME    how often the name was given, as this fork has counted and as the store has
 *     GET  /value/KEY     a value, or 404
 *     PUT  /value/KEY     keeps the body
 */
import { importRemote } from "pristine-vm/guest";

const store = importRemote("kv");
const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** What the store takes at most for a value. */
const valueBytes = 65_536;
const statuses: Record<string, number> = { ENOENT: 404, EINVAL: 400, EDOM: 409, ENOSPC: 507 };

/** Every request finds it as it was before the first. */
let visits = 0;

/** Lends the store a buffer with a request and, behind it, room for an answer, which is put where the request was. */
function ask(request: string, room: number): Uint8Array<ArrayBuffer> {
  if (!store) throw new Error('no store is connected as "kv"');
  const text = encoder.encode(`${request}\n`);
  const buffer = new Uint8Array(text.length + room);
  buffer.set(text);
  return buffer.subarray(0, store(buffer));
}

/** A value is all that is behind the key, so its buffer has no room for anything else. */
function set(key: string, value: Uint8Array): void {
  if (!store) throw new Error('no store is connected as "kv"');
  const text = encoder.encode(`SET ${key} `);
  const buffer = new Uint8Array(text.length + value.length);
  buffer.set(text);
  buffer.set(value, text.length);
  store(buffer);
}

async function answer(request: Request): Promise<Response> {
  // Names stay as they are encoded in the URL: they have no spaces then.
  const [, kind, name = ""] = new URL(request.url).pathname.split("/");
  if (kind === "visit") return Response.json({ here: ++visits, stored: Number(decoder.decode(ask(`ADD visits:${name} 1`, 18))) });
  if (kind !== "value") return new Response("see /visit/NAME and /value/KEY\n");
  if (request.method !== "PUT") return new Response(ask(`GET ${name}`, valueBytes));
  set(name, await request.bytes());
  return new Response(null, { status: 204 });
}

export default async function handle(request: Request): Promise<Response> {
  try {
    return await answer(request);
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    const status = statuses[code];
    if (status === undefined) throw error;
    return new Response(`${code}\n`, { status });
  }
}
