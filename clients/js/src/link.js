/**
 * The connection of one chat: its socket, the token and device that it shows, requests, and timers that end with it.
 *
 * `handlers` has a function for each event of the server, and four of its own: `recovered()` and `session(payload)`
 * once the server has said where this person stands, `lost()`, and `closed(error)` for good.
 */
import { AGAIN_MS, ChatError } from "./error.js";

// Milliseconds for an answer, after which a request counts as lost.
const ANSWER_MS = 10_000;
// Errors after which connecting again is pointless.
const FINAL = new Set(["replaced", "banned", "unknown-lobby"]);

export class Link {
  #io;
  #url;
  #lobby;
  #storage;
  #options;
  #handlers;
  #keys;
  #timers = new Set();

  /** The socket of socket.io-client. Null before `open` and after `drop`. */
  socket = null;
  /** Whether the server has said where this person stands. */
  ready = false;

  constructor(io, url, { lobby, storage, options, handlers }) {
    this.#io = io;
    this.#url = url;
    this.#lobby = lobby;
    this.#storage = storage;
    this.#options = options;
    this.#handlers = handlers;
    const place = lobby === undefined ? url : `${url} ${lobby}`;
    this.#keys = { token: `animochat.token ${place}`, device: `animochat.device ${url}` };
  }

  open() {
    this.drop();
    // A manager of its own: a socket that was replaced must not recover what it had, since what was written in the
    // other tab would be missing from it.
    this.socket = this.#io(this.#url, { ...this.#options, auth: (answer) => answer(this.#auth()), forceNew: true });
    this.#listen(this.socket);
  }

  /** Say goodbye, and forget what was planned. */
  drop() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.ready = false;
    this.socket?.off();
    this.socket?.disconnect();
    this.socket = null;
  }

  /** Ask the server. Reject with a ChatError. */
  async request(event, ...args) {
    const { socket } = this;
    if (!this.ready) throw new ChatError({ code: "offline" });
    let answer;
    try {
      answer = await socket.timeout(ANSWER_MS).emitWithAck(event, ...args);
    } catch {
      throw new ChatError({ code: this.ready && socket === this.socket ? "timeout" : "offline" });
    }
    if (!answer?.ok) throw new ChatError(answer?.error ?? { code: "unavailable" });
    return answer;
  }

  /** Call `act()` after `ms`, unless the connection is dropped by then. */
  later(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }

  #auth() {
    const shown = { lobby: this.#lobby, token: this.#storage.get(this.#keys.token), device: this.#storage.get(this.#keys.device) };
    return Object.fromEntries(Object.entries(shown).filter(([, value]) => value));
  }

  #listen(socket) {
    const { recovered, session, lost, closed, error, ...events } = this.#handlers;
    for (const [event, handle] of Object.entries(events)) socket.on(event, handle);
    const close = (failure) => {
      // At once, and by ourselves: if the server's closing looked like an accident, two tabs would take turns for ever.
      this.drop();
      closed(new ChatError(failure));
    };
    const again = (ms) => this.later(ms, () => socket.connect());
    socket.on("connect", () => {
      if (!socket.recovered) return; // `session` follows
      this.ready = true;
      recovered();
    });
    socket.on("session", (payload) => {
      this.#storage.set(this.#keys.token, payload.token);
      if (payload.device) this.#storage.set(this.#keys.device, payload.device);
      this.ready = true;
      session(payload);
    });
    socket.on("error", (failure) => (FINAL.has(failure?.code) ? close(failure) : error(new ChatError(failure))));
    socket.on("disconnect", (reason) => {
      this.ready = false;
      lost();
      if (reason === "io server disconnect") again(AGAIN_MS);
    });
    socket.on("connect_error", ({ data }) => {
      if (FINAL.has(data?.code)) return close(data);
      lost();
      if (!socket.active) again(data?.retryAfterMs ?? AGAIN_MS); // else socket.io-client does it by itself
    });
  }
}
