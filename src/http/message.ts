/** HTTP/1.1 requests as bytes for a server inside a machine. */

/** Headers that are about one connection, not about the message (RFC 9110, 7.6.1); the guest's connection is its own. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** The path and query of a request's address, unchanged. */
export function targetOf(url: string): string {
  const scheme = url.indexOf("://");
  const slash = url.indexOf("/", scheme < 0 ? 0 : scheme + 3);
  const target = slash < 0 ? "/" : url.slice(slash);
  const fragment = target.indexOf("#");
  return fragment < 0 ? target : target.slice(0, fragment);
}

function hostOf(url: string): string {
  return /^[a-z]+:\/\/([^/?#]*)/i.exec(url)?.[1] ?? "localhost";
}

/** Names of the headers that `connection` names, which end here too. */
export function connectionHeaders(headers: Headers): Set<string> {
  const named = headers.get("connection");
  if (named === null) return hopByHop;
  return new Set([
    ...hopByHop,
    ...named
      .toLowerCase()
      .split(",")
      .map((name) => name.trim()),
  ]);
}

/** How a request's body travels. */
export type Framing = { readonly kind: "none" } | { readonly kind: "length"; readonly bytes: number } | { readonly kind: "chunked" };

export function framingOf(request: Request): Framing {
  if (request.body === null) return { kind: "none" };
  const length = request.headers.get("content-length");
  if (length !== null && /^\d{1,15}$/.test(length)) return { kind: "length", bytes: Number(length) };
  return { kind: "chunked" };
}

const encoder = new TextEncoder();

/** The head of a request. Names and values come from a `Headers`, which lets no line breaks in; the target is checked. */
export function encodeHead(request: Request, framing: Framing, keepAlive: boolean): Uint8Array {
  const target = targetOf(request.url);
  if (/[^\x21-\x7e]/.test(target)) throw new TypeError("the request's target has characters that no request line may have");
  const lines = [`${request.method} ${target} HTTP/1.1`];
  if (!request.headers.has("host")) lines.push(`host: ${hostOf(request.url)}`);
  const dropped = connectionHeaders(request.headers);
  for (const [name, value] of request.headers) {
    if (!dropped.has(name) && name !== "content-length") lines.push(`${name}: ${value}`);
  }
  if (framing.kind === "length") lines.push(`content-length: ${framing.bytes}`);
  if (framing.kind === "chunked") lines.push("transfer-encoding: chunked");
  if (!keepAlive) lines.push("connection: close");
  // Header values may have bytes above 0x7f, each a character of its own.
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

/** One piece of a body as it travels; an empty one ends a chunked body. */
export function encodeBody(piece: Uint8Array, framing: Framing): Uint8Array {
  if (framing.kind !== "chunked") return piece;
  const head = encoder.encode(`${piece.length.toString(16)}\r\n`);
  const all = new Uint8Array(head.length + piece.length + 2);
  all.set(head);
  all.set(piece, head.length);
  all.set([13, 10], head.length + piece.length);
  return all;
}
