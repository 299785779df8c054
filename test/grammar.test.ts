/** The command line's grammar by itself. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { distance, nearest, type OptionSpec, parseDuration, split, UsageError } from "../src/cli/grammar.ts";
import { parseSize } from "../src/options.ts";

const specs: OptionSpec[] = [
  { name: "flag", arity: "none", short: "f" },
  { name: "maybe", arity: "optional", repeats: true },
  { name: "value", arity: "required", short: "v", repeats: true },
];

test("options end at the first word without a dash, or at --", () => {
  const { options, rest } = split(["--flag", "--maybe", "--value", "x", "prog", "--flag"], specs);
  expect([...options]).toEqual([
    ["flag", [true]],
    ["maybe", [true]],
    ["value", ["x"]],
  ]);
  expect(rest).toEqual(["prog", "--flag"]);
  expect(split(["--", "--flag"], specs).rest).toEqual(["--flag"]);
  expect(split(["-"], specs).rest).toEqual(["-"]);
});

test("optional values need =, required ones take it or the next word, short ones join", () => {
  expect(split(["--maybe=a,b", "p"], specs).options.get("maybe")).toEqual(["a,b"]);
  expect(split(["--maybe", "a"], specs).rest).toEqual(["a"]);
  expect(split(["-v", "1", "-v2", "-v=3", "p"], specs).options.get("value")).toEqual(["1", "2", "3"]);
  expect(() => split(["--flag=1"], specs)).toThrow(UsageError);
  expect(() => split(["--value"], specs)).toThrow("needs a value");
  expect(() => split(["--flag", "--flag"], specs)).toThrow("twice");
});

test("whatever comes after the program is the program's", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (words) => {
      expect(split(["--flag", "--", ...words], specs).rest).toEqual(words);
      expect(split(["prog", ...words], specs).rest).toEqual(["prog", ...words]);
    }),
  );
});

test("no words make the splitter do anything but split or say what is wrong", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string(), fc.constantFrom("--flag", "--maybe", "--maybe=", "-v", "--", "-", "--=", "-=", "---"))),
      (words) => {
        try {
          const { rest } = split(words, specs);
          expect(words.slice(words.length - rest.length)).toEqual([...rest]);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      },
    ),
  );
});

test("distance is a metric, and the nearest word is near", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      expect(distance(a, b)).toBe(distance(b, a));
      expect(distance(a, b) === 0).toBe(a === b);
      expect(distance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
  expect(nearest("allow-reed", ["allow-read", "deny-read"])).toBe("allow-read");
  expect(nearest("zzzzzz", ["allow-read"])).toBeUndefined();
});

test("durations have units, sizes are binary", () => {
  expect(parseDuration("500ms", "t")).toBe(500);
  expect(parseDuration("1.5s", "t")).toBe(1500);
  expect(() => parseDuration("5", "t")).toThrow("not a duration");
  expect(parseSize("512MiB", "memory")).toBe(2 ** 29);
  expect(parseSize("512M", "memory")).toBe(2 ** 29);
  expect(parseSize("4096", "memory")).toBe(4096);
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        expect(parseSize(text as "1", "memory")).toBeGreaterThanOrEqual(0);
      } catch (error) {
        expect((error as { code: string }).code).toBe("BAD_OPTION");
      }
    }),
  );
});
