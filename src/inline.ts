/** Whether a request's server runs on this thread or on one of its own. */

/** As long as the way to another thread and back takes a good part of what is done there. */
const budgetMs = 4;
/** So many requests are not tried here behind one that took longer, and twice as many behind each further one. */
const restFirst = 4;
const restMax = 32;

/**
 * Requests that come one at a time and are answered soon run on this thread: it would only wait for them. Those that take longer go
 * on on another, and after some of them no more are tried here for a while.
 *
 * @internal
 */
export class Inline {
  #rest = 0;
  #nextRest = restFirst;

  /** Milliseconds for which the next request may run here. */
  budget(): number {
    if (this.#rest === 0) return budgetMs;
    this.#rest--;
    return 0;
  }

  /** What became of a request that had a budget. */
  note(overBudget: boolean): void {
    if (!overBudget) this.#nextRest = restFirst;
    else {
      this.#rest = this.#nextRest;
      this.#nextRest = Math.min(2 * this.#nextRest, restMax);
    }
  }
}
