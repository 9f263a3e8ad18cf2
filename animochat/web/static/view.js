/**
 * The page around the conversation: the screen, the partner's state, errors, and announcements.
 *
 * Texts are given by their keys (words.js). Whatever changes by itself is also put into the announcer, the one live region
 * for screen readers besides the log.
 */
import { countDown } from "./countdown.js";
import { say, seconds, write } from "./words.js";

const $ = (id) => document.getElementById(id);

// How long a notice stays, in milliseconds.
const NOTICE_MS = 7_000;
const TOAST_MS = 2_500;
// After this long "a moment" is no longer true, in milliseconds.
const SLOW_MS = 12_000;
const HUES = 6;
const TITLES = { waiting: "title.waiting", chat: "title.chat", ended: "title.ended" };

// With a real keyboard, the cursor moves to the field that comes next. On a phone that would open the
// keyboard unasked, over the content that has just appeared.
const realKeyboard = window.matchMedia("(hover: hover) and (pointer: fine)");

export class View {
  screen = "start";
  #attention;
  #online = null;
  #notice = 0;
  #endNotice = () => {};
  #offline = false;
  #partner = "here";
  #toast = 0;
  #waiting = 0;
  #picky = false;
  #announced = 0;

  constructor({ attention }) {
    this.#attention = attention;
    $("announcement-dismiss").addEventListener("click", () => ($("announcement").hidden = true));
  }

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
    $(screen === "waiting" ? "waiting-interests" : "start-interests").append($("interests-field"));
    this.#attention.title(TITLES[screen] ?? null);
    for (const section of document.querySelectorAll("main > .screen")) section.hidden = section.id !== screen;
    if (!changed) return;
    this.clearNotice();
    if (stays) return;
    if (screen === "start") $("start-button").focus();
    else if (screen === "chat" && realKeyboard.matches) composer.focus();
    else $(`${screen}-title`).focus();
  }

  /** Looking for someone. `cooldownMs` > 0: the pause after a skip is counted down first. */
  waiting({ cooldownMs = 0, picky = false } = {}) {
    this.#picky = picky;
    $("waiting-anyone").hidden = !picky;
    $("waiting-interests").hidden = false;
    if (this.#waiting && cooldownMs === 0) return; // that is what is shown
    this.show("waiting");
    const since = performance.now();
    $("lookout").style.setProperty("--cooldown", `${cooldownMs}ms`);
    const tick = () => {
      const passed = performance.now() - since;
      const resting = passed < cooldownMs;
      $("lookout").classList.toggle("resting", resting);
      write($("waiting-title"), resting ? "waiting.resting" : "waiting.title");
      if (resting) write($("waiting-hint"), "waiting.cooldown", { n: seconds(cooldownMs - passed) });
      else write($("waiting-hint"), this.#hint(passed - cooldownMs));
    };
    tick();
    this.#waiting = setInterval(tick, 250);
    this.announce(cooldownMs > 0 ? $("waiting-hint").textContent : say("waiting.title"));
  }

  /** The page was loaded again in the middle of a chat, and the server has not said yet what became of it. */
  returning({ stays = false } = {}) {
    this.show("waiting", { stays });
    $("waiting-anyone").hidden = $("waiting-interests").hidden = true;
    write($("waiting-title"), "waiting.returningTitle");
    write($("waiting-hint"), "waiting.returning");
  }

  /** The search was asked for, and there is no connection to ask over yet. */
  connecting() {
    this.show("waiting");
    write($("waiting-title"), "waiting.title");
    write($("waiting-hint"), "waiting.connecting");
  }

  #hint(passed) {
    if (this.#online !== null && this.#online <= 1) return "waiting.alone";
    if (passed > SLOW_MS) return "waiting.slow";
    return this.#picky ? "waiting.interests" : "waiting.hint";
  }

  /** A stranger is there. Each gets a colour, so that a new one looks like a new one. */
  chat({ partnerId, interests = [], composer, isNew }) {
    this.ended(null, composer);
    let hash = 0;
    for (const letter of partnerId) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
    $("chat").dataset.hue = (hash >>> 8) % HUES;
    if (isNew) {
      $("common").hidden = interests.length === 0;
      write($("common"), "met.common", { names: interests.join(", ") });
    }
    this.partner("here");
    this.show("chat", { composer, again: isNew });
  }

  /** How the stranger is doing: "here", "typing", "away" or "gone". While offline, it is unknown. */
  partner(status) {
    this.#partner = status;
    const shown = this.#offline && status !== "gone" ? "offline" : status;
    $("chat").dataset.partner = shown;
    write($("partner-status"), `partner.${shown}`);
  }

  /** The room is over for this reason, or, with null, is not. */
  ended(reason, composer) {
    const { activeElement } = document;
    const losesFocus = composer.focused || activeElement === document.body || activeElement?.closest(".bar, .after");
    $("ended").hidden = reason === null;
    for (const id of ["next", "stop"]) $(id).hidden = reason !== null;
    composer.show(reason === null);
    if (reason === null) return;
    this.partner("gone");
    this.#attention.title(TITLES.ended);
    this.clearNotice();
    this.hideToast();
    write($("ended-reason"), `ended.${reason}`);
    this.announce(say(`ended.${reason}`));
    // Onto the panel, not onto its button: someone who is typing must not press it with the next key.
    if (losesFocus) $("ended").focus();
  }

  /** Not `disabled`, which would take the focus away from it. */
  nextIsPending(pending) {
    $("next").setAttribute("aria-disabled", pending);
  }

  closed({ code, retryAfterMs, reason, appealUrl }) {
    const key = `closed.${["replaced", "banned", "unknown-lobby"].includes(code) ? code : "broken"}`;
    write($("closed-title"), `${key}.title`);
    if (code === "banned" && retryAfterMs) {
      write($("closed-text"), "closed.banned.until", { time: new Date(Date.now() + retryAfterMs).toLocaleString() });
    } else {
      write($("closed-text"), `${key}.text`);
    }
    $("closed-reason").hidden = !reason;
    if (reason) write($("closed-reason"), `closed.banned.reason.${reason}`);
    $("appeal").hidden = !appealUrl;
    if (appealUrl) $("appeal").href = appealUrl;
    $("take-over").hidden = code !== "replaced";
    $("to-start").hidden = code !== "unknown-lobby";
    $("reload").hidden = key !== "closed.broken";
    $("connection").hidden = $("online").hidden = true;
    this.show("closed");
  }

  online(count) {
    this.#online = count;
    $("online").hidden = false;
    write($("online-count"), "online", { n: count });
  }

  /** An announcement from the operator; it stays until it is dismissed. */
  announcement(text) {
    $("announcement-text").textContent = text;
    $("announcement").hidden = false;
    this.announce(text);
  }

  /** There is no connection; the next attempt is number `attempt`. */
  disconnected({ everConnected, attempt }) {
    const key = everConnected ? "connection.lost" : "connection.unreachable";
    const isNew = $("connection").hidden;
    $("connection").hidden = false;
    $("online").hidden = true; // it may be another number by now
    write($("connection"), key, { n: attempt });
    if (isNew) this.announce(say(key, { n: attempt }));
    this.#offline = true;
    this.partner(this.#partner);
  }

  connected() {
    this.#offline = false;
    this.partner(this.#partner);
    if ($("connection").hidden) return;
    $("connection").hidden = true;
    this.toast("connection.back");
  }

  /** Something went wrong, or should be known, for as long as it takes to read. */
  notice(key, values = {}) {
    const place = this.#noticeHere();
    if (!place) return;
    write(place, key, values);
    this.announce(say(key, values));
    this.#notice = setTimeout(() => this.clearNotice(), NOTICE_MS);
  }

  /** One that counts `ms` down. Then it says `after`, until it is cleared, or it is gone. Only `aloud` is announced. */
  countedNotice(ms, during, after, aloud) {
    const place = this.#noticeHere();
    if (!place) return;
    this.#endNotice = countDown(place, ms, during, () => (after ? write(place, after) : this.clearNotice()));
    this.announce(aloud);
  }

  clearNotice() {
    clearTimeout(this.#notice);
    this.#endNotice();
    for (const notice of document.querySelectorAll("main .notice")) notice.hidden = true;
  }

  #noticeHere() {
    this.clearNotice();
    const place = document.querySelector(`#${this.screen} .notice`);
    if (place) place.hidden = false;
    return place;
  }

  toast(key, ms = TOAST_MS) {
    clearTimeout(this.#toast);
    $("toast").hidden = false;
    write($("toast"), key);
    this.announce(say(key));
    this.#toast = setTimeout(() => this.hideToast(), ms);
  }

  hideToast() {
    clearTimeout(this.#toast);
    $("toast").hidden = true;
  }

  announce(text) {
    // Emptied first, so that the same text is announced again.
    clearTimeout(this.#announced);
    $("announcer").textContent = "";
    this.#announced = setTimeout(() => ($("announcer").textContent = text), 50);
  }
}
