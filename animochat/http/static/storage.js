/**
 * What the page remembers from visit to visit, on this device only. Where the browser forbids it, for this visit.
 */
const PREFIX = "animochat.";

/** What was kept under `name`, or `fallback`. */
export function recall(name, fallback, store = "localStorage") {
  try {
    return JSON.parse(window[store].getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Keep `value` under `name`; null forgets it. */
export function keep(name, value, store = "localStorage") {
  try {
    if (value === null) window[store].removeItem(PREFIX + name);
    else window[store].setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Forbidden, or full.
  }
}
