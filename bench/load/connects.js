/**
 * Connections per second: clients connect as fast as the server accepts them, a bounded number at a time, and stay.
 *
 * Options: urls, count, warmup (connections before the measured ones), concurrency, serverPids, redisPid, awaitSession.
 */

"use strict";

const { assertNoneLost, closeAll, connectAll } = require("./crowd");
const { CpuMeter } = require("./processes");

async function run(options) {
  const warm = await connectAll(options.urls, options.warmup, options, options.concurrency);
  const meter = new CpuMeter(options);
  const clients = await connectAll(options.urls, options.count, options, options.concurrency);
  const used = meter.stop();
  assertNoneLost();
  closeAll([...warm, ...clients]);
  return {
    rate: options.count / used.elapsedS,
    cpu_us: used.serverUs / options.count,
    redis_us: used.redisUs / options.count,
    server_share: used.serverUs / 1e6 / used.elapsedS,
    load_share: used.loadShare,
  };
}

module.exports = { run };
