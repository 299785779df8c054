/** A server on `node:http`, which tells connections apart. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Address, addressError } from "./address.ts";

const pollMs = 5;
/** How long a client may be silent between two requests: node:http's own five seconds are short for what is kept for it. */
const silentMaxMs = 30_000;

/** What `serve` needs of a server. */
export interface Front {
  readonly port: number | undefined;
  /** Takes no more connections, and waits for the answers that are on their way. */
  drain(): Promise<void>;
}

/** Listens with a listener of `node:http`. */
export async function listenByConnection(
  address: Address,
  option: string,
  listener: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Front> {
  /** Answers that each connection waits for; with it goes what it waits for. */
  const pending = new Map<Socket, Set<ServerResponse>>();
  const server = createServer((request, response) => {
    const answers = pending.get(request.socket);
    answers?.add(response);
    response.once("close", () => answers?.delete(response));
    listener(request, response);
  });
  server.keepAliveTimeout = silentMaxMs;
  server.on("connection", (socket: Socket) => {
    pending.set(socket, new Set());
    socket.once("close", () => pending.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(addressError(error, address, option)));
    if ("unix" in address) server.listen(address.unix, resolve);
    else server.listen(address.port, address.host, resolve);
  });
  const at = server.address();
  return {
    port: typeof at === "object" && at !== null ? at.port : undefined,
    async drain() {
      server.close();
      while ([...pending.values()].some((answers) => answers.size > 0)) await Bun.sleep(pollMs);
      for (const socket of pending.keys()) socket.destroy();
    },
  };
}
