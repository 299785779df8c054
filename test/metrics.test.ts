/** A pool's metrics: Prometheus' text format, and the page in a browser if there is one. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inflateSync } from "node:zlib";
import { type Counters, Metrics, metricsHandler, PristineError } from "../src/index.ts";

setDefaultTimeout(120_000);

const counted = (exits: number, faults: number, pagesTouched: number) => ({
  counters: () => ({ exits, faults, pagesTouched }) as Counters,
});

/** Metrics of requests with these latencies in milliseconds; each reset put back as many pages. */
function measured(latencies: readonly number[]): Metrics {
  const metrics = new Metrics();
  metrics.watch(() => ({ forks: 3, free: 1, queued: 7, limit: 4 }));
  for (const milliseconds of latencies) {
    metrics.request({ method: "GET", path: "/", status: 200, milliseconds });
    metrics.reset({ mode: "rewrite", pages: milliseconds, nanoseconds: 1_000_000 });
  }
  const error = new PristineError("TIMEOUT", "late", "", { kind: "wall", milliseconds: 1 });
  metrics.request({ method: "GET", path: "/", status: 504, milliseconds: 9_000, error });
  metrics.reset({ mode: "full", pages: 100_000, nanoseconds: 1_000_000 });
  return metrics;
}

interface Family {
  type: string;
  samples: Map<string, number>;
}

/** Reads the text format as a scraper does, and refuses what one would refuse. */
function scrape(text: string): Map<string, Family> {
  expect(text.endsWith("\n")).toBe(true);
  const families = new Map<string, Family>();
  let current = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (comment) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      if (kind === "HELP") expect(families.has(name)).toBe(false);
      current = name;
      families.set(name, { type: kind === "TYPE" ? rest : "", samples: families.get(name)?.samples ?? new Map() });
      continue;
    }
    const sample = /^([a-z_]+)((?:\{[a-z]+="[^"\\]*"\})?) (\S+)$/.exec(line);
    if (!sample) throw new Error(`not a line of the text format: ${line}`);
    const [, name, labels, value] = sample as unknown as [string, string, string, string];
    const family = families.get(current) as Family;
    expect(family.type === "histogram" ? name.replace(/_(bucket|sum|count)$/, "") : name).toBe(current);
    expect(family.samples.has(name + labels)).toBe(false);
    expect(Number.isFinite(Number(value))).toBe(true);
    family.samples.set(name + labels, Number(value));
  }
  return families;
}

test("the text is Prometheus'", () => {
  const metrics = measured([0.4, 0.5, 3, 30, 300]);
  metrics.sample(counted(10, 2, 50));
  const families = scrape(metrics.toString());
  for (const [name, { type, samples }] of families) {
    expect(type).toMatch(/^(counter|gauge|histogram)$/);
    expect(name.endsWith("_total")).toBe(type === "counter");
    if (type !== "histogram") continue;
    const buckets = [...samples].filter(([sample]) => sample.includes("_bucket"));
    const counts = buckets.map(([, value]) => value);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(buckets.at(-1)).toEqual([`${name}_bucket{le="+Inf"}`, samples.get(`${name}_count`) as number]);
  }
  const value = (family: string, sample = "") => families.get(`pristine_${family}`)?.samples.get(`pristine_${family}${sample}`);
  expect(value("requests_total", '{status="200"}')).toBe(5);
  expect(value("failures_total", '{code="TIMEOUT"}')).toBe(1);
  // A bound is in its bucket, and what is above all bounds only in the last.
  const latency = families.get("pristine_request_seconds")?.samples as Map<string, number>;
  expect(latency.get('pristine_request_seconds_bucket{le="0.0005"}')).toBe(2);
  expect(latency.get('pristine_request_seconds_bucket{le="5"}')).toBe(5);
  expect(latency.get("pristine_request_seconds_count")).toBe(6);
  expect(latency.get("pristine_request_seconds_sum")).toBeCloseTo(9.3339);
  expect(value("resets_total", '{mode="rewrite"}')).toBe(5);
  expect(value("reset_seconds_total")).toBeCloseTo(0.006);
  expect([value("forks", '{state="busy"}'), value("forks", '{state="free"}'), value("queue")]).toEqual([2, 1, 7]);
  expect([value("exits_total"), value("faults_total"), value("private_bytes")]).toEqual([10, 2, 50 * 4096]);
});

test("what closed forks have counted stays, their memory does not", () => {
  const metrics = new Metrics();
  const [one, other] = [counted(10, 1, 5), counted(30, 3, 7)];
  metrics.sample(one);
  metrics.sample(other);
  metrics.forget(one);
  metrics.forget(one);
  expect(metrics.guest).toEqual({ exits: 40, faults: 4, privateBytes: 7 * 4096 });
});

test("the handler knows its paths and methods, and the page asks nobody else", async () => {
  const handler = metricsHandler(measured([1]));
  const get = (path: string, init?: RequestInit) => handler(new Request(`http://localhost${path}`, init));
  expect(await get("/metrics").text()).toContain("pristine_requests_total");
  expect(get("/elsewhere").status).toBe(404);
  expect(get("/", { method: "POST" }).status).toBe(405);
  expect(get("/").headers.get("content-security-policy")).toStartWith("default-src 'none'");
  expect(await get("/").text()).not.toMatch(/https?:|<link|<img|@import|url\(/);
});

const browser = ["chromium", "chromium-browser", "google-chrome"].map((name) => Bun.which(name)).find((path) => path !== null);
const schemes = [
  { scheme: "light", flags: [], background: "f6f7f8" },
  { scheme: "dark", flags: ["--force-dark-mode"], background: "121417" },
];
for (const { scheme, flags, background } of schemes) {
  const missing = browser ? "" : " (no Chromium is there)";
  test.skipIf(missing !== "")(`a browser shows the numbers, ${scheme}${missing}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "pristine-page-"));
    using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: metricsHandler(measured([1, 2, 3, 4])) });
    const browse = async (...words: string[]) => {
      const common = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1000,800"];
      const profile = `--user-data-dir=${join(folder, "profile")}`;
      const child = Bun.spawn([browser as string, ...common, profile, ...flags, "--virtual-time-budget=4000", ...words, server.url.href], {
        stdio: ["ignore", "pipe", "pipe"],
        timeout: 60_000,
      });
      const [out, log] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
      expect(log.split("\n").filter((line) => line.includes("CONSOLE"))).toEqual([]);
      return out;
    };
    try {
      const page = await browse("--dump-dom");
      expect(page).toMatch(/id="state"[^>]*>live</);
      expect(page).toContain("2 busy, 1 free, 1 not made yet · 7 requests wait");
      expect(page.match(/<i class="busy"/g)).toHaveLength(2);
      expect(page).toMatch(/title="up to 5 ms: 2"/);
      expect(page).toContain("failed with TIMEOUT");
      const picture = join(folder, "page.png");
      await browse(`--screenshot=${picture}`);
      expect(firstPixel(readFileSync(picture))).toBe(background);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

/** The first pixel of a PNG, in which every filter leaves it as it is: RRGGBB. */
function firstPixel(png: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString("latin1", at + 4, at + 8) === "IDAT") pieces.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  return inflateSync(Buffer.concat(pieces)).toString("hex", 1, 4);
}
