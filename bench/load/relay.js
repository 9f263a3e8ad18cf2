/**
 * Closed loop: in every pair one message is under way; its receiver answers at once.
 *
 * Options: urls, pairs, text (a key of TEXTS), acks (boolean), warmupS, seconds, serverPids, redisPid, awaitSession.
 * Result: messages per second, server and Redis CPU per message in microseconds, the slowest and fastest pair's share.
 */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const { Client, packetArguments } = require("./client");
const { assertNoneLost, closeAll, connectPairs } = require("./crowd");
const { CpuMeter } = require("./processes");
const { TEXTS } = require("./texts");

/** Every message asks for an acknowledgement with this id; nothing here needs to tell them apart. */
const ACK_ID = 7;

/** Acknowledgements that may be under way when the window opens or closes, per pair. */
const ACKS_UNDER_WAY = 2;

async function run(options) {
  const text = TEXTS[options.text];
  const pairs = await connectPairs(options.urls, options.pairs, options);
  const counts = new Array(pairs.length).fill(0);
  let acks = 0;
  let stopped = false;

  pairs.forEach(([first, second], index) => {
    const frame = Client.frame("send-message", text, options.acks ? ACK_ID : undefined);
    for (const client of [first, second]) {
      const relay = () => {
        counts[index] += 1;
        if (!stopped) {
          client.write(frame);
        }
      };
      // The first message in each direction is checked, the others are counted.
      client.onMessage = (data) => {
        const [, message] = packetArguments(data);
        if (message.content !== text) {
          throw new Error(`sent ${text}, got ${JSON.stringify(message)}`);
        }
        client.onMessage = relay;
        relay();
      };
      client.onAck = () => {
        acks += 1;
      };
      client.onEvent = (name, argument) => {
        if (name === "error") {
          throw new Error(`error ${JSON.stringify(argument)}`);
        }
      };
    }
    first.write(frame);
  });

  await sleep(options.warmupS * 1000);
  counts.fill(0);
  acks = 0;
  const meter = new CpuMeter(options);
  await sleep(options.seconds * 1000);
  const used = meter.stop();
  const messages = counts.reduce((sum, count) => sum + count, 0);
  const acked = acks;
  stopped = true;

  assertNoneLost();
  const silent = counts.filter((count) => count === 0).length;
  if (silent > 0) {
    throw new Error(`${silent} of ${pairs.length} conversations stood still`);
  }
  if (options.acks && Math.abs(acked - messages) > pairs.length * ACKS_UNDER_WAY) {
    throw new Error(`${messages} messages but ${acked} acknowledgements`);
  }
  closeAll(pairs.flat());
  return {
    messages,
    rate: messages / used.elapsedS,
    cpu_us: used.serverUs / messages,
    redis_us: used.redisUs / messages,
    server_share: used.serverUs / 1e6 / used.elapsedS,
    load_share: used.loadShare,
    slowest_pair: Math.min(...counts) / (messages / pairs.length),
    fastest_pair: Math.max(...counts) / (messages / pairs.length),
  };
}

module.exports = { run };
