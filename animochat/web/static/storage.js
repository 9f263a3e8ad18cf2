/**
 * The page's storage from visit to visit, on this device only. If the browser forbids it, for this visit only.
 */
const PREFIX = "animochat.";

/** The lobby that this page is for. */
export const { lobby } = document.body.dataset;

/** The name for something that is kept for this lobby alone; in `main`, the one from before there were others. */
export const ofLobby = (name) => (lobby === "main" ? name : `${name}.${lobby}`);

/** The value kept under `name`, or `fallback`. */
export function recall(name, fallback, store = "localStorage") {
  try {
    return JSON.parse(window[store].getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Forget who we are: the device, and in every lobby the token, the chat and what goes with them. */
export function forgetPerson() {
  const person = /^animochat\.(device|interests|token|chatting|draft)(\.|$)/;
  for (const store of [localStorage, sessionStorage]) {
    for (const name of Object.keys(store)) if (person.test(name)) store.removeItem(name);
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
