/**
 * The message that the next one answers: chosen by its button or a swipe, shown above the composer, cleared by Escape.
 */
import { dialogIsOpen } from "./dialogs.js";
import { menuIsOpen } from "./menu.js";
import { onSwipe } from "./swipe.js";
import { write } from "./words.js";

export class Replies {
  #bar = document.getElementById("replying");
  #name = document.getElementById("replying-to");
  #text = document.getElementById("replying-text");
  #quote = null; // {id, sender, content}
  #composer;

  constructor({ conversation, composer }) {
    this.#composer = composer;
    const log = document.getElementById("messages");
    const answer = (element) => this.#begin(conversation.quote(element.dataset.id));
    log.addEventListener("click", (event) => {
      const button = event.target.closest(".reply");
      if (button) answer(button.closest(".message"));
    });
    log.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by || !event.target.matches(".reply")) return;
      event.preventDefault();
      step(log, event.target, by);
    });
    onSwipe(log, ".message[data-id]:not(.system)", answer);
    document.getElementById("replying-cancel").addEventListener("click", () => {
      this.clear();
      composer.focus();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || event.keyCode === 229) return;
      if (!this.#quote || dialogIsOpen() || menuIsOpen()) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // otherwise it would be the first half of "next"
      this.clear();
    }, { capture: true });
  }

  /** Return the quote to answer, if any, and clear it. */
  take() {
    const quote = this.#quote;
    this.clear();
    return quote;
  }

  clear() {
    this.#quote = null;
    this.#bar.hidden = true;
  }

  #begin(quote) {
    if (!quote || !this.#composer.visible) return;
    this.#quote = quote;
    write(this.#name, quote.sender === "own" ? "reply.toOwn" : "reply.toPartner");
    this.#text.textContent = quote.content;
    this.#bar.hidden = false;
    this.#composer.focus(); // wanted here also on a phone: the answer is about to be written
  }
}

/** All reply buttons are one stop for the Tab key; arrows go from message to message. */
function step(log, from, by) {
  const buttons = [...log.querySelectorAll(".message[data-id] .reply")];
  const to = buttons[buttons.indexOf(from) + by];
  if (!to) return;
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}
