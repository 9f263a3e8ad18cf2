/**
 * One chat client, without a client library.
 *
 *     const client = await Client.connect(url, { awaitSession: true });
 *     const matched = client.once("matched");
 *     client.emit("find-match");
 *     console.log(await matched);
 *
 * `message` events and acknowledgements go to `onMessage` and `onAck`, unparsed, if these are set: a relay that counts
 * messages does not need to parse them.
 */

"use strict";

const {
  CODE,
  CONNECT_PACKET,
  PONG_PACKET,
  ackIdOf,
  eventPacket,
  isMessageEvent,
  maskedFrame,
  packetArguments,
} = require("./packets");
const { Connection } = require("./websocket");

/** Milliseconds after which a connection attempt or an awaited event has failed. */
const TIMEOUT_MS = 30_000;

const PATH = "/socket.io/?EIO=4&transport=websocket";

class Client {
  /**
   * @param {string} url  the server, as `ws://host:port`
   * @param {{awaitSession?: boolean}} options  awaitSession: wait for the `session` event (AniMoChat), not just for the
   *     CONNECT answer
   */
  constructor(url, { awaitSession = false } = {}) {
    this.url = url;
    this.awaitSession = awaitSession;
    /** @type {((data: Buffer) => void) | undefined} gets every `message` event's packet */
    this.onMessage = undefined;
    /** @type {((data: Buffer) => void) | undefined} gets every ACK packet */
    this.onAck = undefined;
    /** @type {((name: string, argument: unknown) => void) | undefined} gets every other event */
    this.onEvent = undefined;
    /** @type {((reason: Error) => void) | undefined} called if the connection ended without `close()` */
    this.onLost = undefined;
    this.waiting = new Map();
    this.closing = false;
  }

  static connect(url, options) {
    return new Client(url, options).open();
  }

  /** Connect; resolve with the client once the server has accepted it. */
  open() {
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
      this.timer = setTimeout(() => this.fail(new Error(`${this.url}: no connection`)), TIMEOUT_MS);
      this.connection = new Connection(this.url, PATH, {
        onText: (data) => this.receive(data),
        onEnd: (error) => this.fail(new Error(`${this.url}: ${error.message}`)),
      });
    });
  }

  /** Send an event. */
  emit(name, argument, ackId) {
    this.connection.send(eventPacket(name, argument, ackId));
  }

  /** Write a frame made by `Client.frame`, which saves encoding it each time. */
  write(frame) {
    this.connection.write(frame);
  }

  /** Return a frame of this event for `write`. */
  static frame(name, argument, ackId) {
    return maskedFrame(eventPacket(name, argument, ackId));
  }

  /** Return the argument of the next event of this name after this call. */
  once(name) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${name} in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
      this.waiting.set(name, (argument) => {
        clearTimeout(timer);
        resolve(argument);
      });
    });
  }

  close() {
    this.closing = true;
    this.connection.terminate();
  }

  receive(data) {
    if (data[0] !== CODE.MESSAGE) {
      this.receiveEngine(data);
    } else if (data[1] === CODE.EVENT) {
      if (this.onMessage !== undefined && isMessageEvent(data)) {
        this.onMessage(data);
      } else {
        this.receiveEvent(data);
      }
    } else if (data[1] === CODE.ACK) {
      this.onAck?.(data);
    } else if (data[1] === CODE.CONNECT) {
      if (!this.awaitSession) {
        this.ready();
      }
    } else if (data[1] === CODE.CONNECT_ERROR) {
      this.fail(new Error(`refused: ${data}`));
    }
  }

  receiveEngine(data) {
    if (data[0] === CODE.OPEN) {
      this.connection.send(CONNECT_PACKET);
    } else if (data[0] === CODE.PING) {
      this.connection.send(PONG_PACKET);
    }
  }

  receiveEvent(data) {
    const [name, argument] = packetArguments(data);
    if (name === "session") {
      this.ready();
    }
    const resolve = this.waiting.get(name);
    if (resolve !== undefined) {
      this.waiting.delete(name);
      resolve(argument);
    }
    this.onEvent?.(name, argument);
  }

  ready() {
    if (this.settle !== undefined) {
      clearTimeout(this.timer);
      this.settle.resolve(this);
      this.settle = undefined;
    }
  }

  fail(reason) {
    if (this.settle !== undefined) {
      clearTimeout(this.timer);
      this.settle.reject(reason);
      this.settle = undefined;
    } else if (!this.closing) {
      this.onLost?.(reason);
    }
  }
}

module.exports = { Client, ackIdOf, packetArguments };
