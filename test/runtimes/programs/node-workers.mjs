// Threads with messages, transferred and shared memory; one that throws, and one that is ended while it spins.
import { isMainThread, MessageChannel, parentPort, threadId, Worker, workerData } from "node:worker_threads";

const self = new URL(import.meta.url);

if (!isMainThread) {
  const { task, shared } = workerData;
  const counter = shared && new Int32Array(shared);
  if (task === "count") {
    for (let i = 0; i < 10_000; i++) Atomics.add(counter, 0, 1);
    parentPort.postMessage({ counted: threadId > 0 });
  } else if (task === "wait") {
    parentPort.postMessage("waiting");
    parentPort.postMessage(Atomics.wait(counter, 1, 0));
  } else if (task === "echo") {
    parentPort.on("message", ({ port, bytes }) => {
      port.postMessage(new Uint8Array(bytes).reduce((sum, byte) => sum + byte, 0));
      port.close();
      parentPort.close();
    });
  } else if (task === "throw") throw new RangeError("from a worker");
  else if (task === "spin") {
    Atomics.store(counter, 2, 1);
    for (;;);
  } else if (task === "exit") process.exit(7);
} else {
  const shared = new SharedArrayBuffer(16);
  const counter = new Int32Array(shared);
  const ends = new Map();
  const start = (task) => {
    const worker = new Worker(self, { workerData: { task, shared } });
    ends.set(worker, new Promise((resolve) => worker.once("exit", resolve)));
    return worker;
  };
  const end = (worker) => ends.get(worker);
  const message = (emitter) => new Promise((resolve) => emitter.once("message", resolve));

  await Promise.all([start("count"), start("count"), start("count")].map(end));
  console.log("counted", counter[0]);

  const waiting = start("wait");
  console.log(await message(waiting));
  Atomics.store(counter, 1, 1);
  const waited = message(waiting);
  const tick = () => new Promise((resolve) => setTimeout(resolve, 1, "tick"));
  // The worker waits by now, or finds the value changed.
  while (Atomics.notify(counter, 1) === 0 && (await Promise.race([waited, tick()])) === "tick");
  console.log(["ok", "not-equal"].includes(await waited), await end(waiting));

  const echo = start("echo");
  const { port1, port2 } = new MessageChannel();
  const bytes = new Uint8Array([1, 2, 3, 4]).buffer;
  echo.postMessage({ port: port2, bytes }, [port2, bytes]);
  console.log("sum", await message(port1), "left here", bytes.byteLength);
  await end(echo);

  const thrower = start("throw");
  thrower.once("error", (error) => console.log(error.name, error.message));
  console.log("exit", await end(thrower));
  console.log("exit", await end(start("exit")));

  const spinner = start("spin");
  while (Atomics.load(counter, 2) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  console.log("terminated", await spinner.terminate());
}
