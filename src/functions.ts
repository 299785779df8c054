/** Guest functions: signatures compiled once into code that fills the control block and reads the result. */
import { badOption } from "./errors.ts";
import { core, encode, lastError } from "./ffi/library.ts";
import { CallFrame, limits } from "./ffi/table.ts";
import type { ArgType, ReturnType, Signature } from "./types.ts";

/** What a bound function needs of its machine. */
export interface CallTarget {
  readonly handle: number;
  readonly block: DataView<ArrayBuffer>;
  /** Throws if no call may start now. */
  readonly checkCall: () => void;
  readCString(address: number): string;
}

type Writer = (block: DataView, value: never) => void;

const utf8 = 1;

function integer(offset: number): Record<Exclude<ArgType, "f32" | "f64" | "cstring" | "buffer">, Writer> {
  const big = (block: DataView, value: bigint | number) => {
    if (typeof value === "number" && !Number.isSafeInteger(value)) throw fraction(value);
    block.setBigInt64(offset, BigInt.asIntN(64, BigInt(value)), true);
  };
  const low = (block: DataView, value: number) => {
    block.setInt32(offset, value, true);
    block.setInt32(offset + 4, value >> 31, true);
  };
  const address = (block: DataView, value: number) => {
    block.setUint32(offset, value % 2 ** 32, true);
    block.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
  };
  const fast = (block: DataView, value: number | bigint) => {
    if (typeof value === "number" && value >= 0 && Number.isSafeInteger(value)) address(block, value);
    else big(block, value);
  };
  return {
    i32: low as Writer,
    u32: ((block: DataView, value: number) => {
      block.setUint32(offset, value, true);
      block.setUint32(offset + 4, 0, true);
    }) as Writer,
    i64: fast as Writer,
    u64: fast as Writer,
    i64_fast: fast as Writer,
    u64_fast: fast as Writer,
    bool: ((block: DataView, value: boolean) => {
      block.setUint32(offset, value ? 1 : 0, true);
      block.setUint32(offset + 4, 0, true);
    }) as Writer,
    ptr: ((block: DataView, value: number | null) => fast(block, value ?? 0)) as Writer,
  };
}

function fraction(value: number): Error {
  return badOption(
    "args",
    `${value} is not a whole number that a 64-bit integer argument can take`,
    'declare the parameter as "f64", or pass a bigint',
  );
}

/** A signature's arguments in the order of the ABI: where each goes. */
interface Plan {
  /** Writes one argument; staged arguments (strings, buffers) come with the slot of their address. */
  writers: { write?: Writer; stage?: number; kind: ArgType }[];
  floats: number;
  stacked: number;
}

function plan(types: readonly ArgType[]): Plan {
  const result: Plan = { writers: [], floats: 0, stacked: 0 };
  let integers = 0;
  for (const kind of types) {
    if (kind === "f32" || kind === "f64") {
      const onStack = result.floats >= limits.call_float_args_max;
      const offset = onStack ? CallFrame.stack_args + 8 * result.stacked++ : CallFrame.floats + 8 * result.floats++;
      const write: Writer =
        kind === "f64"
          ? (((block: DataView, value: number) => block.setFloat64(offset, value, true)) as Writer)
          : (((block: DataView, value: number) => {
              block.setFloat32(offset, value, true);
              block.setUint32(offset + 4, 0, true);
            }) as Writer);
      result.writers.push({ write, kind });
      continue;
    }
    const onStack = integers >= limits.call_integer_args_max;
    const slot = onStack ? limits.call_integer_args_max + result.stacked++ : integers++;
    const offset = onStack ? CallFrame.stack_args + 8 * (slot - limits.call_integer_args_max) : CallFrame.integers + 8 * slot;
    if (kind === "cstring" || kind === "buffer") result.writers.push({ stage: slot, kind });
    else {
      const write = integer(offset)[kind];
      if (!write)
        throw badOption(
          "args",
          `${JSON.stringify(kind)} is not a type`,
          "use i32, u32, i64, u64, i64_fast, u64_fast, f32, f64, bool, ptr, cstring or buffer",
        );
      result.writers.push({ write, kind });
    }
  }
  if (result.stacked <= limits.call_stack_args_max) return result;
  throw badOption("args", "the function has too many parameters", `at most ${limits.call_stack_args_max} go on the stack`);
}

