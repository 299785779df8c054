/** A server on `node:http`, which tells connections apart. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Address, addressError } from "./address.ts";

const pollMs = 5;

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
  let pending = 0;
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    pending++;
    response.once("close", () => pending--);
    listener(request, response);
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
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
      while (pending > 0) await Bun.sleep(pollMs);
      for (const socket of sockets) socket.destroy();
    },
  };
}
