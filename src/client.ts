/** `per: "connection"`: the requests of one client's connection share a fork, which is put back when it ends. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Fork } from "./snapshot.ts";

/** The largest body of a request, the same as that of `Bun.serve`. */
const bodyMax = 128 * 1024 * 1024;

/** @internal One client's connection, and the fork that it has. */
export class Client {
  fork: Fork | undefined;
  /** The connection inside the machine is not used again: its server has closed it. */
  isFresh = false;
  ended = false;
  /** When its last request ended. */
  usedAt = 0;
  #isClosing = false;
  #answering = 0;
  /** Settles when the last request that has come is over. */
  #last: Promise<void> = Promise.resolve();
  #over: (() => void) | undefined;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** A request of it is under way. */
  get busy(): boolean {
    return this.#over !== undefined;
  }

  /** Waits for the requests before it: those of one connection share a fork, and may come at once. */
  async begin(): Promise<void> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    await before;
    this.#over = resolve;
  }

  /** The request that has begun is over, and its fork is kept or put back. */
  rest(): void {
    this.#over?.();
    this.#over = undefined;
  }

  /** Its fork is another's: what it goes on with would not be what it had. An answer on its way goes first. */
  close(): void {
    this.#isClosing = true;
    if (this.#answering === 0) this.#socket.end();
  }

  get isClosing(): boolean {
    return this.#isClosing;
  }

  async answering(body: () => Promise<void>): Promise<void> {
    this.#answering++;
    try {
      await body();
    } finally {
      this.#answering--;
      if (this.#isClosing) this.#socket.end();
    }
  }
}

/** @internal What serves the requests of clients. */
export interface ClientPool {
  fetchFor(client: Client, request: Request): Promise<Response>;
  end(client: Client): void;
}

/** @internal A listener for servers of `node:http`, which know of each request what connection it came on. */
export function listenerFor(pool: ClientPool): (request: IncomingMessage, response: ServerResponse) => void {
  const clients = new WeakMap<Socket, Client>();
  return (incoming, outgoing) => {
    const { socket } = incoming;
    let client = clients.get(socket);
    if (!client) {
      const made = new Client(socket);
      client = made;
      clients.set(socket, made);
      socket.once("close", () => pool.end(made));
    }
    const asking = client;
    asking.answering(() => answer(pool, asking, incoming, outgoing)).catch(() => socket.destroy());
  };
}

async function answer(pool: ClientPool, client: Client, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) gone.abort(new DOMException("the client has gone", "AbortError"));
  });
  const body = new Body(incoming);
  // One that says so is not even begun; one in chunks costs its client what it had.
  const answered = body.isTooLarge ? undefined : await pool.fetchFor(client, requestOf(incoming, body, gone.signal));
  if (body.isTooLarge) client.close();
  const response = body.isTooLarge || !answered ? new Response(null, { status: 413 }) : answered;
  for (const [name, value] of response.headers) outgoing.appendHeader(name, value);
  if (client.isClosing) outgoing.setHeader("connection", "close");
  outgoing.writeHead(response.status, response.statusText);
  if (response.body) {
    for await (const piece of response.body) {
      if (!outgoing.write(piece)) await new Promise<void>((resolve) => outgoing.once("drain", resolve).once("close", resolve));
    }
  }
  outgoing.end();
}

function requestOf(incoming: IncomingMessage, sent: Body, signal: AbortSignal): Request {
  const { rawHeaders, method = "GET", url = "/" } = incoming;
  const headers = new Headers();
  for (let index = 0; index + 1 < rawHeaders.length; index += 2)
    headers.append(rawHeaders[index] as string, rawHeaders[index + 1] as string);
  const hasBody = headers.has("content-length") || headers.has("transfer-encoding");
  const body = hasBody && method !== "GET" && method !== "HEAD" ? sent.stream() : null;
  return new Request(`http://${headers.get("host") ?? "localhost"}${url}`, {
    method,
    headers,
    body,
    signal,
    duplex: "half",
  } as RequestInit);
}

/** What a client sends, which may be too large from the start or become it. */
class Body {
  readonly #incoming: IncomingMessage;
  isTooLarge: boolean;

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming;
    this.isTooLarge = Number(incoming.headers["content-length"] ?? 0) > bodyMax;
  }

  stream(): ReadableStream<Uint8Array> {
    const pieces = this.#incoming[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    let bytes = 0;
    return new ReadableStream({
      pull: async (controller) => {
        const { done, value } = await pieces.next();
        bytes += done ? 0 : value.length;
        this.isTooLarge ||= bytes > bodyMax;
        if (done) controller.close();
        else if (this.isTooLarge) controller.error(new RangeError(`the request's body is larger than ${bodyMax} bytes`));
        else controller.enqueue(value);
      },
      async cancel() {
        await pieces.return?.();
      },
    });
  }
}
