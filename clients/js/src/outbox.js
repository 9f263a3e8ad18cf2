/**
 * Own messages on their way: sent one after the other, again after a lost connection or a passing error, never twice.
 *
 * The server knows a repetition by its `clientId`, and repeats the first answer.
 */
import { pauseAfter } from "./error.js";

export class Outbox {
  #link;
  #mark;
  #waiting = new Map(); // clientId -> the payload of send-message, in the order in which it was said
  #sending = null; // the socket on which one is under way

  /** `mark(clientId, change)` is called with what has become of a message. */
  constructor({ link, mark }) {
    this.#link = link;
    this.#mark = mark;
  }

  /** Whether a message with this text is on its way. */
  has(text) {
    return [...this.#waiting.values()].some(({ content }) => content.trim() === text);
  }

  add(message) {
    this.#waiting.set(message.clientId, message);
    this.flush();
  }

  /** The room is over: what was not delivered never will be. */
  giveUp() {
    for (const clientId of this.#waiting.keys()) this.#mark(clientId, { state: "undelivered" });
    this.#waiting.clear();
  }

  /** Send what waits, as far as the connection takes it. */
  async flush() {
    const { socket } = this.#link;
    if (!socket || this.#sending === socket) return;
    this.#sending = socket;
    let pause = 0;
    while (pause === 0 && this.#waiting.size) {
      const [message] = this.#waiting.values();
      pause = await this.#deliver(message);
      if (socket !== this.#link.socket) return; // another connection has taken over
    }
    this.#sending = null;
    if (pause) this.#link.later(pause, () => this.flush());
  }

  /** Return 0 when it is settled, the milliseconds before another try, or null: not before there is a connection. */
  async #deliver({ clientId, ...message }) {
    try {
      const { id, seq, timestamp } = await this.#link.request("send-message", { ...message, clientId });
      if (this.#waiting.delete(clientId)) this.#mark(clientId, { id, seq, timestamp, state: "sent" });
    } catch (error) {
      if (error.code === "offline") return null;
      const pause = pauseAfter(error);
      if (pause !== null) return pause;
      if (this.#waiting.delete(clientId)) this.#mark(clientId, { state: "undelivered", error });
    }
    return 0;
  }
}
