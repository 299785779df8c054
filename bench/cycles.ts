/** One process of the benchmark that runs two: the median nanoseconds of a call that writes 113 pages, and its reset. */
import { Machine } from "../src/index.ts";
import { guest } from "./rounds.ts";

await using vm = await Machine.boot(guest("changes"), { stdout: "ignore", stderr: "ignore", memory: "64MiB" });
await vm.run({ until: "ready" });
using image = vm.freeze();
using fork = image.fork();
const dirty = fork.fn("dirty", { args: ["u32", "u32", "u64"] });
const times: number[] = [];
for (let round = 0; round < Number(process.argv[2]); round++) {
  const before = Bun.nanoseconds();
  dirty(0, 113, BigInt(round));
  fork.reset({ mode: "rewrite" });
  times.push(Bun.nanoseconds() - before);
}
times.sort((a, b) => a - b);
console.log(times[times.length >> 1]);
