/**
 * Where a chat keeps its token and device: an object with `get(key)`, which returns a string or null, and
 * `set(key, value)`.
 */

/** The token is the tab's, so that a reload is the same person; the device is the browser's. */
export function browserStorage() {
  const memory = memoryStorage();
  const place = (key) => {
    try {
      return key.startsWith("animochat.token") ? globalThis.sessionStorage : globalThis.localStorage;
    } catch {
      return undefined; // forbidden
    }
  };
  return {
    get(key) {
      try {
        return place(key)?.getItem(key) ?? memory.get(key);
      } catch {
        return memory.get(key);
      }
    },
    set(key, value) {
      memory.set(key, value);
      try {
        place(key)?.setItem(key, value);
      } catch {
        // Full, or forbidden.
      }
    },
  };
}

/** A storage for one chat alone, for bots and tests. */
export function memoryStorage() {
  const values = new Map();
  return { get: (key) => values.get(key) ?? null, set: (key, value) => void values.set(key, value) };
}
