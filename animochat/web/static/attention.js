/**
 * Signals for someone who is not looking at the page: a count in the title and, if switched on, a
 * sound and a notification. The notification has no names and no quotes: others may see the screen.
 */
import { chime } from "./sound.js";
import { recall } from "./storage.js";
import { onLanguage, say } from "./words.js";

const NAME = "AniMoChat";

export class Attention {
  #key = null; // of the title, without the count
  #unread = 0;
  #notification = null;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      this.#unread = 0;
      this.#notification?.close();
      this.#show();
    });
    onLanguage(() => this.#show());
  }

  /** The page is about something else now: `key` is that of a text, or null for the name alone. Nothing counts then. */
  title(key) {
    if (key !== this.#key) this.#unread = 0;
    this.#key = key;
    this.#show();
  }

  /** Something happened that `key` tells; `counts` in the title, until the page is looked at. */
  call(key, { counts = false } = {}) {
    if (!document.hidden) return;
    if (counts) this.#unread += 1;
    this.#show();
    if (recall("sound", false)) chime();
    if (recall("notify", false)) this.#notify(say(key));
  }

  #show() {
    const title = this.#key ? say(this.#key) : NAME;
    document.title = this.#unread ? `(${this.#unread}) ${title}` : title;
  }

  #notify(body) {
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    try {
      // The tag makes the next one take this one's place.
      this.#notification = new Notification(NAME, { body, tag: "animochat", icon: new URL("icons/192.png", import.meta.url) });
      this.#notification.onclick = () => window.focus();
    } catch {
      // Android's Chrome leaves notifications to service workers; the page has none.
    }
  }
}
