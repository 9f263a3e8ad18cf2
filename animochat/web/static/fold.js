/**
 * Tall messages: the style sheet cuts them off, and a button shows the rest. Screen readers have the whole text anyway.
 */
import { write } from "./words.js";

export class Folds {
  #changed;
  #observer = new ResizeObserver((entries) => {
    for (const { target } of entries) this.#look(target);
    this.#changed();
  });

  /** `changed()` is called after a message's height may have changed. */
  constructor(log, changed) {
    this.#changed = changed;
    log.addEventListener("click", (event) => {
      const button = event.target.closest(".unfold");
      if (!button) return;
      label(button, button.closest(".bubble").classList.toggle("whole"));
      changed();
    });
  }

  /** Watch the text of a message that is new in the log. */
  watch(message) {
    this.#observer.observe(message.querySelector(".content"));
  }

  /** Stop watching: the log is empty. */
  clear() {
    this.#observer.disconnect();
  }

  /** Also when the window is rotated: a tall message may fit now. */
  #look(text) {
    const bubble = text.parentElement;
    if (bubble.classList.contains("whole")) return;
    const cut = text.scrollHeight > text.clientHeight;
    const button = bubble.querySelector(".unfold");
    bubble.classList.toggle("cut", cut);
    if (cut && !button) bubble.append(unfoldButton());
    else if (!cut) button?.remove();
  }
}

function unfoldButton() {
  const button = document.createElement("button");
  button.className = "unfold";
  button.type = "button";
  label(button, false);
  return button;
}

function label(button, whole) {
  write(button, whole ? "message.less" : "message.more");
  button.ariaExpanded = whole;
}
