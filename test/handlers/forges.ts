import { readdirSync, readlinkSync, readSync } from "node:fs";

/** Reads of the channel that claim to be answers of a length that cannot be. */
export default (request: Request) => {
  if (new URL(request.url).pathname !== "/forge") return new Response("good");
  const codes: string[] = [];
  for (const name of readdirSync("/proc/self/fd")) {
    const fd = Number(name);
    try {
      if (!/pristine|socket/.test(readlinkSync(`/proc/self/fd/${fd}`))) continue;
    } catch {
      continue;
    }
    for (const length of [2n ** 64n - 1n, 2n ** 63n, 1n << 20n, 49n]) {
      const buffer = new Uint8Array(64);
      new DataView(buffer.buffer).setBigUint64(0, 0x5257_534e_4150_5250n, true);
      new DataView(buffer.buffer).setBigUint64(8, length, true);
      try {
        codes.push(`${readSync(fd, buffer, 0, buffer.length, null)}`);
      } catch (error) {
        codes.push((error as { code: string }).code);
      }
    }
  }
  return Response.json(codes);
};