/** Copies strings and typed arrays onto the call's stack; they live as long as the call. */
function stage(handle: number, slot: number, value: string | ArrayBufferView): void {
  const bytes = typeof value === "string" ? encode(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  // bun:ffi has no pointer to an empty array.
  const status = core().pristine_call_stage(handle, slot, bytes.length > 0 ? bytes : emptyBytes, bytes.length);
  if (status < 0) throw lastError();
}
const emptyBytes = new Uint8Array(utf8);

type Reader = (target: CallTarget) => unknown;
const integerAt = CallFrame.result_integer;
const floatAt = CallFrame.result_float;

const readers: Record<ReturnType, Reader> = {
  void: () => undefined,
  i32: ({ block }) => block.getInt32(integerAt, true),
  u32: ({ block }) => block.getUint32(integerAt, true),
  bool: ({ block }) => block.getUint8(integerAt) !== 0,
  i64: ({ block }) => block.getBigInt64(integerAt, true),
  u64: ({ block }) => block.getBigUint64(integerAt, true),
  i64_fast: ({ block }) => narrow(block),
  u64_fast: ({ block }) => {
    const high = block.getUint32(integerAt + 4, true);
    return high < 2 ** 21 ? high * 2 ** 32 + block.getUint32(integerAt, true) : block.getBigUint64(integerAt, true);
  },
  f32: ({ block }) => block.getFloat32(floatAt, true),
  f64: ({ block }) => block.getFloat64(floatAt, true),
  ptr: (target) => address(target.block) || null,
  cstring: (target) => {
    const at = address(target.block);
    return at === 0 ? "" : target.readCString(at);
  },
};

function address(block: DataView): number {
  return block.getUint32(integerAt + 4, true) * 2 ** 32 + block.getUint32(integerAt, true);
}

/** The signed 64-bit result as a number when that is exact, else as a bigint. */
export function narrow(block: DataView): number | bigint {
  const high = block.getInt32(integerAt + 4, true);
  if (high >= -(2 ** 21) && high < 2 ** 21) {
    const value = high * 2 ** 32 + block.getUint32(integerAt, true);
    if (Number.isSafeInteger(value)) return value;
  }
  return block.getBigInt64(integerAt, true);
}

/** A signature, ready to be used for any number of calls. */
export interface Compiled {
  /** Fills the control block with the function and its arguments. */
  prepare(target: CallTarget, address: number, args: readonly unknown[]): void;
  result: Reader;
}

export function compile(signature: Signature): Compiled {
  const { writers, floats, stacked } = plan(signature.args ?? []);
  const stages = writers.some((writer) => writer.stage !== undefined);
  const result = readers[signature.returns ?? "void"];
  if (!result)
    throw badOption(
      "returns",
      `${JSON.stringify(signature.returns)} is not a result type`,
      "use void, i32, u32, i64, u64, i64_fast, u64_fast, f32, f64, bool, ptr or cstring",
    );
  return {
    result,
    prepare(target, functionAddress, args) {
      if (args.length !== writers.length)
        throw badOption("args", `the function takes ${writers.length} arguments, not ${args.length}`, "pass what the signature declares");
      const { block } = target;
      block.setUint32(CallFrame.function, functionAddress % 2 ** 32, true);
      block.setUint32(CallFrame.function + 4, Math.floor(functionAddress / 2 ** 32), true);
      block.setUint32(CallFrame.float_count, floats, true);
      block.setUint32(CallFrame.stack_count, stacked, true);
      if (core().pristine_call_begin(target.handle) < 0) throw lastError();
      for (let index = 0; index < writers.length; index++) {
        const writer = writers[index] as Plan["writers"][number];
        if (writer.write) writer.write(block, args[index] as never);
        else if (stages) stage(target.handle, writer.stage as number, args[index] as string | ArrayBufferView);
      }
    },
  };
}

/** The type of an argument of the short form `call`. */
export function inferType(value: unknown): ArgType {
  if (typeof value === "string") return "cstring";
  if (ArrayBuffer.isView(value)) return "buffer";
  if (typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value))) return "i64";
  if (typeof value === "number")
    throw badOption("args", `${value} is not a whole number`, "declare the signature with fn() to pass floating-point numbers");
  throw badOption(
    "args",
    `a ${typeof value} cannot be passed`,
    "call() takes integers, bigints, strings and typed arrays; declare the signature with fn() for others",
  );
}
