/**
 * The visible part of the conversation: its end, or, for someone who reads further up, a count of new messages below.
 */
import { write } from "./words.js";

// Closer to the end than this, in pixels, counts as being at the end.
const NEAR_END = 48;
// How long a message that was looked for stands out, in milliseconds.
const FOUND_MS = 1_600;

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Scroller {
  #area = document.getElementById("scroller");
  #button = document.getElementById("unseen");
  #count = document.getElementById("unseen-count");
  #height = 0;
  #atEnd = true;
  #unseen = 0;

  constructor() {
    this.#area.addEventListener("scroll", () => this.#look(), { passive: true });
    this.#button.addEventListener("click", () => {
      this.toEnd();
      this.#area.focus({ preventScroll: true }); // the button is gone now
    });
    // The phone's keyboard, the growing composer, a rotated screen: a view at the end stays there.
    new ResizeObserver(() => {
      this.#height = this.#area.clientHeight;
      if (this.#atEnd) this.toEnd();
    }).observe(this.#area);
  }

  toEnd() {
    this.#atEnd = true;
    this.#area.scrollTop = this.#area.scrollHeight;
    this.#showUnseen(0);
  }

  /** The conversation has become longer; `counts`: whether the new item counts as unread. */
  grown(counts) {
    if (this.#atEnd) this.toEnd();
    else if (counts) this.#showUnseen(this.#unseen + 1);
  }

  /** Bring one message into view, and let it stand out for a moment. */
  show(element) {
    if (!element) return;
    element.scrollIntoView({ block: "center", behavior: calm.matches ? "instant" : "smooth" });
    element.tabIndex = -1;
    element.focus({ preventScroll: true }); // from here on, arrows and Tab go from there; screen readers read it
    element.classList.add("found");
    setTimeout(() => element.classList.remove("found"), FOUND_MS);
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#area;
    if (clientHeight !== this.#height) return; // no one scrolled: the area's size changed, which the observer will report
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (this.#atEnd) this.#showUnseen(0);
  }

  #showUnseen(count) {
    this.#unseen = count;
    this.#button.hidden = count === 0;
    write(this.#count, "unseen", { n: count });
  }
}
