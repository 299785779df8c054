/**
 * Answers of a server inside a machine. They are parsed by Bun's own HTTP parser (llhttp) without any leniency, and nothing of them
 * is believed beyond what it says: anything malformed is an error.
 */
// @ts-expect-error the types do not know Node's module of its HTTP parser, which Bun has
import { HTTPParser } from "node:_http_common";
import { connectionHeaders } from "./message.ts";

interface RawParser {
  initialize(type: number, resource: object, maxHeaderBytes?: number, lenient?: number): void;
  execute(bytes: Uint8Array): number | Error;
  finish(): Error | undefined;
  close(): void;
  [event: number]: unknown;
}

const { RESPONSE, kOnHeaders, kOnHeadersComplete, kOnBody, kOnMessageComplete } = HTTPParser as Record<string, number>;
const headBytesMax = 64 * 1024;
/** llhttp's answer that no body follows, whatever the headers say. */
const noBody = 1;

export interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
}

/** What has gone wrong in an answer. */
export class MalformedReply extends Error {}

/** One answer, fed piece by piece. */
export class Reply {
  head: Head | undefined;
  /** It is over; what comes behind it is nobody's. */
  complete = false;
  /** The server keeps the connection. */
  keepsAlive = false;
  readonly #parser: RawParser;
  readonly #bodyless: boolean;
  #fields: string[] = [];
  #body: Uint8Array[] = [];

  constructor(method: string) {
    this.#bodyless = method === "HEAD";
    this.#parser = new (HTTPParser as new () => RawParser)();
    this.#parser.initialize(RESPONSE as number, {}, headBytesMax, 0);
    this.#parser[kOnHeaders as number] = (fields: string[]) => {
      this.#fields.push(...fields);
    };
    this.#parser[kOnHeadersComplete as number] = (
      _major: number,
      _minor: number,
      fields: string[] | undefined,
      _method: unknown,
      _url: unknown,
      status: number,
      statusText: string,
      _upgrade: boolean,
      keepsAlive: boolean,
    ) => this.#onHead([...this.#fields, ...(fields ?? [])], status, statusText, keepsAlive);
    this.#parser[kOnBody as number] = (bytes: Uint8Array) => {
      // The parser's own buffer is used again. What a further answer has is nobody's.
      if (!this.complete) this.#body.push(bytes.slice());
    };
    this.#parser[kOnMessageComplete as number] = () => {
      // A head before the real one (RFC 9110, 15.2).
      if (this.head && this.head.status >= 200) this.complete = true;
    };
  }

  #onHead(fields: string[], status: number, statusText: string, keepsAlive: boolean): number {
    this.#fields = [];
    if (this.complete) return noBody;
    if (status === 101) throw new MalformedReply("the server switched protocols without being asked to");
    const headers = new Headers();
    for (let index = 0; index + 1 < fields.length; index += 2) headers.append(fields[index] as string, fields[index + 1] as string);
    this.keepsAlive = keepsAlive;
    this.head = { status, statusText, headers };
    return this.#bodyless ? noBody : 0;
  }

  /** @throws MalformedReply */
  feed(bytes: Uint8Array): void {
    if (this.complete) return;
    const result = this.#parser.execute(bytes);
    // What comes behind the answer is an error of the parser's, but not of the answer's.
    if (typeof result !== "number" && !this.complete) throw malformed(result);
  }

  /** The connection has ended, which some answers are ended by. @throws MalformedReply */
  end(): void {
    if (this.complete) return;
    const error = this.#parser.finish();
    if (error) throw malformed(error);
    if (!this.complete) throw new MalformedReply("the connection ended within the answer");
  }

  /** The pieces of the body that have come since the last look. */
  takeBody(): Uint8Array[] {
    const pieces = this.#body;
    this.#body = [];
    return pieces;
  }

  close(): void {
    this.#parser.close();
  }
}

function malformed(error: Error): MalformedReply {
  if (error instanceof MalformedReply) return error;
  const { reason } = error as { reason?: string };
  return new MalformedReply(reason ?? error.message);
}

/** Headers for the client: without those of the guest's connection. */
export function forClient(headers: Headers): Headers {
  const dropped = connectionHeaders(headers);
  const kept = new Headers();
  for (const [name, value] of headers) if (!dropped.has(name)) kept.append(name, value);
  return kept;
}
