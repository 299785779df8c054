/** Where `pristine serve` serves, from --allow-listen and the program's own address. */
import { expect, test } from "bun:test";
import { split } from "../src/cli/grammar.ts";
import { resolveAddress, textOf, urlOf, wantedAddress } from "../src/cli/serve/address.ts";
import { serveOptions, serveSettingsOf } from "../src/cli/serve/options.ts";

const own = { host: "0.0.0.0", port: 8000 };
const served = (...values: (string | true)[]) => textOf(resolveAddress(wantedAddress(values), own));

test("--allow-listen is where it serves, the rest is the program's", () => {
  expect(served()).toBe("0.0.0.0:8000");
  expect(served(true)).toBe("0.0.0.0:8000");
  expect(served("127.0.0.1:9000")).toBe("127.0.0.1:9000");
  expect(served("127.0.0.1")).toBe("127.0.0.1:8000");
  expect(served("localhost:*")).toBe("localhost:8000");
  expect(served(":9000")).toBe("0.0.0.0:9000");
  expect(served("*:0")).toBe("0.0.0.0:0");
  expect(served("[::1]:9000")).toBe("[::1]:9000");
  expect(served("::1")).toBe("[::1]:8000");
  expect(served("unix:/run/socket")).toBe("unix:/run/socket");
});

test("what is no one address is refused", () => {
  for (const value of ["10.0.0.0/8", "a:b", "host:70000", "127.0.0.1:1,127.0.0.1:2", "http://host:80"])
    expect(() => served(value)).toThrow();
  expect(() => served("127.0.0.1:1", "127.0.0.1:2")).toThrow();
});

test("--allow-net is for the program's connections, not where it serves", () => {
  const { options } = split(["--allow-net=api.example.com:443", "--allow-listen=127.0.0.1:80", "program"], serveOptions);
  expect(serveSettingsOf(options).address).toEqual({ host: "127.0.0.1", port: 80 });
  expect(serveSettingsOf(split(["--allow-net=api.example.com:443", "program"], serveOptions).options).address).toEqual({});
});

test("the URL is one that people can use", () => {
  expect(urlOf(own)).toBe("http://localhost:8000");
  expect(urlOf({ host: "::", port: 80 })).toBe("http://localhost:80");
  expect(urlOf({ host: "::1", port: 80 })).toBe("http://[::1]:80");
  expect(urlOf({ unix: "/run/socket" })).toBe("unix:/run/socket");
});
