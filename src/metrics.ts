/** What a pool has done, as numbers and as Prometheus text. */
import type { ResetReport } from "./types.ts";

/** Upper bounds of the latency histogram, in seconds. */
const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export interface PoolState {
  readonly forks: number;
  readonly free: number;
  readonly queued: number;
  readonly limit: number;
}

export class Metrics {
  readonly byStatus = new Map<number, number>();
  readonly latency = { counts: bounds.map(() => 0), sum: 0, count: 0 };
  readonly resets = { rewrite: 0, full: 0, pages: 0, seconds: 0 };
  #state: () => PoolState = () => ({ forks: 0, free: 0, queued: 0, limit: 0 });

  /** @internal */
  watch(state: () => PoolState): void {
    this.#state = state;
  }

  get state(): PoolState {
    return this.#state();
  }

  /** @internal */
  request(status: number, milliseconds: number): void {
    this.byStatus.set(status, (this.byStatus.get(status) ?? 0) + 1);
    const seconds = milliseconds / 1000;
    this.latency.sum += seconds;
    this.latency.count++;
    for (const [index, bound] of bounds.entries()) if (seconds <= bound) this.latency.counts[index]!++;
  }

  /** @internal */
  reset({ mode, pages, nanoseconds }: ResetReport): void {
    this.resets[mode]++;
    this.resets.pages += pages;
    this.resets.seconds += nanoseconds / 1e9;
  }

  /** Prometheus' text format, version 0.0.4. */
  toString(): string {
    const { forks, free, queued, limit } = this.state;
    const lines = [
      "# HELP pristine_requests_total Requests by the status of their answer.",
      "# TYPE pristine_requests_total counter",
      ...[...this.byStatus].map(([status, count]) => `pristine_requests_total{status="${status}"} ${count}`),
      "# HELP pristine_request_seconds Time from a request to the head of its answer.",
      "# TYPE pristine_request_seconds histogram",
      ...bounds.map((bound, index) => `pristine_request_seconds_bucket{le="${bound}"} ${this.latency.counts[index]}`),
      `pristine_request_seconds_bucket{le="+Inf"} ${this.latency.count}`,
      `pristine_request_seconds_sum ${this.latency.sum}`,
      `pristine_request_seconds_count ${this.latency.count}`,
      "# HELP pristine_resets_total Resets of forks by their way.",
      "# TYPE pristine_resets_total counter",
      `pristine_resets_total{mode="rewrite"} ${this.resets.rewrite}`,
      `pristine_resets_total{mode="full"} ${this.resets.full}`,
      "# HELP pristine_reset_pages_total Pages that resets copied back or dropped.",
      "# TYPE pristine_reset_pages_total counter",
      `pristine_reset_pages_total ${this.resets.pages}`,
      "# HELP pristine_reset_seconds_total Time that resets took.",
      "# TYPE pristine_reset_seconds_total counter",
      `pristine_reset_seconds_total ${this.resets.seconds}`,
      "# HELP pristine_forks Forks by what they do.",
      "# TYPE pristine_forks gauge",
      `pristine_forks{state="busy"} ${forks - free}`,
      `pristine_forks{state="free"} ${free}`,
      "# HELP pristine_forks_limit Forks that there may be.",
      "# TYPE pristine_forks_limit gauge",
      `pristine_forks_limit ${limit}`,
      "# HELP pristine_queue Requests that wait for a fork.",
      "# TYPE pristine_queue gauge",
      `pristine_queue ${queued}`,
    ];
    return `${lines.join("\n")}\n`;
  }
}
