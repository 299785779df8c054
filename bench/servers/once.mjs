/** The page once: printed by a process, posted by a Worker, or left for who evaluates this. */
import { render } from "./page.mjs";

const text = render(false);
globalThis.rendered = text;
if (globalThis.process?.argv.includes("print")) {
  console.log(text);
  // React keeps a port open.
  globalThis.process.exit(0);
} else if (typeof globalThis.postMessage === "function") globalThis.postMessage(text);
