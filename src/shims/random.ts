/** `Math.random` as a generator that each request seeds anew: the runtime's own would go on from the snapshot's state. */

const state = new Uint32Array(4);

/** Chris Doty-Humphrey's sfc32. */
function next(): number {
  const [a, b, c, counter] = state as unknown as [number, number, number, number];
  const result = (a + b + counter) | 0;
  state[3] = counter + 1;
  state[0] = b ^ (b >>> 9);
  state[1] = c + (c << 3);
  state[2] = ((c << 21) | (c >>> 11)) + result;
  return result >>> 0;
}

/** Takes the first 16 bytes. */
export function seed(entropy: Uint8Array): void {
  const view = new DataView(entropy.buffer, entropy.byteOffset);
  for (let index = 0; index < state.length; index++) state[index] = view.getUint32(4 * index, true);
}

const twoTo26 = 2 ** 26;
const twoTo53 = 2 ** 53;

/** 53 random bits, as all runtimes give them. */
export const random = { random: () => ((next() >>> 5) * twoTo26 + (next() >>> 6)) / twoTo53 }.random;
