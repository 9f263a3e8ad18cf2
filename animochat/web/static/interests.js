/**
 * A person's interests: chips on the start screen and while waiting, remembered from visit to visit.
 */
import { keep, recall } from "./storage.js";
import { isBlank } from "./text.js";
import { onLanguage, say, write } from "./words.js";

export class Interests {
  #list = document.getElementById("interests");
  #input = document.getElementById("interest");
  #note = document.getElementById("interests-note");
  #names = recall("interests", []).filter((name) => typeof name === "string" && !isBlank(name));
  #limits = { maxInterests: Infinity, maxInterestLength: Infinity };
  #announce;
  #changed;

  /** `announce(text)` announces a change; `changed()` is called then. */
  constructor({ announce, changed }) {
    this.#announce = announce;
    this.#changed = changed;
    this.#input.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Enter") {
        event.preventDefault();
        if (!isBlank(this.#input.value)) this.commit();
        else if (!event.repeat) document.querySelector(".start:not([hidden]) #start-button")?.click(); // nothing to add
      } else if (event.key === "Backspace" && this.#input.value === "" && this.#names.length) {
        this.#remove(this.#names.at(-1));
      }
    });
    this.#input.addEventListener("input", () => {
      this.#note.hidden = true;
      if (/[,;\n]/.test(this.#input.value)) this.commit();
    });
    document.getElementById("interest-add").addEventListener("click", () => {
      this.commit();
      this.#input.focus();
    });
    this.#list.addEventListener("click", (event) => {
      const chip = event.target.closest(".chip");
      if (!chip) return;
      this.#remove(chip.dataset.name);
      this.#input.focus(); // the chip is gone
    });
    onLanguage(() => this.#show());
    this.#show();
  }

  /** The server's bounds, as they are in `session.limits`. What was remembered and is beyond them is left out. */
  set limits(limits) {
    this.#limits = limits;
    this.#names = this.#names.filter((name) => !this.#isLong(name)).slice(0, limits.maxInterests);
    this.#show();
  }

  /** The argument of `find-match`: none, while there is nothing to ask for. */
  get wanted() {
    return this.#names.length ? [{ interests: this.#names }] : [];
  }

  /** Make chips of the field's text. A part that can't be one stays there, and says why. */
  commit() {
    const before = this.#names;
    const left = [];
    for (const part of this.#input.value.split(/[,;\n]/)) {
      const name = part.trim().replace(/\s+/gu, " ");
      if (!isBlank(name) && !this.#add(name)) left.push(name);
    }
    this.#input.value = left.join(", ");
    this.#show();
    if (this.#names !== before) this.#changed();
    return left.length === 0;
  }

  #add(name) {
    if (this.#names.some((other) => same(other) === same(name))) return true;
    const { maxInterests, maxInterestLength } = this.#limits;
    if (this.#isLong(name)) return this.#refuse("interests.long", { n: maxInterestLength });
    if (this.#names.length >= maxInterests) return this.#refuse("interests.full", { n: maxInterests });
    this.#names = [...this.#names, name];
    keep("interests", this.#names);
    this.#announce(say("interests.added", { name }));
    return true;
  }

  #isLong(name) {
    return [...name].length > this.#limits.maxInterestLength;
  }

  #refuse(why, values) {
    write(this.#note, why, values);
    this.#note.hidden = false;
    this.#announce(say(why, values));
    return false;
  }

  #remove(name) {
    this.#names = this.#names.filter((other) => other !== name);
    keep("interests", this.#names);
    this.#note.hidden = true;
    this.#announce(say("interests.removed", { name }));
    this.#show();
    this.#changed();
  }

  #show() {
    this.#list.replaceChildren(...this.#names.map(chip));
    this.#list.hidden = this.#names.length === 0;
  }
}

/** Compared as the server does. */
const same = (name) => name.normalize("NFKC").toLowerCase();

function chip(name) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.dataset.name = name;
  const text = document.createElement("bdi");
  text.textContent = name;
  // Screen readers get the whole text; the style sheet shows the name and a cross.
  button.ariaLabel = say("interests.remove", { name });
  button.append(text);
  item.append(button);
  return item;
}
