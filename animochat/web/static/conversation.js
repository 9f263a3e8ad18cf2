/**
 * The conversation: messages in the room's order, each once, own ones with their delivery state.
 *
 * A message is an element in the log (message.js); its data for the order is in `#items`, in the order
 * shown. The scroller (scroller.js) controls the visible part of the log.
 */
import { Folds } from "./fold.js";
import { build, setId, setState, setTime } from "./message.js";
import { Scroller } from "./scroller.js";
import { onLanguage } from "./words.js";

// A pause longer than this starts a new group of messages, in milliseconds.
const PAUSE_MS = 5 * 60_000;
// How much of a message is quoted, in characters.
const QUOTED = 200;

const minute = (item) => item && Math.floor(item.timestamp / 60_000);

/** @typedef {import("./message.js").Item} Item */

export class Conversation {
  #scroller = new Scroller();
  #log = document.getElementById("messages");
  #typing = document.getElementById("typing");
  #folds = new Folds(this.#log, () => this.#scroller.grown(false));
  /** @type {Item[]} */
  #items = [];
  #me = null;

  roomId = null;

  /** `retry()` is called when the person asks to send the failed messages again. */
  constructor({ retry }) {
    this.#log.addEventListener("click", (event) => {
      const pressed = event.target.closest("button, a");
      if (pressed?.matches(".retry")) retry();
      else if (pressed?.matches(".quote")) this.#scroller.show(this.#find(pressed.dataset.quoted)?.element);
      else if (!pressed && getSelection().isCollapsed) event.target.closest(".bubble") && this.#tell(event.target);
    });
    onLanguage(() => this.#items.forEach(setTime));
  }

  /** A new room: an empty page. `me` is this person's id in it. */
  begin(roomId, me) {
    this.roomId = roomId;
    this.#me = me;
    this.#items = [];
    this.#folds.clear();
    this.#log.replaceChildren();
    this.showTyping(false);
    this.#scroller.toEnd();
  }

  /** A room entered before, with the messages so far; what is already shown stays. */
  restore({ roomId, userId, messages }) {
    // A screen reader need not read the whole conversation again.
    this.#log.setAttribute("aria-live", "off");
    if (roomId !== this.roomId) this.begin(roomId, userId);
    for (const message of messages) this.#insert(message);
    this.#scroller.toEnd();
    // The log speaks again once the browser has dealt with what was just added.
    requestAnimationFrame(() => setTimeout(() => this.#log.setAttribute("aria-live", "polite")));
  }

  /** A message from the server. Returns whether it is a new one of this room. */
  add(message) {
    if (message.roomId !== this.roomId || !this.#insert(message)) return false;
    this.#scroller.grown(message.type !== "system");
    return true;
  }

  /** An own message, shown before the server knows of it. `quote` is what it answers, from `quote(id)`. */
  addOwn(clientId, content, quote) {
    const item = { sender: "own", clientId, content, quote, timestamp: Date.now(), state: "sending" };
    build(item);
    this.#place(item);
    this.#scroller.toEnd(); // a sender wants to see the message
  }

  /** The quote of a message: its id, sender and beginning. Undefined for one that can't be answered. */
  quote(id) {
    const item = this.#find(id);
    return item && { id, sender: item.sender, content: [...item.content].slice(0, QUOTED).join("") };
  }

  stateOf(clientId) {
    return this.#own(clientId)?.state;
  }

  /** Show the outcome of an own message. */
  mark(clientId, state) {
    const item = this.#own(clientId);
    if (!item) return;
    item.state = state;
    setState(item);
    this.#showReceipt();
  }

  /** The server has stored an own message: it gets its id, its time and its place. */
  acknowledge(clientId, { id, seq, timestamp }) {
    const item = this.#own(clientId);
    if (!item || item.id === id) return;
    // After a reload in between, the server's copy may have come first with the conversation.
    const twin = this.#items.findIndex((other) => other.id === id);
    if (twin !== -1) this.#items.splice(twin, 1)[0].element.remove();
    Object.assign(item, { id, seq, timestamp });
    setId(item);
    setTime(item);
    this.mark(clientId, "sent");
    if (!this.#inOrder(item)) this.#place(item);
    else this.#group(this.#items.indexOf(item));
    this.#wayIn();
    this.#scroller.grown(false);
  }

  showTyping(visible) {
    this.#typing.hidden = !visible;
    if (visible) this.#scroller.grown(false);
  }

  /** @returns {readonly Item[]} all messages, in the order shown */
  get items() {
    return this.#items;
  }

  #find(id) {
    return this.#items.find((item) => item.id === id && item.sender !== "system");
  }

  #own(clientId) {
    return this.#items.findLast((item) => item.clientId === clientId);
  }

  /** Returns whether the message is new. */
  #insert({ id, seq, senderId, content, timestamp, type, replyTo }) {
    if (this.#items.some((item) => item.id === id)) return false;
    const whose = (userId) => (userId === this.#me ? "own" : "partner");
    const sender = type === "system" ? "system" : whose(senderId);
    const quote = replyTo && { id: replyTo.id, sender: whose(replyTo.senderId), content: replyTo.content };
    const item = { sender, id, seq, content, quote, timestamp, state: sender === "own" ? "sent" : undefined };
    build(item);
    setId(item);
    this.#place(item);
    return true;
  }

  /**
   * Put an item where its `seq` wants it. Own messages that have none yet stay where they were said, so nothing
   * jumps unless the server's order turns out to be another one.
   */
  #place(item) {
    const old = this.#items.indexOf(item);
    if (old !== -1) this.#items.splice(old, 1);
    const later = this.#items.findIndex((other) => other.seq > item.seq); // never, while either has none
    const at = later === -1 ? this.#items.length : later;
    this.#items.splice(at, 0, item);
    const after = this.#items[at + 1]?.element ?? null;
    this.#log.insertBefore(item.element, after);
    this.#folds.watch(item.element);
    if (old !== -1) this.#group(old);
    this.#group(at);
    this.#showReceipt();
    this.#wayIn();
  }

  #inOrder(item) {
    const at = this.#items.indexOf(item);
    return this.#items.every((other, i) => other.seq === undefined || i === at || i < at === other.seq < item.seq);
  }

  /** Group successive messages: mark the ends of the groups around one place, and the last message of a minute. */
  #group(at) {
    const together = (a, b) => a && b && a.sender === b.sender && b.timestamp - a.timestamp < PAUSE_MS;
    for (const i of [at - 1, at, at + 1]) {
      const item = this.#items[i];
      if (!item) continue;
      item.element.classList.toggle("opens", !together(this.#items[i - 1], item));
      item.element.classList.toggle("closes", !together(item, this.#items[i + 1]));
      item.element.classList.toggle("timed", minute(item) !== minute(this.#items[i + 1]));
    }
  }

  /** Show "Sent" under the newest own message only. */
  #showReceipt() {
    const newest = this.#items.findLast((item) => item.sender === "own" && item.state === "sent");
    this.#log.querySelector(".newest")?.classList.remove("newest");
    newest?.element.classList.add("newest");
  }

  /** The Tab key stops at one reply button, the newest message's; arrow keys lead on (replies.js). */
  #wayIn() {
    for (const old of this.#log.querySelectorAll(".reply[tabindex='0']")) old.tabIndex = -1;
    const newest = this.#items.findLast((item) => item.id && item.sender !== "system");
    if (newest) newest.element.querySelector(".reply").tabIndex = 0;
  }

  /** On tap: show or hide the message's day and time. */
  #tell(target) {
    const message = target.closest(".message");
    for (const other of this.#log.querySelectorAll(".told")) if (other !== message) other.classList.remove("told");
    message.classList.toggle("told");
    this.#scroller.grown(false);
  }
}
