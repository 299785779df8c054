// Types, files, timers, streams and Web APIs of Deno's own.
interface Row {
  readonly name: string;
  readonly size: number;
}
const folder = await Deno.makeTempDir({ prefix: "pristine-deno-" });
const rows: Row[] = await Promise.all(
  [3, 1, 2].map(async (size) => {
    const path = `${folder}/file-${size}`;
    await Deno.writeTextFile(path, "x".repeat(size));
    return { name: path.slice(folder.length + 1), size: (await Deno.stat(path)).size };
  }),
);
console.log(rows);
console.log([...Deno.readDirSync(folder)].map((entry) => entry.name).sort());
await Deno.remove(folder, { recursive: true });
console.log(await Deno.stat(folder).catch((error: Error) => error.name));
const packed = new Response(new Blob(["text ".repeat(1000)]).stream().pipeThrough(new CompressionStream("gzip")));
console.log((await packed.bytes()).length, new Uint8Array(await crypto.subtle.digest("SHA-1", new TextEncoder().encode("text"))).toHex());
const order: string[] = [];
setTimeout(() => order.push("timer 5"), 5);
setTimeout(() => order.push("timer 1"), 1);
queueMicrotask(() => order.push("microtask"));
await new Promise((resolve) => setTimeout(resolve, 20));
console.log(order.join(", "));
console.log(structuredClone(new Map([[1, { a: [1n] }]])), new URL("../b?c=d", "http://example.com/a/").href);
console.log(await Deno.permissions.query({ name: "read" }).then((status) => status.state));
