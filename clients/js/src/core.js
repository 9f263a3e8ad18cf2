/**
 * A chat as one object: where this person stands, the messages, and what the person may do.
 *
 * State is an immutable snapshot that is replaced on each change (`getState`, `subscribe`), as React and Svelte expect.
 * The server decides where a person stands; the chat keeps what the person wants (`#wish`) and brings both together
 * again after a lost connection. docs/protocol.md of the server is the contract.
 */
import { ChatError, pauseAfter } from "./error.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { browserStorage } from "./storage.js";

export { ChatError } from "./error.js";
export { browserStorage, memoryStorage } from "./storage.js";

// Milliseconds between two notices that this person is typing.
const TYPING_MS = 2_000;

const NOBODY = Object.freeze({ typing: false, away: false, left: null });
const START = Object.freeze({
  connection: "connecting",
  phase: "idle",
  room: null,
  messages: Object.freeze([]),
  partner: NOBODY,
  online: null,
  limits: null,
  cooldownMs: 0,
  announcement: null,
  error: null,
});

/** Make a chat. `io` is that of socket.io-client; index.js has it. */
export function createChatWith(io, url, options = {}) {
  const chat = new Chat(io, url, options);
  if (options.connect !== false) chat.connect();
  return chat;
}

class Chat {
  #link;
  #outbox;
  #wish = null; // "talk", "rest", or null before the person has done anything
  #unsaid = null; // "leave-room" or "cancel-match", until the server has taken it
  #interests = [];
  #typed = 0;
  #listeners = new Set();
  #state = START;

  constructor(io, url, { lobby, storage = browserStorage(), connect, ...options }) {
    this.#link = new Link(io, url, { lobby, storage, options, handlers: this.#handlers() });
    this.#outbox = new Outbox({ link: this.#link, mark: (clientId, change) => this.#mark(clientId, change) });
    // Passed on as they are: as event handlers, and to useSyncExternalStore.
    this.subscribe = this.subscribe.bind(this);
    this.getState = this.getState.bind(this);
  }

  /** The socket of socket.io-client, for events of your own. Null before `connect` and after `close`. */
  get socket() {
    return this.#link.socket;
  }

  getState() {
    return this.#state;
  }

  /** Call `listener()` after each change. Return a function that stops it. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // --- actions of the person

  /** Connect; also after `closed`, to take a chat over from another tab. */
  connect() {
    this.#set({ connection: "connecting", error: null });
    this.#link.open();
  }

  /** Leave the room, if there is one, and the server. */
  close() {
    this.#link.drop();
    this.#endRoom("idle");
    this.#wish = null;
    this.#unsaid = null;
    this.#set({ connection: "closed" });
  }

