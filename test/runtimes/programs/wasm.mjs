// WebAssembly that is wanted to trap: the engine turns faults of the processor into exceptions.
const bytes = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0,
  // (i32, i32) -> i32
  1, 7, 1, 96, 2, 127, 127, 1, 127,
  // divide, load, recurse, stop; add is called 4000000 times by the loop below
  3, 6, 5, 0, 0, 0, 0, 0, 4, 4, 1, 112, 0, 1, 5, 3, 1, 0, 1, 7, 37, 5, 6, 100, 105, 118, 105, 100, 101, 0, 0, 4, 108, 111, 97, 100, 0, 1, 4,
  100, 101, 101, 112, 0, 2, 4, 115, 116, 111, 112, 0, 3, 3, 97, 100, 100, 0, 4, 10, 38, 5, 7, 0, 32, 0, 32, 1, 109, 11, 7, 0, 32, 0, 40, 2,
  0, 11, 8, 0, 32, 0, 32, 1, 16, 2, 11, 3, 0, 0, 11, 7, 0, 32, 0, 32, 1, 106, 11,
]);

const attempt = (name, body) => {
  try {
    console.log(name, body());
  } catch (error) {
    console.log(name, error.constructor.name, error instanceof WebAssembly.RuntimeError, error.message.split("\n")[0].split(" (")[0]);
  }
};

const { instance } = await WebAssembly.instantiate(bytes);
const { divide, load, deep, stop, add } = instance.exports;
let sum = 0;
for (let i = 0; i < 4_000_000; i++) sum = add(sum, i);
console.log("sum", sum);
for (let round = 0; round < 3; round++) {
  attempt("divide", () => divide(7, 2));
  attempt("by zero", () => divide(7, 0));
  attempt("overflow", () => divide(-2147483648, -1));
  attempt("load", () => load(65532, 0));
  attempt("beyond", () => load(65536, 0));
  attempt("far beyond", () => load(-8, 0));
  attempt("stop", () => stop(0, 0));
  attempt("deep", () => deep(1, 2));
}
const modules = await Promise.all(Array.from({ length: 8 }, () => WebAssembly.compile(bytes)));
console.log(modules.map((module) => WebAssembly.Module.exports(module).length).join(" "));
