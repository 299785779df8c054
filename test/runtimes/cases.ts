/** Programs of runtimes with threads and sockets. `packages.txt` of the compatibility run names the Debian packages they need. */
import { join } from "node:path";
import { type Case, type Options, program, type Row } from "../compatibility/case.ts";

const modules = join(import.meta.dir, "../../node_modules");
export const paths = {
  node: "/usr/bin/node",
  bun: join(modules, "bun/bin/bun.exe"),
  deno: join(modules, "@deno/linux-x64-glibc/deno"),
  esbuild: join(modules, "@esbuild/linux-x64/bin/esbuild"),
  java: "/usr/bin/java",
};

/** What all of them may have besides the compatibility run's. Only `/tmp` can be written, which machines have of their own. */
const shared: Options = { loopback: true, memory: "4GiB", env: { NO_COLOR: "1", TMPDIR: "/tmp", HOME: "/tmp/pristine-home" } };

function runtime(name: string, path: string, rows: readonly Row[], options: Options = {}): Case[] {
  const env = { ...shared.env, ...options.env };
  return program(
    name,
    path,
    rows.map(([args, own = {}]) => [args, { ...shared, ...options, ...own, env: { ...env, ...own.env } }]),
  );
}

const node = runtime(
  "nodejs",
  paths.node,
  [
    [["-e", "console.log(6 * 7)"], { light: true }],
    [["-e", "setTimeout(() => console.log('timer'), 20); process.on('exit', (code) => console.log(code)); process.exitCode = 3"]],
    [["-e", "throw new TypeError('not caught')"]],
    [["-e", "process.on('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2'); setTimeout(() => {}, 20)"]],
    [["-p", "require('os').availableParallelism() > 0 && process.memoryUsage().rss > 0"]],
    [
      [
        "--max-old-space-size=64",
        "-p",
        "let a = []; for (let i = 0; i < 3e6; i++) { a.push({ i }); if (a.length > 1e5) a = []; } a.length",
      ],
    ],
    [["node-workers.mjs"]],
    [["node-files.mjs"]],
    [["node-crypto.mjs"]],
    [["node-zlib.mjs"]],
    [["node-http.mjs"]],
    [["wasm.mjs"]],
    [["react-page.mjs"]],
  ],
  { env: { NODE_OPTIONS: "" } },
);

const deno = runtime(
  "deno",
  paths.deno,
  [
    [["eval", "console.log(6 * 7)"], { light: true }],
    [["eval", "throw new TypeError('not caught')"]],
    [["run", "-A", "--no-check", "deno-run.ts"]],
    [["run", "-A", "--no-check", "deno-worker.ts"]],
    [["run", "-A", "--no-check", "deno-node.ts"]],
    [["run", "-A", "--no-check", "serve.ts"]],
    [["run", "-A", "wasm.mjs"]],
    [["run", "-A", "--v8-flags=--single-threaded", "wasm.mjs"]],
    [["run", "-A", "--no-check", "react-page.mjs"]],
    [["fmt", "--check", "bundle/entry.ts"]],
    [["check", "bundle/imported.ts"]],
  ],
  { env: { DENO_NO_UPDATE_CHECK: "1", DENO_NO_PACKAGE_JSON: "1", DENO_DIR: "/tmp/pristine-deno" } },
);

const bun = runtime("bun", paths.bun, [
  [["-e", "console.log(6 * 7)"], { light: true }],
  [["-e", "throw new TypeError('not caught')"]],
  [["run", "bun-run.ts"]],
  [["run", "bun-worker.ts"]],
  [["run", "serve.ts"]],
  [["run", "node-http.mjs"]],
  [["run", "wasm.mjs"], { light: true }],
  [["run", "react-page.mjs"]],
  [["build", "bundle/entry.ts"]],
]);

const esbuild = runtime("esbuild", paths.esbuild, [
  [["--version"]],
  [["bundle/entry.ts", "--bundle"]],
  [["bundle/entry.ts", "--bundle", "--minify", "--sourcemap=inline", "--format=esm"]],
  [["react-page.mjs", "--bundle", "--platform=node", "--format=esm", "--outfile=/tmp/pristine-bundle.mjs", "--log-level=error"]],
  [["bundle/missing.ts", "--bundle"]],
]);

const python = runtime("libpython3.11-stdlib", "/usr/bin/python3.11", [[["many_threads.py"]], [["asyncio_loop.py"]], [["sockets.py"]]]);
const guile = runtime("guile-3.0", "/usr/bin/guile-3.0", [[["--no-auto-compile", "threads.scm"]]]);
const ruby = runtime("ruby3.1", "/usr/bin/ruby3.1", [
  [["-e", "puts 8.times.map { |i| Thread.new { Thread.pass; i * i } }.map(&:value).sum"], { name: "threads" }],
  [["-e", "q = Queue.new; t = Thread.new { 3.times.map { q.pop } }; 3.times { |i| q << i; sleep 0.001 }; p t.value"], { name: "queue" }],
  [
    [
      "-rsocket",
      "-e",
      "s = TCPServer.new('127.0.0.1', 0); Thread.new { s.accept.puts 'hi' }; puts TCPSocket.new(*s.addr.values_at(3, 1)).gets",
    ],
    { name: "sockets" },
  ],
  [["-rtimeout", "-e", "begin; Timeout.timeout(0.02) { loop {} }; rescue Timeout::Error => e; puts e.message; end"], { name: "timeout" }],
]);
const sqlite = runtime("sqlite3", "/usr/bin/sqlite3", [[["/tmp/pristine-wal.db", ".read wal.sql"]]]);
const java = runtime(
  "default-jre-headless",
  paths.java,
  [
    [["-version"]],
    [["-Xmx64m", "-cp", ".", "Hello"]],
    [["-Xint", "-Xmx64m", "-cp", ".", "Hello"]],
    [["-XX:+UseParallelGC", "-Xmx64m", "-cp", ".", "Hello"]],
  ],
  { env: { JAVA_TOOL_OPTIONS: "" } },
);

/** Compiled by the test; one whose compiler is not there is skipped. */
export const compiled: readonly { readonly output: string; readonly compiler: string; readonly args: readonly string[] }[] = [
  { output: "goroutines", compiler: "go", args: ["build", "-o", "goroutines", "goroutines.go"] },
  { output: "gohttp", compiler: "go", args: ["build", "-o", "gohttp", "gohttp.go"] },
  { output: "rust-threads", compiler: "rustc", args: ["-O", "-o", "rust-threads", "threads.rs"] },
  { output: "Hello.class", compiler: "javac", args: ["Hello.java"] },
];

const go = [
  ...runtime("golang-go", "./goroutines", [[[], { unstableStderr: true }]]),
  ...runtime("golang-go", "./goroutines", [
    [[], { name: "goroutines with one processor", env: { GOMAXPROCS: "1" }, unstableStderr: true }],
  ]),
  ...runtime("golang-go", "./gohttp", [[[]]]),
];
const rust = runtime("rustc", "./rust-threads", [[[], { unstableStderr: true }]]);

export const runtimeCases: readonly Case[] = [
  ...node,
  ...deno,
  ...bun,
  ...esbuild,
  ...python,
  ...guile,
  ...ruby,
  ...sqlite,
  ...java,
  ...go,
  ...rust,
];
