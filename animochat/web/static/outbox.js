/**
 * Own messages under way: shown at once, sent in order, sent again after a lost connection, stored once.
 *
 * Each has a `clientId`, by which the server knows a repetition and answers it with the first answer. So whatever was
 * under way when the connection dropped is simply sent again.
 */

// Failures after which trying again is pointless.
const FINAL = new Set(["not-in-room", "empty-message", "message-too-long", "invalid-payload"]);

export class Outbox {
  #connection;
  #conversation;
  #failed;
  #waiting = new Map(); // clientId → {content, replyTo}, in the order in which they were said

  /** `failed(error)` is called with the reason of a refusal. */
  constructor({ connection, conversation, failed }) {
    this.#connection = connection;
    this.#conversation = conversation;
    this.#failed = failed;
  }

  /** `quote` is what the message answers, as the conversation gave it, or null. */
  say(content, quote) {
    const clientId = newId();
    this.#waiting.set(clientId, quote ? { content, replyTo: quote.id } : { content });
    this.#conversation.addOwn(clientId, content, quote);
    this.#send(clientId);
  }

  /** Send every message again that has failed, in their order. */
  retry() {
    for (const clientId of this.#waiting.keys()) {
      if (this.#conversation.stateOf(clientId) !== "failed") continue;
      this.#conversation.mark(clientId, "sending");
      this.#send(clientId);
    }
  }

  /** There is a connection again, in the same room. */
  flush() {
    for (const clientId of this.#waiting.keys()) {
      if (this.#conversation.stateOf(clientId) === "sending") this.#send(clientId);
    }
  }

  /** The room is over: undelivered messages stay undelivered. */
  giveUp() {
    for (const clientId of this.#waiting.keys()) this.#conversation.mark(clientId, "undelivered");
    this.#waiting.clear();
  }

  async #send(clientId) {
    try {
      const answer = await this.#connection.request("send-message", { ...this.#waiting.get(clientId), clientId });
      this.#waiting.delete(clientId);
      this.#conversation.acknowledge(clientId, answer);
    } catch (error) {
      if (error.code === "offline" || !this.#waiting.has(clientId)) return; // flushed when there is a connection, or given up
      if (FINAL.has(error.code)) this.#waiting.delete(clientId);
      this.#conversation.mark(clientId, FINAL.has(error.code) ? "undelivered" : "failed");
      this.#failed(error);
    }
  }
}

/** 128 random bits. Not `randomUUID`, which a page served by plain HTTP on a local network does not have. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
