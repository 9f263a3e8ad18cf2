/**
 * Connections that mean harm, until the process is ended; who is cut off comes again after five seconds.
 *
 * Options: url, count, addresses (of the loopback network that they come from: 127.0.1.1, 127.0.1.2, …), kinds (else all).
 * Prints a line of JSON every second: by kind of attack, how many are connected now, how many were cut off or refused so far.
 */

"use strict";

const { randomBytes } = require("node:crypto");
const net = require("node:net");

const { CONNECT_PACKET, eventPacket, maskedFrame } = require("./packets");

/** Milliseconds between two looks, until a connection is tried again, and between the drops of a slow sender. */
const LOOK_MS = 1_000;
const AGAIN_MS = 5_000;
const DROP_MS = 500;

/** Bytes of a flood that are written at once. */
const BLOCK = 16 * 1024;

const HANDSHAKE = (key) =>
  "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: chat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`;

const frame = (opcode, payload = Buffer.alloc(0), fin = true) =>
  Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload]);

/** The header of a text frame that announces so many bytes. */
function announcing(length) {
  const header = Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

/** So many of one frame that they fill a block. */
const block = (one) => Buffer.concat(Array(Math.ceil(BLOCK / one.length)).fill(one));

/**
 * Bytes that are written to a connection which the server cuts off at once: more than it takes. What is beyond that fills
 * buffers of the attacker's own machine, megabytes for each connection, and here that is the load's and the store's core.
 */
const CUT_OFF_BYTES = 512 * 1024;

/** Write it as often as the socket takes it, up to so many bytes. */
function flood(socket, data, most = Infinity) {
  const more = () => {
    while (!socket.destroyed && socket.bytesWritten < most && socket.write(data));
  };
  socket.on("drain", more);
  more();
}

function every(ms, socket, action) {
  const timer = setInterval(action, ms);
  socket.on("close", () => clearInterval(timer));
}

const flooding = (packet) => {
  const data = block(maskedFrame(packet));
  return (socket) => flood(socket, data);
};

/** What each does once its WebSocket is open and CONNECT is sent; null: it says nothing more. */
const TALKERS = {
  "flood of messages": flooding(eventPacket("send-message", "buy this")),
  "flood of typing": flooding(eventPacket("typing", true)),
  "flood of nonsense": flooding(`42["${"x".repeat(200)}",{}]`),
  "flood of cancel-match": flooding(eventPacket("cancel-match", undefined, 1)),
  "flood of large messages": flooding(eventPacket("send-message", { content: "x".repeat(90_000) })),
  "flood of pings": (socket) => flood(socket, block(frame(9, Buffer.from("ping")))),
  "flood of pongs": (socket) => flood(socket, block(maskedFrame("3"))),
  "flood of empty fragments": (socket) => {
    socket.write(frame(1, Buffer.from("4"), false));
    flood(socket, block(frame(0, Buffer.alloc(0), false)));
  },
  "oversized frames": (socket) => {
    socket.write(announcing(2 ** 40));
    flood(socket, Buffer.alloc(BLOCK, "x"), CUT_OFF_BYTES);
  },
  "broken frames": (socket) => flood(socket, randomBytes(BLOCK), CUT_OFF_BYTES),
  "slow reader": (socket) => {
    socket.pause(); // it asks for answers and takes none
    const data = Buffer.concat(Array(20).fill(maskedFrame(eventPacket("cancel-match", undefined, 1))));
    every(LOOK_MS, socket, () => socket.write(data));
  },
  "silent": () => {},
};

/** What each does with a bare connection. */
const STRANGERS = {
  "slow head": (socket) => {
    socket.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: chat\r\n");
    every(DROP_MS, socket, () => socket.write("X: y\r\n"));
  },
  "never a word": () => {},
  "endless head": (socket) => flood(socket, Buffer.alloc(BLOCK, "x"), CUT_OFF_BYTES),
  "half a WebSocket": (socket) => socket.write(HANDSHAKE(randomBytes(16).toString("base64"))),
};

const counts = {};

function attack(kind, { hostname, port }, localAddress) {
  const count = counts[kind];
  let open = false;
  const socket = net.connect({ host: hostname, port: Number(port), localAddress, noDelay: true });
  socket.on("error", () => {});
  socket.on("close", () => {
    if (open) count.now -= 1;
    count[open ? "ended" : "refused"] += 1;
    setTimeout(attack, AGAIN_MS, kind, { hostname, port }, localAddress);
  });
  const opened = () => {
    open = true;
    count.now += 1;
  };
  if (kind in STRANGERS) {
    socket.on("connect", () => {
      opened();
      STRANGERS[kind](socket);
    });
    socket.resume();
    return;
  }
  socket.on("connect", () => socket.write(HANDSHAKE(randomBytes(16).toString("base64"))));
  socket.once("data", (head) => {
    if (!head.toString("latin1").startsWith("HTTP/1.1 101")) {
      socket.destroy();
      return;
    }
    opened();
    socket.resume();
    socket.write(maskedFrame(CONNECT_PACKET));
    TALKERS[kind](socket);
  });
}

function main({ url, count, addresses, kinds }) {
  const { hostname, port } = new URL(url);
  kinds ??= [...Object.keys(TALKERS), ...Object.keys(STRANGERS)];
  for (const kind of kinds) counts[kind] = { now: 0, ended: 0, refused: 0 };
  for (let number = 0; number < count; number += 1) {
    const address = `127.0.1.${1 + (number % addresses)}`;
    // not all in one moment: the honest are to meet the attack, not its first second
    setTimeout(attack, (number / count) * 2_000, kinds[number % kinds.length], { hostname, port }, address);
  }
  setInterval(() => process.stdout.write(`${JSON.stringify(counts)}\n`), LOOK_MS);
}

main(JSON.parse(process.argv[2]));
