// Many stock JavaScript clients in one process, controlled from Python (tests/faults/crowd.py). Each line on stdin is a
// JSON object with a command ({id, client, do, …}); stdout has its result ({id, result}). Everything that happens to a
// client is a line on stdout too, in order: {client, event, args} for a received event, {client, note, …} for an action
// of its own.
//
// A client with the command `talk` behaves like a person: it searches whenever it has no partner, and sends numbered
// messages, the next one after the last was acknowledged. It sends a message that could not be stored again with the
// same `clientId`; with `once` it sends messages without one and, if no answer comes, continues with the next message.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

// Milliseconds until a message, or a search, without an answer is tried again.
const ANSWER_TIMEOUT = 1500;
const PAUSE_AFTER_FAILURE = 50;

const clients = new Map();
const write = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Client {
  constructor(name, url, options) {
    this.name = name;
    this.room = null;
    this.said = 0;
    this.talking = false;
    this.searching = false;
    this.conversations = 0;
    // A client made with `retries` sends again by itself; any other one is asked to here.
    this.persistent = options.retries !== undefined;
    this.socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 250, ...options });
    this.socket.onAny((event, ...args) => this.received(event, args));
    this.socket.on("connect", () => {
      this.log("connect", [{ recovered: this.socket.recovered, sid: this.socket.id, pid: this.socket._pid }]);
      this.search();
    });
    this.socket.on("disconnect", (reason) => this.log("disconnect", [reason]));
    this.socket.on("connect_error", (error) => this.log("connect_error", [error.message]));
  }

  log(event, args) {
    write({ client: this.name, event, args });
  }

  note(note, details) {
    write({ client: this.name, note, ...details });
  }

  received(event, args) {
    this.log(event, args);
    if (event === "matched") this.enter(args[0].roomId);
    if (event === "session") this.enter(args[0].room?.roomId ?? null);
    if (event === "partner-disconnected") this.enter(null);
  }

  enter(room) {
    this.room = room;
    if (room === null) this.search();
    else this.converse(room);
  }

  // Return the answer, or undefined if none came in time.
  ask(event, ...args) {
    return new Promise((resolve) => {
      const answered = (error, answer) => resolve(error ? undefined : answer);
      (this.persistent ? this.socket : this.socket.timeout(ANSWER_TIMEOUT)).emit(event, ...args, answered);
    });
  }

  async search() {
    if (!this.talking || this.searching || this.room !== null) return;
    this.searching = true;
    // The result of a search arrives as an event.
    while (this.talking && this.room === null) {
      const answer = await this.ask("find-match");
      if (answer?.ok || answer?.error.code === "already-in-room") break;
      await pause(PAUSE_AFTER_FAILURE);
    }
    this.searching = false;
  }

  async converse(room) {
    this.conversations++;
    for (let inThisRoom = 1; this.talking && this.room === room; inThisRoom++) {
      const number = ++this.said;
      const content = `${this.name} ${number}`;
      await this.say(room, this.once ? { content } : { content, clientId: `${number}` });
      if (this.skipAfter && inThisRoom >= this.skipAfter && this.talking && this.room === room) await this.skip(room);
      await pause(this.interval);
    }
    this.conversations--;
  }

  async say(room, message) {
    const { content } = message;
    this.note("sent", { room, content });
    // Repeat the message until it is acknowledged, as long as the room lasts.
    for (let attempt = 1; this.room === room; attempt++) {
      if (attempt > 1) this.note("repeated", { room, content });
      const answer = await this.ask("send-message", message);
      if (answer?.ok) return this.note("acknowledged", { content, id: answer.id, seq: answer.seq });
      if (answer && !["unavailable", "rate-limited"].includes(answer.error.code)) {
        return this.note("refused", { content, code: answer.error.code });
      }
      if (this.once) return;
      await pause(PAUSE_AFTER_FAILURE);
    }
  }

  // Only once: a second `next-match` might leave the room that the first one led to.
  async skip(room) {
    this.note("leaving", { room });
    this.room = null;
    let answer = await this.ask("next-match");
    if (answer?.ok) this.note("left", { room });
    while (!answer?.ok && this.room === null) {
      await pause(PAUSE_AFTER_FAILURE);
      answer = await this.ask("find-match");
      if (answer?.error?.code === "already-in-room" && this.room === null) {
        this.note("stayed", { room });
        this.enter(room);
      }
    }
  }

  // Commands from Python.

  talk({ interval, skipAfter, once }) {
    Object.assign(this, { interval, skipAfter, once, talking: true });
    if (this.room === null) this.search();
    else this.converse(this.room);
  }

  // Resolve once the last message is acknowledged, or never will be.
  async hush() {
    this.talking = false;
    while (this.searching || this.conversations > 0) await pause(10);
  }

  emit({ event, args }) {
    this.socket.emit(event, ...args);
  }

  call({ event, args }) {
    const room = ["leave-room", "next-match"].includes(event) ? this.room : null;
    if (room !== null) {
      this.note("leaving", { room });
      this.room = null;
    }
    return new Promise((resolve) =>
      this.socket.emit(event, ...args, (...answer) => {
        if (room !== null && answer.at(-1)?.ok) this.note("left", { room });
        resolve(answer.at(-1));
      }),
    );
  }

  state() {
    const { id, recovered, connected, _pid, _lastOffset } = this.socket;
    return { sid: id ?? null, recovered, connected, pid: _pid ?? null, offset: _lastOffset ?? null };
  }

  disconnect() {
    this.talking = false;
    if (this.room !== null) this.note("leaving", { room: this.room });
    this.room = null;
    this.socket.disconnect();
  }

  drop() {
    this.socket.io.engine?.transport.ws?.terminate();
  }
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, client, do: action, ...details } = JSON.parse(line);
  if (action === "connect") clients.set(client, new Client(client, details.url, details.options));
  write({ id, result: (action === "connect" ? null : await clients.get(client)[action](details)) ?? null });
});
process.stdin.on("end", () => process.exit());
