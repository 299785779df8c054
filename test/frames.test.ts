/** Frames of a handler's guest are not believed: whatever comes is an answer, the rest of one that is awaited, or malformed. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { PristineError } from "../src/errors.ts";
import { fromGuest, requestFlags, toGuest, writeFrameHead } from "../src/handler/kinds.ts";
import { emptyFrame, FrameWire } from "../src/handler/wire.ts";
import { MalformedReply } from "../src/http/reply.ts";
import { gatheredMax, HttpWire } from "../src/http/wire.ts";
import { Channel } from "../src/shims/channel.ts";

const tell = ({ message }: { message: string }) => new PristineError("GUEST_EXIT", message, "", { exitCode: 1 });
const answerTo = (method: string) => new FrameWire(new Request("http://x/", { method }), tell, false).answer;

function frame(kind: number, content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const all = new Uint8Array(5 + bytes.length);
  writeFrameHead(all, 0, kind, bytes.length);
  all.set(bytes, 5);
  return all;
}

function pieces(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const all: Uint8Array[] = [];
  let at = 0;
  for (const size of sizes) {
    all.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...all, bytes.subarray(at)];
}

const head = frame(fromGuest.head, JSON.stringify([201, "Made", [["a", "b"]]]));
const end = emptyFrame(fromGuest.end);

test("a body of up to 128 KiB that tells its length goes with its head, one that tells none as far as it has come", () => {
  expect(gatheredMax).toBe(128 * 1024);
  const wires = {
    http: (request: Request) => new HttpWire(request, true),
    frames: (request: Request) => new FrameWire(request, tell, false),
  };
  const post = (size: number, headers: Record<string, string>) =>
    new Request("http://x/", { method: "POST", body: new Uint8Array(size), headers });
  for (const [name, wire] of Object.entries(wires)) {
    const gathering = (size: number, headers: Record<string, string>) => wire(post(size, headers)).gathering;
    const told = [0, 1, gatheredMax - 1, gatheredMax, gatheredMax + 1].map((size) => gathering(size, { "content-length": String(size) }));
    expect([name, ...told]).toEqual([name, "all", "all", "all", "all", "none"]);
    expect([name, gathering(1, {}), gathering(1, { "content-length": "many" })]).toEqual([name, "present", "present"]);
    expect(wire(new Request("http://x/")).gathering).toBe("none");
  }
});

test("an answer is the same however it is cut", () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 5 });
  fc.assert(
    fc.property(bodies, fc.array(fc.nat(20), { maxLength: 20 }), (bodies, sizes) => {
      const bytes = Buffer.concat([head, ...bodies.map((body) => frame(fromGuest.body, body)), end]);
      const answer = answerTo("GET");
      // What they come in is used again.
      for (const piece of pieces(bytes, sizes)) {
        const lent = new Uint8Array(piece);
        answer.feed(lent);
        lent.fill(0xff);
      }
      expect(answer.complete).toBe(true);
      expect([answer.head?.status, answer.head?.statusText, answer.head?.headers.get("a")]).toEqual([201, "Made", "b"]);
      expect(Buffer.concat(answer.takeBody())).toEqual(Buffer.concat(bodies));
    }),
  );
});

test("whatever comes is an answer, awaits more, or is malformed", () => {
  const kinds = fc.constantFrom(...Object.values(fromGuest), 0, 9, 255);
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(kinds, fc.oneof(fc.json(), fc.string())).map(([kind, content]) => frame(kind, content)),
    fc.tuple(kinds, fc.nat(0xffffffff)).map(([kind, length]) => {
      const bytes = new Uint8Array(10);
      writeFrameHead(bytes, 0, kind, length);
      return bytes;
    }),
    fc.constant(head),
    fc.constant(end),
  );
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 8 }), (all) => {
      const answer = answerTo("GET");
      try {
        for (const bytes of all) answer.feed(bytes);
        answer.end();
      } catch (error) {
        expect(error instanceof MalformedReply || PristineError.is(error, "GUEST_EXIT")).toBe(true);
      }
    }),
    { numRuns: 2_000 },
  );
});

test.each([
  ["[99]", "status"],
  ["[600]", "status"],
  ["[101]", "status"],
  ['["200"]', "status"],
  ['[200, "", [["a b", "c"]]]', "headers"],
  ['[200, "", [["a", "b\\r\\nc: d"]]]', "headers"],
  ["nothing", "JSON"],
])("a head of %s is malformed", (text, what) => {
  expect(() => answerTo("GET").feed(frame(fromGuest.head, text))).toThrow(what);
});

test("only a HEAD has a length of its own, and no body", () => {
  for (const method of ["GET", "HEAD"]) {
    const answer = answerTo(method);
    answer.feed(frame(fromGuest.head, JSON.stringify([200, "", [["content-length", "7"]]])));
    answer.feed(frame(fromGuest.body, "abc"));
    answer.feed(end);
    expect(answer.head?.headers.get("content-length") ?? null).toBe(method === "HEAD" ? "7" : null);
    expect(Buffer.concat(answer.takeBody()).toString()).toBe(method === "HEAD" ? "" : "abc");
  }
});

test("the guest reads what the embedder writes, however it comes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100_000 }), fc.array(fc.integer({ min: 1, max: 70_000 }), { maxLength: 10 }), (body, sizes) => {
      const request = new Request("http://x/?ü", { method: "POST", headers: { a: "é" }, body: new Uint8Array(body) });
      const wire = new FrameWire(request, tell, true);
      const waiting = pieces(Buffer.concat([wire.head, wire.piece(body), wire.end()]), sizes).filter(({ length }) => length > 0);
      const read = (into: Uint8Array) => {
        const [piece] = waiting;
        if (!piece) return 0;
        const count = Math.min(piece.length, into.length);
        into.set(piece.subarray(0, count));
        if (count === piece.length) waiting.shift();
        else waiting[0] = piece.subarray(count);
        return count;
      };
      const channel = new Channel({ read, readLater: async (into) => read(into), write: (bytes) => bytes.length });
      const first = channel.next();
      expect(first.kind).toBe(toGuest.request);
      const told = JSON.parse(new TextDecoder().decode(first.bytes.subarray(32)));
      expect(told).toEqual([requestFlags.body | requestFlags.warm, "POST", "http://x/?%C3%BC", [["a", "é"]]]);
      const parts: Uint8Array[] = [];
      for (let next = channel.next(); next.kind !== toGuest.end; next = channel.next()) parts.push(next.bytes.slice());
      expect(Buffer.concat(parts).equals(Buffer.from(body))).toBe(true);
    }),
    { numRuns: 50 },
  );
});
