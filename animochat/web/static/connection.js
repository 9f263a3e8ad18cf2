/**
 * The connection to the server: one Socket.IO socket, the person's token, and requests that are answered or fail.
 *
 * It knows the wire (protocol.md) and nothing of the page. It reports events through the given `handlers`: one
 * function per server event, called with that event's payload, and these of its own:
 *
 *   recovered()          back in time, what was missed follows by itself (connection state recovery)
 *   lost({everConnected, attempt})  the connection is gone, or could not be made; the next attempt to make it is this one
 *   closed(error)        it is over and will not try again: `replaced`, `banned` or `unknown-lobby`
 *   broken()             the client library could not be loaded
 */

import { Retry } from "./retry.js";
import { keep, lobby, ofLobby, recall } from "./storage.js";

// How long an answer may take before a request counts as failed, in milliseconds.
const ANSWER_MS = 10_000;
// How long to wait, at least, before connecting again when the server ended the connection itself, in milliseconds.
const AGAIN_MS = 1_500;
const FINAL = new Set(["replaced", "banned", "unknown-lobby"]);

/** A request that failed: `code` is one of the protocol's, or `offline` or `timeout`. */
export class ChatError extends Error {
  constructor({ code, message = code, retryAfterMs }) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Connection {
  #handlers;
  #socket = null;
  #io = null;
  #everConnected = false;
  // In sessionStorage, because it belongs to the tab: a reload is the same person, another tab is another one (and a
  // duplicated tab is the same one, which the server answers with `replaced`). And to the lobby: in another one it is
  // someone else.
  #token = recall(ofLobby("token"), null, "sessionStorage");
  #retry = new Retry(() => this.#socket?.connect());

  /** Whether the server has sent our state, so that requests make sense. */
  ready = false;

  constructor(handlers) {
    this.#handlers = handlers;
    // The browser may keep a page that was left, and its connection, for "Back". Closed as by a closing tab, the place is
    // kept and the partner knows; the page connects again when it is shown (retry.js).
    window.addEventListener("pagehide", () => this.#socket?.io.engine?.close());
  }

  /** Connect; also after `closed`, to take the chat over from another tab. */
  async open() {
    try {
      // Not a static import: the page should answer to its buttons before the largest file has come.
      this.#io ??= (await import("./vendor/socket.io.esm.min.js")).io;
    } catch {
      this.#handlers.broken();
      return;
    }
    this.#drop();
    // A new manager each time: a socket that was replaced must not ask to recover what it had, because what the person
    // wrote in the other tab would be missing from it. The new one gets a `session` with the whole conversation.
    // It does not connect again by itself (`reconnection`): when to do so is decided in retry.js.
    const auth = (answer) => {
      // In localStorage, since all tabs are on this device; read each time, since another tab may have changed it.
      const device = recall("device", null);
      answer({ lobby, ...(this.#token && { token: this.#token }), ...(device && { device }) });
    };
    const { pathname: path } = new URL("socket.io", document.baseURI); // beside the page, also below a path
    this.#socket = this.#io({ path, forceNew: true, reconnection: false, auth });
    this.#listen(this.#socket);
  }

  /**
   * Ask the server for something.
   * Resolves with its answer `{ok: true, …}`; rejects with a ChatError.
   */
  request(event, ...args) {
    if (!this.ready) return Promise.reject(new ChatError({ code: "offline" }));
    return new Promise((resolve, reject) => {
      this.#socket.timeout(ANSWER_MS).emit(event, ...args, (failure, answer) => {
        if (failure) reject(new ChatError({ code: this.ready ? "timeout" : "offline" }));
        else if (answer?.ok) resolve(answer);
        else reject(new ChatError(answer?.error ?? { code: "unavailable" }));
      });
    });
  }

  /** Send the server an event that is worthless when late: dropped without a connection, never answered. */
  signal(event, ...args) {
    if (this.ready) this.#socket.volatile.emit(event, ...args);
  }

  /** End the connection, and make no other. */
  close() {
    this.#drop();
  }

  #listen(socket) {
    const { recovered, lost, closed, broken, session, error, ...events } = this.#handlers;
    for (const [event, handler] of Object.entries(events)) socket.on(event, handler);

    socket.on("connect", () => {
      this.#everConnected = true;
      this.#retry.succeeded();
      if (!socket.recovered) return; // `session` will have our state
      this.ready = true;
      recovered();
    });
    socket.on("session", (payload) => {
      this.#token = payload.token;
      keep(ofLobby("token"), payload.token, "sessionStorage");
      if (payload.device) keep("device", payload.device);
      this.ready = true;
      session(payload);
    });
    socket.on("error", (payload) => {
      if (FINAL.has(payload?.code)) this.#close(payload);
      else error(payload);
    });
    socket.on("disconnect", (reason) => {
      this.ready = false;
      // A server that ends connections is about to restart, so wait a moment.
      lost({ everConnected: true, attempt: this.#retry.later(reason === "io server disconnect" ? AGAIN_MS : 0) });
    });
    socket.on("connect_error", (failure) => {
      if (FINAL.has(failure.data?.code)) {
        this.#close(failure.data);
        return;
      }
      lost({ everConnected: this.#everConnected, attempt: this.#retry.later(failure.data?.retryAfterMs) });
    });
  }

  #close(error) {
    // At once, and by ourselves: if the server's closing looked like an accident, two tabs would take turns forever.
    this.#drop();
    this.#handlers.closed(error);
  }

  #drop() {
    this.#retry.stop();
    this.ready = false;
    this.#socket?.off();
    this.#socket?.disconnect();
    this.#socket = null;
  }
}
