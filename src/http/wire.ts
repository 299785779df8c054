/** How one request and its answer travel on a connection: as HTTP to a server, or as frames to a handler. */
import { encodeBody, encodeHead, type Framing, framingOf } from "./message.ts";
import { type Head, Reply } from "./reply.ts";

/** A body of up to this goes with the head if it comes at once. */
export const gatheredMax = 128 * 1024;

/**
 * What of a body goes with the head: all of it, which is waited for a moment, if its length says that it is small; what has come
 * already, if it does not tell its length; else nothing.
 */
export type Gathering = "all" | "present" | "none";

export function gatheringOf(framing: Framing): Gathering {
  if (framing.kind === "length") return framing.bytes <= gatheredMax ? "all" : "none";
  return framing.kind === "chunked" ? "present" : "none";
}

/** An answer, fed piece by piece. */
export interface Answer {
  readonly head: Head | undefined;
  /** The connection can be used again behind it. */
  readonly keepsAlive: boolean;
  /** It is over; what comes behind it is nobody's. */
  readonly complete: boolean;
  /** @throws MalformedReply */
  feed(bytes: Uint8Array): void;
  /** The connection has ended, which some answers are ended by. @throws MalformedReply */
  end(): void;
  /** The pieces of the body that have come since the last look. */
  takeBody(): Uint8Array[];
  close(): void;
}

export interface Wire {
  /** What is sent first. */
  readonly head: Uint8Array;
  readonly hasBody: boolean;
  readonly gathering: Gathering;
  /** Nothing runs behind the last byte of an answer; else what the server does then is done before it is put back. */
  readonly endsWithAnswer: boolean;
  readonly answer: Answer;
  /** A piece of the body as it travels. */
  piece(bytes: Uint8Array): Uint8Array;
  /** The body's end as it travels; nothing if its length told it. */
  end(): Uint8Array;
}

/** HTTP/1.1 to an ordinary server. */
export class HttpWire implements Wire {
  readonly head: Uint8Array;
  readonly hasBody: boolean;
  readonly gathering: Gathering;
  readonly endsWithAnswer = false;
  readonly answer: Reply;
  readonly #framing: Framing;

  constructor(request: Request, keepAlive: boolean) {
    this.#framing = framingOf(request);
    this.hasBody = this.#framing.kind !== "none";
    this.gathering = gatheringOf(this.#framing);
    this.head = encodeHead(request, this.#framing, keepAlive);
    this.answer = new Reply(request.method);
  }

  piece(bytes: Uint8Array): Uint8Array {
    // An empty chunk would be the end.
    return bytes.length === 0 ? bytes : encodeBody(bytes, this.#framing);
  }

  end(): Uint8Array {
    return encodeBody(new Uint8Array(), this.#framing);
  }
}
