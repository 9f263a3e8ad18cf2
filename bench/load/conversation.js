/**
 * Conversation check: everyone is matched at once; then both send ten acknowledged messages, in all rooms at the same time.
 *
 * Every message must reach the partner once and in its sender's order. If the server numbers messages (`seq`), a room's
 * numbers must be 1 … 20 without a gap, rise for each sender, and be the same in message and acknowledgement.
 *
 * Options: urls, users, perPerson, serverPids, redisPid, awaitSession.
 */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const { ackIdOf, packetArguments } = require("./client");
const { assertNoneLost, closeAll, connectAll } = require("./crowd");
const { matchingMistakes } = require("./matching");
const { until } = require("./until");

/** Milliseconds within which each person sends all messages, at random moments. */
const SPREAD_MS = 4000;

/** Milliseconds until missing messages count as lost. */
const DEADLINE_MS = 30_000;

class Person {
  constructor(client, index, perPerson) {
    this.client = client;
    this.index = index;
    this.perPerson = perPerson;
    this.matches = [];
    this.heard = []; // messages from the partner
    this.acks = []; // acknowledgements by message number
    this.errors = [];
    client.onMessage = (data) => {
      const [, message] = packetArguments(data);
      if (message.type !== "system") {
        this.heard.push(message);
      }
    };
    client.onAck = (data) => {
      const said = ackIdOf(data);
      if (this.acks[said] !== undefined) {
        this.errors.push(`acknowledgement ${said} came twice`);
      }
      this.acks[said] = packetArguments(data)[0];
    };
    client.onEvent = (name, argument) => {
      if (name === "matched") {
        this.matches.push(argument);
      } else if (name === "error") {
        this.errors.push(`error ${JSON.stringify(argument)}`);
      }
    };
  }

  /** Send all messages, in order, at random moments. */
  async speak() {
    for (let said = 0; said < this.perPerson; said += 1) {
      await sleep((Math.random() * 2 * SPREAD_MS) / this.perPerson);
      this.client.emit("send-message", `${this.index}:${said}`, said);
    }
  }

  isDone() {
    return this.heard.length >= this.perPerson && this.acks.filter(Boolean).length >= this.perPerson;
  }
}

/** Return the mistakes in the room of these two, as sentences. */
function roomMistakes(one, two) {
  const mistakes = [...one.errors, ...two.errors];
  const numbers = [];
  for (const [speaker, listener] of [[one, two], [two, one]]) {
    const heard = listener.heard.map((message) => message.content).join(" ");
    const said = Array.from({ length: speaker.perPerson }, (_, said) => `${speaker.index}:${said}`).join(" ");
    if (heard !== said) {
      mistakes.push(`said ${said}, heard ${heard}`);
    }
    if (new Set(listener.heard.map((message) => message.id)).size !== listener.heard.length) {
      mistakes.push("an id came twice");
    }
    if (speaker.acks.filter(Boolean).length !== speaker.perPerson) {
      mistakes.push(`${speaker.perPerson} messages, ${speaker.acks.filter(Boolean).length} acknowledgements`);
    }
    speaker.acks.forEach((ack, number) => {
      const message = listener.heard[number];
      if (!ack?.ok || ack.id !== message?.id || ack.seq !== message?.seq) {
        mistakes.push(`acknowledged ${JSON.stringify(ack)}, delivered ${JSON.stringify(message)}`);
      }
    });
    const own = speaker.acks.map((ack) => ack.seq);
    if (own.some((seq, number) => number > 0 && seq <= own[number - 1])) {
      mistakes.push(`seq of one sender ${own}`);
    }
    numbers.push(...own);
  }
  const numbered = numbers.some((seq) => seq !== undefined);
  if (numbered && numbers.sort((a, b) => a - b).some((seq, index) => seq !== index + 1)) {
    mistakes.push(`seq of one room ${numbers}`);
  }
  return mistakes;
}

async function run(options) {
  const clients = await connectAll(options.urls, options.users, options);
  const people = clients.map((client, index) => new Person(client, index, options.perPerson));
  for (const person of people) {
    person.client.emit("find-match");
  }
  await until(() => people.every((person) => person.matches.length > 0), DEADLINE_MS);
  const mistakes = matchingMistakes(people.map((person) => person.matches));
  if (mistakes.length === 0) {
    await Promise.all(people.map((person) => person.speak()));
    await until(() => people.every((person) => person.isDone()), DEADLINE_MS);
    await sleep(500); // duplicates arrive now
    const byUserId = new Map(people.map((person) => [person.matches[0].userId, person]));
    for (const person of people) {
      const partner = byUserId.get(person.matches[0].partnerId);
      if (person.index < partner.index) {
        mistakes.push(...roomMistakes(person, partner));
      }
    }
  }
  assertNoneLost();
  closeAll(clients);
  if (mistakes.length > 0) {
    throw new Error(`${mistakes.length} mistakes, the first: ${mistakes[0]}`);
  }
  return {
    mistakes: 0,
    rooms: people.length / 2,
    messages: people.reduce((sum, person) => sum + person.heard.length, 0),
    numbered: people[0].acks[0].seq !== undefined,
  };
}

module.exports = { run };
