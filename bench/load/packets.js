/**
 * Engine.IO v4 and Socket.IO v5 packets as text, as far as the load generator needs them, and prepared frames.
 *
 * A stock client spends more time on a message than the measured servers; this makes one core of load enough for one
 * core of server.
 */

"use strict";

const { randomFillSync } = require("node:crypto");
const { Sender } = require("ws");

const TEXT_OPCODE = 1;

/** Character codes that tell incoming packets apart. */
const CODE = Object.freeze({
  OPEN: 0x30, // "0…"
  PING: 0x32, // "2"
  MESSAGE: 0x34, // "4…"
  CONNECT: 0x30, // "40…"
  EVENT: 0x32, // "42…"
  ACK: 0x33, // "43…"
  CONNECT_ERROR: 0x34, // "44…"
  LOWER_E: 0x65,
  LOWER_M: 0x6d,
});

const CONNECT_PACKET = "40";
const PONG_PACKET = "3";

/** Return an EVENT packet; with `ackId` it asks for an acknowledgement. */
function eventPacket(name, argument, ackId) {
  const args = argument === undefined ? [name] : [name, argument];
  return `42${ackId ?? ""}${JSON.stringify(args)}`;
}

/** Return `["name", ...arguments]` of an EVENT packet, or `[argument]` of an ACK packet. */
function packetArguments(data) {
  const text = data.toString("utf8");
  return JSON.parse(text.slice(text.indexOf("[")));
}

/** Return the acknowledgement id of an ACK packet. */
function ackIdOf(data) {
  return Number.parseInt(data.toString("latin1", 2, 12), 10);
}

/** Return whether an EVENT packet is a `message`: the only event that starts with "me". */
function isMessageEvent(data) {
  return data[4] === CODE.LOWER_M && data[5] === CODE.LOWER_E;
}

/** Return a masked client frame that can be written to a socket any number of times. */
function maskedFrame(packet) {
  const data = Buffer.from(packet, "utf8");
  const maskBuffer = randomFillSync(Buffer.alloc(4));
  const parts = Sender.frame(data, {
    fin: true,
    rsv1: false,
    opcode: TEXT_OPCODE,
    mask: true,
    maskBuffer,
    generateMask: () => undefined, // maskBuffer is filled already
    readOnly: false,
  });
  return Buffer.concat(parts);
}

module.exports = {
  CODE,
  CONNECT_PACKET,
  PONG_PACKET,
  ackIdOf,
  eventPacket,
  isMessageEvent,
  maskedFrame,
  packetArguments,
};
