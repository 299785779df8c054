/** The servers that are tried, and how each is started. */
import { join } from "node:path";
import { paths } from "../runtimes/cases.ts";

export interface Server {
  readonly name: string;
  /** Debian's or npm's package that has the program. */
  readonly package: string;
  /** One that starts with `./` lies in the folder of the run. */
  readonly path: string;
  readonly args: (port: number, folder: string) => readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What clients ask for, in this order; the paths of an HTTP server. */
  readonly asks: readonly Ask[];
  /** Light enough for the emulated lane. */
  readonly light?: boolean;
  /** It closes every connection behind its answer. */
  readonly closes?: boolean;
  /**
   * Exits of one request on a connection that is kept, and of one on a connection of its own, at most: no more than the system
   * calls that the server makes natively, where those were counted.
   */
  readonly exits: {
    readonly kept?: number;
    readonly connection: number;
    /** Exits of a second without requests, by timers of its own; 0 unless given. */
    readonly idle?: number;
  };
}

export interface Ask {
  readonly method: "GET" | "POST" | "HEAD";
  readonly path: string;
  readonly body?: string;
}

/** What has the servers and clients of `clients.test.ts`. */
export const clientPackages = ["curl", "redis-server", "redis-tools", "wrk"];

const get = (path: string): Ask => ({ method: "GET", path });
const asks: readonly Ask[] = [
  get("/hello"),
  get("/a?b=c"),
  get("/large"),
  { method: "POST", path: "/post", body: "x".repeat(100_000) },
  get("/hello"),
];
const pages: readonly Ask[] = [get("/hello"), get("/a"), get("/b"), get("/hello")];
const files: readonly Ask[] = [get("/hello"), get("/large"), get("/missing"), { method: "HEAD", path: "/hello" }, get("/hello")];

const python = "/usr/bin/python3.11";
const port = (value: number) => String(value);

export const servers: readonly Server[] = [
  {
    name: "Deno.serve",
    package: "deno",
    path: paths.deno,
    args: () => ["run", "-A", "hello.mjs"],
    asks,
    light: true,
    exits: { kept: 4, connection: 13 },
  },
  { name: "Bun.serve", package: "bun", path: paths.bun, args: () => ["hello.mjs"], asks, exits: { kept: 4, connection: 13, idle: 13 } },
  { name: "node:http", package: "nodejs", path: paths.node, args: () => ["hello.mjs"], asks, exits: { kept: 4, connection: 16, idle: 2 } },
  {
    name: "React on Deno",
    package: "deno",
    path: paths.deno,
    args: () => ["run", "-A", "page.mjs"],
    asks: pages,
    exits: { kept: 6, connection: 16 },
  },
  {
    name: "React on Bun",
    package: "bun",
    path: paths.bun,
    args: () => ["page.mjs"],
    asks: pages,
    exits: { kept: 8, connection: 16, idle: 60 },
  },
  {
    name: "React on Node",
    package: "nodejs",
    path: paths.node,
    args: () => ["page.mjs"],
    asks: pages,
    exits: { kept: 5, connection: 16 },
  },
  {
    name: "http.server",
    package: "libpython3.11-stdlib",
    path: python,
    args: (at, folder) => ["-m", "http.server", "--bind", "127.0.0.1", "--directory", join(folder, "files"), port(at)],
    asks: files,
    closes: true,
    exits: { connection: 40, idle: 3 },
  },
  {
    name: "wsgiref",
    package: "libpython3.11-stdlib",
    path: python,
    args: () => ["wsgi_server.py"],
    asks,
    light: true,
    closes: true,
    exits: { connection: 12, idle: 3 },
  },
  {
    name: "uvicorn",
    package: "python3-uvicorn",
    path: python,
    args: (at) => ["-m", "uvicorn", "--port", port(at), "--log-level", "critical", "--no-access-log", "app:asgi"],
    asks,
    exits: { kept: 12, connection: 30, idle: 30 },
  },
  {
    name: "waitress",
    package: "python3-waitress",
    path: python,
    args: (at) => ["-m", "waitress", "--listen", `127.0.0.1:${at}`, "--threads", "2", "app:app"],
    asks,
    exits: { kept: 12, connection: 20, idle: 2 },
  },
  {
    name: "gunicorn's worker",
    package: "gunicorn",
    path: python,
    args: () => ["gunicorn_worker.py"],
    env: { THREADS: "1" },
    asks,
    closes: true,
    exits: { connection: 16, idle: 3 },
  },
  {
    name: "gunicorn's worker with threads",
    package: "gunicorn",
    path: python,
    args: () => ["gunicorn_worker.py"],
    env: { THREADS: "4" },
    asks,
    exits: { kept: 16, connection: 20, idle: 5 },
  },
  { name: "net/http", package: "golang-go", path: "./hello-go", args: () => [], asks, exits: { kept: 11, connection: 38 } },
  {
    name: "Rust, a thread for each connection",
    package: "rustc",
    path: "./hello-rust",
    args: () => [],
    asks,
    exits: { kept: 4, connection: 24 },
  },
  {
    name: "php -S",
    package: "php8.2-cli",
    path: "/usr/bin/php8.2",
    args: (at) => ["-S", `127.0.0.1:${at}`, "hello.php"],
    asks,
    closes: true,
    exits: { connection: 33, idle: 2 },
  },
  {
    name: "ruby -run httpd",
    package: "ruby-webrick",
    path: "/usr/bin/ruby3.1",
    args: (at, folder) => ["-run", "-e", "httpd", "--", join(folder, "files"), "--port", port(at), "--bind-address", "127.0.0.1"],
    asks: files,
    exits: { kept: 31, connection: 47 },
  },
  {
    name: "nginx",
    package: "nginx-light",
    path: "/usr/sbin/nginx",
    args: (_, folder) => ["-c", join(folder, "nginx.conf"), "-e", "stderr"],
    light: true,
    asks: [get("/hello"), get("/answer?x=1"), get("/large"), get("/missing"), { method: "HEAD", path: "/hello" }],
    exits: { kept: 8, connection: 15 },
  },
];
