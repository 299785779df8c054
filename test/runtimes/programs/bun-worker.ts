// Workers: messages, shared memory, an error, one that is ended while it spins.
import { isMainThread, Worker as NodeWorker, workerData } from "node:worker_threads";

if (!isMainThread) {
  const { task, shared } = workerData;
  const counter = new Int32Array(shared);
  if (task === "count") {
    for (let i = 0; i < 10_000; i++) Atomics.add(counter, 0, 1);
    postMessage("counted");
  } else if (task === "wait") postMessage(Atomics.wait(counter, 1, 0));
  else {
    Atomics.store(counter, 2, 1);
    for (;;);
  }
} else {
  const shared = new SharedArrayBuffer(16);
  const counter = new Int32Array(shared);
  const start = (task: string) => new NodeWorker(import.meta.path, { workerData: { task, shared } });
  const answer = (worker: NodeWorker) => new Promise((resolve) => worker.once("message", resolve));
  console.log(await Promise.all([start("count"), start("count"), start("count")].map(answer)));
  console.log("counted", counter[0]);
  const waited = answer(start("wait"));
  Atomics.store(counter, 1, 1);
  while (Atomics.notify(counter, 1) === 0 && (await Promise.race([waited, Bun.sleep(2).then(() => "")])) === "");
  console.log(["ok", "not-equal"].includes(String(await waited)));
  const blob = new Blob(["onmessage = ({ data }) => postMessage(data.map((x) => x * 2));"], { type: "text/javascript" });
  const web = new Worker(URL.createObjectURL(blob));
  web.postMessage([1, 2, 3]);
  console.log(await new Promise((resolve) => (web.onmessage = ({ data }) => resolve(data))));
  web.terminate();
  process.exit(3);
}
