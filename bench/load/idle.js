/**
 * Idle connections: how much of the server's resident memory each takes.
 *
 * The difference between two crowds is measured, so that one-time costs of the server (code, pools, the first
 * connections' buffers) don't count.
 *
 * Options: urls, first (people in the first crowd), count (people added), settleS, serverPids, redisPid, awaitSession.
 */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const { assertNoneLost, closeAll, connectAll } = require("./crowd");
const { CpuMeter, residentKilobytes } = require("./processes");

async function run(options) {
  const settle = () => sleep(options.settleS * 1000);
  await settle();
  const empty = residentKilobytes(options.serverPids);
  const first = await connectAll(options.urls, options.first, options);
  await settle();
  const before = residentKilobytes(options.serverPids);
  const redisBefore = residentKilobytes([options.redisPid]);
  const added = await connectAll(options.urls, options.count, options);
  await settle();
  const after = residentKilobytes(options.serverPids);
  const redisAfter = residentKilobytes([options.redisPid]);
  // Idle: only pings and the server's own background work.
  const meter = new CpuMeter(options);
  await settle();
  const used = meter.stop();
  assertNoneLost();
  closeAll([...first, ...added]);
  return {
    kb_each: (after - before) / options.count,
    redis_kb_each: (redisAfter - redisBefore) / options.count,
    empty_mb: empty / 1024,
    full_mb: after / 1024,
    cpu_percent_at_rest: (used.serverUs / 1e6 / used.elapsedS) * 100,
  };
}

module.exports = { run };
