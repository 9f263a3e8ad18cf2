/** A request that failed: `code` is one of the protocol's, or `offline` or `timeout`. */
export class ChatError extends Error {
  constructor({ code, message = code, retryAfterMs, ...details }) {
    super(message);
    Object.assign(this, details);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

// Errors that pass by themselves.
const PASSING = new Set(["unavailable", "timeout", "rate-limited"]);
// Milliseconds before a request, or a connection that the server has ended, is tried again.
export const AGAIN_MS = 1_500;

/** Return the milliseconds after which a failed request is worth another try; null where it is not. */
export const pauseAfter = ({ code, retryAfterMs }) => (PASSING.has(code) ? retryAfterMs || AGAIN_MS : null);
