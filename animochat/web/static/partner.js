/**
 * The stranger's state: here, typing, or away for a moment.
 */
import { say } from "./words.js";

// Typing that is not repeated for this long is over, in milliseconds (the page itself repeats every 2 s).
const TYPING_ENDS_MS = 6_000;

export class Partner {
  #view;
  #conversation;
  #typing = 0; // the timer that ends it

  constructor({ view, conversation }) {
    this.#view = view;
    this.#conversation = conversation;
  }

  typing(isTyping) {
    if (!isTyping && !this.#typing) return;
    clearTimeout(this.#typing);
    this.#typing = isTyping ? setTimeout(() => this.typing(false), TYPING_ENDS_MS) : 0;
    this.#conversation.showTyping(isTyping);
    this.#view.partner(isTyping ? "typing" : "here");
  }

  /** Their connection dropped; the server waits `graceMs` for them. */
  away(graceMs) {
    this.typing(false);
    this.#view.partner("away");
    const key = "partner.reconnecting";
    this.#view.countedNotice(graceMs ?? 0, `${key}For`, key, say(key));
  }

  back() {
    this.#view.partner("here");
    this.#view.clearNotice();
    this.#view.toast("partner.reconnected");
  }
}
