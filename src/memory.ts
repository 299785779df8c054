/** Guest memory: zero-copy views, leases, copies, strings and allocations. */
import { badOption, PristineError } from "./errors.ts";
import { check, core, lastError, memoryWindow, resultText } from "./ffi/library.ts";
import type { Address, Lease } from "./types.ts";

/** Views are cut from windows of this size: a window is made once, a view costs nanoseconds. */
const windowBytes = 16 * 2 ** 20;
const cstringMaxBytes = 64 * 1024;

/** What memory needs of its machine. */
export interface MemoryOwner {
  readonly handle: number;
  /** Throws if the machine is closed. */
  checkOpen(): void;
}

/** A guest's memory. Ranges are guest-virtual; a range that is not mapped is `BAD_ADDRESS`. */
export class Memory {
  readonly #owner: MemoryOwner;
  readonly #windows = new Map<number, ArrayBuffer>();
  readonly #large = new Set<ArrayBuffer>();

  constructor(owner: MemoryOwner) {
    this.#owner = owner;
  }

  /**
   * The bytes of a range without copying: what the guest writes is seen here, and the other way round. When the memory
   * goes away (unmapped, reset, closed) the view's length becomes 0 and reads give `undefined`.
   *
   * @throws `BAD_ADDRESS` if the range is not mapped, or not contiguous in memory (then `views` has its pieces)
   * @example vm.memory.view(vm.symbol("buffer"), 64)[0] = 1;
   */
  view(address: Address, length: number): Uint8Array<ArrayBuffer> {
    this.#owner.checkOpen();
    const offset = core().pristine_memory_translate(this.#owner.handle, address, length);
    if (offset < 0) throw lastError();
    return this.#cut(offset, length);
  }

  /** The contiguous pieces of a range, in order. */
  views(address: Address, length: number): Uint8Array<ArrayBuffer>[] {
    this.#owner.checkOpen();
    check(core().pristine_memory_pieces(this.#owner.handle, address, length));
    const pieces = JSON.parse(resultText()) as [number, number][];
    return pieces.map(([offset, size]) => this.#cut(offset, size));
  }

  #cut(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const index = Math.floor(offset / windowBytes);
    if (offset + length > (index + 1) * windowBytes) {
      const buffer = memoryWindow(this.#owner.handle, offset, length);
      this.#large.add(buffer);
      return new Uint8Array(buffer);
    }
    let window = this.#windows.get(index);
    if (!window) {
      window = memoryWindow(this.#owner.handle, index * windowBytes, windowBytes);
      this.#windows.set(index, window);
    }
    return new Uint8Array(window, offset - index * windowBytes, length);
  }

  /**
   * A view that throws `STALE_VIEW` instead of reading as empty once the memory is gone.
   *
   * @example using lease = vm.memory.lease(address, 4096); lease.bytes.fill(0);
   */
  lease(address: Address, length: number): Lease {
    const view = this.view(address, length);
    let released = false;
    const stale = () => released || (length > 0 && view.buffer.detached);
    return {
      get bytes() {
        if (stale())
          throw new PristineError("STALE_VIEW", "the memory of this lease is gone", "take a new lease after a reset or an unmapping", {});
        return view;
      },
      get stale() {
        return stale();
      },
      release() {
        released = true;
      },
      [Symbol.dispose]() {
        released = true;
      },
    };
  }

  /** A copy of a range. */
  read(address: Address, length: number): Uint8Array<ArrayBuffer> {
    this.#owner.checkOpen();
    if (!(length >= 0 && length <= 2 ** 31)) throw badOption("length", `${length} is not a length`, "read at most 2 GiB at once");
    const out = new Uint8Array(length);
    if (length > 0) check(core().pristine_memory_read(this.#owner.handle, address, out, length));
    return out;
  }

  /** Copies bytes, or a text as UTF-8 without a NUL, into the guest. */
  write(address: Address, bytes: ArrayBufferView | string): void {
    this.#owner.checkOpen();
    const data =
      typeof bytes === "string" ? new TextEncoder().encode(bytes) : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (data.length > 0) check(core().pristine_memory_write(this.#owner.handle, address, data, data.length));
  }

  /** The text at an address up to its NUL; `BAD_ADDRESS` if there is none within `maxLength` bytes (default 64 KiB). */
  readCString(address: Address, maxLength = cstringMaxBytes): string {
    this.#owner.checkOpen();
    const out = new Uint8Array(Math.max(maxLength, 1));
    const length = check(core().pristine_memory_cstring(this.#owner.handle, address, out, out.length));
    return new TextDecoder().decode(out.subarray(0, length));
  }

  /** New zeroed memory in the guest that lives as long as the machine; its address. */
  allocate(length: number, options: { align?: number } = {}): Address {
    this.#owner.checkOpen();
    const address = core().pristine_memory_allocate(this.#owner.handle, length, options.align ?? 16);
    if (address < 0) throw lastError();
    return address;
  }

  /** Makes every view empty; for the machine, when memory went away. */
  detach(): void {
    for (const buffer of [...this.#windows.values(), ...this.#large]) {
      if (!buffer.detached) buffer.transfer(0);
    }
    this.#windows.clear();
    this.#large.clear();
  }

  /** Whether any view may be alive. */
  get hasViews(): boolean {
    return this.#windows.size > 0 || this.#large.size > 0;
  }
}
