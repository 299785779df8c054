// Node's modules in Deno.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, pbkdf2Sync, randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import { cpus, tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { Readable } from "node:stream";
import { gunzipSync, gzipSync } from "node:zlib";

const folder = mkdtempSync(join(tmpdir(), "pristine-deno-node-"));
writeFileSync(join(folder, "file"), "text");
console.log(readFileSync(join(folder, "file"), "utf8"), basename("/a/b.c", ".c"));
rmSync(folder, { recursive: true });
console.log(createHash("md5").update("text").digest("hex"), pbkdf2Sync("a", "b", 100, 8, "sha1").toString("hex"), randomUUID().length);
console.log(gunzipSync(gzipSync(Buffer.from("zipped"))).toString());
const emitter = new EventEmitter();
setTimeout(() => emitter.emit("event", 1, 2), 1);
console.log(await once(emitter, "event"), cpus().length > 0, process.argv.length);
const parts: string[] = [];
for await (const part of Readable.from(["a", "b", "c"])) parts.push(part);
console.log(parts.join(""));
const server = createServer((request, response) => response.end(`hello ${request.url}`));
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as { port: number };
const text = await new Promise((resolve) => {
  get({ host: "127.0.0.1", port, path: "/x" }, async (response) => {
    let all = "";
    for await (const chunk of response) all += chunk;
    resolve(all);
  });
});
console.log(text);
server.closeAllConnections();
server.close();
assert.throws(() => assert.equal(1, 2), /Expected values/);
console.log("done");
