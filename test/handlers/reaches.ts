import { readFileSync, writeFileSync } from "node:fs";

export default async (request: Request) => {
  const [, verb, rest] = /^\/(\w+)(.*)$/.exec(new URL(request.url).pathname) ?? [];
  try {
    if (verb === "read") return new Response(readFileSync(rest as string, "utf8"));
    if (verb === "write") {
      writeFileSync(rest as string, "made by the guest");
      return new Response("written");
    }
    if (verb === "fetch") return await fetch(`http://127.0.0.1:${(rest as string).slice(1)}/`);
    return new Response("warm");
  } catch (error) {
    return new Response(String((error as { code?: string }).code));
  }
};
