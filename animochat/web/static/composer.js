/**
 * The composer: it sends by Enter, grows with the text, counts characters, and signals typing.
 */
import { isBlank } from "./text.js";
import { write } from "./words.js";

// `typing` true is repeated no more often than this, in milliseconds.
const REPEAT_MS = 2_000;
// Someone who has not touched a key for this long is not typing any more, in milliseconds.
const IDLE_MS = 3_000;
// The count appears when this many characters are left.
const COUNT_FROM = 200;

export class Composer {
  #form = document.getElementById("composer");
  #draft = document.getElementById("draft");
  #send = document.getElementById("send");
  #count = document.getElementById("draft-count");
  #grows = !CSS.supports("field-sizing", "content");
  #typing;
  #changed;

  maxLength = 2_000;

  /**
   * `say(text)` is called with a message to send, `typing(boolean)` as the protocol's event wants it, `changed(text)` with
   * the draft, `tooLong()` and `textOnly()` when something can't be sent.
   */
  constructor({ say, typing, tooLong, textOnly, changed }) {
    this.#typing = new TypingSignal(typing);
    this.#changed = changed;
    refuseFiles(this.#draft, () => this.visible && textOnly());
    this.#draft.addEventListener("input", () => {
      this.#measure();
      changed(this.#draft.value);
      this.#typing.touched(!isBlank(this.#draft.value));
    });
    this.#draft.addEventListener("keydown", (event) => {
      // An input method uses Enter to choose a word. Safari ends the composition first and says so by key code 229 alone.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      if (!event.repeat) this.#form.requestSubmit();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#draft.value.trim();
      if (isBlank(text)) return;
      if (length(text) > this.maxLength) {
        tooLong();
        return;
      }
      this.clear();
      this.#draft.focus(); // also when the button was pressed: the phone's keyboard stays
      say(text);
    });
  }

  focus() {
    this.#draft.focus();
  }

  get visible() {
    return !this.#form.hidden;
  }

  get focused() {
    return this.#form.contains(document.activeElement);
  }

  /** Put a draft back, as it was before a reload. */
  restore(text) {
    this.#draft.value = text;
    this.#changed(text);
    this.#measure();
  }

  clear() {
    this.#draft.value = "";
    this.#changed("");
    this.#typing.touched(false);
    this.#measure();
  }

  show(visible) {
    this.#form.hidden = !visible;
    if (visible) this.#measure();
  }

  #measure() {
    const text = this.#draft.value.trim();
    const left = this.maxLength - length(text);
    this.#send.disabled = isBlank(text);
    if (left < 0) write(this.#count, "draft.over", { n: -left });
    else if (left <= COUNT_FROM) write(this.#count, "draft.left", { n: left });
    else clear(this.#count);
    this.#form.classList.toggle("over", left < 0);
    if (this.#grows) {
      this.#draft.style.height = "auto";
      this.#draft.style.height = `${this.#draft.scrollHeight}px`;
    }
  }
}

/** Turns key presses into as few `typing` events as keep the other side's dots truthful. */
class TypingSignal {
  #send;
  #saidAt = -Infinity;
  #idle = 0;

  constructor(send) {
    this.#send = send;
  }

  /** The draft changed; `something` says whether there is anything in it. */
  touched(something) {
    clearTimeout(this.#idle);
    if (!something) {
      this.#stop();
      return;
    }
    const now = performance.now();
    if (now - this.#saidAt >= REPEAT_MS) {
      this.#saidAt = now;
      this.#send(true);
    }
    this.#idle = setTimeout(() => this.#stop(), IDLE_MS);
  }

  #stop() {
    if (this.#saidAt === -Infinity) return;
    this.#saidAt = -Infinity;
    this.#send(false);
  }
}

/** Call `refused()` for a file that is pasted or dropped. Dropped beside the draft, it would take the page's place. */
function refuseFiles(draft, refused) {
  draft.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files.length && !clipboardData.getData("text/plain")) refused();
  });
  for (const type of ["dragover", "drop"]) {
    window.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (type === "drop") refused();
    });
  }
}

function clear(element) {
  delete element.dataset.say;
  element.textContent = "";
}

/** Characters as the server counts them: code points, not UTF-16 units. */
function length(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
