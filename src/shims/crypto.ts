/**
 * Random numbers that a runtime keeps in store are from before the freeze, the same in every fork. Functions that may give them are
 * wrapped, so that the first use in a request throws the store away. Those that ask the system or the processor each time, or whose
 * generator notices a fork by memory with MADV_WIPEONFORK, are left alone.
 */

/** A function of some object's, whatever it is. */
// biome-ignore lint/suspicious/noExplicitAny: functions of all shapes are passed on
type Any = (...args: any[]) => any;
type Holder = Record<string, Any>;

/** What is thrown away at most once for each request. */
export class Store {
  readonly #throwAway: () => void;
  #isStale = true;

  constructor(throwAway: () => void) {
    this.#throwAway = throwAway;
  }

  /** A request begins. */
  age(): void {
    this.#isStale = true;
  }

  #renew(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    this.#throwAway();
  }

  /** Wraps functions of an object; names that it does not have are none of this version's. */
  guard(holder: object, names: readonly string[]): void {
    for (const name of names) {
      const original = (holder as Holder)[name];
      if (typeof original !== "function") continue;
      const renew = () => this.#renew();
      replace(holder, name, function (this: unknown, ...args: unknown[]) {
        renew();
        return original.apply(this, args);
      });
    }
  }
}

/** Puts a function in another's place, under its name and with those of its properties that it does not have itself. */
export function replace(holder: object, name: string, by: Any): void {
  const original = (holder as Holder)[name] as Any;
  for (const key of Reflect.ownKeys(original)) {
    const isOwn = Object.hasOwn(by, key) && key !== "name" && key !== "length";
    if (!isOwn) Object.defineProperty(by, key, Object.getOwnPropertyDescriptor(original, key) as PropertyDescriptor);
  }
  (holder as Holder)[name] = by;
}

/** A version 4 UUID of 16 random bytes (RFC 9562, 5.4). */
export function uuidOf(bytes: Uint8Array): string {
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  let hex = "";
  for (const byte of bytes) hex += (byte + 0x100).toString(16).slice(1);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
