// Deno's and the Web's workers: messages, shared memory, an error, one that is ended while it spins.
const isWorker = "WorkerGlobalScope" in globalThis;
const own = import.meta.url;

if (isWorker) {
  self.onmessage = ({ data }: MessageEvent) => {
    const counter = new Int32Array(data.shared);
    if (data.task === "count") {
      for (let i = 0; i < 10_000; i++) Atomics.add(counter, 0, 1);
      self.postMessage("counted");
    } else if (data.task === "wait") self.postMessage(Atomics.wait(counter, 1, 0));
    else if (data.task === "throw") throw new RangeError("from a worker");
    else {
      Atomics.store(counter, 2, 1);
      for (;;);
    }
  };
} else {
  const shared = new SharedArrayBuffer(16);
  const counter = new Int32Array(shared);
  const start = (task: string) => {
    const worker = new Worker(own, { type: "module" });
    worker.postMessage({ task, shared });
    return worker;
  };
  const answer = (worker: Worker) => new Promise<unknown>((resolve) => (worker.onmessage = (event) => resolve(event.data)));
  const counting = [start("count"), start("count"), start("count")];
  await Promise.all(counting.map(answer));
  console.log("counted", counter[0]);
  for (const worker of counting) worker.terminate();
  const waiting = start("wait");
  const waited = answer(waiting);
  Atomics.store(counter, 1, 1);
  while (Atomics.notify(counter, 1) === 0 && (await Promise.race([waited, new Promise((resolve) => setTimeout(resolve, 2, ""))])) === "");
  console.log(["ok", "not-equal"].includes(String(await waited)));
  waiting.terminate();
  const thrower = start("throw");
  console.log(
    await new Promise((resolve) => {
      thrower.onerror = (event) => {
        event.preventDefault();
        resolve(event.message.split("\n")[0]);
      };
    }),
  );
  const spinner = start("spin");
  while (Atomics.load(counter, 2) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  spinner.terminate();
  console.log("terminated");
  Deno.exit(3);
}
