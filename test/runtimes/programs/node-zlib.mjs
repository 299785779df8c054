import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import zlib from "node:zlib";

const text = Buffer.from(Array.from({ length: 20_000 }, (_, i) => `line ${i % 97} of many\n`).join(""));
for (const [pack, unpack] of [
  ["gzip", "gunzip"],
  ["deflate", "inflate"],
  ["deflateRaw", "inflateRaw"],
  ["brotliCompress", "brotliDecompress"],
]) {
  const packed = await Promise.all([1, 2, 3].map(() => promisify(zlib[pack])(text)));
  const unpacked = await promisify(zlib[unpack])(packed[0]);
  console.log(pack, packed.map((bytes) => bytes.length).join(" "), unpacked.equals(text));
}
let length = 0;
await pipeline([text, text], zlib.createGzip(), zlib.createGunzip(), async (source) => {
  for await (const chunk of source) length += chunk.length;
});
console.log(length);
await promisify(zlib.gunzip)(Buffer.from("no gzip")).catch((error) => console.log(error.code));
