/** Connect many clients at once, pair them, and notice when one is lost. */

"use strict";

const { Client } = require("./client");

/** Default number of connection attempts under way at the same time. */
const CONCURRENCY = 50;

/** Connections that ended without being closed by us; a scenario with one of these has failed. */
const lost = [];

/**
 * Connect `count` clients, the i-th to `urls[i % urls.length]`.
 *
 * Resolves with them in that order; rejects once one is refused.
 */
async function connectAll(urls, count, options, concurrency = CONCURRENCY) {
  const clients = new Array(count);
  let next = 0;
  const connectSome = async () => {
    while (next < count) {
      const index = next;
      next += 1;
      const client = await Client.connect(urls[index % urls.length], options);
      client.onLost = (reason) => lost.push(reason.message);
      clients[index] = client;
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, connectSome));
  return clients;
}

/**
 * Match these two with each other: no other client may be waiting when this is called.
 *
 * Matching is random, so two chosen clients meet by searching alone.
 */
async function pair(first, second) {
  const waiting = first.once("waiting");
  const matches = [first.once("matched"), second.once("matched")];
  const greetings = [first.once("message"), second.once("message")];
  first.emit("find-match");
  await waiting;
  second.emit("find-match");
  const [one, two] = await Promise.all(matches);
  if (one.roomId !== two.roomId || one.partnerId !== two.userId || two.partnerId !== one.userId) {
    throw new Error(`not a pair: ${JSON.stringify([one, two])}`);
  }
  await Promise.all(greetings);
  return [first, second];
}

/**
 * Connect and pair `count` pairs.
 *
 * The partners of pair i are on `urls[i % n]` and `urls[(i + 1) % n]`: with one URL both are on the same server, with
 * several never.
 */
async function connectPairs(urls, count, options) {
  const firsts = await connectAll(urls, count, options);
  const rotated = [...urls.slice(1), urls[0]];
  const seconds = await connectAll(rotated, count, options);
  const pairs = [];
  for (let index = 0; index < count; index += 1) {
    pairs.push(await pair(firsts[index], seconds[index]));
  }
  return pairs;
}

function closeAll(clients) {
  for (const client of clients) {
    client.close();
  }
}

/** Throw if any connection was lost since the start. */
function assertNoneLost() {
  if (lost.length > 0) {
    throw new Error(`${lost.length} connections lost, the first: ${lost[0]}`);
  }
}

module.exports = { CONCURRENCY, assertNoneLost, closeAll, connectAll, connectPairs };