  /** Look for a partner. Without a connection it is done as soon as there is one. */
  find({ interests = [] } = {}) {
    if (this.#state.phase === "chatting") throw new ChatError({ code: "already-in-room" });
    this.#wish = "talk";
    this.#interests = interests;
    this.#endRoom("waiting");
    this.#set({ error: null });
    if (this.#unsaid) this.#rest(this.#unsaid); // first, so that the server takes both in this order
    this.#search();
  }

  /** Leave this partner and look for another one. */
  async next({ interests = this.#interests } = {}) {
    if (this.#state.phase !== "chatting") return this.find({ interests });
    this.#wish = "talk";
    this.#interests = interests;
    await this.#try("next-match", ...this.#wanted());
  }

  /** Leave the chat or the search. Without a connection, it is sent as soon as there is one. */
  leave() {
    const event = this.#state.phase === "chatting" ? "leave-room" : "cancel-match";
    this.#wish = "rest";
    this.#endRoom("idle");
    this.#rest(event);
  }

  /** Leave the room, and never meet this partner again; also when the room has just ended. */
  async block() {
    const about = this.#lastRoom();
    if (await this.#try("block-partner", ...(about ? [about] : []))) this.#left("blocked");
  }

  /** Report the partner, which leaves the room as `block` does; also when the room has just ended. */
  async report({ reason, details }) {
    const report = { reason, ...(details && { details }), ...this.#lastRoom() };
    if (await this.#try("report-partner", report)) this.#left("reported");
  }

  /** Tell the partner that this person types, or has stopped. Call it as often as you like. */
  typing(isTyping) {
    const now = Date.now();
    if (!this.#link.ready || this.#state.phase !== "chatting") return;
    if (isTyping ? now - this.#typed < TYPING_MS : !this.#typed) return;
    this.#typed = isTyping ? now : 0;
    this.socket.volatile.emit("typing", isTyping);
  }

  /**
   * Send a message. It is in `messages` at once, as "sending"; then "sent", or "undelivered" with its `error`.
   * Return its key. Throw ChatError (`not-in-room`, `empty-message`, `message-too-long`).
   */
  send(content, { replyTo = null } = {}) {
    const { phase, room, limits, messages } = this.#state;
    const text = content.trim();
    if (phase !== "chatting") throw new ChatError({ code: "not-in-room" });
    if (!text) throw new ChatError({ code: "empty-message" });
    if (limits && [...text].length > limits.maxMessageLength) throw new ChatError({ code: "message-too-long" });
    const clientId = newId();
    const quoted = messages.find(({ id }) => replyTo && id === replyTo);
    const quote = quoted && { replyTo: { id: quoted.id, senderId: quoted.senderId, content: quoted.content } };
    const place = { key: clientId, id: null, roomId: room.roomId, seq: null, senderId: room.userId, own: true };
    const shown = { ...place, content: text, timestamp: Date.now(), type: "text", state: "sending", error: null, ...quote };
    this.#show([...messages, Object.freeze(shown)]);
    this.#typed = 0;
    this.#outbox.add({ content, clientId, ...(replyTo && { replyTo }) });
    return clientId;
  }

  // --- events of the server

  #handlers() {
    return {
      session: (session) => this.#session(session),
      recovered: () => this.#recovered(),
      lost: () => this.#set({ connection: "offline", partner: Object.freeze({ ...this.#state.partner, typing: false }) }),
      closed: (error) => this.#set({ connection: "closed", error }),
      error: (error) => this.#set({ error }),
      waiting: ({ cooldownMs }) => this.#waiting(cooldownMs),
      matched: (match) => (this.#wish === "rest" ? this.#rest("leave-room") : this.#enterRoom(match, [])),
      "match-cancelled": () => this.#wish !== "talk" && this.#set({ phase: "idle" }),
      message: (message) => this.#received(message),
      "partner-typing": ({ isTyping }) => this.#partner({ typing: isTyping }),
      "partner-reconnecting": () => this.#partner({ away: true, typing: false }),
      "partner-reconnected": () => this.#partner({ away: false }),
      "partner-disconnected": ({ reason }) => this.#state.phase === "chatting" && this.#endRoom("ended", reason),
      "online-count": (online) => this.#set({ online }),
      announcement: ({ text }) => this.#set({ announcement: text }),
    };
  }

  #session({ state, room, limits }) {
    this.#set({ connection: "online", limits });
    if (state === "idle") this.#unsaid = null;
    if (state !== "idle" && (this.#wish === "rest" || this.#unsaid)) {
      this.#rest(state === "chatting" ? "leave-room" : "cancel-match");
      if (this.#wish === "talk") this.#search();
    } else if (state === "chatting") {
      this.#enterRoom(room, room.messages);
      this.#outbox.flush();
    } else if (state === "waiting") {
      this.#wish = "talk";
      this.#endRoom("waiting");
      this.#search(); // whose answer has the cooldown
    } else if (this.#state.phase === "chatting") {
      this.#endRoom("ended", "disconnected");
    } else if (this.#state.phase === "waiting") {
      this.#search();
    }
  }

  #recovered() {
    this.#set({ connection: "online" });
    if (this.#unsaid) this.#rest(this.#unsaid);
    if (this.#state.phase === "waiting") this.#search(); // twice does no harm
    this.#outbox.flush();
  }

  #waiting(cooldownMs) {
    if (this.#wish === "rest") return;
    this.#unsaid = null;
    this.#endRoom("waiting");
    this.#set({ cooldownMs });
  }

  #enterRoom({ roomId, userId, partnerId, interests }, messages) {
    if (this.#state.room?.roomId !== roomId) {
      this.#outbox.giveUp();
      this.#set({ messages: Object.freeze([]) });
    }
    this.#wish = "talk";
    this.#unsaid = null;
    const room = Object.freeze({ roomId, userId, partnerId, interests });
    this.#set({ phase: "chatting", room, partner: NOBODY, cooldownMs: 0 });
    for (const message of messages) this.#received(message);
  }

  #endRoom(phase, left = null) {
    this.#outbox.giveUp();
    this.#set({ phase, partner: Object.freeze({ ...NOBODY, left }), cooldownMs: 0 });
    if (phase !== "ended") this.#set({ room: null, messages: Object.freeze([]) });
  }

  #received(message) {
    const { room, messages, phase } = this.#state;
    if (phase !== "chatting" || message.roomId !== room.roomId || messages.some(({ id }) => id === message.id)) return;
    const own = message.senderId === room.userId;
    // Own messages that were stored and whose answer was lost are answered when they are sent again.
    if (own && this.#outbox.has(message.content)) return;
    if (message.type === "text" && !own) this.#partner({ typing: false });
    this.#show([...messages, Object.freeze({ ...message, key: message.id, own, state: "sent", error: null })]);
  }

  #partner(change) {
    if (this.#state.phase === "chatting") this.#set({ partner: Object.freeze({ ...this.#state.partner, ...change }) });
  }

  // --- requests

  #wanted() {
    return this.#interests.length ? [{ interests: this.#interests }] : [];
  }

  /** A room that has ended has to be named. */
  #lastRoom() {
    const { phase, room } = this.#state;
    return phase === "ended" ? { roomId: room.roomId } : null;
  }

  #left(how) {
    const { phase } = this.#state;
    if (phase !== "chatting" && phase !== "ended") return; // another search has begun meanwhile
    this.#wish = "rest";
    this.#endRoom("ended", how);
  }

  /** Ask for what only makes sense now. A failure is in `error`. Return whether it was done. */
  async #try(event, ...args) {
    try {
      await this.#link.request(event, ...args);
      return true;
    } catch (error) {
      this.#set({ error });
      return false;
    }
  }

  async #search() {
    try {
      await this.#link.request("find-match", ...this.#wanted());
    } catch (error) {
      if (error.code === "offline" || this.#wish !== "talk" || this.#state.phase !== "waiting") return;
      const pause = pauseAfter(error);
      if (pause === null) {
        this.#wish = "rest";
        this.#set({ phase: "idle", error });
      } else this.#link.later(pause, () => this.#state.phase === "waiting" && this.#search());
    }
  }

  /** Have the server take that this person has left, however often it takes. */
  async #rest(event) {
    this.#unsaid = event;
    try {
      await this.#link.request(event);
    } catch (error) {
      if (error.code === "offline") return; // `session` or `recovered` brings it up again
      const pause = pauseAfter(error);
      if (pause !== null) return this.#link.later(pause, () => this.#unsaid && this.#rest(this.#unsaid));
    }
    if (this.#unsaid === event) this.#unsaid = null; // done, or there was nothing to leave
  }

  // --- state

  #mark(key, change) {
    this.#show(this.#state.messages.map((it) => (it.key === key ? Object.freeze({ ...it, ...change }) : it)));
  }

  /** Messages in the room's order; those without a place in it yet come last. */
  #show(messages) {
    const place = ({ seq }) => seq ?? Number.MAX_SAFE_INTEGER;
    this.#set({ messages: Object.freeze(messages.sort((one, other) => place(one) - place(other))) });
  }

  #set(change) {
    if (Object.entries(change).every(([name, value]) => Object.is(this.#state[name], value))) return;
    this.#state = Object.freeze({ ...this.#state, ...change });
    for (const listener of [...this.#listeners]) listener();
  }
}

/** 128 random bits. Not `randomUUID`, which a page served by plain HTTP does not have. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
