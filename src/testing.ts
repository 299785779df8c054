/** What tests of programs that use forks may want: whether two machines are the same in everything a guest can notice. */
import { check, core, resultText } from "./ffi/library.ts";
import { handleOf, type Machine } from "./machine.ts";

/**
 * What differs between two forks of one snapshot: memory, mappings, registers, open files, signals and the rest, a line each;
 * empty if nothing does. Neither may run meanwhile. What differs by design is left out: clocks and the generation.
 *
 * @throws `BAD_OPTION` if they are not of one snapshot, `BUSY`, `CLOSED`
 * @example expect(difference(used, image.fork())).toEqual([]);
 */
export function difference(first: Machine, second: Machine): string[] {
  const length = check(core().pristine_difference(handleOf(first), handleOf(second)));
  return length === 0 ? [] : resultText().trimEnd().split("\n");
}
