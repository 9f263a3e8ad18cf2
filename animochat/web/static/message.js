/**
 * One message as an element of the log: its sender, quote, text, time and delivery state.
 */
import { appendText } from "./links.js";
import { label, locale, write } from "./words.js";

/**
 * @typedef {object} Item
 * @property {string} sender   "own", "partner" or "system"
 * @property {string} [id]     the server's id; an own message has none until it is acknowledged
 * @property {string} [clientId]  own messages written in this page only
 * @property {number} [seq]    place in the room's order, known together with `id`
 * @property {string} content
 * @property {{id: string, sender: string, content: string}} [quote]  the message that it answers
 * @property {number} timestamp  Unix milliseconds
 * @property {string} [state]  own messages: "sending", "sent", "failed" or "undelivered"
 * @property {HTMLElement} element
 */

// How much of a message names the button that answers it, in characters.
const NAMED = 60;
// One to three emoji and nothing else: flags, keycaps, skin tones and joined ones included.
const EMOJI =
  /^\s*(?:(?:\p{RI}{2}|[0-9#*]\ufe0f?\u20e3|(?:(?!\p{RI})\p{Emoji_Presentation}|\p{ExtPict}\ufe0f|\p{ExtPict}(?=[\p{EMod}\u200d]))\p{EMod}?(?:\u200d\p{ExtPict}\ufe0f?\p{EMod}?)*)[\u{e0020}-\u{e007f}]*\s*){1,3}$/u;
const ICON = "http://www.w3.org/2000/svg";

/** The element of an item, which is put into it. */
export function build(item) {
  const element = make("div", `message ${item.sender}`);
  item.element = element;
  const line = make("div", "line");
  const bubble = make("div", "bubble");
  line.append(bubble);
  element.append(line);
  const text = make("span", "content"); // as text: what people write is never markup
  text.dir = "auto";
  if (item.sender === "system") {
    // The first of the server's own lines is known, and can be shown in this page's language.
    if (item.seq === 0) write(text, "met.system");
    else text.textContent = item.content;
    bubble.append(text);
    return element;
  }
  appendText(text, item.content);
  element.classList.toggle("emoji", EMOJI.test(item.content));
  const name = make("span", "visually-hidden");
  name.append(said(item.sender === "own" ? "you" : "partner"), ": ");
  bubble.append(name);
  if (item.quote) bubble.append(quotation(item.quote));
  bubble.append(text);
  line.append(replyButton(item.content));
  const meta = make("p", "meta");
  const time = make("time");
  time.dir = "auto";
  meta.append(time);
  if (item.sender === "own") meta.append(make("span", "state"));
  element.append(meta);
  setTime(item);
  setState(item);
  return element;
}

/** The server's id, by which a message can be answered. */
export function setId(item) {
  if (item.id) item.element.dataset.id = item.id;
}

/** The message's time, and its day on hover or tap. */
export function setTime(item) {
  const time = item.element.querySelector("time");
  if (!time) return;
  const date = new Date(item.timestamp);
  time.dateTime = date.toISOString();
  time.replaceChildren(make("span", "day", day(date)), make("span", "", clock(date)));
  item.element.querySelector(".line").dataset.when = `${day(date, "short")} ${clock(date)}`;
}

export function setState(item) {
  const place = item.element.querySelector(".state");
  if (!place || !item.state) return;
  item.element.dataset.state = item.state;
  if (item.state !== "failed") {
    place.replaceChildren(said(`message.${item.state}`));
    return;
  }
  const button = said("message.retry", "button");
  button.className = "retry";
  button.type = "button";
  place.replaceChildren(button);
}

export const clock = (date) => new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit" }).format(date);
export const day = (date, weekday = "long") =>
  new Intl.DateTimeFormat(locale, { weekday, day: "numeric", month: weekday }).format(date);

function quotation({ id, sender, content }) {
  const button = make("button", "quote");
  button.type = "button";
  button.dataset.quoted = id;
  const text = make("span", "quoted", content);
  text.dir = "auto";
  button.append(said(sender === "own" ? "you" : "partner", "b"), make("span", "visually-hidden", ": "), text);
  return button;
}

/** Named for the message that it answers, because a list of buttons would otherwise repeat one name. */
function replyButton(content) {
  const button = make("button", "reply");
  button.type = "button";
  button.tabIndex = -1; // the newest one's is the way in for the Tab key
  label(button, "reply.about", { text: [...content].slice(0, NAMED).join("") });
  const icon = document.createElementNS(ICON, "svg");
  icon.setAttribute("class", "icon");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(ICON, "use");
  use.setAttribute("href", "#icon-reply");
  icon.append(use);
  button.append(icon);
  return button;
}

function said(key, tag = "span") {
  const element = document.createElement(tag);
  write(element, key);
  return element;
}

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
