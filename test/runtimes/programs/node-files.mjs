// Promises of files: each of them is a call on a thread of the pool.
import { createReadStream, createWriteStream } from "node:fs";
import {
  access,
  appendFile,
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

const folder = await mkdtemp(join(tmpdir(), "pristine-node-"));
const at = (name) => join(folder, name);
await Promise.all(Array.from({ length: 40 }, (_, i) => writeFile(at(`file-${i}`), `${i}\n`.repeat(i))));
const texts = await Promise.all(Array.from({ length: 40 }, (_, i) => readFile(at(`file-${i}`), "utf8")));
console.log(texts.map((text) => text.length).join(" "));
await mkdir(at("a/b/c"), { recursive: true });
await copyFile(at("file-9"), at("a/b/c/copy"));
await appendFile(at("a/b/c/copy"), "more");
await rename(at("a/b/c/copy"), at("a/moved"));
await symlink("moved", at("a/link"));
console.log(await readFile(at("a/link"), "utf8"), (await stat(at("a/moved"))).size);
console.log((await readdir(folder, { recursive: true })).filter((name) => name.startsWith("a")).sort());
await access(at("missing")).catch((error) => console.log(error.code, error.syscall));
const file = await open(at("numbers"), "w+");
for (let i = 0; i < 10; i++) await file.write(Buffer.from([i]), 0, 1, 9 - i);
const { bytesRead, buffer } = await file.read(Buffer.alloc(16), 0, 16, 0);
console.log(bytesRead, [...buffer.subarray(0, bytesRead)]);
await file.truncate(3);
console.log((await file.stat()).size);
await file.close();
await writeFile(at("large"), Buffer.alloc(3_000_000, "xyz"));
await pipeline(createReadStream(at("large")), createWriteStream(at("other")));
console.log((await readFile(at("other"))).equals(await readFile(at("large"))));
await rm(folder, { recursive: true });
await access(folder).catch((error) => console.log(error.code));
