/**
 * Open loop: `rate` messages per second over `rooms` rooms, whatever the server does, and how long each takes.
 *
 * Times run from sending to receipt, by one clock. The time from the moment at which a message was due is given, too:
 * if it is much longer, the generator could not keep its own schedule, and the machine was too busy to measure.
 *
 * Options: urls, rooms, rate, warmupS, seconds, serverPids, redisPid, awaitSession.
 * Result: p50, p99 and the longest in milliseconds, p99 from the due moment, CPU per message.
 */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const { packetArguments } = require("./client");
const { assertNoneLost, closeAll, connectPairs } = require("./crowd");
const { CpuMeter } = require("./processes");
const { percentile } = require("./statistics");
const { until } = require("./until");

/** Length of a message in bytes: its number and padding. */
const LENGTH = 40;

/** Milliseconds after the window until a message counts as lost, and in which duplicates are noticed. */
const DEADLINE_MS = 10_000;
const AFTERMATH_MS = 300;

const now = () => performance.now();

async function run(options) {
  const { rate, warmupS, seconds } = options;
  const pairs = await connectPairs(options.urls, options.rooms, options);
  const total = Math.round((warmupS + seconds) * rate);
  const measuredFrom = Math.round(warmupS * rate);
  const sentAt = new Float64Array(total);
  const latency = new Float64Array(total).fill(-1);
  const intervalMs = 1000 / rate;
  let received = 0;

  for (const client of pairs.flat()) {
    client.onMessage = (data) => {
      const at = now();
      const index = Number.parseInt(packetArguments(data)[1].content, 10);
      if (latency[index] >= 0) {
        throw new Error(`message ${index} came twice`);
      }
      latency[index] = at - sentAt[index];
      received += 1;
    };
  }

  let meter;
  let next = 0;
  const startedAt = now() + 10;
  while (next < total) {
    const due = Math.min(total, Math.floor((now() - startedAt) / intervalMs) + 1);
    while (next < due) {
      if (next === measuredFrom) {
        meter = new CpuMeter(options);
      }
      const pair = pairs[next % pairs.length];
      const speaker = pair[Math.floor(next / pairs.length) % 2];
      sentAt[next] = now();
      speaker.emit("send-message", String(next).padEnd(LENGTH, "."));
      next += 1;
    }
    await sleep(1);
  }
  const used = meter.stop();
  await until(() => received === total, DEADLINE_MS);
  await sleep(AFTERMATH_MS);
  assertNoneLost();
  if (received !== total) {
    throw new Error(`${total} messages sent, ${received} received`);
  }
  closeAll(pairs.flat());

  const sinceDue = latency.map((taken, index) => sentAt[index] + taken - (startedAt + index * intervalMs));
  const measured = latency.slice(measuredFrom).sort();
  const measuredSinceDue = sinceDue.slice(measuredFrom).sort();
  return {
    messages: total - measuredFrom,
    p50_ms: percentile(measured, 50),
    p99_ms: percentile(measured, 99),
    max_ms: percentile(measured, 100),
    p99_due_ms: percentile(measuredSinceDue, 99),
    cpu_us: used.serverUs / (total - measuredFrom),
    redis_us: used.redisUs / (total - measuredFrom),
    load_share: used.loadShare,
  };
}

module.exports = { run };
