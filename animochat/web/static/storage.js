/**
 * What the page remembers from visit to visit, on this device only. Where the browser forbids it, for this visit.
 */
const PREFIX = "animochat.";

/** The lobby that this page is for. */
export const { lobby } = document.body.dataset;

/** The name for something that is kept for this lobby alone; in `main`, the one from before there were others. */
export const ofLobby = (name) => (lobby === "main" ? name : `${name}.${lobby}`);

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
