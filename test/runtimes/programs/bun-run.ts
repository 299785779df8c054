// Types, files, SQLite, hashes and timers of Bun's own.
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

enum Kind {
  Small = "small",
  Large = "large",
}
const folder = mkdtempSync(join(tmpdir(), "pristine-bun-"));
await Bun.write(join(folder, "file"), Kind.Large.repeat(1000));
console.log((await Bun.file(join(folder, "file")).text()).length, Bun.file(join(folder, "file")).size);
using database = new Database(join(folder, "data"));
database.run("PRAGMA journal_mode = WAL");
database.run("CREATE TABLE rows (id INTEGER PRIMARY KEY, kind TEXT)");
database.transaction(() => {
  for (let i = 0; i < 1000; i++) database.run("INSERT INTO rows (kind) VALUES (?)", [i % 3 ? Kind.Small : Kind.Large]);
})();
console.log(database.query("SELECT kind, count(*) AS count FROM rows GROUP BY kind ORDER BY kind").all());
database.close();
rmSync(folder, { recursive: true });
console.log(Bun.hash.wyhash("text"), new Bun.CryptoHasher("sha256").update("text").digest("hex"));
console.log(await Bun.password.verify("secret", await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 })));
console.log(Bun.gunzipSync(Bun.gzipSync(new TextEncoder().encode("text".repeat(1000)))).length);
const order: string[] = [];
setTimeout(() => order.push("timer 5"), 5);
setTimeout(() => order.push("timer 1"), 1);
queueMicrotask(() => order.push("microtask"));
await Bun.sleep(20);
console.log(order.join(", "));
console.log(new Bun.Transpiler({ loader: "ts" }).transformSync("const x: number = 1 as any; export { x };"));
console.log(structuredClone(new Map([[1, { a: [1n] }]])), Bun.inspect({ nested: { deep: [1, "2"] } }));
const built = await Bun.build({ entrypoints: [join(import.meta.dir, "bundle/entry.ts")], minify: true });
console.log(built.success, (await built.outputs[0]?.text())?.includes("imported"));
