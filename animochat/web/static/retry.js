/**
 * The times to reconnect: soon, then less and less often, and at once when the network may be back.
 *
 * The client library can do the first, but sleeps on when the network is back.
 */

// The first pause and the longest, in milliseconds; each is varied, so that not everyone comes back in one moment.
const FIRST_MS = 1_000;
const LONGEST_MS = 5_000;
const VARIED = 0.5;

export class Retry {
  #attempt;
  #failures = 0;
  #timer = 0;

  /** `attempt()` tries to connect, and calls `later` or `succeeded` afterwards. */
  constructor(attempt) {
    this.#attempt = attempt;
    window.addEventListener("online", () => this.#now());
    // Out of the browser's back-forward cache, where timers stood still.
    window.addEventListener("pageshow", ({ persisted }) => persisted && this.#now());
    document.addEventListener("visibilitychange", () => document.hidden || this.#now());
  }

  /** Plan the next attempt, not before `atLeastMs`. Returns which attempt since the last success it will be. */
  later(atLeastMs = 0) {
    clearTimeout(this.#timer);
    const pause = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#failures);
    this.#failures += 1;
    const ms = atLeastMs * (1 + Math.random()) || pause * (1 + VARIED * (2 * Math.random() - 1));
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#attempt();
    }, ms);
    return this.#failures;
  }

  succeeded() {
    this.#failures = 0;
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  #now() {
    if (!this.#timer) return; // nothing is planned: connected, or at it
    this.stop();
    this.#attempt();
  }
}
