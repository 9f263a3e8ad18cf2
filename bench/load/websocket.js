/**
 * The client's side of a WebSocket: a handshake of our own on a plain socket, then the frames of `ws`.
 *
 * `ws`'s own client uses Node's HTTP client, which costs the load generator as much per connection as the connection
 * costs a server; it would measure itself.
 */

"use strict";

const { createHash, randomBytes } = require("node:crypto");
const net = require("node:net");

const { Receiver } = require("ws");

const { maskedFrame } = require("./packets");

/** RFC 6455 section 1.3. */
const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const HEAD_END = "\r\n\r\n";

class Connection {
  /**
   * @param {string} url  `ws://host:port`
   * @param {string} path  with query
   * @param {{onText: (data: Buffer) => void, onEnd: (reason: Error) => void}} handlers  called for every text message;
   *     called once at the end of the connection, whatever the cause
   */
  constructor(url, path, { onText, onEnd }) {
    const { hostname, port, host } = new URL(url);
    this.onEnd = onEnd;
    this.ended = false;
    this.key = randomBytes(16).toString("base64");
    this.receiver = new Receiver({ isServer: false, skipUTF8Validation: true, allowSynchronousEvents: true });
    this.receiver.on("message", onText);
    this.receiver.on("conclude", (code, reason) => this.end(new Error(`closed with ${code} ${reason}`)));
    this.receiver.on("error", (error) => this.end(error));
    this.socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    this.socket.on("data", (chunk) => this.receiveHead(chunk));
    this.socket.on("error", (error) => this.end(error));
    this.socket.on("close", () => this.end(new Error("connection closed")));
    this.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${this.key}\r\nSec-WebSocket-Version: 13${HEAD_END}`,
    );
  }

  send(text) {
    this.socket.write(maskedFrame(text));
  }

  /** Write a frame made by `maskedFrame`. */
  write(frame) {
    this.socket.write(frame);
  }

  /** Drop the connection without a closing handshake. */
  terminate() {
    this.ended = true;
    this.socket.destroy();
  }

  /** Read the answer to the handshake; the rest of the chunk already contains frames. */
  receiveHead(chunk) {
    this.head = this.head === undefined ? chunk : Buffer.concat([this.head, chunk]);
    const end = this.head.indexOf(HEAD_END);
    if (end < 0) {
      return;
    }
    const head = this.head.toString("latin1", 0, end);
    const accept = createHash("sha1").update(this.key + ACCEPT_GUID).digest("base64");
    if (!head.startsWith("HTTP/1.1 101") || !head.includes(accept)) {
      this.end(new Error(`handshake refused: ${head.slice(0, 200)}`));
      return;
    }
    const rest = this.head.subarray(end + HEAD_END.length);
    this.head = undefined;
    this.socket.removeAllListeners("data");
    this.socket.on("data", (frames) => this.receiver.write(frames));
    if (rest.length > 0) {
      this.receiver.write(rest);
    }
  }

  end(reason) {
    if (!this.ended) {
      this.ended = true;
      this.socket.destroy();
      this.onEnd(reason);
    }
  }
}

module.exports = { Connection };
