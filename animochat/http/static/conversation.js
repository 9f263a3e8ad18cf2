/**
 * The conversation on the page: messages in the room's one order, each once, own ones with what became of them.
 *
 * A message is an element in the log; what the order needs to know of it stands in `#items`, in the order shown.
 */
import { words } from "./words.js";

// Closer to the end than this, in pixels, counts as being at the end.
const NEAR_END = 48;
// A pause longer than this starts a new group of messages, in milliseconds.
const PAUSE_MS = 5 * 60_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });

/**
 * @typedef {object} Item
 * @property {string} sender   "own", "partner" or "system"
 * @property {string} [id]     the server's id; an own message has none until it is acknowledged
 * @property {string} [clientId]  own messages written in this page only
 * @property {number} [seq]    place in the room's order, known together with `id`
 * @property {number} timestamp  Unix milliseconds
 * @property {string} [state]  own messages: "sending", "sent", "failed" or "undelivered"
 * @property {HTMLElement} element
 */

export class Conversation {
  #scroller = document.getElementById("scroller");
  #log = document.getElementById("messages");
  #typing = document.getElementById("typing");
  #unseenButton = document.getElementById("unseen");
  #unseenCount = document.getElementById("unseen-count");
  /** @type {Item[]} */
  #items = [];
  #height = 0;
  #atEnd = true;
  #unseen = 0;
  #me = null;

  roomId = null;

  /** `retry(clientId)` is called when the person asks for a failed message to be sent again. */
  constructor({ retry }) {
    this.#scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    this.#unseenButton.addEventListener("click", () => {
      this.#toEnd();
      this.#scroller.focus({ preventScroll: true }); // the button is gone now
    });
    // The phone's keyboard, the growing composer, a rotated screen: whoever was at the end stays there.
    new ResizeObserver(() => {
      this.#height = this.#scroller.clientHeight;
      if (this.#atEnd) this.#toEnd();
    }).observe(this.#scroller);
    this.#log.addEventListener("click", (event) => {
      const clientId = event.target.closest(".retry")?.dataset.clientId;
      if (clientId) retry(clientId);
    });
  }

  /** A new room: an empty page. `me` is what this person is called in it. */
  begin(roomId, me) {
    this.roomId = roomId;
    this.#me = me;
    this.#items = [];
    this.#log.replaceChildren();
    this.showTyping(false);
    this.#toEnd();
  }

  /** A room entered before, with the messages so far; what is already shown stays. */
  restore({ roomId, userId, messages }) {
    // Nobody wants to hear the whole conversation again.
    this.#log.setAttribute("aria-live", "off");
    if (roomId !== this.roomId) this.begin(roomId, userId);
    for (const message of messages) this.#insert(message);
    this.#toEnd();
    // The log speaks again once the browser has dealt with what was just added.
    requestAnimationFrame(() => setTimeout(() => this.#log.setAttribute("aria-live", "polite")));
  }

  /** A message from the server. */
  add(message) {
    if (message.roomId !== this.roomId || !this.#insert(message)) return;
    if (this.#atEnd) this.#toEnd();
    else if (message.type !== "system") this.#showUnseen(this.#unseen + 1);
  }

  /** An own message, shown before the server knows of it. */
  addOwn(clientId, content) {
    const item = { sender: "own", clientId, timestamp: Date.now(), state: "sending" };
    item.element = build(item, content);
    this.#place(item);
    this.mark(clientId, "sending");
    this.#toEnd(); // whoever says something wants to see it
  }

  stateOf(clientId) {
    return this.#own(clientId)?.state;
  }

  /** What became of an own message. */
  mark(clientId, state) {
    const item = this.#own(clientId);
    if (!item) return;
    item.state = state;
    item.element.dataset.state = state;
    item.element.querySelector(".state").replaceChildren(state === "failed" ? retryButton(clientId) : words.message[state]);
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
    setTime(item);
    this.mark(clientId, "sent");
    if (!this.#inOrder(item)) this.#place(item);
    else this.#group(this.#items.indexOf(item));
    if (this.#atEnd) this.#toEnd();
  }

  showTyping(visible) {
    this.#typing.hidden = !visible;
    if (visible && this.#atEnd) this.#toEnd();
  }

  #own(clientId) {
    return this.#items.findLast((item) => item.clientId === clientId);
  }

  /** Returns whether the message is new. */
  #insert({ id, seq, senderId, content, timestamp, type }) {
    if (this.#items.some((item) => item.id === id)) return false;
    const sender = type === "system" ? "system" : senderId === this.#me ? "own" : "partner";
    const item = { sender, id, seq, timestamp, state: sender === "own" ? "sent" : undefined };
    item.element = build(item, content);
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
    if (old !== -1) this.#group(old);
    this.#group(at);
    this.#showReceipt();
  }

  #inOrder(item) {
    const at = this.#items.indexOf(item);
    return this.#items.every((other, i) => other.seq === undefined || i === at || i < at === other.seq < item.seq);
  }

  /** Messages said in one go stand together: mark where a group begins and ends, around one place. */
  #group(at) {
    const together = (a, b) => a && b && a.sender === b.sender && b.timestamp - a.timestamp < PAUSE_MS;
    for (const i of [at - 1, at, at + 1]) {
      const item = this.#items[i];
      if (!item) continue;
      item.element.classList.toggle("opens", !together(this.#items[i - 1], item));
      item.element.classList.toggle("closes", !together(item, this.#items[i + 1]));
    }
  }

  /** "Sent" is worth saying under the newest own message only. */
  #showReceipt() {
    const newest = this.#items.findLast((item) => item.sender === "own" && item.state === "sent");
    this.#log.querySelector(".newest")?.classList.remove("newest");
    newest?.element.classList.add("newest");
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    if (clientHeight !== this.#height) return; // nobody scrolled: the room for it changed, which is about to be observed
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (this.#atEnd) this.#showUnseen(0);
  }

  #toEnd() {
    this.#atEnd = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#showUnseen(0);
  }

  #showUnseen(count) {
    this.#unseen = count;
    this.#unseenButton.hidden = count === 0;
    this.#unseenCount.textContent = words.unseen(count);
  }
}

function build(item, content) {
  const element = make("div", `message ${item.sender}`);
  if (item.state) element.dataset.state = item.state;
  const text = make("span", "content", content); // as text: what people write is never markup
  text.dir = "auto";
  const bubble = make("p", "bubble");
  if (item.sender !== "system") {
    bubble.append(make("span", "visually-hidden", `${item.sender === "own" ? words.partner.you : words.partner.name}: `));
  }
  bubble.append(text);
  element.append(bubble);
  if (item.sender !== "system") {
    const meta = make("p", "meta");
    meta.append(make("time"));
    if (item.sender === "own") meta.append(make("span", "state", item.state === "sent" ? words.message.sent : ""));
    element.append(meta);
    item.element = element;
    setTime(item);
  }
  return element;
}

function setTime(item) {
  const time = item.element.querySelector("time");
  const date = new Date(item.timestamp);
  time.dateTime = date.toISOString();
  time.textContent = clock.format(date);
}

function retryButton(clientId) {
  const button = make("button", "retry", words.message.retry);
  button.type = "button";
  button.dataset.clientId = clientId;
  return button;
}

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
