/** A handler that does what none should: it keeps what it is told wherever it can, fails, and hangs. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const notes: string[] = [];
const file = "/tmp/notes";

/** What others have left, and then one's own. */
function keep(text: string): string[] {
  const inherited = (Object.prototype as { note?: string }).note;
  const found = [...notes, ...(existsSync(file) ? [readFileSync(file, "utf8")] : []), ...(inherited === undefined ? [] : [inherited])];
  notes.push(text);
  writeFileSync(file, text);
  Object.defineProperty(Object.prototype, "note", { value: text, configurable: true });
  setInterval(() => notes.push(text), 1);
  return found;
}

const help = (origin: string) => `Every request has a fresh copy of this program.

curl ${origin}/keep/hello      keeps "hello" in a variable, a file, a prototype and a timer; tells what it found there
curl ${origin}/fail            throws: 500, for this request alone
curl ${origin}/exit            ends its process: 500
curl ${origin}/hang            never answers: 504
`;

export default (request: Request): Response | Promise<Response> => {
  const { pathname, origin } = new URL(request.url);
  const [, verb, text = ""] = pathname.split("/");
  switch (verb) {
    case "keep":
      return Response.json({ kept: text, found: keep(text) });
    case "fail":
      throw new Error("this request fails");
    case "exit":
      return process.exit(1);
    case "hang":
      return new Promise(() => {});
    default:
      return new Response(help(origin));
  }
};
