/** A pool's metrics over HTTP: a page for people, Prometheus' text, and the numbers of the page as JSON. */
import type { Metrics } from "./metrics.ts";
import page from "./metrics-page.html" with { type: "text" };

const noStore = { "cache-control": "no-store" };
const text = "text/plain; version=0.0.4; charset=utf-8";
const html = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
};

/**
 * A handler for `Bun.serve`: `/` is a page that shows the numbers live, `/metrics` is for Prometheus.
 *
 * @example Bun.serve({ hostname: "127.0.0.1", port: 9090, fetch: metricsHandler(pool.metrics) });
 */
export function metricsHandler(metrics: Metrics): (request: Request) => Response {
  return (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") return new Response(null, { status: 405, headers: { allow: "GET, HEAD" } });
    switch (new URL(request.url).pathname) {
      case "/":
        return new Response(page as unknown as string, { headers: html });
      case "/metrics":
        return new Response(metrics.toString(), { headers: { ...noStore, "content-type": text } });
      case "/metrics.json":
        return Response.json(metrics, { headers: noStore });
      default:
        return new Response("there are / and /metrics\n", { status: 404 });
    }
  };
}
