/**
 * What the page shows around the conversation: which screen, who is there, what is wrong, and what is said aloud.
 *
 * Whatever changes by itself is also put into the announcer, the one live region for screen readers besides the log.
 */
import { words } from "./words.js";

const $ = (id) => document.getElementById(id);

// How long a notice stays, in milliseconds.
const NOTICE_MS = 7_000;
const TOAST_MS = 2_500;
// After this long nobody can say any more that it takes a moment, in milliseconds.
const SLOW_MS = 12_000;
const HUES = 6;

// Where somebody types on a real keyboard, the cursor is put where the typing goes on. On a phone that would throw the
// keyboard up unasked, over what has just appeared.
const realKeyboard = window.matchMedia("(hover: hover) and (pointer: fine)");

export class View {
  screen = "start";
  #online = null;
  #notice = 0;
  #toast = 0;
  #waiting = 0;
  #announced = 0;

  /**
   * Show one of the screens. The focus follows, unless it `stays` (nothing was pressed: the page has just been loaded);
   * with `again` also when that screen is shown already.
   */
  show(screen, { composer = null, stays = false, again = false } = {}) {
    const changed = again || screen !== this.screen;
    this.screen = screen;
    clearInterval(this.#waiting);
    this.#waiting = 0;
    document.body.dataset.screen = screen;
    document.title = words.title[screen];
    for (const section of document.querySelectorAll("main > .screen")) section.hidden = section.id !== screen;
    if (!changed) return;
    this.clearNotice();
    if (stays) return;
    if (screen === "start") $("start-button").focus();
    else if (screen === "chat" && realKeyboard.matches) composer.focus();
    else $(`${screen}-title`).focus();
  }

  /** Looking for somebody. `cooldownMs` > 0: the pause after a skip is counted down first. */
  waiting({ cooldownMs = 0 } = {}) {
    if (this.#waiting && cooldownMs === 0) return; // that is what is shown
    this.show("waiting");
    const since = performance.now();
    $("lookout").classList.toggle("resting", cooldownMs > 0);
    $("lookout").style.setProperty("--cooldown", `${cooldownMs}ms`);
    const tick = () => {
      const passed = performance.now() - since;
      const resting = passed < cooldownMs;
      $("lookout").classList.toggle("resting", resting);
      setText($("waiting-title"), resting ? words.waiting.cooldownTitle : words.waiting.title);
      setText($("waiting-hint"), resting ? words.waiting.cooldown(cooldownMs - passed) : this.#hint(passed - cooldownMs));
    };
    tick();
    this.#waiting = setInterval(tick, 250);
    this.announce(cooldownMs > 0 ? words.waiting.cooldown(cooldownMs) : words.waiting.title);
  }

  /** The page was loaded again in the middle of a chat, and the server has not said yet what became of it. */
  returning({ stays = false } = {}) {
    this.show("waiting", { stays });
    setText($("waiting-title"), words.waiting.returningTitle);
    setText($("waiting-hint"), words.waiting.returning);
  }

  /** The search was asked for, and there is no connection to ask over yet. */
  connecting() {
    this.show("waiting");
    setText($("waiting-title"), words.waiting.title);
    setText($("waiting-hint"), words.waiting.connecting);
  }

  #hint(passed) {
    if (this.#online !== null && this.#online <= 1) return words.waiting.alone;
    return passed > SLOW_MS ? words.waiting.slow : words.waiting.hint;
  }

  /** A stranger is there. Each gets a colour, so that a new one looks like a new one. */
  chat({ partnerId, composer, isNew }) {
    this.ended(null, composer);
    let hash = 0;
    for (const letter of partnerId) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
    $("chat").dataset.hue = (hash >>> 8) % HUES;
    this.partner("here");
    this.show("chat", { composer, again: isNew });
  }

  /** How the stranger is doing: "here", "typing", "away" or "gone". */
  partner(status) {
    $("chat").dataset.partner = status;
    setText($("partner-status"), words.partner[status]);
  }

  /** The room is over for this reason, or, with null, is not. */
  ended(reason, composer) {
    const losesFocus =
      composer.focused || [document.body, $("next"), $("stop")].includes(document.activeElement);
    $("ended").hidden = reason === null;
    $("next").hidden = $("stop").hidden = reason !== null;
    composer.show(reason === null);
    if (reason === null) return;
    this.partner("gone");
    this.clearNotice();
    setText($("ended-reason"), words.ended[reason]);
    this.announce(words.ended[reason]);
    // Onto the panel, not onto its button: whoever was in the middle of a word must not press it with the next key.
    if (losesFocus) $("ended").focus();
  }

  /** Not `disabled`, which would take the focus away from it. */
  nextIsPending(pending) {
    $("next").setAttribute("aria-disabled", pending);
  }

  closed(error) {
    const about = words.closed[error.code] ?? words.closed.broken;
    setText($("closed-title"), about.title);
    setText($("closed-text"), error.retryAfterMs && about.until ? about.until(error.retryAfterMs) : about.text);
    $("take-over").hidden = error.code !== "replaced";
    $("connection").hidden = $("online").hidden = true;
    this.show("closed");
  }

  online(count) {
    this.#online = count;
    $("online").hidden = false;
    setText($("online-count"), words.online(count));
  }

  disconnected(text) {
    if (!$("connection").hidden && $("connection").textContent === text) return;
    $("connection").hidden = false;
    $("online").hidden = true; // nobody knows how many they are now
    setText($("connection"), text);
    this.announce(text);
  }

  connected() {
    if ($("connection").hidden) return;
    $("connection").hidden = true;
    this.toast(words.connection.back);
  }

  /** Something went wrong, or should be known, for as long as it takes to read; `keep`: until it is cleared. */
  notice(text, { keep = false } = {}) {
    this.clearNotice();
    const place = document.querySelector(`#${this.screen} .notice`);
    if (!place) return;
    setText(place, text);
    place.hidden = false;
    this.announce(text);
    if (!keep) this.#notice = setTimeout(() => this.clearNotice(), NOTICE_MS);
  }

  clearNotice() {
    clearTimeout(this.#notice);
    for (const notice of document.querySelectorAll("main .notice")) notice.hidden = true;
  }

  toast(text, ms = TOAST_MS) {
    clearTimeout(this.#toast);
    $("toast").hidden = false;
    setText($("toast"), text);
    this.announce(text);
    this.#toast = setTimeout(() => this.hideToast(), ms);
  }

  hideToast() {
    clearTimeout(this.#toast);
    $("toast").hidden = true;
  }

  announce(text) {
    // Emptied first: the same words a second time are news too.
    clearTimeout(this.#announced);
    $("announcer").textContent = "";
    this.#announced = setTimeout(() => ($("announcer").textContent = text), 50);
  }
}

/** Leaves alone what already says so: it keeps the page still, and screen readers quiet. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
